"""Which stations of a net run over steps, where the steps come from, and how many there are.

A net with cells takes sequences: all of its stations run over the steps it is given. In a net with `steps` the last
extent of a station becomes time. What leads to that station sees a whole sample, what follows from it sees one step of
a sequence after the other; the number of steps is an extent and so known.
"""

from __future__ import annotations

from collections.abc import Iterator

from pathc.ir.cells import cell_stage, is_recurrent
from pathc.ir.extents import pooled_extents
from pathc.ir.graph import Graph, Station
from pathc.ir.order import station_order
from pathc.support.diagnostics import PathcError

STEPS = "steps"


def unrolls(station: Station) -> bool:
    """Whether the last extent of a station is read as time."""
    return station.stage(STEPS) is not None


def takes_sequences(graph: Graph) -> bool:
    """Whether the inputs of a graph are sequences, [batch, steps, ...], of any number of steps."""
    return is_recurrent(graph) and not any(map(unrolls, graph.stations))


def gives_sequences(graph: Graph) -> bool:
    """Whether the outputs of a graph are sequences."""
    return is_recurrent(graph) or any(map(unrolls, graph.stations))


def fixed_steps(graph: Graph) -> int:
    """Steps of the sequences that a graph makes of its samples; 0 if it makes none."""
    return next((pooled_extents(station)[-1] for station in graph.stations if unrolls(station)), 0)


def running(graph: Graph) -> frozenset[str]:
    """Names of the stations that are computed once for every step; raises E0303 for a cycle."""
    if takes_sequences(graph):
        return frozenset(station.name for station in graph.stations)
    found: set[str] = set()
    if not any(map(unrolls, graph.stations)):
        return frozenset()
    for name in station_order(graph):
        if any(source.name in found or unrolls(source) for source in _sources(graph, name)):
            found.add(name)
    return frozenset(found)


def step_problems(graph: Graph) -> Iterator[tuple[Station, str, str]]:
    """What is wrong with `steps` in a graph whose pools fit: the station, the text, the cure."""
    made = [station for station in graph.stations if unrolls(station)]
    if not made:
        return
    for station in made:
        if not station.shape[1:]:
            help = "give the station channels and extents, the last one in time: `sound[39, 100]`"
            yield station, f"`{station.name}` has no extent that could become steps", help
            return
        names = [stage.name for stage in station.pipeline]
        if names.index(STEPS) < len(names) - 1:
            text = f"`{names[-1]}` of `{station.name}` stands behind `steps`, which is the last thing to happen"
            yield station, text, f"write `{names[-1]} | steps`, or use a further station"
    extents = {station.name: pooled_extents(station)[-1] for station in made}
    if len(set(extents.values())) > 1:
        shown = ", ".join(f"{count} at `{name}`" for name, count in extents.items())
        yield made[-1], f"sequences have different numbers of steps: {shown}", "make the last extents equal"
    try:
        over = running(graph)
    except PathcError:
        return
    for station in graph.stations:
        fed = {source.name: source.name in over or unrolls(source) for source in _sources(graph, station.name)}
        if len(set(fed.values())) > 1:
            whole, stepped = (next(name for name, is_step in fed.items() if is_step == want) for want in (False, True))
            text = f"`{whole}` brings a whole sample to `{station.name}`, `{stepped}` one step of it"
            yield station, text, f"end `{whole}` in `steps`, too"
        elif unrolls(station) and station.name in over:
            yield station, f"`{station.name}` has `steps` and runs over steps already", "leave one of them out"
        elif cell_stage(station) is not None and station.name not in over:
            yield station, f"the cell of `{station.name}` has no steps", "lead a station with `steps` into it"
        elif station.role == "output" and station.name not in over and not unrolls(station):
            text = f"the output `{station.name}` holds a whole sample, others one step"
            yield station, text, "lead steps into it, or use two models"


def _sources(graph: Graph, name: str) -> Iterator[Station]:
    for line in graph.lines:
        for number in line.junctions:
            if line.visits[number].station == name:
                yield graph.station(line.visits[number - 1].station)
