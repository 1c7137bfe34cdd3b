"""Rules about stations and the lines between them."""

from __future__ import annotations

import math

from pathc.ir.graph import Graph
from pathc.ir.order import station_order
from pathc.ir.text.values import is_name
from pathc.ir.verify.rule import Found, rule, unknown
from pathc.support.diagnostics import Diagnostic, PathcError
from pathc.support.source import Loc


@rule("graph")
def names_are_unique_words(graph: Graph) -> Found:
    """Names are words of letters, digits and `_`; no two stations, lines or targets share one."""
    for what, nodes in (("station", graph.stations), ("line", graph.lines), ("target", graph.targets)):
        seen: dict[str, Loc | None] = {}
        for node in nodes:
            if not is_name(node.name):
                yield _no_name(node.name, what, node.loc)
            elif node.name in seen:
                found = Diagnostic("E0301", f"there are two {what}s `{node.name}`", node.loc, help="rename one")
                yield found.note(f"the other one is at {seen[node.name]}") if seen[node.name] else found
            seen[node.name] = node.loc
    if not is_name(graph.name):
        yield _no_name(graph.name, "graph", graph.loc)


@rule("graph")
def references_exist(graph: Graph) -> Found:
    """Lines visit stations of the graph and mirror lines of the graph."""
    stations, lines = {s.name for s in graph.stations}, {line.name for line in graph.lines}
    for line in graph.lines:
        for visit in line.visits:
            if visit.station not in stations:
                yield unknown("station", visit.station, stations, visit.loc or line.loc)
        if line.mirror and line.mirror not in lines:
            yield unknown("line", line.mirror, lines, line.loc)


@rule("graph")
def stations_have_units(graph: Graph) -> Found:
    """Every extent is at least one, and the declared units are no more than those with padding."""
    for station in graph.stations:
        if not station.shape or any(n < 1 for n in station.shape):
            text = f"station `{station.name}` has the shape {list(station.shape)}"
            yield Diagnostic("E0304", text, station.loc, help="every extent is at least 1")
        elif not 0 <= station.declared <= station.units:
            text = f"station `{station.name}` declares {station.declared} units, with padding it has {station.units}"
            yield Diagnostic("E0304", text, station.loc, help="padding adds units, it takes none away")


@rule("graph")
def model_has_ends(graph: Graph) -> Found:
    """There is an input and an output."""
    for role, stations in (("input", graph.inputs), ("output", graph.outputs)):
        if not stations:
            yield Diagnostic("E0311", f"the graph has no {role}", graph.loc, help=f"give a station the role {role}")


@rule("graph")
def lines_lead_somewhere(graph: Graph) -> Found:
    """A line has at least two visits and leads into no input; a layer that a line reads is reached by another."""
    inputs = {station.name for station in graph.inputs}
    reached = {visit.station for line in graph.lines for visit in line.visits[1:]} | inputs
    for line in graph.lines:
        if len(line.visits) < 2:
            yield Diagnostic("E0305", f"line `{line.name}` has fewer than two visits", line.loc, help="add a station")
        for visit in line.visits[1:]:
            if visit.station in inputs:
                text = f"line `{line.name}` leads into the input `{visit.station}`"
                yield Diagnostic("E0305", text, visit.loc or line.loc, help="inputs are fed from outside")
        for visit in line.visits[:1]:
            if visit.station not in reached:
                text = f"line `{line.name}` reads the layer `{visit.station}`, which no line reaches"
                yield Diagnostic("E0305", text, visit.loc or line.loc, help="lead a line into it")


@rule("graph")
def lines_lead_forwards(graph: Graph) -> Found:
    """The lines form no cycle."""
    try:
        station_order(graph)
    except PathcError as cycle:
        yield from cycle.diagnostics


@rule("graph")
def counts_suit(graph: Graph) -> Found:
    """Lines of paths have at least one path, other lines none."""
    for line in graph.lines:
        if line.kind == "paths" and line.count < 1 and not line.mirror:
            yield Diagnostic("E0306", f"line `{line.name}` has {line.count} paths", line.loc, help="set its count")
        elif line.kind != "paths" and line.count:
            yield Diagnostic("E0306", f"a {line.kind} line such as `{line.name}` has no count", line.loc)


@rule("graph")
def dimensions_count_from_zero(graph: Graph) -> Found:
    """No visit has a negative dimension."""
    for line in graph.lines:
        for visit in line.visits:
            if min(visit.dims) < 0:
                text = f"line `{line.name}` visits `{visit.station}` in dimension {min(visit.dims)}"
                yield Diagnostic("E0314", text, visit.loc or line.loc, help="dimensions count from 0")


@rule("graph")
def axes_make_up_stations(graph: Graph) -> Found:
    """The axes of a visit have as many places as the station has units."""
    units = {station.name: station.units for station in graph.stations}
    for line in graph.lines:
        for visit in line.visits:
            places = math.prod(axis.parts for axis in visit.axes)
            if visit.axes and (places != units[visit.station] or min(axis.parts for axis in visit.axes) < 1):
                text = f"the axes {visit.drawn} of `{line.name}` have {places} places, `{visit.station}` "
                text += f"has {units[visit.station]} units"
                help = f"let their sizes multiply to {units[visit.station]}"
                yield Diagnostic("E0316", text, visit.loc or line.loc, help=help)


def _no_name(name: str, what: str, place: Loc | None) -> Diagnostic:
    return Diagnostic("E0301", f"`{name}` cannot name a {what}", place, help="use letters, digits and `_`")


RULES = (
    names_are_unique_words,
    references_exist,
    stations_have_units,
    model_has_ends,
    lines_lead_somewhere,
    lines_lead_forwards,
    counts_suit,
    dimensions_count_from_zero,
    axes_make_up_stations,
)
"""What must hold of names, stations and lines before anything else is looked at."""
