"""What must hold of every graph, as a list of rules; the docstring of a rule is its documentation.

Level `graph` is stations and lines, level `structured` the facts that passes have added. A rule may rely on all
rules above it: checking stops at the first one that finds something.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, cast

from pathc.ir import gf2
from pathc.ir.catalogue import STAGE_KINDS, find
from pathc.ir.claims import false_blocks
from pathc.ir.extents import read_extents
from pathc.ir.facts import Bank, Bicliques, Blocks, Distinct, Fact, Mixing, Order, Valence
from pathc.ir.graph import Graph, Line, Station
from pathc.ir.order import station_order
from pathc.ir.schedule.banks import check_banks
from pathc.ir.schedule.build import check_order
from pathc.ir.text.values import is_name
from pathc.ir.types import Call, Quantity, Size, Value, Word
from pathc.ir.vocabulary import Kind, Option
from pathc.support.diagnostics import Diagnostic, PathcError, did_you_mean
from pathc.support.source import Loc

Level = Literal["graph", "structured"]
Found = Iterator[Diagnostic]
_COUNTING = (Bicliques, Blocks, Distinct, Mixing, Valence)


@dataclass(frozen=True)
class Rule:
    """One rule: its name, the level it belongs to, and the function that yields what breaks it."""

    name: str
    level: Level
    check: Callable[[Graph], Iterable[Diagnostic]]

    @property
    def doc(self) -> str:
        """What the rule demands."""
        return " ".join((self.check.__doc__ or "").split())


RULES: list[Rule] = []
"""All rules, in the order in which they are checked."""


def rule(level: Level) -> Callable[[Callable[[Graph], Found]], Callable[[Graph], Found]]:
    """Add a function to the rules of a level, under its own name."""

    def add(check: Callable[[Graph], Found]) -> Callable[[Graph], Found]:
        RULES.append(Rule(check.__name__.replace("_", "-"), level, check))
        return check

    return add


def violations(graph: Graph) -> list[Diagnostic]:
    """What the first broken rule finds, empty if every rule holds."""
    for each in RULES:
        if found := list(each.check(graph)):
            return found
    return []


def verify(graph: Graph) -> None:
    """Raise PathcError with what the first broken rule finds: E0301 to E0314."""
    if found := violations(graph):
        raise PathcError(*found)


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
                yield _unknown("station", visit.station, stations, visit.loc or line.loc)
        if line.mirror and line.mirror not in lines:
            yield _unknown("line", line.mirror, lines, line.loc)


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
    """A line has at least two visits and leads into no input."""
    inputs = {station.name for station in graph.inputs}
    for line in graph.lines:
        if len(line.visits) < 2:
            yield Diagnostic("E0305", f"line `{line.name}` has fewer than two visits", line.loc, help="add a station")
        for visit in line.visits[1:]:
            if visit.station in inputs:
                text = f"line `{line.name}` leads into the input `{visit.station}`"
                yield Diagnostic("E0305", text, visit.loc or line.loc, help="inputs are fed from outside")


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
            if visit.dim < 0:
                text = f"line `{line.name}` visits `{visit.station}` in dimension {visit.dim}"
                yield Diagnostic("E0314", text, visit.loc or line.loc, help="dimensions count from 0")


@rule("graph")
def words_are_known(graph: Graph) -> Found:
    """Stages, generators and sign rules stand in the vocabulary, with options it knows, of the right type."""
    for station in graph.stations:
        for stage in station.pipeline:
            yield from _check_call(stage, STAGE_KINDS, "stage", station.loc)
        if len([stage for stage in station.pipeline if stage.name == "bias"]) > 1:
            yield Diagnostic("E0313", f"station `{station.name}` has two biases", station.loc, help="one is enough")
    for line in graph.lines:
        yield from _check_call(line.generator, ("generator",), "path generator", line.loc)
        yield from _check_call(line.sign, ("sign",), "sign rule", line.loc)


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
            if destination.stage("concat") is None and _read_shape(source) != destination.shape:
                text = (
                    f"skip `{line.name}` hands {list(_read_shape(source))} units of `{source.name}` to "
                    f"{list(destination.shape)} of `{destination.name}`"
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


@rule("structured")
def facts_are_about_the_graph(graph: Graph) -> Found:
    """Facts speak of lines, junctions, visits and stations that exist."""
    stations = {station.name for station in graph.stations}
    lines = {line.name: line for line in graph.lines}
    for fact in graph.facts:
        about = _about(fact)
        if "station" in about and about["station"] not in stations:
            yield _unknown("station", str(about["station"]), stations, fact.loc)
        if "line" not in about:
            continue
        line = lines.get(str(about["line"]))
        if line is None:
            yield _unknown("line", str(about["line"]), lines, fact.loc)
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


def _no_name(name: str, what: str, place: Loc | None) -> Diagnostic:
    return Diagnostic("E0301", f"`{name}` cannot name a {what}", place, help="use letters, digits and `_`")


def _unknown(what: str, name: str, known: Iterable[str], place: Loc | None) -> Diagnostic:
    names = sorted(known)
    hint = did_you_mean(name, names) or f"there are: {', '.join(names[:8]) or 'none'}"
    return Diagnostic("E0302", f"there is no {what} `{name}`", place, help=hint)


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


def _check_call(call: Call, kinds: tuple[Kind, ...], what: str, place: Loc | None) -> Found:
    entry = find(call.name, kinds)
    if entry is None:
        yield Diagnostic("E0312", f"there is no {what} `{call.name}`", place, help="`pathc explain` lists the words")
        return
    given = dict(call.options)
    for name in given:
        if entry.option(name) is None:
            hint = did_you_mean(name, [option.name for option in entry.options])
            yield Diagnostic("E0313", f"`{call.name}` has no option `{name}`", place, help=hint)
    for option in entry.options:
        value = given.get(option.name, option.default)
        if value is None:
            yield Diagnostic("E0313", f"`{call.name}` lacks the option `{option.name}`", place, help=option.doc)
        elif not _takes(option, value):
            text = f"`{call.name}` cannot have {option.name} = {value}"
            yield Diagnostic("E0313", text, place, help=option.doc)
        elif isinstance(value, Call):
            yield from _check_call(value, ("recurrence",), "recurrence", place)


def _takes(option: Option, value: Value) -> bool:
    """True if the value is of a kind the option accepts and within its bounds."""
    match value:
        case bool():
            return "bool" in option.accepts
        case int() | float():
            whole = isinstance(value, int) and "int" in option.accepts
            return (whole or "float" in option.accepts) and _within(option, value)
        case Size():
            return "size" in option.accepts and all(_within(option, n) for n in value.extents)
        case Quantity():
            return "percent" in option.accepts and value.unit == "%" and math.isfinite(value.number)
        case Word():
            return "word" in option.accepts and (not option.choices or value.text in option.choices)
        case str():
            return "text" in option.accepts
        case Call():
            return "recurrence" in option.accepts
        case _:
            return False


def _within(option: Option, number: float) -> bool:
    low = -math.inf if option.low is None else option.low
    high = math.inf if option.high is None else option.high
    return math.isfinite(number) and low <= number <= high
