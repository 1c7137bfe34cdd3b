"""What a graph costs: weights, multiply-adds and bytes, beside what the same layers would cost if dense."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from pathc.ir.cells import cell_of
from pathc.ir.filters import dense_sides, positions_of, taps_of
from pathc.ir.generators import resolve
from pathc.ir.graph import Graph, Line, Station
from pathc.ir.init import ends
from pathc.ir.recurrence import structure_weights
from pathc.ir.sequences import fixed_steps, running

__all__ = [
    "BYTES_PER_WEIGHT",
    "Cost",
    "LineCost",
    "cost",
    "per_edge",
    "recurrent_weights",
    "steps_of",
    "structure_weights",
]

BYTES_PER_WEIGHT = 4


@dataclass(frozen=True)
class LineCost:
    """Cost of one line: numbers of weights, multiply-adds per sample, bytes of its weights as float32."""

    name: str
    kind: str
    weights: int
    weights_dense_equivalent: int
    macs: int
    bytes: int


@dataclass(frozen=True)
class Cost:
    """Cost of a graph for one sample, of sequences one step; in nets with `steps` a sample is a whole sequence.

    `weights` are those of all lines, one per path and junction, times the gates of a cell they lead into; tied
    lines and skips have none. `weights_dense_equivalent` counts every pair of units a junction could join.
    `recurrent_weights` are hidden to hidden, `norms` the gains and shifts of normalizations. `bytes` are those of all
    weights, biases and norms as float32.
    """

    weights: int
    weights_dense_equivalent: int
    recurrent_weights: int
    biases: int
    norms: int
    macs: int
    bytes: int
    lines: tuple[LineCost, ...]

    def as_json(self) -> dict[str, Any]:
        """The figures as a dictionary of plain numbers, `lines` as a list."""
        return asdict(self)


def cost(graph: Graph) -> Cost:
    """Count weights, multiply-adds and bytes of a graph; reads no paths."""
    steps = steps_of(graph)
    lines = tuple(_line_cost(line, graph, steps) for line in graph.lines)
    recurrent = sum(recurrent_weights(station) for station in graph.stations)
    biases, norms = (sum(_own(station, stage) for station in graph.stations) for stage in ("bias", "batchnorm"))
    weights = sum(line.weights for line in lines)
    return Cost(
        weights=weights,
        weights_dense_equivalent=sum(line.weights_dense_equivalent for line in lines),
        recurrent_weights=recurrent,
        biases=biases,
        norms=2 * norms,
        macs=sum(line.macs for line in lines) + sum(recurrent_weights(s) * steps[s.name] for s in graph.stations),
        bytes=(weights + recurrent + biases + 2 * norms) * BYTES_PER_WEIGHT,
        lines=lines,
    )


def recurrent_weights(station: Station) -> int:
    """Hidden-to-hidden weights of a station's cell over all gates and directions; 0 without a cell.

    Counts by Van Keirsbilck, Keller and Yang (2019): bands are clipped at the edges, rings wrap around.
    """
    cell = cell_of(station)
    if cell is None or not cell.recurrent_gates:
        return 0
    return len(cell.tensors) * structure_weights(cell.recur, cell.hidden, cell.loc)


def per_edge(source: Station, destination: Station, steps: int) -> tuple[int, int]:
    """Weights of an edge between two stations, and multiply-adds where the destination is computed `steps` times.

    An edge has a weight for each tap of a filter and each gate, direction and step of the window of a cell.
    """
    cell = cell_of(destination)
    weights = math.prod(taps_of(destination)) * (1 if cell is None else cell.copies)
    return weights, weights * positions_of(source, destination) * steps


def steps_of(graph: Graph) -> dict[str, int]:
    """How often each station is computed for a sample."""
    over, steps = running(graph), fixed_steps(graph) or 1
    return {station.name: steps if station.name in over else 1 for station in graph.stations}


def _line_cost(line: Line, graph: Graph, steps: dict[str, int]) -> LineCost:
    weights = dense = macs = 0
    for junction in line.junctions:
        source, destination = ends(line, junction, graph)
        if line.kind == "skip":
            macs += source.units * math.prod(destination.shape[1:]) * steps[destination.name]
            continue
        each, spent = per_edge(source, destination, steps[destination.name])
        pairs = math.prod(dense_sides(source, destination))
        edges = pairs if line.kind == "dense" else resolve(line, graph).count
        weights += 0 if line.tied else edges * each
        dense += 0 if line.tied else pairs * each
        macs += edges * spent
    return LineCost(line.name, line.kind, weights, dense, macs, weights * BYTES_PER_WEIGHT)


def _own(station: Station, stage: str) -> int:
    """Numbers of a station's bias, or gains of its normalization."""
    cell = cell_of(station)
    each = 1 if cell is None else cell.bias_copies
    return each * station.real_units if station.stage(stage) is not None else 0
