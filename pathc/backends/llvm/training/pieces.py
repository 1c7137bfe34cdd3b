"""Junctions cut into pieces that kernels walk through: panels (dense blocks) and rows (any edges).

A piece holds a slot for every weight it works with; all pieces of a junction share one numbering of slots, each
starting at a whole vector. Units of padding are -1: they are read as zero and written where nobody looks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pathc.backends.llvm.column.dense import expected_edges
from pathc.backends.llvm.plan import Junction
from pathc.ir.facts import Blocks
from pathc.ir.gf2 import apply_array, coordinates, span_array

Ints = NDArray[np.int64]
LOCKSTEP = 4
"""Rows that walk through their sources together."""
_THINNEST = 0.4
"""Part of the matrix that paths fill from which on it is computed as a dense one."""
_WASTE = 3
"""Slots for equal edges may be this many times the paths; beyond, every path has its own slot."""


@dataclass(frozen=True, eq=False)
class Edges:
    """The weights of a junction: `src`, `dst` are units, `element` the place in the tensor, all int64 [weights]."""

    src: Ints
    dst: Ints
    element: Ints


@dataclass(frozen=True, eq=False)
class Panels:
    """Dense blocks of one size: units `src` [blocks, sources], `dst` [blocks, destinations].

    Weights are [block][tile of destinations][source][destination of the tile], `tile` destinations a tile.
    """

    src: Ints
    dst: Ints
    tile: int
    base: int
    covers: bool
    covers_src: bool

    @property
    def blocks(self) -> int:
        """Number of blocks."""
        return len(self.src)

    @property
    def fan_in(self) -> int:
        """Sources of a block, padding included."""
        return self.src.shape[1]

    @property
    def fan_out(self) -> int:
        """Destinations of a block, padding included."""
        return self.dst.shape[1]

    @property
    def tiles(self) -> int:
        """Tiles of destinations in a block."""
        return self.fan_out // self.tile

    @property
    def size(self) -> int:
        """Number of slots."""
        return self.src.size * self.fan_out

    def slots(self, block: Ints, row: Ints, column: Ints) -> Ints:
        """Slots of weights by block, destination and source within it."""
        tile = block * self.tiles + row // self.tile
        return self.base + (tile * self.fan_in + column) * self.tile + row % self.tile


@dataclass(frozen=True, eq=False)
class Rows:
    """Destinations in sets of LOCKSTEP that walk through sources in step.

    `dst` [sets, LOCKSTEP]; set k has `length[k]` steps from `start[k]` on, padded to whole vectors of slots;
    `src` [steps, LOCKSTEP]. Slot of a weight: base + step * LOCKSTEP + lane.
    """

    dst: Ints
    start: Ints
    length: Ints
    src: Ints
    base: int
    covers: bool

    @property
    def sets(self) -> int:
        """Number of sets."""
        return len(self.dst)

    @property
    def size(self) -> int:
        """Number of slots."""
        return self.src.size


@dataclass(frozen=True, eq=False)
class Turned:
    """Rows of the reversed edges, which take source and destination in each other's role.

    `slots` [rows.size] says which slot of the junction holds the same weight, -1 for padding.
    """

    rows: Rows
    slots: Ints


@dataclass(frozen=True, eq=False)
class Cut:
    """A junction cut into pieces, `size` slots in all, and where each weight of the tensor is.

    Weight k of the edges is kept in copy `copy[k]` of slot `slot[k]`; `copies` is how many a slot has at most.
    `turned` holds, for every piece of rows, the rows of the input gradient. `holes` says that a panel has cells between
    units where no path leads.
    """

    edges: Edges
    panels: tuple[Panels, ...]
    rows: Rows | None
    turned: Turned | None
    size: int
    slot: Ints
    copy: Ints
    copies: int
    holes: bool


def cut(junction: Junction, edges: Edges, width: int) -> Cut:
    """Cut a junction for vectors of `width` lanes."""
    count = edges.src.size
    slot = np.full(count, -1, np.int64)
    panels, base, holes = list[Panels](), 0, False
    rest = np.arange(count)
    for block in _windows(junction, width):
        panel, slots = _panel_of(block, junction, edges, base, width)
        slot[block.start : block.start + block.length] = slots
        panels.append(panel)
        base += panel.size
        rest = rest[(rest < block.start) | (rest >= block.start + block.length)]
    if not panels and _nearly_dense(junction, edges):
        panel = _dense_panel(junction, width)
        slot = panel.slots(np.zeros(count, np.int64), edges.dst, edges.src)
        panels, base, rest = [panel], panel.size, rest[:0]
        holes = np.unique(slot).size < junction.n_src * junction.n_dst and junction.kind == "paths"
    rows, turned = None, None
    if rest.size or not panels:
        rows, turned = _rows_of(junction, edges, rest, slot, base, width)
        base += rows.size
    copy = ranks(slot)
    return Cut(edges, tuple(panels), rows, turned, base, slot, copy, int(copy.max(initial=0)) + 1, holes)


def ranks(keys: Ints) -> Ints:
    """How many equal keys come before each key."""
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    first = np.flatnonzero(np.diff(ordered, prepend=-2))
    counts = np.diff(np.append(first, len(keys)))
    result = np.empty(len(keys), np.int64)
    result[order] = np.arange(len(keys)) - np.repeat(first, counts)
    return result


def tile_of(fan_out: int, width: int) -> int:
    """Destinations of a tile: the most that leave little padding; what is left of a vector are sources."""
    sizes = [t for t in (width // 2, width // 4, width // 8) if 1 <= t <= fan_out] or [1]
    return min(sizes, key=lambda t: (-(-fan_out // t) * t, -t))


def _windows(junction: Junction, width: int) -> list[Blocks]:
    """The windows whose blocks are worth a panel."""
    return [b for b in junction.blocks if b.fan_in * b.fan_out >= width]


def _panel_of(block: Blocks, junction: Junction, edges: Edges, base: int, width: int) -> tuple[Panels, Ints]:
    """The panel of a window of linear paths, and the slots of its paths."""
    first_src, first_dst = (
        span_array(block.src_reps, block.src_shift),
        span_array(block.dst_reps, block.dst_shift),
    )
    src = first_src[:, None] ^ span_array(block.src_basis)[None, :]
    dst = first_dst[:, None] ^ span_array(block.dst_basis)[None, :]
    whole = block.fan_out >= width and block.fan_in >= 8
    tile = width if whole else max(min(width // 2, block.fan_out), width // block.fan_in)
    panel = Panels(src, dst, tile, base, dst.size == junction.n_dst, src.size == junction.n_src)
    window = slice(block.start, block.start + block.length)
    at_src = apply_array(coordinates((*block.src_basis, *block.src_reps)), edges.src[window] ^ block.src_shift)
    at_dst = apply_array(coordinates((*block.dst_basis, *block.dst_reps)), edges.dst[window] ^ block.dst_shift)
    number = at_dst >> len(block.dst_basis)
    return panel, panel.slots(number, at_dst & (block.fan_out - 1), at_src & (block.fan_in - 1))


def _nearly_dense(junction: Junction, edges: Edges) -> bool:
    """Whether the matrix is full enough to be computed as a dense one."""
    if junction.kind == "dense":
        return junction.n_src * junction.n_dst > 0
    cells = junction.n_src * junction.n_dst
    if expected_edges(junction) < _THINNEST * cells:
        return False
    most = int(np.bincount(edges.dst * junction.n_src + edges.src, minlength=1).max(initial=0))
    return most * cells <= max(_WASTE * edges.src.size, 4 * cells)


def _dense_panel(junction: Junction, width: int) -> Panels:
    """One block that holds the whole matrix."""
    tile = tile_of(junction.n_dst, width)
    unit = width // tile
    unit = 8 if junction.n_src > 8 >= unit else unit
    src = np.full((1, -(-junction.n_src // unit) * unit), -1, np.int64)
    dst = np.full((1, -(-junction.n_dst // tile) * tile), -1, np.int64)
    src[0, : junction.n_src] = np.arange(junction.n_src)
    dst[0, : junction.n_dst] = np.arange(junction.n_dst)
    return Panels(src, dst, tile, 0, True, True)


def _rows_of(junction: Junction, edges: Edges, chosen: Ints, slot: Ints, base: int, width: int) -> tuple[Rows, Turned]:
    """Rows of the chosen weights and the reverse; fills in their slots."""
    keys = edges.dst[chosen] * junction.n_src + edges.src[chosen]
    distinct, first, of_path = np.unique(keys, return_index=True, return_inverse=True)
    most = int(np.bincount(of_path, minlength=1).max(initial=0))
    if most * distinct.size > _WASTE * chosen.size:
        first, of_path = np.arange(chosen.size), np.arange(chosen.size)
    src, dst = edges.src[chosen[first]], edges.dst[chosen[first]]
    rows, slots = _lockstep(src, dst, junction.n_dst, base, width)
    back, places = _lockstep(dst, src, junction.n_src, 0, width)
    slot[chosen] = slots[of_path]
    same = np.full(back.size, -1, np.int64)
    same[places] = slots
    return rows, Turned(back, same)


def _lockstep(src: Ints, dst: Ints, units: int, base: int, width: int) -> tuple[Rows, Ints]:
    """Rows of edges, sorted by length, and the slot of every edge."""
    lengths = np.bincount(dst, minlength=units)
    order = np.argsort(lengths, kind="stable")
    sets = -(-units // LOCKSTEP)
    rows = np.full(sets * LOCKSTEP, -1, np.int64)
    rows[:units] = order
    rows = rows.reshape(sets, LOCKSTEP)
    length = np.maximum(np.where(rows >= 0, lengths[rows], 0).max(axis=1), 1)
    unit = max(1, width // LOCKSTEP)
    padded = -(-length // unit) * unit
    start = np.cumsum(padded) - padded
    place = np.empty(units, np.int64)
    place[order] = np.arange(units)
    by_row = np.lexsort((src, dst))
    rank = np.empty(dst.size, np.int64)
    rank[by_row] = ranks(dst[by_row])
    at = place[dst]
    step, lane = start[at // LOCKSTEP] + rank, at % LOCKSTEP
    sources = np.full((int(padded.sum()), LOCKSTEP), -1, np.int64)
    sources[step, lane] = src
    return Rows(rows, start, length, sources, base, True), base + step * LOCKSTEP + lane
