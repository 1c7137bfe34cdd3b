"""Expressions of TVMScript: units at XOR addresses, activations, numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence

from pathc.backends.tvm.plan import Address
from pathc.ir.catalogue import options_of
from pathc.ir.types import Call


def unit(address: Address, block: str, place: str) -> str:
    """The unit at `place` of `block`, both names of integers below the powers of two the address has bits for."""
    if address.plain:
        return place
    terms = [*_terms(block, address.reps), *_terms(place, address.basis)]
    if address.shift or not terms:
        terms.append(f"T.int32({address.shift})")
    return " ^ ".join(terms)


def _terms(index: str, columns: Sequence[int]) -> list[str]:
    """XOR terms of the map with these columns; runs of single bits that follow each other become one shift."""
    found: list[str] = []
    bit = 0
    while bit < len(columns):
        column, wide = columns[bit], 1
        if column & (column - 1) == 0:
            while bit + wide < len(columns) and columns[bit + wide] == column << wide:
                wide += 1
        low = f"({index} >> {bit})" if bit else index
        masked = low if bit + wide == len(columns) else f"({low} & {(1 << wide) - 1})"
        found.append(f"({masked} * {column})")
        bit += wide
    return found


def number(value: float) -> str:
    """A float32 constant."""
    if math.isinf(value):
        return "T.infinity('float32')" if value > 0 else "(T.float32(0) - T.infinity('float32'))"
    return f"T.float32({value!r})"


def activated(call: Call | None, v: str) -> str:
    """An elementwise activation of the expression `v`; NaN stays NaN, as comparisons with it fail."""
    if call is None:
        return v
    options = {key: float(value) for key, value in options_of(call).items() if isinstance(value, int | float)}
    zero = number(0.0)
    match call.name:
        case "relu":
            return f"T.Select({v} < {zero}, {zero}, {v})"
        case "abs":
            return f"T.Select({v} < {zero}, {zero} - {v}, {v})"
        case "leaky":
            return f"T.Select({v} > {zero}, {v}, {number(options['slope'])} * {v})"
        case "tanh":
            return f"T.tanh({v})"
        case "sigmoid":
            return f"(T.float32(1) / (T.float32(1) + T.exp({zero} - {v})))"
        case "hardtanh":
            low, high = number(options["low"]), number(options["high"])
            return f"T.Select({v} < {low}, {low}, T.Select({v} > {high}, {high}, {v}))"
        case _:
            raise ValueError(f"{call.name} is no elementwise activation")


def precedes(other: str, mine: str, earlier: str) -> str:
    """Whether a value wins before another: larger ones, NaN the largest, and of equal ones that which is `earlier`."""
    mine_nan, other_nan = f"T.isnan({mine})", f"T.isnan({other})"
    equal = f"T.Or({other} == {mine}, T.And({mine_nan}, {other_nan}))"
    larger = f"T.Or({other} > {mine}, T.And({other_nan}, T.Not({mine_nan})))"
    return f"T.Or({larger}, T.And({equal}, {earlier}))"


def slope(call: Call | None, v: str, gradient: str) -> str:
    """The gradient at the argument `v` of an elementwise activation, from that at its value."""
    if call is None:
        return gradient
    options = {key: float(value) for key, value in options_of(call).items() if isinstance(value, int | float)}
    zero, one = number(0.0), number(1.0)
    match call.name:
        case "relu":
            factor = f"T.Select({v} > {zero}, {one}, {zero})"
        case "abs":
            factor = f"T.Select({v} > {zero}, {one}, T.Select({v} == {zero}, {zero}, {number(-1.0)}))"
        case "leaky":
            factor = f"T.Select({v} > {zero}, {one}, {number(options['slope'])})"
        case "tanh":
            factor = f"({one} - T.tanh({v}) * T.tanh({v}))"
        case "sigmoid":
            s = activated(call, v)
            factor = f"({s} * ({one} - {s}))"
        case "hardtanh":
            inside = f"T.And({v} > {number(options['low'])}, {v} < {number(options['high'])})"
            factor = f"T.Select({inside}, {one}, {zero})"
        case _:
            raise ValueError(f"{call.name} is no elementwise activation")
    return f"{gradient} * {factor}"
