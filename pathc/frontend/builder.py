"""Models from Python: the same syntax tree as a .path text, with loops and functions of the host language.

m = Model("mnist")
x = m.input("pixels", 784)
h = [m.layer(f"h{i}", 256).relu() for i in range(3)]
y = m.output("digits", 10).softmax()
m.paths("main", [x, *h, y], count=4096, scramble="lms")
graph = m.graph()
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from pathc.frontend import ast
from pathc.frontend.spelling import spell
from pathc.ir.types import Call, Quantity, ScalarType, Size, Word, show_value
from pathc.support.source import Source

Argument = bool | int | float | str | Word | Size | Quantity | ScalarType | Call | tuple[int, ...]
"""A value in Python. A `str` is a word or call as it would stand in the text (`"lms"`, `"band(9)"`, `"4Ki"`);
`Quoted` makes a quoted text of it. A tuple of integers is a size."""


@dataclass(frozen=True)
class Quoted:
    """A text that stands in quotes, such as the name of a file."""

    text: str


class Station:
    """A handle on a declared station: add stages by calling them, take a dimension with `@`."""

    def __init__(self, model: Model, index: int, name: str) -> None:
        self._model, self._index = model, index
        self.name = name

    def stage(self, word: str, *positional: Argument | Quoted, **options: Argument | Quoted) -> Station:
        """Append a stage of the catalogue to the pipeline, options by position or by name."""
        self._model.append_stage(self._index, _application(word, positional, options))
        return self

    def __getattr__(self, word: str) -> Callable[..., Station]:
        """`station.relu()` is `station.stage("relu")`, and so on for every word of the catalogue."""
        if word.startswith("_"):
            raise AttributeError(word)

        def append(*positional: Argument | Quoted, **options: Argument | Quoted) -> Station:
            return self.stage(word, *positional, **options)

        return append

    def __matmul__(self, dimension: Dimension) -> tuple[Station, Dimension]:
        """The station visited with a dimension of the sequence, or with axes: `image @ [(0, 28), (1, 28)]`."""
        return self, dimension


Dimension = int | str | Sequence[tuple[int | str, int | str]]
"""A dimension, or axes: pairs of a dimension and a number of places."""
Visit = Station | str | tuple[Station | str, Dimension]
"""A station or its name, alone or with a dimension or axes."""


class Model:
    """A model under construction; statements stand in the order of the calls."""

    def __init__(self, name: str, doc: str = "") -> None:
        self.name = name
        self._statements: list[ast.Statement] = [
            ast.Version(ast.Number(1, "1")),
            ast.Model(ast.Name(name), _doc(doc)),
        ]

    def use(self, path: str) -> None:
        """Bring in the `let`s and targets of a file."""
        self._statements.append(ast.Use(ast.Text(path)))

    def let(self, name: str, value: int | float | str) -> str:
        """Name a number, so that `overrides` can change it; returns the name for use in expressions."""
        self._statements.append(ast.Let(ast.Name(name), _expression(value)))
        return name

    def input(self, name: str, units: Argument, *extents: int, **details: Any) -> Station:
        """Declare an input; see `layer` for the arguments."""
        return self._station("input", name, units, extents, **details)

    def layer(self, name: str, units: Argument, *extents: int, **details: Any) -> Station:
        """Declare a layer of `units` (channels, if extents follow: height and width, or a length).

        `type` is an element type (`"u8"`, `"fix(8, frac = 4)"`), `doc` its documentation; other keywords are
        attributes (`pad="pow2"`).
        """
        return self._station("layer", name, units, extents, **details)

    def output(self, name: str, units: Argument, *extents: int, **details: Any) -> Station:
        """Declare an output; see `layer` for the arguments."""
        return self._station("output", name, units, extents, **details)

    def paths(self, name: str, chain: Sequence[Visit], *, doc: str = "", **attributes: Argument | Quoted) -> None:
        """Draw paths through a chain of stations; keywords are the attributes of the line."""
        self._line("paths", name, chain, doc, attributes)

    def dense(self, name: str, chain: Sequence[Visit], *, doc: str = "", **attributes: Argument | Quoted) -> None:
        """Join the stations of a chain by dense junctions."""
        self._line("dense", name, chain, doc, attributes)

    def skip(
        self, name: str, source: Visit, destination: Visit, *, doc: str = "", **attributes: Argument | Quoted
    ) -> None:
        """Add what one station holds to another."""
        self._line("skip", name, [source, destination], doc, attributes)

    def target(self, name: str, backend: str, *, doc: str = "", **options: Argument | Quoted) -> None:
        """Name a backend with options."""
        self._statements.append(ast.Target(ast.Name(name), ast.Name(backend), _attributes(options), _doc(doc)))

    def ast(self) -> ast.File:
        """The syntax tree; equal to that of the parsed `source()`."""
        return ast.File(Source(f"<{self.name}>", ""), tuple(self._statements))

    def source(self) -> str:
        """The model as .path text, in the layout of `fmt`."""
        from pathc.frontend.format import format_statements

        return format_statements(self._statements)

    def graph(self, overrides: Mapping[str, str] | None = None) -> Any:
        """The checked `pathc.ir.graph.Graph`; raises PathcError whose places point into `source()`."""
        from pathc.frontend.api import load

        return load(Source(f"<{self.name}>", self.source()), overrides=overrides)

    def append_stage(self, index: int, stage: ast.Stage) -> None:
        """Append a stage to the station that statement `index` declares."""
        station = self._statements[index]
        assert isinstance(station, ast.Station)
        self._statements[index] = replace(station, pipeline=(*station.pipeline, stage))

    def _station(
        self,
        role: Literal["input", "layer", "output"],
        name: str,
        units: Argument,
        extents: tuple[int, ...],
        *,
        type: str | ScalarType | None = None,
        doc: str = "",
        **attributes: Argument | Quoted,
    ) -> Station:
        sizes = [_expression(units)]
        if extents:
            sizes.append(_expression(Size(extents)) if len(extents) > 1 else _expression(sum(extents)))
        pipeline = () if type is None else (_stage(type),)
        block = _attributes(attributes)
        self._statements.append(ast.Station(role, ast.Name(name), tuple(sizes), pipeline, block, _doc(doc)))
        return Station(self, len(self._statements) - 1, name)

    def _line(
        self,
        kind: Literal["paths", "dense", "skip"],
        name: str,
        chain: Sequence[Visit],
        doc: str,
        attributes: Mapping[str, Argument | Quoted],
    ) -> None:
        visits = tuple(map(_visit, chain))
        self._statements.append(ast.Line(kind, ast.Name(name), visits, _attributes(attributes), _doc(doc)))


def _doc(text: str) -> str:
    """Documentation as it is read back from comment lines."""
    return "\n".join(line.rstrip() for line in text.splitlines())


def _visit(visit: Visit) -> ast.Visit:
    station, dimension = visit if isinstance(visit, tuple) else (visit, None)
    name = ast.Name(station if isinstance(station, str) else station.name)
    if dimension is None or isinstance(dimension, int | str):
        return ast.Visit(name, None if dimension is None else _expression(dimension))
    axes = tuple(ast.Axis(_expression(dim), _expression(parts)) for dim, parts in dimension)
    return ast.Visit(name, ast.Axes(axes))


def _attributes(values: Mapping[str, Argument | Quoted]) -> ast.Attributes | None:
    entries = tuple(ast.Attribute(ast.Name(name), _expression(value)) for name, value in values.items())
    return ast.Attributes(entries) if entries else None


def _application(
    word: str, positional: Sequence[Argument | Quoted], options: Mapping[str, Argument | Quoted]
) -> ast.Stage:
    arguments = (
        *(ast.Argument(None, _expression(value)) for value in positional),
        *(ast.Argument(ast.Name(name), _expression(value)) for name, value in options.items()),
    )
    return ast.Application(ast.Name(word), arguments) if arguments else ast.Name(word)


def _stage(value: str | ScalarType) -> ast.Stage:
    node = _expression(value)
    if not isinstance(node, ast.Name | ast.Application):
        raise TypeError(f"{spell(node)} is no stage")
    return node


def _expression(value: Argument | Quoted) -> ast.Expression:
    """The expression whose text is that of a value; a `str` is parsed as it stands (PathcError E01xx)."""
    from pathc.frontend.parser import parse_expression

    if isinstance(value, Quoted):
        return ast.Text(value.text)
    if isinstance(value, tuple):
        value = Size(value)
    text = value if isinstance(value, str) else show_value(value)
    return parse_expression(Source("<python>", text))
