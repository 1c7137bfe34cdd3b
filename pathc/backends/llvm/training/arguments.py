"""What a trainer is given, checked before anything is built."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from numpy.typing import NDArray

from pathc.backends.llvm.training.model import Model
from pathc.backends.llvm.training.optimizers import Optimizer
from pathc.ir.graph import Graph
from pathc.support.diagnostics import did_you_mean, error
from pathc.support.files import memory_limit

LOSSES = ("none", "cross-entropy", "mse")


def check_memory(model: Model) -> None:
    """E0502 where weights, tables and tiles would not fit into the memory."""
    needed, limit = model.memory.size + model.tile_bytes * model.tiles, memory_limit()
    if needed > limit:
        text = f"training needs {needed} bytes, the memory can take {limit}"
        raise error("E0502", text, model.graph.loc, help="lower `batch` or the number of paths")


def check_arguments(
    graph: Graph,
    loss: str,
    optimizer: Optimizer | None,
    batch: int,
    frozen: Collection[str],
    weights: Mapping[str, NDArray[Any]],
) -> None:
    """Raise what is wrong with the arguments of a trainer."""
    if loss not in LOSSES:
        raise error("E0620", f"there is no loss `{loss}`", help=did_you_mean(loss, LOSSES) or "cross-entropy or mse")
    if loss == "cross-entropy" and len(graph.outputs) != 1:
        text = f"cross-entropy takes one output station, the model has {len(graph.outputs)}"
        raise error("E0620", text, graph.loc, help="use squared errors, or one output")
    if batch < 1:
        raise error("E0621", f"a batch of {batch} samples is none", help="use at least 1")
    if optimizer is not None and not getattr(optimizer, "eps", 1.0) > 0.0:
        raise error("E0621", "`eps` of Adam must be positive", help="the usual value is 1e-8")
    for name in frozen:
        if name not in weights:
            hint = did_you_mean(name, weights) or f"the model has {', '.join(weights)}"
            raise error("E0506", f"the frozen tensor `{name}` belongs to no line or station", help=hint)
