"""From a graph and its weights to an ONNX model that any runtime evaluates."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pathc.exchange.onnx_cells_out import Constant, cell_nodes
from pathc.exchange.onnx_file import onnx_package
from pathc.ir.catalogue import options_of
from pathc.ir.cells import cell_of, cell_stage, is_recurrent
from pathc.ir.compress.edges import weighted_edges
from pathc.ir.graph import Graph, Station
from pathc.ir.interp.junctions import Junction, SkipJunction
from pathc.ir.interp.network import Network, prepare
from pathc.ir.types import Call
from pathc.ir.weights import Tensors
from pathc.support.diagnostics import error
from pathc.support.files import memory_limit

_OPSET = 17
_PLAIN = {"relu": "Relu", "abs": "Abs", "tanh": "Tanh", "sigmoid": "Sigmoid", "identity": "Identity"}


def export_onnx(graph: Graph, weights: Tensors) -> bytes:
    """The model in ONNX, operator set 17, inputs and outputs under their stations' names.

    They are float [batch, units], of nets with cells [batch, steps, units].

    Paths that share an edge are added; a junction is written as the matrix of its edges, zeros included, since ONNX has
    no sparse product. Raises PathcError: E1104 for what it cannot hold, E0502 for matrices beyond memory and as
    `pathc.ir.interp.forward`.
    """
    onnx = onnx_package()
    helper, numpy_helper = onnx_package("onnx.helper"), onnx_package("onnx.numpy_helper")
    network = prepare(graph, weights)
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
        for number, stage in enumerate(s for s in station.pipeline if s.name != "bias" and s != cell_stage(station)):
            after = f"{station.name}.stage{number}"
            nodes.append(_stage(helper, constant, station, stage, total, after))
            total = after
        nodes.append(helper.make_node("Identity", [total], [f"{station.name}.out"]))
    axes = ["batch", "steps"] if is_recurrent(graph) else ["batch"]
    ends = [
        [helper.make_tensor_value_info(f"{s.name}.{end}", onnx.TensorProto.FLOAT, [*axes, s.real_units]) for s in group]
        for end, group in (("in", graph.inputs), ("out", graph.outputs))
    ]
    made = helper.make_graph(nodes, graph.name, ends[0], ends[1], constants)
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", _OPSET)], producer_name="pathc")
    model.ir_version = 8
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def _sums(helper: Any, constant: Constant, network: Network, weights: Tensors, station: Station) -> list[Any]:
    """Nodes from what lines bring to `<station>.sum`."""
    nodes, graph = list[Any](), network.graph
    terms = [f"{station.name}.in"] if station.role == "input" else []
    for number, junction in enumerate(network.into[station.name]):
        term = f"{station.name}.term{number}"
        source = f"{junction.source}.out"
        if isinstance(junction, SkipJunction) and graph.station(junction.source).real_units == station.real_units:
            scale = np.full(station.real_units, junction.scale, np.float32)
            nodes.append(helper.make_node("Mul", [source, constant(f"{term}.scale", scale)], [term]))
        else:
            matrix = constant(f"{term}.weights", _matrix(graph, weights, junction))
            nodes.append(helper.make_node("MatMul", [source, matrix], [term]))
        terms.append(term)
    if station.stage("bias") is not None or not terms:
        bias = network.bias(weights, station) if station.stage("bias") is not None else np.zeros(station.units)
        terms.append(constant(f"{station.name}.bias", bias[: station.real_units].astype(np.float32)))
    nodes.append(helper.make_node("Sum", terms, [f"{station.name}.sum"]))
    return nodes


def _matrix(graph: Graph, weights: Tensors, junction: Junction) -> NDArray[np.float32]:
    """The weights as [units in, units out], silent units left out."""
    source, destination = graph.station(junction.source), graph.station(junction.destination)
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
