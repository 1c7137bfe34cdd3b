"""Quick fixes: the cures that diagnostics name, as replacements of text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from pathc.frontend import ast
from pathc.support.diagnostics import Diagnostic
from pathc.support.source import Span

_MEANT = re.compile(r"did you mean `([^`]+)`\?")
_WRITE = re.compile(r"write `([^`]+)`")
_SIZE = re.compile(r"`(\w+)\[(\d+)\]`")
_DIMENSION = re.compile(r"`(\w+)@(\d+)`")
_ATTRIBUTE = re.compile(r"(count|skip) = (\d+)(?: or (\d+))?\Z")
_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_WHOLE_SPAN = ("E0225", "E0227", "E0233")
"""Diagnostics whose help says what to write in place of all they point to."""


@dataclass(frozen=True)
class Fix:
    """A replacement that a diagnostic's help asks for."""

    title: str
    span: Span
    text: str
    diagnostic: Diagnostic


def fixes(file: ast.File, diagnostic: Diagnostic, place: Span) -> list[Fix]:
    """What can be replaced so that a diagnostic at a place of a file goes away, one fix for each choice it offers."""
    return [
        Fix(f"replace `{span.text}` by `{text}`", span, text, diagnostic)
        for span, text in _replacements(file, diagnostic, place)
    ]


def _replacements(file: ast.File, diagnostic: Diagnostic, place: Span) -> Iterator[tuple[Span, str]]:
    help = diagnostic.help
    if meant := _MEANT.search(help):
        word = _WORD.search(place.text)
        if word:
            yield file.source.span(place.start + word.start(), place.start + word.end()), meant[1]
    elif diagnostic.code in _WHOLE_SPAN and (write := _WRITE.match(help)):
        yield place, write[1]
    statement = next((s for s in file.statements if s.span.start <= place.start <= s.span.end), None)
    if isinstance(statement, ast.Station) and (size := _SIZE.search(help)) and len(statement.extents) == 1:
        yield statement.extents[0].span, size[2]
    if isinstance(statement, ast.Line):
        yield from _in_line(statement, help)


def _in_line(line: ast.Line, help: str) -> Iterator[tuple[Span, str]]:
    """Another dimension at a station, another value of an attribute."""
    if better := _DIMENSION.search(help):
        for visit in line.visits:
            if visit.station.text == better[1] and visit.dimension is not None:
                yield visit.dimension.span, better[2]
    if wanted := _ATTRIBUTE.match(help):
        for given in _given(line):
            if given.name is not None and given.name.text == wanted[1]:
                yield from ((given.value.span, value) for value in wanted.groups()[1:] if value)


def _given(line: ast.Line) -> Iterator[ast.Attribute | ast.Argument]:
    """The attributes of a line, and the arguments of their values."""
    for attribute in line.attributes.entries if line.attributes else ():
        yield attribute
        if isinstance(attribute.value, ast.Application):
            yield from attribute.value.arguments
