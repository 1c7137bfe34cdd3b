"""Which sources the lanes of a vector take together, so that two neighbouring vectors of sources hold them all.

Destinations are lanes. An operation multiplies one source of every lane, all from one window: the 2 * lanes sources
of two neighbouring vectors, of which a permutation picks. Low discrepancy makes the k-th sources of neighbouring
destinations neighbours, so few operations are not full. Where paths are few, destinations with similar sources
are brought together first: within a limited distance, so that two permutations put them back, or from anywhere.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pathc.backends.llvm.general.edges import Distinct, Ints
from pathc.backends.llvm.sharing import Pool

WINDOW = 2
"""Vectors of sources in a window."""

_FAR = np.iinfo(np.int64).max
_PIECES = 24
_GROUPED_ROWS = 1024
_GATHERED_ROWS = 4096
_KEYS = 8
"""Sources of a destination that sorting looks at; of those behind them hardly any decides."""


@dataclass(frozen=True, eq=False)
class Windows:
    """Operations in the order they are carried out.

    `order` [groups, lanes] is the destination of every lane, -1 for none; groups `near` at a time cover as many
    neighbouring destinations. Operation o adds to group `group[o]`, its window starts with the vector of
    sources `base[o]`. `edge` [operations, lanes] is the edge of each lane, -1 for none; `index` the
    source's place in the window; `share` the part of the edge's weight this lane takes, a power of two. Where `masked`,
    some lane has no edge and must not see a source.
    """

    lanes: int
    near: int
    order: Ints
    group: Ints
    base: Ints
    edge: Ints
    index: Ints
    share: NDArray[np.float32]
    masked: NDArray[np.bool_]

    @property
    def count(self) -> int:
        """Number of operations."""
        return self.group.size

    def weights(self, sums: NDArray[np.float32]) -> NDArray[np.float32]:
        """Weights [operations, lanes] from the weights of the edges; zero where a lane has no edge."""
        padded = np.append(sums, np.float32(0))
        return padded[self.edge] * self.share


def windows(edges: Distinct, lanes: int, near: int, tile: int, fill: bool = True, order: Ints | None = None) -> Windows:
    """Assign the edges to operations; the fewest there can be for this order of destinations.

    `near` groups of destinations are mixed to bring similar ones together (1: none are), unless `order` says all.
    Operations are sorted so that `tile` groups at a time walk through the sources once. `fill` lets a lane without an
    edge take a part of one of its own, if the window has one, so that fewer operations need masks.
    """
    if order is None:
        order = natural_order(edges.n_dst, lanes) if near == 1 else similar_order(edges, lanes, near)
    group, base, edge = _greedy(edges, order, lanes)
    sorting = np.lexsort((group, _rank(group, base), base, group // tile))
    group, base, edge = group[sorting], base[sorting], edge[sorting]
    share = np.ones(edge.shape, np.float32)
    if fill:
        _fill(edges, order[group], base * lanes, edge, share)
    padded = np.append(edges.src, 0)
    index = np.where(edge >= 0, padded[edge] - (base * lanes)[:, None], 0)
    masked = np.any((edge < 0) & (order[group] >= 0), axis=1)
    return Windows(lanes, near, order, group, base, edge, index, share, masked)


def operations(edges: Distinct, order: Ints, sample: int) -> float:
    """Number of operations of destinations in an order, estimated from `sample` groups at most."""
    lanes = order.shape[1]
    step = max(1, len(order) // sample)
    chosen = order[::step]
    return _greedy(edges, chosen, lanes)[0].size * len(order) / len(chosen)


def natural_order(n_dst: int, lanes: int) -> Ints:
    """Destinations in their own order, `lanes` at a time, -1 behind the last."""
    order = np.full(-(-n_dst // lanes) * lanes, -1, np.int64)
    order[:n_dst] = np.arange(n_dst)
    return order.reshape(-1, lanes)


def gathered_order(edges: Distinct, lanes: int) -> Ints:
    """Destinations whose sources lie in the same windows, `lanes` at a time; the last fills the rest.

    The paths of a digital net that meet a cell of destinations are a coset, one of few, so there are many cells whose
    paths come from the same cells of sources, all over the layer. A group takes the destination that adds fewest
    windows, of those that begin with any multiple of `lanes`; where destinations are many, they are sorted instead.
    """
    order = _sorted(edges, lanes) if edges.n_dst > _GATHERED_ROWS else _gathered(edges, lanes)
    return np.append(order, np.repeat(order[-1:], -edges.n_dst % lanes)).reshape(-1, lanes)


def _sorted(edges: Distinct, lanes: int) -> Ints:
    """Destinations by the vectors their first sources lie in."""
    lengths, first = edges.lengths, edges.start[:-1]
    keys = np.full((_KEYS, edges.n_dst), -1, np.int64)
    for k, key in enumerate(keys):
        longer = lengths > k
        key[longer] = edges.src[first[longer] + k] // lanes
    return np.lexsort(keys[::-1])


def _gathered(edges: Distinct, lanes: int) -> Ints:
    """Destinations in sets that see few windows."""
    vectors, apart = edges.src // lanes, edges.n_src // lanes + WINDOW
    seen = np.concatenate((vectors // WINDOW * WINDOW, (vectors + 1) // WINDOW * WINDOW - 1)) + 1
    both = np.unique(np.tile(edges.dst, 2) * apart + seen)
    heard = np.split(both % apart, np.searchsorted(both, np.arange(1, edges.n_dst) * apart))
    sets = list(Pool(heard, np.ones(edges.n_dst, np.int64), lanes).sets())
    sets.sort(key=len, reverse=True)
    return np.concatenate([np.array(each, np.int64) for each in sets])


def similar_order(edges: Distinct, lanes: int, near: int) -> Ints:
    """Destinations so that those in a group have sources in the same windows, moved within near * lanes.

    Greedy: a group grows by the destination that adds the fewest operations, estimated as the sum over windows of
    the largest number of sources a lane has there.
    """
    if edges.n_dst > _GROUPED_ROWS:
        return natural_order(edges.n_dst, lanes)
    blocks = -(-edges.n_src // lanes) + 1
    counts = np.bincount(edges.dst * blocks + edges.src // lanes, minlength=edges.n_dst * blocks)
    counts = counts.reshape(edges.n_dst, blocks)
    seen = (counts[:, :-1] + counts[:, 1:]).astype(np.int32)
    order = natural_order(edges.n_dst, lanes)
    whole = edges.n_dst // (near * lanes) * near
    if whole:
        parts = order[:whole].reshape(-1, near * lanes)
        parts[:] = _similar(seen, parts, lanes)
    if whole < len(order):
        rest = order[whole:].reshape(-1)
        real = rest[rest >= 0]
        rest[: real.size] = _similar(seen, real[None], lanes)[0]
    return order


def _similar(seen: NDArray[np.int32], rows: Ints, lanes: int) -> Ints:
    """The rows [parts, n] of every part in their new order, all parts at once."""
    parts, n = rows.shape
    every = np.arange(parts, dtype=np.int64)
    mine = seen[rows]
    own = mine.sum(axis=2)
    left, chosen = np.ones((parts, n), np.bool_), np.empty((parts, n), np.int64)
    most = np.zeros((parts, seen.shape[1]), np.int32)
    for at in range(n):
        if at % lanes == 0:
            best = left.argmax(axis=1)
            most = mine[every, best]
        else:
            shared = np.minimum(mine, most[:, None]).sum(axis=2)
            best = np.where(left, (own - shared) * 64 - shared, _FAR).argmin(axis=1)
            most = np.maximum(most, mine[every, best])
        left[every, best] = False
        chosen[:, at] = best
    return np.take_along_axis(rows, chosen, axis=1)


def _greedy(edges: Distinct, order: Ints, lanes: int) -> tuple[Ints, Ints, Ints]:
    """Group, window and edges of every operation.

    The leftmost source not yet taken decides the window, which starts with it as far left as can be, and every lane
    takes its own leftmost: all that remains lies to the right, so no other choice needs fewer operations.
    """
    last = max(0, -(-edges.n_src // lanes) - WINDOW)
    src = np.append(edges.src, _FAR)
    rows = np.maximum(order, 0)
    at = np.where(order >= 0, edges.start[rows], 0)
    end = np.where(order >= 0, edges.start[rows + 1], 0)
    alive = np.flatnonzero((at < end).any(axis=1))
    groups, bases, taken = list[Ints](), list[Ints](), list[Ints]()
    at, end = at[alive], end[alive]
    while alive.size:
        current = np.where(at < end, src[at], _FAR)
        base = np.minimum(current.min(axis=1) // lanes, last)
        takes = current < ((base + WINDOW) * lanes)[:, None]
        groups.append(alive)
        bases.append(base)
        taken.append(np.where(takes, at, -1))
        at = at + takes
        going = (at < end).any(axis=1)
        if not going.all():
            alive, at, end = alive[going], at[going], end[going]
    if not groups:
        return np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros((0, lanes), np.int64)
    return np.concatenate(groups), np.concatenate(bases), np.concatenate(taken)


def _rank(group: Ints, base: Ints) -> Ints:
    """How many earlier operations have the same group and window."""
    order = np.lexsort((base, group))
    sorted_group, sorted_base = group[order], base[order]
    fresh = np.ones(group.size, np.bool_)
    fresh[1:] = (sorted_group[1:] != sorted_group[:-1]) | (sorted_base[1:] != sorted_base[:-1])
    positions = np.arange(group.size)
    rank = np.empty(group.size, np.int64)
    rank[order] = positions - np.maximum.accumulate(np.where(fresh, positions, 0))
    return rank


def _fill(edges: Distinct, rows: Ints, first: Ints, edge: Ints, share: NDArray[np.float32]) -> None:
    """Give lanes without an edge a part of one of their own edges; the parts of an edge add up to one exactly."""
    o, lane = np.nonzero((edge < 0) & (rows >= 0))
    row, low = rows[o, lane], first[o]
    keys = edges.dst * edges.n_src + edges.src
    if not keys.size or not o.size:
        return
    found = np.searchsorted(keys, row * edges.n_src + np.minimum(low, edges.n_src - 1))
    clipped = np.minimum(found, keys.size - 1)
    own = (edges.dst[clipped] == row) & (edges.src[clipped] < low + WINDOW * rows.shape[1]) & (found < keys.size)
    o, lane, found = o[own], lane[own], found[own]
    sorting = np.argsort(found, kind="stable")
    o, lane, found = o[sorting], lane[sorting], found[sorting]
    rank = np.arange(found.size) - np.searchsorted(found, found)
    few = rank < _PIECES
    o, lane, found, rank = o[few], lane[few], found[few], rank[few]
    pieces = np.bincount(found, minlength=edges.src.size)
    carried = np.where(edge >= 0, np.append(pieces, 0)[edge], 0)
    share *= np.exp2(-carried.astype(np.float32))
    edge[o, lane] = found
    share[o, lane] = np.exp2(-(rank + 1).astype(np.float32))
