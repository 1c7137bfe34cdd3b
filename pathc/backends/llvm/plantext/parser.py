"""Reading the text of plans: one operation a line, one error a line, several per run.

Layouts stand at buffers alone, sizes of stations and junctions come from the graph, so a text cannot contradict
itself about them. What operations do to each other is checked by `pathc.backends.llvm.verify`, not here.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Literal, cast

from pathc.backends.llvm.forms import form_names
from pathc.backends.llvm.junctions import junctions_of
from pathc.backends.llvm.netplan import Buffer, Load, Move, NetPlan, Op, Order, Post, Run, Save, Where, place
from pathc.backends.llvm.plan import Family, Junction, Layout, Step, Tiles, WeightType
from pathc.backends.llvm.plantext.printer import VERSION
from pathc.ir.graph import Graph, Station
from pathc.ir.text.cursor import Cursor, Token
from pathc.ir.text.values import read_call, read_options
from pathc.ir.types import Call
from pathc.support.diagnostics import Diagnostic, PathcError, did_you_mean, error
from pathc.support.source import Source, Span

_FAMILIES = ("row", "column")
_FIELDS = ("width", "samples", "inputs", "outputs", "scratch", "work", "cycles")
_OPERATIONS = ("load", "run", "move", "apply", "save")
_MOST_ERRORS = 20
_MOST_COLUMNS = 40
_LARGEST = 1 << 48
_LONGEST_TEXT = 1 << 26
_CODES = {
    "E0401": "E0640",
    "E0403": "E0642",
    "E0404": "E0643",
    "E0405": "E0644",
    "E0406": "E0644",
    "E0408": "E0644",
}
"""The mistakes of tokens and values, as mistakes of a plan."""
_HEX = re.compile(r"[ \t]*([0-9A-Fa-f]{1,12})(?![0-9A-Za-z_])")


@dataclass(frozen=True)
class PlanText:
    """A plan and where in the text its operations and buffers stand."""

    plan: NetPlan
    places: Mapping[Where, Span] = field(compare=False)


def parse_plan(source: Source, graph: Graph) -> NetPlan:
    """The one plan of a text, as `print_plan` wrote it; raises as `parse_plans`, E0641 if there are two."""
    first, *others = parse_plans(source, graph)
    if others:
        raise error("E0641", "the text holds two plans", others[0].places[""], help="keep one of the two")
    return first.plan


def parse_plans(source: Source, graph: Graph) -> tuple[PlanText, ...]:
    """The plans of a text, at most one of each family, for a structured graph.

    Raises PathcError with all errors found, at most twenty: E0640 to E0646, E0612 for forms that do not exist.
    """
    if len(source.text) > _LONGEST_TEXT:
        raise error("E0646", f"`{source.name}` has {len(source.text)} characters, at most {_LONGEST_TEXT} are read")
    reader = _Reader(source, graph)
    with _as_plan():
        return reader.read()


@contextmanager
def _as_plan() -> Generator[None]:
    """Errors of the token reader under the codes of plans."""
    try:
        yield
    except PathcError as problem:
        raise PathcError(*(replace(d, code=_CODES.get(d.code, d.code)) for d in problem.diagnostics)) from None


@dataclass
class _Parts:
    """What has been read of a plan."""

    numbers: dict[str, float] = field(default_factory=dict[str, float])
    buffers: dict[str, Buffer] = field(default_factory=dict[str, Buffer])
    ops: list[Op] = field(default_factory=list[Op])
    places: dict[Where, Span] = field(default_factory=dict[Where, Span])
    unplaced: list[str] = field(default_factory=list[str])
    found: list[Diagnostic] = field(default_factory=list[Diagnostic])


class _Reader:
    """Reads one text."""

    def __init__(self, source: Source, graph: Graph) -> None:
        self.cursor = Cursor(source)
        self.stations: dict[str, Station] = {s.name: s for s in graph.stations}
        self.junctions = {(j.line, j.number): j for j in junctions_of(graph)}

    def read(self) -> tuple[PlanText, ...]:
        cursor = self.cursor
        self.skip_blank()
        head = cursor.peek()
        if not cursor.accept("plan"):
            help = "`pathc dump --emit plan` writes such texts"
            raise error("E0641", "this is no plan: its first line must be `plan 1`", head.span, help=help)
        version = cursor.peek()
        if cursor.integer("the version") != VERSION:
            text = f"this is version {version.text} of the text, only version {VERSION} can be read"
            raise error("E0641", text, version.span, help="write it again from the model")
        cursor.end_line()
        plans: dict[str, PlanText] = {}
        self.skip_blank()
        while not plans or cursor.peek().kind != "eof":
            start = cursor.peek()
            text = self.plan()
            if text.plan.family in plans:
                raise error("E0641", f"there are two plans of {text.plan.family} kernels", start.span, help="keep one")
            plans[text.plan.family] = text
            self.skip_blank()
        return tuple(plans.values())

    def skip_blank(self) -> None:
        while self.cursor.accept("\n"):
            pass

    def plan(self) -> PlanText:
        """`family NAME on "cpu" {`, lines, `}`."""
        cursor = self.cursor
        start = cursor.peek()
        family = cast("Family", self.one_of(_FAMILIES, "a family of kernels"))
        name = cursor.expect_kind("word", "the name of the net").text
        cursor.expect("on")
        cpu = cursor.string()
        cursor.expect("{")
        cursor.end_line()
        parts = self.statements(family)
        parts.places[""] = start.span
        placed = self.places_given(parts, start)
        missing = [name for name in _FIELDS if name not in parts.numbers and (placed or name != "scratch")]
        if missing and not parts.found:
            help = f"write `{missing[0]} = ...`"
            parts.found.append(Diagnostic("E0644", f"the plan lacks `{missing[0]}`", start.span, help=help))
        if parts.found:
            raise PathcError(*parts.found)
        numbers = {name: int(value) for name, value in parts.numbers.items() if name != "cycles"}
        cycles, buffers = float(parts.numbers["cycles"]), tuple(parts.buffers.values())
        if not placed:
            layouts = {buffer.name: buffer.layout for buffer in buffers}
            buffers, numbers["scratch"] = place(parts.ops, layouts, numbers["samples"])
        plan = NetPlan(name, family, cpu, ops=tuple(parts.ops), buffers=buffers, cycles=cycles, **numbers)
        return PlanText(plan, parts.places)

    def places_given(self, parts: _Parts, start: Token) -> bool:
        """Whether buffers stand with their places in scratch memory; without, places are found for all of them."""
        if parts.unplaced and len(parts.unplaced) < len(parts.buffers):
            text = f"buffer `%{parts.unplaced[0]}` has no place, others have"
            help = "give all of them places, or none"
            parts.found.append(Diagnostic("E0644", text, parts.places.get(parts.unplaced[0], start.span), help=help))
        return not parts.unplaced

    def statements(self, family: Family) -> _Parts:
        """All lines up to the closing brace; a bad line is skipped, its errors kept."""
        cursor, parts = self.cursor, _Parts()
        while len(parts.found) < _MOST_ERRORS:
            start = cursor.position
            try:
                self.skip_blank()
                if cursor.accept("}"):
                    cursor.end_line()
                    return parts
                self.statement(parts, family)
                cursor.end_line()
            except PathcError as problem:
                parts.found.extend(problem.diagnostics)
                cursor.position = max(cursor.position, start)
                if cursor.peek().kind == "eof":
                    break
                cursor.skip_line()
        return parts

    def statement(self, parts: _Parts, family: Family) -> None:
        token = self.cursor.peek()
        if token.kind == "station":
            self.buffer(parts)
        elif token.kind == "word" and token.text in _FIELDS:
            self.numbers(parts)
        elif token.kind == "word":
            parts.places[len(parts.ops)] = self.cursor.peek().span
            parts.ops.append(self.operation(parts, family))
        else:
            raise self.cursor.unexpected("a buffer `%name`, a number `name = ...`, an operation or `}`", token)

    def numbers(self, parts: _Parts) -> None:
        """`name = number, ...`."""
        cursor, more = self.cursor, True
        while more:
            key = cursor.peek()
            name = self.one_of(_FIELDS, "a number of the plan")
            if name in parts.numbers:
                raise error("E0644", f"`{name}` is given twice", key.span, help="keep one of the two")
            cursor.expect("=")
            parts.numbers[name] = cursor.number() if name == "cycles" else self.count(f"`{name}`")
            more = cursor.accept(",")

    def count(self, what: str) -> int:
        token = self.cursor.peek()
        value = self.cursor.integer(what)
        if value > _LARGEST:
            raise error("E0644", f"{token.text} is too large to be {what}", token.span)
        return value

    def buffer(self, parts: _Parts) -> None:
        """`%name = floats at offset order xor(hex, ...) in x`, place, order and array if it has them."""
        cursor = self.cursor
        start = cursor.peek()
        name = self.buffer_name()
        if name in parts.buffers:
            raise error("E0644", f"there are two buffers `%{name}`", start.span, help="number them: `%h.1`, `%h.2`")
        cursor.expect("=")
        size = self.count("the floats of a sample")
        offset = self.count("a place in scratch memory") if (placed := cursor.accept("at")) else 0
        columns = list[int]()
        if cursor.accept("order"):
            cursor.expect("xor")
            cursor.expect("(")
            while not columns or cursor.accept(","):
                columns.append(self.hexadecimal())
                if len(columns) > _MOST_COLUMNS:
                    raise error("E0644", f"an order has at most {_MOST_COLUMNS} columns", cursor.peek().span)
            cursor.expect(")")
        array: Literal["", "x", "y"] = ""
        if cursor.accept("in"):
            array = cast('Literal["x", "y"]', self.one_of(("x", "y"), "an array of the user"))
        parts.places[name] = start.span
        parts.unplaced += [] if placed else [name]
        parts.buffers[name] = Buffer(name, offset, Layout(size, tuple(columns), array))

    def hexadecimal(self) -> int:
        match = _HEX.match(self.cursor.source.text, self.cursor.position)
        if match is None:
            raise self.cursor.unexpected("a hexadecimal number", self.cursor.peek())
        self.cursor.position = match.end()
        return int(match[1], 16)

    def buffer_name(self) -> str:
        """`%station` or `%station.number`, without the sign."""
        cursor = self.cursor
        token = cursor.expect_kind("station", "a buffer `%name`")
        station = token.text[1:]
        if station not in self.stations:
            raise self.unknown(f"there is no station `{station}`", token, self.stations)
        return f"{station}.{self.count('the number of an order')}" if cursor.accept(".") else station

    def known_buffer(self, parts: _Parts) -> Buffer:
        token = self.cursor.peek()
        name = self.buffer_name()
        if name not in parts.buffers:
            raise self.unknown(f"there is no buffer `%{name}`", token, [f"%{b}" for b in parts.buffers])
        return parts.buffers[name]

    def operation(self, parts: _Parts, family: Family) -> Op:
        cursor = self.cursor
        match self.one_of(_OPERATIONS, "an operation"):
            case "load":
                order, first, real = self.columns("x")
                cursor.expect("->")
                to = self.known_buffer(parts)
                units = self.stations[to.station].units
                return Load(to.name, to.layout, units, first, real, self.activation(), order)
            case "run":
                source, to = self.ends(parts)
                cursor.expect(":")
                return Run(self.step(family, source.layout, to.layout), source.name, to.name)
            case "move":
                source, to = self.ends(parts)
                return Move(source.name, to.name, source.layout, to.layout)
            case "apply":
                to = self.known_buffer(parts)
                cursor.expect("|")
                return Post(to.name, self.stations[to.station].real_units, read_call(cursor, "an activation"))
            case _:
                source = self.known_buffer(parts)
                cursor.expect("->")
                order, first, real = self.columns("y")
                return Save(source.name, source.layout, self.stations[source.station].units, first, real, order)

    def ends(self, parts: _Parts) -> tuple[Buffer, Buffer]:
        """`%from -> %to`."""
        source = self.known_buffer(parts)
        self.cursor.expect("->")
        return source, self.known_buffer(parts)

    def columns(self, array: Literal["x", "y"]) -> tuple[Order, int, int]:
        """`x[first:end]`, or `x.T[first:end]` with units first: the first column of the user's array and how many."""
        cursor = self.cursor
        cursor.expect(array)
        order: Order = "rows"
        if cursor.accept("."):
            cursor.expect("T")
            order = "units"
        cursor.expect("[")
        first = self.count("the first column")
        cursor.expect(":")
        token = cursor.peek()
        end = self.count("the column behind the last")
        if end < first:
            raise error("E0644", f"columns end at {end}, before the first, {first}", token.span)
        cursor.expect("]")
        return order, first, end - first

    def activation(self) -> Call | None:
        return read_call(self.cursor, "an activation") if self.cursor.accept("|") else None

    def step(self, family: Family, source: Layout, target: Layout) -> Step:
        """`form $line.n A -> B by C from init | activation then ..., weights type, tile(...)`."""
        cursor = self.cursor
        token = cursor.expect_kind("word", "a kernel form")
        if token.text not in form_names():
            hint = did_you_mean(token.text, form_names()) or f"forms: {', '.join(form_names())}"
            raise error("E0612", f"there is no kernel form `{token.text}`", token.span, help=hint)
        junction = self.junction()
        cursor.expect("from")
        init = cast('Literal["zero", "bias", "add"]', self.one_of(("zero", "bias", "add"), "what sums start from"))
        step = Step(token.text, family, junction, source, target, init, self.activation())
        if cursor.accept("then"):
            second = self.junction()
            cursor.expect("from")
            start = cast('Literal["zero", "bias"]', self.one_of(("zero", "bias"), "what sums start from"))
            step = replace(step, fused=second, fused_init=start, fused_activation=self.activation())
        cursor.expect(",")
        cursor.expect("weights")
        weights = cast("WeightType", self.one_of(("f32", "bf16"), "a type of weights"))
        tile: Tiles = ()
        if cursor.accept(","):
            tile = self.tile()
        return replace(step, weight_type=weights, tile=tile)

    def junction(self) -> Junction:
        """`$line.number sources -> destinations by weights`, all as in the graph."""
        cursor = self.cursor
        token = cursor.expect_kind("line", "a junction `$line.number`")
        cursor.expect(".")
        key = token.text[1:], self.count("the number of a junction")
        junction = self.junctions.get(key)
        if junction is None:
            known = [f"${line}.{number}" for line, number in self.junctions]
            raise self.unknown(f"there is no junction `${key[0]}.{key[1]}`", token, known)
        start = cursor.peek()
        source = self.count("a number of sources")
        cursor.expect("->")
        target = self.count("a number of destinations")
        cursor.expect("by")
        count = self.count("a number of weights")
        own = junction.n_src, junction.n_dst, junction.count
        if (source, target, count) != own:
            text = f"junction `${key[0]}.{key[1]}` of the graph is {own[0]} -> {own[1]} by {own[2]}"
            raise error("E0645", text, start.span, help="the plan is that of another net: write it again")
        return junction

    def tile(self) -> Tiles:
        cursor = self.cursor
        start = cursor.expect("tile")
        cursor.expect("(")
        values = read_options(cursor, ")")
        for name, value in values:
            if not isinstance(value, int) or isinstance(value, bool):
                raise error("E0644", f"`{name}` is a whole number", start.span)
        return cast("Tiles", values)

    def one_of(self, known: tuple[str, ...], what: str) -> str:
        token = self.cursor.expect_kind("word", what)
        if token.text not in known:
            raise self.unknown(f"`{token.text}` is not {what}", token, known)
        return token.text

    def unknown(self, text: str, token: Token, known: Iterable[str]) -> PathcError:
        names = list(known)
        hint = did_you_mean(token.text, names) or f"known: {', '.join(names[:8]) or 'none'}"
        return error("E0643", text, token.span, help=hint)
