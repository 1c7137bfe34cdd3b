"""Activations of integers: from sums to what is read from a station.

A pipeline becomes, in this order: one multiplication with rounding, of its own factor for negative sums (identity,
relu, leaky, abs), a clamp (hardtanh and the range of the format), a table (tanh, sigmoid), and the choice of winners.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pathc.ir.graph import Station
from pathc.ir.interp.activations import Activation, HardTanh, Identity, KWinners, Leaky, Sigmoid, Tanh, activation
from pathc.ir.quantized.formats import Format
from pathc.ir.quantized.rounding import Integers, nearest_ratios, shift_right
from pathc.support.diagnostics import error

TABLE = 256
"""Entries of a table, for the integers -128 .. 127."""
_TABLE_SHIFTS = {Tanh: 5, Sigmoid: 4}
"""Tables are read at steps of 2^-shift: tanh over [-4, 4), the sigmoid over [-8, 8)."""


@dataclass(frozen=True)
class Reading:
    """How sums become integers of a format; all arrays are int64 [units].

    q = clamp(round(sum * (positive if sum >= 0 else negative) * 2^-shift), low, high), ties to even;
    then `table[q + 128]` if there is a table; then all but the `winners` largest become 0, unless `winners` is 0.
    Among equal ones the lower unit wins. Multipliers have at most 16 bits and a sign, shifts are 0 .. 62.
    """

    positive: Integers
    negative: Integers
    shift: Integers
    low: int
    high: int
    table: Integers | None = None
    winners: int = 0

    def __call__(self, sums: Integers) -> Integers:
        """The integers read from sums [batch, units]."""
        values = self._scaled(sums)
        if self.table is not None:
            values = self.table[values + TABLE // 2]
        return KWinners(self.winners).apply(values.astype(np.float64)).astype(np.int64) if self.winners else values

    def range(self, low: Integers, high: Integers) -> tuple[Integers, Integers]:
        """Least and largest integer that sums within [low, high] can give, with 0 between them; [units]."""
        if self.table is not None:
            ends = int(self.table.min()), int(self.table.max())
            return np.full_like(low, min(ends[0], 0)), np.full_like(high, max(ends[1], 0))
        ends = [self._scaled(end) for end in (low, high, np.zeros_like(low))]
        return np.minimum(np.min(ends, axis=0), 0), np.maximum(np.max(ends, axis=0), 0)

    def part(self, units: slice) -> Reading:
        """The reading of some of the units alone; it has no winners, which are chosen among all."""
        own = self.positive[units], self.negative[units], self.shift[units]
        return Reading(*own, self.low, self.high, self.table)

    def _scaled(self, sums: Integers) -> Integers:
        factor = np.where(sums >= 0, self.positive, self.negative)
        return np.clip(shift_right(sums * factor, self.shift), self.low, self.high)

    @property
    def powers_of_two(self) -> bool:
        """Whether shifting alone does it: every multiplier is -1, 0 or 1."""
        return bool((np.abs(self.positive) <= 1).all() and (np.abs(self.negative) <= 1).all())


def reading(station: Station, sum_scale: NDArray[np.float64], format: Format, scale: float) -> Reading:
    """How the sums of a station, of `sum_scale` [units], are read as integers of `format` times `scale`.

    Raises PathcError: E1303 for a pipeline that integers cannot do, E1307 for scales too far apart.
    """
    functions = [(stage.name, a) for stage in station.pipeline if (a := activation(stage)) is not None]
    slopes, low, high, winners = (1.0, 1.0), float(format.low), float(format.high), 0
    curve: Tanh | Sigmoid | None = None
    bent = False
    for name, function in functions:
        match function:
            case Leaky(slope) if not (bent or curve or winners):
                slopes = (_leaky(slopes[0], slope, 1.0), _leaky(slopes[1], slope, -1.0))
            case Identity():
                pass
            case HardTanh() if not (curve or winners):
                low, high = _clamped(function, scale, low, high)
                bent = True
            case Tanh() | Sigmoid() if not (bent or curve or winners):
                curve = function
            case KWinners(k) if not winners:
                winners = k
            case _:
                raise _cannot(station, name)
    if curve is not None:
        step = 2.0 ** -_TABLE_SHIFTS[type(curve)]
        positive, negative, shift = _multipliers(station, sum_scale / step, slopes)
        table = _table(curve, step, format, scale)
        return Reading(positive, negative, shift, -TABLE // 2, TABLE // 2 - 1, table, winners)
    positive, negative, shift = _multipliers(station, sum_scale / scale, slopes)
    return Reading(positive, negative, shift, int(low), int(high), None, winners)


def never_negative(station: Station) -> bool:
    """Whether what is read from a station cannot be negative, whatever its sums."""
    test: Sequence[Activation] = [a for stage in station.pipeline if (a := activation(stage)) is not None]
    sign = False
    for function in test:
        match function:
            case Sigmoid():
                sign = True
            case Leaky(slope):
                sign = sign or slope <= 0.0
            case HardTanh(low, _):
                sign = sign or low >= 0.0
            case _:
                pass
    return sign


def _leaky(side: float, slope: float, sign: float) -> float:
    """The factor of one side of zero after a leaky ReLU: values of that side have the sign of `side * sign`."""
    return side * slope if side * sign < 0.0 else side


def _clamped(function: HardTanh, scale: float, low: float, high: float) -> tuple[float, float]:
    bounds = [float(np.clip(np.rint(limit / scale), low, high)) for limit in (function.low, function.high)]
    return bounds[0], bounds[1]


def _multipliers(
    station: Station, ratios: NDArray[np.float64], slopes: tuple[float, float]
) -> tuple[Integers, Integers, Integers]:
    """Multipliers for both signs and their common shift, per unit."""
    distinct, where = np.unique(ratios, return_inverse=True)
    found = [nearest_ratios([float(ratio) * slope for slope in slopes], station.loc) for ratio in distinct]
    sides = np.array([multipliers for multipliers, _ in found], dtype=np.int64).reshape(-1, 2)
    shift = np.array([shift for _, shift in found], dtype=np.int64)
    return sides[where, 0], sides[where, 1], shift[where]


def _table(curve: Tanh | Sigmoid, step: float, format: Format, scale: float) -> Integers:
    values = curve.apply(np.arange(-TABLE // 2, TABLE // 2, dtype=np.float64) * np.float64(step))
    return np.clip(np.rint(values / scale), format.low, format.high).astype(np.int64)


def _cannot(station: Station, name: str) -> Exception:
    known = "identity, relu, leaky, abs, hardtanh, tanh, sigmoid and kwinners, bends before clamps before winners"
    text = f"station `{station.name}` has `{name}`, which integers cannot do there"
    return error("E1303", text, station.loc, help=f"integers do {known}; softmax belongs to an output without `scale`")
