"""What moves planes of bytes and of sums: zeros around them, fours of them, skips, windows, readings, outputs.

Kernels are given addresses and a table of 64-bit numbers for each channel: where its planes lie, in bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pathc.backends.llvm import vecmath
from pathc.backends.llvm.emit import F32, I64, Function, vector
from pathc.backends.llvm.integer.filters.rows import (
    SIZES,
    Pair,
    each_channel,
    each_row,
    load,
    number,
    pieces,
    store,
    widened,
)
from pathc.backends.llvm.integer.reading import F64, Reader
from pathc.backends.llvm.integer.vectors import I8, I32, cast
from pathc.backends.llvm.machine import Machine
from pathc.ir.types import Call

TABLE = ("ptr", "table")
COUNT = (I64, "count")
_UNROLLED = 16
"""Values of a window up to which their loads are written one after another."""
How = Literal["largest", "total", "picked"]


@dataclass(frozen=True)
class Laid:
    """Planes of bytes a filter runs over: rows `pitch` bytes apart, in phases `phase` bytes apart, `size` in all.

    Position (r, c) lies in phase ((r + f) % s, (c + f') % s') of `phases` (s, s'), with `front` (f, f') positions of
    the byte `fill` in front of it.
    """

    extents: Pair
    pitch: int
    phase: int
    phases: Pair
    front: Pair
    size: int
    fill: int


def emit_lay(name: str, machine: Machine, pitch: int, laid: Laid) -> Function:
    """The kernel `void name(ptr planes, ptr laid, ptr table, i64 count)`: planes, rows `pitch` apart, as `laid`.

    The table holds where each channel lies; they are laid one after the other.
    """
    f = Function(name, (("ptr", "planes"), ("ptr", "laid"), TABLE, COUNT))
    wide = 4 * machine.width

    def channel(index: str, at: list[str]) -> None:
        source = f.offset("%planes", at[0], I8)
        target = f.offset("%laid", f.op("mul", I64, index, str(laid.size)), I8)
        f.call("void", "llvm.memset.p0.i64",
               [("ptr", target), (I8, str(laid.fill)), (I64, str(laid.size)), ("i1", "false")])  # fmt: skip
        for py in range(laid.phases[0]):
            for px in range(laid.phases[1]):
                phase(source, target, (py, px))

    def phase(source: str, target: str, own: Pair) -> None:
        firsts = [(p - front) % s for p, front, s in zip(own, laid.front, laid.phases, strict=True)]
        counts = [-(-(n - a) // s) for n, a, s in zip(laid.extents, firsts, laid.phases, strict=True)]
        if min(counts) < 1:
            return
        at = [(a + front) // s for a, front, s in zip(firsts, laid.front, laid.phases, strict=True)]
        start = (own[0] * laid.phases[1] + own[1]) * laid.phase + at[0] * laid.pitch + at[1]
        ends = f.offset(source, firsts[0] * pitch + firsts[1], I8), f.offset(target, start, I8)

        def row(read: str, written: str) -> None:
            for first, length in pieces(counts[1], wide):
                value = load(f, f.offset(read, first * laid.phases[1], I8), length, I8, laid.phases[1])
                store(f, value, f.offset(written, first, I8), length, I8)

        each_row(f, counts[0], ends, (pitch * laid.phases[0], laid.pitch), row)

    each_channel(f, "%count", 1, channel)
    return f


def emit_fours(name: str, machine: Machine, vectors: int) -> Function:
    """The kernel `void name(ptr planes, ptr words, ptr table, i64 count)`: bytes of four planes as 32-bit words.

    An entry of the table holds where four planes lie. Every four of them become `vectors` times as many words as a
    vector has bytes.
    """
    f = Function(name, (("ptr", "planes"), ("ptr", "words"), TABLE, COUNT))
    size = 4 * machine.width
    kind = vector(size, I8)

    def four(index: str, places: list[str]) -> None:
        own = f.offset("%words", f.op("mul", I64, index, str(4 * size * vectors)), I8)
        with f.loop(vectors) as loop:
            at = f.op("mul", I64, loop.index, str(size))
            rows = [f.load(kind, f.offset(f.offset("%planes", place, I8), at, I8), 1) for place in places]
            target = f.offset(own, f.op("mul", I64, at, "4"), I8)
            pairs = [_zipped(f, size, rows[k], rows[k + 1], I8) for k in (0, 2)]
            for half in range(2):
                for quarter, value in enumerate(_zipped(f, size // 2, pairs[0][half], pairs[1][half], "i16")):
                    f.store(vector(size // 2, "i16"), value, f.offset(target, size * (2 * half + quarter), I8), size)
            loop.following = []

    each_channel(f, "%count", 4, four)
    return f


def _zipped(f: Function, count: int, a: str, b: str, element: str) -> list[str]:
    """Elements of two vectors in turn, as two vectors of elements twice as wide."""
    kind, wide = vector(count, element), vector(count // 2 * (2 if element == "i16" else 1), "i16")
    found: list[str] = []
    for half in (0, count // 2):
        mask = ", ".join(f"i32 {half + i // 2 + count * (i % 2)}" for i in range(count))
        value = f.assign(f"shufflevector {kind} {a}, {kind} {b}, <{count} x i32> <{mask}>")
        found.append(value if element == "i16" else cast(f, value, kind, wide))
    return found


def emit_skip(name: str, machine: Machine, extents: Pair, pitches: Pair, *, first: bool) -> Function:
    """The kernel `void name(ptr planes, ptr sums, ptr table, ptr factors, ptr before, i64 count)`.

    An entry of the table holds where the bytes of a channel lie and where its sums. sums = before + factor * bytes;
    `first` says that `before` is one number for each channel, otherwise it is what the sums are. Rows are `pitches`
    elements apart.
    """
    pointers = [("ptr", each) for each in ("planes", "sums", "table", "factors", "before")]
    f = Function(name, (*pointers, COUNT))

    def channel(index: str, at: list[str]) -> None:
        factor = f.load(I32, f.offset("%factors", index, I32))
        before = f.load(I32, f.offset("%before", index, I32))

        def row(read: str, written: str) -> None:
            for start, length in pieces(extents[1], machine.width):
                kind, to = vector(length, I32), f.offset(written, start, I32)
                value = widened(f, load(f, f.offset(read, start, I8), length, I8), length)
                product = f.op("mul", kind, value, f.broadcast(length, factor, I32))
                old = f.broadcast(length, before, I32) if first else load(f, to, length, I32)
                store(f, f.op("add", kind, product, old), to, length, I32)

        ends = f.offset("%planes", at[0], I8), f.offset("%sums", at[1], I8)
        each_row(f, extents[0], ends, (pitches[0], 4 * pitches[1]), row)

    each_channel(f, "%count", 2, channel)
    return f


def emit_fill(name: str, machine: Machine, plane: int) -> Function:
    """The kernel `void name(ptr sums, ptr table, ptr before, i64 count)`: planes filled with a number each."""
    f = Function(name, (("ptr", "sums"), TABLE, ("ptr", "before"), COUNT))
    width, kind = machine.width, vector(machine.width, I32)

    def channel(index: str, at: list[str]) -> None:
        value = f.broadcast(width, f.load(I32, f.offset("%before", index, I32)), I32)
        own = f.offset("%sums", at[0], I8)
        with f.loop(plane, step=width) as loop:
            f.store(kind, value, f.offset(own, loop.index, I32), 4)
            loop.following = []

    each_channel(f, "%count", 1, channel)
    return f


@dataclass(frozen=True)
class Windows:
    """Windows over planes of bytes or of sums; values are bent in front of them, rows are `pitches` elements apart."""

    how: How
    element: str
    result: Pair
    window: Pair
    stride: Pair
    pitches: Pair
    bends: tuple[bool, ...] = ()


def emit_windows(name: str, machine: Machine, windows: Windows) -> Function:
    """The kernel `void name(ptr planes, ptr made, ptr table, i64 count)`: one value of each window.

    An entry of the table holds where a channel lies, and where what is made of it. A picked value is at the tap where
    planes begin.
    """
    f = Function(name, (("ptr", "planes"), ("ptr", "made"), TABLE, COUNT))
    element, size = windows.element, SIZES[windows.element]
    most = 4 * machine.width // size
    height, width = (1, 1) if windows.how == "picked" else windows.window

    def seen(at: str, length: int) -> str:
        value = load(f, at, length, element, windows.stride[1])
        for folded in windows.bends:
            value = _bent(f, value, length, folded)
        return value

    def combined(a: str, b: str, length: int) -> str:
        if windows.how == "total":
            return f.op("add", vector(length, element), a, b)
        return _extreme(f, "umax" if element == I8 else "smax", a, b, length, element)

    def value_of(left: str, length: int) -> str:
        if height * width <= _UNROLLED:
            value = ""
            for r in range(height):
                for c in range(width):
                    one = seen(f.offset(left, r * windows.pitches[0] + c, element), length)
                    value = combined(value, one, length) if value else one
            return value
        neutral = 0 if windows.how == "total" or element == I8 else -(1 << 31)
        start = [(vector(length, element), number(neutral, length, element))]
        with f.loop(height, start) as rows:
            line = f.offset(left, f.op("mul", I64, rows.index, str(windows.pitches[0])), element)
            with f.loop(width, [(start[0][0], rows.carried[0])]) as columns:
                one = seen(f.offset(line, columns.index, element), length)
                columns.following = [combined(columns.carried[0], one, length)]
            rows.following = columns.results
        return rows.results[0]

    def channel(_: str, at: list[str]) -> None:
        def row(read: str, written: str) -> None:
            for start, length in pieces(windows.result[1], most):
                value = value_of(f.offset(read, start * windows.stride[1], element), length)
                store(f, value, f.offset(written, start, element), length, element)

        ends = f.offset("%planes", at[0], I8), f.offset("%made", at[1], I8)
        steps = size * windows.stride[0] * windows.pitches[0], size * windows.pitches[1]
        each_row(f, windows.result[0], ends, steps, row)

    each_channel(f, "%count", 2, channel)
    return f


def _bent(f: Function, value: str, count: int, folded: bool) -> str:
    """max(x, 0), or |x|."""
    kind = vector(count, I32)
    if folded:
        negative = f.op("sub", kind, number(0, count), value)
        return _extreme(f, "smax", value, negative, count, I32)
    return _extreme(f, "smax", value, number(0, count), count, I32)


def _extreme(f: Function, which: str, a: str, b: str, count: int, element: str) -> str:
    kind = vector(count, element)
    suffix = element if count == 1 else f"v{count}{element}"
    return f.call(kind, f"llvm.{which}.{suffix}", [(kind, a), (kind, b)])


def emit_read(name: str, machine: Machine, reader: Reader, plane: int) -> Function:
    """The kernel `void name(ptr sums, ptr bytes, ptr table, ptr factors, i64 count)`: what is read from planes of sums.

    An entry of the table holds where the sums of a channel lie and where its bytes; `plane` is a multiple of the bytes
    of a vector. Behind the float32 multipliers of all channels stand those for negative sums, if the reader has any.
    """
    f = Function(name, (*(("ptr", each) for each in ("sums", "bytes", "table", "factors")), COUNT))
    width = machine.width

    def channel(index: str, at: list[str]) -> None:
        positive, negative = multipliers(f, machine, reader, index)
        source, target = f.offset("%sums", at[0], I8), f.offset("%bytes", at[1], I8)
        with f.loop(plane, step=4 * width) as loop:
            first = f.offset(source, loop.index, I32)
            sums = [f.load(vector(width, I32), f.offset(first, k * width, I32), 4) for k in range(4)]
            value = in_positions(f, machine, reader.bytes(f, machine, sums, [positive] * 4, [negative] * 4))
            f.store(vector(4 * width, I8), value, f.offset(target, loop.index, I8), 1)
            loop.following = []

    each_channel(f, "%count", 2, channel)
    return f


def multipliers(f: Function, machine: Machine, reader: Reader, unit: str) -> tuple[str, str]:
    """The multipliers of a channel in every lane, for positive and for negative sums."""
    width = machine.width
    positive = f.broadcast(width, f.load(F32, f.offset("%factors", unit)))
    if reader.negative is None:
        return positive, positive
    behind = f.op("add", I64, unit, str(len(reader.negative)))
    return positive, f.broadcast(width, f.load(F32, f.offset("%factors", behind)))


def in_positions(f: Function, machine: Machine, value: str) -> str:
    """A vector of bytes as `Reader.bytes` makes it, in the order of the lanes of four vectors one after the other."""
    width = machine.width
    mask = [16 * n + 4 * k + i for k in range(4) for n in range(width // 4) for i in range(4)]
    return f.shuffle(4 * width, value, value, mask, I8)


def emit_give(
    name: str, machine: Machine, extents: Pair, pitch: int, offset: int | None, functions: Sequence[Call]
) -> Function:
    """The kernel `void name(ptr from, ptr y, ptr table, ptr scales, ptr poison, i64 count)`: numbers of an output.

    `from` are planes of bytes less `offset`, or, without it, of sums; their products with the float64 scale of the
    channel are rounded to float32, and what the functions make of them is written position by position.
    """
    pointers = [("ptr", each) for each in ("from", "y", "table", "scales", "poison")]
    f = Function(name, (*pointers, COUNT))
    element = I32 if offset is None else I8
    poison = f.load(F32, "%poison")

    def channel(index: str, at: list[str]) -> None:
        scale = f.load(F64, f.offset("%scales", index, F64), 8)
        target = f.offset("%y", f.op("mul", I64, index, str(extents[0] * extents[1])))

        def row(read: str, written: str) -> None:
            for start, length in pieces(extents[1], machine.width):
                whole = load(f, f.offset(read, start, element), length, element)
                if offset is not None:
                    whole = f.op("sub", vector(length, I32), widened(f, whole, length), number(offset, length))
                wide, floats = vector(length, F64), vector(length)
                exact = cast(f, whole, vector(length, I32), wide, "sitofp")
                product = f.op("fmul", wide, exact, f.broadcast(length, scale, F64))
                value = cast(f, product, wide, floats, "fptrunc")
                for function in functions:
                    value = vecmath.apply(f, length, value, function, machine)
                value = f.op("fadd", floats, value, f.broadcast(length, poison))
                f.store(floats, value, f.offset(written, start))

        ends = f.offset("%from", at[0], I8), target
        each_row(f, extents[0], ends, (SIZES[element] * pitch, 4 * extents[1]), row)

    each_channel(f, "%count", 1, channel)
    return f
