"""Parse tree to abstract syntax tree, without recursion, spans as offsets into the whole text."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any, cast

from lark import Token, Tree
from lark.exceptions import VisitError
from lark.visitors import Transformer_NonRecursive

from pathc.frontend import ast
from pathc.frontend.numbers import read_number
from pathc.support.diagnostics import error
from pathc.support.source import Source, Span

MAX_DEPTH = 100
"""Deepest expression, counted in operators and arguments."""

MAX_NAME = 200
"""Longest name."""

_ESCAPES = {"n": "\n", "t": "\t", '"': '"', "\\": "\\"}
_ESCAPE = re.compile(r"\\(.)")

Children = list[Any]


class TreeBuilder(Transformer_NonRecursive[Token, Any]):
    """Makes the nodes of one statement that begins at offset `start` of the source."""

    def __init__(self, source: Source, start: int, doc: str) -> None:
        super().__init__()
        self._source, self._start, self._doc = source, start, doc

    def statement(self, tree: Tree[Token]) -> ast.Statement:
        """The statement node of a parse tree; raises PathcError E0105 to E0108."""
        try:
            return cast(ast.Statement, self.transform(cast("Tree[Token]", tree.children[0])))
        except VisitError as wrapped:
            raise wrapped.orig_exc from None

    def _at(self, part: Any) -> Span:
        if isinstance(part, Token):
            start = self._start + (part.start_pos or 0)
            return self._source.span(start, start + len(part))
        return cast(Span, part.span)

    def _over(self, children: Children) -> Span:
        return self._at(children[0]).to(self._at(children[-1]))

    def _word(self, token: Token) -> ast.Name:
        if len(token) > MAX_NAME:
            raise error("E0107", f"a name of {len(token)} characters", self._at(token), help=f"at most {MAX_NAME}")
        return ast.Name(str(token), self._at(token))

    def _number(self, token: Token) -> ast.Number:
        return ast.Number(read_number(str(token), self._at(token)), str(token), self._at(token))

    def _text(self, token: Token) -> ast.Text:
        inner = str(token)[1:-1]
        for match in _ESCAPE.finditer(inner):
            if match[1] not in _ESCAPES:
                start = self._at(token).start + 1 + match.start()
                place = self._source.span(start, start + 2)
                raise error("E0105", f"unknown escape `{match[0]}`", place, help=r"known are \" \\ \n \t")
        return ast.Text(_ESCAPE.sub(lambda match: _ESCAPES[match[1]], inner), self._at(token))

    def _deeper(self, *parts: ast.Expression) -> int:
        depth = 1 + max((depth_of(part) for part in parts), default=0)
        if depth > MAX_DEPTH:
            message = f"an expression of more than {MAX_DEPTH} levels"
            raise error("E0108", message, self._at(parts[-1]), help="use a `let` for a part of it")
        return depth

    def name(self, children: Children) -> ast.Name:
        """A bare word."""
        return self._word(children[0])

    def number(self, children: Children) -> ast.Number:
        """A number without unit."""
        return self._number(children[0])

    def text(self, children: Children) -> ast.Text:
        """A quoted text."""
        return self._text(children[0])

    def quantity(self, children: Children) -> ast.Measure:
        """A number with a unit."""
        return ast.Measure(self._number(children[0]), str(children[1]), self._over(children))

    def group(self, children: Children) -> ast.Expression:
        """An expression in parentheses: the expression itself, its span widened."""
        return replace(cast(ast.Expression, children[1]), span=self._over(children))

    def negative(self, children: Children) -> ast.Negative:
        """An expression with a sign."""
        return ast.Negative(children[1], self._deeper(children[1]), self._over(children))

    def sum(self, children: Children) -> ast.Binary:
        """Sum or difference."""
        left, operator, right = children
        return ast.Binary(cast(Any, str(operator)), left, right, self._deeper(left, right), self._over(children))

    def product(self, children: Children) -> ast.Binary:
        """Product or quotient."""
        return self.sum(children)

    def argument(self, children: Children) -> ast.Argument:
        """An argument with a name."""
        return ast.Argument(self._word(children[0]), children[2], self._over(children))

    def positional(self, children: Children) -> ast.Argument:
        """An argument without a name."""
        return ast.Argument(None, children[0], self._over(children))

    def call(self, children: Children) -> ast.Application:
        """A word with arguments."""
        arguments = tuple(child for child in children if isinstance(child, ast.Argument))
        depth = self._deeper(*(argument.value for argument in arguments))
        return ast.Application(self._word(children[0]), arguments, depth, self._over(children))

    def attribute(self, children: Children) -> ast.Attribute:
        """`name = value`."""
        return ast.Attribute(self._word(children[0]), children[2], self._over(children))

    def attributes(self, children: Children) -> ast.Attributes:
        """The block in braces."""
        return ast.Attributes(tuple(c for c in children if isinstance(c, ast.Attribute)), self._over(children))

    def pipeline(self, children: Children) -> tuple[ast.Stage, ...]:
        """The stages behind the colon."""
        return tuple(child for child in children if isinstance(child, ast.Name | ast.Application))

    def axis(self, children: Children) -> ast.Axis:
        """A dimension and the size of its axis."""
        return ast.Axis(children[0], children[2], self._over(children))

    def axes(self, children: Children) -> ast.Axes:
        """The axes in parentheses."""
        return ast.Axes(tuple(c for c in children if isinstance(c, ast.Axis)), self._over(children))

    def visit(self, children: Children) -> ast.Visit:
        """A station, perhaps with a dimension or axes."""
        dimension = children[2] if len(children) == 3 else None
        return ast.Visit(children[0], dimension, self._over(children))

    def backend(self, children: Children) -> ast.Name:
        """The name of a backend, hyphens included."""
        return ast.Name("".join(map(str, children)), self._over(children))

    def version(self, children: Children) -> ast.Version:
        """`pathc 1`."""
        return ast.Version(self._number(children[1]), self._doc, self._over(children))

    def use(self, children: Children) -> ast.Use:
        """`use "file"`."""
        return ast.Use(self._text(children[1]), self._doc, self._over(children))

    def let(self, children: Children) -> ast.Let:
        """`let NAME = value`."""
        return ast.Let(self._word(children[1]), children[3], self._doc, self._over(children))

    def model(self, children: Children) -> ast.Model:
        """`model NAME`."""
        return ast.Model(self._word(children[1]), self._doc, self._over(children))

    def station(self, children: Children) -> ast.Station:
        """An input, layer or output."""
        closing = next(i for i, child in enumerate(children) if _is(child, "RSQB"))
        extents = tuple(child for child in children[3:closing] if not isinstance(child, Token))
        rest = children[closing + 1 :]
        pipeline = next((cast("tuple[ast.Stage, ...]", child) for child in rest if isinstance(child, tuple)), ())
        return ast.Station(
            cast(Any, str(children[0])), self._word(children[1]), extents, pipeline, _block(children), self._doc,
            self._span_of_statement(children),
        )  # fmt: skip

    def line(self, children: Children) -> ast.Line:
        """A set of paths, a dense chain or a skip."""
        visits = tuple(child for child in children if isinstance(child, ast.Visit))
        return ast.Line(
            cast(Any, str(children[0])), self._word(children[1]), visits, _block(children), self._doc,
            self._span_of_statement(children),
        )  # fmt: skip

    def target(self, children: Children) -> ast.Target:
        """A named backend with options."""
        span = self._span_of_statement(children)
        return ast.Target(self._word(children[1]), children[3], _block(children), self._doc, span)

    def _span_of_statement(self, children: Children) -> Span:
        last = children[-1]
        if isinstance(last, tuple):
            last = cast("tuple[ast.Stage, ...]", last)[-1]
        return self._at(children[0]).to(self._at(last))


def depth_of(expression: ast.Expression) -> int:
    """Levels of an expression."""
    return getattr(expression, "depth", 0)


def _is(child: Any, kind: str) -> bool:
    return isinstance(child, Token) and child.type == kind


def _block(children: Children) -> ast.Attributes | None:
    last = children[-1]
    return last if isinstance(last, ast.Attributes) else None
