"""Where the units of a layer lie: which of several memories, and which row of it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from pathc.ir import gf2
from pathc.ir.facts import Bank
from pathc.ir.generators.checks import MAX_UNITS
from pathc.ir.gf2 import IndexArray
from pathc.support.diagnostics import Place, did_you_mean, error

MapName = Literal["high", "low", "bank-major", "custom"]
MAPS: tuple[MapName, ...] = ("high", "low", "bank-major", "custom")
"""Names of the bank maps."""
MAX_BANKS = 1 << 16


@dataclass(frozen=True)
class Banks:
    """The units of a layer laid out in `banks` memories.

    The row of a unit is the number of smaller units in its bank. `map` picks the bank of unit u of n:

    high        floor(u * banks / n), the top bits where both are powers of two
    low         u mod banks
    bank-major  as high, and the layer is numbered row by row: `position` is row * banks + bank
    custom      bit b of the bank is the parity of u & masks[b]; 2^len(masks) banks

    Errors: E0341, E0350, E0352.
    """

    units: int
    banks: int
    map: str = "high"
    masks: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not 1 <= self.units <= MAX_UNITS:
            raise error("E0341", f"a layer of {self.units} units has no banks; a layer has 1 to 2^32 units")
        check_banks(self.banks, self.map, self.masks)

    @property
    def depth(self) -> int:
        """Rows of the fullest bank (for `custom`, of a layer padded to a power of two)."""
        if self.map == "custom":
            return 1 << len(self._kernel)
        return -(-self.units // self.banks)

    def bank(self, units: IndexArray) -> IndexArray:
        """Bank of each unit, int64 of the same shape."""
        if self.map == "custom":
            return gf2.apply_array(self._bank_columns, units)
        return units % self.banks if self.map == "low" else units * self.banks // self.units

    def row(self, units: IndexArray) -> IndexArray:
        """Row of each unit in its bank, int64 of the same shape."""
        if self.map == "custom":
            return gf2.apply_array(self._row_columns, units)
        if self.map == "low":
            return units // self.banks
        first = -(-self.bank(units) * self.units // self.banks)
        return units - first

    def position(self, units: IndexArray) -> IndexArray:
        """Number of each unit in the order in which the layer is stored, int64 of the same shape."""
        if self.map in ("high", "low"):
            return units
        return self.row(units) * self.banks + self.bank(units)

    @property
    def linear(self) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
        """Columns over GF(2) of the maps from units to banks and to rows, or None if sizes are no powers of two."""
        if self.units & self.units - 1 or self.banks & self.banks - 1:
            return None
        return self._bank_columns, self._row_columns

    @property
    def _bits(self) -> int:
        return (self.units - 1).bit_length()

    @cached_property
    def _bank_columns(self) -> tuple[int, ...]:
        if self.map == "custom":
            return tuple(sum((mask >> j & 1) << b for b, mask in enumerate(self.masks)) for j in range(self._bits))
        if self.map == "low":
            return tuple((1 << j) % self.banks for j in range(self._bits))
        return tuple((1 << j) * self.banks // self.units for j in range(self._bits))

    @cached_property
    def _row_columns(self) -> tuple[int, ...]:
        """The bits of a unit that tell it from others of its bank, most significant last."""
        leads = [v.bit_length() - 1 for v in self._kernel]
        return tuple(1 << leads.index(j) if j in leads else 0 for j in range(self._bits))

    @cached_property
    def _kernel(self) -> tuple[int, ...]:
        return gf2.kernel(self._bank_columns)


def of_fact(fact: Bank, units: int) -> Banks:
    """The layout that a fact gives a layer of that many units."""
    return Banks(units, fact.banks, fact.map, fact.masks)


def check_banks(banks: int, map: str, masks: tuple[int, ...] = (), place: Place = None) -> None:
    """Raise E0350 or E0352 unless there can be such banks."""
    if map not in MAPS:
        hint = did_you_mean(map, MAPS) or "`custom` takes masks, one a bit of the bank"
        raise error("E0352", f"no bank map is called `{map}`; there are {', '.join(MAPS)}", place, help=hint)
    if not 1 <= banks <= MAX_BANKS:
        raise error("E0350", f"{banks} banks are outside 1 .. {MAX_BANKS}", place, help="banks = 16")
    if map != "custom":
        if masks:
            raise error("E0352", f"the bank map `{map}` takes no masks", place, help="map = custom")
    elif banks != 1 << len(masks):
        message = f"{len(masks)} masks make {1 << len(masks)} banks, not {banks}"
        raise error("E0352", message, place, help="give one mask for each bit of the bank")
    elif any(not 0 < mask < MAX_UNITS for mask in masks) or gf2.rank(masks) < len(masks):
        message = "masks of a bank map are integers from 1 to 2^32 - 1, none the XOR of others"
        raise error("E0352", message, place, help="masks 128+64+32+16 take the top four of eight bits")
