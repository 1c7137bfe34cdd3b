"""From a net with extents to a plan: which planes lie where, and what brings one into another."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from pathc.backends.llvm.filters.chunks import chunks_of
from pathc.backends.llvm.filters.plan import (
    Across,
    Add,
    Affine,
    Base,
    Elementwise,
    FilterPlan,
    Mix,
    Op,
    Pair,
    Place,
    Planes,
    PoolOp,
)
from pathc.backends.llvm.machine import Machine
from pathc.backends.llvm.vecmath import ELEMENTWISE
from pathc.ir.filters import Geometry, pool_of, shuffle_order, tap_of
from pathc.ir.graph import Graph, Station
from pathc.ir.interp.base import Junction
from pathc.ir.interp.expand import expanded, owner
from pathc.ir.interp.filters import FilterJunction, PartJunction
from pathc.ir.interp.junctions import SkipJunction, junction_values
from pathc.ir.interp.network import norm_of
from pathc.ir.types import Call
from pathc.ir.weights import Tensors, tensor_values

SLACK = 512
"""Floats behind all planes that the last vectors of a filter may touch."""


def two(extents: tuple[int, ...]) -> Pair:
    """Rows and columns of one or two extents."""
    return (1, extents[0]) if len(extents) == 1 else (extents[0], extents[1])


def plan_filters(graph: Graph, weights: Tensors, machine: Machine, results: tuple[str, ...]) -> FilterPlan:
    """The plan of all stations that `results` need, whose values it hands over one after the other."""
    return _Planner(graph, weights, machine, results).plan()


@dataclass(frozen=True)
class _Value:
    """What is read from a station, not yet wholly computed: planes, the order of their channels, what remains to do."""

    planes: Planes
    order: tuple[int, ...] = ()
    functions: tuple[Elementwise, ...] = ()


@dataclass(eq=False)
class _Planner:
    graph: Graph
    weights: Tensors
    machine: Machine
    results: tuple[str, ...]
    ops: list[Op] = field(default_factory=list[Op])
    values: dict[str, _Value] = field(default_factory=dict[str, _Value])
    laid: dict[tuple[str, Geometry, int], Planes] = field(default_factory=dict[tuple[str, Geometry, int], Planes])
    scratch: int = 0

    def plan(self) -> FilterPlan:
        """Plan station after station, then hand the results over."""
        stations, self.into = expanded(self.graph)
        needed = self._needed(stations)
        first = 0
        starts: dict[str, int] = {}
        for station in self.graph.inputs:
            starts[station.name] = first
            first += station.real_units * math.prod(station.shape[1:])
        for station in stations:
            if station.name in needed:
                self._station(station, starts.get(station.name))
        handed: dict[str, Planes] = {}
        at = 0
        for name in self.results:
            value = self.values[name]
            handed[name] = _side_by_side("y", at, value.planes.channels, value.planes.extents)
            self.ops.append(Place(value.planes, handed[name], value.functions, value.order))
            at += handed[name].size
        return FilterPlan(tuple(self.ops), first, at, self.scratch + SLACK, handed)

    def _needed(self, stations: tuple[Station, ...]) -> set[str]:
        needed = set(self.results)
        for station in reversed(stations):
            if station.name in needed:
                needed.update(junction.source for junction in self.into[station.name])
        return needed

    def _new(self, planes: Planes) -> Planes:
        """The same planes at a place of their own in scratch memory."""
        made = replace(planes, base="scratch", at=self.scratch)
        self.scratch += -(-made.size // 16) * 16
        return made

    def _compact(self, channels: int, extents: Pair) -> Planes:
        return self._new(_side_by_side("scratch", 0, channels, extents))

    def _station(self, station: Station, start: int | None) -> None:
        """Plan what a station sums up and what is read from it."""
        extents = two(station.shape[1:] or (1,))
        channels, entering = station.real_units, self.into[station.name]
        stages = [stage for stage in station.pipeline if stage.name not in ("conv", "concat", "bias", "identity")]
        functions: list[Elementwise] = []
        if station.stage("bias") is not None:
            functions.append(Affine(self._tensor(station, "bias")))
        if start is not None:
            sums = _side_by_side("x", start, channels, extents)
            self._read(station, _Value(sums, (), tuple(functions)), stages)
            return
        mixes = [junction for junction in entering if isinstance(junction, FilterJunction)]
        skips = [junction for junction in entering if not isinstance(junction, FilterJunction)]
        while stages and mixes and (function := self._function(station, stages[0])) is not None:
            functions.append(function)
            stages.pop(0)
        sources = [self._laid_out(mix, mixes) for mix in mixes]
        if sources:
            pitch = sources[0].pitch
            lanes = self.machine.width
            plane = -(-((extents[0] - 1) * pitch + extents[1]) // lanes) * lanes
            sums = self._new(Planes("scratch", 0, channels, extents, pitch, plane))
        else:
            sums = self._compact(channels, extents)
        fresh = True
        for skip in skips:
            fresh = self._skip(skip, sums, fresh)
        for number, (mix, source) in enumerate(zip(mixes, sources, strict=True)):
            last = tuple(functions) if number == len(mixes) - 1 else ()
            self._mix(mix, source, sums, station, fresh=fresh, functions=last)
            fresh = False
        self._read(station, _Value(sums, (), () if mixes else tuple(functions)), stages)

    def _tensor(self, station: Station, name: str) -> NDArray[np.float32]:
        return tensor_values(self.weights, f"{owner(station.name)}.{name}").astype(np.float32)

    def _function(self, station: Station, stage: Call) -> Elementwise | None:
        """A stage as an elementwise function, None if it is none."""
        if stage.name == "batchnorm":
            factor, shift = norm_of(station, stage, self.weights).affine()
            return Affine(shift.astype(np.float32), factor.astype(np.float32))
        return stage if stage.name in ELEMENTWISE else None

    def _read(self, station: Station, value: _Value, stages: list[Call]) -> None:
        """Plan the rest of a pipeline; elementwise functions wait for whoever moves the planes next."""
        for stage in stages:
            function = self._function(station, stage)
            if function is not None:
                # Numbers of each channel go by the channels of the planes.
                value = self._settled(value) if value.order and isinstance(function, Affine) else value
                value = replace(value, functions=(*value.functions, function))
            elif stage.name == "channelshuffle":
                before = np.array(value.order or range(station.real_units))
                value = replace(value, order=tuple(before[shuffle_order(stage, station.real_units)].tolist()))
            elif stage.name == "softmax":
                value = self._settled(value, fresh=value.planes.base == "x")
                self.ops.append(Across(value.planes))
            else:
                value = self._settled(value) if value.functions or value.order else value
                extents = value.planes.extents
                geometry = pool_of(stage, extents if len(station.shape) == 3 else extents[1:])
                dst = self._compact(value.planes.channels, two(geometry.result))
                window, stride, src = two(geometry.kernel), two(geometry.stride), value.planes
                tap = tap_of(stage, geometry)
                if tap is not None:
                    row, column = (0, *tap)[-2:]
                    src, window = replace(src, at=src.at + row * src.pitch + column), (1, 1)
                self.ops.append(PoolOp(src, dst, window, stride, stage.name != "avgpool"))
                value = _Value(dst)
        self.values[station.name] = value

    def _settled(self, value: _Value, fresh: bool = False) -> _Value:
        """A value whose planes hold it, nothing left to do."""
        if not value.functions and not value.order and not fresh:
            return value
        dst = self._compact(value.planes.channels, value.planes.extents)
        self.ops.append(Place(value.planes, dst, value.functions, value.order))
        return _Value(dst)

    def _whole(self, name: str) -> _Value:
        """The value of a station, settled once for all who read it."""
        self.values[name] = self._settled(self.values[name])
        return self.values[name]

    def _laid_out(self, mix: FilterJunction, mixes: list[FilterJunction]) -> Planes:
        """The planes a filter runs over: zeros around them, phases apart. All mixes of a station share a pitch."""
        pitch = max(pitch_of(other.geometry.planar()) for other in mixes)
        geometry = mix.geometry.planar()
        value = self.values[mix.source]
        plain = (
            not value.functions and not value.order and value.planes.phases == (1, 1) and not value.planes.padded
            and max(*geometry.front, *geometry.behind) == 0 and max(geometry.stride) == 1
        )  # fmt: skip
        if plain and len(mixes) == 1 and value.planes.base == "scratch":
            return value.planes
        key = mix.source, replace(geometry, kernel=(), dilation=(), result=()), pitch
        if key not in self.laid:
            height, width = geometry.source
            (sy, sx), (fy, fx), by = geometry.stride, geometry.front, geometry.behind[0]
            rows = -(-(height + fy + by) // sy)
            phase = rows * pitch + fx
            made = Planes("scratch", 0, value.planes.channels, (height, width), pitch, phase * sy * sx,
                          phase=phase, phases=(sy, sx), front=(fy, fx), padded=True)  # fmt: skip
            dst = self._new(made)
            self.ops.append(Place(value.planes, dst, value.functions, value.order))
            self.laid[key] = dst
        return self.laid[key]

    def _mix(
        self, mix: FilterJunction, source: Planes, sums: Planes, station: Station, *, fresh: bool,
        functions: tuple[Elementwise, ...],
    ) -> None:  # fmt: skip
        geometry = mix.geometry.planar()
        values = junction_values(self.weights, mix)
        taps = distances(geometry, source.pitch, source.phase)
        most = (8, 4, 2, 1) if self.machine.registers == 32 else (4, 2, 1)
        flat = (
            values.reshape(*values.shape[: values.ndim - len(mix.geometry.kernel)], -1)
            if mix.filtered
            else values[..., None]
        )
        chunks = chunks_of(mix.each, flat, (station.real_units, source.channels), most)
        self.ops.append(Mix(source, sums, taps, chunks, fresh, functions))

    def _skip(self, skip: Junction, sums: Planes, fresh: bool) -> bool:
        """Plan a skip; whether the sums are still to be begun."""
        value = self._whole(skip.source)
        if isinstance(skip, PartJunction):
            positions = sums.extents[0] * sums.extents[1]
            self.ops.append(Add(value.planes, sums, skip.scale, fresh=True, first=skip.first // positions))
            return False
        assert isinstance(skip, SkipJunction)
        self.ops.append(Add(value.planes, sums, skip.scale, fresh))
        return False


def _side_by_side(base: Base, at: int, channels: int, extents: Pair) -> Planes:
    """Planes without room between rows and channels."""
    return Planes(base, at, channels, extents, extents[1], extents[0] * extents[1])


def pitch_of(geometry: Geometry) -> int:
    """Floats from row to row: with stride one the zeros behind a row are those in front of the next."""
    width, front, behind, stride = geometry.source[1], geometry.front[1], geometry.behind[1], geometry.stride[1]
    return width + max(front, behind) if stride == 1 else -(-(width + front + behind) // stride)


def distances(geometry: Geometry, pitch: int, phase: int, every: int = 1) -> tuple[int, ...]:
    """How far each tap, or that of `every` so many columns, lies behind the position it is summed up at."""
    found: list[int] = []
    for r in range(geometry.kernel[0]):
        for c in range(0, geometry.kernel[1], every):
            at = [n * d for n, d in zip((r, c), geometry.dilation, strict=True)]
            (row, py), (column, px) = (divmod(a, s) for a, s in zip(at, geometry.stride, strict=True))
            found.append((py * geometry.stride[1] + px) * phase + row * pitch + column)
    return tuple(found)
