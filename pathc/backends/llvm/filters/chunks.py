"""Channels that hear the same channels, together: the dense blocks of a junction, however they came about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pathc.backends.llvm.filters.plan import Chunk
from pathc.ir.interp.base import Junction
from pathc.ir.interp.filters import GroupedJunction
from pathc.ir.interp.junctions import PathJunction

Ints = NDArray[np.int64]


def chunks_of(
    junction: Junction, weights: NDArray[np.float64], channels: tuple[int, int], sizes: Sequence[int]
) -> tuple[Chunk, ...]:
    """Chunks of a junction between channels, its weights [..., taps]; `sizes` are those of chunks, falling, down to 1.

    Equal edges are added up. Every channel of the result is in one chunk, also where no edge leads to it.
    """
    edges = channel_edges(junction, channels)
    values = np.zeros((len(edges.targets), weights.shape[-1]))
    np.add.at(values, edges.edge, weights.reshape(-1, weights.shape[-1])[edges.element])
    return tuple(
        Chunk(group.targets, group.sources, np.ascontiguousarray(values[group.edges].swapaxes(1, 2).astype(np.float32)))
        for group in grouped(edges.targets, edges.sources, channels[0], sizes)
    )


@dataclass(frozen=True, eq=False)
class ChannelEdges:
    """Distinct edges of a junction between channels, in the order of targets, then sources: int64 [edges].

    Weight `element[i]` belongs to edge `edge[i]`, int64 [weights]; weights at silent channels are in neither.
    """

    targets: Ints
    sources: Ints
    element: Ints
    edge: Ints


def channel_edges(junction: Junction, channels: tuple[int, int]) -> ChannelEdges:
    """The edges of a junction; `channels` are those of the destination and of the source that are not silent."""
    if isinstance(junction, GroupedJunction):
        out, into = junction.real
        targets = np.repeat(np.arange(out), into // junction.groups)
        own = np.tile(np.arange(into // junction.groups), out)
        sources = own + targets // (out // junction.groups) * (into // junction.groups)
        every = np.arange(len(targets))
        return ChannelEdges(targets, sources, every, every)
    assert isinstance(junction, PathJunction)
    number, count = junction.number, junction.generator.count
    sources, targets = (junction.generator.units(visit, 0, count).astype(np.int64) for visit in (number - 1, number))
    real = np.flatnonzero((targets < channels[0]) & (sources < channels[1]))
    distinct, edge = np.unique(targets[real] * channels[1] + sources[real], return_inverse=True)
    return ChannelEdges(distinct // channels[1], distinct % channels[1], real, edge.reshape(-1))


@dataclass(frozen=True, eq=False)
class Group:
    """Targets that hear the same sources: `edges[i][k]` is the number of the edge from source i to target k."""

    targets: tuple[int, ...]
    sources: tuple[int, ...]
    edges: Ints


def grouped(targets: Ints, sources: Ints, count: int, sizes: Sequence[int]) -> list[Group]:
    """All `count` targets in groups of at most `sizes[0]` that hear the same sources.

    The edges are in the order of targets, then sources; `sizes` fall, down to 1.
    """
    heard: dict[bytes, list[int]] = {}
    starts = np.searchsorted(targets, np.arange(count + 1))
    for target in range(count):
        heard.setdefault(sources[starts[target] : starts[target + 1]].tobytes(), []).append(target)
    groups: list[Group] = []
    for rest in heard.values():
        together = tuple(sources[starts[rest[0]] : starts[rest[0] + 1]].tolist())
        for size in sizes:
            while len(rest) >= size:
                chosen, rest = rest[:size], rest[size:]
                edges = np.arange(len(together))[:, None] + starts[chosen][None, :]
                groups.append(Group(tuple(chosen), together, edges))
    return groups
