"""Panel after panel: sources put side by side, products of tiles, and sums read while the next products run."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pathc.backends.llvm.column.common import when_positive
from pathc.backends.llvm.emit import I64, Function
from pathc.backends.llvm.tiles import code
from pathc.backends.llvm.tiles.code import I32, PITCH, Product, TileShape
from pathc.backends.llvm.tiles.dots import dot_products
from pathc.backends.llvm.tiles.panels import Panels
from pathc.backends.llvm.writer import Writer

_HEAD = 4


def table_of(panels: Panels, pitch: int, absent: int = 0) -> NDArray[np.uint32]:
    """What `emit_tiles` reads, panel after panel, and a zero behind the last.

    Of a panel: words, rounds, tiles, how long all this is; the rows of its sources; for each tile how many units it
    has, and these. A word are the sources that share 32 bits. The row of source s lies s * pitch bytes behind the
    first; `absent` is heard where a panel has no source.
    """
    parts: list[NDArray[np.int64]] = []
    for panel in panels.panels:
        sources = panels.sources(panel)
        words = len(sources) * panels.size // 4
        tiles = panels.tiles(panel)
        length = _HEAD + len(sources) + tiles + len(panel.rows)
        parts.append(np.array([words, panels.rounds(panel), tiles, length]))
        parts.append(np.where(sources < 0, absent, sources) * pitch)
        for at in range(0, len(panel.rows), panels.shape.rows):
            units = panel.rows[at : at + panels.shape.rows]
            parts.extend((np.array([len(units)]), units))
    parts.append(np.zeros(1, np.int64))
    return np.concatenate(parts).astype(np.uint32)


@dataclass(frozen=True)
class TileKernel:
    """Computes panels of one shape; functions are called by name.

    `arrange(units, local, table, words)` brings rows of sources, `4 / size` of them a word, to [word][64 samples].
    `read(sums, before, to, factors, numbers, count)` takes rows of sums. With `alone` every panel is one tile, whose
    sources are brought side by side round by round, one ahead of the products, so that few are in the cache at a time.
    """

    shape: TileShape
    product: Product
    size: int
    arrange: str
    read: str
    alone: bool

    @property
    def tiled(self) -> bool:
        """Whether sums are in tile registers."""
        return code.in_tiles(self.product)

    def local(self, panels: Panels) -> int:
        """Bytes that sources side by side take."""
        if self.alone:
            return 2 * self.shape.depth // 4 * PITCH
        return max((len(panels.sources(panel)) for panel in panels.panels), default=0) * self.size // 4 * PITCH


def emit_tiles(name: str, kernel: TileKernel) -> Function:
    """The kernel; its parameters are the addresses named below, and an i64 how many panels; `shape` is for registers.

    Sums are read while the next products run, one tile behind them.
    """
    names = ("units", "local", "sums", "weights", "before", "to", "factors", "shape", "table")
    f = Function(name, (*(("ptr", each) for each in names), (I64, "panels")))
    if kernel.tiled:
        code.configure(f, "%shape")
    start = [("ptr", "%table"), ("ptr", "%weights"), ("ptr", "%table"), (I64, "0")]
    with f.loop("%panels", start) as panel:
        head, weights, units, count = panel.carried
        words, rounds, tiles, length = (code.number(f, head, k) for k in range(_HEAD))
        sources = f.offset(head, _HEAD, I32)
        table = f.offset(sources, f.op("mul", I64, words, str(4 // kernel.size)), I32)
        if not kernel.alone:
            _arrange(f, kernel, "%local", sources, words)
        with f.loop(tiles, [("ptr", table), ("ptr", weights), ("ptr", units), (I64, count)]) as tile:
            table, weights, units, count = tile.carried
            if kernel.alone:
                weights = _rounds(f, kernel, weights, sources, rounds)
            elif kernel.tiled:
                weights = code.products(f, kernel.shape, kernel.product, weights, "%local", rounds)
            with when_positive(f, count):
                _read(f, kernel, units, count)
            if kernel.tiled:
                code.store(f, "%sums")
            else:
                weights = dot_products(f, kernel.shape, weights, "%local", rounds, "%sums")
            rows, units = code.number(f, table, 0), f.offset(table, 1, I32)
            tile.following = [f.offset(units, rows, I32), weights, units, rows]
        panel.following = [f.offset(head, length, I32), *tile.results[1:]]
    if kernel.tiled:
        code.release(f)
    _read(f, kernel, *panel.results[-2:])
    return f


def sum_panels(
    writer: Writer,
    panels: Panels,
    product: Product,
    functions: tuple[str, str],
    ends: tuple[str, str, str, str],
    pitch: int,
    absent: int,
    shift: int = 0,
) -> None:
    """Write the calls that sum up all panels.

    `functions` are those of `TileKernel`, `ends` the rows of sources and what `read` is given; weights are
    multiplied by 2^shift.
    """  # fmt: skip
    rows, *given = ends
    parts = panels.parts() if code.in_tiles(product) else ((False, panels),)
    for alone, part in parts:
        kernel = TileKernel(part.shape, product, part.size, *functions, alone)
        name = writer.kernels.add(kernel, emit_tiles, kernel)
        local, sums = writer.take(kernel.local(part)), writer.take(part.shape.rows * PITCH)
        weights = part.weights()
        stored = writer.put(weights << np.uint8(shift) if shift else weights)
        tables = writer.put(part.shape.packed()), writer.put(table_of(part, pitch, absent))
        writer.call(name, rows, local, sums, stored, *given, *tables, len(part.panels))


def _arrange(f: Function, kernel: TileKernel, local: str, sources: str, words: str | int) -> None:
    given = [("ptr", "%units"), ("ptr", local), ("ptr", sources), (I64, str(words))]
    f.call("void", kernel.arrange, given, declare=False)


def _read(f: Function, kernel: TileKernel, units: str, count: str) -> None:
    given = [("ptr", each) for each in ("%sums", "%before", "%to", "%factors", units)]
    f.call("void", kernel.read, [*given, (I64, count)], declare=False)


def _rounds(f: Function, kernel: TileKernel, weights: str, sources: str, rounds: str) -> str:
    """Products round by round, in two places by turns; gives where the weights end."""
    shape = kernel.shape
    words = shape.depth // 4
    _arrange(f, kernel, "%local", sources, words)
    code.clear(f)
    other = f.offset("%local", words * PITCH, "i8")
    with f.loop(rounds, [("ptr", weights), ("ptr", sources), ("ptr", "%local"), ("ptr", other)]) as loop:
        left, sources, here, there = loop.carried
        sources = f.offset(sources, words * 4 // kernel.size, I32)
        left_over = f.op("sub", I64, f.op("sub", I64, rounds, "1"), loop.index)
        with when_positive(f, left_over):
            _arrange(f, kernel, there, sources, words)
        code.round_of(f, shape, kernel.product, left, here)
        loop.following = [f.offset(left, shape.size, "i8"), sources, there, here]
    return loop.results[0]
