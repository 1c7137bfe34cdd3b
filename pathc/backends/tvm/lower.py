"""Graph to plan: which operations compute a net, in order, on which buffers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from pathc.backends.tvm.plan import PLAIN, Address, Blocks, Fill, Finish, Load, NetPlan, Op, Post, Rows, Save, Skip
from pathc.ir.facts import Blocks as Fact
from pathc.ir.generators import Generator, resolve
from pathc.ir.graph import Graph, Line, Station
from pathc.ir.order import station_order
from pathc.ir.types import Call
from pathc.support.diagnostics import did_you_mean, error
from pathc.support.files import memory_limit

FORMS = {
    "blocks": "dense blocks at XOR addresses; paths linear over GF(2) that reach every unit",
    "ell": "every destination has the same number of edges, missing ones are skipped",
    "csr": "edges by destination, as many as there are",
}
"""Kernel forms of junctions, and what each is for."""

WHOLE_LAYER = frozenset({"softmax", "kwinners"})
_BYTES_PER_PATH = 48
_LARGEST_WASTE = 1.25
"""Slots of `ell` for every edge from which on `csr` is taken."""


def plan_net(
    graph: Graph, lanes: int, forms: Mapping[str, str], fused: bool = False, keep_sums: bool = False
) -> NetPlan:
    """The plan for tiles of `lanes` samples; E0611, E0612 for forms that do not fit, E0502 for lack of memory.

    With `keep_sums` every activation is an operation of its own, so that what it was applied to can be read later.
    """
    _check_forms(graph, forms)
    net = _Net(graph, forms, keep_sums)
    for name in station_order(graph):
        net.station(graph.station(name))
    net.save()
    inputs, outputs = (sum(s.real_units for s in stations) for stations in (graph.inputs, graph.outputs))
    return NetPlan(graph.name, lanes, tuple(net.ops), tuple(net.buffers.items()), inputs, outputs, fused)


def fusable(plan: NetPlan) -> bool:
    """Whether one kernel can compute a plan: every loop over sums must have something to divide over threads.

    TVM drops the predicate of a loop of one iteration when it moves the stores into it, so that threads without a
    sum would store as well.
    """
    return plan.lanes > 1 or all(op.end.units > 1 for op in plan.ops)


def _check_forms(graph: Graph, forms: Mapping[str, str]) -> None:
    known = [f"{line.name}.{number}" for line in graph.lines for number in line.junctions]
    for junction, form in forms.items():
        if form not in FORMS:
            help = did_you_mean(form, FORMS) or f"forms: {', '.join(FORMS)}"
            raise error("E0612", f"there is no kernel form `{form}`", graph.loc, help=help)
        if junction != "*" and junction not in known:
            help = did_you_mean(junction, known) or f"junctions: {', '.join(known)}"
            raise error("E0612", f"there is no junction `{junction}`", graph.loc, help=help)


@dataclass
class _Net:
    """A plan being written."""

    graph: Graph
    forms: Mapping[str, str]
    keep_sums: bool = False
    ops: list[Op] = field(default_factory=list[Op])
    buffers: dict[str, int] = field(default_factory=dict[str, int])
    held: dict[str, str] = field(default_factory=dict[str, str])

    def __post_init__(self) -> None:
        self.versions: dict[str, int] = defaultdict(int)
        self.inputs = 0
        self.facts: dict[tuple[str, int], list[Fact]] = defaultdict(list)
        for fact in self.graph.facts_of(Fact):
            self.facts[fact.line, fact.junction].append(fact)

    def station(self, station: Station) -> None:
        """Everything that happens until a station can be read."""
        inline, rest = _stages(station, self.keep_sums)
        entering = [
            (line, number)
            for line in self.graph.lines
            for number in line.junctions
            if line.visits[number].station == station.name
        ]
        start = Finish(station.name, station.units, station.real_units, "bias" if station.stage("bias") else "zero")
        if station.role == "input":
            last = start if entering else replace(start, activation=inline)
            self.ops.append(Load(self._name(), self._new(station), _inputs(self.graph), self.inputs, last))
            self.inputs += station.real_units
        elif not entering:
            self.ops.append(Fill(self._name(), self._new(station), replace(start, activation=inline)))
        for at, (line, number) in enumerate(entering):
            self._junction(station, line, number, start, inline if at == len(entering) - 1 else None)
        for call in rest:
            before = self.held[station.name]
            end = Finish(station.name, station.units, station.real_units, activation=call)
            self.ops.append(Post(self._name(), before, self._new(station), end))

    def save(self) -> None:
        """The outputs, side by side."""
        first, outputs = 0, sum(s.real_units for s in self.graph.outputs)
        for station in self.graph.outputs:
            end = Finish(station.name, station.units, station.real_units)
            self.ops.append(Save(self._name(), self.held[station.name], outputs, first, end))
            first += station.real_units

    def _junction(self, station: Station, line: Line, number: int, start: Finish, last: Call | None) -> None:
        source = self.graph.station(line.visits[number - 1].station)
        name, src = f"{line.name}.{number}", self.held[source.name]
        if line.kind == "skip":
            end = replace(self._end(start), activation=last)
            self.ops.append(Skip(self._name(), name, src, self._new(station), line.scale, end))
        elif line.kind == "dense":
            sizes = 1, source.units, station.units
            end = replace(self._end(start), activation=last)
            self.ops.append(
                Blocks(self._name(), name, src, self._new(station), source.units, 0, 0, *sizes, PLAIN, PLAIN, end)
            )
        else:
            self._paths(station, line, number, start, last)

    def _paths(self, station: Station, line: Line, number: int, start: Finish, last: Call | None) -> None:
        source = self.graph.station(line.visits[number - 1].station)
        name, src = f"{line.name}.{number}", self.held[source.name]
        generator = resolve(line, self.graph)
        form = self.forms.get(name, self.forms.get("*", ""))
        facts = [f for f in self.facts[line.name, number] if f.count * f.fan_out == station.units]
        whole = sum(f.length for f in self.facts[line.name, number]) == generator.count
        if form == "blocks" and not (facts and whole):
            text = f"`{name}` has no dense blocks that reach every unit of `{station.name}`"
            raise error("E0611", text, line.loc, help="leave the choice to the compiler, or use ell or csr")
        if form in ("ell", "csr") or not whole:
            facts = []
        taken = {(f.start, f.length) for f in facts}
        every = [(f.start, f.length) for f in self.facts[line.name, number]] if whole else [(0, generator.count)]
        rest = tuple(window for window in every if window not in taken)
        for at, f in enumerate(facts):
            end = replace(self._end(start), activation=last if at == len(facts) - 1 and not rest else None)
            sources, destinations = (
                Address(f.src_basis, f.src_reps, f.src_shift),
                Address(f.dst_basis, f.dst_reps, f.dst_shift),
            )
            sizes = f.start, f.length, f.count, f.fan_in, f.fan_out
            dst = self._new(station)
            self.ops.append(Blocks(self._name(), name, src, dst, source.units, *sizes, sources, destinations, end))
        if rest:
            width, edges = fan_in(generator, number, rest, line)
            end = replace(self._end(start), activation=last)
            chosen = table_form(form, width, station.units, edges)
            dst = self._new(station)
            self.ops.append(Rows(self._name(), name, chosen, src, dst, source.units, rest, width, edges, end))

    def _end(self, start: Finish) -> Finish:
        before = self.held.get(start.station)
        return replace(start, init="add", before=before) if before else start

    def _new(self, station: Station) -> str:
        """The next buffer of a station."""
        self.versions[station.name] += 1
        name = f"{station.name}.{self.versions[station.name]}"
        self.buffers[name] = station.units
        self.held[station.name] = name
        return name

    def _name(self) -> str:
        return f"k{len(self.ops)}"


def _inputs(graph: Graph) -> int:
    return sum(s.real_units for s in graph.inputs)


def _stages(station: Station, keep_sums: bool) -> tuple[Call | None, tuple[Call, ...]]:
    """The activation a kernel applies as it stores a station, and those that come after."""
    stages = tuple(stage for stage in station.pipeline if stage.name not in ("bias", "identity"))
    if stages and not keep_sums and stages[0].name not in WHOLE_LAYER:
        return stages[0], stages[1:]
    return None, stages


def table_form(form: str, width: int, units: int, edges: int) -> Literal["ell", "csr"]:
    """The form that was asked for, or the one that wastes less."""
    wasteful = width * units > _LARGEST_WASTE * edges
    return "csr" if form == "csr" or (form != "ell" and wasteful) else "ell"


def fan_in(generator: Generator, number: int, windows: tuple[tuple[int, int], ...], line: Line) -> tuple[int, int]:
    """Most edges of a unit at a visit, and how many there are, paths that share an edge counted apart; E0502."""
    paths = sum(length for _, length in windows)
    if paths * _BYTES_PER_PATH + 8 * generator.sizes[number] > memory_limit():
        text = f"`{line.name}` has {paths} paths without block structure, too many for tables"
        raise error("E0502", text, line.loc, help="use layers whose sizes are powers of two, or fewer paths")
    counts = np.zeros(generator.sizes[number], np.int64)
    for start, length in windows:
        counts += np.bincount(generator.units(number, start, start + length), minlength=len(counts))
    return int(counts.max(initial=0)), paths
