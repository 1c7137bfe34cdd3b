"""Kernels of rows: sums over any edges, several rows in step, and the gradient of their weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pathc.backends.llvm.column.common import byte_offset, repeat
from pathc.backends.llvm.emit import F32, I64, Function
from pathc.backends.llvm.training.frame import Arena, Frame, Reduction, Sums, added, entry, row_table
from pathc.backends.llvm.training.pieces import LOCKSTEP, Rows

_VECTORS = 4


@dataclass(frozen=True)
class RowTables:
    """Where the tables of rows lie: first step and steps of sets, rows of destinations, rows of sources."""

    sets: int
    write_dst: int
    read_dst: int
    read_src: int

    @classmethod
    def of(cls, rows: Rows, frame: Frame, arena: Arena, n_src: int, n_dst: int) -> RowTables:
        """Tables put into an arena."""
        sets = np.stack((rows.start, rows.length), axis=1).astype(np.uint32)
        return cls(
            arena.put(sets),
            arena.put(row_table(frame, rows.dst, n_dst, read=False)),
            arena.put(row_table(frame, rows.dst, n_dst, read=True)),
            arena.put(row_table(frame, rows.src, n_src, read=True)),
        )


def write_sums(f: Function, frame: Frame, rows: Rows, tables: RowTables, source: str, weights: str, sums: Sums) -> None:
    """Write the sums of all rows; `weights` is the base of the junction's slots."""
    vectors = min(_VECTORS, frame.vectors)
    weights = byte_offset(f, weights, 4 * rows.base)
    sets, write, read = (byte_offset(f, "%params", at) for at in (tables.sets, tables.write_dst, tables.read_src))
    shape = range(0, LOCKSTEP * vectors, vectors)
    with repeat(f, rows.sets) as number:
        first, length, to = _set(f, sets, write, number)
        index = f.offset(read, first, "i32")
        packed = f.offset(weights, first)
        places = [entry(f, to, lane) for lane in range(LOCKSTEP)]
        with frame.groups(f, vectors) as column:
            at = [[added(f, added(f, p, column), v * frame.bytes) for v in range(vectors)] for p in places]
            before = [sums.start(f, place) for line in at for place in line]
            values = byte_offset(f, source, column)
            end = f.op("mul", I64, length, str(LOCKSTEP), "nuw nsw")
            with f.loop(end, [(frame.kind, v) for v in before], step=LOCKSTEP) as loop:
                table, data = f.offset(index, loop.index, "i32"), f.offset(packed, loop.index)
                following = list[str]()
                for lane, start in enumerate(shape):
                    row = byte_offset(f, values, entry(f, table, lane))
                    factor = f.broadcast(frame.lanes, f.load(F32, f.offset(data, lane)))
                    for v in range(vectors):
                        value = frame.load(f, row, v * frame.bytes)
                        following.append(f.fma(frame.lanes, value, factor, loop.carried[start + v]))
                loop.following = following
            for line, start in zip(at, shape, strict=True):
                for v, place in enumerate(line):
                    sums.finish(f, loop.results[start + v], place)


def write_gradient(
    f: Function,
    frame: Frame,
    rows: Rows,
    tables: RowTables,
    values: str,
    deltas: str,
    gradients: str,
    tile_bytes: int,
    sink: Callable[[Function, str, str], None] | None,
) -> None:
    """Write the gradient of the weights of sets `%start` .. `%stop` - 1, summed over `%tiles` tiles of columns.

    They gather in `gradients`, the junction's slots; `sink` then takes them a vector at a time.
    """
    lanes = frame.lanes
    reduced = Reduction(f, lanes)
    gradients = byte_offset(f, gradients, 4 * rows.base)
    sets, reads, read = (byte_offset(f, "%params", at) for at in (tables.sets, tables.read_dst, tables.read_src))
    with f.loop("%stop", start="%start") as loop:
        first, length, to = _set(f, sets, reads, loop.index)
        end = f.op("mul", I64, length, str(LOCKSTEP), "nuw nsw")
        index, total = f.offset(read, first, "i32"), f.offset(gradients, first)
        rows_at = [byte_offset(f, deltas, entry(f, to, lane)) for lane in range(LOCKSTEP)]
        with f.loop("%span", step=tile_bytes) as tiles:
            left = [
                [frame.load(f, row, added(f, tiles.index, v * frame.bytes)) for v in range(frame.vectors)]
                for row in rows_at
            ]
            here = byte_offset(f, values, tiles.index)
            later = f.assign(f"icmp ne i64 {tiles.index}, 0")
            with f.loop(end, step=lanes) as steps:
                table = f.offset(index, steps.index, "i32")

                def product(lane: int, table: str = table, here: str = here, left: list[list[str]] = left) -> str:
                    row = byte_offset(f, here, entry(f, table, lane))
                    result = ""
                    for v, delta in enumerate(left[lane % LOCKSTEP]):
                        value = frame.load(f, row, v * frame.bytes)
                        result = (
                            f.fma(lanes, value, delta, result) if result else f.op("fmul", frame.kind, value, delta)
                        )
                    return result

                new = reduced(product)
                place = f.offset(total, steps.index)
                old = f.load(frame.kind, place, frame.bytes)
                kept = f.assign(f"select i1 {later}, {frame.kind} {old}, {frame.kind} {frame.zero()}")
                f.store(frame.kind, f.op("fadd", frame.kind, kept, new), place, frame.bytes)
        if sink is not None:
            with f.loop(end, step=lanes) as steps:
                gradient = f.load(frame.kind, f.offset(total, steps.index), frame.bytes)
                slot = added(f, added(f, first, steps.index), rows.base)
                sink(f, gradient, slot)


def _set(f: Function, sets: str, rows: str, number: str | int) -> tuple[str, str, str]:
    """First slot, steps and the table of rows of a set."""
    pair = f.offset(sets, f.op("shl", I64, str(number), "1"), "i32")
    first = f.op("mul", I64, entry(f, pair, 0), str(LOCKSTEP), "nuw nsw")
    return first, entry(f, pair, 1), f.offset(rows, f.op("shl", I64, str(number), "2"), "i32")
