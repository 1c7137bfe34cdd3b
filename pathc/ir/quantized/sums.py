"""How wide an accumulator must be, proved from fan-in and formats or from the weights themselves."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from pathc.ir.quantized.formats import Format
from pathc.ir.quantized.rounding import Integers
from pathc.support.diagnostics import Diagnostic, Place

WIDTHS = (24, 32)
"""Widths that accumulators usually have."""


def bits_for(low: int, high: int) -> int:
    """Bits of a two's complement number that holds low .. high."""
    return max((-low - 1).bit_length() if low < 0 else 0, high.bit_length() if high > 0 else 0) + 1


def bits_from_fan_in(terms: Iterable[tuple[int, Format, Format]], bias: int = 0) -> int:
    """Bits that hold every sum of `fan_in` products of a source and a weight format, and a bias of that magnitude.

    `terms` holds (fan-in, format of the source, format of the weights) of every junction into the station. Needs no
    weights, so it holds for all.
    """
    low = high = 0
    for fan_in, source, weight in terms:
        products = [a * b for a in (source.low, source.high) for b in (weight.low, weight.high)]
        low, high = low + fan_in * min(0, *products), high + fan_in * max(0, *products)
    return bits_for(low - abs(bias), high + abs(bias))


def too_wide(name: str, bits: int, limit: int, place: Place) -> Diagnostic:
    """E1304: the sums of a station need `bits` bits, the accumulator has `limit`."""
    text = f"the sums of station `{name}` need {bits} bits, an accumulator has {limit}"
    return Diagnostic("E1304", text, place, help="use narrower weights or activations, or a smaller fan-in")


def bits_of_bounds(low: Integers, high: Integers) -> int:
    """Bits that hold sums between `low` and `high` of every unit."""
    return bits_for(int(np.min(low, initial=0)), int(np.max(high, initial=0)))
