"""The catalogue of diagnostic codes: what `pathc explain CODE` prints.

Each area of the compiler declares its codes in a module of its own; codes never change their meaning.
"""

from __future__ import annotations

from importlib import import_module

from pathc.support.codes.base import Code

AREAS = (
    "syntax",
    "model",
    "graph",
    "ir",
    "recurrence",
    "weights",
    "targets",
    "usage",
    "training",
    "engine",
    "arrays",
    "tvm",
    "quantization",
    "exchange",
    "pictures",
)


def catalogue() -> dict[str, Code]:
    """All codes of all areas, in order."""
    merged: dict[str, Code] = {}
    for area in AREAS:
        for code in import_module(f"pathc.support.codes.{area}").CODES:
            if code.name in merged:
                raise ValueError(f"diagnostic code {code.name} is declared twice")
            merged[code.name] = code
    return dict(sorted(merged.items()))
