"""Panel after panel: sources put side by side, products of tiles, and sums read while the next products run."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pathc.backends.llvm.emit import I64, Function
from pathc.backends.llvm.ends import repeated
from pathc.backends.llvm.tiles import code
from pathc.backends.llvm.tiles.code import I32, Product, TileShape
from pathc.backends.llvm.tiles.panels import Panels

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


def emit_tiles(name: str, shape: TileShape, product: Product, size: int, arrange: str, read: str) -> Function:
    """The kernel that computes panels; its parameters are the addresses named below, and an i64 how many panels.

    `arrange(units, local, table, words)` brings rows of sources, `4 / size` of them a word, to [word][64 samples]; that
    of one panel is done before the products of the one before it, in `local` and `other` by turns.
    `read(sums, before, to, factors, numbers, count)` takes rows of sums, one tile behind the products. `shape` is what
    the registers are given.
    """
    names = ("units", "local", "other", "sums", "weights", "before", "to", "factors", "shape", "table")
    f = Function(name, (*(("ptr", each) for each in names), (I64, "panels")))

    def finish(units: str, count: str) -> None:
        given = [("ptr", each) for each in ("%sums", "%before", "%to", "%factors", units)]
        f.call("void", read, [*given, (I64, count)], declare=False)

    def side_by_side(table: str, local: str) -> str:
        """Arrange the sources of a panel; gives where its tiles begin in the table."""
        words = code.number(f, table, 0)
        rows = f.offset(table, _HEAD, I32)
        with repeated(f, f.assign(f"zext i1 {f.assign(f'icmp ne i64 {words}, 0')} to i64")):
            f.call("void", arrange, [("ptr", "%units"), ("ptr", local), ("ptr", rows), (I64, words)], declare=False)
        return f.offset(rows, f.op("mul", I64, words, str(4 // size)), I32)

    code.configure(f, "%shape")
    first = side_by_side("%table", "%local")
    start = [("ptr", "%table"), ("ptr", first), ("ptr", "%local"), ("ptr", "%other"), ("ptr", "%weights")]
    with f.loop("%panels", [*start, ("ptr", "%table"), (I64, "0")]) as panel:
        head, table, local, other, weights, units, count = panel.carried
        rounds, tiles, length = (code.number(f, head, k) for k in (1, 2, 3))
        head = f.offset(head, length, I32)
        following = side_by_side(head, other)
        with f.loop(tiles, [("ptr", table), ("ptr", weights), ("ptr", units), (I64, count)]) as tile:
            table, weights, units, count = tile.carried
            weights = code.products(f, shape, product, weights, local, rounds)
            with repeated(f, f.assign(f"zext i1 {f.assign(f'icmp ne i64 {count}, 0')} to i64")):
                finish(units, count)
            code.store(f, "%sums")
            rows, units = code.number(f, table, 0), f.offset(table, 1, I32)
            tile.following = [f.offset(units, rows, I32), weights, units, rows]
        panel.following = [head, following, other, local, *tile.results[1:]]
    code.release(f)
    finish(*panel.results[-2:])
    return f
