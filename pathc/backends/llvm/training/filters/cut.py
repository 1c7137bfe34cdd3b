"""Where the weights of a filter lie: channels that hear the same channels side by side, both ways.

Slot of a weight: base of its group + (source * taps + tap) * targets + target, numbers within the group. Backwards the
same weights lie in the groups of channels that reach the same channels. Weights at silent channels, which nobody
hears, have slots of their own behind all others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from pathc.backends.llvm.column.common import round_up
from pathc.backends.llvm.filters.chunks import Group, channel_edges, grouped
from pathc.backends.llvm.training.pieces import ranks
from pathc.ir.interp.filters import FilterJunction

Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Groups:
    """Groups with `size` targets: records [groups, 3 + size] of first slot, sources, where they begin, and targets.

    `sources` are the channels all groups hear, one group after the other.
    """

    size: int
    records: Ints
    sources: Ints

    @property
    def work(self) -> float:
        """Edges of a group, on average."""
        return float(self.records[:, 1].mean()) * self.size


@dataclass(frozen=True, eq=False)
class FilterCut:
    """A filter cut into groups: `size` slots, those of the weights in natural order, and copies of each.

    `back` are the groups backwards, whose slots hold what lies at `turned` of the others.
    """

    forward: tuple[Groups, ...]
    back: tuple[Groups, ...]
    size: int
    slot: Ints
    copy: Ints
    copies: int
    turned: Ints


def cut_filter(
    junction: FilterJunction, real: tuple[int, int], elements: int, width: int, sizes: Sequence[int]
) -> FilterCut:
    """Cut a filter between `real` channels of destination and source, of `elements` weights, taps counted one by one.

    `sizes` are those of groups, falling, down to 1; `width` is the lanes of a vector.
    """
    edges = channel_edges(junction.each, real)
    taps = len(junction.geometry.taps)
    forward, place, step = _laid_out(grouped(edges.targets, edges.sources, real[0], sizes), len(edges.targets), taps)
    order = np.lexsort((edges.targets, edges.sources))
    back, back_place, back_step = _laid_out(
        grouped(edges.sources[order], edges.targets[order], real[1], sizes), len(order), taps
    )
    used = len(edges.targets) * taps
    slot = np.full((elements // taps, taps), -1, np.int64)
    every = np.arange(taps)
    slot[edges.element] = place[edges.edge][:, None] + every * step[edges.edge][:, None]
    idle = np.flatnonzero(slot.reshape(-1) < 0)
    slot.reshape(-1)[idle] = used + np.arange(len(idle))
    turned = np.zeros(round_up(used, width), np.int64)
    turned[back_place[:, None] + every * back_step[:, None]] = (place[:, None] + every * step[:, None])[order]
    flat = slot.reshape(-1)
    copy = ranks(flat)
    size = round_up(used + len(idle), width)
    return FilterCut(forward, back, size, flat, copy, int(copy.max(initial=0)) + 1, turned)


def _laid_out(groups: list[Group], edges: int, taps: int) -> tuple[tuple[Groups, ...], Ints, Ints]:
    """Groups by size, and of every edge the slot of its first tap and how far it is to the next one."""
    place, step = np.zeros(edges, np.int64), np.zeros(edges, np.int64)
    found: list[Groups] = []
    first = 0
    ordered = sorted(groups, key=lambda group: -len(group.targets))
    for size, members in groupby(ordered, key=lambda group: len(group.targets)):
        records: list[tuple[int, ...]] = []
        sources: list[int] = []
        for group in members:
            count = len(group.sources)
            records.append((first, count, len(sources), *group.targets))
            sources.extend(group.sources)
            place[group.edges] = first + np.arange(count)[:, None] * taps * size + np.arange(size)
            step[group.edges] = size
            first += count * taps * size
        found.append(Groups(size, np.array(records, np.int64), np.array(sources, np.int64)))
    return tuple(found), place, step
