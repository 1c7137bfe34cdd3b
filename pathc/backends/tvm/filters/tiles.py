"""How the work of filters is divided: what a thread keeps in registers, and what a block of threads stages.

A thread sums `channels` channels at `rows` rows below each other and `columns` columns that are `wide` apart. A block
of threads is `wide` columns x `high` rows x `deep` groups of channels x `several` blocks of the junction; it stages
`sources` channels with what the filter sees around them, and their weights, at a time.

The GPU's tile is that of the smallest cost by a model of a multiprocessor: it issues four multiply-adds of a warp while
it reads one number a thread from shared memory.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from itertools import product

from pathc.backends.tvm.filters.plan import Blocks, Filters, Lists

THREADS = 256
"""Threads of a block at most."""
_SUMS = 48
"""Sums a thread keeps in registers at most."""
_SHARED = 40 * 1024
"""Bytes of shared memory a block of threads takes at most, so that several fit a multiprocessor."""
_MULTIPROCESSORS = 132
_SAMPLES = 64
"""Samples that are there at least, unless it is one."""
_READ = 4.0
"""Multiply-adds issued while a number is read from shared memory."""
_STAGING = 8.0
"""Instructions to stage a number."""
_MOVING = 20.0
"""Instructions issued while a number is moved from or to memory outside the multiprocessor."""
_REGISTERS, _SHARED_ALL = 65536, 228 * 1024
"""What a multiprocessor has."""
_WARPS = 16
"""Warps that hide the time reads take."""
_BANKS = 32
"""Of shared memory."""
_VECTOR = 16
"""Columns the processor's kernels take at a time."""


@dataclass(frozen=True)
class Tile:
    """Split factors of filters; see above."""

    channels: int = 1
    rows: int = 1
    columns: int = 1
    wide: int = 1
    high: int = 1
    deep: int = 1
    several: int = 1
    sources: int = 1

    def __str__(self) -> str:
        own, several = f"{self.channels}x{self.rows}x{self.columns}", self.deep * self.several
        return f"{own} sums, {self.wide}x{self.high}x{several} threads, {self.sources} sources"

    @property
    def across(self) -> int:
        """Columns of a block of threads."""
        return self.columns * self.wide

    @property
    def down(self) -> int:
        """Rows of a block of threads."""
        return self.rows * self.high

    @property
    def sums(self) -> int:
        """Sums of a thread."""
        return self.channels * self.rows * self.columns

    @property
    def threads(self) -> int:
        """Threads of a block."""
        return self.wide * self.high * self.deep * self.several


@dataclass(frozen=True)
class _Shape:
    """What the cost of a tile depends on."""

    count: int
    fan_out: int
    fan_in: int
    rows: int
    columns: int
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]

    @property
    def taps(self) -> int:
        return self.kernel[0] * self.kernel[1]

    def seen(self, axis: int, size: int) -> int:
        """Rows or columns of the source that so many neighbouring ones of the result see."""
        return (size - 1) * self.stride[axis] + (self.kernel[axis] - 1) * self.dilation[axis] + 1

    def planes(self, tile: Tile) -> int:
        """Numbers of a source that a block of threads sees."""
        return self.seen(0, tile.down) * self.seen(1, tile.across)


def tile_of(op: Filters, gpu: bool, single: bool) -> Tile:
    """The tile of an operation; `single` says that there is one sample."""
    if not isinstance(op, Blocks):
        return _tile_of_lists(op, 4, 32) if gpu else Tile(wide=_vector(op.dst.columns))
    shape = _shape_of(op)
    return _ranked(shape, single)[0] if gpu else _tile_of_vectors(shape, 8, _VECTOR)


def tiles_for(op: Filters, gpu: bool, single: bool, most: int = 12) -> tuple[Tile, ...]:
    """Tiles that an operation can be tried with, at most so many: on a GPU the best by the model for every number of
    sums that a thread keeps, in the order of their cost.
    """
    if isinstance(op, Blocks):
        shape = _shape_of(op)
        if gpu:
            return _ranked(shape, single)[:most]
        return _distinct(_tile_of_vectors(shape, out, wide) for out in (2, 4, 8, 16) for wide in (8, 16, 32))[:most]
    if gpu:
        return _distinct(_tile_of_lists(op, rows, wide) for rows in (1, 2, 4, 8) for wide in (16, 32, 64))[:most]
    return _distinct(Tile(wide=_vector(op.dst.columns, wide)) for wide in (4, 8, 16, 32))[:most]


def _shape_of(op: Blocks) -> _Shape:
    (count, fan_out), g = op.targets.shape, op.geometry
    sizes = count, fan_out, op.sources.shape[1], op.dst.rows, op.dst.columns
    return _Shape(*sizes, g.kernel, g.stride, g.dilation)


def staged_floats(op: Blocks, tile: Tile) -> tuple[int, int]:
    """Floats of planes, and of weights, that a block of threads stages at a time, without room between rows."""
    shape = _shape_of(op)
    sources = tile.several * tile.sources
    return sources * shape.planes(tile), sources * shape.taps * tile.channels * tile.deep


def pitch_of(op: Blocks, tile: Tile) -> int:
    """Floats from row to row of staged planes, so that the threads of a warp read from different banks if they can.

    It is less than twice what is needed.
    """
    g, least = op.geometry, _shape_of(op).seen(1, tile.across)
    threads = [(n // tile.wide % tile.high, n % tile.wide) for n in range(min(_BANKS, tile.wide * tile.high))]
    places = {(row * tile.rows * g.stride[0], column * g.stride[1]) for row, column in threads}

    def conflicts(pitch: int) -> int:
        banks = [(row * pitch + column) % _BANKS for row, column in places]
        return max(map(banks.count, banks))

    return min(range(least, least + min(least, _BANKS)), key=conflicts)


def padded(size: int, factor: int) -> int:
    """The next multiple."""
    return -(-size // factor) * factor


def _vector(columns: int, most: int = _VECTOR) -> int:
    return min(most, 1 << (columns - 1).bit_length())


def _distinct(tiles: Iterable[Tile]) -> tuple[Tile, ...]:
    return tuple(dict.fromkeys(tiles))


def _even(size: int, most: int) -> int:
    """A large number up to `most` of which few multiples exceed `size` by little."""
    return min(range(min(size, most), 0, -1), key=lambda n: padded(size, n) * (n + 1) / n)


def _tile_of_vectors(shape: _Shape, channels: int, columns: int) -> Tile:
    """Channels of a block times a vector of columns, at most so many, that the processor sums."""
    return Tile(channels=_even(shape.fan_out, channels), wide=_vector(shape.columns, columns), sources=shape.fan_in)


def _tile_of_lists(op: Lists, rows: int, columns: int) -> Tile:
    """Neighbouring threads at so many neighbouring columns; weights of a channel serve the rows of a thread."""
    wide, down = _even(op.dst.columns, columns), _even(op.dst.rows, rows)
    return Tile(rows=down, wide=wide, high=min(-(-op.dst.rows // down), max(1, THREADS // wide)))


@cache
def _ranked(shape: _Shape, single: bool) -> tuple[Tile, ...]:
    """The tile of least cost for every number of channels, rows and columns of a thread, the best first."""
    wides = sorted({1, 2, 4, 8, 16, 32} | {-(-shape.columns // n) for n in range(1, 9) if -(-shape.columns // n) <= 32})
    wides = [n for n in wides if n < 2 * shape.columns]
    columns = (1, 2, 4) if shape.rows < 4 else (1,)
    rows = [n for n in (1, 2, 3, 4, 5, 7, 8) if n <= shape.rows]
    outs = sorted({n for n in (1, 2, 4, 8, 16) if n <= shape.fan_out} | {_even(shape.fan_out, 16)})
    found: dict[tuple[int, int, int], tuple[float, Tile]] = {}
    for wide, across, down, out in product(wides, columns, rows, outs):
        if out * across * down > _SUMS:
            continue
        highs = {-(-shape.rows // (down * n)) for n in range(1, 5)} | {1, 2, 4, 8, 16, 32}
        for high, deep in product(sorted(highs), (1, 2, 4)):
            if wide * high * deep > THREADS or (deep - 1) * out >= shape.fan_out or (high - 1) * down >= shape.rows:
                continue
            most = THREADS // (wide * high * deep)
            several = next(n for n in range(min(most, shape.count, 16), 0, -1) if shape.count % n == 0)
            tile = _staged(shape, Tile(out, down, across, wide, high, deep, several))
            cost, best = _cost(shape, tile, single), found.get((out, down, across))
            if best is None or cost < best[0]:
                found[out, down, across] = cost, tile
    ranked = sorted(found.values(), key=lambda one: one[0])
    return tuple(tile for at, (_, tile) in enumerate(ranked) if not at or _fits(shape, tile))


def _staged(shape: _Shape, tile: Tile) -> Tile:
    """The tile with as many sources as shared memory has room for, or one."""
    sources = _even(shape.fan_in, max(1, min(16, _SHARED // (4 * _floats(shape, tile)))))
    return Tile(tile.channels, tile.rows, tile.columns, tile.wide, tile.high, tile.deep, tile.several, sources)


def _floats(shape: _Shape, tile: Tile) -> int:
    """What a block of threads stages for a source of each of its blocks."""
    return tile.several * (shape.planes(tile) + shape.taps * tile.channels * tile.deep)


def _fits(shape: _Shape, tile: Tile) -> bool:
    return 4 * _floats(shape, tile) * tile.sources <= _SHARED


def _cost(shape: _Shape, tile: Tile, single: bool) -> float:
    """Instructions for a source and all outputs of a sample, on a busy GPU."""
    rows = {y * shape.stride[0] + t * shape.dilation[0] for y in range(tile.rows) for t in range(shape.kernel[0])}
    seen = len(rows) * tile.columns * shape.kernel[1]
    weights = shape.taps * -(-tile.channels // 4)
    sums = shape.taps * tile.sums
    inner = max(sums + seen + weights, _READ * (seen + weights))
    staged = _floats(shape, tile)
    fits = 1.0 if _fits(shape, tile) else 1e3
    moved = tile.several * (
        shape.seen(0, tile.down) * _sectors(shape.seen(1, tile.across), shape.columns * shape.stride[1])
        + tile.channels * tile.deep * tile.down * _sectors(tile.across, shape.columns) / shape.fan_in
    )
    warps = -(-tile.threads // 32)
    blocks = (
        shape.count // tile.several * -(-shape.fan_out // (tile.channels * tile.deep))
        * -(-shape.rows // tile.down) * -(-shape.columns // tile.across)
    )  # fmt: skip
    idle = max(1.0, _MULTIPROCESSORS / (blocks * (1 if single else _SAMPLES))) * max(1.0, 2 / warps)
    registers = 1.2 * (tile.sums + min(seen, 32) + 12)
    resident = min(_REGISTERS / (32 * registers), warps * (_SHARED_ALL // (4 * staged * tile.sources)))
    waiting = max(1.0, _WARPS / max(1.0, resident))
    return fits * idle * waiting * blocks * max(32 * warps * inner + _STAGING * staged, _MOVING * moved)


def _sectors(size: int, whole: int) -> int:
    """Floats that are moved for a row of `size`: sectors of eight; rows that are `whole` lie without gaps."""
    return size + 7 if size < whole else whole
