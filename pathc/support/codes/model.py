"""Codes E02xx and W02xx, what a .path file says."""

from __future__ import annotations

from pathc.support.codes.base import Code

CODES: tuple[Code, ...] = ()
