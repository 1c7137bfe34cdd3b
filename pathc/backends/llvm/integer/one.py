"""A net for one sample as a function: calls of kernels, their parameters and the memory they use."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from pathc.backends.bytewise import functions_of, given, offset_of
from pathc.backends.groups import Ids
from pathc.backends.llvm.column.common import round_up
from pathc.backends.llvm.emit import F32, Function, constant
from pathc.backends.llvm.ends import copy_out
from pathc.backends.llvm.general.post import emit_post
from pathc.backends.llvm.integer import rows
from pathc.backends.llvm.integer.calls import PlanWriter
from pathc.backends.llvm.integer.entering import emit_enter
from pathc.backends.llvm.integer.plan import CHAINS, Step
from pathc.backends.llvm.integer.reading import Reader
from pathc.backends.llvm.writer import LINE, POINTERS
from pathc.ir.quantized import IntegerStation

_MEANT = 128
_MOST_MOVES = 16
"""Permuted vectors for each arranged one from which bytes are gathered one by one."""


@dataclass
class OneSample(PlanWriter):
    """Writes the function `void name(ptr x, ptr y, ptr params, ptr scratch)` of a plan."""

    places: Ids = field(init=False)
    bases: dict[str, int] = field(init=False, default_factory=dict[str, int])

    def __post_init__(self) -> None:
        self.f = Function(self.name, POINTERS)
        last = max(first + real for first, real in self.plan.sources.values())
        self.places = np.zeros(last, np.int64)
        self.registers = {step.station.station.name: round_up(len(step.rows), 4) for step in self.plan.steps}

    def write(self) -> Function:
        """The function."""
        f, plan = self.f, self.plan
        self.poison = self.take(4)
        self._lay_out()
        width = plan.width
        arranged = [sum(_bytes(block.columns) for block in step.blocks) for step in plan.steps]
        self.arranged = self.take(max(arranged, default=0) + LINE)
        self.sums = self.take(4 * width * max(self.registers.values(), default=0))
        f.store(F32, constant(0.0), self.poison)
        start = 0
        for station in plan.inputs:
            own = self.kernels.add(("enter", station.station.name), emit_enter, station, plan.machine)
            first, real = plan.sources[given(station)]
            at = f.offset(self.values, int(self.places[first]), "i8")
            self.call(own, f.offset("%x", start), at, self.poison)
            start += real
        self.run()
        return f

    def _lay_out(self) -> None:
        """Choose where every unit that can be read lies."""
        plan, total = self.plan, 0
        steps = {step.station.station.name: step for step in plan.steps}
        for source, (first, real) in plan.sources.items():
            if source not in steps:
                self.places[first : first + real] = total + np.arange(real)
                total += round_up(real, LINE)
                continue
            step = steps[source]
            register, lane = np.nonzero(step.rows >= 0)
            units = step.rows[register, lane]
            vector = total + register // 4 * 4 * plan.width
            self.places[first + units] = vector + lane // 4 * 16 + register % 4 * 4 + lane % 4
            self.bases[source] = total
            total += round_up(self.registers[source] * plan.width, LINE)
        self.values = self.take(total + LINE)

    def step(self, step: Step) -> None:
        """Sums in registers of units, then bytes from all of them."""
        plan, width, station = self.plan, self.plan.width, step.station
        name = station.station.name
        registers = self.registers[name]
        units = np.pad(step.rows, ((0, registers - len(step.rows)), (0, 0)), constant_values=-1).reshape(-1)
        real = units >= 0

        def by_lane(values: NDArray[np.generic]) -> NDArray[np.generic]:
            found = np.zeros(len(units), values.dtype)
            found[real] = values[units[real]]
            return found

        before = self.put(by_lane(step.bias))
        for source, factors in step.skips:
            first = plan.sources[source][0]
            places = np.zeros(len(units), np.int32)
            places[real] = self.places[first + units[real]]
            kernel = self.kernels.add("skip", rows.emit_skip)
            given_ = self.put(places), self.put(by_lane(factors))
            self.call(kernel, self.values, before, self.sums, *given_, len(units))
            before = self.sums
        if station.reading is None:
            self._dots(step, before, self.sums)
            return
        reader = Reader.of(station, station.reading, plan.machine)
        parts = [reader.positive] if reader.negative is None else [reader.positive, reader.negative]
        factors = self.put(np.concatenate([by_lane(part) for part in parts]))
        first, count = plan.sources[name]
        at = self.f.offset(self.values, self.bases[name], "i8")
        then = rows.Read(reader, registers)
        if all(len(tile.rows) % 4 == 0 for tile in step.tiles):
            self._dots(step, before, at, then, factors)
        else:
            self._dots(step, before, self.sums)
            key = "read", registers, step.field, *then.key
            kernel = self.kernels.add(key, rows.emit_read, plan.machine, then, step.field)
            self.call(kernel, self.sums, at, factors)
        self.finish(station, at, registers * width, self.places[first : first + count] - self.bases[name], 1)

    def _dots(self, step: Step, before: str, to: str, then: rows.Read | None = None, factors: str = "") -> None:
        """Bring the sources of a station into order, then sum up, and read the sums where `then` says how."""
        plan, width = self.plan, self.plan.width
        end = then.key if then else ()
        starts: list[int] = []
        at = 0
        for block in step.blocks:
            starts.append(at)
            at += _bytes(block.columns)
        ids = np.full(at, -1, np.int64)
        for block, start in zip(step.blocks, starts, strict=True):
            ids[start : start + block.columns.size] = block.columns.reshape(-1)
        arranged = self._arrange(ids)
        entries: list[tuple[tuple[int, int], list[int]]] = []
        weight, register = 0, 0
        for tile in step.tiles:
            quads, size = tile.weights.shape[0], tile.weights.shape[1]
            lanes = step.blocks[tile.block].columns.shape[1]
            chains = max(1, CHAINS // size)
            entry = [quads // chains, starts[tile.block], weight, 4 * width * register]
            entries.append(((size, lanes), entry))
            weight += tile.weights.size
            register += size
        packed = self.weights_of(step)
        for key, alike in groupby(sorted(entries, key=lambda entry: entry[0]), key=lambda entry: entry[0]):
            table = np.array([entry for _, entry in alike], np.int64)
            made = plan.machine, *key, step.field, then
            kernel = self.kernels.add(("dot", *key, step.field, *end), rows.emit_dot, *made)
            more = [factors] if then else []
            self.call(kernel, arranged, packed, before, to, self.put(table), len(table), *more)

    def _arrange(self, ids: Ids) -> str:
        """The address of the bytes of these ids, in this order; anything may stand where an id is -1."""
        used = ids >= 0
        if not used.any():
            return self.arranged
        places = self.places[np.maximum(ids, 0)]
        shifts = np.unique((places - np.arange(len(ids)))[used])
        if len(shifts) == 1 and shifts[0] >= 0:
            return self.f.offset(self.values, int(shifts[0]), "i8")
        machine = self.plan.machine
        moves = _moves(places, used) if machine.vbmi and machine.width == 16 else []
        if not moves or sum(len(move.sources) for move in moves) > _MOST_MOVES * (len(ids) // LINE):
            kernel = self.kernels.add("gather", rows.emit_gather)
            table = np.where(used, places, 0).astype(np.int32)
            self.call(kernel, self.values, self.arranged, self.put(table), len(ids))
            return self.arranged
        for count in sorted({len(move.sources) for move in moves}):
            own = [move for move in moves if len(move.sources) == count]
            kernel = self.kernels.add(("permute", count), rows.emit_permute, count)
            table = np.array([(move.target, *move.sources) for move in own], np.int64)
            orders = np.concatenate([move.orders for move in own])
            self.call(kernel, self.values, self.arranged, self.put(table), self.put(orders), len(own))
        return self.arranged

    def give(self, station: IntegerStation, start: int, step: Step | None) -> None:
        """Floats in the order of lanes, picked in that of units, then the functions that are left."""
        f, name, real, width = self.f, station.station.name, station.station.real_units, self.plan.width
        calls = functions_of(station)
        row = y = f.offset("%y", start)
        if calls:
            row = self.take(4 * round_up(real, width))
        places = np.zeros(real, np.int32)
        if step is not None:
            lanes = step.rows.reshape(-1)
            places[lanes[lanes >= 0]] = np.flatnonzero(lanes >= 0)
            scales = np.zeros(len(lanes))
            scales[lanes >= 0] = station.sum_scale[lanes[lanes >= 0]]
            floats = self.take(4 * len(lanes))
            arguments = len(step.rows), 8 - step.field
            kernel = self.kernels.add(("floats", *arguments), rows.emit_floats, self.plan.machine, *arguments)
            self.call(kernel, self.sums, self.put(scales), floats)
        else:
            first = self.plan.sources[name][0]
            floats = self.take(4 * real)
            kernel = self.kernels.add(
                ("bytes", real, offset_of(station)), rows.emit_give_bytes, real, offset_of(station)
            )
            lie = self.put(self.places[first : first + real])
            self.call(kernel, self.values, lie, self.put(np.full(1, station.scale, np.float32)), floats)
            places[:] = np.arange(real)
        pick = self.kernels.add(("pick", real), rows.emit_pick, real)
        poison = f.load(F32, self.poison)
        given = [("ptr", floats), ("ptr", self.put(places)), ("ptr", row), (F32, poison)]
        f.call("void", pick, given, declare=False)
        machine = self.plan.machine
        for call in calls:
            self.call(self.kernels.add(("post", real, call), emit_post, machine, real, call), row)
        if calls:
            copy = self.kernels.add(("copy", real), copy_out, machine, 1, real, round_up(real, width))
            self.call(copy, row, y, 0)


@dataclass(frozen=True)
class _Move:
    """Bytes brought into a vector from some others: where all lie, and for each of them which byte goes where.

    `orders` [sources, LINE]: the lower bits of a byte are its place in that vector, the sign that it comes from there.
    """

    target: int
    sources: tuple[int, ...]
    orders: NDArray[np.uint8]


def _moves(places: Ids, used: NDArray[np.bool_]) -> list[_Move]:
    """Permutations of vectors of 64 bytes that bring `places` into order."""
    moves: list[_Move] = []
    for target in range(0, len(places), LINE):
        own, real = places[target : target + LINE], used[target : target + LINE]
        vectors = np.unique(own[real] // LINE)
        if vectors.size:
            mine = real & (own // LINE == vectors[:, None])
            orders = np.where(mine, own % LINE | _MEANT, 0).astype(np.uint8)
            moves.append(_Move(target, tuple((vectors * LINE).tolist()), orders))
    return moves


def _bytes(columns: Ids) -> int:
    """Bytes of the arranged sources of a block."""
    return round_up(columns.size, LINE)
