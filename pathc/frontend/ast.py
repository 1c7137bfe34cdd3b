"""The abstract syntax tree of a .path file: immutable nodes, equal when they say the same.

Spans, the spelling of numbers and the layout of attributes do not count in comparisons, so a tree from the
builder equals the tree of the text it prints.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from pathc.ir.types import Size
from pathc.support.source import Source, Span

NOWHERE = Span(Source("<none>", ""), 0, 0)
"""Span of nodes that were not read from a text."""


@dataclass(frozen=True)
class Name:
    """A bare word: a station, a `let`, a word of the vocabulary."""

    text: str
    span: Span = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True)
class Number:
    """An integer, a fraction or a size such as `3x3`; `spelling` is how it was written (`4Ki`)."""

    value: int | float | Size
    spelling: str = field(default="", compare=False)
    span: Span = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True)
class Measure:
    """A number with a unit: `200 MHz`, `2%`."""

    number: Number
    unit: str
    span: Span = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True)
class Text:
    """A quoted text, escapes resolved."""

    value: str
    span: Span = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True)
class Negative:
    """A sign in front of an expression; `depth` is the number of levels below, itself included."""

    operand: Expression
    depth: int = field(default=1, compare=False, repr=False)
    span: Span = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True)
class Binary:
    """Two expressions joined by `+ - * /`."""

    operator: Literal["+", "-", "*", "/"]
    left: Expression
    right: Expression
    depth: int = field(default=1, compare=False, repr=False)
    span: Span = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True)
class Argument:
    """One argument of an application, by name or (name is None) by position."""

    name: Name | None
    value: Expression
    span: Span = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True)
class Application:
    """A word with arguments: a function in arithmetic, a word of the vocabulary elsewhere."""

    name: Name
    arguments: tuple[Argument, ...] = ()
    depth: int = field(default=1, compare=False, repr=False)
    span: Span = field(default=NOWHERE, compare=False, repr=False)


Expression = Name | Number | Measure | Text | Negative | Binary | Application
Stage = Name | Application


@dataclass(frozen=True)
class Attribute:
    """`name = value` inside braces."""

    name: Name
    value: Expression
    span: Span = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True)
class Attributes:
    """A block in braces; the span covers the braces."""

    entries: tuple[Attribute, ...] = ()
    span: Span = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True)
class Axis:
    """`dimension : parts`: a coordinate of a unit, the dimension that picks it and among how many."""

    dimension: Expression
    parts: Expression
    span: Span = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True)
class Axes:
    """The coordinates of a unit, in parentheses."""

    entries: tuple[Axis, ...]
    span: Span = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True)
class Visit:
    """A station on a line, with the dimension that picks the unit there, or one for each of its coordinates."""

    station: Name
    dimension: Expression | Axes | None = None
    span: Span = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True)
class Version:
    """`pathc 1`: the version of the language."""

    number: Number
    doc: str = ""
    span: Span = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True)
class Use:
    """`use "file.path"`: brings in the `let`s and targets of another file."""

    path: Text
    doc: str = ""
    span: Span = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True)
class Let:
    """`let NAME = expression`."""

    name: Name
    value: Expression
    doc: str = ""
    span: Span = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True)
class Model:
    """`model NAME`."""

    name: Name
    doc: str = ""
    span: Span = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True)
class Station:
    """`input`, `layer` or `output`, its extents and the pipeline it is read through."""

    role: Literal["input", "layer", "output"]
    name: Name
    extents: tuple[Expression, ...]
    pipeline: tuple[Stage, ...] = ()
    attributes: Attributes | None = None
    doc: str = ""
    span: Span = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True)
class Line:
    """`paths`, `dense` or `skip`: a chain of stations."""

    kind: Literal["paths", "dense", "skip"]
    name: Name
    visits: tuple[Visit, ...]
    attributes: Attributes | None = None
    doc: str = ""
    span: Span = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True)
class Target:
    """`target NAME : backend`: a named backend with options."""

    name: Name
    backend: Name
    attributes: Attributes | None = None
    doc: str = ""
    span: Span = field(default=NOWHERE, compare=False, repr=False)


Statement = Version | Use | Let | Model | Station | Line | Target

KEYWORDS = ("pathc", "use", "let", "model", "input", "layer", "output", "paths", "dense", "skip", "target")
"""Words that begin a statement."""


@dataclass(frozen=True)
class Comment:
    """A comment with its `#`; `own_line` if nothing stands before it in its line."""

    text: str
    own_line: bool
    span: Span = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True)
class File:
    """A parsed file: statements and comments in the order of the text."""

    source: Source = field(compare=False)
    statements: tuple[Statement, ...] = ()
    comments: tuple[Comment, ...] = field(default=(), compare=False)
