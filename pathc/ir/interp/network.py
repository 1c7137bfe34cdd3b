"""A graph made ready for evaluation: stations in order, junctions by destination, weights and inputs checked."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

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
        """The bias of a station, zero at silent units; [units]."""
        values = tensor_values(weights, f"{station.name}.bias")
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
        if len(station.shape) != 1:
            found.append(_lacking(f"station `{station.name}` has extents {list(station.shape)}", station))
        for stage in station.pipeline:
            if stage.name != "bias" and activation(stage) is None:
                found.append(_lacking(f"station `{station.name}` has the stage `{stage.name}`", station))
    return found


def _lacking(what: str, station: Station) -> Diagnostic:
    cure = "use stations of one extent with bias and activations"
    return Diagnostic("E0610", f"{what}, which the interpreter cannot evaluate", station.loc, help=cure)


def activations_of(station: Station) -> tuple[Activation, ...]:
    """The activations of a station's pipeline, in order; its bias is where accumulation starts."""
    return tuple(a for stage in station.pipeline if (a := activation(stage)) is not None)


def input_rows(graph: Graph, inputs: Inputs) -> tuple[dict[str, Values], bool]:
    """Inputs as float64 [batch, units] by station, silent units zero, and whether they came without a batch axis.

    An array holds all input stations side by side in the order of declaration. Raises PathcError: E0512 for a
    shape, E0513 for a type, E0506 for an unknown name.
    """
    parts = dict(inputs) if isinstance(inputs, Mapping) else _split(graph, np.asarray(inputs))
    rows: dict[str, Values] = {}
    ranks: set[int] = set()
    for station in graph.inputs:
        if station.name not in parts:
            raise error("E0512", f"there is no input for station `{station.name}`", station.loc)
        part = np.asarray(parts[station.name])
        check_input(part, (station.real_units,), f"input of `{station.name}`")
        ranks.add(part.ndim)
        row = np.atleast_2d(part).astype(np.float64)
        rows[station.name] = np.pad(row, ((0, 0), (0, station.units - station.real_units)))
    unknown = set(parts) - set(rows)
    if unknown:
        raise error("E0506", f"there is no input station `{min(unknown)}`", graph.loc)
    if len(ranks) > 1 or len({len(row) for row in rows.values()}) > 1:
        raise error("E0512", "the inputs have different batch sizes", graph.loc)
    return rows, ranks == {1}


def _split(graph: Graph, array: NDArray[Any]) -> dict[str, NDArray[Any]]:
    sizes = [station.real_units for station in graph.inputs]
    check_input(array, (sum(sizes),), "input")
    parts = np.split(array, np.cumsum(sizes)[:-1], axis=-1)
    return {station.name: part for station, part in zip(graph.inputs, parts, strict=True)}
