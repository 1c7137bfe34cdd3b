"""Between a user's array with units first and a tile of columns, a unit in a row on both sides.

Vectors are copied as they are. Where a tile is a single vector wide it may be filled in part: then only the user's
samples are touched.
"""

from __future__ import annotations

from pathc.backends.llvm import vecmath
from pathc.backends.llvm.column.common import (
    Tile,
    byte_offset,
    column_groups,
    load_vectors,
    repeat,
    store_vectors,
    tile,
)
from pathc.backends.llvm.column.transpose import TRANSPOSE_PARAMETERS
from pathc.backends.llvm.emit import I64, Function, constant, vector
from pathc.backends.llvm.machine import Machine
from pathc.ir.types import Call

_VECTORS = 4


def emit_load(
    name: str, machine: Machine, columns: int, units: int, real: int, activation: Call | None = None
) -> Function:
    """The kernel `void name(ptr rows, ptr tile, i64 stride, i64 count)` that fills a tile from a user's array.

    `rows` points at the first sample of the first unit, `stride` floats lead to the next unit; float32, aligned to 4
    bytes. The tile is [units][columns]; units from `real` on become zero. `count` samples are there: all columns, or
    1 <= count <= columns where the columns are one vector, and zero behind them.
    """
    f = Function(name, TRANSPOSE_PARAMETERS)
    own, users = _tiles(f, machine, columns)
    with repeat(f, real) as unit:
        source, target = _unit(f, users, "%rows", unit), _unit(f, own, "%tile", unit)
        with column_groups(f, own) as column:
            values = _loaded(f, users, byte_offset(f, source, column))
            finished = [vecmath.apply(f, own.lanes, value, activation, machine) for value in values]
            store_vectors(f, own, finished, byte_offset(f, target, column))
    if units > real:
        with repeat(f, units - real) as unit:
            target = _unit(f, own, "%tile", f.op("add", I64, str(unit), str(real)))
            with column_groups(f, own) as column:
                store_vectors(f, own, [constant(0.0, own.lanes)] * own.vectors, byte_offset(f, target, column))
    return f


def emit_save(name: str, machine: Machine, columns: int, real: int) -> Function:
    """The kernel `void name(ptr rows, ptr tile, i64 stride, i64 count)` that writes `real` units to a user's array.

    Arguments are as for `emit_load`; columns from `count` on are not written.
    """
    f = Function(name, TRANSPOSE_PARAMETERS)
    own, users = _tiles(f, machine, columns)
    with repeat(f, real) as unit:
        source, target = _unit(f, own, "%tile", unit), _unit(f, users, "%rows", unit)
        with column_groups(f, own) as column:
            values = load_vectors(f, own, byte_offset(f, source, column))
            at = byte_offset(f, target, column)
            if own.columns > own.lanes:
                store_vectors(f, users, values, at)
            else:
                given = [(own.kind, values[0]), ("ptr", at), ("i32", "4"), (_mask_kind(own), _mask(f, own))]
                f.call("void", f"llvm.masked.store.v{own.lanes}f32.p0", given)
    return f


def _tiles(f: Function, machine: Machine, columns: int) -> tuple[Tile, Tile]:
    """The tile in our own buffer, and in the user's array."""
    own = tile(machine, columns, _VECTORS)
    pitch = f.op("shl", I64, "%stride", "2")
    return own, Tile(machine, columns, own.vectors, pitch)


def _unit(f: Function, t: Tile, pointer: str, unit: str | int) -> str:
    """Address of a unit."""
    return byte_offset(f, pointer, f.op("mul", I64, str(unit), t.pitch or str(t.stride)))


def _loaded(f: Function, t: Tile, at: str) -> list[str]:
    """The vectors of a register tile of the user's array, in part where they may be fewer."""
    if t.columns > t.lanes:
        return load_vectors(f, t, at)
    given = [("ptr", at), ("i32", "4"), (_mask_kind(t), _mask(f, t)), (t.kind, constant(0.0, t.lanes))]
    return [f.call(t.kind, f"llvm.masked.load.v{t.lanes}f32.p0", given)]


def _mask_kind(t: Tile) -> str:
    return vector(t.lanes, "i1")


def _mask(f: Function, t: Tile) -> str:
    """The lanes of samples that are there."""
    numbers = "<" + ", ".join(f"i64 {lane}" for lane in range(t.lanes)) + ">"
    wide = f.broadcast(t.lanes, "%count", I64)
    return f.assign(f"icmp ult {vector(t.lanes, I64)} {numbers}, {wide}")
