"""Codes E06xx and E07xx, what a target cannot do, and values at run time."""

from __future__ import annotations

from pathc.support.codes.base import Code

CODES: tuple[Code, ...] = ()
