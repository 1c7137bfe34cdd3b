"""Channels that hear the same channels of a quantized net, and their weights, four sources at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pathc.backends.llvm.filters.chunks import channel_edges
from pathc.ir.filters import Geometry
from pathc.ir.interp.filters import FilterJunction

Ints = NDArray[np.int64]
FOUR = 4


@dataclass(frozen=True, eq=False)
class Chunk:
    """Targets that hear the same fours: `weights` int8 [fours, taps, targets, 4].

    `heard` are the sources of the fours, [fours, 4], -1 where there is none. A source may occur several times: parallel
    paths keep weights of their own, whose sum might not fit into 8 bits.
    """

    targets: tuple[int, ...]
    heard: Ints
    weights: NDArray[np.int8]


def fold_of(geometry: Geometry, channels: int) -> int:
    """How many neighbouring columns of a filter count as sources of their own, where few channels leave fours empty."""
    fits = geometry.stride[1] == 1 and geometry.kernel[1] > 1
    return FOUR // channels if fits and channels <= FOUR // 2 else 1


def chunks_of(
    junction: FilterJunction, weights: Ints, channels: tuple[int, int], sizes: Sequence[int], fold: int
) -> tuple[Chunk, ...]:
    """Chunks of a junction; `channels` are those of destination and source, `sizes` those of chunks, falling to 1.

    With a `fold` of n source s * n + k is channel s, k columns on, and every n-th column of the filter is a tap.
    """
    edges = channel_edges(junction.each, channels)
    height, width = junction.geometry.planar().kernel
    groups = -(-width // fold)
    values = weights.reshape(-1, height, width)[edges.element]
    values = np.pad(values, ((0, 0), (0, 0), (0, groups * fold - width))).reshape(-1, height, groups, fold)
    taps = height * groups
    values = np.moveaxis(values, 3, 1).reshape(-1, taps)
    targets = np.repeat(edges.targets[edges.edge], fold)
    sources = (edges.sources[edges.edge][:, None] * fold + np.arange(fold)).reshape(-1)
    order = np.lexsort((sources, targets))
    targets, sources, values = targets[order], sources[order], values[order]
    starts = np.searchsorted(targets, np.arange(channels[0] + 1))
    alike: dict[bytes, list[int]] = {}
    for target in range(channels[0]):
        alike.setdefault(sources[starts[target] : starts[target + 1]].tobytes(), []).append(target)
    found: list[Chunk] = []
    for key, rest in alike.items():
        heard = np.frombuffer(key, np.int64)
        fours = -(-len(heard) // FOUR)
        padded = np.pad(heard, (0, fours * FOUR - len(heard)), constant_values=-1).reshape(fours, FOUR)
        for size in sizes:
            while len(rest) >= size:
                chosen, rest = rest[:size], rest[size:]
                own = np.zeros((size, fours * FOUR, taps), np.int8)
                for k, target in enumerate(chosen):
                    own[k, : len(heard)] = values[starts[target] : starts[target + 1]]
                ordered = own.reshape(size, fours, FOUR, taps).transpose(1, 3, 0, 2)
                found.append(Chunk(tuple(chosen), padded, np.ascontiguousarray(ordered)))
    return tuple(found)


def offset_sums(chunks: Sequence[Chunk], channels: int) -> Ints:
    """The sum of all weights into every channel, [channels]."""
    found = np.zeros(channels, np.int64)
    for chunk in chunks:
        found[list(chunk.targets)] += chunk.weights.astype(np.int64).sum(axis=(0, 1, 3))
    return found
