"""Reading `.pir` text: one statement per line, one error per line, several per run."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal, cast

from pathc.ir.facts import Fact
from pathc.ir.graph import Axis, Graph, Line, LineKind, Role, Station, Target, Visit
from pathc.ir.text.cursor import Cursor, Token
from pathc.ir.text.facts import read_fact
from pathc.ir.text.printer import VERSION
from pathc.ir.text.values import Options, read_call, read_options, read_type
from pathc.ir.types import F32, Call
from pathc.support.diagnostics import Diagnostic, PathcError, did_you_mean, error
from pathc.support.source import Loc, Source

_ROLES = ("input", "layer", "output")
_KINDS = ("paths", "dense", "skip")
_FIELDS = ("count", "generator", "sign", "mirror", "tied", "scale")
_MOST_ERRORS = 20
Placing = Literal["text", "none"]


@dataclass
class _Parts:
    """What has been read so far."""

    stations: list[Station] = field(default_factory=list[Station])
    lines: list[Line] = field(default_factory=list[Line])
    targets: list[Target] = field(default_factory=list[Target])
    facts: list[Fact] = field(default_factory=list[Fact])


def parse_graph(source: Source, places: Placing = "none") -> Graph:
    """The graph that `print_graph` wrote; what it refers to is checked by `pathc.ir.verify`, not here.

    Nodes without `loc` have none, or with `places="text"` the place in this very text. Raises PathcError with all
    errors found, at most twenty: E0401 to E0408.
    """
    cursor = Cursor(source)
    _header(cursor)
    doc = _read_doc(cursor)
    cursor.expect("graph")
    start = cursor.peek()
    name = cursor.expect_kind("word", "the name of the graph").text
    loc = _read_loc(cursor, start, places)
    cursor.expect("{")
    cursor.end_line()
    parts, found = _read_statements(cursor, places)
    if found:
        raise PathcError(*found)
    stations, lines, targets = tuple(parts.stations), tuple(parts.lines), tuple(parts.targets)
    return Graph(name, stations, lines, targets, tuple(parts.facts), doc, loc)


def _header(cursor: Cursor) -> None:
    _skip_blank(cursor)
    token = cursor.peek()
    if not cursor.accept("pir"):
        text = "this is no .pir text: its first line must be `pir 1`"
        raise error("E0402", text, token.span, help="`pathc dump --emit pir` writes such texts")
    version = cursor.peek()
    if cursor.integer("the version") != VERSION:
        text = f"this is version {version.text} of the text, only version {VERSION} can be read"
        raise error("E0402", text, version.span, help="write it again from the .path file")
    cursor.end_line()


def _read_statements(cursor: Cursor, places: Placing) -> tuple[_Parts, list[Diagnostic]]:
    """All statements up to the closing brace, and the errors in them; a bad line is skipped."""
    parts = _Parts()
    found: list[Diagnostic] = []
    while len(found) < _MOST_ERRORS:
        start = cursor.position
        try:
            doc = _read_doc(cursor)
            if cursor.accept("}"):
                return parts, [*found, *_behind(cursor)]
            _read_statement(cursor, parts, doc, places)
            cursor.end_line()
        except PathcError as problem:
            found.extend(problem.diagnostics)
            cursor.position = max(cursor.position, start)
            if cursor.peek().kind == "eof":
                break
            cursor.skip_line()
    return parts, found


def _behind(cursor: Cursor) -> list[Diagnostic]:
    """E0407 if anything but blank lines and comments follows the closing brace."""
    _skip_blank(cursor)
    token = cursor.peek()
    if token.kind == "eof":
        return []
    cure = "a .pir text holds one graph"
    return [Diagnostic("E0407", "there is text behind the graph", token.span, help=cure)]


def _skip_blank(cursor: Cursor) -> None:
    while cursor.accept("\n"):
        pass


def _read_doc(cursor: Cursor) -> str:
    """The `##` lines in front of a statement; blank lines and other comments are passed."""
    doc: list[str] = []
    text = cursor.source.text
    while cursor.position < len(text):
        newline = text.find("\n", cursor.position)
        end = len(text) if newline < 0 else newline
        line = text[cursor.position : end]
        stripped = line.lstrip(" \t")
        if stripped.startswith("##"):
            doc.append(stripped[3:] if stripped[2:3] == " " else stripped[2:])
        elif stripped.rstrip("\r") and not stripped.startswith("#"):
            break
        cursor.position = min(end + 1, len(text))
    return "\n".join(doc)


def _read_statement(cursor: Cursor, parts: _Parts, doc: str, places: Placing) -> None:
    token = cursor.peek()
    match token.kind:
        case "station":
            parts.stations.append(_read_station(cursor, doc, places))
        case "line":
            parts.lines.append(_read_line(cursor, doc, places))
        case "word":
            cursor.take()
            if token.text == "target":
                parts.targets.append(_read_target(cursor, token, places))
            else:
                fact = read_fact(cursor, token)
                parts.facts.append(replace(fact, loc=_read_loc(cursor, token, places)))
        case _:
            raise cursor.unexpected("a station `%name`, a line `$name`, a fact, `target` or `}`", token)


def _read_loc(cursor: Cursor, start: Token, places: Placing) -> Loc | None:
    if cursor.accept("loc"):
        return cursor.loc()
    return start.span.place if places == "text" else None


def _read_station(cursor: Cursor, doc: str, places: Placing) -> Station:
    start = cursor.take()
    cursor.expect(":")
    kind = read_type(cursor)
    cursor.expect("[")
    shape = [cursor.integer("a number of units")]
    declared = 0
    if cursor.accept("pad"):
        declared, shape = shape[0], [cursor.integer("a number of units")]
    while not cursor.accept("]"):
        cursor.expect(",")
        shape.append(cursor.integer("an extent"))
    cursor.expect("=")
    role = cast(Role, _one_of(cursor, _ROLES, "a role"))
    pipeline: list[Call] = []
    while cursor.accept("|"):
        pipeline.append(read_call(cursor, "a stage"))
    loc = _read_loc(cursor, start, places)
    return Station(start.text[1:], role, tuple(shape), kind or F32, tuple(pipeline), declared, doc, loc)


def _read_line(cursor: Cursor, doc: str, places: Placing) -> Line:
    start = cursor.take()
    cursor.expect("=")
    kind = cast(LineKind, _one_of(cursor, _KINDS, "a kind of line"))
    visits: list[Visit] = []
    while not visits or cursor.accept("->"):
        visits.append(_read_visit(cursor, places))
    fields = _read_fields(cursor)
    options: Options = ()
    if cursor.accept("with"):
        cursor.expect("{")
        options = read_options(cursor, "}")
    placed = cursor.peek().text == "loc"
    loc = _read_loc(cursor, start, places)
    if placed and loc is not None:
        given = cursor.accept("at")
        visits = [replace(visit, loc=cursor.visit_loc(loc.file) if given else None) for visit in visits]
    return Line(start.text[1:], kind, tuple(visits), **fields, options=options, doc=doc, loc=loc)


def _read_visit(cursor: Cursor, places: Placing) -> Visit:
    token = cursor.expect_kind("station", "a station `%name`")
    loc = token.span.place if places == "text" else None
    if not cursor.accept("@"):
        return Visit(token.text[1:], 0, loc)
    if not cursor.accept("("):
        return Visit(token.text[1:], cursor.integer("a dimension"), loc)
    axes = [_read_axis(cursor)]
    while cursor.accept(","):
        axes.append(_read_axis(cursor))
    cursor.expect(")")
    return Visit(token.text[1:], axes[0].dim, loc, tuple(axes))


def _read_axis(cursor: Cursor) -> Axis:
    dim = cursor.integer("a dimension")
    cursor.expect(":")
    return Axis(dim, cursor.integer("the size of an axis"))


def _read_fields(cursor: Cursor) -> dict[str, Any]:
    """What stands between the braces of a line."""
    fields: dict[str, Any] = {}
    if not cursor.accept("{"):
        return fields
    while not cursor.accept("}"):
        if fields:
            cursor.expect(",")
        key = cursor.peek()
        name = _one_of(cursor, _FIELDS, "a field of a line")
        if name in fields:
            raise error("E0406", f"`{name}` is given twice", key.span, help="keep one of the two")
        cursor.expect("=")
        fields[name] = _read_field(cursor, name)
    return fields


def _read_field(cursor: Cursor, name: str) -> Any:
    match name:
        case "count":
            return cursor.integer("a number of paths")
        case "generator" | "sign":
            return read_call(cursor, f"a {name}")
        case "mirror":
            return cursor.expect_kind("line", "a line `$name`").text[1:]
        case "tied":
            return _one_of(cursor, ("true", "false"), "true or false") == "true"
        case _:
            return float(cursor.number())


def _read_target(cursor: Cursor, start: Token, places: Placing) -> Target:
    name = cursor.expect_kind("word", "the name of a target").text
    cursor.expect("=")
    backend = cursor.expect_kind("word", "a backend").text
    options = read_options(cursor, "}") if cursor.accept("{") else ()
    return Target(name, backend, options, _read_loc(cursor, start, places))


def _one_of(cursor: Cursor, known: tuple[str, ...], what: str) -> str:
    token = cursor.expect_kind("word", what)
    if token.text not in known:
        hint = did_you_mean(token.text, known) or f"known: {', '.join(known)}"
        raise error("E0404", f"`{token.text}` is not {what}", token.span, help=hint)
    return token.text
