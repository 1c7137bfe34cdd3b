"""Loops out of instructions that repeat: the steps of a sequence become rounds of a LOOP."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pathc.backends.engine.isa import Instruction, instruction

_OUTSIDE = ("LDA", "STA")
LONGEST = (1 << 12) - 1
"""Most instructions of a LOOP."""


@dataclass(frozen=True)
class Rolled:
    """Instructions [start, start + length) stand for `count` rounds, `strides` are rows outside a round by name."""

    start: int
    length: int
    count: int
    strides: dict[str, int]

    @property
    def stop(self) -> int:
        """The first instruction behind all rounds."""
        return self.start + self.length * self.count


def rolled(code: Sequence[Instruction], marks: Sequence[int], period: int) -> Rolled | None:
    """The rounds that cover most of the code, None if nothing repeats.

    `marks` are where the steps begin, a round has `period` steps. Rounds are alike but for the rows outside, which move
    by the same number from one to the next.
    """
    best: Rolled | None = None
    for first in range(len(marks) - 2 * period):
        found = _rounds(code, marks, first, period)
        if found is not None and (best is None or found.length * found.count > best.length * best.count):
            best = found
    return best


def _rounds(code: Sequence[Instruction], marks: Sequence[int], first: int, period: int) -> Rolled | None:
    """As many rounds as there are from a step on, at least two."""
    start, length = marks[first], marks[first + period] - marks[first]
    body = code[start : start + length]
    if not 0 < length <= LONGEST:
        return None
    strides: dict[str, int] = {}
    count = 1
    while True:
        at = start + count * length
        other = code[at : at + length]
        if len(other) < length or not all(_alike(a, b, strides, count) for a, b in zip(body, other, strict=True)):
            break
        count += 1
    return Rolled(start, length, count, strides) if count > 1 else None


def _alike(a: Instruction, b: Instruction, strides: dict[str, int], rounds: int) -> bool:
    """Whether b is a, `rounds` rounds later; the first pair of a name decides on its stride."""
    if a.name not in _OUTSIDE or a.name != b.name:
        return a == b
    apart = b.fields["address"] - a.fields["address"]
    return apart == rounds * strides.setdefault(a.name, apart) and moved(a, apart) == b


def moved(each: Instruction, rows: int, stride: int = 0) -> Instruction:
    """An LDA or STA further outside, by so many rows from round to round; all others as they are."""
    if each.name not in _OUTSIDE:
        return each
    fields = {**each.fields, "address": each.fields["address"] + rows, "stride": stride}
    return instruction(each.operation, wait=each.wait, post=each.post, tag=each.tag, **fields)
