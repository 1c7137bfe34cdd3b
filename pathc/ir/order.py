"""The order in which stations are computed."""

from __future__ import annotations

from graphlib import CycleError, TopologicalSorter
from itertools import pairwise

from pathc.ir.graph import Graph
from pathc.support.diagnostics import error


def station_order(graph: Graph) -> tuple[str, ...]:
    """Names of the stations, every one after those that feed it.

    Raises PathcError E0303, naming the stations, if the lines form a cycle.
    """
    sorter: TopologicalSorter[str] = TopologicalSorter({station.name: () for station in graph.stations})
    for line in graph.lines:
        for source, destination in pairwise(line.visits):
            sorter.add(destination.station, source.station)
    try:
        return tuple(sorter.static_order())
    except CycleError as cycle:
        names: list[str] = cycle.args[1]
        text = f"the lines form a cycle: {' -> '.join(f'`{name}`' for name in names)}"
        raise error("E0303", text, graph.loc, help="draw lines forwards; recurrence is a stage of a station") from None
