"""Working memory of kernels, checked before it is asked for."""

from __future__ import annotations

from pathc.backends.llvm.machine import Machine
from pathc.ir.graph import Graph
from pathc.support.diagnostics import error
from pathc.support.files import memory_limit


def check_scratch(graph: Graph, machine: Machine, needed: int, what: str = "units of layers") -> None:
    """Raise E0502 where `needed` bytes for every thread of the machine go beyond the memory; `what` takes it up."""
    total, most = needed * machine.workers, memory_limit()
    if total > most:
        text = f"`{graph.name}` needs {total} bytes for what its kernels compute, the memory can take {most}"
        raise error("E0502", text, graph.loc, help=f"use fewer {what}, or fewer threads")
