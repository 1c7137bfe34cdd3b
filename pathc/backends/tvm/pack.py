"""Weights in the order in which kernels read them: one array for every parameter of the plan, packed once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pathc.backends.tvm.plan import Blocks, NetPlan, Rows
from pathc.backends.tvm.tir import weight_shape
from pathc.ir.blocks import path_slots
from pathc.ir.facts import Blocks as Fact
from pathc.ir.generators import resolve
from pathc.ir.graph import Graph
from pathc.ir.interp.junctions import tensor_of
from pathc.ir.weights import tensor_values

Packed = dict[str, NDArray[Any]]


def pack(plan: NetPlan, graph: Graph, weights: Mapping[str, NDArray[Any]]) -> Packed:
    """Arrays by the name of the parameter (`k1_w`): weights and biases float32, indices int32.

    Weights of paths that share an edge of a block are added up; silent units have bias 0.
    """
    found: Packed = {}
    for op in plan.ops:
        if isinstance(op, Blocks):
            found[f"{op.name}_w"] = _blocks(plan, op, graph, weights)
        elif isinstance(op, Rows):
            found.update(_rows(plan, op, graph, weights))
        if op.end.init == "bias":
            bias = tensor_values(weights, f"{op.end.station}.bias").astype(np.float32)
            found[f"{op.name}_b"] = np.pad(bias, (0, op.end.units - op.end.real))
    return found


def _line_of(graph: Graph, junction: str) -> tuple[Any, int]:
    name, _, number = junction.rpartition(".")
    return graph.line(name), int(number)


def _blocks(plan: NetPlan, op: Blocks, graph: Graph, weights: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
    line, number = _line_of(graph, op.junction)
    values = tensor_values(weights, tensor_of(line, number))
    if op.length == 0:
        matrix = values.T if not line.tied else values
        silent = (0, op.fan_in - matrix.shape[0]), (0, op.fan_out - matrix.shape[1])
        whole = np.pad(matrix, silent)[None]
    else:
        generator = resolve(line, graph)
        source, target = generator.affine(number - 1), generator.affine(number)
        fact = next(f for f in graph.facts_of(Fact) if (f.line, f.junction, f.start) == (line.name, number, op.start))
        if source is None or target is None:
            raise ValueError(f"{op.junction} has blocks, but its paths are not linear")
        slots = path_slots(fact, source, target)
        sums = np.bincount(
            slots, weights=values[op.start : op.start + op.length], minlength=op.count * op.fan_out * op.fan_in
        )
        whole = sums.reshape(op.count, op.fan_out, op.fan_in).transpose(0, 2, 1)
    ordered = whole if plan.lanes > 1 else whole.transpose(1, 0, 2)
    return np.ascontiguousarray(ordered, np.float32).reshape(weight_shape(plan, op))


def _rows(plan: NetPlan, op: Rows, graph: Graph, weights: Mapping[str, NDArray[Any]]) -> Packed:
    line, number = _line_of(graph, op.junction)
    generator = resolve(line, graph)
    values = tensor_values(weights, tensor_of(line, number))
    src, dst, weight = (
        np.concatenate(parts)
        for parts in zip(
            *(
                (generator.units(number - 1, a, a + n), generator.units(number, a, a + n), values[a : a + n])
                for a, n in op.windows
            ),
            strict=True,
        )
    )
    order = np.lexsort((src, dst))
    src, dst, weight = src[order], dst[order], weight[order].astype(np.float32)
    starts = np.searchsorted(dst, np.arange(op.end.units + 1))
    name = op.name
    if op.form == "csr":
        pointers = {f"{name}_i": src.astype(np.int32), f"{name}_p": starts.astype(np.int32)}
        return {f"{name}_w": weight, **pointers}
    slots = np.full((op.end.units, op.width), -1, np.int32)
    values32 = np.zeros(slots.shape, np.float32)
    column = np.arange(len(dst)) - starts[dst]
    slots[dst, column], values32[dst, column] = src, weight
    if plan.lanes == 1:
        slots, values32 = slots.T, values32.T
    return {f"{name}_w": np.ascontiguousarray(values32), f"{name}_i": np.ascontiguousarray(slots)}
