"""Groups of destinations put together until they fill tiles, and their weights in the order of the products.

A panel is a group whose matrix may hold zeros: rows of small groups stand together if they hear much the same sources,
which layers of any size do whose paths are of low discrepancy.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from pathc.backends.groups import Group, Ids
from pathc.backends.llvm.sharing import Pool
from pathc.backends.llvm.tiles.code import LINE, ROWS, TileShape

_FEW = ROWS // 2
"""Rows up to which a group does not fill a tile of its own."""


@dataclass(frozen=True)
class Panels:
    """Panels of a station; `size` are the bytes of a weight."""

    panels: tuple[Group, ...]
    size: int

    @cached_property
    def shape(self) -> TileShape:
        """The shape of all tiles: no deeper than the deepest panel asks for."""
        rows = max((min(ROWS, len(panel.rows)) for panel in self.panels), default=1)
        deepest = max((len(panel.columns) for panel in self.panels), default=0)
        words = max(1, -(-deepest * self.size // 4))
        rounds = -(-words * 4 // LINE)
        return TileShape(rows, 4 * -(-words // rounds))

    @property
    def per_round(self) -> int:
        """Sources of one product."""
        return self.shape.depth // self.size

    def rounds(self, panel: Group) -> int:
        """Products for each tile of a panel."""
        return max(1, -(-len(panel.columns) // self.per_round))

    def tiles(self, panel: Group) -> int:
        """Tiles of destinations of a panel."""
        return -(-len(panel.rows) // self.shape.rows)

    @property
    def clocks(self) -> int:
        """Clock cycles of the products for 64 samples and of storing the sums, as far as nothing else hides it."""
        shape = self.shape
        return sum(self.tiles(each) * 4 * (self.rounds(each) * shape.clocks + ROWS // 2) for each in self.panels)

    def sources(self, panel: Group) -> Ids:
        """The sources of a panel, filled up to whole rounds with -1."""
        room = self.rounds(panel) * self.per_round - len(panel.columns)
        return np.pad(panel.columns, (0, room), constant_values=-1)

    def parts(self) -> tuple[tuple[bool, Panels], ...]:
        """Panels of one tile, marked so, and those of several, with shapes of their own."""
        alone = [panel for panel in self.panels if len(panel.rows) <= ROWS]
        shared = [panel for panel in self.panels if len(panel.rows) > ROWS]
        found = (True, Panels(tuple(alone), self.size)), (False, Panels(tuple(shared), self.size))
        return tuple(part for part in found if part[1].panels)

    def weights(self) -> NDArray[np.uint8]:
        """Weights of all panels in order, [tile][round][row][source], as bytes."""
        parts: list[NDArray[np.uint8]] = []
        for panel in self.panels:
            rows, rounds, tiles = self.shape.rows, self.rounds(panel), self.tiles(panel)
            room = (tiles * rows - len(panel.rows), rounds * self.per_round - len(panel.columns))
            filled = np.pad(panel.weights, [(0, extra) for extra in room])
            ordered = filled.reshape(tiles, rows, rounds, self.per_round).transpose(0, 2, 1, 3)
            parts.append(np.ascontiguousarray(ordered).reshape(-1).view(np.uint8))
        return np.concatenate(parts) if parts else np.zeros(0, np.uint8)


def panels_of(groups: Sequence[Group], size: int) -> Panels:
    """Panels of the groups of a station, whose weights have `size` bytes."""
    whole: list[Group] = []
    small: list[Group] = []
    for group in groups:
        rest = len(group.rows) % ROWS
        kept = len(group.rows) - (rest if rest <= _FEW else 0)
        if kept:
            whole.append(Group(group.rows[:kept], group.columns, group.weights[:kept]))
        if kept < len(group.rows):
            small.append(Group(group.rows[kept:], group.columns, group.weights[kept:]))
    return Panels((*whole, *_joined(small)), size)


def _joined(groups: Sequence[Group]) -> Iterator[Group]:
    """Panels of at most 16 rows, each begun by the first group left and filled with what adds fewest sources."""
    numbered = [_numbered(group) for group in groups]
    for chosen in Pool(numbered, np.array([len(group.rows) for group in groups], np.int64), ROWS).sets():
        yield _panel([groups[k] for k in chosen], [numbered[k] for k in chosen])


def _numbered(group: Group) -> Ids:
    """A number for each column that is equal for the n-th of equal columns only."""
    columns = group.columns
    order = np.argsort(columns, kind="stable")
    ordered = columns[order]
    first = np.searchsorted(ordered, ordered)
    times = np.empty(len(columns), np.int64)
    times[order] = np.arange(len(columns)) - first
    return columns + (times << 40)


def _panel(groups: Sequence[Group], kinds: Sequence[Ids]) -> Group:
    """One group with the rows of all, and zeros where a row does not hear a source."""
    together, first = np.unique(np.concatenate(kinds), return_index=True)
    columns = np.concatenate([group.columns for group in groups])[first]
    weights = np.zeros((sum(len(group.rows) for group in groups), len(columns)), groups[0].weights.dtype)
    at = 0
    for group, own in zip(groups, kinds, strict=True):
        weights[at : at + len(group.rows), np.searchsorted(together, own)] = group.weights
        at += len(group.rows)
    return Group(np.concatenate([group.rows for group in groups]), columns, weights)
