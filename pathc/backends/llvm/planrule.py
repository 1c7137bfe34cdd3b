"""Rules about plans: what one is, the list of all, and what they look at."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

from pathc.backends.llvm.flow import Fault, faults
from pathc.backends.llvm.junctions import junctions_of
from pathc.backends.llvm.machine import Machine
from pathc.backends.llvm.netplan import Buffer, NetPlan, Run
from pathc.backends.llvm.plan import Junction, Step
from pathc.ir.graph import Graph, Station

Found = Iterator[Fault]


@dataclass(frozen=True)
class Rule:
    """One rule: its name, and the function that yields what breaks it."""

    name: str
    check: Callable[[Checked], Found]

    @property
    def doc(self) -> str:
        """What the rule demands."""
        return " ".join((self.check.__doc__ or "").split())


RULES: list[Rule] = []
"""All rules, in the order in which they are checked."""


def rule(check: Callable[[Checked], Found]) -> Callable[[Checked], Found]:
    """Add a function to the rules, under its own name."""
    RULES.append(Rule(check.__name__.replace("_", "-"), check))
    return check


@dataclass(frozen=True)
class Checked:
    """A plan beside what it must agree with."""

    plan: NetPlan
    graph: Graph
    machine: Machine

    @cached_property
    def stations(self) -> dict[str, Station]:
        """Stations of the graph by name."""
        return {station.name: station for station in self.graph.stations}

    @cached_property
    def junctions(self) -> tuple[Junction, ...]:
        """Junctions of the graph."""
        return junctions_of(self.graph)

    @cached_property
    def buffers(self) -> dict[str, Buffer]:
        """Buffers of the plan by name."""
        return {buffer.name: buffer for buffer in self.plan.buffers}

    @cached_property
    def flow(self) -> tuple[Fault, ...]:
        """What the operations do wrong to what the buffers hold."""
        return tuple(faults(self.plan, self.graph, self.junctions))

    @property
    def steps(self) -> Iterator[tuple[int, Step]]:
        """Kernels with weights, by the number of their operation."""
        return ((at, op.step) for at, op in enumerate(self.plan.ops) if isinstance(op, Run))
