"""Hardware of the engine in Verilog-2005: modules as they are synthesized, and properties that solvers prove."""

from __future__ import annotations

from importlib.resources import files

MODULES = {
    "pe_permuter": "permuter.v",
    "pe_generator": "generator.v",
    "pe_queue": "queue.v",
    "pe_dispatch": "dispatch.v",
    "pe_load": "transfer.v",
    "pe_execute": "execute.v",
    "pe_activate": "activate.v",
    "pe_bank": "bank.v",
    "pe_engine": "engine.v",
    "pe_board": "board.v",
    "pe_bench": "bench.v",
}
"""Names of modules and the file each stands in."""


def module_text(name: str) -> str:
    """Verilog text of the file of a module of `MODULES`; KeyError for others."""
    return (files(__name__) / MODULES[name]).read_text()
