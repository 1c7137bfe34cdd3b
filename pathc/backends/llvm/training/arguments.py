"""What a trainer is given, checked before anything is built."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pathc.backends.llvm.training.model import Model
from pathc.backends.llvm.training.optimizers import Optimizer
from pathc.backends.llvm.training.stages import WHOLE
from pathc.ir.cells import without_cells
from pathc.ir.extents import POOLS, pool_extents
from pathc.ir.graph import Graph
from pathc.ir.misfits import unscaled_only, without_steps
from pathc.support.diagnostics import Diagnostic, PathcError, did_you_mean, error
from pathc.support.files import memory_limit


def untrainable(graph: Graph) -> list[Diagnostic]:
    """What the trainer has no kernels for: E0376 for recurrent cells, E0379 for what belongs to extents."""
    who = "the compiled trainer has"
    found = [*without_cells(graph, who), *without_steps(graph, who), *unscaled_only(graph, who)]
    for station in graph.stations:
        extents = station.shape[1:]
        for stage in station.pipeline:
            extents = pool_extents(stage, extents) if stage.name in POOLS else extents
            if stage.name in WHOLE and math.prod(extents) > 1:
                text = f"`{station.name}` has the stage `{stage.name}` at every position, for which {who} no kernel"
                help = "use the target `reference`, or a pool over all positions in front of it"
                found.append(Diagnostic("E0379", text, station.loc, help=help))
    return found


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


def check_state(mine: Mapping[str, NDArray[Any]], given: Mapping[str, NDArray[Any]]) -> None:
    """Raise E0622 unless a state has the arrays of one's own."""
    wanted = {key: value.shape for key, value in mine.items()}
    found = {key: np.shape(value) for key, value in given.items()}
    if wanted != found:
        off = sorted(set(wanted.items()) ^ set(found.items()))[0][0]
        text = f"the state of the optimizer does not fit at `{off}`"
        raise error("E0622", text, help="resume with the model and the optimizer it was saved with")


def unnamed(count: int, first: int, units: int) -> PathcError:
    """E0710 for labels that name no output."""
    text = f"{count} labels name no output, the first is {first}"
    return error("E0710", text, help=f"labels are 0 to {units - 1}")
