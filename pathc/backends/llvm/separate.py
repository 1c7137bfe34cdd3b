"""Inputs with biases as what kernels know: an input as it is, and a layer that adds to it."""

from __future__ import annotations

from dataclasses import replace

from pathc.ir.graph import Graph, Line, Station, Visit


def separated(graph: Graph) -> Graph:
    """The same net with a plain input and a skip in place of every input that has a bias.

    Kernels add biases to sums alone. The layer keeps the name, so that weights and lines find it, and inputs keep
    their order; a graph without such inputs is returned as it is.
    """
    biased = [s for s in graph.stations if s.role == "input" and s.stage("bias") is not None]
    if not biased:
        return graph
    taken = {station.name for station in graph.stations} | {line.name for line in graph.lines}
    stations, skips = list[Station](), list[Line]()
    for station in graph.stations:
        if station not in biased:
            stations.append(station)
            continue
        plain, line = _unused(f"{station.name}_in", taken), _unused(f"{station.name}_bias", taken)
        stations.append(replace(station, name=plain, pipeline=()))
        stations.append(replace(station, role="layer"))
        visits = Visit(plain, 0), Visit(station.name, 1)
        skips.append(Line(line, "skip", visits, loc=station.loc))
    return replace(graph, stations=tuple(stations), lines=(*skips, *graph.lines))


def _unused(name: str, taken: set[str]) -> str:
    """A name nobody has, which is taken then."""
    while name in taken:
        name += "_"
    taken.add(name)
    return name
