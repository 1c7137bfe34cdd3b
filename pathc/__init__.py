"""pathc compiles path graphs: sparse networks whose paths each visit one neuron in every layer.

    import pathc

    net = pathc.compile("model.path", weights="model.safetensors")
    y = net(x)                                  # NumPy arrays, [batch, units] or [units]

Everything below is imported when first used, so that `import pathc` costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathc.api import check, compile, load
    from pathc.frontend.builder import Model
    from pathc.ir.graph import Graph
    from pathc.support.diagnostics import Diagnostic, PathcError
    from pathc.support.source import Source

__version__ = "0.1.0"
__all__ = ["Diagnostic", "Graph", "Model", "PathcError", "Source", "__version__", "check", "compile", "load"]

_HOME = {
    "Diagnostic": "support.diagnostics",
    "Graph": "ir.graph",
    "Model": "frontend.builder",
    "PathcError": "support.diagnostics",
    "Source": "support.source",
    "check": "api",
    "compile": "api",
    "load": "api",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
