"""A plan of bfloat16 as LLVM IR and its parameters: 64 samples at a time, what is left one by one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pathc.backends.llvm.call import BY_ROWS
from pathc.backends.llvm.column.post import emit_post
from pathc.backends.llvm.column.transpose import emit_load, emit_save
from pathc.backends.llvm.emit import I64, Function, module
from pathc.backends.llvm.ends import at_most, repeated
from pathc.backends.llvm.halves import kernels
from pathc.backends.llvm.halves.entering import LOCAL, emit_enter
from pathc.backends.llvm.halves.kernels import ROW
from pathc.backends.llvm.halves.plan import Plan, Step, functions
from pathc.backends.llvm.net import SIGNATURE
from pathc.backends.llvm.netplan import Orders
from pathc.backends.llvm.tiles.code import PITCH, SAMPLES
from pathc.backends.llvm.tiles.kernel import sum_panels
from pathc.backends.llvm.writer import POINTERS, Kernels, Parameters, Room, Writer
from pathc.ir.graph import Station
from pathc.ir.types import Call


@dataclass(frozen=True)
class Program:
    """IR that exports a net, its parameters, and the bytes of scratch memory of one call."""

    ir: str
    parameters: NDArray[np.uint8]
    scratch: int


@dataclass
class HalfWriter(Writer):
    """Writes `void name(ptr x, ptr y, ptr params, ptr scratch, i64 x_stride, i64 y_stride, i64 samples)` of a plan."""

    plan: Plan
    orders: Orders
    outputs: dict[str, str] = field(default_factory=dict[str, str])
    """Tiles of float32 that outputs lie in."""

    def write(self) -> Function:
        """The function."""
        strides = ((I64, "x_stride"), (I64, "y_stride"), (I64, "samples"))
        f = self.f = Function(self.name, (*POINTERS, *strides))
        plan, graph = self.plan, self.plan.network.graph
        self.rows = self.take((plan.absent + 1) * ROW)
        zero = f.offset(self.rows, plan.absent * ROW, "i8")
        f.call("void", "llvm.memset.p0.i64", [("ptr", zero), ("i8", "0"), (I64, str(ROW)), ("i1", "false")])
        self.started = self.take(PITCH * max((s.station.real_units for s in plan.steps if s.skips), default=0))
        self.tile = self.take(PITCH * max(station.real_units for station in plan.network.stations))
        self.local = self.take(LOCAL)
        start = 0
        for station in graph.inputs:
            self._enter(station, start)
            start += station.real_units
        for step in plan.steps:
            self._step(step)
        start = 0
        for station in graph.outputs:
            real = station.real_units
            if self.orders[1] == "units":
                save = self.kernels.add(("out", real), kernels.emit_units_out, real)
            else:
                save = self.kernels.add(("save", real), emit_save, plan.machine, SAMPLES, real)
            given = [("ptr", self._end("y", start)), ("ptr", self.outputs[station.name])]
            f.call("void", save, [*given, (I64, "%y_stride"), (I64, "%samples")], declare=False)
            start += station.real_units
        return f

    def _end(self, array: str, first: int) -> str:
        """Where a unit of the first sample lies in a user's array."""
        units = self.orders["xy".index(array)] == "units"
        at = self.f.op("mul", I64, f"%{array}_stride", str(first)) if units else first
        return self.f.offset(f"%{array}", at)

    def _row_of(self, name: str) -> str:
        """Where the rows of a station begin."""
        return self.f.offset(self.rows, self.plan.sources[name][0] * ROW, "i8")

    def _tile_of(self, station: Station) -> str:
        """Where a station lies as float32; that of an output stays."""
        if station.role != "output":
            return self.tile
        if station.name not in self.outputs:
            self.outputs[station.name] = self.take(PITCH * station.real_units)
        return self.outputs[station.name]

    def _enter(self, station: Station, start: int) -> None:
        f, machine, real = self.f, self.plan.machine, station.real_units
        alone, rest = functions(station)
        rounded = not rest and station.role != "output" and station.name in self.plan.sources
        if self.orders[0] == "units":
            to = self._row_of(station.name) if rounded else self._tile_of(station)
            enter = self.kernels.add(
                ("in", real, alone, rounded), kernels.emit_units_in, machine, real, alone, rows=rounded
            )
            given = [("ptr", self._end("x", start)), ("ptr", to), (I64, "%x_stride"), (I64, "%samples")]
            f.call("void", enter, given, declare=False)
            if not rounded:
                self._finish(station, to, rest)
            return
        if rounded:
            enter = self.kernels.add(("enter", real, alone), emit_enter, machine, real, alone)
            given = [("ptr", self._end("x", start)), ("ptr", self._row_of(station.name)), ("ptr", self.local)]
            f.call("void", enter, [*given, (I64, "%x_stride"), (I64, "%samples")], declare=False)
            return
        first = alone[0] if alone else None
        load = self.kernels.add(("load", real, first), emit_load, machine, SAMPLES, real, real, first)
        tile = self._tile_of(station)
        given = [("ptr", self._end("x", start)), ("ptr", tile), (I64, "%x_stride"), (I64, "%samples")]
        f.call("void", load, given, declare=False)
        self._finish(station, tile, (*alone[1:], *rest))

    def _finish(self, station: Station, tile: str, calls: Sequence[Call]) -> None:
        """Functions that look at a whole tile, then rows of halves."""
        machine, real = self.plan.machine, station.real_units
        for call in calls:
            self.call(self.kernels.add(("post", real, call), emit_post, machine, SAMPLES, real, call), tile)
        if station.name in self.plan.sources:
            halve = self.kernels.add("halve", kernels.emit_halve)
            self.call(halve, tile, self._row_of(station.name), real)

    def _step(self, step: Step) -> None:
        plan, station = self.plan, step.station
        alone, rest = functions(station)
        before = self.put(step.bias)
        if step.skips:
            self.call(self.kernels.add("start", kernels.emit_start), before, self.started, station.real_units)
            before = self.started
        for name, scale in step.skips:
            skip = self.kernels.add("skip", kernels.emit_skip)
            units = min(plan.sources[name][1], station.real_units)
            self.call(skip, self._row_of(name), before, self.put(np.array([scale], np.float32)), units)
        read = station.name in plan.sources and not rest
        floats = bool(rest) or station.role == "output"
        tile = self._tile_of(station) if floats else self.tile
        reading = self.kernels.add(
            ("read", alone, bool(step.skips), read, floats), kernels.emit_reading, plan.machine, alone,
            skipped=bool(step.skips), rows=read, floats=floats,
        )  # fmt: skip
        pairs = self.kernels.add("pairs", kernels.emit_pairs)
        ends = self.rows, before, self._row_of(station.name) if read else tile, tile
        sum_panels(self, step.panels, plan.product, (pairs, reading), ends, ROW, plan.absent)
        if rest:
            self._finish(station, tile, rest)


def emit_halves(
    plan: Plan, name: str, few: Sequence[Function], packed: NDArray[np.uint8], room: int, orders: Orders
) -> Program:
    """The program of a plan that exports `name`, with the signature of every net.

    `few` are the functions of the same net for single samples, the last one with that signature, too, for arrays with
    samples first; `packed` are its parameters, `room` the bytes of its scratch memory.
    """
    parameters, rooms, made = Parameters(), Room(), Kernels(f"{name}.kernel")
    at = parameters.put(packed)
    rooms.take(room)
    many = HalfWriter(f"{name}.many", parameters, rooms, made, plan, orders).write()
    f = Function(name, SIGNATURE, internal=False)
    strides = [(I64, "%x_stride"), (I64, "%y_stride")]

    def ends(first: str) -> list[tuple[str, str]]:
        return [
            ("ptr", f.offset(f"%{end}", first if order == "units" else f.op("mul", I64, first, f"%{end}_stride")))
            for end, order in zip("xy", orders, strict=True)
        ]

    rest = f.op("urem", I64, "%batch", str(SAMPLES))
    alone = f.assign(f"icmp ule i64 {rest}, {plan.few if orders == BY_ROWS else 0}")
    left = f.assign(f"select i1 {alone}, i64 {rest}, i64 0")
    tiled = f.op("sub", I64, "%batch", left)
    count = f.op("udiv", I64, f.op("add", I64, tiled, str(SAMPLES - 1)), str(SAMPLES))
    with repeated(f, count) as index:
        first = f.op("mul", I64, index, str(SAMPLES))
        valid = at_most(f, f.op("sub", I64, tiled, first), SAMPLES)
        given = [*ends(first), ("ptr", "%params"), ("ptr", "%scratch"), *strides, (I64, valid)]
        f.call("void", many.name, given, declare=False)
    with repeated(f, f.assign(f"zext i1 {f.assign(f'icmp ne i64 {left}, 0')} to i64")):
        given = [*ends(tiled), ("ptr", f.offset("%params", at, "i8")), ("ptr", "%scratch"), (I64, left), *strides]
        f.call("void", few[-1].name, given, declare=False)
    ir = module([*few, *made.functions.values(), many, f], plan.machine.triple)
    return Program(ir, parameters.packed(), rooms.size)
