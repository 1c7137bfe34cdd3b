"""Weight gradients of panels as outer products: lanes over destinations, whose gradients are transposed beforehand.

No sum over lanes is needed then. Pays where a tile of destinations is a whole vector.
"""

from __future__ import annotations

from collections.abc import Callable

from pathc.backends.llvm.column.common import byte_offset, repeat
from pathc.backends.llvm.column.transpose import square
from pathc.backends.llvm.emit import F32, I64, Function
from pathc.backends.llvm.training.frame import Frame, added, entry, scaled
from pathc.backends.llvm.training.panels import PanelTables
from pathc.backends.llvm.training.pieces import Panels

_SOURCES = 8
_UNROLLED = 16
_HELD = 16
"""Sources whose sums stay in registers over the whole batch."""


def suits(panel: Panels, frame: Frame) -> bool:
    """Whether `write_gradient` takes this panel."""
    return panel.tile == frame.lanes and panel.fan_in % _SOURCES == 0


def write_gradient(
    f: Function,
    frame: Frame,
    panel: Panels,
    tables: PanelTables,
    buffers: tuple[str, str],
    gradients: str,
    tile_bytes: int,
    sink: Callable[[Function, str, str], None] | None,
) -> None:
    """Write the gradient of the weights of blocks `%start` .. `%stop` - 1, summed over all tiles of columns.

    `buffers` are those of the values and the gradients in the first tile. Sums gather in `gradients`, the junction's
    slots; `sink` then takes them a vector at a time.
    """
    lanes, kind = frame.lanes, frame.kind
    values, deltas = buffers
    total = f.offset(gradients, panel.base)
    turned = f.assign(f"alloca [{frame.columns} x {kind}], align 64")
    held = panel.fan_in <= _HELD and frame.machine.registers > _HELD
    read_src, read_dst = byte_offset(f, "%params", tables.read_src), byte_offset(f, "%params", tables.read_dst)
    with f.loop("%stop", start="%start") as blocks:
        src_at = f.offset(read_src, scaled(f, blocks.index, panel.fan_in), "i32")
        dst_at = f.offset(read_dst, scaled(f, blocks.index, panel.fan_out), "i32")
        with repeat(f, panel.tiles) as number:
            to = f.offset(dst_at, scaled(f, number, lanes), "i32")
            rows = [byte_offset(f, deltas, entry(f, to, d)) for d in range(lanes)]
            first = added(f, f.op("mul", I64, blocks.index, str(panel.tiles), "nuw nsw"), number)
            first = f.op("mul", I64, first, str(panel.fan_in * lanes), "nuw nsw")
            if held:
                sources = [byte_offset(f, values, entry(f, src_at, s)) for s in range(panel.fan_in)]
                for k, gradient in enumerate(_held_products(f, frame, rows, sources, turned, tile_bytes)):
                    slot = added(f, first, k * lanes)
                    if sink is None:
                        frame.store(f, gradient, f.offset(total, slot), 0)
                    else:
                        sink(f, gradient, added(f, slot, panel.base))
            else:
                with f.loop("%span", step=tile_bytes) as tiles:
                    _turn(f, frame, rows, tiles.index, turned)
                    later = f.assign(f"icmp ne i64 {tiles.index}, 0")
                    _products(f, frame, panel, src_at, byte_offset(f, values, tiles.index), turned,
                              f.offset(total, first), later)  # fmt: skip
            if sink is not None and not held:
                with f.loop(panel.fan_in * lanes, step=lanes) as steps:
                    slot = added(f, first, steps.index)
                    gradient = f.load(kind, f.offset(total, slot), frame.bytes)
                    sink(f, gradient, added(f, slot, panel.base))


def _held_products(
    f: Function, frame: Frame, rows: list[str], sources: list[str], turned: str, tile_bytes: int
) -> list[str]:
    """Write the sums over the batch for a few sources.

    Each vector of columns is transposed right before its products, so that the processor overlaps one with the other.
    """
    kind, lanes = frame.kind, frame.lanes
    with f.loop("%span", [(kind, frame.zero())] * len(sources), step=tile_bytes) as tiles:
        with f.loop(frame.stride, [(kind, v) for v in tiles.carried], step=frame.bytes) as loop:
            at = added(f, tiles.index, loop.index)
            _turn_square(f, frame, rows, at, turned)
            sums = list(loop.carried)
            for first in range(0, len(sources), _SOURCES):
                here = [byte_offset(f, source, at) for source in sources[first : first + _SOURCES]]
                for column in range(lanes):
                    delta = frame.load(f, turned, column * frame.bytes)
                    for s, source in enumerate(here, first):
                        value = f.broadcast(lanes, f.load(F32, f.offset(source, column)))
                        sums[s] = f.fma(lanes, value, delta, sums[s])
            loop.following = sums
        tiles.following = loop.results
    return tiles.results


def _turn(f: Function, frame: Frame, rows: list[str], start: str, turned: str) -> None:
    """Write the transpose of a tile of rows to `turned`: a vector over the rows for every column."""
    with f.loop(frame.stride, step=frame.bytes) as loop:
        to = byte_offset(f, turned, f.op("mul", I64, loop.index, str(frame.lanes), "nuw nsw"))
        _turn_square(f, frame, rows, added(f, start, loop.index), to)


def _turn_square(f: Function, frame: Frame, rows: list[str], at: str, to: str) -> None:
    vectors = [frame.load(f, row, at) for row in rows]
    for k, value in enumerate(square(f, frame.lanes, vectors)):
        frame.store(f, value, to, k * frame.bytes)


def _products(
    f: Function,
    frame: Frame,
    panel: Panels,
    table: str,
    values: str,
    turned: str,
    total: str,
    later: str,
) -> None:
    """Write the products of one tile of columns, a few sources at a time; added to `total` unless it is the first."""
    kind, count = frame.kind, _SOURCES
    with repeat(f, panel.fan_in // count) as piece:
        at = f.offset(table, scaled(f, piece, count), "i32")
        sources = [byte_offset(f, values, entry(f, at, s)) for s in range(count)]
        unrolled = min(_UNROLLED, frame.columns)
        with f.loop(frame.columns, [(kind, frame.zero())] * count, step=unrolled) as loop:
            sums = list(loop.carried)
            rows = byte_offset(f, turned, f.op("mul", I64, loop.index, str(frame.bytes), "nuw nsw"))
            here = [f.offset(source, loop.index) for source in sources]
            for column in range(unrolled):
                delta = frame.load(f, rows, column * frame.bytes)
                for s, source in enumerate(here):
                    value = f.broadcast(frame.lanes, f.load(F32, f.offset(source, column)))
                    sums[s] = f.fma(frame.lanes, value, delta, sums[s])
            loop.following = sums
        to = f.offset(total, scaled(f, piece, count * frame.lanes))
        for s, new in enumerate(loop.results):
            old = frame.load(f, to, s * frame.bytes)
            kept = f.assign(f"select i1 {later}, {kind} {old}, {kind} {frame.zero()}")
            frame.store(f, f.op("fadd", kind, kept, new), to, s * frame.bytes)
