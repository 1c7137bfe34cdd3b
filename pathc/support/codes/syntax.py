"""Codes E01xx, the text of .path files."""

from __future__ import annotations

from pathc.support.codes.base import Code

CODES: tuple[Code, ...] = ()
