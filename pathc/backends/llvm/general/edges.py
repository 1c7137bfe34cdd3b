"""The distinct edges of a junction, found once for all forms that look at them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from pathc.backends.llvm.plan import Edges, Junction

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Distinct:
    """Edges by destination and then source, every one once.

    `src` [edges] are their sources, edges `start[d]` .. `start[d + 1]` - 1 lead to destination d, and `slot` [paths]
    is the edge of every path.
    """

    n_src: int
    n_dst: int
    src: Ints
    start: Ints
    slot: Ints

    @cached_property
    def dst(self) -> Ints:
        """Destination of every edge."""
        return np.repeat(np.arange(self.n_dst, dtype=np.int64), np.diff(self.start))

    @property
    def lengths(self) -> Ints:
        """Number of edges of every destination."""
        return np.diff(self.start)

    def sums(self, weights: Floats) -> Floats:
        """Weight of every edge: those of its paths added in float64, rounded once."""
        flat = np.asarray(weights, dtype=np.float64).reshape(-1)
        return np.bincount(self.slot, flat, self.src.size).astype(np.float32)


_known: WeakKeyDictionary[Callable[[], Edges], Distinct] = WeakKeyDictionary()


def distinct_edges(junction: Junction) -> Distinct:
    """The distinct edges of a paths junction; remembered as long as the junction's own source of edges lives."""
    found = _known.get(junction.edges)
    if found is None:
        found = coalesce(junction.n_src, junction.n_dst, *junction.edges())
        _known[junction.edges] = found
    return found


def coalesce(n_src: int, n_dst: int, src: Ints, dst: Ints) -> Distinct:
    """The distinct edges among those from src[i] to dst[i]."""
    keys = dst.astype(np.int64) * n_src + src
    cells = n_src * n_dst
    if cells <= 4 * keys.size:
        present = np.zeros(cells, np.bool_)
        present[keys] = True
        distinct = np.flatnonzero(present)
        slot = (np.cumsum(present) - 1)[keys]
    else:
        distinct, slot = np.unique(keys, return_inverse=True)
    start = np.searchsorted(distinct, np.arange(n_dst + 1, dtype=np.int64) * n_src)
    return Distinct(n_src, n_dst, distinct % n_src, start.astype(np.int64), slot.astype(np.int64))
