"""The stations that are evaluated: those of the graph, and the steps of those that solve a differential equation.

A station with `ode` stands for dh/dt = F(h), h(0) = what its source gives, where F is the lines into the station
and the stages in front of `ode`. Its steps become stations of their own, joined by skips; their junctions share the
tensors of the lines. `rk2` is the midpoint rule, `rk4` the classical one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace

from pathc.ir.catalogue import options_of
from pathc.ir.graph import Graph, Station
from pathc.ir.interp.base import Junction
from pathc.ir.interp.junctions import SkipJunction, junctions_of, size_of
from pathc.ir.order import station_order

STAGES: Mapping[str, tuple[tuple[float, float], ...]] = {
    "euler": ((0.0, 1.0),),
    "rk2": ((0.0, 0.0), (0.5, 1.0)),
    "rk4": ((0.0, 1 / 6), (0.5, 1 / 3), (0.5, 1 / 3), (1.0, 1 / 6)),
}
"""Of each slope: how far along the slope before it is taken, and its share of the step; explicit Runge-Kutta rules."""


def owner(station: str) -> str:
    """The station of the graph that a station was made for, itself in most cases: whose tensors it reads."""
    return station.partition(".")[0]


def expanded(graph: Graph) -> tuple[tuple[Station, ...], dict[str, tuple[Junction, ...]]]:
    """Stations, every one after those that feed it, and the junctions into each.

    Raises PathcError: E0303 for a cycle, and those of the generators.
    """
    into: dict[str, list[Junction]] = defaultdict(list)
    for junction in junctions_of(graph):
        into[junction.destination].append(junction)
    stations: list[Station] = []
    for name in station_order(graph):
        station = graph.station(name)
        stations.extend(_solved(station, into) if station.stage("ode") is not None else (station,))
    return tuple(stations), {station.name: tuple(into[station.name]) for station in stations}


def _solved(station: Station, into: dict[str, list[Junction]]) -> list[Station]:
    """The stations of an equation's steps; `into` gets the junctions between them."""
    at = next(i for i, stage in enumerate(station.pipeline) if stage.name == "ode")
    options = options_of(station.pipeline[at])
    step, steps = options["step"], options["steps"]
    assert isinstance(step, float | int)
    assert isinstance(steps, int)
    lines = into.pop(station.name)
    blank = replace(station, role="layer", pipeline=())
    made: list[Station] = []

    def place(name: str, *sources: tuple[str, float], rule: bool = False) -> str:
        """A new station: the right-hand side at a source, or a sum of sources with factors."""
        own = f"{station.name}.{name}"
        if rule:
            made.append(replace(blank, name=own, pipeline=station.pipeline[:at]))
            into[own] = [line.between(sources[0][0], own) for line in lines]
        else:
            made.append(replace(blank, name=own))
            into[own] = [SkipJunction(source, own, size_of(station), factor) for source, factor in sources]
        return own

    state = place("0", (lines[0].source, 1.0))
    for number in range(steps):
        slopes: list[tuple[str, float]] = []
        for k, (reach, share) in enumerate(STAGES[str(options["solver"])]):
            point = place(f"{number}.at{k}", (state, 1.0), (slopes[-1][0], reach * step)) if reach else state
            slopes.append((place(f"{number}.slope{k}", (point, 1.0), rule=True), share * step))
        state = place(f"{number + 1}", (state, 1.0), *((name, share) for name, share in slopes if share))
    into[station.name] = [SkipJunction(state, station.name, size_of(station), 1.0)]
    made.append(replace(station, pipeline=station.pipeline[at + 1 :]))
    return made
