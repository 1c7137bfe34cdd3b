"""From a graph and its weights to an ONNX model that any runtime evaluates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pathc.exchange.onnx_cells_out import Constant, cell_nodes
from pathc.exchange.onnx_file import onnx_package
from pathc.exchange.onnx_filters_out import dense_matrix, filter_node, stage_nodes
from pathc.ir.catalogue import options_of
from pathc.ir.cells import cell_of, cell_stage
from pathc.ir.compress.edges import weighted_edges
from pathc.ir.extents import read_extents
from pathc.ir.graph import Graph, Station
from pathc.ir.interp.base import Junction
from pathc.ir.interp.expand import owner
from pathc.ir.interp.filters import FilterJunction, PartJunction
from pathc.ir.interp.junctions import PathJunction, SkipJunction
from pathc.ir.interp.network import Network, prepare
from pathc.ir.misfits import BEYOND
from pathc.ir.sequences import gives_sequences
from pathc.ir.types import Call
from pathc.ir.weights import Tensors, tensor_values
from pathc.support.diagnostics import error
from pathc.support.files import memory_limit

_OPSET = 17
_SUMS = ("bias", "conv", "concat")
"""Stages that are part of what a station sums up."""
_PLAIN = {"relu": "Relu", "abs": "Abs", "tanh": "Tanh", "sigmoid": "Sigmoid", "identity": "Identity"}


def export_onnx(graph: Graph, weights: Tensors) -> bytes:
    """The model in ONNX, operator set 17, inputs and outputs under their stations' names.

    They are float [batch, units], of nets with extents [batch, channels, *extents], with cells [batch, steps, units].

    Paths that share an edge are added; a junction is written as the matrix of its edges, zeros included, since ONNX has
    no sparse product. Raises PathcError: E1104 for what it cannot hold, E0502 for matrices beyond memory and as
    `pathc.ir.interp.forward`.
    """
    onnx = onnx_package()
    helper, numpy_helper = onnx_package("onnx.helper"), onnx_package("onnx.numpy_helper")
    network = prepare(graph, weights)
    if gives_sequences(graph):
        _refuse_beyond(graph)
    nodes: list[Any] = []
    constants: list[Any] = []

    def constant(name: str, values: NDArray[Any]) -> str:
        constants.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    for station in network.stations:
        cell, total = cell_of(station), f"{station.name}.sum"
        if cell is not None:
            nodes.extend(cell_nodes(helper, constant, network, weights, cell, station))
        else:
            nodes.extend(_sums(helper, constant, network, weights, station))
        functions = (s for s in station.pipeline if s.name not in _SUMS and s != cell_stage(station))
        for number, stage in enumerate(functions):
            after = f"{station.name}.stage{number}"
            made_of = stage_nodes(helper, constant, weights, station, stage, total, after)
            nodes.extend(made_of or [_stage(helper, constant, station, stage, total, after)])
            total = after
        nodes.append(helper.make_node("Identity", [total], [f"{station.name}.out"]))
    axes = ["batch", "steps"] if gives_sequences(graph) else ["batch"]
    info, kind = helper.make_tensor_value_info, onnx.TensorProto.FLOAT
    ends = [
        [info(f"{s.name}.in", kind, [*axes, s.real_units, *s.shape[1:]]) for s in graph.inputs],
        [info(f"{s.name}.out", kind, [*axes, s.real_units, *_results(s)]) for s in graph.outputs],
    ]
    made = helper.make_graph(nodes, graph.name, ends[0], ends[1], constants)
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", _OPSET)], producer_name="pathc")
    model.ir_version = 8
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def _refuse_beyond(graph: Graph) -> None:
    """Raise E1104 for extents and what belongs to them, whose operators in ONNX know no steps."""
    for station in graph.stations:
        stage = next((stage.name for stage in station.pipeline if stage.name in BEYOND), "")
        if stage or len(station.shape) > 1:
            what = f"the stage `{stage}`" if stage else "extents"
            text = f"station `{station.name}` has {what} in a net of sequences, which ONNX cannot hold"
            raise error("E1104", text, station.loc, help="compile with -t llvm")


def _sums(helper: Any, constant: Constant, network: Network, weights: Tensors, station: Station) -> list[Any]:
    """Nodes from what lines bring to `<station>.sum`."""
    nodes = list[Any]()
    terms = [f"{station.name}.in"] if station.role == "input" else []
    stations = {each.name: each for each in network.stations}
    for number, junction in enumerate(network.into[station.name]):
        term = f"{station.name}.term{number}"
        own, source = stations[junction.source], f"{junction.source}.out"
        if isinstance(junction, FilterJunction):
            nodes.append(filter_node(helper, constant, weights, junction, (own, station), (source, term)))
        elif isinstance(junction, SkipJunction | PartJunction) and (
            len(own.shape) > 1 or isinstance(junction, PartJunction) or own.real_units == station.real_units
        ):
            scale = constant(f"{term}.scale", np.array(junction.scale, np.float32))
            nodes.append(helper.make_node("Mul", [source, scale], [term]))
        else:
            matrix = constant(f"{term}.weights", _matrix(stations, weights, junction))
            if len(own.shape) > 1:
                nodes.append(helper.make_node("Flatten", [source], [f"{term}.rows"], axis=1))
                source = f"{term}.rows"
            nodes.append(helper.make_node("MatMul", [source, matrix], [term]))
        terms.append(term)
    if station.stage("concat") is not None:
        nodes.append(helper.make_node("Concat", terms, [f"{station.name}.parts"], axis=1))
        terms = [f"{station.name}.parts"]
    if station.stage("bias") is not None or not terms:
        bias = (
            tensor_values(weights, f"{owner(station.name)}.bias") if station.stage("bias") is not None else np.zeros(1)
        )
        rows = bias.astype(np.float32).reshape(-1, *[1] * (len(station.shape) - 1))
        if not terms:
            rows = np.broadcast_to(rows, (station.real_units, *station.shape[1:]))[None]
        terms.append(constant(f"{station.name}.bias", rows))
    nodes.append(helper.make_node("Sum", terms, [f"{station.name}.sum"]))
    return nodes


def _results(station: Station) -> tuple[int, ...]:
    """Extents of an output, none if it is flat."""
    return read_extents(station) if len(station.shape) > 1 else ()


def _matrix(stations: Mapping[str, Station], weights: Tensors, junction: Junction) -> NDArray[np.float32]:
    """The weights as [units in, units out], silent units left out."""
    source, destination = stations[junction.source], stations[junction.destination]
    if (len(source.shape) > 1 or len(destination.shape) > 1) and not isinstance(junction, PathJunction):
        return dense_matrix(weights, junction)
    if 8 * source.units * destination.units > min(memory_limit(), 1 << 31):
        text = f"`{junction.tensor}` as a matrix of {source.units} x {destination.units} does not fit into an ONNX file"
        raise error("E0502", text, destination.loc, help="ONNX has no sparse product")
    if isinstance(junction, SkipJunction):
        return np.eye(source.real_units, destination.real_units, dtype=np.float32) * np.float32(junction.scale)
    edges = weighted_edges(weights, junction)
    matrix = np.zeros((source.units, destination.units))
    np.add.at(matrix, (edges.source, edges.destination), edges.weights)
    return matrix[: source.real_units, : destination.real_units].astype(np.float32)


def _stage(helper: Any, constant: Any, station: Station, stage: Call, before: str, after: str) -> Any:
    options = options_of(stage)
    if stage.name in _PLAIN:
        return helper.make_node(_PLAIN[stage.name], [before], [after])
    if stage.name == "leaky":
        return helper.make_node("LeakyRelu", [before], [after], alpha=options["slope"])
    if stage.name == "softmax":
        return helper.make_node("Softmax", [before], [after], axis=-1)
    if stage.name == "hardtanh":
        ends = [constant(f"{after}.{end}", np.array(options[end], dtype=np.float32)) for end in ("low", "high")]
        return helper.make_node("Clip", [before, *ends], [after])
    text = f"station `{station.name}` has `{stage.name}`, which ONNX cannot hold"
    raise error("E1104", text, station.loc, help="leave the stage out, or compile with -t llvm")
