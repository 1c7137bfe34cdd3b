"""Channels of a junction by what they hear: blocks of one size, and lists for the others.

Channels that hear the same channels are a block, whatever made them do so: the dense blocks of a Sobol' junction, the
groups of a dense line, or single channels.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pathc.backends.llvm.filters.chunks import Group, channel_edges, grouped
from pathc.backends.tvm.filters.plan import Floats, Ints
from pathc.ir.interp.filters import FilterJunction

_LEAST_SHARE, _LEAST_SINGLE = 1 / 4, 1 / 2
"""Blocks of one size get a kernel of their own if they make up this part of the channels, so that there are few.

Single channels share nothing but the shape of their loops, and need more.
"""
_MOST_SEEN = 8192
"""Numbers around a position that a filter may reach over and still be staged."""


@dataclass(frozen=True, eq=False)
class Uniform:
    """Blocks of one size: targets [blocks, out], sources [blocks, in], weights [blocks, in, taps, out]."""

    targets: Ints
    sources: Ints
    weights: Floats


@dataclass(frozen=True, eq=False)
class Listed:
    """Edges by target: targets [channels], starts [channels + 1], sources [edges], weights [edges, taps]."""

    targets: Ints
    starts: Ints
    sources: Ints
    weights: Floats


def classes_of(mix: FilterJunction, weights: Floats, channels: tuple[int, int]) -> list[Uniform | Listed]:
    """The channels of the result, each in one class, also those that hear nothing; equal edges are added up.

    `channels` are those of the destination and of the source that are not silent, `weights` those of the junction.
    """
    edges = channel_edges(mix.each, channels)
    taps = len(mix.geometry.taps)
    values = np.zeros((len(edges.targets), taps))
    np.add.at(values, edges.edge, weights.reshape(-1, taps)[edges.element])
    sizes: dict[tuple[int, int], list[Group]] = defaultdict(list)
    for group in grouped(edges.targets, edges.sources, channels[0], range(channels[0], 0, -1)):
        sizes[len(group.targets), len(group.sources)].append(group)
    g = mix.geometry.planar()
    reach = math.prod((n - 1) * d + 1 for n, d in zip(g.kernel, g.dilation, strict=True))
    found: list[Uniform | Listed] = []
    rest: list[Group] = []
    for (fan_out, fan_in), groups in sorted(sizes.items()):
        least = _LEAST_SHARE if fan_out > 1 else _LEAST_SINGLE
        if fan_in and reach <= _MOST_SEEN and fan_out * len(groups) >= least * channels[0]:
            found.append(_uniform(groups, values))
        else:
            rest += groups
    return [*found, _listed(rest, values)] if rest else found


def _uniform(groups: Sequence[Group], values: Floats) -> Uniform:
    weights = np.stack([values[group.edges].swapaxes(1, 2) for group in groups])
    return Uniform(_stacked([g.targets for g in groups]), _stacked([g.sources for g in groups]), weights)


def _stacked(rows: list[tuple[int, ...]]) -> Ints:
    return np.array(rows, np.int64)


def _listed(groups: Sequence[Group], values: Floats) -> Listed:
    heard = sorted((target, g.sources, g.edges[:, n]) for g in groups for n, target in enumerate(g.targets))
    starts = np.cumsum([0, *(len(sources) for _, sources, _ in heard)])
    edges = np.concatenate([edges for _, _, edges in heard]).astype(np.int64)
    sources = np.array([source for _, sources, _ in heard for source in sources], np.int64)
    return Listed(np.array([target for target, _, _ in heard], np.int64), starts, sources, values[edges])
