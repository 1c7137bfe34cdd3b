"""A plan of events as LLVM IR, and its parameters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pathc.backends.llvm.column.common import round_up
from pathc.backends.llvm.emit import F32, I64, Function, module
from pathc.backends.llvm.ends import copy_out, repeated
from pathc.backends.llvm.events import kernels
from pathc.backends.llvm.events.plan import Push, Step
from pathc.backends.llvm.general.post import emit_post
from pathc.backends.llvm.integer.rows import emit_pick
from pathc.backends.llvm.lower import stages_of
from pathc.backends.llvm.machine import Machine
from pathc.backends.llvm.net import SIGNATURE
from pathc.backends.llvm.writer import LINE, Kernels, Parameters, Room, Writer
from pathc.ir.generators.hashing import hash64
from pathc.ir.graph import Station
from pathc.ir.interp.network import Network


@dataclass(frozen=True)
class EventProgram:
    """IR that exports a net, its parameters, the bytes of scratch memory, and where the counters of stations lie."""

    ir: str
    parameters: NDArray[np.uint8]
    scratch: int
    counters: Mapping[str, int]


@dataclass(frozen=True)
class _List:
    """Addresses of the list of a station."""

    units: str
    values: str
    count: str


@dataclass
class EventWriter(Writer):
    """Writes the exported function of a plan."""

    network: Network
    steps: tuple[Step, ...]
    machine: Machine
    samples: Mapping[str, int]
    seed: int
    counted: bool = True
    counters: dict[str, int] = field(default_factory=dict[str, int])
    lists: dict[str, _List] = field(default_factory=dict[str, _List])

    def write(self) -> EventProgram:
        """The program."""
        f = self.f = Function(self.name, SIGNATURE, internal=False)
        read = dict.fromkeys(push.source for step in self.steps for push in step.pushes)
        if self.counted:
            self.counters = {name: self.parameters.put(np.zeros(2, np.int64)) for name in read}
        self.uncounted = self.take(2 * 8)
        self.lists = {name: self._lists(name) for name in read}
        sums = self.take(4 * max((step.size for step in self.steps), default=0))
        with repeated(f, "%batch") as index:
            shift = kernels.shift_of(f, hash64(self.seed), index) if self.samples else "0.0"
            x, y = (f.offset(f"%{end}", f.op("mul", I64, index, f"%{end}_stride")) for end in "xy")
            first = 0
            rows: dict[str, str] = {}
            for station in self.network.graph.inputs:
                rows[station.name] = self._functions(station, f.offset(x, first), own=False)
                first += station.real_units
                self._list(station, rows[station.name], shift)
            for step in self.steps:
                rows[step.station.name] = self._step(step, sums)
                self._list(step.station, rows[step.station.name], shift)
            first = 0
            for station in self.network.graph.outputs:
                real = station.real_units
                copy = self.kernels.add(("copy", real), copy_out, self.machine, 1, real, real)
                self.call(copy, rows[station.name], f.offset(y, first), 0)
                first += real
        ir = module([*self.kernels.functions.values(), f], self.machine.triple)
        return EventProgram(ir, self.parameters.packed(), self.room.size, self.counters)

    def _lists(self, name: str) -> _List:
        """Room for the list of a station."""
        units = self.network.graph.station(name).real_units
        return _List(self.take(4 * units + LINE), self.take(4 * units + LINE), self.take(8))

    def _list(self, station: Station, row: str, shift: str) -> None:
        """List what a station sends, if it is read."""
        if station.name not in self.lists:
            return
        room = self.lists[station.name]
        counters = self.uncounted
        if self.counted:
            counters = self.f.offset("%params", self.counters[station.name], "i8")
        samples = self.samples.get(station.name, 0)
        kernel = self.kernels.add(("list", station.real_units, samples), kernels.emit_list, station.real_units, samples)
        given = [("ptr", each) for each in (row, room.units, room.values, room.count, counters)]
        self.f.call("void", kernel, [*given, ("double", shift)], declare=False)

    def _functions(self, station: Station, row: str, *, own: bool) -> str:
        """The row with the functions of a station applied; in place if it is our `own`."""
        calls = stages_of(station)
        real, machine = station.real_units, self.machine
        if calls and not own:
            copy = self.take(4 * round_up(real, machine.width))
            kernel = self.kernels.add(("copy", real), copy_out, machine, 1, real, real)
            self.call(kernel, row, copy, 0)
            row = copy
        for call in calls:
            self.call(self.kernels.add(("post", real, call), emit_post, machine, real, call), row)
        return row

    def _step(self, step: Step, sums: str) -> str:
        f, real, width = self.f, step.station.real_units, self.machine.width
        size = [("ptr", sums), ("ptr", self.put(step.bias)), (I64, str(4 * step.size)), ("i1", "false")]
        f.call("void", "llvm.memcpy.p0.p0.i64", size)
        for push in step.pushes:
            self._push(push, sums)
        row = self.take(4 * round_up(real, width))
        pick = self.kernels.add(("pick", real), emit_pick, real)
        given = [("ptr", sums), ("ptr", self.put(step.places.astype(np.int32))), ("ptr", row), (F32, "-0.0")]
        f.call("void", pick, given, declare=False)
        return self._functions(step.station, row, own=True)

    def _push(self, push: Push, sums: str) -> None:
        sent = self.lists[push.source]
        events = sent.units, sent.values, sent.count
        if push.matrix.size:
            length = push.matrix.shape[1]
            kernel = self.kernels.add(("matrix", length), kernels.emit_matrix, self.machine, length)
            self.call(kernel, *events, self.put(push.matrix), sums)
        if push.weights.size:
            length, single = push.weights.shape[1], bool((np.diff(push.starts) == 1).all())
            kernel = self.kernels.add(
                ("segments", length, single), kernels.emit_segments, self.machine, length, single=single
            )
            tables = [self.put(table.astype(np.int32)) for table in (push.starts, push.places)]
            self.call(kernel, *events, *tables, self.put(push.weights), sums)
        if len(push.factors):
            kernel = self.kernels.add("edges", kernels.emit_edges)
            tables = [self.put(table.astype(np.int32)) for table in (push.first, push.targets)]
            self.call(kernel, *events, *tables, self.put(push.factors), sums)


def emit_events(
    network: Network,
    steps: tuple[Step, ...],
    machine: Machine,
    name: str,
    samples: Mapping[str, int],
    seed: int,
    *,
    counted: bool = True,
) -> EventProgram:
    """The program of a plan that exports `name`, with the signature of every net; `samples` are drawn of a station.

    `counted` programs write to their parameters, where the counters lie; the others leave them alone.
    """
    made = (name, Parameters(), Room(), Kernels(f"{name}.kernel"))
    return EventWriter(*made, network, steps, machine, samples, seed, counted).write()
