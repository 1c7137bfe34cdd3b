"""Rules about the facts that passes have added."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

from pathc.ir import gf2
from pathc.ir.claims import false_blocks, false_formats
from pathc.ir.facts import Bank, Bicliques, Blocks, Distinct, Fact, Mixing, Order, Valence
from pathc.ir.graph import Graph
from pathc.ir.schedule.banks import check_banks
from pathc.ir.schedule.build import check_order
from pathc.ir.verify.rule import Found, rule, unknown
from pathc.support.diagnostics import Diagnostic, PathcError

_COUNTING = (Bicliques, Blocks, Distinct, Mixing, Valence)


@rule("structured")
def facts_are_about_the_graph(graph: Graph) -> Found:
    """Facts speak of lines, junctions, visits and stations that exist."""
    stations = {station.name for station in graph.stations}
    lines = {line.name: line for line in graph.lines}
    for fact in graph.facts:
        about = _about(fact)
        if "station" in about and about["station"] not in stations:
            yield unknown("station", str(about["station"]), stations, fact.loc)
        if "line" not in about:
            continue
        line = lines.get(str(about["line"]))
        if line is None:
            yield unknown("line", str(about["line"]), lines, fact.loc)
        elif "junction" in about and about["junction"] not in line.junctions:
            text = f"a fact speaks of junction {about['junction']} of `{line.name}`, which has {len(line.junctions)}"
            yield Diagnostic("E0309", text, fact.loc or line.loc, help="junctions count from 1")
        elif "visit" in about and about["visit"] not in range(len(line.visits)):
            text = f"a fact speaks of visit {about['visit']} of `{line.name}`, which has {len(line.visits)}"
            yield Diagnostic("E0309", text, fact.loc or line.loc, help="visits count from 0")


@rule("structured")
def numbers_are_not_negative(graph: Graph) -> Found:
    """Facts that count units, edges and paths hold no negative number."""
    for fact in graph.facts:
        if isinstance(fact, _COUNTING) and any(number < 0 for number in _integers(list(vars(fact).values()))):
            yield _contradiction(fact, "has a negative number")


@rule("structured")
def blocks_fit(graph: Graph) -> Found:
    """Blocks lie in an aligned window of the paths, inside both stations, with independent bases and equal numbers
    of representatives, and no edge is carried by less than one path.
    """
    sizes = {station.name: station.units for station in graph.stations}
    lines = {line.name: line for line in graph.lines}
    for fact in graph.facts_of(Blocks):
        line = lines[fact.line]
        count = line.count or (lines[line.mirror].count if line.mirror else 0)
        source, destination = (sizes[visit.station] for visit in line.visits[fact.junction - 1 : fact.junction + 1])
        if fact.length < 1 or fact.length & (fact.length - 1) or fact.start % fact.length:
            yield _contradiction(fact, f"has the window {fact.start} + {fact.length}, which is not aligned")
        elif line.kind != "paths" or fact.start + fact.length > count:
            yield _contradiction(fact, f"has a window beyond the {count} paths of the line")
        elif len(fact.src_reps) != len(fact.dst_reps):
            yield _contradiction(fact, "has different numbers of representatives at its ends")
        elif fact.length >> fact.rank == 0:
            yield _contradiction(fact, f"has rank {fact.rank}, more than {fact.length} paths can have")
        elif not _lies_inside(fact.src_basis, fact.src_reps, fact.src_shift, source):
            yield _contradiction(fact, f"needs {fact.fan_in} different sources among {source} units")
        elif not _lies_inside(fact.dst_basis, fact.dst_reps, fact.dst_shift, destination):
            yield _contradiction(fact, f"needs {fact.fan_out} different destinations among {destination} units")


@rule("structured")
def blocks_are_true(graph: Graph) -> Found:
    """Blocks are those that the paths of their window form, and no two windows of a junction overlap."""
    claims: dict[str, list[Blocks]] = {}
    for fact in graph.facts_of(Blocks):
        claims.setdefault(fact.line, []).append(fact)
    for name, facts in claims.items():
        try:
            for fact, problem in false_blocks(graph.line(name), graph, facts):
                yield _contradiction(fact, problem)
        except PathcError as mistake:
            yield from mistake.diagnostics


@rule("structured")
def schedules_fit(graph: Graph) -> Found:
    """Banks are laid out by a known map, one layout a station; only paths have an order, of a known kind."""
    seen: set[str] = set()
    for fact in graph.facts_of(Bank):
        if fact.station in seen:
            yield _contradiction(fact, f"is the second one of `{fact.station}`")
        seen.add(fact.station)
        try:
            check_banks(fact.banks, fact.map, fact.masks, fact.loc)
        except PathcError as problem:
            yield from problem.diagnostics
    lines = {line.name: line for line in graph.lines}
    for fact in graph.facts_of(Order):
        if lines[fact.line].kind != "paths" or fact.cycles < 1 or fact.stalls < -1:
            yield _contradiction(fact, "is not that of paths")
        try:
            check_order(fact.kind, fact.z, fact.loc)
        except PathcError as problem:
            yield from problem.diagnostics


@rule("structured")
def numbers_fit(graph: Graph) -> Found:
    """Stations hold integers of at most 8 bits at a positive scale, weights i8, i4 or t2, sums at most 64 bits; every
    station and junction has one format.
    """
    for fact, problem in false_formats(graph):
        yield _contradiction(fact, problem)


def _lies_inside(basis: tuple[int, ...], reps: tuple[int, ...], shift: int, units: int) -> bool:
    return gf2.rank(basis) == len(basis) and all(vector < units for vector in (*basis, *reps, shift))


def _contradiction(fact: Fact, what: str) -> Diagnostic:
    about = _about(fact)
    where = f" of line `{about['line']}`" if "line" in about else ""
    junction = f", junction {about['junction']}," if "junction" in about else ""
    text = f"the fact `{type(fact).__name__.lower()}`{where}{junction} {what}"
    return Diagnostic("E0310", text, fact.loc, help="drop the fact and run the pass again")


def _integers(values: list[Any]) -> Iterator[int]:
    for value in values:
        if isinstance(value, tuple):
            yield from _integers(list(cast("tuple[Any, ...]", value)))
        elif isinstance(value, int):
            yield value


def _about(fact: Fact) -> dict[str, object]:
    return {name: value for name, value in vars(fact).items() if name in ("line", "junction", "visit", "station")}


RULES = (
    facts_are_about_the_graph,
    numbers_are_not_negative,
    blocks_fit,
    blocks_are_true,
    schedules_fit,
    numbers_fit,
)
"""What must hold of facts."""
