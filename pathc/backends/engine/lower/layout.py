"""Where the units of a station lie: which unit every lane holds in every row."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from pathc.ir import gf2
from pathc.ir.schedule import Banks

Int64 = NDArray[np.int64]
NOBODY = -1


@dataclass(frozen=True, eq=False)
class Layout:
    """`cells[r, m]` is the unit that lane m holds in row r, -1 for none: int64 [rows, lanes].

    A unit may lie in several lanes. Where the units are 2^n, `banks` are the columns of a linear map D from lanes to
    the top bits of the unit, row r holds the units D(m) << row_bits | r, and `folds` is a basis of the kernel of D: the
    lanes that hold the same unit. `folds` may be set without `banks`.
    """

    cells: Int64
    banks: tuple[int, ...] = ()
    row_bits: int = 0
    folds: tuple[int, ...] = ()

    @property
    def rows(self) -> int:
        """Rows."""
        return len(self.cells)

    @cached_property
    def first(self) -> Int64:
        """row * lanes + lane of each unit, the first where it lies in several: int64 [units]."""
        flat = self.cells.reshape(-1)
        held = np.flatnonzero(flat != NOBODY)
        units, index = np.unique(flat[held], return_index=True)
        found = np.full(int(units[-1]) + 1, NOBODY, np.int64)
        found[units] = held[index]
        return found

    @cached_property
    def once(self) -> Int64:
        """The cells with every unit but the first of each left out."""
        cells = np.full(self.cells.size, NOBODY, np.int64)
        held = self.first[self.first != NOBODY]
        cells[held] = np.flatnonzero(self.first != NOBODY)
        return cells.reshape(self.cells.shape)

    def per_unit(self, values: NDArray[np.int64]) -> Int64:
        """Values [units, ...] where their units lie, 0 elsewhere: [rows, lanes, ...]."""
        padded = np.concatenate([values, np.zeros((1, *values.shape[1:]), values.dtype)])
        return padded[np.where(self.cells < len(values), self.cells, NOBODY)]


def linear(banks: tuple[int, ...], units: int) -> Layout:
    """The layout of 2^n units under a linear map from lanes to the top bits of the unit."""
    lanes = 1 << len(banks)
    row_bits = max(0, units.bit_length() - 1 - len(banks))
    top = gf2.span_array(banks) << row_bits
    cells = top[None, :] | np.arange(1 << row_bits, dtype=np.int64)[:, None]
    assert cells.shape[1] == lanes
    return Layout(cells, banks, row_bits, gf2.kernel(banks))


def natural(units: int, lanes: int) -> Layout:
    """For 2^n units the top bits of the unit as the bank, repeated if there are too few; for others the map `high`."""
    bits = lanes.bit_length() - 1
    if units & (units - 1) == 0:
        spare = max(0, bits - (units.bit_length() - 1))
        return linear(tuple(0 if k < spare else 1 << (k - spare) for k in range(bits)), units)
    layout = Banks(units, lanes, "high")
    number = np.arange(units, dtype=np.int64)
    cells = np.full((layout.depth, lanes), NOBODY, np.int64)
    cells[layout.row(number), layout.bank(number)] = number
    return Layout(cells)


def side_by_side(units: int, lanes: int) -> Layout:
    """For the end of a dense block: units in order, and as often as they fit if they are fewer than the lanes."""
    if units >= lanes:
        rows = -(-units // lanes)
        cells = np.arange(rows * lanes, dtype=np.int64).reshape(rows, lanes)
        return Layout(np.where(cells < units, cells, NOBODY))
    width = 1 << (units - 1).bit_length()
    cells = np.arange(lanes, dtype=np.int64)[None, :] & (width - 1)
    folds = tuple(1 << k for k in range(width.bit_length() - 1, lanes.bit_length() - 1))
    return Layout(np.where(cells < units, cells, NOBODY), (), 0, folds)
