"""The products of tiles in vector registers, for processors with dot products of bfloat16 and no tile registers."""

from __future__ import annotations

from pathc.backends.llvm.emit import F32, I64, Function, vector
from pathc.backends.llvm.tiles.code import I32, LINE, PITCH, TileShape

_ROWS = (4, 2, 1)
"""Rows whose sums are in registers at a time."""
_VECTORS = PITCH // LINE
_KIND, _HALVES = vector(16, F32), vector(32, "bfloat")


def dot_products(f: Function, shape: TileShape, weights: str, sources: str, rounds: str, sums: str) -> str:
    """Sums of 64 samples at an address, of what `code.products` takes; gives where the tiles of weights end."""
    row = 0
    while row < shape.rows:
        count = next(size for size in _ROWS if size <= shape.rows - row)
        _rows(
            f,
            shape,
            f.offset(weights, row * shape.depth, "i8"),
            sources,
            rounds,
            f.offset(sums, row * PITCH, "i8"),
            count,
        )
        row += count
    return f.offset(weights, f.op("mul", I64, rounds, str(shape.size)), "i8")


def _rows(f: Function, shape: TileShape, weights: str, sources: str, rounds: str, sums: str, count: int) -> None:
    """The sums of a few rows."""
    start = [(_KIND, "zeroinitializer")] * (count * _VECTORS)
    with f.loop(rounds, [*start, ("ptr", weights), ("ptr", sources)]) as outer:
        *found, left, right = outer.carried
        with f.loop(shape.depth // 4, [*((_KIND, each) for each in found), ("ptr", left), ("ptr", right)]) as loop:
            *found, word, row = loop.carried
            seen = [f.load(_HALVES, f.offset(row, v * LINE, "i8"), LINE) for v in range(_VECTORS)]
            for k in range(count):
                pair = f.broadcast(16, f.load(I32, f.offset(word, k * shape.depth, "i8")), I32)
                factor = f.assign(f"bitcast {vector(16, I32)} {pair} to {_HALVES}")
                for v in range(_VECTORS):
                    at = k * _VECTORS + v
                    given = [(_KIND, found[at]), (_HALVES, seen[v]), (_HALVES, factor)]
                    found[at] = f.call(_KIND, "llvm.x86.avx512bf16.dpbf16ps.512", given)
            loop.following = [*found, f.offset(word, 4, "i8"), f.offset(row, PITCH, "i8")]
        outer.following = [*loop.results[:-2], f.offset(left, shape.size, "i8"), loop.results[-1]]
    for at, value in enumerate(outer.results[:-2]):
        f.store(_KIND, value, f.offset(sums, at * LINE, "i8"), LINE)
