"""How the planes of quantized filters lie in memory, and what holds for all positions of a channel."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pathc.backends.llvm.integer.filters.rows import Pair
from pathc.ir.filters import Geometry
from pathc.ir.graph import Station
from pathc.ir.interp.filters import FilterJunction
from pathc.ir.quantized import IntegerJunction, IntegerStation, Reading
from pathc.ir.quantized.windows import Window


@dataclass(frozen=True)
class Planes:
    """Channels in scratch memory: where each begins, in bytes, and elements from row to row."""

    places: tuple[int, ...]
    extents: Pair
    pitch: int

    @property
    def positions(self) -> int:
        """Elements from the first to the last position of a channel."""
        return (self.extents[0] - 1) * self.pitch + self.extents[1]


def read_of(each: IntegerStation) -> tuple[int, ...]:
    """Extents of the numbers of a result."""
    extents = each.station.shape[1:]
    for step in (*each.steps.before, *each.steps.behind):
        if isinstance(step, Window):
            extents = step.geometry.result
    return extents


def planar(one: IntegerJunction) -> Geometry:
    """The window of a filter over rows and columns."""
    assert isinstance(one.junction, FilterJunction)
    return one.junction.geometry.planar()


def bias_of(each: IntegerStation) -> NDArray[np.int64]:
    """The bias of every real channel."""
    spread = each.bias.reshape(each.station.units, -1)[: each.station.real_units]
    return spread[:, 0].copy()


def of_channels(each: IntegerStation) -> tuple[IntegerStation, Reading]:
    """A station whose units are the channels of another, with the bounds of the sums in front of its rounding."""
    station, reading = each.station, each.reading
    assert reading is not None
    channels = station.real_units
    real = channels * math.prod(station.shape[1:])
    low, high = each.low[:real], each.high[:real]
    for step in each.steps.before:
        low, high = step.range(low, high)
    parts = [part.reshape(channels, -1)[:, 0] for part in (reading.positive, reading.negative, reading.shift)]
    own = replace(reading, positive=parts[0], negative=parts[1], shift=parts[2])
    ends = low.reshape(channels, -1).min(axis=1), high.reshape(channels, -1).max(axis=1)
    flat = Station(station.name, station.role, (channels,), station.type, station.pipeline)
    made = replace(each, station=flat, low=ends[0], high=ends[1], reading=own)
    return made, own
