"""Kernels for many samples: a tile of samples lies in the lanes, a unit is a row of bytes, sources come in fours.

A row holds the samples of a tile in their order. Four rows become four vectors whose lanes hold one sample of each;
vector k has samples 16 l + 4 k + i in lane 4 l + i.
"""

from __future__ import annotations

from collections.abc import Sequence

from pathc.backends.llvm.column.transpose import quarters
from pathc.backends.llvm.emit import F32, I64, Function, vector
from pathc.backends.llvm.integer.reading import F64, Reader
from pathc.backends.llvm.integer.vectors import (
    I8,
    I16,
    I32,
    cast,
    dot,
    in_order,
    interleaved,
    joined,
    splat,
    unpacked,
)
from pathc.backends.llvm.machine import Machine

CHUNKS = (4, 2, 1)
"""Units whose sums are computed at once."""


def emit_turn(name: str, machine: Machine) -> Function:
    """The kernel `void name(ptr rows, ptr units, i64 pitch, i64 blocks)`: rows of samples to rows of units.

    Sample s has its bytes at rows + s * pitch, 16 of them a block.
    """
    f = Function(name, (("ptr", "rows"), ("ptr", "units"), (I64, "pitch"), (I64, "blocks")))
    width = machine.width
    size, kind, part = 4 * width, vector(4 * width, I8), vector(16, I8)
    with f.loop("%blocks") as loop:
        first = f.offset("%rows", f.op("shl", I64, loop.index, "4"), I8)
        found: list[str] = []
        for i in range(16):
            parts = [
                f.load(part, f.offset(first, f.op("mul", I64, "%pitch", str(16 * n + i)), I8), 1)
                for n in range(width // 4)
            ]
            found.append(joined(f, parts, 16, I8))
        for _ in range(4):
            found = [
                interleaved(f, width, found[i], found[i + 8], I8, high=high)
                for i in range(8) for high in (False, True)
            ]  # fmt: skip
        target = f.offset("%units", f.op("mul", I64, loop.index, str(16 * size)), I8)
        for i, value in enumerate(found):
            f.store(kind, value, f.offset(target, i * size, I8), size)
    return f


def emit_arrange(name: str, machine: Machine) -> Function:
    """The kernel `void name(ptr units, ptr arranged, ptr table, i64 count)`: fours of rows as vectors of fours.

    The table holds, in 32-bit numbers, where four rows lie in bytes.
    """
    f = Function(name, (("ptr", "units"), ("ptr", "arranged"), ("ptr", "table"), (I64, "count")))
    width = machine.width
    size, kind, halves = 4 * width, vector(4 * width, I8), vector(2 * width, I16)
    with f.loop("%count", [("ptr", "%table"), ("ptr", "%arranged")]) as loop:
        table, target = loop.carried
        rows: list[str] = []
        for k in range(4):
            place = cast(f, f.load(I32, f.offset(table, k, I32)), I32, I64, "zext")
            rows.append(f.load(kind, f.offset("%units", place, I8), size))
        number = 0
        for high in (False, True):
            a, b = (
                cast(f, interleaved(f, width, rows[2 * k], rows[2 * k + 1], I8, high=high), kind, halves)
                for k in (0, 1)
            )
            for upper in (False, True):
                value = interleaved(f, width, a, b, I16, high=upper)
                f.store(halves, value, f.offset(target, number * size, I8), size)
                number += 1
        loop.following = [f.offset(table, 4, I32), f.offset(target, 4 * size, I8)]
    return f


def emit_mix(name: str, machine: Machine, units: int, field: int, reader: Reader | None, *, skipped: bool) -> Function:
    """The kernel `void name(ptr arranged, ptr weights, ptr before, ptr to, ptr factors, ptr table, i64 count)`.

    An entry of the table holds, in 64-bit numbers, the rounds, where the sources lie, how far apart the weights of
    a unit are, where those of each unit begin, and the units. `before` has a 32-bit integer for each unit, or, with
    `skipped`, a tile of them. With a reader `to` is given rows of bytes, else tiles of sums. All places are in bytes.
    """
    names = ("arranged", "weights", "before", "to", "factors", "table")
    f = Function(name, (*(("ptr", each) for each in names), (I64, "count")))
    width, pack = machine.width, 8 // field
    size, kind = 4 * width, vector(width, I32)
    with f.loop("%count", [("ptr", "%table")]) as chunks:
        table = chunks.carried[0]
        numbers = [f.load(I64, f.offset(table, k, I64), 8) for k in range(3 + 2 * units)]
        rounds, source, stride = numbers[:3]
        places, own = numbers[3 : 3 + units], numbers[3 + units :]
        sums: list[str] = []
        for unit in own:
            if skipped:
                at = f.offset("%before", f.op("mul", I64, unit, str(4 * size)), I8)
                sums.extend(f.load(kind, f.offset(at, size * v, I8), size) for v in range(4))
            else:
                sums.extend([f.broadcast(width, f.load(I32, f.offset("%before", unit, I32)), I32)] * 4)
        ends = [("ptr", f.offset("%arranged", source, I8)), ("ptr", "%weights")]
        with f.loop(rounds, [*((kind, value) for value in sums), *ends]) as loop:
            found, (sources, weights) = loop.carried[:-2], loop.carried[-2:]
            packed = [f.broadcast(width, f.load(I32, f.offset(weights, place, I8)), I32) for place in places]
            for k in range(pack):
                seen = [f.load(kind, f.offset(sources, size * (4 * k + v), I8), size) for v in range(4)]
                for u in range(units):
                    weight = unpacked(f, width, packed[u], field, k)
                    for v in range(4):
                        found[4 * u + v] = dot(f, machine, found[4 * u + v], seen[v], weight)
            loop.following = [*found, f.offset(sources, 4 * size * pack, I8), f.offset(weights, stride, I8)]
        for u, unit in enumerate(own):
            totals = loop.results[4 * u : 4 * u + 4]
            if field < 8:
                totals = [f.op("ashr", kind, total, splat(8 - field)) for total in totals]
            emit_store(f, machine, reader, unit, totals)
        chunks.following = [f.offset(table, 3 + 2 * units, I64)]
    return f


def emit_store(f: Function, machine: Machine, reader: Reader | None, unit: str, totals: Sequence[str]) -> None:
    """What is read from the sums of a unit, or the sums, to its place; with `%to` and `%factors` of `emit_mix`."""
    width = machine.width
    size, kind, bytes_ = 4 * width, vector(width, I32), vector(4 * width, I8)
    if reader is None:
        at = f.offset("%to", f.op("mul", I64, unit, str(4 * size)), I8)
        for v, total in enumerate(totals):
            f.store(kind, total, f.offset(at, size * v, I8), size)
        return
    positive = negative = f.broadcast(width, f.load(F32, f.offset("%factors", unit)))
    if reader.negative is not None:
        behind = f.op("add", I64, unit, str(len(reader.negative)))
        negative = f.broadcast(width, f.load(F32, f.offset("%factors", behind)))
    row = reader.bytes(f, machine, totals, [positive] * 4, [negative] * 4)
    f.store(bytes_, row, f.offset("%to", f.op("mul", I64, unit, str(size)), I8), size)


def emit_skip(name: str, machine: Machine, *, first: bool) -> Function:
    """The kernel `void name(ptr units, ptr before, ptr after, ptr factors, i64 count)`: tiles of 32-bit integers.

    after[u] = before[u] + factors[u] * units[u]; `first` says that `before` has one number for each unit.
    """
    f = Function(name, (*(("ptr", each) for each in ("units", "before", "after", "factors")), (I64, "count")))
    width = machine.width
    size, kind, bytes_ = 4 * width, vector(width, I32), vector(4 * width, I8)
    with f.loop("%count") as loop:
        row = f.load(bytes_, f.offset("%units", f.op("mul", I64, loop.index, str(size)), I8), size)
        mixed = cast(f, f.shuffle(size, row, row, in_order(width), I8), bytes_, kind)
        factor = f.broadcast(width, f.load(I32, f.offset("%factors", loop.index, I32)), I32)
        tile = f.op("mul", I64, loop.index, str(4 * size))
        for v in range(4):
            shifted = f.op("lshr", kind, mixed, splat(8 * v)) if v else mixed
            value = f.op("and", kind, shifted, splat(255)) if v < 3 else shifted
            if first:
                start = f.broadcast(width, f.load(I32, f.offset("%before", loop.index, I32)), I32)
            else:
                start = f.load(kind, f.offset(f.offset("%before", tile, I8), size * v, I8), size)
            total = f.op("add", kind, start, f.op("mul", kind, value, factor))
            f.store(kind, total, f.offset(f.offset("%after", tile, I8), size * v, I8), size)
    return f


def emit_floats(name: str, machine: Machine, offset: int | None) -> Function:
    """The kernel `void name(ptr from, ptr scales, ptr poison, ptr tile, i64 units)`: numbers of an output.

    `from` are tiles of sums, or rows of bytes less `offset`; the products with the float64 scales are rounded to
    float32. The tile is [units][samples]; the poison of a sample is added to all its units.
    """
    parameters = (*(("ptr", each) for each in ("from", "scales", "poison", "tile")), (I64, "units"))
    f = Function(name, parameters)
    width, size = machine.width, 4 * machine.width
    kind, floats, wide = vector(width, I32), vector(width), vector(width, F64)
    with f.loop("%units") as loop:
        scale = f.broadcast(width, f.load(F64, f.offset("%scales", loop.index, F64), 8), F64)
        place = f.op("mul", I64, loop.index, str(size))
        values: list[str] = []
        for v in range(4):
            if offset is None:
                whole = f.load(kind, f.offset(f.offset("%from", place, I32), v * width, I32), size)
            else:
                part = vector(width, I8)
                byte = f.load(part, f.offset(f.offset("%from", place, I8), v * width, I8), width)
                whole = f.op("sub", kind, cast(f, byte, part, kind, "zext"), splat(offset))
            product = f.op("fmul", wide, cast(f, whole, kind, wide, "sitofp"), scale)
            values.append(cast(f, product, wide, floats, "fptrunc"))
        target = f.offset("%tile", place)
        for v, value in enumerate(_sorted(f, width, values) if offset is None else values):
            poison = f.load(floats, f.offset("%poison", v * width), size)
            f.store(floats, f.op("fadd", floats, value, poison), f.offset(target, v * width), size)
    return f


def _sorted(f: Function, width: int, values: Sequence[str]) -> list[str]:
    """Four vectors whose samples stand in the order of sums, in the order of samples."""
    if width == 4:
        return list(values)
    if width == 16:
        return quarters(f, width, values)
    front, back = (quarters(f, width, values[at : at + 2]) for at in (0, 2))
    return [front[0], back[0], front[1], back[1]]
