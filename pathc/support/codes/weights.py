"""Codes E05xx, weight and data files."""

from __future__ import annotations

from pathc.support.codes.base import Code

CODES: tuple[Code, ...] = ()
