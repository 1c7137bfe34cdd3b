"""From an ONNX model to a path graph with dense lines, and its weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pathc.exchange.draft import Draft
from pathc.exchange.onnx_cells import CELLS, JOINS, bring_cell, joined
from pathc.exchange.onnx_file import onnx_package, read_model, tensor_array
from pathc.exchange.onnx_filters import FILTERS, bring_filter, has_extents
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
    "Sum",
    "Mul",
    *FILTERS,
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
        raise error("E1102", text, help="dense, convolutional and recurrent nets come in whole")
    draft.readers.update(str(name) for node in graph.node if node.op_type != "Shape" for name in node.input)
    draft.readers.update(str(value.name) for value in graph.output)
    inputs = [value for value in graph.input if value.name not in draft.constants]
    if len(inputs) != 1:
        raise error("E1102", f"`{path}` has {len(inputs)} inputs", help="models with one input can be brought in")
    sequences = any(node.op_type in CELLS for node in graph.node)
    start = str(inputs[0].name)
    units, extents = _units(inputs[0], str(path), sequences, has_extents(graph.node))
    draft.at[start] = draft.station(units, extents=extents)
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
    if kind in ("Add", "Sum"):
        return _add(draft, node, inputs, output)
    if kind == "Mul":
        return _scaled(draft, node, inputs, output)
    if inputs[0] not in draft.at:
        return _refuse(draft, node, "its input is a constant")
    spread = bool(draft.extents[draft.at[inputs[0]]])
    if kind in _SAME:
        if spread and kind in ("Flatten", "Reshape") and (why := _flatten(draft, kind, inputs, output, options)):
            return _refuse(draft, node, why)
        return _same(draft, inputs[0], output)
    if kind in FILTERS and (spread or kind != "BatchNormalization"):
        why = bring_filter(draft, kind, inputs, output, options)
        return _refuse(draft, node, why) if why else None
    if kind == "BatchNormalization":
        return _batchnorm(draft, node, inputs, output, options)
    if kind == "Softmax" and spread and draft.read_size(draft.at[inputs[0]]) != draft.sizes[draft.at[inputs[0]]]:
        axis = int(options.get("axis", -1)) % (1 + len(draft.extents[draft.at[inputs[0]]]) + 1)
        if inputs[0] in draft.flattened or axis != 1:
            return _refuse(draft, node, "it does not go over the channels")
    station = draft.open(inputs[0]) or draft.copied(inputs[0])
    draft.pipelines[station].append(canonical(_stage(draft, kind, inputs, options)))
    draft.at[output] = station
    if inputs[0] in draft.flattened:
        draft.flattened.add(output)
    return None


def _same(draft: Draft, value: str, output: str) -> None:
    draft.at[output] = draft.at[value]
    draft.readers[output] += draft.readers[value] - 1
    if value in draft.flattened:
        draft.flattened.add(output)


def _flatten(draft: Draft, kind: str, inputs: list[str], output: str, options: dict[str, Any]) -> str:
    """Note that a value with extents becomes rows; why that is not what a node does, empty if it is."""
    if kind == "Flatten":
        rows = int(options.get("axis", 1)) == 1
    else:
        shape = draft.constants.get(inputs[1])
        size = draft.read_size(draft.at[inputs[0]])
        # What is computed from shapes names the batch; the rest of the shape is then the only one left.
        rows = shape is None or (shape.size == 2 and int(shape.reshape(-1)[1]) in (-1, size))
    if not rows:
        return "it does not make rows of all positions"
    draft.flattened.add(output)
    return ""


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
    arriving = draft.read_size(source)
    if draft.extents[source] and inputs[0] not in draft.flattened and arriving != draft.sizes[source]:
        return _refuse(draft, node, "its input has extents")
    if matrix.shape[1] != arriving:
        return _refuse(draft, node, f"it takes {matrix.shape[1]} values where {arriving} arrive")
    station = draft.dense(source, matrix)
    draft.at[output] = station
    if len(inputs) > 2 and inputs[2]:
        bias = draft.constants.get(inputs[2])
        if bias is None:
            return _refuse(draft, node, "its bias is no constant")
        draft.bias(station, bias * np.float32(options.get("beta", 1.0)))
    return None


def _add(draft: Draft, node: Any, inputs: list[str], output: str) -> None:
    """Skips into one station for what is computed, a bias for what is constant."""
    values = [name for name in inputs if name in draft.at]
    constants = [name for name in inputs if name in draft.constants]
    if not values or len(values) + len(constants) != len(inputs):
        return _refuse(draft, node, "it adds what is computed from shapes")
    shapes = {(draft.sizes[draft.at[name]], draft.read_extents(draft.at[name])) for name in values}
    if len(shapes) != 1:
        return _refuse(draft, node, "it adds rows of different lengths")
    ((units, extents),) = shapes
    flattened = any(name in draft.flattened for name in values)
    rank = len(extents)
    for row in (draft.constants[name] for name in constants):
        across = not rank or row.size == 1 or (not flattened and set(row.shape[-rank:]) == {1})
        if row.size not in (1, units) or not across:
            return _refuse(draft, node, "its constant is no row")
    station = draft.open(values[0]) if len(values) == 1 else None
    if station is None or station == "s0" or any(s.name not in ("bias", "conv") for s in draft.pipelines[station]):
        station = draft.station(units, extents=extents)
        for name in values:
            draft.line("skip", draft.at[name], station)
    for name in constants:
        draft.bias(station, draft.constants[name])
    draft.at[output] = station
    if flattened:
        draft.flattened.add(output)
    return None


def _scaled(draft: Draft, node: Any, inputs: list[str], output: str) -> None:
    """A skip with a scale for a product with one number."""
    value = next((name for name in inputs if name in draft.at), "")
    factor = draft.constants.get(next((name for name in inputs if name != value), ""))
    if not value or factor is None or factor.size != 1:
        return _refuse(draft, node, "it multiplies by more than one number")
    draft.at[output] = draft.copied(value, float(factor.reshape(-1)[0]))
    if value in draft.flattened:
        draft.flattened.add(output)
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


def _units(value: Any, path: str, sequences: bool, spread: bool) -> tuple[int, tuple[int, ...]]:
    """Units of a row, or channels and extents of a `spread` model.

    Of sequences, [steps, batch, units] or [batch, steps, units], the units of a step.
    """
    dims = [int(d.dim_value) for d in value.type.tensor_type.shape.dim][2 if sequences else 1 :]
    if not dims or any(d <= 0 for d in dims):
        raise error(
            "E1102", f"the input of `{path}` has no fixed extents", help="export it with all extents but the batch"
        )
    if spread and not sequences and len(dims) in (2, 3):
        return dims[0], tuple(dims[1:])
    return int(np.prod(dims)), ()


def _output(draft: Draft, value: str) -> str:
    """The station of an output; an input or a station that is output already is copied by a skip."""
    if value not in draft.at:
        draft.problems.append(Diagnostic("E1102", f"the output `{value}` is a constant"))
        return "s0"
    station = draft.at[value]
    if station == "s0":
        return draft.copied(value)
    return station
