"""Forward and backward through a graph, in float64."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pathc.ir.cells import cell_of, split_at_cell
from pathc.ir.graph import Graph, Station
from pathc.ir.inputs import input_shape, output_shape
from pathc.ir.interp.activations import Activation
from pathc.ir.interp.expand import owner
from pathc.ir.interp.junctions import Values, junction_values, read_size, real_read_size, real_size, size_of, widen
from pathc.ir.interp.network import Inputs, Layout, Network, functions_of, input_rows, prepare
from pathc.ir.interp.recurrent.inputs import CellInputs
from pathc.ir.interp.recurrent.unroll import CellTrace, State
from pathc.ir.weights import Tensors
from pathc.support.diagnostics import error
from pathc.support.files import memory_limit

States = Mapping[str, Sequence[State]]
"""States of cells by station, one per direction: arrays [batch, hidden]."""


@dataclass(frozen=True)
class Trace:
    """Everything a forward pass computed, float64, [batch, units], silent units included.

    `sums[s]` is what station s has accumulated, bias included, or what its cell gave; `values[s]` is what is read from
    it. `outputs` is [batch, units] (or [units] if the input came so), the output stations side by side. Nets with cells
    have sequences: rows are [batch * steps, units], outputs [batch, steps, units], `cells` holds what cells did,
    `fed` what lines brought to them. Behind `steps`, rows are those of all steps.
    """

    sums: Mapping[str, Values]
    values: Mapping[str, Values]
    outputs: Values
    cells: Mapping[str, CellTrace] = field(default_factory=dict[str, CellTrace])
    fed: Mapping[str, CellInputs] = field(default_factory=dict[str, CellInputs])

    @property
    def state(self) -> dict[str, tuple[State, ...]]:
        """The states of all cells after the last step, by station."""
        return {name: trace.state for name, trace in self.cells.items()}

    def finite(self) -> NDArray[np.bool_]:
        """Which rows float32 holds at every unit, without NaN: [rows], one a sample where others are steps of it."""
        arrays = (*self.sums.values(), *self.values.values())
        rows = min(map(len, arrays))
        held = (np.abs(a) <= np.finfo(np.float32).max for a in arrays)
        return np.all([h.reshape(rows, h.size // max(rows, 1)).all(axis=1) for h in held], axis=0)


def forward(graph: Graph, weights: Tensors, inputs: Inputs) -> Values:
    """Outputs of a graph: float64 [batch, units] for inputs [batch, units], [units] for inputs [units].

    `inputs` is one array, or one per input station by name. NaN, infinity and -0 go by IEEE rules. Raises
    PathcError: E0505 to E0508 for weights that do not fit, E0512 and E0513 for such inputs, E0610 for stages that
    cannot be evaluated. Nets with cells take sequences, [batch, steps, units] or [steps, units] (E0371 without steps),
    nets with `steps` take samples and give sequences.
    """
    return evaluate(graph, weights, inputs).outputs


def evaluate(
    graph: Graph, weights: Tensors, inputs: Inputs, state: States | None = None, *, training: bool = False
) -> Trace:
    """All sums and values of a forward pass; cells named in `state` start from there. Raises as `forward`.

    In `training`, batch normalization goes by the statistics of the batch.
    """
    network = prepare(graph, weights)
    rows, layout = input_rows(graph, inputs)
    return _evaluate(network, weights, rows, layout, state or {}, training)


def backward(
    graph: Graph,
    weights: Tensors,
    inputs: Inputs,
    output_gradient: NDArray[Any],
    state: States | None = None,
    *,
    training: bool = False,
    trace: Trace | None = None,
) -> tuple[Values, dict[str, Values]]:
    """Gradients with respect to inputs (their shape, stations side by side) and weights (summed over the batch).

    `output_gradient` has the shape of the outputs. Kinks: see `pathc.ir.interp.activations`. The gradient of a
    tensor with a scale is that of the scaled values. Through cells it runs backwards in time over all steps; `state` is
    where they started. In `training`, gradients go through the statistics of the batch. `trace` is
    what `evaluate` gave for the same arguments, if it is known. Raises as `forward`; E0512 for a gradient of another
    shape.
    """
    network = prepare(graph, weights)
    rows, layout = input_rows(graph, inputs)
    sequences = layout.unrolled(graph)
    with np.errstate(all="ignore"):
        trace = trace or _evaluate(network, weights, rows, layout, state or {}, training)
        gradients = _output_gradients(network, trace, np.asarray(output_gradient))
        tensors: dict[str, Values] = {}
        for station in reversed(network.stations):
            cell = cell_of(station)
            read = station if cell is None else split_at_cell(station)[1]
            functions = functions_of(read, weights, training=training)
            at_sums, own = through_functions(read, functions, trace.sums[station.name], gradients[station.name])
            gradients[station.name] = at_sums
            for name, part in own.items():
                tensors[name] = tensors[name] + part if name in tensors else part
            if cell is not None:
                inputs_of = CellInputs.of(network, weights, cell, station, trace.values, sequences, training=training)
                start = (state or {}).get(station.name)
                for name, part in inputs_of.backward(weights, trace.values, at_sums, start, gradients):
                    tensors[name] = tensors[name] + part if name in tensors else part
                continue
            if station.stage("bias") is not None:
                name = f"{owner(station.name)}.bias"
                part = at_sums.reshape(len(at_sums), station.units, math.prod(station.shape[1:]))[
                    :, : station.real_units
                ].sum(axis=(0, 2))
                tensors[name] = tensors[name] + part if name in tensors else part
            for junction in network.into[station.name]:
                values, matrix = trace.values[junction.source], junction_values(weights, junction)
                gradients[junction.source] += junction.pull(at_sums, matrix)
                if junction.tensor:
                    part = junction.factor * junction.weight_gradient(values, at_sums)
                    tensors[junction.tensor] = tensors[junction.tensor] + part if junction.tensor in tensors else part
    parts = [gradients[s.name][:, : real_size(s)] for s in graph.inputs]
    return layout.shaped(_joined(parts), input_shape(graph)), tensors


def _evaluate(
    network: Network, weights: Tensors, rows: Mapping[str, Values], layout: Layout, state: States, training: bool
) -> Trace:
    sums: dict[str, Values] = {}
    values: dict[str, Values] = {}
    cells: dict[str, CellTrace] = {}
    brought: dict[str, CellInputs] = {}
    sequences = layout.unrolled(network.graph)
    _check_memory(network.graph, layout.rows)
    with np.errstate(all="ignore"):
        for station in network.stations:
            cell = cell_of(station)
            if cell is not None:
                brought[station.name] = fed = CellInputs.of(
                    network, weights, cell, station, values, sequences, training=training
                )
                cells[station.name] = trace = fed.forward(weights, state.get(station.name))
                total = widen(trace.output.reshape(sequences.rows, station.real_units), station.units)
                sums[station.name] = total
                values[station.name] = _read(split_at_cell(station)[1], weights, total, training)
                continue
            count = next((len(values[j.source]) for j in network.into[station.name]), layout.rows)
            total = rows[station.name].copy() if station.name in rows else np.zeros((count, size_of(station)))
            if station.stage("bias") is not None:
                total += network.bias(weights, station)
            for junction in network.into[station.name]:
                total += junction.push(values[junction.source], junction_values(weights, junction))
            sums[station.name] = total
            values[station.name] = _read(station, weights, total, training)
    outputs = [values[s.name][:, : real_read_size(s)] for s in network.graph.outputs]
    return Trace(sums, values, sequences.shaped(_joined(outputs), output_shape(network.graph)), cells, brought)


def _check_memory(graph: Graph, batch: int) -> None:
    """Raise E0502 where sums and values of all stations, float64, go beyond the memory."""
    needed, limit = 16 * batch * sum(math.prod(station.shape) for station in graph.stations), memory_limit()
    if needed > limit:
        text = f"`{graph.name}` needs {needed} bytes for its units at a batch of {batch}, the memory can take {limit}"
        raise error("E0502", text, graph.loc, help="use layers of fewer units, or a smaller batch")


def _read(station: Station, weights: Tensors, total: Values, training: bool) -> Values:
    """What is read from a station: its functions over the real units, zero at the silent ones."""
    result = total[:, : real_size(station)]
    for function in functions_of(station, weights, training=training):
        result = function.apply(result)
    return widen(result, read_size(station))


def through_functions(
    station: Station, functions: Sequence[Activation], total: Values, gradient: Values
) -> tuple[Values, dict[str, Values]]:
    """Gradient at the sums of a station, from that at what is read from it, and those of its functions' tensors."""
    arguments = [total[:, : real_size(station)]]
    for function in functions[:-1]:
        arguments.append(function.apply(arguments[-1]))
    result, tensors = gradient[:, : real_read_size(station)], dict[str, Values]()
    for function, argument in zip(reversed(functions), reversed(arguments), strict=False):
        tensors.update(function.tensors(argument, result))
        result = function.backward(argument, result)
    return widen(result, size_of(station)), tensors


def _output_gradients(network: Network, trace: Trace, gradient: NDArray[Any]) -> dict[str, Values]:
    if gradient.shape != trace.outputs.shape:
        text = f"the output gradient has shape {list(gradient.shape)}, the output {list(trace.outputs.shape)}"
        raise error("E0512", text, help="give one number per output")
    gradients = {name: np.zeros(values.shape) for name, values in trace.values.items()}
    rows = len(trace.values[network.graph.outputs[0].name])
    columns = gradient.reshape(rows, sum(map(real_read_size, network.graph.outputs))).astype(np.float64)
    start = 0
    for station in network.graph.outputs:
        size = real_read_size(station)
        gradients[station.name][:, :size] += columns[:, start : start + size]
        start += size
    return gradients


def _joined(parts: list[Values]) -> Values:
    return np.concatenate(parts, axis=1) if parts else np.zeros((1, 0))
