"""Paths whose junctions are random regular bipartite graphs, expanders with high probability."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pathc.ir.generators.hashing import hash64, hash_stream, permutations
from pathc.ir.generators.regular import Permutation, RegularPaths
from pathc.support.diagnostics import Place

_ROUNDS = 16
_LEFT, _RIGHT, _ORDER, _SWITCH = 1, 2, 3, 4


class Expander(RegularPaths):
    """Every unit has count / size paths, and no two of them take the same edge as long as the units on the other
    side suffice; beyond that all edges of a unit are repeated equally often, up to one.

    Junction j depends on seed, dims[j-1] and dims[j]. Sources: random regular graphs by edge switching; as masks of
    layers in Prabhu, Varma, Namboodiri, Deep Expander Networks (2018). Errors: E0341, E0343.
    """

    def __init__(
        self, dims: tuple[int, ...], sizes: tuple[int, ...], count: int, seed: int = 0, place: Place = None
    ) -> None:
        super().__init__("expander", dims, sizes, count, seed, place)

    def junction(self, number: int) -> Permutation:
        """Left slot of every right slot of junction `number` (from 1)."""
        key = hash64(self.seed, self.dims[number - 1], self.dims[number])
        n_left, n_right = self.sizes[number - 1], self.sizes[number]
        left, right = _regular_edges(n_left, n_right, self.count, key)
        shuffled = hash_stream(hash64(key, _ORDER), 0, self.count)
        by_left, by_right = np.lexsort((shuffled, left)), np.lexsort((shuffled[::-1], right))
        slot_of_edge = np.empty(self.count, np.int64)
        slot_of_edge[by_left] = np.arange(self.count)
        return slot_of_edge[by_right]


def _regular_edges(n_left: int, n_right: int, count: int, key: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Ends of `count` edges, regular on both sides: a circulant graph with renamed units, switched at random."""
    edge = np.arange(count, dtype=np.int64)
    left = permutations(1, n_left, key, _LEFT)[0][edge // (count // n_left)]
    right = permutations(1, n_right, key, _RIGHT)[0][edge % n_right]
    if count // n_left < n_right:
        for turn in range(_ROUNDS):
            _switch(left, right, n_right, hash64(key, _SWITCH, turn))
    return left, right


def _switch(left: NDArray[np.int64], right: NDArray[np.int64], n_right: int, key: int) -> None:
    """Pair the edges at random and exchange the right ends of each pair where that repeats no edge, in place."""
    pairs = permutations(1, len(left), key)[0][: len(left) // 2 * 2].reshape(2, -1)
    proposed = left[pairs] * n_right + right[pairs[::-1]]
    taken = np.concatenate([left * n_right + right, proposed.ravel()])
    _, position, repeats = np.unique(taken, return_inverse=True, return_counts=True)
    free = (repeats[position[len(left) :]] == 1).reshape(2, -1).all(axis=0)
    first, second = pairs[:, free]
    right[first], right[second] = right[second], right[first]
