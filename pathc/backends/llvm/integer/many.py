"""A net for a tile of samples as a function: calls of kernels, their parameters and the memory they use."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from pathc.backends.bytewise import functions_of, given, offset_of
from pathc.backends.llvm.column.common import round_up
from pathc.backends.llvm.column.post import emit_post
from pathc.backends.llvm.column.transpose import emit_save
from pathc.backends.llvm.emit import F32, I64, Function, constant
from pathc.backends.llvm.ends import repeated
from pathc.backends.llvm.integer import columns
from pathc.backends.llvm.integer.calls import PlanWriter
from pathc.backends.llvm.integer.entering import emit_enter
from pathc.backends.llvm.integer.plan import Step, Tile
from pathc.backends.llvm.integer.reading import Reader
from pathc.backends.llvm.integer.tiled import emit_reading, panels_for
from pathc.backends.llvm.tiles.code import SAMPLES
from pathc.backends.llvm.tiles.kernel import sum_panels
from pathc.backends.llvm.tiles.panels import Panels
from pathc.backends.llvm.writer import LINE, POINTERS
from pathc.ir.quantized import IntegerStation

_SETS = 512
"""Bytes at multiples of which rows would share few sets of a first-level cache."""


@dataclass
class ManySamples(PlanWriter):
    """Writes `void name(ptr x, ptr y, ptr params, ptr scratch, i64 x_stride, i64 y_stride, i64 samples)` of a plan."""

    def write(self) -> Function:
        """The function."""
        strides = ((I64, "x_stride"), (I64, "y_stride"), (I64, "samples"))
        self.f = Function(self.name, (*POINTERS, *strides))
        plan, tile = self.plan, self.plan.tile
        last = max(first + round_up(real, LINE) for first, real in plan.sources.values())
        self.poison = self.take(4 * tile)
        self.values = self.take(last * tile)
        self.arranged = self.take(4 * tile * max((_quads(step) for step in plan.steps), default=0))
        most = max((step.station.station.real_units for step in plan.steps), default=0)
        self.sums = self.take(4 * tile * most)
        self._enter()
        self.run()
        return self.f

    def _enter(self) -> None:
        """Samples as integers, then units first."""
        f, plan, tile = self.f, self.plan, self.plan.tile
        pitches = [_pitch(each.station.real_units) for each in plan.inputs]
        entered = self.take(tile * max(pitches) + LINE)
        with repeated(f, str(tile)) as sample:
            f.store(F32, constant(0.0), f.offset(self.poison, sample))
        start = 0
        for station, pitch in zip(plan.inputs, pitches, strict=True):
            first, real = plan.sources[given(station)]
            enter = self.kernels.add(("enter", station.station.name), emit_enter, station, plan.machine)
            with repeated(f, "%samples") as sample:
                x = f.offset(f.offset("%x", f.op("mul", I64, sample, "%x_stride")), start)
                to = f.offset(entered, f.op("mul", I64, sample, str(pitch)), "i8")
                self.call(enter, x, to, f.offset(self.poison, sample))
            turn = self.kernels.add("turn", columns.emit_turn, plan.machine)
            self.call(turn, entered, f.offset(self.values, first * tile, "i8"), pitch, -(-real // 16))
            start += real

    def step(self, step: Step) -> None:
        """Sums of a few units at a time, read before the next."""
        f, plan, tile, station = self.f, self.plan, self.plan.tile, step.station
        name, real = station.station.name, station.station.real_units
        before = self.put(step.bias)
        for number, (source, factors) in enumerate(step.skips):
            skip = self.kernels.add(("skip", number == 0), columns.emit_skip, plan.machine, first=number == 0)
            at = f.offset(self.values, plan.sources[source][0] * tile, "i8")
            self.call(skip, at, before, self.sums, self.put(factors), real)
            before = self.sums
        own = f.offset(self.values, plan.sources[name][0] * tile, "i8")
        read = station.reading
        reader = Reader.of(station, read, plan.machine) if read is not None else None
        factors = self.sums
        if reader is not None:
            parts = [reader.positive] if reader.negative is None else [reader.positive, reader.negative]
            factors = self.put(np.concatenate(parts))
        self._mix(step, before, self.sums if reader is None else own, factors, reader)
        self.finish(station, own, real * tile, np.arange(real) * tile, "%samples")

    def _mix(self, step: Step, before: str, to: str, factors: str, reader: Reader | None) -> None:
        """Bring the sources of a station into fours, then sum up and read."""
        plan, tile = self.plan, self.plan.tile
        panels = panels_for(step, plan.machine)
        if panels is not None:
            self._tiles(step, panels, before, to, factors, reader)
            return
        fours: list[NDArray[np.int64]] = []
        starts: dict[tuple[int, int], int] = {}
        at = 0
        for number, block in enumerate(step.blocks):
            for lane in range(len(block.members)):
                starts[number, lane] = 4 * tile * at
                fours.append(block.columns[:, lane])
                at += len(block.columns)
        arrange = self.kernels.add("arrange", columns.emit_arrange, plan.machine)
        table = (np.maximum(np.concatenate(fours), 0) * tile).astype(np.uint32)
        self.call(arrange, self.values, self.arranged, self.put(table), at)
        weights = self.weights_of(step)
        entries = sorted(_entries(step, plan.width, starts), key=lambda entry: entry[0])
        for units, alike in groupby(entries, key=lambda entry: entry[0]):
            kind = reader if reader is None else (step.station.station.name, "reader")
            skipped = bool(step.skips)
            kernel = self.kernels.add(
                ("mix", units, step.field, kind, skipped), columns.emit_mix, plan.machine, units, step.field, reader,
                skipped=skipped,
            )  # fmt: skip
            chunks = np.array([entry for _, entry in alike], np.int64)
            given_ = before, to, factors, self.put(chunks)
            self.call(kernel, self.arranged, weights, *given_, len(chunks))

    def _tiles(self, step: Step, panels: Panels, before: str, to: str, factors: str, reader: Reader | None) -> None:
        """Sum up as products of tiles."""
        plan = self.plan
        arrange = self.kernels.add("arrange", columns.emit_arrange, plan.machine)
        kind = reader if reader is None else (step.station.station.name, "reader")
        skipped = bool(step.skips)
        read = self.kernels.add(
            ("read", step.field, kind, skipped), emit_reading, plan.machine, step.field, reader, skipped=skipped
        )
        ends = self.values, before, to, factors
        sum_panels(self, panels, "tdpbsud", (arrange, read), ends, SAMPLES, 0, 8 - step.field)

    def give(self, station: IntegerStation, start: int, step: Step | None) -> None:
        """As floats, the functions that are left, then sample by sample."""
        f, plan, real = self.f, self.plan, station.station.real_units
        offset = offset_of(station) if step is None else None
        rows_of = f.offset(self.values, plan.sources[station.station.name][0] * plan.tile, "i8")
        source = rows_of if step is None else self.sums
        tile = self.take(4 * real * plan.tile)
        scales = station.sum_scale if offset is None else np.full(real, station.scale)
        floats = self.kernels.add(("tile", offset), columns.emit_floats, plan.machine, offset)
        self.call(floats, source, self.put(scales), self.poison, tile, real)
        for call in functions_of(station):
            post = self.kernels.add(("posts", real, call), emit_post, plan.machine, plan.tile, real, call)
            self.call(post, tile)
        save = self.kernels.add(("save", real), emit_save, plan.machine, plan.tile, real)
        numbers = [(I64, "%y_stride"), (I64, "%samples")]
        f.call("void", save, [("ptr", f.offset("%y", start)), ("ptr", tile), *numbers], declare=False)


def _pitch(units: int) -> int:
    """Bytes from sample to sample: no power of two, so that samples lie in different sets of the cache."""
    pitch = round_up(units, 16)
    return pitch + LINE if pitch % _SETS == 0 else pitch


def _quads(step: Step) -> int:
    """Fours of sources that a station hears."""
    return sum(len(block.columns) * len(block.members) for block in step.blocks)


def _entries(step: Step, width: int, starts: dict[tuple[int, int], int]) -> list[tuple[int, list[int]]]:
    """How many units each chunk has, and its entry in the table of `emit_mix`."""
    found: list[tuple[int, list[int]]] = []
    weight = 0
    for tile in step.tiles:
        block = step.blocks[tile.block]
        lanes, (rounds, size) = block.columns.shape[1], tile.weights.shape[:2]
        for lane in range(len(block.members)):
            rest = _members(tile, lane, lanes)
            for units in columns.CHUNKS:
                while len(rest) >= units:
                    chosen, rest = rest[:units], rest[units:]
                    places = [weight + 4 * (register * width + own) for register, own, _ in chosen]
                    numbers = [unit for _, _, unit in chosen]
                    head = [rounds, starts[tile.block, lane], 4 * size * width]
                    found.append((units, [*head, *places, *numbers]))
        weight += tile.weights.size
    return found


def _members(tile: Tile, lane: int, lanes: int) -> list[tuple[int, int, int]]:
    """Register, lane and unit of everything in a tile that hears one group of a block."""
    width = tile.rows.shape[1]
    return [
        (register, own, int(tile.rows[register, own]))
        for register in range(len(tile.rows)) for own in range(lane, width, lanes)
        if tile.rows[register, own] >= 0
    ]  # fmt: skip
