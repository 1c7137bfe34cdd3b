"""What all column kernels share: addresses of units, broadcast weights, the first and the last thing done to a sum."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pathc.backends.llvm import vecmath
from pathc.backends.llvm.emit import F32, I64, Function, constant, vector
from pathc.backends.llvm.machine import Machine
from pathc.backends.llvm.plan import Step, WeightType
from pathc.ir.types import Call

Bytes = NDArray[np.uint8]
Init = Literal["zero", "bias", "add"]
PARAMETERS = (("ptr noalias", "src"), ("ptr noalias", "dst"), ("ptr noalias", "weights"), ("ptr noalias", "bias"))
ALIGNMENT = 64
LATENCY = 4.0
"""Clock cycles until a sum can be added to again."""

_KEPT = 1.1
"""How many first-level caches the units that kernels read may fill before they push each other out."""
UNROLLED = 256
"""Multiply-adds of vectors in one basic block, at most about so many: more only makes compilation slow."""


@dataclass(frozen=True)
class Tile:
    """A tile of columns as one kernel sees it.

    `columns` samples lie side by side, `lanes` of them in a vector; a register tile holds `vectors` neighbouring
    vectors of a unit, so `groups` rounds cover all columns. `pitch` is the value that holds the bytes from one unit
    to the next where they are not `stride`: in an array of the user, which is aligned to its floats only. `length` is
    the value that holds the bytes of a unit's columns where there are not `columns`, but any multiple of them.
    """

    machine: Machine
    columns: int
    vectors: int
    pitch: str = ""
    length: str = ""

    @property
    def lanes(self) -> int:
        """Floats in a vector."""
        return self.machine.width

    @property
    def kind(self) -> str:
        """LLVM type of a vector."""
        return vector(self.machine.width)

    @property
    def groups(self) -> int:
        """Rounds over the columns."""
        return self.columns // (self.lanes * self.vectors)

    @property
    def stride(self) -> int:
        """Bytes from one unit to the next."""
        return 4 * self.columns

    @property
    def vector_bytes(self) -> int:
        """Bytes of a vector."""
        return 4 * self.lanes

    @property
    def alignment(self) -> int:
        """How vectors are aligned, in bytes."""
        return 4 if self.pitch else self.vector_bytes


def tile(machine: Machine, columns: int, at_most: int) -> Tile:
    """The tile with the most vectors, up to `at_most`, that divides the columns. ValueError if no vector does."""
    if columns <= 0 or columns % machine.width:
        raise ValueError(f"{columns} columns are no multiple of {machine.width} lanes")
    whole = columns // machine.width
    return Tile(machine, columns, next(v for v in range(min(at_most, whole), 0, -1) if whole % v == 0))


def parameters(step: Step) -> tuple[tuple[str, str], ...]:
    """Parameters of a step's kernel: behind the common ones the pitch of every end that is an array of the user."""
    ends = ("src_pitch", step.src_layout), ("dst_pitch", step.dst_layout)
    return (*PARAMETERS, *((I64, name) for name, layout in ends if layout.array))


def ends(t: Tile, step: Step) -> tuple[Tile, Tile]:
    """The tile as it lies in the source of a step, and as in its destination."""
    source = replace(t, pitch="%src_pitch") if step.src_layout.array else t
    return source, replace(t, pitch="%dst_pitch") if step.dst_layout.array else t


def byte_offset(f: Function, pointer: str, index: str | int) -> str:
    """Address `index` bytes behind a pointer."""
    return f.offset(pointer, index, "i8")


def table_entry(f: Function, table: str, index: str | int, bits: int = 32) -> str:
    """An unsigned entry of a table of integers, as i64."""
    element = f"i{bits}"
    entry = f.load(element, f.offset(table, index, element), bits // 8)
    return f.assign(f"zext {element} {entry} to i64")


@dataclass(frozen=True)
class Place:
    """A unit whose number is known up to an XOR with constants, and the columns that are looked at.

    `unit` is the number as i64; `scaled` is `unit * stride + column bytes` where the stride is a power of two, so
    that an XOR with a scaled constant moves to another unit and stays in the column; `column` the bytes alone.
    """

    unit: str
    scaled: str
    column: str | int


def place(f: Function, t: Tile, unit: str, column: str | int) -> Place:
    """A place at an i64 unit and a byte offset among the columns."""
    if t.pitch or t.stride & (t.stride - 1):
        return Place(unit, "", column)
    scaled = f.op("shl", I64, unit, str(t.stride.bit_length() - 1), "nuw nsw")
    if column != 0:
        scaled = f.op("or", I64, scaled, str(column))
    return Place(unit, scaled, column)


def unit_address(f: Function, t: Tile, pointer: str, at: Place, difference: int) -> str:
    """Address of unit `at.unit ^ difference` in a buffer."""
    if at.scaled:
        moved = f.op("xor", I64, at.scaled, str(difference * t.stride)) if difference else at.scaled
        return byte_offset(f, pointer, moved)
    unit = moved_unit(f, at, difference)
    start = f.op("mul", I64, unit, t.pitch or str(t.stride), "nuw nsw")
    return byte_offset(f, pointer, f.op("add", I64, start, str(at.column), "nuw nsw") if at.column != 0 else start)


def unit_addresses(
    f: Function, t: Tile, pointer: str, unit: str, differences: Sequence[int]
) -> Callable[[str | int], list[str]]:
    """What gives the addresses of the units `unit ^ difference` at a column.

    The products that a pitch takes are written here, so call it outside the loop over columns.
    """
    if not t.pitch:
        return lambda column: [unit_address(f, t, pointer, place(f, t, unit, column), d) for d in differences]
    starts = [unit_address(f, t, pointer, place(f, t, unit, 0), d) for d in differences]
    return lambda column: [byte_offset(f, start, column) for start in starts]


def moved_unit(f: Function, at: Place, difference: int) -> str:
    """The number `at.unit ^ difference`."""
    return f.op("xor", I64, at.unit, str(difference)) if difference else at.unit


def load_vectors(f: Function, t: Tile, pointer: str) -> list[str]:
    """The vectors of a register tile from one unit of a buffer."""
    return [f.load(t.kind, byte_offset(f, pointer, v * t.vector_bytes), t.alignment) for v in range(t.vectors)]


def store_vectors(f: Function, t: Tile, values: Sequence[str], pointer: str) -> None:
    """Store the vectors of a register tile to one unit of a buffer."""
    for v, value in enumerate(values):
        f.store(t.kind, value, byte_offset(f, pointer, v * t.vector_bytes), t.alignment)


@contextmanager
def column_groups(f: Function, t: Tile) -> Generator[str | int]:
    """The loop over groups of columns, or just its body for one group; yields the byte offset of the group."""
    if t.groups == 1 and not t.length:
        yield 0
        return
    with f.loop(t.length or t.stride, step=t.vectors * t.vector_bytes) as loop:
        yield loop.index


@contextmanager
def repeat(f: Function, count: int) -> Generator[str | int]:
    """A loop over 0 .. count - 1, or just its body when the count is 1; yields the index."""
    if count == 1:
        yield 0
        return
    with f.loop(count) as loop:
        yield loop.index


@contextmanager
def when_positive(f: Function, count: str) -> Generator[None]:
    """Write what is done only if an i64 is not zero; no value may leave it."""
    number = f.fresh("if")[1:]
    condition = f.assign(f"icmp ne i64 {count}, 0")
    f.line(f"br i1 {condition}, label %{number}.then, label %{number}.done")
    f.label(f"{number}.then")
    yield
    f.line(f"br label %{number}.done")
    f.label(f"{number}.done")


def outgrown(machine: Machine, held: int) -> float:
    """About which part of what is read again does not stay in the first-level cache, where so many bytes are."""
    return max(0.0, 1.0 - _KEPT * machine.l1 / held)


def element_bytes(kind: WeightType) -> int:
    """Bytes of one weight."""
    return 2 if kind == "bf16" else 4


def padded_row(count: int, kind: WeightType) -> int:
    """Weights per row of a packed tile: bf16 comes in pairs."""
    return count + count % 2 if kind == "bf16" else count


def broadcast_weights(f: Function, t: Tile, kind: WeightType, pointer: str, first: int, count: int) -> list[str]:
    """`count` consecutive weights from element `first` on, each in all lanes; `first` is even for bf16."""
    if kind == "f32":
        return [f.broadcast(t.lanes, f.load(F32, f.offset(pointer, first + k))) for k in range(count)]
    whole, values = vector(t.lanes, "i32"), list[str]()
    for k in range(0, count, 2):
        pair = f.broadcast(t.lanes, f.load("i32", f.offset(pointer, first + k, "i16")), "i32")
        halves = (f.op("shl", whole, pair, "splat (i32 16)"), f.op("and", whole, pair, "splat (i32 -65536)"))
        values.extend(f.assign(f"bitcast {whole} {half} to {t.kind}") for half in halves)
    return values[:count]


def encode(weights: NDArray[np.float32], kind: WeightType) -> Bytes:
    """Weights as bytes; bf16 is rounded to nearest, ties to even, and a NaN stays one."""
    flat = np.ascontiguousarray(weights, dtype=np.float32).reshape(-1)
    if kind == "f32":
        return flat.view(np.uint8)
    bits = flat.view(np.uint32)
    rounded = (bits + np.uint32(0x7FFF) + (bits >> np.uint32(16) & np.uint32(1))) >> np.uint32(16)
    rounded[np.isnan(flat)] = 0x7FC0
    return rounded.astype(np.uint16).view(np.uint8)


def aligned(*parts: Bytes) -> Bytes:
    """The parts one after another, each starting at a cache line."""
    size = sum(round_up(part.size) for part in parts)
    result = np.zeros(size, np.uint8)
    at = 0
    for part in parts:
        result[at : at + part.size] = part
        at += round_up(part.size)
    return result


def round_up(count: int, unit: int = ALIGNMENT) -> int:
    """`count`, rounded up to a multiple of `unit`."""
    return -(-count // unit) * unit


@dataclass(frozen=True)
class Finish:
    """What a kernel does to a sum besides the products: where it starts from and what is applied in the end."""

    init: Init
    activation: Call | None

    def start(self, f: Function, t: Tile, unit: str, address: str, bias: str = "%bias") -> list[str]:
        """The first value of the sums of one unit: zeros, the bias, or what the buffer holds."""
        if self.init == "add":
            return load_vectors(f, t, address)
        if self.init == "zero":
            return [constant(0.0, t.lanes)] * t.vectors
        return [f.broadcast(t.lanes, f.load(F32, f.offset(bias, unit)))] * t.vectors

    def end(self, f: Function, t: Tile, values: Sequence[str]) -> list[str]:
        """The finished sums with the activation applied."""
        return [vecmath.apply(f, t.lanes, value, self.activation, t.machine) for value in values]


def products(
    f: Function,
    t: Tile,
    sums: Sequence[Sequence[str]],
    sources: Sequence[str],
    weights: tuple[str, WeightType],
) -> list[list[str]]:
    """Add to `sums[d][v]` the products of all sources (addresses) with their weights, packed [source][d]."""
    pointer, kind = weights
    row = padded_row(len(sums), kind)
    result = [list(line) for line in sums]
    for s, address in enumerate(sources):
        values = load_vectors(f, t, address)
        factors = broadcast_weights(f, t, kind, pointer, s * row, len(sums))
        result = [
            [f.fma(t.lanes, x, factor, a) for x, a in zip(values, line, strict=True)]
            for factor, line in zip(factors, result, strict=True)
        ]
    return result
