"""Paths whose junctions are random regular bipartite graphs, expanders with high probability."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pathc.ir.generators.hashing import hash64, hash_stream, permutations
from pathc.ir.generators.regular import Permutation, RegularPaths, inverse
from pathc.support.diagnostics import Place

_ROUNDS = 20
_FIBONACCI = 0x9E3779B97F4A7C15
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
        left, right = _regular_edges(self.sizes[number - 1], self.sizes[number], self.count, key)
        slot_of_edge = inverse(np.argsort(left, kind="stable"))
        return slot_of_edge[np.argsort(right, kind="stable")]


def _regular_edges(n_left: int, n_right: int, count: int, key: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Ends of `count` edges in random order, regular on both sides: a circulant graph with renamed units, switched."""
    edge = permutations(1, count, key, _ORDER)[0]
    left = permutations(1, n_left, key, _LEFT)[0][edge // (count // n_left)]
    right = permutations(1, n_right, key, _RIGHT)[0][edge % n_right]
    if count // n_left < n_right:
        for turn in range(_ROUNDS):
            _switch(left, right, n_right, hash64(key, _SWITCH, turn))
    return left, right


def _switch(left: NDArray[np.int64], right: NDArray[np.int64], n_right: int, key: int) -> None:
    """Pair edge e with edge c - e, c drawn from the key, and exchange the right ends of half the pairs, in place.

    A pair is left alone if a new edge has the hash of an edge there was or of another new one: no edge is ever
    repeated, at the price of turning down some exchanges that would have been possible.
    """
    count = len(left)
    edge = np.arange(count, dtype=np.int64)
    partner = (key % count - edge) % count
    chosen = (edge < partner) & (hash_stream(key, 0, count) >> np.uint64(63)).astype(bool)
    pairs = np.stack([edge[chosen], partner[chosen]])
    bits = (4 * count).bit_length()
    occupied = np.zeros(1 << bits, bool)
    occupied[_hashed(left * n_right + right, bits)] = True
    proposed = _hashed(left[pairs] * n_right + right[pairs[::-1]], bits)
    proposal = np.arange(proposed.size, dtype=np.int32).reshape(proposed.shape)
    owner = np.empty(1 << bits, np.int32)
    owner[proposed] = proposal
    free = (~occupied[proposed] & (owner[proposed] == proposal)).all(axis=0)
    first, second = pairs[:, free]
    right[first], right[second] = right[second], right[first]


def _hashed(edges: NDArray[np.int64], bits: int) -> NDArray[np.int64]:
    return (edges.view(np.uint64) * np.uint64(_FIBONACCI) >> np.uint64(64 - bits)).view(np.int64)
