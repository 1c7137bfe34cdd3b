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

__all__ = ["BYTES_PER_WEIGHT", "Cost", "LineCost", "cost", "recurrent_weights", "structure_weights"]

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
    """Cost of a graph for one sample, for recurrent cells one step.

    `weights` are those of all lines, one per path and junction, times the gates of a cell they lead into; tied
    lines and skips have none. `weights_dense_equivalent` counts every pair of units a junction could join.
    `recurrent_weights` are hidden to hidden. `bytes` are those of all weights and biases as float32.
    """

    weights: int
    weights_dense_equivalent: int
    recurrent_weights: int
    biases: int
    macs: int
    bytes: int
    lines: tuple[LineCost, ...]

    def as_json(self) -> dict[str, Any]:
        """The figures as a dictionary of plain numbers, `lines` as a list."""
        return asdict(self)


def cost(graph: Graph) -> Cost:
    """Count weights, multiply-adds and bytes of a graph; reads no paths."""
    lines = tuple(_line_cost(line, graph) for line in graph.lines)
    recurrent = sum(recurrent_weights(station) for station in graph.stations)
    biases = sum(_biases(station) for station in graph.stations)
    weights = sum(line.weights for line in lines)
    return Cost(
        weights=weights,
        weights_dense_equivalent=sum(line.weights_dense_equivalent for line in lines),
        recurrent_weights=recurrent,
        biases=biases,
        macs=sum(line.macs for line in lines) + recurrent,
        bytes=(weights + recurrent + biases) * BYTES_PER_WEIGHT,
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


def _line_cost(line: Line, graph: Graph) -> LineCost:
    weights = dense = macs = 0
    for junction in line.junctions:
        source, destination = ends(line, junction, graph)
        if line.kind == "skip":
            macs += source.units * math.prod(destination.shape[1:])
            continue
        copies = _copies(destination)
        taps = math.prod(taps_of(destination)) * copies
        pairs = math.prod(dense_sides(source, destination))
        edges = pairs if line.kind == "dense" else resolve(line, graph).count
        weights += 0 if line.tied else edges * taps
        dense += 0 if line.tied else pairs * taps
        macs += edges * taps * positions_of(source, destination)
    return LineCost(line.name, line.kind, weights, dense, macs, weights * BYTES_PER_WEIGHT)


def _biases(station: Station) -> int:
    cell = cell_of(station)
    each = 1 if cell is None else cell.bias_copies
    return each * station.real_units if station.stage("bias") is not None else 0


def _copies(station: Station) -> int:
    """How often a station's cell applies each input weight with values of its own."""
    cell = cell_of(station)
    return 1 if cell is None else cell.copies
