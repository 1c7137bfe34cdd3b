"""Junctions cut into sheets: 16 destinations and all sources that one of them hears, some cells without an edge.

A sheet serves all three products. Its cells are [source][16 destinations], sources filled up to whole rounds of the
products forwards. Slots of float32 are its cells, or those with an edge alone, in the same order, where these are few.
Copies in bfloat16 have all cells: `ahead` [round][destination][source] multiplies values, `back` [16 sources][round]
[source][destination] multiplies gradients.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from pathc.backends.groups import Group, Ids, grouped
from pathc.backends.llvm.tiles.code import LINE, ROWS, TileShape
from pathc.backends.llvm.tiles.panels import Panels, panels_of
from pathc.backends.llvm.training.pieces import Edges, Ints, ranks

SIZE = 2
"""Bytes of a factor."""
PIECE = ROWS * ROWS
"""Cells of 16 sources of a sheet."""
HEAD = 8
"""Numbers of a sheet in `Part.tables`."""
_FULL = 0.7
"""Part of the cells with an edge from which on all have a slot."""


@dataclass(frozen=True)
class Whole(Panels):
    """Panels whose tiles have all 16 rows, and a depth that is given, in bytes."""

    depth: int

    @cached_property
    def shape(self) -> TileShape:
        """The shape of all tiles."""
        return TileShape(ROWS, self.depth)


@dataclass(frozen=True, eq=False)
class Part:
    """Panels of a junction that kernels walk through together: of one sheet each if `alone`, of several otherwise.

    Weights of panels are numbers of edges from 1 on. `reversed` are the panels that have sources, in the same order,
    with sources and destinations in each other's role. Slots begin at `base`; if `packed`, only cells with an edge have
    one.
    """

    panels: Whole
    reversed: Whole
    alone: bool
    packed: bool
    base: int

    @cached_property
    def sheets(self) -> tuple[tuple[Group, int], ...]:
        """Panel and tile of every sheet."""
        return tuple((panel, tile) for panel in self.panels.panels for tile in range(self.panels.tiles(panel)))

    @cached_property
    def cells(self) -> Ints:
        """Cells of every sheet."""
        return np.array([ROWS * len(self.panels.sources(panel)) for panel, _ in self.sheets], np.int64)

    @cached_property
    def edges(self) -> Ints:
        """Edges of every sheet."""
        return np.array([np.count_nonzero(p.weights[t * ROWS : (t + 1) * ROWS]) for p, t in self.sheets], np.int64)

    @cached_property
    def sizes(self) -> Ints:
        """Slots of every sheet: whole vectors, and room for another where a vector of fewer edges is written last."""
        return -(-self.edges // ROWS) * ROWS + ROWS if self.packed else self.cells

    @property
    def size(self) -> int:
        """Number of slots."""
        return int(self.sizes.sum())

    def masks(self) -> NDArray[np.uint16]:
        """Which destinations hear a source, for every source of every sheet."""
        bits = 1 << np.arange(ROWS)
        found: list[NDArray[np.int64]] = []
        for (panel, tile), cells in zip(self.sheets, self.cells.tolist(), strict=True):
            heard = panel.weights[tile * ROWS : (tile + 1) * ROWS].T != 0
            masks = heard @ bits[: heard.shape[1]]
            found.append(np.pad(masks, (0, cells // ROWS - len(masks))))
        return np.concatenate(found).astype(np.uint16)

    def tables(self) -> tuple[NDArray[np.uint32], Ints]:
        """What kernels of gradients read of sheets [sheets, HEAD], and sources of panels filled up to 16 with -1.

        Of a sheet: the first slot behind `base`; pieces of 16 sources; rounds forwards; the place of its weights in
        `back`, and from there to the next piece, in bytes; where its sources begin; its first cell; vectors of slots.
        """
        numbers: list[tuple[int, ...]] = []
        sources: list[Ids] = []
        depth, per = self.reversed.depth, self.reversed.depth // (SIZE * ROWS)
        first, at, heard, cell = 0, 0, 0, 0
        each = zip(self.sheets, self.sizes.tolist(), self.cells.tolist(), self.edges.tolist(), strict=True)
        for (panel, tile), size, cells, edges in each:
            pieces, step = self._pieces(panel), self._step(panel)
            inside = tile // per * ROWS * depth + tile % per * SIZE * ROWS
            rounds, vectors = self.panels.rounds(panel), -(-edges // ROWS)
            numbers.append((first, pieces, rounds, at + inside, step, heard, cell, vectors))
            first, cell = first + size, cell + cells
            if tile == self.panels.tiles(panel) - 1:
                sources.append(np.pad(panel.columns, (0, pieces * ROWS - len(panel.columns)), constant_values=-1))
                at, heard = at + pieces * step, heard + pieces * ROWS
        return np.array(numbers, np.uint32), np.concatenate(sources)

    @property
    def back_bytes(self) -> int:
        """Bytes of `back`."""
        return sum(self._pieces(panel) * self._step(panel) for panel in self.panels.panels)

    def _pieces(self, panel: Group) -> int:
        """Pieces of 16 sources; one where there is no source."""
        return max(1, -(-len(panel.columns) // ROWS))

    def _step(self, panel: Group) -> int:
        """Bytes of 16 sources of a panel in `back`."""
        return -(-len(panel.rows) * SIZE // self.reversed.depth) * ROWS * self.reversed.depth

    def destinations(self) -> Ints:
        """The destinations of all sheets [sheets, 16], -1 where there are fewer."""
        found = np.full((len(self.sheets), ROWS), -1, np.int64)
        for line, (panel, tile) in zip(found, self.sheets, strict=True):
            rows = panel.rows[tile * ROWS : (tile + 1) * ROWS]
            line[: len(rows)] = rows
        return found

    def places(self) -> Iterator[tuple[Ints, Ints]]:
        """Edges of every sheet and their slots."""
        first = self.base
        for (panel, tile), size in zip(self.sheets, self.sizes.tolist(), strict=True):
            column, row = np.nonzero(panel.weights[tile * ROWS : (tile + 1) * ROWS].T)
            places = np.arange(len(row)) if self.packed else column * ROWS + row
            yield panel.weights[tile * ROWS + row, column] - 1, first + places
            first += size


@dataclass(frozen=True, eq=False)
class SheetCut:
    """A junction cut into sheets, `size` slots in all, and where each weight of the tensor is.

    Weight k of the edges is kept in copy `copy[k]` of slot `slot[k]`; `copies` is how many a slot has at most.
    """

    edges: Edges
    parts: tuple[Part, ...]
    size: int
    slot: Ints
    copy: Ints
    copies: int

    @property
    def holes(self) -> bool:
        """Whether there are slots without an edge that may have a gradient."""
        return any(not part.packed and part.cells.sum() > part.edges.sum() for part in self.parts)


def cut_sheets(edges: Edges, n_src: int, n_dst: int) -> SheetCut:
    """Cut the edges between so many units."""
    keys, of_edge = np.unique(edges.dst * n_src + edges.src, return_inverse=True)
    groups = grouped(keys // n_src, keys % n_src, np.arange(1, len(keys) + 1), n_dst)
    panels = sorted(panels_of(groups, SIZE).panels, key=lambda panel: not len(panel.columns))
    parts: list[Part] = []
    base = 0
    for alone in (True, False):
        chosen = [panel for panel in panels if (len(panel.rows) <= ROWS) == alone]
        if chosen:
            parts.append(_part(chosen, alone, base))
            base += parts[-1].size
    found = np.empty(len(keys), np.int64)
    for part in parts:
        for edge, slot in part.places():
            found[edge] = slot
    slot = found[of_edge]
    copy = ranks(slot)
    return SheetCut(edges, tuple(parts), base, slot, copy, int(copy.max(initial=0)) + 1)


def _part(panels: Sequence[Group], alone: bool, base: int) -> Part:
    deepest = max(len(panel.columns) for panel in panels)
    turned = [Group(p.columns, p.rows, p.weights.T) for p in panels if len(p.columns)]
    depth = SIZE * ROWS if deepest <= ROWS else LINE
    back = SIZE * ROWS if alone else LINE
    made = Part(Whole(tuple(panels), SIZE, depth), Whole(tuple(turned), SIZE, back), alone, True, base)
    return replace(made, packed=made.edges.sum() < _FULL * made.cells.sum())
