"""Accuracy of a net on a data set: nets with extents are compiled, for the interpreter takes minutes over them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pathc.backends.base import Request
from pathc.ir.compress.report import accuracy_of
from pathc.ir.graph import Graph
from pathc.ir.inputs import as_samples
from pathc.ir.interp.junctions import float_tensors
from pathc.ir.weights import Tensors

_CHUNK = 1024


def compiled_accuracy(graph: Graph, weights: Tensors, rows: NDArray[Any], labels: NDArray[np.int64]) -> float:
    """Percent of samples [samples, units] whose largest output is their label, in float32 where kernels compute it."""
    from pathc.backends.llvm.backend import BACKEND

    if all(len(station.shape) == 1 for station in graph.stations) or BACKEND.refusals(graph):
        return accuracy_of(graph, weights, rows, labels)
    net = BACKEND.compile(Request(graph, float_tensors(graph, weights)))
    parts: list[NDArray[np.float32]] = [
        net(as_samples(graph, rows[i : i + _CHUNK])) for i in range(0, len(rows), _CHUNK)
    ]
    return 100.0 * float((np.concatenate(parts).reshape(len(rows), -1).argmax(axis=1) == labels).mean())
