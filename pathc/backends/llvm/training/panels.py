"""Kernels of panels: forward and input gradient from one copy of the weights, weight gradient over the whole batch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pathc.backends.llvm.column.common import byte_offset, repeat
from pathc.backends.llvm.emit import I64, Function
from pathc.backends.llvm.training.frame import Arena, Frame, Reduction, Sums, added, entry, row_table, scaled, sums_of
from pathc.backends.llvm.training.pieces import Panels

_UNROLLED = 16
_PRODUCTS = 128
"""Sources and multiply-adds in one basic block, about."""
_WIDEST = 8


@dataclass(frozen=True)
class PanelTables:
    """Where the tables of a panel lie: offsets of rows to read and to write, of sources and of destinations."""

    read_src: int
    write_src: int
    read_dst: int
    write_dst: int

    @classmethod
    def of(cls, panel: Panels, frame: Frame, arena: Arena, n_src: int, n_dst: int) -> PanelTables:
        """Tables put into an arena; reading and writing share one where nothing is padded."""
        places = list[int]()
        for units, count in ((panel.src, n_src), (panel.dst, n_dst)):
            places.append(arena.put(row_table(frame, units, count, read=True)))
            padded = bool((units < 0).any())
            places.append(arena.put(row_table(frame, units, count, read=False)) if padded else places[-1])
        return cls(*places)


@dataclass(frozen=True)
class _Way:
    """One direction through a panel: sizes, tables, and where weights lie, in floats."""

    inputs: int
    outputs: int
    width: int
    unrolled: int
    read: int
    write: int
    tile_step: int
    weight: Callable[[int, int], int]
    round_step: int


def _forward(panel: Panels, tables: PanelTables) -> _Way:
    tile = panel.tile
    unrolled = min(_UNROLLED, _PRODUCTS // tile, panel.fan_in)
    return _Way(
        panel.fan_in,
        panel.fan_out,
        tile,
        unrolled,
        tables.read_src,
        tables.write_dst,
        panel.fan_in * tile,
        lambda i, o: i * tile + o,
        unrolled * tile,
    )


def _backward(panel: Panels, tables: PanelTables) -> _Way:
    tile = panel.tile
    width = next(w for w in (_WIDEST, 4, 2, 1) if panel.fan_in % w == 0)
    rounds = max(1, min(_UNROLLED, panel.fan_out) // tile)
    return _Way(
        panel.fan_out,
        panel.fan_in,
        width,
        rounds * tile,
        tables.read_dst,
        tables.write_src,
        width * tile,
        lambda i, o: (i // tile * panel.fan_in + o) * tile + i % tile,
        rounds * panel.fan_in * tile,
    )


def write_forward(
    f: Function, frame: Frame, panel: Panels, tables: PanelTables, source: str, weights: str, sums: Sums
) -> None:
    """Write the sums of a panel's destinations; `%params` is the base of tables, `weights` of the junction's slots."""
    _write(f, frame, panel, _forward(panel, tables), source, byte_offset(f, weights, 4 * panel.base), sums)


def write_backward(
    f: Function, frame: Frame, panel: Panels, tables: PanelTables, source: str, weights: str, sums: Sums
) -> None:
    """Write the gradient at a panel's sources; `source` holds that at its destinations."""
    _write(f, frame, panel, _backward(panel, tables), source, byte_offset(f, weights, 4 * panel.base), sums)


def _write(f: Function, frame: Frame, panel: Panels, way: _Way, source: str, weights: str, sums: Sums) -> None:
    vectors = frame.grouped(way.width)
    reads, writes = byte_offset(f, "%params", way.read), byte_offset(f, "%params", way.write)
    with repeat(f, panel.blocks) as block:
        read = f.offset(reads, scaled(f, block, way.inputs), "i32")
        write = f.offset(writes, scaled(f, block, way.outputs), "i32")
        matrix = f.offset(weights, scaled(f, block, panel.fan_in * panel.fan_out))
        with repeat(f, way.outputs // way.width) as number:
            packed = f.offset(matrix, scaled(f, number, way.tile_step))
            to = f.offset(write, scaled(f, number, way.width), "i32")
            rows = [entry(f, to, o) for o in range(way.width)]
            with frame.groups(f, vectors) as column:
                _write_tile(f, frame, way, (read, packed, byte_offset(f, source, column)), column, rows, sums, vectors)


def _write_tile(
    f: Function,
    frame: Frame,
    way: _Way,
    data: tuple[str, str, str],
    column: str | int,
    rows: list[str],
    sums: Sums,
    vectors: int,
) -> None:
    """Write the sums of one tile of outputs for one group of columns."""
    read, packed, source = data
    places = [[added(f, added(f, row, column), v * frame.bytes) for v in range(vectors)] for row in rows]
    values = [[sums.start(f, at) for at in line] for line in places]

    def some(table: str, weights: str, count: int, before: list[list[str]]) -> list[list[str]]:
        at = [entry(f, table, i) for i in range(count)]
        factors = [[f.offset(weights, way.weight(i, o)) for o in range(way.width)] for i in range(count)]
        return sums_of(f, frame, source, at, factors, before)

    rounds, rest = divmod(way.inputs, way.unrolled)
    if rounds == 1:
        values = some(read, packed, way.unrolled, values)
        read, packed = f.offset(read, way.unrolled, "i32"), f.offset(packed, way.round_step)
    elif rounds:
        carried = [("ptr", read), ("ptr", packed), *((frame.kind, v) for line in values for v in line)]
        with f.loop(rounds, carried) as loop:
            table, weights, *before = loop.carried
            after = some(table, weights, way.unrolled, _folded(before, vectors))
            ahead = f.offset(table, way.unrolled, "i32"), f.offset(weights, way.round_step)
            loop.following = [*ahead, *(v for line in after for v in line)]
        read, packed, *flat = loop.results
        values = _folded(flat, vectors)
    if rest:
        values = some(read, packed, rest, values)
    for line, at in zip(values, places, strict=True):
        for value, place in zip(line, at, strict=True):
            sums.finish(f, value, place)


def _folded(values: list[str], vectors: int) -> list[list[str]]:
    return [values[at : at + vectors] for at in range(0, len(values), vectors)]


def write_gradient(
    f: Function,
    frame: Frame,
    panel: Panels,
    tables: PanelTables,
    values: str,
    deltas: str,
    tile_bytes: int,
    sink: Callable[[Function, str, str], None],
) -> None:
    """Write the gradient of the weights of blocks `%start` .. `%stop` - 1, summed over `%tiles` tiles of columns.

    `values` and `deltas` are the buffers of source and destination in the first tile; `sink` takes a vector of
    gradients and its first slot.
    """
    lanes, tile = frame.lanes, panel.tile
    sources = lanes // tile
    reduced = Reduction(f, lanes)
    read_src, read_dst = byte_offset(f, "%params", tables.read_src), byte_offset(f, "%params", tables.read_dst)
    with f.loop("%stop", start="%start") as blocks:
        src_at = f.offset(read_src, scaled(f, blocks.index, panel.fan_in), "i32")
        dst_at = f.offset(read_dst, scaled(f, blocks.index, panel.fan_out), "i32")
        with repeat(f, panel.tiles) as number:
            to = f.offset(dst_at, scaled(f, number, tile), "i32")
            dst_rows = [byte_offset(f, deltas, entry(f, to, d)) for d in range(tile)]
            with repeat(f, panel.fan_in // sources) as piece:
                at = f.offset(src_at, scaled(f, piece, sources), "i32")
                src_rows = [byte_offset(f, values, entry(f, at, s)) for s in range(sources)]
                total = _over_batch(f, frame, src_rows, dst_rows, tile_bytes)
                gradient = reduced(total.__getitem__)
                slot = f.op("mul", I64, blocks.index, str(panel.tiles), "nuw nsw")
                slot = added(f, slot, number)
                slot = added(f, f.op("mul", I64, slot, str(panel.fan_in // sources), "nuw nsw"), piece)
                slot = added(f, f.op("mul", I64, slot, str(lanes), "nuw nsw"), panel.base)
                sink(f, gradient, slot)


def _over_batch(f: Function, frame: Frame, src_rows: list[str], dst_rows: list[str], tile_bytes: int) -> list[str]:
    """Write the products of sources and destinations, vector by vector over the batch: [source][destination]."""
    count = len(src_rows) * len(dst_rows)
    with f.loop("%span", [(frame.kind, frame.zero())] * count, step=tile_bytes) as loop:
        total = list(loop.carried)
        for v in range(frame.vectors):
            here = added(f, loop.index, v * frame.bytes)
            left = [frame.load(f, row, here) for row in dst_rows]
            right = [frame.load(f, row, here) for row in src_rows]
            total = [
                f.fma(frame.lanes, a, d, total[s * len(left) + k])
                for s, a in enumerate(right)
                for k, d in enumerate(left)
            ]
        loop.following = total
    return loop.results
