"""Evaluation of nets for accuracies: those with extents are compiled, for the interpreters take minutes over them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pathc.backends.base import Request
from pathc.ir.compress.quantize import Quantized
from pathc.ir.graph import Graph
from pathc.ir.interp import forward
from pathc.ir.interp.junctions import float_tensors
from pathc.ir.quantized import integer_forward, integer_network
from pathc.ir.weights import Tensors
from pathc.support.diagnostics import PathcError


def compiled_forward(graph: Graph, weights: Tensors, x: NDArray[Any]) -> NDArray[Any]:
    """Outputs for x [samples, *shape of the input], in float32 where kernels compute extents, else in float64."""
    from pathc.backends.llvm.backend import BACKEND

    if _flat(graph) or BACKEND.refusals(graph):
        return forward(graph, weights, x)
    return BACKEND.compile(Request(graph, float_tensors(graph, weights)))(x.astype(np.float32))


def compiled_integers(result: Quantized, x: NDArray[Any]) -> NDArray[Any]:
    """Outputs of a calibrated net in integer arithmetic for x [samples, *shape of the input]."""
    from pathc.backends.llvm.backend import BACKEND

    if not _flat(result.graph):
        try:
            request = Request(result.graph, {}, {"integers": True}, stored=result.tensors)
            return BACKEND.compile(request)(x.astype(np.float32))
        except PathcError as refused:
            if {diagnostic.code for diagnostic in refused.diagnostics} != {"E0379"}:
                raise
    return integer_forward(integer_network(result.graph, result.tensors), x)


def _flat(graph: Graph) -> bool:
    return all(len(station.shape) == 1 for station in graph.stations)
