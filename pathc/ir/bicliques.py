"""Dense blocks in edge lists: destinations that hear the same sources. For junctions that are not linear."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pathc.ir.edges import Edges
from pathc.ir.gf2 import IndexArray


@dataclass(frozen=True)
class DenseBlocks:
    """Dense blocks of a junction, and the edges outside of them.

    Block k joins every one of the destinations `rows[row_start[k] : row_start[k + 1]]` with every one of the
    sources `columns[column_start[k] : column_start[k + 1]]`, all ascending. `src` and `dst` are the remaining
    edges, sorted by destination, then source. All int64.
    """

    rows: IndexArray
    row_start: IndexArray
    columns: IndexArray
    column_start: IndexArray
    src: IndexArray
    dst: IndexArray

    def __len__(self) -> int:
        return len(self.row_start) - 1

    @property
    def edges(self) -> int:
        """Number of edges inside the blocks."""
        return int((np.diff(self.row_start) * np.diff(self.column_start)).sum())


def find_bicliques(edges: Edges, rows: int = 2) -> DenseBlocks:
    """Group destinations with the same set of sources into dense blocks of at least `rows` destinations.

    Takes time and memory linear in the edges, plus a sort of the destinations.
    """
    dst, bounds = edges.rows()
    degree = np.diff(bounds)
    keys = np.stack([degree.view(np.uint64), *_fingerprints(edges.src, bounds)], axis=1)
    _, first, group = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    group = group.reshape(-1)
    same = _equal_rows(edges.src, bounds, first[group])
    members = np.bincount(group[same], minlength=len(first))
    inside = same & (members[group] >= rows)
    order = np.argsort(group[inside], kind="stable")
    kept = np.flatnonzero(members >= rows)
    columns = [edges.src[bounds[first[g]] : bounds[first[g] + 1]] for g in kept]
    outside = np.repeat(~inside, degree)
    return DenseBlocks(
        rows=dst[inside][order],
        row_start=_starts(members[kept]),
        columns=np.concatenate([*columns, np.empty(0, np.int64)]),
        column_start=_starts(degree[first[kept]]),
        src=edges.src[outside],
        dst=edges.dst[outside],
    )


def _fingerprints(src: IndexArray, bounds: IndexArray) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Two sums per row of pseudo-random numbers of its sources: equal sets have equal sums."""
    if not len(src):
        return np.empty(0, np.uint64), np.empty(0, np.uint64)
    numbers = np.random.default_rng(1).integers(0, 1 << 64, (2, int(src.max()) + 1), np.uint64, endpoint=False)
    one, two = (np.add.reduceat(n[src], bounds[:-1]) for n in numbers)
    return one, two


def _equal_rows(src: IndexArray, bounds: IndexArray, model: IndexArray) -> NDArray[np.bool_]:
    """Whether each row has exactly the sources of its model row, which is of the same length."""
    if not len(src):
        return np.empty(0, np.bool_)
    shift = np.repeat(bounds[model] - bounds[:-1], np.diff(bounds))
    return np.logical_and.reduceat(src == src[np.arange(len(src)) + shift], bounds[:-1])


def _starts(lengths: IndexArray) -> IndexArray:
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths, dtype=np.int64)])
