"""What integers do with windows of positions: largest, picked and added-up values, and channels in another order.

Everything in front of the last average acts on sums: relu and abs, which are exact there, the largest values of
windows, and the sum of a window, whose number of values divides what 1 stands for. Then one multiplication rounds
(`Reading`). What stands behind it acts on what was read; so do largest values wherever reading never falls as sums
rise, for integers are small there.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from functools import reduce

import numpy as np

from pathc.ir.extents import POOLS
from pathc.ir.filters import Geometry, Tap, pool_of, shuffle_order, tap_of
from pathc.ir.graph import Station
from pathc.ir.interp.activations import Activation, Identity, Leaky, activation
from pathc.ir.quantized.rounding import Integers
from pathc.ir.types import Call
from pathc.support.diagnostics import PathcError, error


class Step(ABC):
    """A function of integers [batch, units], channel by channel."""

    @abstractmethod
    def __call__(self, values: Integers) -> Integers:
        """What it makes of them, [batch, units behind it]."""

    def range(self, low: Integers, high: Integers) -> tuple[Integers, Integers]:
        """Least and largest integers behind it, for values within [low, high] (0 lies within): [units behind it]."""
        return self(low[None])[0], self(high[None])[0]


@dataclass(frozen=True)
class Bend(Step):
    """max(x, 0), or |x| with `folded`."""

    folded: bool

    def __call__(self, values: Integers) -> Integers:
        """Same shape."""
        return np.abs(values) if self.folded else np.maximum(values, 0)

    def range(self, low: Integers, high: Integers) -> tuple[Integers, Integers]:
        """Nothing is below zero."""
        return np.zeros_like(low), np.maximum(high, -low) if self.folded else high


@dataclass(frozen=True)
class Window(Step):
    """One integer for each window of the positions of a channel."""

    geometry: Geometry
    channels: int

    def _views(self, values: Integers) -> list[Integers]:
        spread = values.reshape(len(values), self.channels, *self.geometry.source)
        return [seen for _, seen in self.geometry.views(spread)]

    def _flat(self, values: Integers) -> Integers:
        return values.reshape(len(values), self.channels * self.geometry.positions)


@dataclass(frozen=True)
class Largest(Window):
    """The largest one."""

    def __call__(self, values: Integers) -> Integers:
        """[batch, channels * windows]."""
        return self._flat(reduce(np.maximum, self._views(values)))


@dataclass(frozen=True)
class Total(Window):
    """All of them added up."""

    def __call__(self, values: Integers) -> Integers:
        """[batch, channels * windows]."""
        return self._flat(reduce(np.add, self._views(values)))

    @property
    def count(self) -> int:
        """Values in a window."""
        return len(self.geometry.taps)


@dataclass(frozen=True)
class Picked(Window):
    """The one at a tap."""

    tap: Tap

    def __call__(self, values: Integers) -> Integers:
        """[batch, channels * windows]."""
        spread = values.reshape(len(values), self.channels, *self.geometry.source)
        return self._flat(self.geometry.view(spread, self.tap))


@dataclass(frozen=True)
class Reordered(Step):
    """Channels as `order` names them, of which there are `channels`."""

    order: tuple[int, ...]

    def __call__(self, values: Integers) -> Integers:
        """Same shape."""
        spread = values.reshape(len(values), len(self.order), values.shape[1] // len(self.order))
        return spread[:, list(self.order)].reshape(values.shape)


@dataclass(frozen=True)
class Steps:
    """What happens to sums before they are rounded, and to what is read behind that.

    `counts` says how many sums each value in front of the rounding adds up.
    """

    before: tuple[Step, ...] = field(default=())
    behind: tuple[Step, ...] = field(default=())

    @property
    def counts(self) -> int:
        """Sums that one value in front of the rounding adds up."""
        return math.prod(step.count for step in self.before if isinstance(step, Total))


EXACT = Steps()
"""No steps."""


def steps_of(station: Station) -> Steps:
    """The steps of a pipeline; raises E1303 where an average stands behind a function that is not exact on sums."""
    stages = [stage for stage in station.pipeline if stage.name in (*POOLS, "channelshuffle") or activation(stage)]
    split = _split(stages)
    before: list[Step] = []
    behind: list[Step] = []
    orders: list[Step] = []
    extents = station.shape[1:]
    for number, stage in enumerate(stages):
        if stage.name in POOLS:
            geometry, channels = pool_of(stage, extents), station.real_units
            (before if number < split else behind).append(_window(stage, geometry, channels))
            extents = geometry.result
        elif stage.name == "channelshuffle":
            # Channels keep to themselves, so their order can wait.
            orders.append(Reordered(tuple(shuffle_order(stage, station.real_units).tolist())))
        elif number < split:
            before.extend(_exact(station, stage))
    return Steps(tuple(before), (*behind, *orders))


def _split(stages: list[Call]) -> int:
    """How many stages act on sums: up to the last average, and up to a maximum that something falling stands behind."""
    averages = [number for number, stage in enumerate(stages) if stage.name == "avgpool"]
    split = averages[-1] + 1 if averages else 0
    falling = max((number for number, stage in enumerate(stages) if _falls(activation(stage))), default=0)
    maxima = [number for number, stage in enumerate(stages[:falling]) if stage.name == "maxpool"]
    return max(split, maxima[-1] + 1) if maxima else split


def _falls(function: Activation | None) -> bool:
    return isinstance(function, Leaky) and function.slope < 0.0


def _window(stage: Call, geometry: Geometry, channels: int) -> Step:
    tap = tap_of(stage, geometry)
    if tap is not None:
        return Picked(geometry, channels, tap)
    return Largest(geometry, channels) if stage.name == "maxpool" else Total(geometry, channels)


def _exact(station: Station, stage: Call) -> list[Step]:
    """A function as it acts on sums, where it is a whole number of them."""
    match activation(stage):
        case Identity():
            return []
        case Leaky(slope) if slope in (0.0, -1.0):
            return [Bend(slope == -1.0)]
        case _:
            raise _inexact(station, stage)


def _inexact(station: Station, stage: Call) -> PathcError:
    text = f"station `{station.name}` has `{stage.name}` in front of a pool that integers take of the sums"
    return error("E1303", text, station.loc, help="relu and abs can stand there; or pool at a station of its own")
