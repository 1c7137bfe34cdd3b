"""What a graph costs: weights, multiply-adds and bytes, beside what the same layers would cost if dense."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from pathc.ir.catalogue import CELLS, options_of
from pathc.ir.extents import conv_extents, read_extents
from pathc.ir.generators import resolve
from pathc.ir.graph import Graph, Line, Station
from pathc.ir.init import ends, filter_extents
from pathc.ir.types import Call, Quantity, Value, Word

BYTES_PER_WEIGHT = 4

GATES = {"rnn": 1, "lstm": 4, "gru": 3, "ligru": 2, "qrnn": 3, "sru": 3, "indrnn": 1, "linear": 1}
"""Input-to-hidden matrices of each cell."""


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
    biases = sum(station.real_units for station in graph.stations if station.stage("bias") is not None)
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
    cell = _cell(station)
    if cell is None:
        return 0
    units, options = station.real_units, options_of(cell)
    name = _cell_name(cell)
    directions = _directions(options)
    if name in ("qrnn", "sru", "indrnn"):
        return directions * units * {"qrnn": 0, "sru": 2, "indrnn": 1}[name]
    recur = options.get("recur", Call("full"))
    structure = recur if isinstance(recur, Call) else Call(str(recur))
    return directions * GATES[name] * structure_weights(structure, units)


def structure_weights(structure: Call, units: int) -> int:
    """Weights of one hidden-to-hidden matrix of that structure over `units` units.

    A band given in percent follows the paper: C = round(share * units), k = ceil(C / 2) neighbours on each side.
    """
    options = options_of(structure)
    match structure.name:
        case "grouped":
            return units * units // max(1, _number(options["groups"]))
        case "band":
            k = min(_neighbours(options["width"], units), units - 1)
            return units * (2 * k + 1) - k * (k + 1)
        case "ring":
            return units * min(_number(options["width"]), units)
        case "diag":
            return units
        case "sparse":
            return round(_share(options["density"]) * units * units)
        case "paths":
            return _number(options["count"])
        case _:
            return units * units


def _line_cost(line: Line, graph: Graph) -> LineCost:
    weights = dense = macs = 0
    for junction in line.junctions:
        source, destination = ends(line, junction, graph)
        if line.kind == "skip":
            macs += math.prod(destination.shape)
            continue
        copies = _copies(destination)
        taps = math.prod(filter_extents(destination)) * copies
        pairs = source.real_units * destination.real_units // _groups(destination)
        edges = pairs if line.kind == "dense" else resolve(line, graph).count
        weights += 0 if line.tied else edges * taps
        dense += 0 if line.tied else pairs * taps
        macs += edges * taps * _positions(source, destination)
    return LineCost(line.name, line.kind, weights, dense, macs, weights * BYTES_PER_WEIGHT)


def _cell(station: Station) -> Call | None:
    return next((stage for stage in station.pipeline if stage.name in (*CELLS, "prernn")), None)


def _cell_name(cell: Call) -> str:
    return str(options_of(cell)["cell"]) if cell.name == "prernn" else cell.name


def _directions(options: dict[str, Value]) -> int:
    return 1 if options.get("bidirectional", Word("none")) == Word("none") else 2


def _copies(station: Station) -> int:
    """How often a station's cell applies each input weight with values of its own."""
    cell = _cell(station)
    if cell is None:
        return 1
    options = options_of(cell)
    gates = 1 if options.get("gates") == Word("shared") else GATES[_cell_name(cell)]
    return gates * _directions(options) * _number(options.get("window", 1))


def _groups(station: Station) -> int:
    stage = station.stage("conv")
    return _number(options_of(stage)["groups"]) if stage is not None else 1


def _positions(source: Station, destination: Station) -> int:
    """Positions at which a filter into the destination is applied."""
    stage = destination.stage("conv")
    if stage is None:
        return 1
    return math.prod(conv_extents(stage, read_extents(source)))


def _neighbours(width: Value, units: int) -> int:
    if isinstance(width, Quantity):
        return math.ceil(round(_share(width) * units) / 2)
    return (_number(width) - 1) // 2


def _share(value: Value) -> float:
    return value.number / 100 if isinstance(value, Quantity) else float(str(value))


def _number(value: Value) -> int:
    return value if isinstance(value, int) else 1
