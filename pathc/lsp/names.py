"""Where names of a text are defined and used."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from pathc.frontend import ast
from pathc.support.source import Span


@dataclass(frozen=True)
class Occurrence:
    """A name in the text: what it names (`station`, `line`, `let`, `target`, `model`, `word`), and whether it does so
    for the first time.
    """

    kind: str
    name: str
    span: Span
    defines: bool = False


def lets_of(files: Iterable[ast.File]) -> dict[str, Span]:
    """The names of `let`s, and where the first of each is."""
    found: dict[str, Span] = {}
    for file in files:
        for statement in file.statements:
            if isinstance(statement, ast.Let):
                found.setdefault(statement.name.text, statement.name.span)
    return found


def occurrences(file: ast.File, elsewhere: Iterable[str] = ()) -> list[Occurrence]:
    """All names of a file in the order of the text; `elsewhere` are `let`s of the files it uses."""
    lets = {*lets_of((file,)), *elsewhere}
    found = [one for statement in file.statements for one in _of_statement(statement, lets)]
    return sorted(found, key=lambda one: one.span.start)


def at(found: list[Occurrence], offset: int) -> Occurrence | None:
    """The name that an offset lies in or behind."""
    return next((one for one in found if one.span.start <= offset <= one.span.end), None)


def same(found: list[Occurrence], chosen: Occurrence) -> list[Occurrence]:
    """All occurrences of the thing that one of them names."""
    return [one for one in found if (one.kind, one.name) == (chosen.kind, chosen.name)]


def definition(found: list[Occurrence], chosen: Occurrence) -> Occurrence | None:
    """Where the thing is defined, None for words of the language and names that are defined nowhere."""
    return next((one for one in same(found, chosen) if one.defines), None)


def _of_statement(statement: ast.Statement, lets: set[str]) -> Iterator[Occurrence]:
    match statement:
        case ast.Let():
            yield _name("let", statement.name, True)
            yield from _of_value(statement.value, lets)
        case ast.Model():
            yield _name("model", statement.name, True)
        case ast.Station():
            yield _name("station", statement.name, True)
            for value in (*statement.extents, *statement.pipeline):
                yield from _of_value(value, lets)
            yield from _of_attributes(statement.attributes, lets)
        case ast.Line():
            yield _name("line", statement.name, True)
            for visit in statement.visits:
                yield _name("station", visit.station)
                if isinstance(visit.dimension, ast.Axes):
                    for axis in visit.dimension.entries:
                        yield from _of_value(axis.dimension, lets)
                        yield from _of_value(axis.parts, lets)
                elif visit.dimension is not None:
                    yield from _of_value(visit.dimension, lets)
            yield from _of_attributes(statement.attributes, lets)
        case ast.Target():
            yield _name("target", statement.name, True)
            yield _name("word", statement.backend)
            yield from _of_attributes(statement.attributes, lets)
        case _:
            return


def _of_attributes(attributes: ast.Attributes | None, lets: set[str]) -> Iterator[Occurrence]:
    for entry in attributes.entries if attributes else ():
        yield _name("attribute", entry.name)
        if entry.name.text == "mirror" and isinstance(entry.value, ast.Name):
            yield _name("line", entry.value)
        else:
            yield from _of_value(entry.value, lets)


def _of_value(value: ast.Expression, lets: set[str]) -> Iterator[Occurrence]:
    match value:
        case ast.Name():
            yield _name("let" if value.text in lets else "word", value)
        case ast.Negative():
            yield from _of_value(value.operand, lets)
        case ast.Binary():
            yield from _of_value(value.left, lets)
            yield from _of_value(value.right, lets)
        case ast.Application():
            yield _name("word", value.name)
            for argument in value.arguments:
                yield from _of_value(argument.value, lets)
        case _:
            return


def _name(kind: str, name: ast.Name, defines: bool = False) -> Occurrence:
    return Occurrence(kind, name.text, name.span, defines)
