"""The stations with extents of a quantized net as a function for one sample: calls of kernels one after the other."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from pathc.backends.bytewise import functions_of, given, offset_of
from pathc.backends.llvm.column.common import round_up
from pathc.backends.llvm.emit import F32, Function, constant
from pathc.backends.llvm.filters.lower import distances, pitch_of, two
from pathc.backends.llvm.integer.entering import emit_enter
from pathc.backends.llvm.integer.filters import mix, move
from pathc.backends.llvm.integer.filters.chunks import Chunk, chunks_of, fold_of, offset_sums
from pathc.backends.llvm.integer.filters.layout import Planes, bias_of, of_channels, planar, read_of
from pathc.backends.llvm.integer.filters.rows import SIZES, Pair
from pathc.backends.llvm.integer.reading import Reader, emit_translation, table_of
from pathc.backends.llvm.integer.vectors import I8, I32
from pathc.backends.llvm.machine import Machine
from pathc.backends.llvm.writer import LINE, POINTERS, Writer
from pathc.ir.filters import Geometry
from pathc.ir.graph import Station
from pathc.ir.interp.filters import FilterJunction, PartJunction
from pathc.ir.interp.junctions import SkipJunction
from pathc.ir.quantized import IntegerJunction, IntegerNetwork, IntegerStation
from pathc.ir.quantized.windows import Bend, Largest, Picked, Reordered, Step, Total, Window

SLACK = 4096
"""Bytes behind planes that the last vectors may touch."""


@dataclass
class FilterWriter(Writer):
    """Writes `void name(ptr x, ptr y, ptr params, ptr scratch)`: the numbers of `results` of a sample, side by side."""

    network: IntegerNetwork
    machine: Machine
    results: tuple[str, ...]
    values: dict[str, Planes] = field(default_factory=dict[str, Planes])
    laid: dict[tuple[str, move.Laid], tuple[int, ...]] = field(
        default_factory=dict[tuple[str, move.Laid], tuple[int, ...]]
    )
    work: int = 0
    """Multiply-adds of a sample."""

    def write(self) -> Function:
        """The function."""
        self.f = Function(self.name, POINTERS)
        self.poison = self.take(4)
        self.f.store(F32, constant(0.0), self.poison)
        starts: dict[str, int] = {}
        first = 0
        for station in self.network.graph.inputs:
            starts[station.name] = first
            first += station.real_units * math.prod(station.shape[1:])
        at = 0
        places: dict[str, int] = {}
        for name in self.results:
            station = self.network.station(name).station
            places[name] = at
            at += station.real_units * math.prod(read_of(self.network.station(name)))
        needed = self._needed()
        for each in self.network.stations:
            if each.station.name in needed:
                self._station(each, starts.get(each.station.name), places.get(each.station.name))
        return self.f

    def _needed(self) -> set[str]:
        needed = set(self.results)
        for each in reversed(self.network.stations):
            if each.station.name in needed:
                needed.update(one.junction.source for one in self.network.into[each.station.name])
        return needed

    def _planes(self, channels: int, extents: Pair, pitch: int, element: str) -> Planes:
        """Room for planes of whole vectors of bytes."""
        size = SIZES[element] * round_up((extents[0] - 1) * pitch + extents[1], 4 * self.machine.width)
        first = self.room.take(channels * size + SLACK)
        return Planes(tuple(first + k * size for k in range(channels)), extents, pitch)

    def _table(self, *columns: Sequence[int]) -> str:
        return self.put(np.array(columns, np.int64).T)

    def _station(self, each: IntegerStation, start: int | None, place: int | None) -> None:
        """What a station sums up, what is read from it, and the numbers of a result at `place` in y."""
        station = each.station
        extents, channels = two(station.shape[1:] or (1,)), station.real_units
        if start is not None:
            entered = self._enter(each, start)
            if given(each) == station.name and not each.steps.before and not each.steps.behind:
                self._finished(each, entered, place)
                return
            ones = np.ones(channels, np.int64)
            sums = self._skipped(each, [(entered, 0, ones, offset_of(each))], extents[1])
        else:
            mixes = [one for one in self.network.into[station.name] if isinstance(one.junction, FilterJunction)]
            sums = self._summed(each, mixes, place)
            if sums is None:
                return
        self._windowed(each, sums, place)

    def _enter(self, each: IntegerStation, start: int) -> Planes:
        """An input as bytes."""
        station = each.station
        extents = two(station.shape[1:] or (1,))
        units = station.real_units * extents[0] * extents[1]
        first = self.room.take(units + SLACK)
        flat = replace(each, station=Station(station.name, "input", (units,)))
        kernel = self.kernels.add(("enter", station.name), emit_enter, flat, self.machine)
        at = self.f.offset("%scratch", first, I8)
        self.call(kernel, self.f.offset("%x", start), at, self.poison)
        size = extents[0] * extents[1]
        return Planes(tuple(first + k * size for k in range(station.real_units)), extents, extents[1])

    def _summed(self, each: IntegerStation, mixes: Sequence[IntegerJunction], place: int | None) -> Planes | None:
        """Sums of a station, or None where bytes were read from them at once."""
        station = each.station
        extents, name = two(station.shape[1:]), station.name
        skips = [one for one in self.network.into[name] if not isinstance(one.junction, FilterJunction)]
        pitch = max((pitch_of(planar(one)) for one in mixes), default=extents[1])
        terms: list[tuple[Planes, int, NDArray[np.int64], int]] = []
        positions = extents[0] * extents[1]
        for one in skips:
            source = self.network.station(one.junction.source)
            first = one.junction.first // positions if isinstance(one.junction, PartJunction) else 0
            count = one.junction.count // positions if isinstance(one.junction, PartJunction) else station.real_units
            assert isinstance(one.junction, SkipJunction | PartJunction)
            factors = one.weights[: count * positions].reshape(count, -1)[:, 0]
            terms.append((self.values[source.station.name], first, factors, offset_of(source)))
        chunks = [self._chunks(each, one) for one in mixes]
        offset = np.zeros(station.real_units, np.int64)
        for one, made in zip(mixes, chunks, strict=True):
            offset += offset_of(self.network.station(one.junction.source)) * offset_sums(made, station.real_units)
        started = bool(terms) or not mixes
        sums = self._skipped(each, terms, pitch, offset) if started else None
        bias = (bias_of(each) - offset).astype(np.int32)
        for number, (one, made) in enumerate(zip(mixes, chunks, strict=True)):
            last = number == len(mixes) - 1
            reader = self._reader(each) if last and each.reading is not None and not each.steps.before else None
            if reader is not None:
                into = self._planes(station.real_units, extents, pitch, I8)
            else:
                into = sums or self._planes(station.real_units, extents, pitch, I32)
            self._mix(each, one, made, sums or self.put(bias), into, reader)
            if reader is not None:
                self._behind(each, into, place)
                return None
            sums = into
        return sums

    def _chunks(self, each: IntegerStation, one: IntegerJunction) -> tuple[Chunk, ...]:
        junction = one.junction
        assert isinstance(junction, FilterJunction)
        channels = each.station.real_units, self.network.station(junction.source).station.real_units
        fold = fold_of(planar(one), channels[1])
        return chunks_of(junction, one.weights, channels, mix.sizes(self.machine), fold)

    def _skipped(
        self,
        each: IntegerStation,
        terms: Sequence[tuple[Planes, int, NDArray[np.int64], int]],
        pitch: int,
        offset: NDArray[np.int64] | None = None,
    ) -> Planes:
        """Sums that begin with the bias and what skips add: planes, the channel they begin at, factors, offset."""
        channels, extents = each.station.real_units, two(each.station.shape[1:] or (1,))
        sums = self._planes(channels, extents, pitch, I32)
        before = bias_of(each) - (0 if offset is None else offset)
        for _, first, factors, zero in terms:
            before[first : first + len(factors)] -= zero * factors
        bias = before.astype(np.int32)
        fresh = np.ones(channels, np.bool_)
        for _, first, factors, _ in terms:
            fresh[first : first + len(factors)] = False
        if fresh.any():
            plane = round_up(sums.positions, 4 * self.machine.width)
            fill = self.kernels.add(("fill", plane), move.emit_fill, self.machine, plane)
            self.call(fill, "%scratch", self._table(sums.places), self.put(bias), channels)
        fresh[:] = not fresh.any()
        for planes, first, factors, _ in terms:
            own = slice(first, first + len(factors))
            begins = bool(fresh[own].all())
            key = ("skip", extents, planes.pitch, pitch, begins)
            pitches = planes.pitch, pitch
            kernel = self.kernels.add(key, move.emit_skip, self.machine, extents, pitches, first=begins)
            table = self._table(planes.places[: len(factors)], sums.places[own])
            arrays = self.put(factors.astype(np.int32)), self.put(bias[own])
            self.call(kernel, "%scratch", "%scratch", table, *arrays, len(factors))
            fresh[own] = False
        return sums

    def _mix(
        self,
        each: IntegerStation,
        one: IntegerJunction,
        chunks: Sequence[Chunk],
        before: Planes | str,
        into: Planes,
        reader: Reader | None,
    ) -> None:
        """Add what leads into a station through filters, and read it."""
        geometry = planar(one)
        laid = self._laid_out(one.junction.source, geometry, into.pitch)
        planes = self._lay(one.junction.source, geometry, laid)
        fold, column = fold_of(geometry, len(planes)), geometry.dilation[1]
        places = [plane + k * column for plane in planes for k in range(fold)]
        taps = distances(geometry, laid.pitch, laid.phase, fold)
        heard: dict[bytes, int] = {}
        fours: list[tuple[int, ...]] = []
        for chunk in chunks:
            for four in chunk.heard:
                if four.tobytes() not in heard:
                    heard[four.tobytes()] = len(fours)
                    fours.append(tuple(places[max(int(source), 0)] for source in four))
        vectors = -(-laid.size // (4 * self.machine.width))
        words = 16 * self.machine.width * vectors
        room = self.take(len(fours) * words + 4 * max(taps) + SLACK)
        if fours:
            kernel = self.kernels.add(("fours", vectors), move.emit_fours, self.machine, vectors)
            self.call(kernel, "%scratch", room, self.put(np.array(fours, np.int64)), len(fours))
        started = isinstance(before, Planes)
        factors = self._factors(reader)
        taps_at = self.put(np.array(taps, np.int64))
        starts = before.places if isinstance(before, Planes) else ()
        ordered = sorted(chunks, key=lambda chunk: -len(chunk.targets))
        for size, alike in groupby(ordered, key=lambda chunk: len(chunk.targets)):
            same = list(alike)
            mixing = mix.Mixing(size, taps, into.positions, started)
            key = ("mix", mixing, None if reader is None else each.station.name)
            kernel = self.kernels.add(key, mix.emit_mix, self.machine, mixing, reader)
            table: list[int] = []
            for chunk in same:
                table.append(len(chunk.heard))
                table.extend(into.places[target] for target in chunk.targets)
                table.extend(chunk.targets)
                table.extend(starts[target] for target in chunk.targets if started)
                table.extend(words * heard[four.tobytes()] for four in chunk.heard)
            weights = np.concatenate([chunk.weights.reshape(-1) for chunk in same])
            begin = "%scratch" if started else str(before)
            self.call(kernel, room, "%scratch", begin, factors, taps_at, self.put(np.array(table, np.int64)),
                      self.put(weights), len(same))  # fmt: skip
        positions = into.extents[0] * into.extents[1]
        self.work += sum(chunk.weights.size for chunk in chunks) * positions

    def _factors(self, reader: Reader | None) -> str:
        if reader is None:
            return "%params"
        parts = [reader.positive] if reader.negative is None else [reader.positive, reader.negative]
        return self.put(np.concatenate(parts))

    def _laid_out(self, source: str, geometry: Geometry, pitch: int) -> move.Laid:
        """How the planes of a source lie for a filter: zeros around them, phases of a stride apart."""
        each = self.network.station(source)
        height, _ = geometry.source
        (sy, sx), (fy, fx), by = geometry.stride, geometry.front, geometry.behind[0]
        rows = -(-(height + fy + by) // sy)
        phase = rows * pitch + fx
        size = round_up(phase * sy * sx, LINE)
        return move.Laid(
            (geometry.source[0], geometry.source[1]), pitch, phase, (sy, sx), (fy, fx), size, offset_of(each)
        )

    def _lay(self, source: str, geometry: Geometry, laid: move.Laid) -> tuple[int, ...]:
        """Where the planes of a source lie, laid out once for all filters that want them so."""
        value = self.values[source]
        if max(*geometry.front, *geometry.behind) == 0 and laid.phases == (1, 1) and laid.pitch == value.pitch:
            return value.places
        if (source, laid) not in self.laid:
            channels = len(value.places)
            first = self.room.take(channels * laid.size + SLACK)
            kernel = self.kernels.add(("lay", value.pitch, laid), move.emit_lay, self.machine, value.pitch, laid)
            target = self.f.offset("%scratch", first, I8)
            self.call(kernel, "%scratch", target, self._table(value.places), channels)
            self.laid[source, laid] = tuple(first + k * laid.size for k in range(channels))
        return self.laid[source, laid]

    def _reader(self, each: IntegerStation) -> Reader:
        reading = of_channels(each)
        return Reader.of(*reading, self.machine)

    def _windowed(self, each: IntegerStation, sums: Planes, place: int | None) -> None:
        """What stands in front of the rounding, the rounding, and what stands behind it."""
        if each.reading is None:
            self._give(each, sums, place)
            return
        bends: list[bool] = []
        for step in each.steps.before:
            if isinstance(step, Bend):
                bends.append(step.folded)
                continue
            sums = self._window(step, sums, I32, tuple(bends))
            bends = []
        reader = self._reader(each)
        into = self._planes(len(sums.places), sums.extents, sums.pitch, I8)
        plane = round_up(sums.positions, 4 * self.machine.width)
        key = ("read", each.station.name)
        kernel = self.kernels.add(key, move.emit_read, self.machine, reader, plane)
        table = self._table(sums.places, into.places)
        self.call(kernel, "%scratch", "%scratch", table, self._factors(reader), len(sums.places))
        self._behind(each, into, place)

    def _behind(self, each: IntegerStation, planes: Planes, place: int | None) -> None:
        """Tables, and windows of what was read."""
        reading = each.reading
        if reading is not None and reading.table is not None:
            plane = round_up(planes.positions, 4 * self.machine.width)
            kernel = self.kernels.add("translate", emit_translation, self.machine)
            at = self.f.offset("%scratch", planes.places[0], I8)
            self.call(kernel, at, self.put(table_of(each, reading)), plane * len(planes.places))
        for step in each.steps.behind:
            if isinstance(step, Reordered):
                planes = replace(planes, places=tuple(planes.places[k] for k in step.order))
            else:
                planes = self._window(step, planes, I8, ())
        self._finished(each, planes, place)

    def _window(self, step: Step, planes: Planes, element: str, bends: tuple[bool, ...]) -> Planes:
        assert isinstance(step, Window)
        geometry = step.geometry.planar()
        how: move.How = "largest"
        places = planes.places
        if isinstance(step, Picked):
            how = "picked"
            row, column = (0, *step.tap)[-2:]
            places = tuple(at + SIZES[element] * (row * planes.pitch + column) for at in places)
        elif isinstance(step, Total):
            how = "total"
        else:
            assert isinstance(step, Largest)
        result = two(geometry.result)
        made = self._planes(len(places), result, result[1], element)
        windows = move.Windows(how, element, result, two(geometry.kernel), two(geometry.stride),
                               (planes.pitch, made.pitch), bends)  # fmt: skip
        kernel = self.kernels.add(windows, move.emit_windows, self.machine, windows)
        self.call(kernel, "%scratch", "%scratch", self._table(places, made.places), len(places))
        return made

    def _finished(self, each: IntegerStation, planes: Planes, place: int | None) -> None:
        self.values[each.station.name] = planes
        if place is not None:
            self._give(each, planes, place)

    def _give(self, each: IntegerStation, planes: Planes, place: int | None) -> None:
        """A result as float32, its functions applied where it is given as sums."""
        if place is None:
            return
        offset = None if each.reading is None else offset_of(each)
        channels = len(planes.places)
        scales = np.full(channels, each.scale)
        if offset is None:
            scales = each.sum_scale.reshape(channels, -1)[:, 0]
        functions = tuple(call for call in functions_of(each) if call.name not in ("conv", "concat"))
        key = ("give", planes.extents, planes.pitch, offset, functions)
        arguments = planes.extents, planes.pitch, offset, functions
        kernel = self.kernels.add(key, move.emit_give, self.machine, *arguments)
        arrays = self._table(planes.places), self.put(scales.astype(np.float64)), self.poison
        self.call(kernel, "%scratch", self.f.offset("%y", place), *arrays, channels)
