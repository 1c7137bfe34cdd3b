"""Channels that hear the same channels, together: the dense blocks of a junction, however they came about."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pathc.backends.llvm.filters.plan import Chunk
from pathc.ir.interp.base import Junction
from pathc.ir.interp.filters import GroupedJunction
from pathc.ir.interp.junctions import PathJunction

Edges = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]


def chunks_of(
    junction: Junction, weights: NDArray[np.float64], channels: tuple[int, int], sizes: Sequence[int]
) -> tuple[Chunk, ...]:
    """Chunks of a junction between channels, its weights [..., taps]; `sizes` are those of chunks, falling, down to 1.

    Equal edges are added up. Every channel of the result is in one chunk, also where no edge leads to it.
    """
    targets, sources, values = _edges(junction, weights, channels)
    heard: dict[tuple[int, ...], list[int]] = {}
    starts = np.searchsorted(targets, np.arange(channels[0] + 1))
    for target in range(channels[0]):
        own = slice(int(starts[target]), int(starts[target + 1]))
        heard.setdefault(tuple(sources[own].tolist()), []).append(target)
    chunks: list[Chunk] = []
    for together, members in heard.items():
        rest = members
        for size in sizes:
            while len(rest) >= size:
                chosen, rest = rest[:size], rest[size:]
                taken = [values[starts[t] : starts[t + 1]] for t in chosen]
                packed = np.stack(taken, axis=-1).astype(np.float32)
                chunks.append(Chunk(tuple(chosen), together, np.ascontiguousarray(packed)))
    return tuple(chunks)


def _edges(junction: Junction, weights: NDArray[np.float64], channels: tuple[int, int]) -> Edges:
    """Distinct edges (target, source, weights at all taps) in the order of targets, then sources."""
    taps = weights.shape[-1]
    if isinstance(junction, GroupedJunction):
        out, into = junction.real
        targets = np.repeat(np.arange(out), into // junction.groups)
        own = np.tile(np.arange(into // junction.groups), out)
        sources = own + targets // (out // junction.groups) * (into // junction.groups)
        return targets, sources, weights.reshape(len(targets), taps)
    assert isinstance(junction, PathJunction)
    number, count = junction.number, junction.generator.count
    sources, targets = (junction.generator.units(visit, 0, count).astype(np.int64) for visit in (number - 1, number))
    real = (targets < channels[0]) & (sources < channels[1])
    keys = targets[real] * channels[1] + sources[real]
    distinct, places = np.unique(keys, return_inverse=True)
    values = np.zeros((len(distinct), taps))
    np.add.at(values, places.reshape(-1), weights[real])
    return distinct // channels[1], distinct % channels[1], values
