"""Edge lists: the enumerated form of a junction, for what the algebra does not cover."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pathc.ir.generators.base import Generator
from pathc.ir.gf2 import IndexArray

CHUNK = 1 << 20
MAX_UNITS = 1 << 26


def enumerable(generator: Generator, limit: int) -> bool:
    """Whether a line is small enough for the functions below: at most `limit` paths and 2^26 units a visit."""
    return generator.count <= limit and max(generator.sizes) <= MAX_UNITS


@dataclass(frozen=True)
class Edges:
    """Distinct edges of a junction, sorted by destination, then source.

    `src`, `dst` and `paths` (how many paths share the edge) are int64 of shape [edges].
    """

    src: IndexArray
    dst: IndexArray
    paths: IndexArray

    def __len__(self) -> int:
        return len(self.src)

    def rows(self) -> tuple[IndexArray, IndexArray]:
        """Destinations that occur, and where their edges start, with the end appended: [rows], [rows + 1]."""
        starts = np.flatnonzero(np.diff(self.dst, prepend=-1))
        return self.dst[starts], np.append(starts, len(self.dst))


def distinct_edges(generator: Generator, junction: int) -> Edges:
    """The distinct edges of all paths of a junction; takes 40 bytes a path."""
    keys = np.sort(_keys(generator, junction))
    starts = np.flatnonzero(np.diff(keys, prepend=-1))
    dst, src = np.divmod(keys[starts], generator.sizes[junction - 1])
    return Edges(src, dst, np.diff(starts, append=len(keys)))


def coalesce(generator: Generator, junction: int) -> tuple[Edges, IndexArray]:
    """The distinct edges of a junction and, for every path, the number of its edge: int64 of shape [paths]."""
    keys, edge_of_path, paths = np.unique(_keys(generator, junction), return_inverse=True, return_counts=True)
    dst, src = np.divmod(keys, generator.sizes[junction - 1])
    return Edges(src, dst, paths), edge_of_path


def valence(generator: Generator, visit: int) -> IndexArray:
    """Number of paths through every unit of a visit: int64 of shape [units]; the paths are never held at once."""
    size = generator.sizes[visit]
    counts = np.zeros(size, np.int64)
    for start in range(0, generator.count, CHUNK):
        units = generator.units(visit, start, min(start + CHUNK, generator.count))
        counts += np.bincount(units, minlength=size)
    return counts


def components(nodes: int, left: IndexArray, right: IndexArray) -> IndexArray:
    """For every node the smallest node connected to it by the edges left - right: int64 of shape [nodes]."""
    roots = np.arange(nodes)
    while True:
        a, b = roots[left], roots[right]
        open_ = a != b
        if not open_.any():
            return roots
        left, right, a, b = left[open_], right[open_], a[open_], b[open_]
        np.minimum.at(roots, np.maximum(a, b), np.minimum(a, b))
        while not np.array_equal(roots, above := roots[roots]):
            roots = above


def receptive_counts(layers: list[Edges], sizes: tuple[int, ...], inputs: IndexArray) -> list[NDArray[np.int64]]:
    """How many of the chosen `inputs` every unit of the visits 1, 2, .. sees: a list of int64 [units].

    Takes units * inputs / 8 bytes per visit and edges * inputs / 8 for the largest junction.
    """
    words = -(-len(inputs) // 64)
    seen = np.zeros((sizes[0], words), np.uint64)
    position = np.arange(len(inputs))
    np.bitwise_or.at(seen, (inputs, position // 64), np.uint64(1) << (position % 64).astype(np.uint64))
    counts: list[NDArray[np.int64]] = []
    for edges, size in zip(layers, sizes[1:], strict=True):
        rows, bounds = edges.rows()
        ahead = np.zeros((size, words), np.uint64)
        ahead[rows] = np.bitwise_or.reduceat(seen[edges.src], bounds[:-1])
        counts.append(np.bitwise_count(ahead).sum(axis=1, dtype=np.int64))
        seen = ahead
    return counts


def _keys(generator: Generator, junction: int) -> IndexArray:
    """Destination * sources + source of every path."""
    keys = generator.units(junction, 0, generator.count) * generator.sizes[junction - 1]
    keys += generator.units(junction - 1, 0, generator.count)
    return keys
