"""Where the stations of a metro map stand: columns by depth, bars whose height tells the number of units."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from pathc.ir.graph import Graph, Line, Station
from pathc.ir.order import station_order
from pathc.ir.types import Call, show_value
from pathc.support.diagnostics import error
from pathc.viz.svg import shorten, text_width

MOST_STATIONS = 400
"""Most stations of a picture; more would be a strip that nobody can read."""
BAR = 16.0
"""Width of a bar."""
_TOP, _LEFT, _GAP, _BETWEEN = 64.0, 40.0, 96.0, 44.0
_ABOVE, _ROW = 44.0, 17.0
_LANE = 26.0
_LONGEST_NAME, _LONGEST_STAGE = 22, 26
_MOST_STAGES = 5


@dataclass(frozen=True)
class Bar:
    """A station drawn as a bar: centre, top and height in pixels, and the texts below it."""

    station: Station
    column: int
    x: float
    top: float
    height: float
    name: str
    labels: tuple[str, ...]

    @property
    def bottom(self) -> float:
        """Where the bar ends."""
        return self.top + self.height

    @property
    def half(self) -> float:
        """Half the width that bar and texts take."""
        return _half(self.name, self.labels)

    def unit(self, unit: float) -> float:
        """Where the middle of a unit lies."""
        return self.top + (unit + 0.5) / self.station.units * self.height


@dataclass(frozen=True)
class Plan:
    """All bars by name, the size of the picture without its legend, and a lane below the bars for long junctions."""

    bars: dict[str, Bar]
    lanes: dict[tuple[str, int], float]
    width: float
    height: float

    def lane(self, line: Line, junction: int) -> float | None:
        """Height of the lane that a junction runs in, None where it runs straight to the next column."""
        return self.lanes.get((line.name, junction))


def plan(graph: Graph) -> Plan:
    """Place the stations of a graph; raises PathcError E1201 if they are too many, E0303 for a cycle."""
    if len(graph.stations) > MOST_STATIONS:
        text = f"`{graph.name}` has {len(graph.stations)} stations, a picture shows at most {MOST_STATIONS}"
        raise error("E1201", text, graph.loc, help="look at `--emit structure`, or draw a part of the net")
    depth = _depths(graph)
    columns: list[list[Station]] = [[] for _ in range(max(depth.values(), default=-1) + 1)]
    for station in graph.stations:
        columns[depth[station.name]].append(station)
    tallest = max((_column_height(column) for column in columns), default=0.0)
    bars: dict[str, Bar] = {}
    x = _LEFT
    for number, column in enumerate(columns):
        half = max(_half(*_texts(station)) for station in column)
        x += half
        y = _TOP + (tallest - _column_height(column)) / 2
        for station in column:
            name, labels = _texts(station)
            bars[station.name] = Bar(station, number, x, y + _ABOVE, _bar_height(station), name, labels)
            y += _ABOVE + _bar_height(station) + _ROW * (len(labels) + 0.5) + _BETWEEN
        x += half + _GAP
    lanes, floor = _lanes(graph, bars, _TOP + tallest)
    return Plan(bars, lanes, max(x - _GAP + _LEFT, 2 * _LEFT), floor)


def _depths(graph: Graph) -> dict[str, int]:
    """How many lines lie at most in front of every station."""
    before: dict[str, list[str]] = {station.name: [] for station in graph.stations}
    for line in graph.lines:
        for source, destination in pairwise(line.visits):
            before[destination.station].append(source.station)
    depth: dict[str, int] = {}
    for name in station_order(graph):
        depth[name] = 1 + max((depth[source] for source in before[name]), default=-1)
    return depth


def _texts(station: Station) -> tuple[str, tuple[str, ...]]:
    size = f"{station.real_units:,}" + "".join(f" x {'x'.join(map(str, station.shape[1:]))}" * (len(station.shape) > 1))
    silent = station.units - station.real_units
    words = [f"{size} {'unit' if station.units == 1 else 'units'}" if len(station.shape) == 1 else size]
    words += [f"+ {silent:,} silent"] if silent else []
    words += [str(station.type)] if station.type.name != "f32" else []
    stages = [brief(stage) for stage in station.pipeline]
    if len(stages) > _MOST_STAGES:
        stages = [*stages[: _MOST_STAGES - 1], f"and {len(stages) - _MOST_STAGES + 1} more"]
    labels = tuple(shorten(text, _LONGEST_STAGE) for text in (*words, *stages))
    return shorten(station.name, _LONGEST_NAME), labels


def brief(call: Call) -> str:
    """A stage in few characters: its name and the values of its options, `conv 3x3 same`."""
    values = (brief(v) if isinstance(v, Call) else show_value(v) for _, v in call.options)
    return " ".join((call.name, *values))


def _half(name: str, labels: Sequence[str]) -> float:
    return max(BAR, text_width(name, 14), *(text_width(text, 12) for text in labels)) / 2


def _bar_height(station: Station) -> float:
    return 34 + 17 * math.log2(station.units + 1)


def _column_height(column: Sequence[Station]) -> float:
    return sum(_ABOVE + _bar_height(s) + _ROW * (len(_texts(s)[1]) + 0.5) + _BETWEEN for s in column) - _BETWEEN


def _lanes(graph: Graph, bars: dict[str, Bar], floor: float) -> tuple[dict[tuple[str, int], float], float]:
    """A lane for every junction that leads past a column, none shared by two that overlap, and the lowest edge."""
    long: list[tuple[int, int, str, int]] = []
    for line in graph.lines:
        for junction in line.junctions:
            first, last = (bars[v.station].column for v in line.visits[junction - 1 : junction + 1])
            if last - first > 1:
                long.append((first, last, line.name, junction))
    taken: list[list[tuple[int, int]]] = []
    lanes: dict[tuple[str, int], float] = {}
    for first, last, name, junction in sorted(long, key=lambda one: one[1] - one[0]):
        free = (n for n, spans in enumerate(taken) if all(last <= a or b <= first for a, b in spans))
        number = next(free, len(taken))
        if number == len(taken):
            taken.append([])
        taken[number].append((first, last))
        lanes[name, junction] = floor + 22 + _LANE * number
    return lanes, floor + 22 + _LANE * len(taken)
