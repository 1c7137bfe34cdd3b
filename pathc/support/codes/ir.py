"""Codes E03xx, W03xx and E04xx, the graph, its passes and its text."""

from __future__ import annotations

from pathc.support.codes.base import Code

CODES: tuple[Code, ...] = ()
