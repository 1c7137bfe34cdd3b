"""Recurrent cells of a graph as nodes of an ONNX model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pathc.exchange.onnx_cells import order_of
from pathc.ir.cells import Cell
from pathc.ir.graph import Station
from pathc.ir.interp.junctions import Values
from pathc.ir.interp.network import Layout, Network
from pathc.ir.interp.recurrent.inputs import CellInputs
from pathc.ir.interp.recurrent.matrix import Matrix
from pathc.ir.weights import Tensors, tensor_values
from pathc.support.diagnostics import error
from pathc.support.files import memory_limit

_KINDS = {"rnn": "RNN", "indrnn": "RNN", "linear": "RNN", "lstm": "LSTM", "gru": "GRU"}
_FUNCTIONS = {"tanh": "Tanh", "relu": "Relu", "sigmoid": "Sigmoid", "identity": "Affine"}

Constant = Callable[[str, NDArray[Any]], str]
"""Adds a tensor to the model under a name, which it returns."""


def cell_nodes(
    helper: Any, constant: Constant, network: Network, weights: Tensors, cell: Cell, station: Station
) -> list[Any]:
    """Nodes from what lines bring, [batch, steps, units], to `<station>.sum` of the same form.

    Whatever the structure of its weights, a cell is written with whole matrices. Raises PathcError: E1104 for cells
    that ONNX has not, E0502 for matrices beyond memory.
    """
    kind = _KINDS.get(cell.name, "")
    if not kind or cell.stateful:
        what = "states that outlive a sequence" if kind else f"the cell `{cell.name}`"
        text = f"station `{cell.station}` has {what}, which ONNX cannot hold"
        raise error("E1104", text, cell.loc, help="rnn, lstm, gru, indrnn and linear can be written")
    name, sources = cell.station, list(dict.fromkeys(j.source for j in network.into[cell.station]))
    inputs, biases = _inputs(network, weights, cell, station, sources)
    gates = range(len(cell.gates))
    order = order_of(kind)
    sides = range(cell.directions)
    into, over, added = list[Any](), list[Any](), list[Any]()
    for side in sides:
        own = slice(side * cell.hidden, (side + 1) * cell.hidden) if cell.concatenated else slice(None)
        taken = [inputs[cell.copy_of(side, 0, gate)][:, own].T for gate in gates]
        kept = [_recurrent(weights, cell, side, gate) for gate in cell.gates]
        bias = [biases[cell.bias_of(side, gate)][own] for gate in gates]
        into.append(np.concatenate([taken[gate] for gate in order]))
        over.append(np.concatenate([kept[gate] for gate in order]))
        added.append(np.concatenate([*(bias[gate] for gate in order), np.zeros(len(order) * cell.hidden)]))
    tensors = [
        constant(f"{name}.{end}", np.stack(parts).astype(np.float32))
        for end, parts in (("input", into), ("recurrent", over), ("biases", added))
    ]
    read = [f"{source}.out" for source in sources]
    nodes = [helper.make_node("Concat", read, [f"{name}.read"], axis=-1)]
    nodes.append(helper.make_node("Transpose", [f"{name}.read"], [f"{name}.steps"], perm=[1, 0, 2]))
    given = [f"{name}.steps", *tensors]
    nodes.append(helper.make_node(kind, given, [f"{name}.sides"], **_attributes(kind, cell)))
    if cell.concatenated:
        joined = [f"{name}.sides", f"{name}.turned", constant(f"{name}.joined", np.array([0, 0, -1]))]
        nodes.append(helper.make_node("Transpose", joined[:1], joined[1:2], perm=[2, 0, 1, 3]))
        nodes.append(helper.make_node("Reshape", joined[1:], [f"{name}.sum"]))
        return nodes
    axis = constant(f"{name}.axis", np.array([1]))
    nodes.append(helper.make_node("ReduceSum", [f"{name}.sides", axis], [f"{name}.total"], keepdims=0))
    nodes.append(helper.make_node("Transpose", [f"{name}.total"], [f"{name}.sum"], perm=[1, 0, 2]))
    return nodes


def _inputs(
    network: Network, weights: Tensors, cell: Cell, station: Station, sources: list[str]
) -> tuple[Values, Values]:
    """What a cell's inputs do to the units of `sources`, side by side, [copies, units in, units], and biases.

    The interpreter is asked what it makes of each unit on its own.
    """
    stations = {each.name: each for each in network.stations}
    ends = np.cumsum([0, *(stations[source].real_units for source in sources)])
    total = int(ends[-1])
    if 8 * total * (cell.copies * station.units + max(stations[s].units for s in sources)) > memory_limit():
        text = f"the inputs of `{cell.station}` as matrices do not fit into the memory"
        raise error("E0502", text, cell.loc, help="ONNX has no sparse product")
    values: dict[str, Values] = {}
    for source, start, end in zip(sources, ends, ends[1:], strict=False):
        values[source] = np.zeros((total, stations[source].units))
        values[source][start:end, : end - start] = np.eye(end - start)
    plain = replace(station, pipeline=tuple(stage for stage in station.pipeline if stage.name != "bias"))
    found = CellInputs.of(network, weights, cell, plain, values, Layout(total, 1, False)).copies[:, :, 0]
    none = np.zeros((cell.bias_copies, station.real_units))
    return found, network.bias(weights, station) if station.stage("bias") is not None else none


def _recurrent(weights: Tensors, cell: Cell, side: int, gate: str) -> Values:
    """Hidden-to-hidden weights of a gate, [units, states]."""
    values = tensor_values(weights, cell.tensor(side, gate))
    return Matrix(cell, np.asarray(values, np.float64)).push(np.eye(cell.hidden)).T


def _attributes(kind: str, cell: Cell) -> dict[str, Any]:
    found: dict[str, Any] = {"hidden_size": cell.hidden}
    if cell.directions == 2:
        found["direction"] = "bidirectional"
    if kind == "GRU":
        found["linear_before_reset"] = int(cell.reset == "after")
    if kind == "RNN":
        function = _FUNCTIONS["identity" if cell.name == "linear" else cell.activation]
        found["activations"] = [function] * cell.directions
        if function == "Affine":
            found["activation_alpha"], found["activation_beta"] = [1.0] * cell.directions, [0.0] * cell.directions
    return found
