"""Sums of shifted planes: a tile of channels times positions stays in registers while all taps pass by.

Every tap of every source is loaded once a tile and multiplied by one weight of each channel of the chunk, broadcast
from memory. Chunks of one size share the code; where they begin and what they hear stands in a table, in 64-bit
numbers: sources, then of each chunk the number of its sources, the places of its targets, the places of its sources.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from pathc.backends.llvm import vecmath
from pathc.backends.llvm.emit import F32, I64, Function, constant, vector
from pathc.backends.llvm.filters.plan import Affine, Chunk, Elementwise, Mix
from pathc.backends.llvm.machine import Machine

PARAMETERS = (("ptr", "src"), ("ptr", "dst"), ("ptr", "table"), ("ptr", "weights"))
_UNROLLED = 16
"""Taps up to which their loads are written one after another."""


def widest(machine: Machine, targets: int) -> int:
    """Vectors of positions in a tile of so many channels: what registers hold beside one source and one weight."""
    if machine.registers == 32:
        return {8: 3, 4: 6, 2: 8, 1: 12}[targets]
    return {4: 2, 2: 4, 1: 8}[targets]


def sizes_of(mix: Mix) -> list[tuple[int, list[Chunk]]]:
    """The chunks of a mix by their number of targets, largest first."""
    ordered = sorted(mix.chunks, key=lambda chunk: -len(chunk.targets))
    return [(size, list(chunks)) for size, chunks in groupby(ordered, key=lambda chunk: len(chunk.targets))]


def emit_mix(name: str, mix: Mix, size: int, count: int, machine: Machine) -> tuple[Function, list[str]]:
    """The kernel of all `count` chunks of one size, and the constants it refers to."""
    f = Function(name, PARAMETERS)
    writer = _Writer(f, mix, size, machine, f"{name}_taps")
    with f.loop(count, [("ptr", "%table"), ("ptr", "%weights")]) as chunks:
        chunks.following = writer.chunk(*chunks.carried)
    constants: list[str] = []
    if len(mix.taps) > _UNROLLED:
        numbers = ", ".join(f"i64 {tap}" for tap in mix.taps)
        constants.append(f"@{writer.taps} = internal constant [{len(mix.taps)} x i64] [{numbers}]")
    return f, constants


class _Writer:
    def __init__(self, f: Function, mix: Mix, size: int, machine: Machine, taps: str) -> None:
        self.f, self.mix, self.size, self.machine, self.taps = f, mix, size, machine, taps
        self.lanes, self.kind = machine.width, vector(machine.width)

    def chunk(self, table: str, weights: str) -> list[str]:
        """One chunk over all positions; where the next one's table and weights begin."""
        f, size = self.f, self.size
        self.count = f.load(I64, table, 8)
        places = [f.load(I64, f.offset(table, 1 + k, I64), 8) for k in range(size)]
        self.targets = [f.offset("%dst", place) for place in places]
        self.sources = f.offset(table, 1 + size, I64)
        self.weights = weights
        terms = f.op("mul", I64, self.count, str(len(self.mix.taps) * size))
        self.constants = f.offset(weights, terms)
        rows, columns = self.mix.dst.extents
        vectors = -(-((rows - 1) * self.mix.dst.pitch + columns) // self.lanes)
        tiles = -(-vectors // widest(self.machine, size))
        each = -(-vectors // tiles)
        whole, rest = divmod(vectors, each)
        if whole:
            with f.loop(whole * each * self.lanes, step=each * self.lanes) as loop:
                self.tile(loop.index, each)
                loop.following = []
        if rest:
            self.tile(str(whole * each * self.lanes), rest)
        numbers = size * sum(_numbers(function) for function in self.mix.functions if isinstance(function, Affine))
        return [f.offset(self.sources, self.count, I64), f.offset(self.constants, numbers)]

    def tile(self, position: str, vectors: int) -> None:
        """The sums of `vectors` vectors of positions of every target."""
        f, mix = self.f, self.mix
        sums = [[constant(0.0, self.lanes)] * vectors for _ in range(self.size)]
        targets = [f.offset(target, position) for target in self.targets]
        if not mix.fresh:
            sums = [[f.load(self.kind, f.offset(t, v * self.lanes)) for v in range(vectors)] for t in targets]
        carried = [(self.kind, value) for row in sums for value in row]
        before = f.block
        label = f.fresh("heard")[1:]
        f.line(f"br i1 {f.assign(f'icmp ne i64 {self.count}, 0')}, label %{label}, label %{label}.end")
        f.label(label)
        with f.loop(self.count, [*carried, ("ptr", self.weights)]) as loop:
            place = f.load(I64, f.offset(self.sources, loop.index, I64), 8)
            source = f.offset(f.offset("%src", place), position)
            loop.following = self._source(source, loop.carried, vectors)
        after = f.block
        f.line(f"br label %{label}.end")
        f.label(f"{label}.end")
        found = [
            f.assign(f"phi {kind} [ {start}, %{before} ], [ {end}, %{after} ]")
            for (kind, start), end in zip(carried, loop.results, strict=False)
        ]
        self._finish(targets, [found[k * vectors : (k + 1) * vectors] for k in range(self.size)])

    def _source(self, source: str, carried: Sequence[str], vectors: int) -> list[str]:
        """All taps of one source."""
        f, taps = self.f, self.mix.taps
        sums, weights = list(carried[:-1]), carried[-1]
        if len(taps) <= _UNROLLED:
            for number, tap in enumerate(taps):
                sums = self._tap(f.offset(source, tap), f.offset(weights, number * self.size), sums, vectors)
        else:
            with f.loop(len(taps), [*((self.kind, value) for value in sums), ("ptr", weights)]) as loop:
                tap = f.load(I64, f.offset(f"@{self.taps}", loop.index, I64), 8)
                found = self._tap(f.offset(source, tap), loop.carried[-1], loop.carried[:-1], vectors)
                loop.following = [*found, f.offset(loop.carried[-1], self.size)]
            sums = loop.results[:-1]
        return [*sums, f.offset(weights, len(taps) * self.size)]

    def _tap(self, source: str, weights: str, sums: Sequence[str], vectors: int) -> list[str]:
        f, found = self.f, list(sums)
        seen = [f.load(self.kind, f.offset(source, v * self.lanes)) for v in range(vectors)]
        for k in range(self.size):
            weight = f.broadcast(self.lanes, f.load(F32, f.offset(weights, k)))
            for v in range(vectors):
                found[k * vectors + v] = f.fma(self.lanes, weight, seen[v], found[k * vectors + v])
        return found

    def _finish(self, targets: Sequence[str], sums: list[list[str]]) -> None:
        """Apply the functions and store."""
        f, at = self.f, 0
        for function in self.mix.functions:
            for k, row in enumerate(sums):
                sums[k] = [self._applied(function, value, at + k) for value in row]
            at += self.size * _numbers(function) if isinstance(function, Affine) else 0
        for target, row in zip(targets, sums, strict=True):
            for v, value in enumerate(row):
                f.store(self.kind, value, f.offset(target, v * self.lanes))

    def _applied(self, function: Elementwise, value: str, at: int) -> str:
        f = self.f
        if not isinstance(function, Affine):
            return vecmath.apply(f, self.lanes, value, function, self.machine)
        shift = f.broadcast(self.lanes, f.load(F32, f.offset(self.constants, at)))
        if function.scale is None:
            return f.op("fadd", self.kind, value, shift)
        scale = f.broadcast(self.lanes, f.load(F32, f.offset(self.constants, at + self.size)))
        return f.fma(self.lanes, scale, value, shift)


def _numbers(function: Affine) -> int:
    return 1 if function.scale is None else 2


def packed(mix: Mix, chunks: Sequence[Chunk]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Table and weights of the chunks of one size."""
    table: list[int] = []
    weights: list[NDArray[np.float32]] = []
    for chunk in chunks:
        table.append(len(chunk.sources))
        table.extend(mix.dst.plane * target for target in chunk.targets)
        table.extend(mix.src.plane * source for source in chunk.sources)
        weights.append(chunk.weights.reshape(-1))
        chosen = list(chunk.targets)
        weights.extend(part[chosen] for part in _constants(mix))
    return np.array(table, np.int64), np.concatenate(weights)


def _constants(mix: Mix) -> Iterator[NDArray[np.float32]]:
    for function in mix.functions:
        if isinstance(function, Affine):
            yield function.shift
            if function.scale is not None:
                yield function.scale
