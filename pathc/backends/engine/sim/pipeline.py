"""Junctions side by side: each works on another input, and all take one in the time of the slowest.

Every stage (loading, one station with what leads into it, storing) has lanes and memories of its own, and a pair of
buffers lies between two of them: one is written while the other is read.
Source: S. Dey, K.-W. Huang, P. A. Beerel, K. M. Chugg, Pre-Defined Sparse Neural Networks With Hardware Acceleration
(JETCAS 2019), section on junction pipelining.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pathc.backends.engine.isa import Context, State, Unit
from pathc.backends.engine.program import Program
from pathc.backends.engine.sim.run import Run, simulate
from pathc.support.diagnostics import error

_BUFFERS = 2
_LOOPS = ("LOOP", "SWAP", "SYNC")


@dataclass(frozen=True)
class Stage:
    """Instructions [first, last) of the program, what they are for, and the cycles they take for one input."""

    name: str
    first: int
    last: int
    cycles: int


@dataclass(frozen=True, eq=False)
class Pipeline:
    """What came of inputs one behind the other: `outputs` int32 [rows, lanes] as stored, input after input.

    `starts` and `ends` int64 [inputs, stages] are cycles; `alone` is what one input takes without a pipeline.
    """

    program: Program
    stages: tuple[Stage, ...]
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    outputs: NDArray[np.int32]
    alone: int

    @property
    def cycles(self) -> int:
        """All cycles."""
        return int(self.ends.max(initial=-1)) + 1

    @property
    def interval(self) -> int:
        """Cycles from the last output but one to the last: those of the slowest stage once the pipeline is full."""
        done = self.ends[:, -1]
        return int(done[-1] - done[-2]) if len(done) > 1 else self.cycles


def pipelined(program: Program, inputs: NDArray[np.int64]) -> Pipeline:
    """Integer inputs [inputs, units] through the stages of a program for one sample.

    Each stage starts when its input is there, it is free, and one of the two buffers behind it is. Raises PathcError:
    E1071 for programs with loops or for more than one sample, E10xx as `simulate`.
    """
    if program.samples != 1 or program.steps or any(each.name in _LOOPS for each in program.code):
        raise error("E1071", f"`{program.name}` is not made for one sample, so junctions cannot take different ones",
                    help="compile it with --batch 1")  # fmt: skip
    run = simulate(program, inputs[:1])
    stages = stages_of(run)
    count = len(inputs)
    starts, ends = np.zeros((2, count, len(stages)), np.int64)
    states: dict[int, State] = {}
    outputs: list[NDArray[np.int32]] = []
    for turn in range(count + len(stages) - 1):
        for place in range(len(stages) - 1, -1, -1):
            number = turn - place
            if not 0 <= number < count:
                continue
            if place == 0:
                states[number] = _ready(program, inputs[number : number + 1])
            _carry_out(program, stages[place], states[number])
            starts[number, place] = _start(ends, starts, number, place)
            ends[number, place] = starts[number, place] + stages[place].cycles - 1
            if place == len(stages) - 1:
                outputs.append(states.pop(number).outputs)
    return Pipeline(program, stages, starts, ends, np.concatenate(outputs), run.cycles)


def stages_of(run: Run) -> tuple[Stage, ...]:
    """Instructions cut behind every ACT, LDA and STA, with the cycles that EX and PP, or LD, or ST spend on them."""
    found: list[Stage] = []
    first = 0
    code = run.program.code
    for number, each in enumerate(code):
        following = code[number + 1].unit if number + 1 < len(code) else Unit.CTL
        if each.unit not in (Unit.LD, Unit.PP, Unit.ST) or each.unit is following:
            continue
        spans = [s for s in run.spans if first <= s.number <= number and s.unit not in (Unit.CTL, Unit.WS)]
        cycles = max(s.end for s in spans) - min(s.start for s in spans) + 1
        name = {Unit.LD: "load", Unit.ST: "store"}.get(each.unit) or run.program.place(number).split(" ")[0]
        found.append(Stage(name, first, number + 1, cycles))
        first = number + 1
    return tuple(found)


def pipeline_json(done: Pipeline) -> dict[str, object]:
    """Stages, their cycles and the share of them that is busy, the interval between inputs, all cycles."""
    count = len(done.starts)
    stages = [{"name": s.name, "cycles": s.cycles, "busy": count * s.cycles / done.cycles} for s in done.stages]
    return {"inputs": count, "cycles": done.cycles, "interval": done.interval, "alone": done.alone, "stages": stages}


def pipeline_report(done: Pipeline) -> str:
    """The same as text."""
    slowest = max(done.stages, key=lambda stage: stage.cycles)
    count, clock = len(done.starts), done.program.machine.clock
    lines = [
        f"{done.program.name}: {count} inputs in {done.cycles:,} cycles, each junction with lanes of its own",
        f"one input every {done.interval:,} cycles ({clock * 1e6 / done.interval:,.0f} a second at {clock} MHz), the "
        f"cycles of the slowest stage, `{slowest.name}`; {done.alone:,} one after the other", "",
        "stage             cycles   busy",
    ]  # fmt: skip
    lines += [f"{s.name:<16}  {s.cycles:>6,}  {count * s.cycles / done.cycles:>5.1%}" for s in done.stages]
    return "\n".join(lines) + "\n"


def _start(ends: NDArray[np.int64], starts: NDArray[np.int64], number: int, place: int) -> int:
    """The first cycle in which the input is there, the stage is free, and a buffer behind it is."""
    ready = 0
    if place:
        ready = int(ends[number, place - 1]) + 1
    if number:
        ready = max(ready, int(ends[number - 1, place]) + 1)
    if number >= _BUFFERS and place + 1 < ends.shape[1]:
        ready = max(ready, int(ends[number - _BUFFERS, place + 1]) + 1)
    return ready


def _ready(program: Program, inputs: NDArray[np.int64]) -> State:
    """Memories for one input, with all settings made."""
    state = State(program.machine, program.memories(inputs))
    for each in program.code:
        if each.name == "CFG":
            each.operation.meaning(state, each.fields, Context(0, 0))
    return state


def _carry_out(program: Program, stage: Stage, state: State) -> None:
    for each in program.code[stage.first : stage.last]:
        if each.name not in ("CFG", "HALT"):
            each.operation.meaning(state, each.fields, Context(0, 0))
