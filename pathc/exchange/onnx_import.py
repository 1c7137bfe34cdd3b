"""From an ONNX model to a path graph with dense lines, and its weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pathc.exchange.draft import Draft
from pathc.exchange.onnx_cells import CELLS, JOINS, bring_cell, joined
from pathc.exchange.onnx_file import onnx_package, read_model, tensor_array
from pathc.exchange.onnx_shapes import Sideline, sideline
from pathc.ir.catalogue import canonical
from pathc.ir.graph import Graph
from pathc.ir.types import Call
from pathc.support.diagnostics import Diagnostic, PathcError, error

_SAME = ("Flatten", "Identity", "Dropout", "Reshape")
_ACTIVATIONS = {"Relu": "relu", "Abs": "abs", "Tanh": "tanh", "Sigmoid": "sigmoid"}
_KNOWN = (
    *_SAME,
    *_ACTIVATIONS,
    *CELLS,
    *JOINS,
    "LeakyRelu",
    "Clip",
    "Softmax",
    "Gemm",
    "MatMul",
    "Add",
    "BatchNormalization",
    "Constant",
)


def import_onnx(path: str | Path) -> tuple[Graph, dict[str, NDArray[Any]]]:
    """Graph and weights of an `.onnx` file; its one input and its outputs are rows of units, or sequences of them.

    Raises PathcError: E1102 with all operators that have no counterpart, and as `read_model` and `tensor_array`.
    """
    model = read_model(path)
    graph = model.graph
    folder = Path(path).parent
    draft = Draft()
    draft.constants = {str(t.name): tensor_array(t, folder) for t in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant":
            draft.constants[str(node.output[0])] = _constant(node, folder)
    aside = sideline(graph.node, draft.constants, _KNOWN, onnx_package("onnx.numpy_helper").to_array)
    if aside.unknown:
        listed = ", ".join(f"{name} ({count})" for name, count in sorted(aside.unknown.items()))
        text = f"`{path}` has operators that cannot be brought in: {listed}"
        raise error("E1102", text, help="dense and recurrent nets come in whole; convolutions do not yet")
    draft.readers.update(str(name) for node in graph.node if node.op_type != "Shape" for name in node.input)
    draft.readers.update(str(value.name) for value in graph.output)
    inputs = [value for value in graph.input if value.name not in draft.constants]
    if len(inputs) != 1:
        raise error("E1102", f"`{path}` has {len(inputs)} inputs", help="models with one input can be brought in")
    sequences = any(node.op_type in CELLS for node in graph.node)
    start = str(inputs[0].name)
    draft.at[start] = draft.station(_units(inputs[0], str(path), sequences))
    forms = {start: "sequence" if sequences else "rows"}
    for node in graph.node:
        if node.op_type != "Constant" and str(node.output[0]) not in aside.values:
            _node(draft, node, aside, forms)
    outputs = [_output(draft, str(value.name)) for value in graph.output]
    outside = [str(value.name) for value in graph.output if forms.get(str(value.name)) not in ("rows", "sequence")]
    if outside and not draft.problems:
        text = f"the directions of the output `{outside[0]}` are not joined"
        draft.problems.append(Diagnostic("E1102", text, help="put Squeeze, or Transpose and Reshape, behind the cell"))
    if draft.problems:
        raise PathcError(*draft.problems)
    return draft.graph(str(graph.name), outputs), draft.tensors


def _options(node: Any) -> dict[str, Any]:
    return {str(a.name): onnx_package("onnx.helper").get_attribute_value(a) for a in node.attribute}


def _constant(node: Any, folder: Path) -> NDArray[Any]:
    options = _options(node)
    if "value" in options:
        return tensor_array(options["value"], folder)
    return next((np.asarray(v) for k, v in options.items() if k.startswith(("value_int", "value_float"))), np.zeros(0))


def _node(draft: Draft, node: Any, aside: Sideline, forms: dict[str, str]) -> None:
    """Bring in one node and note the form of what it computes (`joined` lists them)."""
    kind, inputs, output = str(node.op_type), [str(n) for n in node.input], str(node.output[0])
    options = _options(node)
    form = next((forms[name] for name in inputs if name in forms), "rows")
    forms[output] = form
    if kind in CELLS:
        why = bring_cell(draft, kind, inputs, [str(n) for n in node.output], options, aside.zeros)
        forms[output] = "sides" if options.get("direction") == b"bidirectional" else "one side"
        return _refuse(draft, node, why) if why else None
    if kind in JOINS or (kind in ("Reshape", "Flatten") and form != "rows"):
        axes = draft.constants.get(inputs[1]) if len(inputs) > 1 else np.asarray(options.get("axes", ()))
        forms[output] = joined(kind, form, options, [] if axes is None else [int(n) for n in axes.reshape(-1)])
        if not forms[output] or inputs[0] not in draft.at:
            forms[output] = "rows"
            return _refuse(draft, node, "it does more than join the directions of a cell")
        return _same(draft, inputs[0], output)
    if form not in ("rows", "sequence"):
        return _refuse(draft, node, "the directions of the cell before it are not joined")
    if kind in ("Gemm", "MatMul"):
        return _linear(draft, node, inputs, output, options)
    if kind == "Add":
        return _add(draft, node, inputs, output)
    if inputs[0] not in draft.at:
        return _refuse(draft, node, "its input is a constant")
    if kind in _SAME:
        return _same(draft, inputs[0], output)
    if kind == "BatchNormalization":
        return _batchnorm(draft, node, inputs, output, options)
    stage = _stage(draft, kind, inputs, options)
    station = draft.open(inputs[0])
    if station is None:
        before = draft.at[inputs[0]]
        station = draft.station(draft.sizes[before])
        draft.line("skip", before, station)
    draft.pipelines[station].append(canonical(stage))
    draft.at[output] = station
    return None


def _same(draft: Draft, value: str, output: str) -> None:
    draft.at[output] = draft.at[value]
    draft.readers[output] += draft.readers[value] - 1


def _stage(draft: Draft, kind: str, inputs: list[str], options: dict[str, Any]) -> Call:
    if kind == "LeakyRelu":
        return Call("leaky", (("slope", float(options.get("alpha", 0.01))),))
    if kind == "Clip":
        limits = [draft.constants.get(name) if name else None for name in (*inputs[1:], "", "")][:2]
        ends = [float(v.reshape(-1)[0]) if v is not None else None for v in limits]
        low, high = ends[0], ends[1]
        if low == 0.0 and high is None:
            return Call("relu")
        bounds = (low if low is not None else -3.0e38, high if high is not None else 3.0e38)
        return Call("hardtanh", (("low", bounds[0]), ("high", bounds[1])))
    return Call("softmax") if kind == "Softmax" else Call(_ACTIVATIONS[kind])


def _linear(draft: Draft, node: Any, inputs: list[str], output: str, options: dict[str, Any]) -> None:
    weights = draft.constants.get(inputs[1])
    if inputs[0] not in draft.at or weights is None or weights.ndim != 2 or options.get("transA", 0):
        return _refuse(draft, node, "it is no product of rows and a constant matrix")
    source = draft.at[inputs[0]]
    matrix = weights if options.get("transB", 0) else weights.T
    matrix = matrix.astype(np.float32) * np.float32(options.get("alpha", 1.0))
    if matrix.shape[1] != draft.sizes[source]:
        return _refuse(draft, node, f"it takes {matrix.shape[1]} values where {draft.sizes[source]} arrive")
    station = draft.dense(source, matrix)
    draft.at[output] = station
    if len(inputs) > 2 and inputs[2]:
        bias = draft.constants.get(inputs[2])
        if bias is None:
            return _refuse(draft, node, "its bias is no constant")
        draft.bias(station, bias * np.float32(options.get("beta", 1.0)))
    return None


def _add(draft: Draft, node: Any, inputs: list[str], output: str) -> None:
    constant = next((name for name in inputs if name in draft.constants), None)
    if constant is None:
        sources = [draft.at[name] for name in inputs if name in draft.at]
        if len(sources) != 2:
            return _refuse(draft, node, "it adds what is computed from shapes")
        if draft.sizes[sources[0]] != draft.sizes[sources[1]]:
            return _refuse(draft, node, "it adds rows of different lengths")
        station = draft.station(draft.sizes[sources[0]])
        for source in sources:
            draft.line("skip", source, station)
        draft.at[output] = station
        return None
    value = next(name for name in inputs if name != constant)
    station = draft.open(value)
    if draft.constants[constant].size not in (1, draft.sizes[draft.at[value]]):
        return _refuse(draft, node, "its constant is no row")
    if station is None or station == "s0" or any(stage.name != "bias" for stage in draft.pipelines[station]):
        station = draft.station(draft.sizes[draft.at[value]])
        draft.line("skip", draft.at[value], station)
    draft.bias(station, draft.constants[constant])
    draft.at[output] = station
    return None


def _batchnorm(draft: Draft, node: Any, inputs: list[str], output: str, options: dict[str, Any]) -> None:
    """Fold the normalization of inference into the linear layer before it."""
    station = draft.open(inputs[0])
    parts = [draft.constants.get(name) for name in inputs[1:5]]
    if station is None or any(part is None or part.size != draft.sizes[station] for part in parts):
        return _refuse(draft, node, "it is folded only behind a linear layer that nothing else reads")
    gamma, beta, mean, variance = (np.asarray(part, dtype=np.float64).reshape(-1) for part in parts)
    factor = gamma / np.sqrt(variance + float(options.get("epsilon", 1e-5)))
    if not draft.normalized(station, factor, beta - mean * factor):
        return _refuse(draft, node, "it does not stand right behind a linear layer")
    draft.at[output] = station
    return None


def _refuse(draft: Draft, node: Any, why: str) -> None:
    text = f"{node.op_type} `{node.name or node.output[0]}` cannot be brought in: {why}"
    draft.problems.append(Diagnostic("E1102", text, help="simplify the model before exporting it"))
    draft.at[str(node.output[0])] = next(iter(draft.sizes))


def _units(value: Any, path: str, sequences: bool) -> int:
    """Units of a row; of sequences, [steps, batch, units] or [batch, steps, units], those of a step."""
    dims = [int(d.dim_value) for d in value.type.tensor_type.shape.dim][2 if sequences else 1 :]
    if not dims or any(d <= 0 for d in dims):
        raise error(
            "E1102", f"the input of `{path}` has no fixed extents", help="export it with all extents but the batch"
        )
    return int(np.prod(dims))


def _output(draft: Draft, value: str) -> str:
    """The station of an output; an input or a station that is output already is copied by a skip."""
    if value not in draft.at:
        draft.problems.append(Diagnostic("E1102", f"the output `{value}` is a constant"))
        return "s0"
    station = draft.at[value]
    if station == "s0":
        copy = draft.station(draft.sizes[station])
        draft.line("skip", station, copy)
        return copy
    return station
