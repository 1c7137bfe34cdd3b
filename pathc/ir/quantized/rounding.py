"""Scaling integers by a rational `multiplier * 2^-shift`, rounded to nearest, ties to even.

A sum of up to 32 bits times a multiplier of up to 16 bits fits into 48 bits: int64, a float64 and a small
hardware multiplier all hold the product exactly, so every target rounds the same number.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pathc.support.diagnostics import Place, error

Integers = NDArray[np.int64]

MULTIPLIER_BITS = 16
"""Magnitude bits of a multiplier."""
LARGEST_SHIFT = 62
"""Largest shift to the right."""


@dataclass(frozen=True)
class Ratio:
    """The number `multiplier * 2^-shift`; a power of two below one has the multiplier 1.

    |multiplier| < 2^16, 0 <= shift <= 62, and the multiplier is odd unless the shift is 0.
    """

    multiplier: int
    shift: int

    @property
    def value(self) -> float:
        """The number, exact."""
        return math.ldexp(self.multiplier, -self.shift)

    def __str__(self) -> str:
        power = f"2^-{self.shift}"
        return power if self.multiplier == 1 else f"{self.multiplier} * {power}" if self.shift else f"{self.multiplier}"


def nearest_ratio(value: float, place: Place = None) -> Ratio:
    """The ratio nearest to a finite number, off by at most 2^-16 of it from 2^-46 on, by at most 2^-63 below.

    Raises PathcError E1307 for NaN and for magnitudes from 65535.5 on.
    """
    (multiplier,), shift = nearest_ratios([value], place)
    return Ratio(multiplier, shift)


def nearest_ratios(values: Sequence[float], place: Place = None) -> tuple[list[int], int]:
    """Multipliers of several numbers with one shift, the largest as in `nearest_ratio`; raises E1307 as it does."""
    largest = max((abs(value) for value in values), key=lambda size: (math.isnan(size), size))
    if not largest < (1 << MULTIPLIER_BITS) - 0.5:
        text = f"the ratio {largest:.6g} of two scales has no {MULTIPLIER_BITS}-bit multiplier"
        raise error("E1307", text, place, help="calibrate the stations on both sides on the same data")
    shift = min(max(MULTIPLIER_BITS - math.frexp(largest)[1], 0), LARGEST_SHIFT) if largest else 0
    if round(math.ldexp(largest, shift)) == 1 << MULTIPLIER_BITS:
        shift -= 1
    multipliers = [round(math.ldexp(value, shift)) for value in values]
    while shift > 0 and any(multipliers) and all(multiplier % 2 == 0 for multiplier in multipliers):
        multipliers, shift = [multiplier // 2 for multiplier in multipliers], shift - 1
    return multipliers, shift if any(multipliers) else 0


def power_of_two(value: float) -> Ratio:
    """The smallest power of two that is not below a positive number, within 2^-62 .. 2^15."""
    mantissa, exponent = math.frexp(value)
    exponent = min(max(exponent - (mantissa == 0.5), -LARGEST_SHIFT), MULTIPLIER_BITS - 1)
    return Ratio(1 << max(exponent, 0), max(-exponent, 0))


def shift_right(values: Integers, shift: Integers | int) -> Integers:
    """values / 2^shift to the nearest integer, ties to even; shapes broadcast, 0 <= shift <= 62."""
    places = np.asarray(shift, dtype=np.int64)
    whole = values >> places
    rest = values - (whole << places)
    half = np.where(places > 0, np.int64(1) << np.maximum(places - 1, 0), np.int64(1))
    up = (rest > half) | ((rest == half) & (places > 0) & (whole & 1 == 1))
    return whole + up


def round_to_format(values: NDArray[np.float64], low: int, high: int) -> Integers:
    """Numbers to the nearest integer, ties to even, clamped to [low, high]; infinities clamp, NaN must not occur."""
    return np.clip(np.rint(values), low, high).astype(np.int64)
