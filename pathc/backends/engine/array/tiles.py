"""The weight-stationary array: DIM x DIM cells, a tile of weights at a time, cycle by cycle.

Cell (k, j) keeps weight [k, j] of the tile. Activations enter at the left edge, row k one cycle after row k - 1, and
move one cell to the right a cycle; partial sums move down one cell a cycle and leave at the bottom.
Source: A. Samajdar et al., A Systematic Methodology for Characterizing Scalability of DNN Accelerators using SCALE-Sim
(ISPASS 2020), whose counts of cycles these are.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Int64 = NDArray[np.int64]
_CELLS = 1 << 22
"""Cells that are simulated at once: tiles are independent of each other, each has the array for itself."""


@dataclass(frozen=True, eq=False)
class Tiling:
    """The tiles of a matrix that are not empty.

    `weights` int64 [tiles, dim, dim] is [source, destination] within the tile, `rows` and `columns` int64 [tiles] are
    the numbers of the tiles. `sources` and `destinations` int64 [padded units] are the units in the order in which they
    are cut into tiles, -1 for none. `total` is the number of tiles with the empty ones.
    """

    weights: Int64
    rows: Int64
    columns: Int64
    sources: Int64
    destinations: Int64

    @property
    def dim(self) -> int:
        """Side of the array."""
        return self.weights.shape[1]

    @property
    def total(self) -> int:
        """Tiles of the dense matrix."""
        return len(self.sources) // self.dim * (len(self.destinations) // self.dim)

    def __len__(self) -> int:
        return len(self.weights)


@dataclass(frozen=True, eq=False)
class Pass:
    """What went through the array: `sums` int64 [samples, destinations], and the cycle of the last of them, from 0."""

    sums: Int64
    cycles: int


def tile_cycles(tiles: int, dim: int, samples: int, interval: int = 1) -> int:
    """The cycle, counted from 0, in which the last sum of so many tiles leaves the array.

    A tile takes dim * interval cycles to load its weights, one row every `interval`, and samples + 2 dim - 2 for the
    samples to come through. With `interval` 1 this is tiles * (3 dim + samples - 2) - 1.
    """
    return tiles * (dim * interval + 2 * dim + samples - 2) - 1


def tiling_of(sources: Int64, destinations: Int64, weights: Int64, orders: tuple[Int64, Int64], dim: int) -> Tiling:
    """The tiles of edges sources[i] -> destinations[i] with weights[i]; equal edges add up.

    A cell keeps 8 bits: a tile with a weight beyond them comes again, as often as it takes to add up to it.
    `orders` are the units of both ends in the order in which they lie, each once, -1 for none; they decide how many
    tiles there are.
    """
    padded = tuple(np.concatenate([order, np.full(-len(order) % dim, -1, np.int64)]) for order in orders)
    place: list[Int64] = []
    for order, used in zip(orders, (sources, destinations), strict=True):
        found = np.full(int(order.max(initial=-1)) + 1, -1, np.int64)
        held = np.flatnonzero(order >= 0)
        found[order[held]] = held
        place.append(found[used])
    across = len(padded[1]) // dim
    number = place[0] // dim * across + place[1] // dim
    kept, index = np.unique(number, return_inverse=True)
    tiles = np.zeros((len(kept), dim, dim), np.int64)
    np.add.at(tiles, (index, place[0] % dim, place[1] % dim), weights)
    parts, numbers = [np.clip(tiles, -128, 127)], [kept]
    rest = tiles - parts[0]
    while (wide := rest.any(axis=(1, 2))).any():
        rest, kept = rest[wide], kept[wide]
        parts.append(np.clip(rest, -128, 127))
        numbers.append(kept)
        rest = rest - parts[-1]
    every = np.concatenate(numbers)
    order = np.argsort(every, kind="stable")
    held = every[order]
    return Tiling(np.concatenate(parts)[order], held // across, held % across, padded[0], padded[1])


def grouped(weights: Int64, dim: int) -> Tiling:
    """The tiles of a grouped recurrence, weights int64 [groups, size, size] as [unit that receives, unit that is seen].

    Every group begins with a tile of its own, so that no tile holds two of them unless groups divide `dim`.
    """
    groups, size, _ = weights.shape
    group, to, source = (index.reshape(-1) for index in np.indices(weights.shape))
    divides = dim % size == 0 if size < dim else size % dim == 0
    room = size if divides else -(-size // dim) * dim
    order = np.full((groups, room), -1, np.int64)
    order[:, :size] = np.arange(groups * size, dtype=np.int64).reshape(groups, size)
    flat = order.reshape(-1)
    return tiling_of(group * size + source, group * size + to, weights.reshape(-1), (flat, flat), dim)


def multiply(tiling: Tiling, values: Int64, interval: int = 1) -> Pass:
    """Activations [samples, sources] through the array, every register of every cycle.

    Tiles follow one behind the other. As a tile has the array for itself, many are simulated side by side, each
    from its own cycle on.
    """
    samples, dim = len(values), tiling.dim
    padded = np.concatenate([values, np.zeros((samples, 1), np.int64)], axis=1)[:, tiling.sources]
    sums = np.zeros((samples, len(tiling.destinations)), np.int64)
    last = -1
    length = 0
    chunk = max(1, _CELLS // (dim * dim))
    for start in range(0, len(tiling), chunk):
        own = slice(start, start + chunk)
        rows = tiling.rows[own]
        fed = padded.reshape(samples, -1, dim)[:, rows].transpose(1, 0, 2)
        parts, length = _through(tiling.weights[own], fed, interval)
        for part, column in zip(parts, tiling.columns[own], strict=True):
            sums[:, column * dim : (column + 1) * dim] += part
        last += len(rows) * length
    held = tiling.destinations >= 0
    found = np.zeros((samples, int(tiling.destinations.max(initial=-1)) + 1), np.int64)
    found[:, tiling.destinations[held]] = sums[:, held]
    return Pass(found, last)


def _through(weights: Int64, fed: Int64, interval: int) -> tuple[Int64, int]:
    """Tiles [tiles, dim, dim] with their activations [tiles, samples, dim]: sums [tiles, samples, dim], and cycles."""
    tiles, samples, dim = fed.shape
    kept, moved, partial = (np.zeros((tiles, dim, dim), np.int64) for _ in range(3))
    sample = np.full((dim, dim), -1, np.int64)
    sums = np.zeros((tiles, samples, dim), np.int64)
    row: Int64 = np.arange(dim, dtype=np.int64)
    cycle, left = 0, samples * dim
    loading = dim * interval
    while left:
        if cycle < loading:
            if cycle % interval == interval - 1:
                kept[:, 1:] = kept[:, :-1].copy()
                kept[:, 0] = weights[:, dim - 1 - cycle // interval]
        else:
            entering = cycle - loading - row
            valid = (entering >= 0) & (entering < samples)
            edge = np.where(valid, fed[:, np.clip(entering, 0, samples - 1), row], 0)
            moved = np.concatenate([edge[:, :, None], moved[:, :, :-1]], axis=2)
            sample = np.concatenate([np.where(valid, entering, -1)[:, None], sample[:, :-1]], axis=1)
            above = np.concatenate([np.zeros((tiles, 1, dim), np.int64), partial[:, :-1]], axis=1)
            partial = above + kept * moved
            leaving = np.flatnonzero(sample[-1] >= 0)
            sums[:, sample[-1, leaving], leaving] = partial[:, -1, leaving]
            left -= len(leaving)
        cycle += 1
    return sums, cycle
