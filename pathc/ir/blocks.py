"""The dense blocks of a junction: how they are found, and where edges, units and paths lie in them.

Everything is linear over GF(2), so each map below is a handful of XOR constants, and its table over all paths or
units is filled by `gf2.span_array` without touching an edge list. The mathematics stands in docs/theorem.md.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pathc.ir import gf2
from pathc.ir.facts import Blocks
from pathc.ir.generators.base import Affine
from pathc.ir.gf2 import IndexArray


def window(affine: Affine, start: int, length: int) -> Affine:
    """The map restricted to the aligned window of `length` = 2^b indices at `start`, counted from the window's first.

    `start` is a multiple of `length`; raises ValueError otherwise.
    """
    if length & (length - 1) or start % length:
        raise ValueError(f"window of {length} indices at {start} is not aligned")
    bits = length.bit_length() - 1
    columns = (*affine.columns, *(0,) * (bits - len(affine.columns)))
    return Affine(columns[:bits], affine(start))


def find_blocks(src: Affine, dst: Affine, start: int, length: int, line: str = "", junction: int = 1) -> Blocks:
    """The dense blocks that the aligned window of paths forms between two affine visits, in canonical form.

    Equal sets of edges give equal facts: the bases are reduced, blocks ascend with their first source, rows and
    columns ascend with their unit. Takes a number of steps cubic in log(length).
    """
    source, target = window(src, start, length), window(dst, start, length)
    src_basis = gf2.echelon(gf2.apply(source.columns, x) for x in gf2.kernel(target.columns))
    dst_basis = gf2.echelon(gf2.apply(target.columns, x) for x in gf2.kernel(source.columns))
    wide = max((c.bit_length() for c in (*target.columns, target.shift)), default=0)
    mask = (1 << wide) - 1

    def join(s: int, d: int) -> int:
        return gf2.reduce(s, src_basis) << wide | gf2.reduce(d, dst_basis)

    reps = gf2.echelon(join(s, d) for s, d in zip(source.columns, target.columns, strict=True))
    shift = gf2.reduce(join(source.shift, target.shift), reps)
    return Blocks(
        line=line,
        junction=junction,
        start=start,
        length=length,
        src_basis=src_basis,
        dst_basis=dst_basis,
        src_reps=tuple(r >> wide for r in reps),
        dst_reps=tuple(r & mask for r in reps),
        src_shift=shift >> wide,
        dst_shift=shift & mask,
    )


def source_units(blocks: Blocks) -> IndexArray:
    """Source unit of every column of every block: int64 of shape [blocks, fan_in]."""
    units = gf2.span_array((*blocks.src_basis, *blocks.src_reps), blocks.src_shift)
    return units.reshape(blocks.count, blocks.fan_in)


def destination_units(blocks: Blocks) -> IndexArray:
    """Destination unit of every row of every block: int64 of shape [blocks, fan_out]."""
    units = gf2.span_array((*blocks.dst_basis, *blocks.dst_reps), blocks.dst_shift)
    return units.reshape(blocks.count, blocks.fan_out)


@dataclass(frozen=True)
class Places:
    """Where things lie in the blocks of a fact, as linear maps of bits.

    `src` sends source_unit ^ src_shift to block * fan_in + column, `dst` sends destination_unit ^ dst_shift to
    block * fan_out + row. Units that no path of the window visits are sent to arbitrary places.
    """

    blocks: Blocks
    src: tuple[int, ...]
    dst: tuple[int, ...]

    @classmethod
    def of(cls, blocks: Blocks) -> Places:
        """The maps that belong to a fact."""
        return cls(
            blocks,
            gf2.coordinates((*blocks.src_basis, *blocks.src_reps)),
            gf2.coordinates((*blocks.dst_basis, *blocks.dst_reps)),
        )

    def of_sources(self, units: IndexArray) -> tuple[IndexArray, IndexArray]:
        """(block, column) of source units, int64 arrays of the same shape."""
        return _split(gf2.apply_array(self.src, units ^ self.blocks.src_shift), self.blocks.fan_in)

    def of_destinations(self, units: IndexArray) -> tuple[IndexArray, IndexArray]:
        """(block, row) of destination units, int64 arrays of the same shape."""
        return _split(gf2.apply_array(self.dst, units ^ self.blocks.dst_shift), self.blocks.fan_out)

    def of_edges(self, src: IndexArray, dst: IndexArray) -> tuple[IndexArray, IndexArray, IndexArray]:
        """(block, row, column) of the edges src -> dst; the units must be joined by a path of the window."""
        block, column = self.of_sources(src)
        _, row = self.of_destinations(dst)
        return block, row, column

    def of_paths(self, src: Affine, dst: Affine) -> Affine:
        """Slot (block * fan_out + row) * fan_in + column of the window's path j as an affine map of j.

        `src` and `dst` are the visits over the whole line. Its table is `path_slots`; with `repeat` 1 it is a
        bijection, so `gf2.inverse` of its columns gives the path of a slot.
        """
        blocks = self.blocks
        source = window(src, blocks.start, blocks.length)
        target = window(dst, blocks.start, blocks.length)
        columns = tuple(self._slot(s, d) for s, d in zip(source.columns, target.columns, strict=True))
        return Affine(columns, self._slot(source.shift ^ blocks.src_shift, target.shift ^ blocks.dst_shift))

    def _slot(self, src: int, dst: int) -> int:
        block_and_column, block_and_row = gf2.apply(self.src, src), gf2.apply(self.dst, dst)
        return block_and_row * self.blocks.fan_in | block_and_column & (self.blocks.fan_in - 1)


def path_slots(blocks: Blocks, src: Affine, dst: Affine) -> IndexArray:
    """Slot (block * fan_out + row) * fan_in + column of every path of the window: int64 of shape [length]."""
    slots = Places.of(blocks).of_paths(src, dst)
    return gf2.span_array(slots.columns, slots.shift)


def _split(places: IndexArray, width: int) -> tuple[IndexArray, IndexArray]:
    bits = width.bit_length() - 1
    return places >> bits, places & np.int64(width - 1)
