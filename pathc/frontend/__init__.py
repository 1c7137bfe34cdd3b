"""The .path language: text to graph, formatter, builder.

The names below are imported when first used, so that importing the package costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathc.frontend.api import check, explain_defaults, load
    from pathc.frontend.parser import parse
    from pathc.frontend.uses import read_text

_HOME = {"check": "api", "explain_defaults": "api", "load": "api", "parse": "parser", "read_text": "uses"}

__all__ = ["check", "explain_defaults", "load", "parse", "read_text"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
