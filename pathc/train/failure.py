"""What to say when a loss is no longer finite: the step, the layer, the norm."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from pathc.ir.graph import Graph
from pathc.ir.inputs import as_samples
from pathc.ir.interp import evaluate
from pathc.ir.order import station_order
from pathc.support.diagnostics import Diagnostic, PathcError

_LARGEST = float(np.finfo(np.float32).max)
_SAMPLES = 8


def diverged(
    graph: Graph, weights: Mapping[str, NDArray[np.float32]], x: NDArray[np.float32], loss: float, step: int, epoch: int
) -> PathcError:
    """E0907 for a step whose loss is `loss`, with the weights before that step and its samples.

    The layer is the first one whose sums are beyond float32, or the one with the largest norm.
    """
    head = f"the loss is {loss:g} in step {step} (epoch {epoch})"
    for name, values in weights.items():
        if not np.isfinite(values).all():
            return _error(f"{head}: the weights `{name}` hold {_norm(values)}", weights)
    with np.errstate(all="ignore"):
        sums = evaluate(graph, weights, as_samples(graph, x[:_SAMPLES])).sums
        sizes = {name: float(np.abs(sums[name]).max(initial=0.0)) for name in station_order(graph)}
        beyond = [name for name, size in sizes.items() if not size <= _LARGEST]
        layers = [s.name for s in graph.stations if s.role != "input"] or list(sizes)
        layer = beyond[0] if beyond else max(layers, key=lambda name: sizes[name])
        norm = float(np.linalg.norm(sums[layer]))
    return _error(f"{head}: the sums of the layer `{layer}` have the norm {norm:.3g}", weights)


def not_finite(weights: Mapping[str, NDArray[np.float32]], step: int, epoch: int) -> PathcError | None:
    """E0907 if weights are NaN or infinite after the last step of an epoch."""
    for name, values in weights.items():
        if not np.isfinite(values).all():
            return _error(f"after step {step} (epoch {epoch}) the weights `{name}` hold {_norm(values)}", weights)
    return None


def _error(text: str, weights: Mapping[str, NDArray[np.float32]]) -> PathcError:
    found = Diagnostic("E0907", text, help="use a smaller learning rate (--lr), or a warm-up (--warmup 1)")
    norms = ", ".join(f"{name} {_norm(values)}" for name, values in weights.items())
    return PathcError(found.note(f"norms of the weights: {norms}").note("the last checkpoint is as it was"))


def _norm(values: NDArray[np.float32]) -> str:
    lost = int((~np.isfinite(values)).sum())
    if lost:
        return f"{lost} values that are NaN or infinite"
    return f"{float(np.linalg.norm(values.astype(np.float64))):.3g}"
