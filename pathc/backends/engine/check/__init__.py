"""The static checker: a program that it accepts ends, reads what was written before, and stays within its memories.

It knows no cycles. What it accepts holds for every speed of memories and units.
"""

from __future__ import annotations

from pathc.backends.engine.check.access import Access, accesses
from pathc.backends.engine.check.order import Order, order_of
from pathc.backends.engine.isa import Unit
from pathc.backends.engine.program import Program
from pathc.backends.engine.unroll import bounded
from pathc.support.diagnostics import Diagnostic, PathcError

__all__ = ["check"]


def check(program: Program) -> list[Diagnostic]:
    """What is wrong with a program, empty if nothing.

    E1042 to E1044 control and tokens, E1011 addresses, E1040 a dead-lock (weights that never come included), E1041
    two units that use the same rows, or the same way into a memory, in no order.
    """
    try:
        bounded(program)
        touched = accesses(program)
    except PathcError as reason:
        return list(reason.diagnostics)
    order = order_of(program)
    if order.stuck:
        text = f"`{program.name}` stops for ever: {'; '.join(order.stuck)}"
        return [Diagnostic("E1040", text, help="let what is waited for come first, or use other tokens")]
    return _races(program, order, touched)


def _races(program: Program, order: Order, touched: list[tuple[Access, ...]]) -> list[Diagnostic]:
    """The first race of every two units."""
    found: list[Diagnostic] = []
    for unit in Unit:
        for other in Unit:
            if unit < other:
                pair = _race(order, touched, unit, other)
                if pair is not None:
                    found.append(_said(program, order, *pair))
    return found


def _race(order: Order, touched: list[tuple[Access, ...]], unit: Unit, other: Unit) -> tuple[int, int, str] | None:
    theirs = order.of_unit[other]
    for place, own in enumerate(order.of_unit[unit]):
        for number in range(order.before[own][other], len(theirs)):
            if order.before[theirs[number]][unit] > place:
                break
            for a in touched[own]:
                for b in touched[theirs[number]]:
                    if a.clashes(b):
                        return own, theirs[number], a.memory
    return None


def _said(program: Program, order: Order, first: int, second: int, memory: str) -> Diagnostic:
    names = [f"{program.code[n].name} (instruction {n}, {program.place(n)})" for n in
             (order.numbers[first], order.numbers[second])]  # fmt: skip
    text = f"`{program.name}`: {names[0]} and {names[1]} use the {memory} in no order"
    return Diagnostic("E1041", text, help="let one wait for a token of the other")
