"""A graph made ready for evaluation: stations in order, junctions by destination, weights and inputs checked."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pathc.ir.cells import cell_of, cell_stage, is_recurrent, misplaced, plain
from pathc.ir.graph import Graph, Station
from pathc.ir.inputs import check_input
from pathc.ir.interp.activations import Activation, activation
from pathc.ir.interp.junctions import Junction, Values, junctions_of
from pathc.ir.order import station_order
from pathc.ir.weights import Tensors, check_weights, tensor_values
from pathc.support.diagnostics import Diagnostic, PathcError, error

Inputs = NDArray[Any] | Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Network:
    """Stations in an order in which every one comes after those that feed it, and what leads into each."""

    graph: Graph
    stations: tuple[Station, ...]
    into: Mapping[str, tuple[Junction, ...]]

    def bias(self, weights: Tensors, station: Station) -> Values:
        """The bias of a station, zero at silent units; [units], of a cell [copies, units]."""
        values = tensor_values(weights, f"{station.name}.bias")
        cell = cell_of(station)
        if cell is not None:
            return values.reshape(cell.bias_copies, station.real_units)
        return np.pad(values, (0, station.units - station.real_units))


def prepare(graph: Graph, weights: Tensors) -> Network:
    """The network of a graph whose weights fit.

    Raises PathcError: E0505 to E0508 for weights that do not fit, E0610 for stages the interpreter lacks, E0303
    for a cycle, and those of the generators.
    """
    found = [*supports(graph), *check_weights(graph, weights)]
    if found:
        raise PathcError(*found)
    into: dict[str, list[Junction]] = defaultdict(list)
    for junction in junctions_of(graph):
        into[junction.destination].append(junction)
    names = station_order(graph)
    return Network(graph, tuple(graph.station(n) for n in names), {n: tuple(into[n]) for n in names})


def supports(graph: Graph) -> list[Diagnostic]:
    """What of the graph the interpreter cannot evaluate yet: E0610 for each such stage, at its place."""
    found: list[Diagnostic] = []
    for station in graph.stations:
        found.extend(misplaced(station))
        if len(station.shape) != 1:
            found.append(_lacking(f"station `{station.name}` has extents {list(station.shape)}", station))
        for stage in station.pipeline:
            if stage.name != "bias" and activation(stage) is None and stage != cell_stage(station):
                found.append(_lacking(f"station `{station.name}` has the stage `{stage.name}`", station))
    return found


def _lacking(what: str, station: Station) -> Diagnostic:
    cure = "use stations of one extent with bias and activations"
    return Diagnostic("E0610", f"{what}, which the interpreter cannot evaluate", station.loc, help=cure)


def activations_of(station: Station) -> tuple[Activation, ...]:
    """The activations of a station's pipeline, in order; its bias is where accumulation starts."""
    return tuple(a for stage in plain(station).pipeline if (a := activation(stage)) is not None)


@dataclass(frozen=True)
class Layout:
    """How rows lie in the arrays of the user: `single` without a batch axis, `steps` 0 without sequences."""

    batch: int
    steps: int
    single: bool

    @property
    def rows(self) -> int:
        """Rows that are computed: one per sample, or one per sample and step."""
        return self.batch * max(self.steps, 1)

    def shaped(self, rows: Values) -> Values:
        """Rows [batch * steps, units] as the user sees them."""
        whole = rows.reshape(self.batch, self.steps, rows.shape[-1]) if self.steps else rows
        return whole[0] if self.single else whole


def input_rows(graph: Graph, inputs: Inputs) -> tuple[dict[str, Values], Layout]:
    """Inputs as float64 [batch, units] by station, silent units zero, and how they lay in the array.

    An array holds all input stations side by side in the order of declaration; sequences come as [batch * steps,
    units], sample by sample. Raises PathcError: E0512 for a shape, E0371 for sequences without a step, E0513 for a
    type, E0506 for an unknown name.
    """
    sequences = is_recurrent(graph)
    parts = dict(inputs) if isinstance(inputs, Mapping) else _split(graph, np.asarray(inputs), sequences)
    rows: dict[str, Values] = {}
    layouts: set[Layout] = set()
    for station in graph.inputs:
        if station.name not in parts:
            raise error("E0512", f"there is no input for station `{station.name}`", station.loc)
        part = np.asarray(parts[station.name])
        check_input(part, (station.real_units,), f"input of `{station.name}`", sequences=sequences)
        single = part.ndim == 1 + sequences
        batch = 1 if single else part.shape[0]
        layouts.add(Layout(batch, part.shape[-2] if sequences else 0, single))
        row = part.reshape(batch * max(part.shape[-2] if sequences else 1, 1), station.real_units).astype(np.float64)
        rows[station.name] = np.pad(row, ((0, 0), (0, station.units - station.real_units)))
    unknown = set(parts) - set(rows)
    if unknown:
        raise error("E0506", f"there is no input station `{min(unknown)}`", graph.loc)
    if len(layouts) > 1:
        what = "batch sizes or numbers of steps" if sequences else "batch sizes"
        raise error("E0512", f"the inputs have different {what}", graph.loc)
    return rows, layouts.pop() if layouts else Layout(1, 0, False)


def _split(graph: Graph, array: NDArray[Any], sequences: bool) -> dict[str, NDArray[Any]]:
    sizes = [station.real_units for station in graph.inputs]
    check_input(array, (sum(sizes),), "input", sequences=sequences)
    parts = np.split(array, np.cumsum(sizes)[:-1], axis=-1)
    return {station.name: part for station, part in zip(graph.inputs, parts, strict=True)}
