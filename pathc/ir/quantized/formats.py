"""Integer number formats: which integers a station or a weight may hold."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pathc.ir.types import ScalarType
from pathc.support.diagnostics import Place, error

CALIBRATED = "run the .pir file that `pathc quantize --data D -o Q` writes beside the weights: it has the scales"
"""The cure where number formats are missing (E1302)."""

_RANGES = {
    "u8": (0, 255),
    "i8": (-128, 127),
    "i4": (-8, 7),
    "t2": (-1, 1),
    "i16": (-(1 << 15), (1 << 15) - 1),
    "i32": (-(1 << 31), (1 << 31) - 1),
}
_WIDEST = 32


@dataclass(frozen=True)
class Format:
    """The integers low .. high in `bits` bits; `frac` is set for fixed point, whose scale is 2^-frac."""

    type: ScalarType
    low: int
    high: int
    frac: int | None = None

    @property
    def bits(self) -> int:
        """Bits of one number."""
        return self.type.bits

    @property
    def signed(self) -> bool:
        """Whether it has negative numbers."""
        return self.low < 0

    @property
    def largest(self) -> int:
        """Largest magnitude of a symmetric range: 127 for i8, 7 for i4, 255 for u8, 1 for t2."""
        return self.high

    def holds(self, values: NDArray[np.int64]) -> bool:
        """Whether all integers lie in the range."""
        return not values.size or (int(values.min()) >= self.low and int(values.max()) <= self.high)


def format_of(type: ScalarType, place: Place = None) -> Format:
    """The integers of an element type: u8, i8, i4, t2, i16, i32, or fix(bits, frac = n) of at most 32 bits.

    Raises PathcError E1301 for a type that is no integer.
    """
    if type.name == "fix" and type.frac is not None and 2 <= type.bits <= _WIDEST:
        half = 1 << (type.bits - 1)
        return Format(type, -half, half - 1, type.frac)
    if type.name not in _RANGES:
        raise error("E1301", f"`{type}` is no integer format", place, help=f"formats: {', '.join(_RANGES)}, fix(8, 4)")
    return Format(type, *_RANGES[type.name])
