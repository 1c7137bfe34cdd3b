"""Hardware of the engine in Verilog-2005: modules as they are synthesized, and properties that solvers prove."""

from __future__ import annotations

from importlib.resources import files

MODULES = {"pe_permuter": "permuter.v", "pe_generator": "generator.v"}
"""Name of every module and the file it stands in."""


def module_text(name: str) -> str:
    """Verilog text of a module of `MODULES`; KeyError for others."""
    return (files(__name__) / MODULES[name]).read_text()
