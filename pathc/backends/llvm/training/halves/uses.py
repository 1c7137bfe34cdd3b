"""Junctions of sheets as a trainer keeps them: tables, copies of weights in bfloat16, places in a tile."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pathc.backends.llvm.halves.kernels import ROW
from pathc.backends.llvm.tiles.code import LINE, PITCH, ROWS
from pathc.backends.llvm.tiles.kernel import TileKernel, table_of
from pathc.backends.llvm.training.frame import Arena, Ints
from pathc.backends.llvm.training.halves.sheets import SIZE, Part, SheetCut, Whole

TURNED = 2 * ROWS * LINE
"""Bytes of the gradients of a sheet, turned."""


@dataclass(frozen=True, eq=False)
class PartPlace:
    """Where a part lies; offsets are bytes in the parameters, but `turned`, which is in a tile.

    `ahead` and `back` are copies of the weights, `shapes` of registers and `tables` of panels forwards and backwards.
    `sheets`, `sources` and `masks` are tables of gradients, `destinations` the rows that are turned into `turned`.
    """

    part: Part
    ahead: int
    back: int
    shapes: tuple[int, int]
    tables: tuple[int, int]
    sheets: int
    sources: int
    destinations: int
    masks: int
    turned: int

    @classmethod
    def of(cls, part: Part, memory: Arena, absent: tuple[int, int], turned: int) -> PartPlace:
        """Tables put into an arena; `absent` are the rows of zeros among those of values and of gradients."""
        ahead, back = part.panels, part.reversed
        sheets, sources = part.tables()
        return cls(
            part, memory.reserve(SIZE * int(part.cells.sum())), memory.reserve(part.back_bytes),
            (memory.put(ahead.shape.packed()), memory.put(back.shape.packed())),
            (memory.put(table_of(ahead, ROW, absent[0])), memory.put(table_of(back, ROW, absent[1]))),
            memory.put(sheets), memory.put(_rows(sources, absent[0])),
            memory.put(_rows(part.destinations(), absent[1])), memory.put(part.masks()), turned,
        )  # fmt: skip


@dataclass(frozen=True, eq=False)
class SheetUse:
    """A junction of sheets from so many `sources`, the only use of its tensor, whose slots are those of the cut."""

    src: str
    dst: str
    cut: SheetCut
    tensor: str
    sources: int
    parts: tuple[PartPlace, ...]

    @property
    def once(self) -> bool:
        """Whether every source is in one panel."""
        heard = [panel.columns for held in self.parts for panel in held.part.panels.panels]
        return np.array_equal(np.sort(np.concatenate(heard)), np.arange(self.sources))

    @property
    def room(self) -> int:
        """Bytes of a tile that its kernels work in: sources side by side, then 16 rows of sums."""
        ways = [(held.part.panels, held.part.alone) for held in self.parts]
        ways += [(held.part.reversed, False) for held in self.parts]
        return max(local_bytes(*way) for way in ways) + ROWS * PITCH


def kernel_of(panels: Whole, arrange: str, read: str, *, alone: bool) -> TileKernel:
    """The products of panels, with functions called by name."""
    return TileKernel(panels.shape, "tdpbf16ps", SIZE, arrange, read, alone)


def local_bytes(panels: Whole, alone: bool) -> int:
    """Bytes that sources side by side take."""
    return kernel_of(panels, "", "", alone=alone).local(panels)


def _rows(units: Ints, absent: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint32]]:
    return (np.where(units < 0, absent, units) * ROW).astype(np.uint32)
