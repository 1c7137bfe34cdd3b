"""Loops and register tiles of a weave, and the order in which its weights are streamed."""

from __future__ import annotations

from dataclasses import dataclass

from pathc.backends.llvm.row.weave import Pair, Weave

BODY = 128
"""Multiply-adds to which the sources of a tile are unrolled."""
GROUPS = 64
"""Multiply-adds to which groups are unrolled; more only costs instruction cache and compile time."""
LIMIT = 4096
"""Multiply-adds of straight-line code beyond which a kernel is refused."""


@dataclass(frozen=True)
class Tiling:
    """A weave cut into loops, innermost first.

    `tile`: destinations held in registers; `chunk`: sources unrolled; `chunks`: loop over more sources; `tiles`:
    loop over more destinations; `turned_tiles`: the same as constants of the code; `inner`: groups unrolled;
    `outer`: loop over groups. What permutes lanes is always a constant of the code.
    """

    weave: Weave
    tile: tuple[int, ...]
    chunk: tuple[int, ...]
    chunks: tuple[int, ...]
    tiles: tuple[int, ...]
    turned_tiles: tuple[int, ...]
    inner: tuple[Pair, ...]
    outer: tuple[Pair, ...]

    @property
    def body(self) -> int:
        """Vector multiply-adds of one basic block, for one row."""
        return 1 << len(self.tile) + len(self.weave.turns) + len(self.chunk)

    @property
    def unrolled(self) -> int:
        """Vector multiply-adds of all code, for one row."""
        return self.body << len(self.turned_tiles) + len(self.inner)

    @property
    def order(self) -> tuple[Pair, ...]:
        """The displacement that belongs to each bit of the place of a weight in the stream, lowest bit first."""
        weave = self.weave
        return (
            *((column, 1 << j) for j, column in enumerate(weave.lanes)),
            *((0, d) for d in self.tile),
            *((x, 0) for x in weave.turns),
            *((s, 0) for s in (*self.chunk, *self.chunks)),
            *((0, d) for d in (*self.tiles, *self.turned_tiles)),
            *self.inner,
            *self.outer,
        )

    @property
    def weights(self) -> int:
        """Number of weights streamed."""
        return 1 << len(self.order)


def tiling(weave: Weave, registers: int, rows: int = 1) -> Tiling:
    """The loops of a weave on a machine with that many vector registers, for `rows` samples.

    Rows decide only where loops begin, not the order of the weights.
    """
    most = (registers // 2).bit_length() - 1
    turning = [d for d in weave.dst if weave.lane(d)]
    plain = [d for d in weave.dst if not weave.lane(d)]
    tile = (*plain[: max(0, most - len(turning))], *turning)[:most]
    rest = [d for d in weave.dst if d not in tile]
    turned_tiles = tuple(d for d in rest if weave.lane(d))
    tiles = tuple(d for d in rest if not weave.lane(d))
    fixed = [s for s in weave.src if weave.lane(s)]
    free = [s for s in weave.src if not weave.lane(s)]
    smallest = len(tile) + len(weave.turns) + len(fixed)
    unroll = _clamped((BODY // rows).bit_length() - 1 - smallest, len(free))
    turning_groups = tuple(g for g in weave.groups if weave.lane(g[0]))
    steady = tuple(g for g in weave.groups if not weave.lane(g[0]))
    whole = smallest + len(free) + len(turned_tiles) + len(turning_groups)
    single = not tiles and unroll == len(free)
    more = _clamped((GROUPS // rows).bit_length() - 1 - whole, len(steady)) if single else 0
    return Tiling(
        weave=weave,
        tile=tile,
        chunk=(*fixed, *free[:unroll]),
        chunks=tuple(free[unroll:]),
        tiles=tiles,
        turned_tiles=turned_tiles,
        inner=(*turning_groups, *steady[:more]),
        outer=steady[more:],
    )


def _clamped(value: int, most: int) -> int:
    return max(0, min(value, most))
