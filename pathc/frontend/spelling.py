"""Syntax tree to text: expressions, stages and statements on one line."""

from __future__ import annotations

from collections.abc import Sequence

from pathc.frontend import ast
from pathc.ir.types import show_value

_RANK = {"+": 1, "-": 1, "*": 2, "/": 2}
_ATOM = 3
_JOINED_WORDS = ("kind",)


def spell(node: ast.Expression) -> str:
    """An expression as text, with the parentheses it needs and no others."""
    match node:
        case ast.Name():
            return node.text
        case ast.Number():
            return node.spelling or show_value(node.value)
        case ast.Measure():
            return f"{spell(node.number)}%" if node.unit == "%" else f"{spell(node.number)} {node.unit}"
        case ast.Text():
            return show_value(node.value)
        case ast.Negative():
            return f"-{_wrapped(node.operand, _ATOM)}"
        case ast.Binary():
            rank = _RANK[node.operator]
            return f"{_wrapped(node.left, rank)} {node.operator} {_wrapped(node.right, rank + 1)}"
        case ast.Application():
            return f"{node.name.text}({', '.join(map(_argument, node.arguments))})"


def _wrapped(node: ast.Expression, rank: int) -> str:
    """An operand, in parentheses if it binds more loosely than `rank`."""
    own = _RANK[node.operator] if isinstance(node, ast.Binary) else _ATOM
    return f"({spell(node)})" if own < rank else spell(node)


def _argument(argument: ast.Argument) -> str:
    value = spell(argument.value)
    if argument.name is None:
        return value
    if argument.name.text in _JOINED_WORDS:
        value = value.replace(" + ", "+")
    return f"{argument.name.text} = {value}"


def spell_visit(visit: ast.Visit) -> str:
    """A station with its dimension or axes."""
    if visit.dimension is None:
        return visit.station.text
    if isinstance(visit.dimension, ast.Axes):
        axes = ", ".join(f"{spell(axis.dimension)}:{spell(axis.parts)}" for axis in visit.dimension.entries)
        return f"{visit.station.text}@({axes})"
    dimension = spell(visit.dimension)
    if not isinstance(visit.dimension, ast.Name | ast.Number):
        dimension = f"({dimension})"
    return f"{visit.station.text}@{dimension}"


def spell_block(block: ast.Attributes) -> str:
    """Attributes on one line."""
    inner = ", ".join(f"{entry.name.text} = {spell(entry.value)}" for entry in block.entries)
    return f"{{ {inner} }}" if inner else "{}"


def spell_block_lines(block: ast.Attributes) -> list[str]:
    """Attributes one to a line, the equal signs below each other, without the braces."""
    return [f"  {name} = {value}" for name, value in spell_entries(block.entries)]


def spell_entries(entries: Sequence[ast.Attribute]) -> list[tuple[str, str]]:
    """Names, padded to one width, and values of attributes."""
    width = max((len(entry.name.text) for entry in entries), default=0)
    return [(entry.name.text.ljust(width), spell(entry.value)) for entry in entries]


def spell_head(statement: ast.Statement) -> tuple[str, ...]:
    """The parts of a statement that align with those of its neighbours, attributes left out."""
    match statement:
        case ast.Version():
            return (f"pathc {spell(statement.number)}",)
        case ast.Use():
            return (f"use {spell(statement.path)}",)
        case ast.Model():
            return (f"model {statement.name.text}",)
        case ast.Let():
            return (f"let {statement.name.text}", f"= {spell(statement.value)}")
        case ast.Target():
            return (f"target {statement.name.text}", f": {statement.backend.text}")
        case ast.Line():
            chain = " -> ".join(map(spell_visit, statement.visits))
            return (statement.kind, f"{statement.name.text} : {chain}")
        case ast.Station():
            extents = ", ".join(map(spell, statement.extents))
            head = (statement.role, f"{statement.name.text}[{extents}]")
            return (*head, f": {' | '.join(map(spell, statement.pipeline))}") if statement.pipeline else head


def block_of(statement: ast.Statement) -> ast.Attributes | None:
    """The attributes of a statement, if it has any."""
    return statement.attributes if isinstance(statement, ast.Station | ast.Line | ast.Target) else None
