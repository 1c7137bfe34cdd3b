"""Small kernels of nets of bfloat16: rows put into pairs, sums made into rows, skips.

A row is a unit, 64 samples of two bytes in an order that makes pairs of two rows by interleaving 16 bytes: behind the
four samples 32 h + 4 l + i, for i from 0 to 3, stand those 16 further. Sums are float32 in their natural order.
"""

from __future__ import annotations

from collections.abc import Sequence

from pathc.backends.llvm import vecmath
from pathc.backends.llvm.emit import F32, I64, Function, vector
from pathc.backends.llvm.integer.vectors import I16, interleaved
from pathc.backends.llvm.machine import Machine
from pathc.backends.llvm.tiles.code import I32, PITCH, SAMPLES, number
from pathc.ir.types import Call

ROW = 2 * SAMPLES
"""Bytes of a row of halves."""
_VECTORS, _HALVES, _WORDS = vector(16, F32), vector(32, "bfloat"), vector(32, "i16")
_NUMBERS = vector(16, I32)
_FLAGS = vector(16, "i1")
_SIZE = 64


def emit_pairs(name: str) -> Function:
    """The kernel `void name(ptr rows, ptr pairs, ptr table, i64 count)`: two rows become four vectors of 16 samples.

    The table holds, in 32-bit numbers, where two rows lie in bytes.
    """
    f = Function(name, (("ptr", "rows"), ("ptr", "pairs"), ("ptr", "table"), (I64, "count")))
    with f.loop("%count", [("ptr", "%table"), ("ptr", "%pairs")]) as loop:
        table, target = loop.carried
        rows = [f.offset("%rows", number(f, table, k), "i8") for k in range(2)]
        for half in range(2):
            a, b = (f.load(_WORDS, f.offset(row, half * _SIZE, "i8"), _SIZE) for row in rows)
            for high in range(2):
                place = f.offset(target, (2 * half + high) * _SIZE, "i8")
                f.store(_WORDS, interleaved(f, 16, a, b, I16, high=bool(high)), place, _SIZE)
        loop.following = [f.offset(table, 2, I32), f.offset(target, PITCH, "i8")]
    return f


def emit_reading(
    name: str, machine: Machine, calls: Sequence[Call], *, skipped: bool, rows: bool, floats: bool
) -> Function:
    """The kernel `void name(ptr sums, ptr before, ptr to, ptr tile, ptr units, i64 count)`: rows of sums are read.

    `before` is added, a number for each unit, or with `skipped` 64 of them, then `calls` are applied. `rows` says that
    rows of halves are written to `to`, `floats` that float32 is written to the tile, [units][64 samples].
    """
    f = Function(name, (*(("ptr", each) for each in ("sums", "before", "to", "tile", "units")), (I64, "count")))
    with f.loop("%count", [("ptr", "%sums")]) as row:
        unit = number(f, "%units", row.index)
        if skipped:
            before = load_sums(f, f.offset("%before", f.op("mul", I64, unit, str(PITCH)), "i8"))
        else:
            before = [f.broadcast(16, f.load(F32, f.offset("%before", unit)))] * 4
        values = [f.op("fadd", _VECTORS, *both) for both in zip(load_sums(f, row.carried[0]), before, strict=True)]
        for call in calls:
            values = [vecmath.apply(f, 16, value, call, machine) for value in values]
        if rows:
            store_halves(f, values, f.offset("%to", f.op("mul", I64, unit, str(ROW)), "i8"))
        if floats:
            store_sums(f, values, f.offset("%tile", f.op("mul", I64, unit, str(PITCH)), "i8"))
        row.following = [f.offset(row.carried[0], PITCH, "i8")]
    return f


def emit_halve(name: str) -> Function:
    """The kernel `void name(ptr tile, ptr rows, i64 units)`: a tile of float32 as rows of halves."""
    f = Function(name, (("ptr", "tile"), ("ptr", "rows"), (I64, "units")))
    with f.loop("%units", [("ptr", "%tile"), ("ptr", "%rows")]) as loop:
        tile, row = loop.carried
        store_halves(f, load_sums(f, tile), row)
        loop.following = [f.offset(tile, PITCH, "i8"), f.offset(row, ROW, "i8")]
    return f


def emit_units_in(name: str, machine: Machine, real: int, calls: Sequence[Call], *, rows: bool) -> Function:
    """The kernel `void name(ptr x, ptr to, i64 stride, i64 count)` for arrays with units first.

    x points at the first of `count` samples, at most 64, of the first of `real` units, `stride` floats apart; zero
    stands for the others. `calls` are applied; `to` is given rows of halves, or a tile of float32.
    """
    f = Function(name, (("ptr", "x"), ("ptr", "to"), (I64, "stride"), (I64, "count")))
    masks = _masks(f)
    with f.loop(real) as unit:
        source = f.offset("%x", f.op("mul", I64, unit.index, "%stride"))
        values: list[str] = []
        for v, mask in enumerate(masks):
            given = [("ptr", f.offset(source, 16 * v)), (I32, "4"), (_FLAGS, mask), (_VECTORS, "zeroinitializer")]
            value = f.call(_VECTORS, "llvm.masked.load.v16f32.p0", given)
            for call in calls:
                value = vecmath.apply(f, 16, value, call, machine)
            values.append(value)
        if rows:
            store_halves(f, values, f.offset("%to", f.op("mul", I64, unit.index, str(ROW)), "i8"))
        else:
            store_sums(f, values, f.offset("%to", f.op("mul", I64, unit.index, str(PITCH)), "i8"))
    return f


def emit_units_out(name: str, real: int) -> Function:
    """The kernel `void name(ptr y, ptr tile, i64 stride, i64 count)`: a tile to an array with units first."""
    f = Function(name, (("ptr", "y"), ("ptr", "tile"), (I64, "stride"), (I64, "count")))
    masks = _masks(f)
    with f.loop(real) as unit:
        target = f.offset("%y", f.op("mul", I64, unit.index, "%stride"))
        values = load_sums(f, f.offset("%tile", f.op("mul", I64, unit.index, str(PITCH)), "i8"))
        for v, (value, mask) in enumerate(zip(values, masks, strict=True)):
            given = [(_VECTORS, value), ("ptr", f.offset(target, 16 * v)), (I32, "4"), (_FLAGS, mask)]
            f.call("void", "llvm.masked.store.v16f32.p0", given)
    return f


def _masks(f: Function) -> list[str]:
    """Which of 64 samples are among the first `%count`, four vectors."""
    count = f.broadcast(16, f.assign(f"trunc i64 %count to {I32}"), I32)
    lanes = ["<" + ", ".join(f"{I32} {16 * v + k}" for k in range(16)) + ">" for v in range(4)]
    return [f.assign(f"icmp ult {_NUMBERS} {lane}, {count}") for lane in lanes]


def emit_start(name: str) -> Function:
    """The kernel `void name(ptr bias, ptr tile, i64 units)`: a tile that holds a number for each unit."""
    f = Function(name, (("ptr", "bias"), ("ptr", "tile"), (I64, "units")))
    with f.loop("%units") as loop:
        value = f.broadcast(16, f.load(F32, f.offset("%bias", loop.index)))
        store_sums(f, [value] * 4, f.offset("%tile", f.op("mul", I64, loop.index, str(PITCH)), "i8"))
    return f


def emit_skip(name: str) -> Function:
    """The kernel `void name(ptr rows, ptr tile, ptr scale, i64 units)`: adds rows times a number to a tile."""
    f = Function(name, (("ptr", "rows"), ("ptr", "tile"), ("ptr", "scale"), (I64, "units")))
    scale = f.broadcast(16, f.load(F32, "%scale"))
    with f.loop("%units", [("ptr", "%rows"), ("ptr", "%tile")]) as loop:
        row, tile = loop.carried
        sums = load_sums(f, tile)
        made = [f.fma(16, value, scale, total) for value, total in zip(load_halves(f, row), sums, strict=True)]
        store_sums(f, made, tile)
        loop.following = [f.offset(row, ROW, "i8"), f.offset(tile, PITCH, "i8")]
    return f


def load_halves(f: Function, row: str) -> list[str]:
    """A row of halves as four vectors of 16 samples."""
    made: list[str] = []
    for half in range(2):
        words = f.load(_WORDS, f.offset(row, half * _SIZE, "i8"), _SIZE)
        for high in range(2):
            picks = ", ".join(f"i32 {8 * lane + 4 * high + i}" for lane in range(4) for i in range(4))
            own = f.assign(f"shufflevector {_WORDS} {words}, {_WORDS} poison, <16 x i32> <{picks}>")
            wide = f.assign(f"zext <16 x i16> {own} to {vector(16, I32)}")
            wide = f.op("shl", vector(16, I32), wide, "splat (i32 16)")
            made.append(f.assign(f"bitcast {vector(16, I32)} {wide} to {_VECTORS}"))
    return made


def load_sums(f: Function, place: str) -> list[str]:
    """Four vectors of 16 samples."""
    return [f.load(_VECTORS, f.offset(place, v * _SIZE, "i8"), _SIZE) for v in range(4)]


def store_sums(f: Function, values: Sequence[str], place: str) -> None:
    """Four vectors of 16 samples to memory."""
    for v, value in enumerate(values):
        f.store(_VECTORS, value, f.offset(place, v * _SIZE, "i8"), _SIZE)


def store_halves(f: Function, values: Sequence[str], place: str) -> None:
    """Four vectors of 16 samples as a row of halves."""
    for half in range(2):
        low, high = values[2 * half : 2 * half + 2]
        both = f.call(_HALVES, "llvm.x86.avx512bf16.cvtne2ps2bf16.512", [(_VECTORS, high), (_VECTORS, low)])
        quads = f.assign(f"bitcast {_HALVES} {both} to <8 x i64>")
        mixed = f.shuffle(8, quads, quads, [0, 4, 1, 5, 2, 6, 3, 7], I64)
        f.store("<8 x i64>", mixed, f.offset(place, half * _SIZE, "i8"), _SIZE)
