"""What all training kernels share: tiles of columns, tables of addresses, first and last thing done to a sum.

A buffer of a station holds a row of `columns` floats for every unit, then a row of zeros that padding reads and a
row that padding writes. Rows are addressed by their offset in bytes, read from tables.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pathc.backends.llvm.column.common import byte_offset, round_up
from pathc.backends.llvm.emit import F32, I64, Function, constant, indices, suffix, vector
from pathc.backends.llvm.machine import Machine
from pathc.backends.llvm.native import aligned

Ints = NDArray[np.int64]
Init = Literal["zero", "bias", "add"]
SPARE_ROWS = 2
"""Rows behind the units of a buffer: zeros, and what padding writes."""


@dataclass(frozen=True)
class Frame:
    """A tile of `columns` samples, a power of two and a multiple of the vector's lanes."""

    machine: Machine
    columns: int

    @property
    def lanes(self) -> int:
        """Floats in a vector."""
        return self.machine.width

    @property
    def kind(self) -> str:
        """LLVM type of a vector."""
        return vector(self.machine.width)

    @property
    def bytes(self) -> int:
        """Bytes of a vector."""
        return 4 * self.machine.width

    @property
    def stride(self) -> int:
        """Bytes of a row."""
        return 4 * self.columns

    @property
    def shift(self) -> int:
        """Binary logarithm of the stride."""
        return self.stride.bit_length() - 1

    @property
    def vectors(self) -> int:
        """Vectors in a row."""
        return self.columns // self.machine.width

    def grouped(self, sums: int, most: int = 8) -> int:
        """Vectors of columns in a register tile that holds `sums` sums of each."""
        return max(1, min(self.vectors, most // sums))

    def load(self, f: Function, pointer: str, at: str | int) -> str:
        """A vector `at` bytes behind a pointer."""
        return f.load(self.kind, byte_offset(f, pointer, at), self.bytes)

    def store(self, f: Function, value: str, pointer: str, at: str | int) -> None:
        """Store a vector `at` bytes behind a pointer."""
        f.store(self.kind, value, byte_offset(f, pointer, at), self.bytes)

    def zero(self) -> str:
        """A vector of zeros."""
        return constant(0.0, self.lanes)

    @contextmanager
    def groups(self, f: Function, vectors: int) -> Generator[str | int]:
        """The loop over groups of so many vectors of a row; yields the byte offset of the group."""
        if vectors == self.vectors:
            yield 0
            return
        with f.loop(self.stride, step=vectors * self.bytes) as loop:
            yield loop.index


End = Callable[[Function, str, str], str]
"""Writes what becomes of a finished sum, given the vector and its byte offset in the buffer."""


@dataclass(frozen=True)
class Sums:
    """Where sums start, in the buffer at `pointer`, and how they end."""

    frame: Frame
    pointer: str
    init: Init
    bias: str = ""
    end: End | None = None

    def start(self, f: Function, at: str) -> str:
        """The first value of the vector of sums at byte offset `at`."""
        if self.init == "add":
            return self.frame.load(f, self.pointer, at)
        if self.init == "zero":
            return self.frame.zero()
        row = f.op("lshr", I64, at, str(self.frame.shift))
        return f.broadcast(self.frame.lanes, f.load(F32, f.offset(self.bias, row)))

    def finish(self, f: Function, value: str, at: str) -> None:
        """Store the finished sums."""
        self.frame.store(f, self.end(f, value, at) if self.end else value, self.pointer, at)


def added(f: Function, a: str, b: str | int) -> str:
    """The sum of two byte offsets."""
    return f.op("add", I64, a, str(b), "nuw nsw") if b != 0 else a


def scaled(f: Function, index: str | int, factor: int) -> str | int:
    """An index times a constant."""
    return index * factor if isinstance(index, int) else f.op("mul", I64, index, str(factor), "nuw nsw")


def entry(f: Function, table: str, index: str | int) -> str:
    """An unsigned 32-bit entry of a table, as i64."""
    found = f.load("i32", f.offset(table, index, "i32"))
    return f.assign(f"zext i32 {found} to i64")


@contextmanager
def every_vector(f: Function, frame: Frame, units: int, first: int = 0) -> Generator[str]:
    """The loop over all vectors of rows `first` .. `units` - 1, at least one; yields the byte offset."""
    with f.loop(units * frame.stride, start=first * frame.stride, step=frame.bytes) as loop:
        yield loop.index


def lane_masks(lanes: int) -> NDArray[np.uint16]:
    """The first part of every arena: for steps 1, 2, 4, ... which lanes lie in the upper half of their group."""
    steps = [1 << k for k in range(lanes.bit_length() - 1)]
    return np.array([sum(1 << lane for lane in range(lanes) if lane & step) for step in steps], np.uint16)


def lane_sum(f: Function, frame: Frame, value: str) -> str:
    """The sum of all lanes of one vector."""
    if frame.lanes == 1:
        return value
    name = f"llvm.vector.reduce.fadd.{suffix(frame.lanes)}"
    f.declared[name] = f"declare float @{name}(float, {frame.kind})"
    return f.assign(f"call reassoc float @{name}(float -0.0, {frame.kind} {value})")


class Reduction:
    """Adds up the lanes of many vectors at a time, in a function whose `%params` points at an arena.

    Masks come from memory: constants would be shuffles to the code generator, and there are enough of those.
    """

    def __init__(self, f: Function, lanes: int) -> None:
        self.f, self.lanes = f, lanes
        self.masks = dict[int, str]()
        for k in range(lanes.bit_length() - 1):
            mask = f.load("i16", f.offset("%params", k, "i16"), 2)
            if lanes < 16:
                mask = f.assign(f"trunc i16 {mask} to i{lanes}")
            self.masks[1 << k] = f.assign(f"bitcast i{lanes} {mask} to {vector(lanes, 'i1')}")

    def __call__(self, vectors: Callable[[int], str]) -> str:
        """The vector whose lane i is the sum of all lanes of `vectors(i)`, asked for in an order that frees registers.

        Halves of pairs of vectors are swapped and added until every lane belongs to one of them.
        """
        return self._combined(vectors, 0, 1)

    def _combined(self, vectors: Callable[[int], str], first: int, step: int) -> str:
        f, lanes, kind = self.f, self.lanes, vector(self.lanes)
        if step == lanes:
            return vectors(first)
        a = self._combined(vectors, first, 2 * step)
        b = self._combined(vectors, first + step, 2 * step)
        moved = [lane + step if lane & step == 0 else lanes + lane - step for lane in range(lanes)]
        straight = f.assign(f"select {vector(lanes, 'i1')} {self.masks[step]}, {kind} {b}, {kind} {a}")
        crossed = f.assign(f"shufflevector {kind} {a}, {kind} {b}, {indices(moved)}")
        return f.op("fadd", kind, straight, crossed)


@dataclass
class Arena:
    """Memory in parts, each aligned to a cache line: reserve first, then `build` and look at the parts."""

    size: int = 0
    parts: list[tuple[int, NDArray[Any]]] = field(default_factory=list[tuple[int, NDArray[Any]]])

    def reserve(self, size: int) -> int:
        """Offset of a new part of `size` bytes of zeros."""
        at = self.size
        self.size += round_up(size)
        return at

    def put(self, values: NDArray[Any]) -> int:
        """Offset of a new part with these values."""
        at = self.reserve(values.nbytes)
        self.parts.append((at, values))
        return at

    def build(self) -> NDArray[np.uint8]:
        """The memory."""
        memory = aligned(self.size + 64)
        for at, values in self.parts:
            memory[at : at + values.nbytes] = np.ascontiguousarray(values).reshape(-1).view(np.uint8)
        self.parts.clear()
        return memory


def row_table(frame: Frame, units: Ints, count: int, *, read: bool) -> NDArray[np.uint32]:
    """Byte offsets of the rows of units; padding (-1) reads the row of zeros or writes the one behind it."""
    return (np.where(units < 0, count + (not read), units) * frame.stride).astype(np.uint32)


def sums_of(
    f: Function,
    frame: Frame,
    source: str,
    at: Sequence[str],
    weights: Sequence[Sequence[str]],
    sums: Sequence[Sequence[str]],
) -> list[list[str]]:
    """`sums[o][v]` plus, for every source row at offset `at[i]`, its vectors times the weight at `weights[i][o]`."""
    result = [list(line) for line in sums]
    for row, factors in zip(at, weights, strict=True):
        values = [frame.load(f, source, added(f, row, v * frame.bytes)) for v in range(len(result[0]))]
        for line, pointer in zip(result, factors, strict=True):
            factor = f.broadcast(frame.lanes, f.load(F32, pointer))
            line[:] = [f.fma(frame.lanes, x, factor, a) for x, a in zip(values, line, strict=True)]
    return result
