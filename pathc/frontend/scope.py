"""Arithmetic: the values of `let`s and of the expressions that use them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from pathc.frontend import ast
from pathc.frontend.numbers import LARGEST
from pathc.ir.types import Size
from pathc.support.diagnostics import PathcError, Place, did_you_mean, error
from pathc.support.source import Span

Numeric = int | float


@dataclass
class Scope:
    """Names and values of the `let`s seen so far; `broken` ones were reported and stay silent afterwards."""

    values: dict[str, Numeric] = field(default_factory=dict[str, Numeric])
    places: dict[str, Span] = field(default_factory=dict[str, Span])
    broken: set[str] = field(default_factory=set[str])

    def __contains__(self, name: str) -> bool:
        return name in self.values or name in self.broken


def evaluate(expression: ast.Expression, scope: Scope) -> Numeric:
    """The number an expression stands for.

    Raises PathcError: E0208 for what is no number, E0210 for an unknown name, E0211 for a division that is not
    exact, E0212 for a result beyond bounds. A name whose `let` was faulty raises PathcError without diagnostics.
    """
    match expression:
        case ast.Number(value=Size() as size):
            raise error("E0208", f"the size `{size}` cannot be used as a number", expression.span)
        case ast.Number(value=int() | float() as value):
            return value
        case ast.Name():
            return _lookup(expression, scope)
        case ast.Negative():
            return _bounded(-evaluate(expression.operand, scope), expression.span)
        case ast.Binary():
            return _binary(expression, scope)
        case ast.Application():
            return _apply(expression, scope)
        case ast.Text():
            raise error("E0208", "a text cannot be used as a number", expression.span)
        case _:
            raise error("E0208", "a number with a unit cannot be used in arithmetic", expression.span)


def _lookup(name: ast.Name, scope: Scope) -> Numeric:
    if name.text in scope.values:
        return scope.values[name.text]
    if name.text in scope.broken:
        raise PathcError()
    help = did_you_mean(name.text, [*scope.values, *FUNCTIONS]) or f"define it above: let {name.text} = ..."
    raise error("E0210", f"there is no number `{name.text}`", name.span, help=help)


def _binary(node: ast.Binary, scope: Scope) -> Numeric:
    left, right = evaluate(node.left, scope), evaluate(node.right, scope)
    match node.operator:
        case "+":
            return _bounded(left + right, node.span)
        case "-":
            return _bounded(left - right, node.span)
        case "*":
            return _bounded(left * right, node.span)
        case "/":
            return _quotient(left, right, node)


def _quotient(left: Numeric, right: Numeric, node: ast.Binary) -> Numeric:
    if right == 0:
        raise error("E0211", "division by zero", node.right.span)
    if isinstance(left, float) or isinstance(right, float):
        return _bounded(left / right, node.span)
    if left % right:
        message = f"{left} / {right} is not exact"
        raise error("E0211", message, node.span, help=f"use ceil_div, or the fraction {left / right:.6g}")
    return left // right


def _bounded(value: Numeric, place: Place) -> Numeric:
    if isinstance(value, float):
        if not math.isfinite(value):
            raise error("E0212", "the result is beyond the range of floating point", place)
    elif abs(value) > LARGEST:
        raise error("E0212", "the result is beyond 2^64 - 1", place)
    return value


def _apply(call: ast.Application, scope: Scope) -> Numeric:
    function = FUNCTIONS.get(call.name.text)
    if function is None:
        help = did_you_mean(call.name.text, FUNCTIONS) or f"there are: {', '.join(FUNCTIONS)}"
        raise error("E0210", f"there is no function `{call.name.text}`", call.name.span, help=help)
    for argument in call.arguments:
        if argument.name is not None:
            raise error("E0208", f"`{call.name.text}` takes its arguments by position", argument.span)
    values = [evaluate(argument.value, scope) for argument in call.arguments]
    return _bounded(function(values, call), call.span)


def _extreme(pick: Callable[[Sequence[Numeric]], Numeric]) -> Callable[[list[Numeric], ast.Application], Numeric]:
    def function(values: list[Numeric], call: ast.Application) -> Numeric:
        if not values:
            raise error("E0208", f"`{call.name.text}` needs at least one number", call.span)
        return pick(values)

    return function


def _integers(values: list[Numeric], count: int, call: ast.Application) -> list[int]:
    whole = [value for value in values if isinstance(value, int)]
    if len(values) != count or len(whole) != count:
        wanted = "one integer" if count == 1 else f"{count} integers"
        raise error("E0208", f"`{call.name.text}` needs {wanted}", call.span)
    return whole


def _ceil_div(values: list[Numeric], call: ast.Application) -> int:
    dividend, divisor = _integers(values, 2, call)
    if divisor == 0:
        raise error("E0211", "division by zero", call.arguments[1].span)
    return -(-dividend // divisor)


def _pow2_ceil(values: list[Numeric], call: ast.Application) -> int:
    (value,) = _integers(values, 1, call)
    return 1 << max(0, value - 1).bit_length()


FUNCTIONS: dict[str, Callable[[list[Numeric], ast.Application], Numeric]] = {
    "min": _extreme(min),
    "max": _extreme(max),
    "ceil_div": _ceil_div,
    "pow2_ceil": _pow2_ceil,
}
"""What may be called in arithmetic."""
