"""What happens before what, from queues, tokens and the FIFO alone.

Dispatch, start and end of every instruction are events. What cannot be sorted topologically waits for ever. Every event
carries a vector clock: how many instructions of each unit have ended before it whatever the units' speed.
Source: F. Mattern, Virtual Time and Global States of Distributed Systems (1989).
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from pathc.backends.engine.isa import Instruction, Unit
from pathc.backends.engine.isa.word import TOKEN_BITS
from pathc.backends.engine.program import Program
from pathc.backends.engine.unroll import unrolled

Clock = tuple[int, ...]


@dataclass(frozen=True)
class Order:
    """`numbers[i]` is the place in the program of dispatched instruction i, `of_unit` lists them by unit, `before[i]`
    says how many of each unit have ended before i starts, `stuck` what each unit waits for if not all can end.
    """

    numbers: tuple[int, ...]
    of_unit: dict[Unit, list[int]]
    before: list[Clock]
    stuck: tuple[str, ...]


def order_of(program: Program) -> Order:
    """The order of a program whose control is sound (`bounded`)."""
    return _Events(program).order()


class _Events:
    """Events 3 i, 3 i + 1, 3 i + 2 are dispatch, start and end of dispatched instruction i."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.numbers = [number for number, _, _ in unrolled(program)]
        self.each: list[Instruction] = [program.code[number] for number in self.numbers]
        self.of_unit: dict[Unit, list[int]] = {unit: [] for unit in Unit}
        self.place: list[int] = []
        for i, each in enumerate(self.each):
            self.place.append(len(self.of_unit[each.unit]))
            self.of_unit[each.unit].append(i)
        self.after: list[list[int]] = [[] for _ in range(3 * len(self.each))]
        self.missing = [0] * (3 * len(self.each))
        self.hopeless: dict[int, str] = {}
        self._control()
        self._tokens()
        self._fifo()

    def order(self) -> Order:
        clocks: list[list[int]] = [[0] * len(Unit) for _ in self.missing]
        ready = deque(event for event, count in enumerate(self.missing) if not count)
        done = [False] * len(self.missing)
        while ready:
            event = ready.popleft()
            done[event] = True
            clock = clocks[event]
            if event % 3 == 2:
                unit = self.each[event // 3].unit
                clock = [*clock]
                clock[unit] = max(clock[unit], self.place[event // 3] + 1)
            for other in self.after[event]:
                clocks[other] = [max(pair) for pair in zip(clocks[other], clock, strict=True)]
                self.missing[other] -= 1
                if not self.missing[other]:
                    ready.append(other)
        before = [tuple(clocks[3 * i + 1]) for i in range(len(self.each))]
        return Order(tuple(self.numbers), self.of_unit, before, tuple(self._stuck(done)))

    def _stuck(self, done: Sequence[bool]) -> list[str]:
        found: list[str] = []
        for unit in Unit:
            first = next((i for i in self.of_unit[unit] if not done[3 * i + 2]), None)
            if first is not None:
                phase = ("is not reached", "does not start", "does not end")[sum(done[3 * first : 3 * first + 2])]
                why = next((f", {self.hopeless[e]}" for e in range(3 * first, 3 * first + 3) if e in self.hopeless), "")
                found.append(f"{self.each[first].name} (instruction {self.numbers[first]}) {phase}{why}")
        return found

    def _then(self, first: int, second: int) -> None:
        self.after[first].append(second)
        self.missing[second] += 1

    def _never(self, event: int, why: str) -> None:
        self.missing[event] += 1
        self.hopeless.setdefault(event, why)

    def _control(self) -> None:
        """Dispatch in order, into queues of limited depth; each unit does one after the other; SYNC waits for all."""
        depth = self.program.machine.queue
        last: dict[Unit, int] = {}
        for i, each in enumerate(self.each):
            self._then(3 * i, 3 * i + 1)
            self._then(3 * i + 1, 3 * i + 2)
            if i:
                before = 3 * (i - 1)
                self._then(before + 2 if self.each[i - 1].unit is Unit.CTL else before, 3 * i)
            if each.unit is Unit.CTL:
                if each.name in ("HALT", "SYNC"):
                    for other in last.values():
                        self._then(3 * other + 2, 3 * i + 1)
                continue
            own = self.of_unit[each.unit]
            if self.place[i]:
                self._then(3 * own[self.place[i] - 1] + 2, 3 * i + 1)
            if self.place[i] >= depth:
                self._then(3 * own[self.place[i] - depth] + 1, 3 * i)
            last[each.unit] = i

    def _tokens(self) -> None:
        """The n-th taker of a kind starts after the n-th giver has ended."""
        for kind in range(TOKEN_BITS):
            givers = [i for i, each in enumerate(self.each) if each.post >> kind & 1]
            takers = [i for i, each in enumerate(self.each) if each.wait >> kind & 1]
            for n, taker in enumerate(takers):
                if n < len(givers):
                    self._then(3 * givers[n] + 2, 3 * taker + 1)
                else:
                    self._never(3 * taker + 1, f"nobody gives it a token of kind {kind}")

    def _fifo(self) -> None:
        """EX ends after the streamer has started its last row, which needs room that EX has made."""
        machine = self.program.machine
        pushed, popped = [0], [0]
        sources, takers = self.of_unit[Unit.WS], self.of_unit[Unit.EX]
        for i in sources:
            pushed.append(pushed[-1] + self.each[i].operation.timing(machine, self.each[i].fields).pushes)
        for i in takers:
            popped.append(popped[-1] + self.each[i].operation.timing(machine, self.each[i].fields).pops)
        for n, i in enumerate(takers):
            word = popped[n + 1] - 1
            if word >= pushed[-1]:
                self._never(3 * i + 2, f"it takes {word + 1} rows of weights in all, {pushed[-1]} are streamed")
            else:
                self._then(3 * sources[bisect_right(pushed, word) - 1] + 1, 3 * i + 2)
        for n, i in enumerate(sources):
            word = pushed[n + 1] - 1 - machine.fifo
            if word >= popped[-1]:
                self._never(3 * i + 2, f"{word + 1} rows of weights must be taken to make room, {popped[-1]} are")
            elif word >= 0:
                self._then(3 * takers[bisect_right(popped, word) - 1] + 1, 3 * i + 2)
