"""What buffers hold after every operation of a plan, without running it: sums of which junctions, how far finished."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from pathc.backends.llvm.lower import stages_of
from pathc.backends.llvm.netplan import Buffer, Load, Move, NetPlan, Op, Post, Run, Save, Where, length_of
from pathc.backends.llvm.plan import Junction
from pathc.ir.graph import Graph, Station
from pathc.ir.types import Call

Key = tuple[str, int]


@dataclass(frozen=True)
class Fault:
    """Something wrong with a plan: the code, what it is, where, and a cure."""

    code: str
    text: str
    at: Where
    help: str = ""


@dataclass(frozen=True)
class Value:
    """A station on its way: junctions added so far, and how many of its stages were applied."""

    station: Station
    added: frozenset[Key] = frozenset()
    stages: int = 0


class _FlowError(Exception):
    """An operation cannot be followed."""

    def __init__(self, code: str, text: str, help: str = "") -> None:
        super().__init__(text)
        self.code, self.text, self.help = code, text, help


def faults(plan: NetPlan, graph: Graph, junctions: Sequence[Junction]) -> Iterator[Fault]:
    """The first operation that goes wrong, or what is missing in the end.

    Names, layouts and forms of the plan are right; what is looked at is the order of operations: E0655 a value that
    is not there, E0656 sums, E0657 activations, E0658 outputs.
    """
    follower = _Follower(plan, graph, junctions)
    for at, op in enumerate(plan.ops):
        try:
            follower.follow(op)
        except _FlowError as wrong:
            yield Fault(wrong.code, wrong.text, at, wrong.help)
            return
    yield from follower.missing()


@dataclass
class _Follower:
    """The state of all buffers."""

    plan: NetPlan
    graph: Graph
    junctions: Sequence[Junction]
    values: dict[str, Value] = field(default_factory=dict[str, Value])
    lost: dict[str, str] = field(default_factory=dict[str, str])
    done: set[Key] = field(default_factory=set[Key])
    saved: set[str] = field(default_factory=set[str])

    def __post_init__(self) -> None:
        self.buffers = {buffer.name: buffer for buffer in self.plan.buffers}
        self.stations = {station.name: station for station in self.graph.stations}
        self.entering: dict[str, set[Key]] = {name: set() for name in self.stations}
        for junction in self.junctions:
            self.entering[junction.dst].add((junction.line, junction.number))

    def follow(self, op: Op) -> None:
        """Carry one operation out."""
        match op:
            case Load():
                value = Value(self.stations[self.buffers[op.dst].station])
                self.write(op.dst, self.applied(value, op.activation))
            case Run(step=step):
                self.finished(op.src)
                if step.fused is None:
                    value = self.sums(step.junction, step.init, op.dst)
                    self.write(op.dst, self.applied(value, step.activation), op.src)
                    return
                middle = self.applied(self.sums(step.junction, step.init, ""), step.activation)
                self.demand_finished(middle)
                value = self.sums(step.fused, step.fused_init, "")
                self.write(op.dst, self.applied(value, step.fused_activation), op.src)
            case Move():
                self.write(op.dst, self.read(op.src), op.src)
            case Post():
                self.write(op.dst, self.applied(self.read(op.dst), op.call))
            case Save():
                value = self.finished(op.src)
                if value.station.name in self.saved:
                    raise _FlowError("E0658", f"output `{value.station.name}` is saved twice", "leave one out")
                self.saved.add(value.station.name)

    def missing(self) -> Iterator[Fault]:
        """What should have happened by the end."""
        for line, number in sorted({key for keys in self.entering.values() for key in keys} - self.done):
            yield Fault("E0656", f"junction `${line}.{number}` is not computed", "", "add a `run` for it")
        for station in self.graph.outputs:
            if station.name not in self.saved:
                yield Fault("E0658", f"output `{station.name}` is not saved", "", "add a `save` for it")

    def read(self, name: str) -> Value:
        """What a buffer holds."""
        if name in self.values:
            return self.values[name]
        if name in self.lost:
            text = f"`%{name}` is read here, but `%{self.lost[name]}` has been written over it"
            raise _FlowError("E0655", text, "give one of the two another place in scratch memory")
        raise _FlowError("E0655", f"`%{name}` is read here, but nothing has been written to it")

    def write(self, name: str, value: Value, source: str = "") -> None:
        """Let a buffer hold a value, and all others in its place hold nothing."""
        buffer = self.buffers[name]
        if source and self.overlap(buffer, self.buffers[source]):
            raise _FlowError("E0655", f"`%{source}` is read while `%{name}` is written in the same place")
        for other in [n for n in self.values if n != name and self.overlap(buffer, self.buffers[n])]:
            del self.values[other]
            self.lost[other] = name
        self.lost.pop(name, None)
        self.values[name] = value

    def overlap(self, a: Buffer, b: Buffer) -> bool:
        """Whether two buffers share memory."""
        ends = (buffer.offset + length_of(buffer.layout, self.plan.samples) for buffer in (a, b))
        a_end, b_end = ends
        return a.offset < b_end and b.offset < a_end

    def finished(self, name: str) -> Value:
        """What a buffer holds, which must be all of its station."""
        value = self.read(name)
        self.demand_finished(value)
        return value

    def demand_finished(self, value: Value) -> None:
        """Raise unless all junctions are added and all stages applied."""
        station = value.station
        for line, number in sorted(self.entering[station.name] - value.added):
            raise _FlowError("E0656", f"station `{station.name}` is read before `${line}.{number}` is added to it")
        stages = stages_of(station)
        if value.stages < len(stages):
            raise _FlowError(
                "E0657", f"station `{station.name}` is read before `{stages[value.stages]}` is applied to it"
            )

    def sums(self, junction: Junction, init: str, name: str) -> Value:
        """A station with one more junction in it."""
        station, key = self.stations[junction.dst], (junction.line, junction.number)
        shown = f"`${junction.line}.{junction.number}`"
        if key in self.done:
            raise _FlowError("E0656", f"{shown} is computed a second time")
        self.done.add(key)
        if init == "add":
            value = self.read(name)
            if value.stages:
                raise _FlowError("E0657", f"{shown} is added to station `{station.name}` after its activation")
            return replace(value, added=value.added | {key})
        expected = "bias" if station.stage("bias") else "zero"
        if init != expected:
            raise _FlowError("E0656", f"sums of station `{station.name}` start from {expected}, not from {init}")
        if any(other in self.done for other in self.entering[station.name] - {key}):
            raise _FlowError("E0656", f"{shown} overwrites what was added to station `{station.name}`", "from add")
        return Value(station, frozenset({key}))

    def applied(self, value: Value, call: Call | None) -> Value:
        """A station with one more stage applied."""
        if call is None:
            return value
        station, stages = value.station, stages_of(value.station)
        if self.entering[station.name] - value.added:
            raise _FlowError("E0657", f"`{call}` is applied to station `{station.name}` before all is added to it")
        if value.stages == len(stages):
            raise _FlowError("E0657", f"station `{station.name}` has no activation `{call}` left")
        if stages[value.stages] != call:
            raise _FlowError(
                "E0657", f"the activation of station `{station.name}` is `{stages[value.stages]}`, not `{call}`"
            )
        return replace(value, stages=value.stages + 1)
