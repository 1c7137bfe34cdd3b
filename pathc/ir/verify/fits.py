"""Rules about skips and mirrors, which must fit what they join and follow."""

from __future__ import annotations

import math

from pathc.ir.extents import read_extents, skip_extents
from pathc.ir.graph import Graph, Line, Station
from pathc.ir.misfits import misfits
from pathc.ir.verify.rule import Found, rule
from pathc.support.diagnostics import Diagnostic


@rule("graph")
def skips_fit(graph: Graph) -> Found:
    """A skip joins stations of equal shape (unless the second sets lines side by side), its scale is finite."""
    stations = {station.name: station for station in graph.stations}
    for line in graph.lines:
        if not math.isfinite(line.scale):
            yield Diagnostic("E0307", f"line `{line.name}` has the scale {line.scale}", line.loc, help="scale = 1.0")
        if line.kind != "skip":
            continue
        for number in line.junctions:
            source, destination = (stations[visit.station] for visit in line.visits[number - 1 : number + 1])
            wanted = (destination.units, *skip_extents(destination))
            if destination.stage("concat") is None and _read_shape(source) != wanted:
                text = (
                    f"skip `{line.name}` hands {list(_read_shape(source))} units of `{source.name}` to "
                    f"{list(wanted)} of `{destination.name}`"
                )
                yield Diagnostic("E0307", text, line.loc, help="a skip joins stations of the same shape")


@rule("graph")
def mirrors_fit(graph: Graph) -> Found:
    """A mirror walks a line of its kind, itself no mirror, backwards through equal sizes; only mirrors are tied."""
    sizes = {station.name: station.units for station in graph.stations}
    lines = {line.name: line for line in graph.lines}
    for line in graph.lines:
        if not line.mirror:
            if line.tied:
                text = f"line `{line.name}` shares weights, but mirrors no line"
                yield Diagnostic("E0308", text, line.loc, help="name the line: mirror = ...")
            continue
        if problem := _mirror_problem(line, lines[line.mirror], sizes):
            text = f"line `{line.name}` mirrors `{line.mirror}`, {problem}"
            yield Diagnostic("E0308", text, line.loc, help="visit stations of the same sizes in reverse order")


@rule("graph")
def extents_meet(graph: Graph) -> Found:
    """Filters, pools, groups, concatenations and equations fit the stations they stand between."""
    yield from misfits(graph)


def _read_shape(station: Station) -> tuple[int, ...]:
    return (station.units, *read_extents(station))


def _mirror_problem(line: Line, other: Line, sizes: dict[str, int]) -> str:
    if other.mirror:
        return "which is a mirror itself"
    if other.kind != line.kind:
        return f"which is a {other.kind} line"
    own, mirrored = [sizes[v.station] for v in line.visits], [sizes[v.station] for v in reversed(other.visits)]
    if own != mirrored:
        return f"whose sizes are {mirrored} in reverse, not {own}"
    if line.count not in (0, other.count):
        return f"which has {other.count} paths, not {line.count}"
    return ""


RULES = (
    extents_meet,
    skips_fit,
    mirrors_fit,
)
"""What must hold of extents, skips and mirrors."""
