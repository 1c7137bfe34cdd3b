"""The graph as `.pir` text: a canonical printer and the parser that reads it back."""

from __future__ import annotations

from pathc.ir.text.parser import parse_graph
from pathc.ir.text.printer import print_graph

__all__ = ["parse_graph", "print_graph"]
