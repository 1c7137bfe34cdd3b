"""The precision of factors of products, and what training with less than float32 does not know."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from pathc.backends.llvm.machine import Machine
from pathc.backends.llvm.tiles.code import tiled
from pathc.ir.graph import Graph
from pathc.ir.misfits import flat_only
from pathc.support.diagnostics import Diagnostic, PathcError, error

Precision = Literal["f32", "bf16"]
PRECISIONS: tuple[Precision, ...] = ("f32", "bf16")
_CURE = "train with precision f32"


def check_precision(graph: Graph, machine: Machine, precision: str) -> None:
    """Raise what products of factors of this precision do not know: E0603, E0379 for what is not flat."""
    if precision not in PRECISIONS:
        raise error("E0603", f"there is no precision `{precision}`", help=" or ".join(PRECISIONS))
    if precision == "f32":
        return
    if not tiled(machine, "tdpbf16ps"):
        text = f"{machine} has no tile registers for bfloat16 (AMX), which training with them takes"
        raise error("E0603", text, help=_CURE)
    found = [replace(each, help=_CURE) for each in flat_only(graph, "training with bfloat16 has")]
    tied = next((line for line in graph.lines if line.tied), None)
    if tied is not None:
        text = f"`{tied.name}` shares its weights with another line, for which training with bfloat16 has no kernels"
        found.append(Diagnostic("E0603", text, tied.loc, help=_CURE))
    if found:
        raise PathcError(*found)
