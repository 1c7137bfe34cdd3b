"""The stations that are evaluated: those of the graph, parts of those with a shortcut, the steps of equations.

A station with `ode` stands for dh/dt = F(h), h(0) = what its source gives, where F is the lines into the station
and the stages in front of `ode`. Its steps become stations of their own, joined by skips; their junctions share the
tensors of the lines. `rk2` is the midpoint rule, `rk4` the classical one. A station with `shortcut` is two: one that
sums up the lines with weights, and one that adds what skips bring to it; cells look after their own.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import replace

from pathc.ir.catalogue import options_of
from pathc.ir.cells import cell_stage
from pathc.ir.extents import skip_extents
from pathc.ir.graph import Graph, Station
from pathc.ir.interp.base import Junction
from pathc.ir.interp.junctions import SkipJunction, junctions_of, size_of
from pathc.ir.order import station_order
from pathc.ir.types import Call

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
        if station.stage("ode") is not None:
            stations.extend(_solved(station, into))
        elif station.stage("shortcut") is not None and cell_stage(station) is None:
            stations.extend(_parted(station, into))
        else:
            stations.append(station)
    return tuple(stations), {station.name: tuple(into[station.name]) for station in stations}


Place = Callable[..., str]
"""Makes a station that sums up (source, factor) pairs, from its name and these; gives what it is called."""
Slope = Callable[[str, str], str]
"""Makes a station for the right-hand side, from its name and the station it is taken at; gives what it is called."""


def integrated(stage: Call, start: str, place: Place, slope: Slope) -> str:
    """Place the stations of all steps of an `ode` stage that begins at `start`; the one that holds the solution."""
    options = options_of(stage)
    step, steps = options["step"], options["steps"]
    assert isinstance(step, float | int)
    assert isinstance(steps, int)
    state = place("0", (start, 1.0))
    for number in range(steps):
        slopes: list[tuple[str, float]] = []
        for k, (reach, share) in enumerate(STAGES[str(options["solver"])]):
            point = place(f"{number}_at{k}", (state, 1.0), (slopes[-1][0], reach * step)) if reach else state
            slopes.append((slope(f"{number}_slope{k}", point), share * step))
        state = place(f"{number + 1}", (state, 1.0), *((name, share) for name, share in slopes if share))
    return state


def split_at_ode(station: Station) -> tuple[Station, Call, Station]:
    """The right-hand side of an equation as a station, its stage, and the station that is left behind it."""
    at = next(i for i, stage in enumerate(station.pipeline) if stage.name == "ode")
    rule = replace(station, role="layer", pipeline=station.pipeline[:at])
    return rule, station.pipeline[at], replace(station, pipeline=station.pipeline[at + 1 :])


def split_at_shortcut(station: Station) -> tuple[Station, Station]:
    """The station that sums up lines with weights, and the one that adds what skips bring to it.

    A bias belongs to the sums, wherever it stands.
    """
    at = next(i for i, stage in enumerate(station.pipeline) if stage.name == "shortcut")
    bias = tuple(stage for stage in station.pipeline[at:] if stage.name == "bias")
    behind = tuple(stage for stage in station.pipeline[at + 1 :] if stage.name != "bias")
    front = replace(station, role="layer", pipeline=(*station.pipeline[:at], *bias))
    return front, replace(station, shape=(station.units, *skip_extents(station)), pipeline=behind)


def _parted(station: Station, into: dict[str, list[Junction]]) -> tuple[Station, Station]:
    """The two stations of one with a shortcut; `into` is divided between them."""
    front, behind = split_at_shortcut(station)
    own = f"{station.name}.sums"
    lines = into.pop(station.name, [])
    into[own] = [line.between(line.source, own) for line in lines if line.tensor]
    whole = SkipJunction(own, station.name, size_of(behind), 1.0)
    into[station.name] = [whole, *(line for line in lines if not line.tensor)]
    return replace(front, name=own), behind


def _solved(station: Station, into: dict[str, list[Junction]]) -> list[Station]:
    """The stations of an equation's steps; `into` gets the junctions between them."""
    rule, stage, behind = split_at_ode(station)
    lines = into.pop(station.name)
    made: list[Station] = []

    def place(name: str, *sources: tuple[str, float]) -> str:
        own = f"{station.name}.{name}"
        made.append(replace(rule, name=own, pipeline=()))
        into[own] = [SkipJunction(source, own, size_of(station), factor) for source, factor in sources]
        return own

    def slope(name: str, point: str) -> str:
        own = f"{station.name}.{name}"
        made.append(replace(rule, name=own))
        into[own] = [line.between(point, own) for line in lines]
        return own

    state = integrated(stage, lines[0].source, place, slope)
    into[station.name] = [SkipJunction(state, station.name, size_of(station), 1.0)]
    return [*made, behind]
