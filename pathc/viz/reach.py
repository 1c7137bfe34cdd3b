"""Which units of every station an output unit hears: its receptive field over depth."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pathc.ir.generators import resolve
from pathc.ir.graph import Graph, Line
from pathc.ir.order import station_order
from pathc.support.diagnostics import did_you_mean, error

MOST_PATHS = 1 << 24
"""Most paths of a line that are walked."""
MOST_UNITS = 1 << 26
_CHUNK = 1 << 20
Mask = NDArray[np.bool_]


def receptive_field(graph: Graph, station: str = "", unit: int = 0) -> dict[str, Mask]:
    """For every station the units that a unit of `station` (the last output if empty) hears: bool [units].

    Recurrences are not followed: this is one step of time. Raises PathcError E1202 for a station or unit that there
    is not, E1203 for lines of more than
    2^24 paths and stations of more than 2^26 units.
    """
    chosen = _station(graph, station)
    units = graph.station(chosen).units
    if not 0 <= unit < units:
        raise error("E1202", f"`{chosen}` has no unit {unit}, it has {units}", help=f"0 to {units - 1}")
    widest = max(s.units for s in graph.stations)
    if widest > MOST_UNITS:
        text = f"a station has {widest} units, at most {MOST_UNITS} are followed"
        raise error("E1203", text, help="`--emit structure` has the sizes of fields")
    heard: dict[str, Mask] = {s.name: np.zeros(s.units, bool) for s in graph.stations}
    heard[chosen][unit] = True
    into: dict[str, list[tuple[Line, int]]] = {s.name: [] for s in graph.stations}
    for line in graph.lines:
        for junction in line.junctions:
            into[line.visits[junction].station].append((line, junction))
    for name in reversed(station_order(graph)):
        if heard[name].any():
            for line, junction in into[name]:
                _follow(graph, line, junction, heard[name], heard[line.visits[junction - 1].station])
    return heard


def _station(graph: Graph, name: str) -> str:
    known = [station.name for station in graph.stations]
    if not name:
        return (graph.outputs or graph.stations)[-1].name
    if name not in known:
        help = did_you_mean(name, known) or f"stations: {', '.join(known[:8])}"
        raise error("E1202", f"there is no station `{name}`", help=help)
    return name


def _follow(graph: Graph, line: Line, junction: int, above: Mask, below: Mask) -> None:
    """Mark in `below` what the marked units of `above` hear through one junction."""
    if line.kind == "dense":
        below[:] = True
        return
    if line.kind == "skip":
        width = min(len(above), len(below))
        below[:width] |= above[:width]
        return
    generator = resolve(line, graph)
    if generator.count > MOST_PATHS:
        text = f"`{line.name}` has {generator.count} paths, at most {MOST_PATHS} are walked"
        raise error("E1203", text, line.loc, help="lower the count; `--emit structure` has the sizes")
    for start in range(0, generator.count, _CHUNK):
        stop = min(start + _CHUNK, generator.count)
        met = above[generator.units(junction, start, stop)]
        below[generator.units(junction - 1, start, stop)[met]] = True
