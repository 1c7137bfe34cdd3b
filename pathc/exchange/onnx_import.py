"""From an ONNX model to a path graph with dense lines, and its weights."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pathc.exchange.onnx_file import onnx_package, read_model, tensor_array
from pathc.ir.catalogue import canonical
from pathc.ir.graph import Graph, Line, Role, Station, Visit
from pathc.ir.types import Call
from pathc.support.diagnostics import Diagnostic, PathcError, error

_SAME = ("Flatten", "Identity", "Dropout", "Reshape")
_ACTIVATIONS = {"Relu": "relu", "Abs": "abs", "Tanh": "tanh", "Sigmoid": "sigmoid"}
_KNOWN = (
    *_SAME,
    *_ACTIVATIONS,
    "LeakyRelu",
    "Clip",
    "Softmax",
    "Gemm",
    "MatMul",
    "Add",
    "BatchNormalization",
    "Constant",
)


@dataclass
class _Draft:
    """Stations and lines as they grow; `at` maps ONNX values to the station that holds them."""

    sizes: dict[str, int] = field(default_factory=dict[str, int])
    pipelines: dict[str, list[Call]] = field(default_factory=dict[str, "list[Call]"])
    lines: list[Line] = field(default_factory=list["Line"])
    tensors: dict[str, NDArray[Any]] = field(default_factory=dict[str, "NDArray[Any]"])
    constants: dict[str, NDArray[Any]] = field(default_factory=dict[str, "NDArray[Any]"])
    at: dict[str, str] = field(default_factory=dict[str, str])
    readers: Counter[str] = field(default_factory=Counter[str])
    problems: list[Diagnostic] = field(default_factory=list[Diagnostic])

    def station(self, units: int, *pipeline: Call) -> str:
        """A new station."""
        name = f"s{len(self.sizes)}"
        self.sizes[name] = units
        self.pipelines[name] = list(pipeline)
        return name

    def line(self, kind: Any, source: str, destination: str) -> str:
        """A new line; its name."""
        name = f"l{len(self.lines)}"
        self.lines.append(Line(name, kind, (Visit(source, 0), Visit(destination, 1))))
        return name

    def open(self, value: str) -> str | None:
        """The station of a value if nothing but the next node reads it, so that its pipeline may grow."""
        return self.at[value] if self.readers[value] == 1 else None


def import_onnx(path: str | Path) -> tuple[Graph, dict[str, NDArray[Any]]]:
    """Graph and weights of an `.onnx` file; its one input and its outputs are rows of units.

    Raises PathcError: E1102 with all operators that have no counterpart, and as `read_model` and `tensor_array`.
    """
    model = read_model(path)
    graph = model.graph
    folder = Path(path).parent
    counts = Counter(str(node.op_type) for node in graph.node if node.op_type not in _KNOWN)
    if counts:
        listed = ", ".join(f"{name} ({count})" for name, count in sorted(counts.items()))
        text = f"`{path}` has operators that cannot be brought in: {listed}"
        raise error("E1102", text, help="dense nets come in whole; convolutions and recurrences do not yet")
    draft = _Draft()
    draft.constants = {str(t.name): tensor_array(t, folder) for t in graph.initializer}
    draft.readers.update(str(name) for node in graph.node for name in node.input)
    draft.readers.update(str(value.name) for value in graph.output)
    inputs = [value for value in graph.input if value.name not in draft.constants]
    if len(inputs) != 1:
        raise error("E1102", f"`{path}` has {len(inputs)} inputs", help="models with one input can be brought in")
    draft.at[str(inputs[0].name)] = draft.station(_units(inputs[0], str(path)))
    for node in graph.node:
        _node(draft, node, folder)
    outputs = [_output(draft, str(value.name)) for value in graph.output]
    if draft.problems:
        raise PathcError(*draft.problems)
    return _graph(str(graph.name), draft, outputs), draft.tensors


def _node(draft: _Draft, node: Any, folder: Path) -> None:
    kind, inputs, output = str(node.op_type), [str(n) for n in node.input], str(node.output[0])
    options = {str(a.name): onnx_package("onnx.helper").get_attribute_value(a) for a in node.attribute}
    if kind == "Constant":
        draft.constants[output] = tensor_array(options["value"], folder) if "value" in options else np.zeros(0)
        return None
    if kind in ("Gemm", "MatMul"):
        return _linear(draft, node, inputs, output, options)
    if kind == "Add":
        return _add(draft, node, inputs, output)
    if inputs[0] not in draft.at:
        return _refuse(draft, node, "its input is a constant")
    if kind in _SAME:
        draft.at[output] = draft.at[inputs[0]]
        draft.readers[output] += draft.readers[inputs[0]] - 1
        return None
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


def _stage(draft: _Draft, kind: str, inputs: list[str], options: dict[str, Any]) -> Call:
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


def _linear(draft: _Draft, node: Any, inputs: list[str], output: str, options: dict[str, Any]) -> None:
    weights = draft.constants.get(inputs[1])
    if inputs[0] not in draft.at or weights is None or weights.ndim != 2 or options.get("transA", 0):
        return _refuse(draft, node, "it is no product of rows and a constant matrix")
    source = draft.at[inputs[0]]
    matrix = weights if options.get("transB", 0) else weights.T
    matrix = matrix.astype(np.float32) * np.float32(options.get("alpha", 1.0))
    if matrix.shape[1] != draft.sizes[source]:
        return _refuse(draft, node, f"it takes {matrix.shape[1]} values where {draft.sizes[source]} arrive")
    station = draft.station(matrix.shape[0])
    draft.tensors[f"{draft.line('dense', source, station)}.1"] = np.ascontiguousarray(matrix)
    draft.at[output] = station
    if len(inputs) > 2 and inputs[2]:
        bias = draft.constants.get(inputs[2])
        if bias is None:
            return _refuse(draft, node, "its bias is no constant")
        _bias(draft, station, bias * np.float32(options.get("beta", 1.0)))
    return None


def _bias(draft: _Draft, station: str, bias: NDArray[Any]) -> None:
    values = np.broadcast_to(bias.astype(np.float32).reshape(-1), (draft.sizes[station],))
    name = f"{station}.bias"
    if name in draft.tensors:
        draft.tensors[name] = draft.tensors[name] + values
    else:
        draft.tensors[name] = np.array(values)
        draft.pipelines[station].insert(0, Call("bias"))


def _add(draft: _Draft, node: Any, inputs: list[str], output: str) -> None:
    constant = next((name for name in inputs if name in draft.constants), None)
    if constant is None:
        sources = [draft.at[name] for name in inputs]
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
    _bias(draft, station, draft.constants[constant])
    draft.at[output] = station
    return None


def _batchnorm(draft: _Draft, node: Any, inputs: list[str], output: str, options: dict[str, Any]) -> None:
    """Fold the normalization of inference into the linear layer before it."""
    station = draft.open(inputs[0])
    lines = [line for line in draft.lines if line.visits[1].station == station]
    parts = [draft.constants.get(name) for name in inputs[1:5]]
    dense = [line for line in lines if line.kind == "dense"]
    if (
        station is None
        or len(lines) != 1
        or not dense
        or any(p is None or p.size != draft.sizes[station] for p in parts)
    ):
        return _refuse(draft, node, "it is folded only behind a linear layer that nothing else reads")
    if any(stage.name != "bias" for stage in draft.pipelines[station]):
        return _refuse(draft, node, "it stands behind an activation")
    gamma, beta, mean, variance = (np.asarray(part, dtype=np.float64) for part in parts)
    factor = gamma / np.sqrt(variance + float(options.get("epsilon", 1e-5)))
    name = f"{dense[0].name}.1"
    draft.tensors[name] = (draft.tensors[name] * factor[:, None]).astype(np.float32)
    before = draft.tensors.get(f"{station}.bias", np.zeros(len(factor), np.float32))
    draft.tensors[f"{station}.bias"] = np.zeros(len(factor), np.float32)
    if not draft.pipelines[station]:
        draft.pipelines[station].append(Call("bias"))
    draft.tensors[f"{station}.bias"] = ((before - mean) * factor + beta).astype(np.float32)
    draft.at[output] = station
    return None


def _refuse(draft: _Draft, node: Any, why: str) -> None:
    text = f"{node.op_type} `{node.name or node.output[0]}` cannot be brought in: {why}"
    draft.problems.append(Diagnostic("E1102", text, help="simplify the model before exporting it"))
    draft.at[str(node.output[0])] = next(iter(draft.sizes))


def _units(value: Any, path: str) -> int:
    dims = [int(d.dim_value) for d in value.type.tensor_type.shape.dim][1:]
    if not dims or any(d <= 0 for d in dims):
        raise error(
            "E1102", f"the input of `{path}` has no fixed extents", help="export it with all extents but the batch"
        )
    return int(np.prod(dims))


def _output(draft: _Draft, value: str) -> str:
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


def _graph(name: str, draft: _Draft, outputs: list[str]) -> Graph:
    roles: dict[str, Role] = {"s0": "input"}
    roles.update(dict.fromkeys(outputs, "output"))
    stations = tuple(
        Station(each, roles.get(each, "layer"), (units,), pipeline=tuple(draft.pipelines[each]))
        for each, units in draft.sizes.items()
    )
    clean = re.sub(r"\W", "_", name, flags=re.ASCII)
    return Graph(clean if re.match(r"[A-Za-z_]", clean) else f"net_{clean}", stations, tuple(draft.lines))
