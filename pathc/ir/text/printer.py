"""The canonical `.pir` text of a graph: one line per node and fact, no columns that shift, so diffs stay small."""

from __future__ import annotations

from collections.abc import Iterator

from pathc.ir.graph import Graph, Line, Station, Target, Visit
from pathc.ir.text.cursor import show_loc
from pathc.ir.text.facts import show_fact
from pathc.ir.text.values import Options, show, show_call, show_options
from pathc.support.source import Loc

VERSION = 1
"""Version of the text, on its first line."""
_BLANK_LINE = Line("", "paths", ())


def print_graph(graph: Graph) -> str:
    """The graph as text that `parse_graph` reads back as an equal graph with the same places."""
    lines = [f"pir {VERSION}", *_doc(graph.doc, ""), f"graph {graph.name}{_loc(graph.loc)} {{"]
    for station in graph.stations:
        lines += [*_doc(station.doc, "  "), f"  {_station(station)}{_loc(station.loc)}"]
    for line in graph.lines:
        lines += [*_doc(line.doc, "  "), f"  {_line(line)}{_line_loc(line)}"]
    lines += [f"  {_target(target)}{_loc(target.loc)}" for target in graph.targets]
    for fact in graph.facts:
        comment = f"  # {fact.summary}" if fact.summary else ""
        lines.append(f"  {show_fact(fact)}{_loc(fact.loc)}{comment}")
    return "\n".join([*lines, "}", ""])


def _doc(text: str, indent: str) -> Iterator[str]:
    if text:
        yield from (f"{indent}## {line}" if line else f"{indent}##" for line in text.split("\n"))


def _loc(loc: Loc | None) -> str:
    return f"  loc {show_loc(loc)}" if loc else ""


def _station(station: Station) -> str:
    first = f"{station.declared} pad {station.units}" if station.declared else str(station.units)
    shape = ", ".join([first, *map(str, station.shape[1:])])
    stages = "".join(f" | {show_call(stage)}" for stage in station.pipeline)
    return f"%{station.name} : {station.type}[{shape}] = {station.role}{stages}"


def _line(line: Line) -> str:
    visits = " -> ".join(_visit(visit, line) for visit in line.visits)
    fields: list[str] = []
    if line.kind == "paths" or line.count:
        fields.append(f"count = {line.count}")
    for key, value, blank in (
        ("generator", line.generator, _BLANK_LINE.generator),
        ("sign", line.sign, _BLANK_LINE.sign),
    ):
        if line.kind == "paths" or value != blank:
            fields.append(f"{key} = {show_call(value)}")
    if line.mirror:
        fields.append(f"mirror = ${line.mirror}")
    if line.tied:
        fields.append("tied = true")
    if line.scale != 1.0:
        fields.append(f"scale = {show(line.scale)}")
    return f"${line.name} = {line.kind} {visits}{_braces(', '.join(fields))}{_with(line.options)}"


def _visit(visit: Visit, line: Line) -> str:
    drawn = line.kind == "paths" or visit.dim or visit.axes
    return f"%{visit.station}@{visit.drawn}" if drawn else f"%{visit.station}"


def _line_loc(line: Line) -> str:
    """Place of a line, then those of its visits, the file left out where it is the line's."""
    if line.loc is None:
        return ""
    if all(visit.loc is None for visit in line.visits):
        return _loc(line.loc)
    return f"{_loc(line.loc)} at {' '.join(_visit_loc(visit.loc, line.loc.file) for visit in line.visits)}"


def _visit_loc(loc: Loc | None, file: str) -> str:
    if loc is None:
        return "_"
    return f"{loc.line}:{loc.column}" if loc.file == file else show_loc(loc)


def _target(target: Target) -> str:
    return f"target {target.name} = {target.backend}{_braces(show_options(target.options))}"


def _with(options: Options) -> str:
    return f" with {{ {show_options(options)} }}" if options else ""


def _braces(inner: str) -> str:
    return f" {{ {inner} }}" if inner else ""
