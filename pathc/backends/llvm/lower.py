"""Graph to plan: choose a kernel form, a layout and a buffer for everything, by the cost model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from pathc.backends.llvm.forms import ARRANGED, Choices, choose_form, form_cycles, fused_step, tile_of
from pathc.backends.llvm.junctions import junctions_of
from pathc.backends.llvm.machine import Machine
from pathc.backends.llvm.netplan import Load, Move, NetPlan, Op, Orders, Post, Run, Save, place
from pathc.backends.llvm.plan import Family, Junction, Layout, Step
from pathc.backends.llvm.row.layouts import choose
from pathc.backends.llvm.row.relayout import relayout_cycles
from pathc.ir.graph import Graph, Station
from pathc.ir.order import station_order
from pathc.ir.types import Call

WHOLE_LAYER = frozenset({"softmax", "kwinners"})
"""Activations that look at all units of a station, not at one."""

_COPIED, _TRANSPOSED, _COLLIDING = 0.12, 0.32, 0.45
"""Clock cycles for a float that comes in or goes out: in rows, in columns, in columns of samples whole pages apart."""
_COPIED_UNIT = 0.3
"""The same in columns of an array with units first, where it does not stay in the array."""
_PAGE = 4096

Key = tuple[str, int]
"""Line and junction number."""


def plan_net(
    graph: Graph,
    machine: Machine,
    family: Family,
    samples: int,
    choices: Choices,
    orders: Orders = ("rows", "rows"),
    junctions: Sequence[Junction] | None = None,
) -> NetPlan:
    """Plan the whole net for one family of kernels; E0611, E0612 when a forced form does not fit.

    Arrays with units first are for columns alone. Plans that share `junctions`, those of the graph, share what forms
    find out about them.
    """
    junctions = junctions_of(graph) if junctions is None else junctions
    net = _Net(graph, machine, family, samples, choices, orders, junctions)
    for station in graph.inputs:
        net.load(station)
    for name in station_order(graph):
        net.finish(graph.station(name))
    if family == "column":
        net.fuse()
    for station in graph.outputs:
        net.save(station)
    buffers, scratch = place(net.ops, net.buffers, samples)
    inputs, outputs = (sum(s.real_units for s in stations) for stations in (graph.inputs, graph.outputs))
    work = sum(j.count for j in net.junctions)
    return NetPlan(
        name=graph.name,
        family=family,
        cpu=machine.cpu,
        width=machine.width,
        samples=samples,
        ops=tuple(net.ops),
        buffers=buffers,
        scratch=scratch,
        inputs=inputs,
        outputs=outputs,
        cycles=cycles_of(net.ops, family, machine, samples),
        work=work,
    )


def cycles_of(ops: Sequence[Op], family: Family, machine: Machine, samples: int) -> float:
    """Estimated clock cycles for `samples` samples."""
    runs = sum(form_cycles(op.step, machine, samples) for op in ops if isinstance(op, Run))
    if family == "row":
        return round(runs + samples * sum(_row_cycles(op, machine) for op in ops), 1)
    return round(runs + samples * sum(_column_cycles(op) for op in ops), 1)


def _column_cycles(op: Op) -> float:
    """Estimated clock cycles to bring a sample in or out of columns."""
    if not isinstance(op, Load | Save) or op.layout.array:
        return 0.0
    if op.order == "units":
        return op.real * _COPIED_UNIT
    return op.real * (_TRANSPOSED if 4 * op.real % _PAGE else _COLLIDING)


def _row_cycles(op: Op, machine: Machine) -> float:
    """Estimated clock cycles to bring a sample in or out, or to move it to another layout."""
    match op:
        case Move():
            return relayout_cycles(op.source, op.target, machine)
        case Load() | Save() if op.layout.columns:
            natural = Layout(op.layout.size)
            ends = (natural, op.layout) if isinstance(op, Load) else (op.layout, natural)
            return relayout_cycles(*ends, machine)
        case Load() | Save():
            return op.real * _COPIED
        case _:
            return 0.0


def stages_of(station: Station) -> tuple[Call, ...]:
    """The stages of a pipeline that change values when the station is read: all but bias and identity."""
    return tuple(stage for stage in station.pipeline if stage.name not in ("bias", "identity"))


@dataclass
class _Net:
    """A plan being written."""

    graph: Graph
    machine: Machine
    family: Family
    samples: int
    choices: Choices
    user: Orders
    junctions: Sequence[Junction]
    ops: list[Op] = field(default_factory=list[Op])
    buffers: dict[str, Layout] = field(default_factory=dict[str, Layout])

    def __post_init__(self) -> None:
        self.entering: dict[str, list[Junction]] = {station.name: [] for station in self.graph.stations}
        self.leaving: dict[str, list[Junction]] = {station.name: [] for station in self.graph.stations}
        for junction in self.junctions:
            self.entering[junction.dst].append(junction)
            self.leaving[junction.src].append(junction)
        self.forms: dict[Key, str] = {}
        self.layouts: dict[Key, tuple[Layout, Layout]] = {}
        self.kept: dict[str, Layout] = {}
        self.orders: dict[str, list[Layout]] = {}
        self.copies: set[str] = set()
        self._inputs = self._outputs = 0
        for junction in self.junctions:
            key = junction.line, junction.number
            self.forms[key] = choose_form(junction, self.machine, self.family, self.samples, self.choices)
        for junction in self.junctions:
            key = junction.line, junction.number
            self.layouts[key] = self.laid(junction.src), self.laid(junction.dst)
        if self.family == "row":
            self._arrange()

    def natural(self, units: int) -> Layout:
        """The natural order, padded to whole vectors in rows."""
        width = self.machine.width if self.family == "row" else 1
        return Layout(-(-units // width) * width)

    def laid(self, name: str) -> Layout:
        """The order in which a station is kept if nobody wants another one."""
        station = self.graph.station(name)
        return replace(self.natural(station.units), array=self._array(station))

    def _array(self, station: Station) -> Literal["", "x", "y"]:
        """The user's array, if whole tiles of a station can stay there."""
        plain = self.family == "column" and station.real_units == station.units
        if plain and station.role == "input" and self.user[0] == "units" and not station.pipeline:
            moved = _COPIED_UNIT * station.units * self.samples
            return "x" if self._reading(station, "x") <= self._reading(station, "") + moved else ""
        alone = len(self.entering[station.name]) == 1 and not self.leaving[station.name]
        rest = _inline(station)[1]
        return "y" if plain and station.role == "output" and self.user[1] == "units" and alone and not rest else ""

    def _reading(self, station: Station, array: Literal["", "x"]) -> float:
        """Estimated clock cycles of the kernels that read a station, where it stays in the user's array or not."""
        total, source = 0.0, Layout(station.units, array=array)
        for junction in self.leaving[station.name]:
            form, target = self.forms[junction.line, junction.number], Layout(junction.n_dst)
            step = Step(form, self.family, junction, source, target, "zero", None, self.choices.weight_type)
            total += form_cycles(step, self.machine, self.samples)
        return total

    def load(self, station: Station) -> None:
        """An input in the order its only reader wants, or in its own."""
        inline, rest = _inline(station)
        readers = [self.layouts[j.line, j.number][0] for j in self.leaving[station.name]]
        alone = len(readers) == 1 and station.real_units == station.units and not rest
        layout = readers[0] if alone else self.laid(station.name)
        buffer = self._buffer(station.name, layout)
        self.ops.append(Load(buffer, layout, station.units, self._inputs, station.real_units, inline, self.user[0]))
        self._inputs += station.real_units
        self.ops.extend(Post(buffer, station.real_units, call) for call in rest)
        self.kept[station.name] = layout

    def finish(self, station: Station) -> None:
        """The kernels that lead into a station, and what else happens to it before it is read."""
        entering, leaving = self.entering[station.name], self.leaving[station.name]
        if station.role == "input" or not (entering or leaving or station.role == "output"):
            return
        inline, rest = _inline(station)
        first = self.layouts[entering[0].line, entering[0].number][1] if entering else Layout(0)
        alone = len(entering) == 1 and len(leaving) <= 1 and not rest
        alone = alone and (station.role != "output" or station.real_units == station.units)
        kept = first if alone else self.natural(station.units)
        self.kept[station.name] = kept
        held = first
        for at, junction in enumerate(entering):
            source, target = self.layouts[junction.line, junction.number]
            init = "add" if at else "bias" if station.stage("bias") else "zero"
            activation = inline if at == len(entering) - 1 else None
            form = self.forms[junction.line, junction.number]
            step = Step(form, self.family, junction, source, target, init, activation, self.choices.weight_type)
            step = replace(step, tile=tile_of(step, self.machine))
            self._move(station.name, held, target)
            self.ops.append(Run(step, self._reader(junction.src, source), self._buffer(station.name, target)))
            held = target
        self._move(station.name, held, kept)
        buffer = self._buffer(station.name, kept)
        self.ops.extend(Post(buffer, station.real_units, call) for call in rest)

    def save(self, station: Station) -> None:
        """An output, from whatever layout it is kept in."""
        layout = self.kept[station.name]
        buffer = self._buffer(station.name, layout)
        self.ops.append(Save(buffer, layout, station.units, self._outputs, station.real_units, self.user[1]))
        self._outputs += station.real_units

    def fuse(self) -> None:
        """Replace two kernels in a row by one where the pair fits, the middle is theirs alone, and it pays."""
        ops, at = list[Op](), 0
        while at < len(self.ops):
            pair = self.ops[at : at + 2]
            fused = self._fused(pair[0], pair[1]) if len(pair) == 2 else None
            ops.append(fused or pair[0])
            at += 2 if fused else 1
        self.ops = ops

    def _fused(self, first: Op, second: Op) -> Run | None:
        if not isinstance(first, Run) or not isinstance(second, Run) or first.dst != second.src:
            return None
        middle = self.graph.station(first.step.junction.dst)
        owners = len(self.entering[middle.name]), len(self.leaving[middle.name])
        if owners != (1, 1) or middle.role != "layer" or second.step.init == "add":
            return None
        step = fused_step(first.step, second.step, self.machine, self.samples, self.choices)
        return Run(step, first.src, second.dst) if step else None

    def _arrange(self) -> None:
        """Layouts for the chains of junctions whose form asks for them."""
        for chain in self._chains():
            ends = [True, *(not self._free(j.dst) for j in chain)]
            try:
                arrangement = choose(chain, ends, self.machine)
            except ValueError:
                self._without_layouts(chain)
                continue
            for junction, *pair in zip(chain, arrangement.src, arrangement.dst, strict=True):
                self.layouts[junction.line, junction.number] = pair[0], pair[1]

    def _without_layouts(self, chain: Sequence[Junction]) -> None:
        """Let other forms compute a chain through which no lanes run."""
        for junction in chain:
            key = junction.line, junction.number
            choices = replace(self.choices, without=(*self.choices.without, ARRANGED))
            self.forms[key] = choose_form(junction, self.machine, self.family, self.samples, choices)

    def _chains(self) -> list[list[Junction]]:
        """Junctions in that form that follow each other through stations of one writer and one reader."""
        chains = list[list[Junction]]()
        for junction in self.junctions:
            if self.forms[junction.line, junction.number] != ARRANGED:
                continue
            before = next((c for c in chains if c[-1].dst == junction.src), None)
            if before is not None and self._free(junction.src):
                before.append(junction)
            else:
                chains.append([junction])
        return chains

    def _free(self, name: str) -> bool:
        """Whether a station's order in memory is a matter of its one writer and its one reader."""
        station = self.graph.station(name)
        single = len(self.entering[name]) == 1 and len(self.leaving[name]) == 1
        return single and station.role == "layer" and not _inline(station)[1]

    def _reader(self, station: str, layout: Layout) -> str:
        """The buffer that holds a station in this layout, permuted into it first where it is kept in another."""
        buffer = self._buffer(station, layout)
        kept = self.kept[station]
        if layout != kept and buffer not in self.copies:
            self._move(station, kept, layout)
            self.copies.add(buffer)
        return buffer

    def _move(self, station: str, source: Layout, target: Layout) -> None:
        """Permute a station, where its order is another."""
        if source != target:
            self.ops.append(Move(self._buffer(station, source), self._buffer(station, target), source, target))

    def _buffer(self, station: str, layout: Layout) -> str:
        """Name of the buffer of a station in a layout."""
        name = station
        if layout.columns:
            orders = self.orders.setdefault(station, [])
            if layout not in orders:
                orders.append(layout)
            name = f"{station}.{orders.index(layout) + 1}"
        self.buffers[name] = layout
        return name


def _inline(station: Station) -> tuple[Call | None, tuple[Call, ...]]:
    """The activation a kernel applies as it stores a station, and those that come after."""
    stages = stages_of(station)
    if stages and stages[0].name not in WHOLE_LAYER:
        return stages[0], stages[1:]
    return None, stages
