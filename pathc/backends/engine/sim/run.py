"""Running a program: values by the meaning of its instructions, cycles by the rules of docs/engine.md.

Dispatcher and units are processes that only wait for events with a number: the n-th start of a unit, the n-th token of
a kind, the n-th row pushed or popped. Each process goes on until an event it needs has not happened yet. Cycles
therefore do not depend on whose turn it is, and processes that all wait are a dead-lock.
Source: G. Kahn, The Semantics of a Simple Language for Parallel Programming (1974).
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pathc.backends.engine.isa import Activity, Context, Instruction, State, Unit
from pathc.backends.engine.isa.hazards import hazards
from pathc.backends.engine.isa.word import TOKEN_BITS, Timing
from pathc.backends.engine.machine import Machine
from pathc.backends.engine.program import Program
from pathc.backends.engine.sim.account import Account, Span, account
from pathc.backends.engine.unroll import bounded
from pathc.support.diagnostics import error

Process = Generator[None, None, None]
WORKERS = (Unit.LD, Unit.WS, Unit.EX, Unit.PP, Unit.ST)


@dataclass(frozen=True)
class Run:
    """What came of a program: `outputs` int32 [rows, lanes] as stored, cycles, every instruction, accounts by unit.

    `activity` is what all instructions of EX multiplied.
    """

    program: Program
    outputs: NDArray[np.int32]
    cycles: int
    spans: tuple[Span, ...]
    accounts: dict[Unit, Account]
    activity: Activity

    @property
    def utilisation(self) -> float:
        """Share of lanes and cycles that multiply with a weight of the net."""
        return self.program.work * self.program.samples / (self.cycles * self.program.machine.lanes)

    def of(self, unit: Unit) -> list[Span]:
        """The instructions of one unit, in order."""
        return [span for span in self.spans if span.unit is unit]


def simulate(program: Program, inputs: NDArray[np.int64]) -> Run:
    """Run a program on integer inputs [rows, units of all inputs].

    Raises PathcError: E1040 a dead-lock, E1010 and E1011 what an instruction cannot do, E1043 and E1044 a program that
    does not end or takes too long.
    """
    bounded(program)
    return _Engine(program, State(program.machine, program.memories(inputs))).run()


class _Engine:
    """The processes and the events between them."""

    def __init__(self, program: Program, state: State) -> None:
        self.program, self.state = program, state
        self.machine: Machine = program.machine
        self.queued: dict[Unit, list[tuple[int, int, Context]]] = {unit: [] for unit in WORKERS}
        self.starts: dict[Unit, list[int]] = {unit: [] for unit in WORKERS}
        self.ends: dict[Unit, list[int]] = {unit: [] for unit in WORKERS}
        self.given: list[list[int]] = [[] for _ in range(TOKEN_BITS)]
        self.taken = [0] * TOKEN_BITS
        self.pushed: list[int] = []
        self.popped: list[int] = []
        self.spans: list[Span] = []
        self.cycles = 0
        self.waiting: dict[Unit, str] = {}
        self.all_queued = False
        self.events = 0

    def run(self) -> Run:
        processes = {Unit.CTL: self._dispatch(), **{unit: self._work(unit) for unit in WORKERS}}
        while processes:
            before = self.events
            for unit, process in list(processes.items()):
                if next(process, self) is self:
                    del processes[unit]
                    self.events += 1
            if processes and self.events == before:
                held = "; ".join(f"{unit.name} waits for {self.waiting[unit]}" for unit in processes)
                raise error("E1040", f"the program stops for ever: {held}", help="`pathc sim` names what it waits for")
        accounts = {unit: account(unit, [s for s in self.spans if s.unit is unit], self.cycles) for unit in Unit}
        ordered = tuple(sorted(self.spans, key=lambda s: (s.start, s.unit)))
        return Run(self.program, self.state.outputs, self.cycles, ordered, accounts, self.state.activity)

    def _dispatch(self) -> Process:
        code, now, counter, rounds, parity = self.program.code, 0, 0, 0, 0
        while True:
            each = code[counter]
            context = Context(rounds, parity)
            if each.unit is not Unit.CTL:
                place = len(self.queued[each.unit]) - self.machine.queue
                while place >= len(self.starts[each.unit]):
                    yield self._wait(Unit.CTL, f"room in the queue of {each.unit.name}")
                if place >= 0:
                    now = max(now, self.starts[each.unit][place] + 1)
                self.queued[each.unit].append((now, counter, context))
                self.events += 1
                now, counter = now + 1, counter + 1
                continue
            arrived = now
            for kind in _bits(each.wait):
                while self.taken[kind] >= len(self.given[kind]):
                    yield self._wait(Unit.CTL, f"a token of kind {kind}")
                now = max(now, self._take(kind))
            if each.name in ("HALT", "SYNC"):
                for unit in WORKERS:
                    while len(self.ends[unit]) < len(self.queued[unit]):
                        yield self._wait(Unit.CTL, f"{unit.name} to be done")
                    now = max([now, *(end + 1 for end in self.ends[unit][-1:])])
            length = each.operation.timing(self.machine, each.fields).length
            each.operation.meaning(self.state, each.fields, context)
            end = now + length - 1
            self._done(each, Span(Unit.CTL, counter, rounds, arrived - 1, now, end, length))
            if each.name == "HALT":
                self.cycles, self.all_queued = end + 1, True
                return
            now, counter = end + 1, counter + 1
            parity ^= each.name == "SWAP"
            if each.name == "LOOP":
                rounds += 1
                if rounds < each.fields["count"]:
                    counter -= 1 + each.fields["length"]
                else:
                    rounds = 0

    def _work(self, unit: Unit) -> Process:
        number, free = 0, 0
        while True:
            while number >= len(self.queued[unit]):
                if self.all_queued:
                    return
                yield self._wait(unit, "an instruction")
            queued, counter, context = self.queued[unit][number]
            each = self.program.code[counter]
            start = max(free, queued + 1)
            for kind in _bits(each.wait):
                while self.taken[kind] >= len(self.given[kind]):
                    yield self._wait(unit, f"a token of kind {kind}, for {each.name} (instruction {counter})")
                start = max(start, self._take(kind))
            self.starts[unit].append(start)
            self.events += 1
            timing = each.operation.timing(self.machine, each.fields)
            clashes, late = 0, None
            if timing.pops and (each.name == "TPATH" or not self.machine.forwarding):
                found = hazards(self.state, each)
                clashes, late = found.clashes, None if self.machine.forwarding else found.late
            if not timing.pops:
                each.operation.meaning(self.state, each.fields, context)
            end, weight, raw, activity = start + timing.length, 0, 0, Activity()
            if timing.pushes:
                last, weight = yield from self._push(timing, start)
                end = last + timing.tail
            elif timing.pops:
                last, weight, raw = yield from self._pop(timing, start, late)
                end = last + timing.tail
                before, self.state.activity = self.state.activity, Activity()
                each.operation.meaning(self.state, each.fields, context)
                activity, self.state.activity = self.state.activity, before + self.state.activity
            busy = timing.steps * timing.interval - clashes
            span = Span(unit, counter, context.iteration, queued, start, end, busy, weight, clashes, raw, activity)
            self._done(each, span)
            self.ends[unit].append(end)
            number, free = number + 1, end + 1

    def _push(self, timing: Timing, start: int) -> Generator[None, None, tuple[int, int]]:
        """Push rows into the FIFO: the cycle of the last, and cycles in which the FIFO was full."""
        pushed, popped, depth, interval = self.pushed, self.popped, self.machine.fifo, timing.interval
        last, stalls = start + timing.lead, 0
        for _ in range(timing.pushes):
            ready = last + interval
            before = len(pushed) - depth
            if before >= 0:
                while before >= len(popped):
                    yield self._wait(Unit.WS, "room in the FIFO")
                room = popped[before] + 1
                if room > ready:
                    stalls += room - ready
                    ready = room
            pushed.append(ready)
            self.events += 1
            last = ready
        return last, stalls

    def _pop(
        self, timing: Timing, start: int, late: NDArray[np.bool_] | None
    ) -> Generator[None, None, tuple[int, int, int]]:
        """Issue steps: the cycle of the last, cycles without weights, cycles in which a sum was not yet written."""
        pushed, popped = self.pushed, self.popped
        bubbles = late.tolist() if late is not None and late.any() else None
        last, weight, raw, step, hold = start + timing.lead, 0, 0, 0, timing.hold
        for number in range(len(popped), len(popped) + timing.pops):
            while number >= len(pushed):
                yield self._wait(Unit.EX, "weights")
            for part in range(hold):
                ready = last + 1
                if part == 0 and pushed[number] >= ready:
                    weight += pushed[number] + 1 - ready
                    ready = pushed[number] + 1
                elif bubbles is not None and bubbles[step]:
                    ready, raw = ready + 1, raw + 1
                if part == 0:
                    popped.append(ready)
                    self.events += 1
                last, step = ready, step + 1
        return last, weight, raw

    def _wait(self, unit: Unit, what: str) -> None:
        self.waiting[unit] = what

    def _take(self, kind: int) -> int:
        """First cycle in which the next token of a kind can be used."""
        self.taken[kind] += 1
        return self.given[kind][self.taken[kind] - 1] + 1

    def _done(self, each: Instruction, span: Span) -> None:
        self.spans.append(span)
        self.events += 1
        for kind in _bits(each.post):
            self.given[kind].append(span.end)


def _bits(mask: int) -> list[int]:
    return [kind for kind in range(TOKEN_BITS) if mask >> kind & 1]
