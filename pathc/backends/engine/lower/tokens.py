"""Tokens for a list of instructions: what the order of the list means must hold between units that run side by side.

Each instruction says which rows it touches. Where two of different units clash, the later one waits for the earlier;
a vector clock leaves out what waits of other instructions imply already. Of the tokens that a unit takes of another,
each is for a later instruction than the one before, so that the n-th given is the n-th taken.
Source: F. Mattern, Virtual Time and Global States of Distributed Systems (1989).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pathc.backends.engine.check.access import Access
from pathc.backends.engine.isa import Instruction, Unit

KINDS = {pair: kind for kind, pair in enumerate((
    (Unit.LD, Unit.EX), (Unit.EX, Unit.PP), (Unit.PP, Unit.EX), (Unit.PP, Unit.ST), (Unit.EX, Unit.LD),
    (Unit.ST, Unit.PP),
))}  # fmt: skip
"""Who gives a token of each kind, and who takes it."""


@dataclass(frozen=True)
class Op:
    """An instruction, the number of its place, and what it touches."""

    each: Instruction
    place: int
    touched: tuple[Access, ...] = ()


def with_tokens(ops: Sequence[Op]) -> list[Instruction]:
    """The instructions, each waiting for all earlier ones of other units that it clashes with."""
    wait, post = [0] * len(ops), [0] * len(ops)
    ends: list[dict[Unit, int]] = []
    count = dict.fromkeys(Unit, 0)
    known: dict[Unit, dict[Unit, int]] = {unit: dict.fromkeys(Unit, 0) for unit in Unit}
    users: dict[str, list[int]] = {}
    number: list[int] = []
    for place, op in enumerate(ops):
        unit, clock = op.each.unit, known[op.each.unit]
        clashing = {
            other for access in op.touched for other in users.get(access.memory, ())
            if ops[other].each.unit is not unit and any(access.clashes(theirs) for theirs in ops[other].touched)
        }  # fmt: skip
        for other in sorted(clashing, reverse=True):
            giver = ops[other].each.unit
            if clock[giver] > number[other]:
                continue
            kind = 1 << KINDS[giver, unit]
            wait[place], post[other] = wait[place] | kind, post[other] | kind
            for each, ended in ends[other].items():
                clock[each] = max(clock[each], ended)
        number.append(count[unit])
        count[unit] += 1
        ends.append({**clock, unit: count[unit]})
        clock[unit] = count[unit]
        for access in op.touched:
            users.setdefault(access.memory, []).append(place)
    return [op.each.with_tokens(w, p) for op, w, p in zip(ops, wait, post, strict=True)]
