"""Weights in the order in which kernels read them: one array for every parameter of the plan, packed once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pathc.backends.tvm.plan import Blocks, Edges, NetPlan, Outer, Rows, Total
from pathc.backends.tvm.tir import weight_shape
from pathc.ir.blocks import path_slots
from pathc.ir.facts import Blocks as Fact
from pathc.ir.generators import resolve
from pathc.ir.graph import Graph
from pathc.ir.interp.junctions import tensor_of
from pathc.ir.weights import expected_tensors, tensor_values

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
        elif isinstance(op, Edges):
            src, dst, _ = _paths(op, graph)
            found |= {f"{op.name}_i": src.astype(np.int32), f"{op.name}_j": dst.astype(np.int32)}
        if op.end.init == "bias":
            bias = tensor_values(weights, f"{op.end.station}.bias").astype(np.float32)
            found[f"{op.name}_b"] = np.pad(bias, (0, op.end.units - op.end.real))
    return found


def unpack(plan: NetPlan, graph: Graph, gradients: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[np.float32]]:
    """Gradients by the name of the tensor, in its shape, from those by the name of the array (`k9_g`)."""
    found = {name: np.zeros(shape, np.float32) for name, shape in expected_tensors(graph).items()}
    for op in plan.ops:
        if isinstance(op, Total):
            found[f"{op.end.station}.bias"] += gradients[f"{op.name}_g"][: op.end.real]
        elif isinstance(op, Outer | Edges):
            line, number = _line_of(graph, op.junction)
            tensor, part = found[tensor_of(line, number)], gradients[f"{op.name}_g"]
            if isinstance(op, Edges):
                tensor[_paths(op, graph)[2]] += part
            elif op.of.length == 0:
                matrix = part[0] if line.tied else part[0].T
                tensor += matrix[: tensor.shape[0], : tensor.shape[1]]
            else:
                slots = _slots(op.of, graph)
                tensor[op.of.start : op.of.start + op.of.length] += part.transpose(0, 2, 1).reshape(-1)[slots]
    return found


def _line_of(graph: Graph, junction: str) -> tuple[Any, int]:
    name, _, number = junction.rpartition(".")
    return graph.line(name), int(number)


def _blocks(plan: NetPlan, op: Blocks, graph: Graph, weights: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
    line, number = _line_of(graph, op.junction)
    values = tensor_values(weights, tensor_of(line, number))
    if op.length == 0:
        matrix = values if line.tied != op.transposed else values.T
        silent = (0, op.fan_in - matrix.shape[0]), (0, op.fan_out - matrix.shape[1])
        whole = np.pad(matrix, silent)[None]
    else:
        rows, columns = (op.fan_in, op.fan_out) if op.transposed else (op.fan_out, op.fan_in)
        given = values[op.start : op.start + op.length]
        sums = np.bincount(_slots(op, graph), weights=given, minlength=op.count * rows * columns)
        whole = sums.reshape(op.count, rows, columns).transpose(0, 2, 1)
        if op.transposed:
            whole = whole.transpose(0, 2, 1)
    ordered = whole if plan.lanes > 1 else whole.transpose(1, 0, 2)
    return np.ascontiguousarray(ordered, np.float32).reshape(weight_shape(plan, op))


def _slots(op: Blocks, graph: Graph) -> NDArray[np.int64]:
    """Where the weight of every path of the window lies in [blocks, rows, columns]."""
    line, number = _line_of(graph, op.junction)
    generator = resolve(line, graph)
    source, target = generator.affine(number - 1), generator.affine(number)
    fact = next(f for f in graph.facts_of(Fact) if (f.line, f.junction, f.start) == (line.name, number, op.start))
    if source is None or target is None:
        raise ValueError(f"{op.junction} has blocks, but its paths are not linear")
    return path_slots(fact, source, target)


def _paths(op: Rows | Edges, graph: Graph) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Source unit, destination unit and index of every path of the windows."""
    line, number = _line_of(graph, op.junction)
    generator = resolve(line, graph)
    index = np.concatenate([np.arange(a, a + n) for a, n in op.windows])
    src, dst = (
        np.concatenate([generator.units(visit, a, a + n) for a, n in op.windows]) for visit in (number - 1, number)
    )
    return src.astype(np.int64), dst.astype(np.int64), index


def _rows(plan: NetPlan, op: Rows, graph: Graph, weights: Mapping[str, NDArray[Any]]) -> Packed:
    line, number = _line_of(graph, op.junction)
    src, dst, index = _paths(op, graph)
    if op.transposed:
        src, dst = dst, src
    weight = tensor_values(weights, tensor_of(line, number))[index]
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
