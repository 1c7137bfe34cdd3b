"""Stations in the memory of a tile: a buffer for every stage that needs one, gradients, and what filters read.

A station with extents is a station of as many rows as it has channels and positions, channel by channel.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace

from pathc.backends.llvm.lower import stages_of
from pathc.backends.llvm.training.stages import kept, looks_back
from pathc.ir.catalogue import options_of
from pathc.ir.extents import POOLS
from pathc.ir.filters import Geometry, pool_of
from pathc.ir.graph import Station
from pathc.ir.types import Call

NORM_NUMBERS = 8
"""Floats of a normalized channel in a tile: see `norms`."""
_ELSEWHERE = ("conv", "concat")
"""Stages that say how junctions lead into a station."""


@dataclass(frozen=True)
class Norm:
    """A normalization of `channels` of `positions` rows each; `at` is where a tile has its numbers, in bytes."""

    channels: int
    positions: int
    eps: float
    momentum: float
    at: int


@dataclass(frozen=True, eq=False)
class Place:
    """A station: its stages, and where its buffers lie in a tile's memory, in bytes.

    `buffers[0]` holds sums, `buffers[i]` the values after stage i (the same buffer where stage i needs only its
    values for the derivative), and `deltas[i]` the gradient there (the same where a stage works in place). `extents`
    are those at each buffer, () for flat stations; `first` is its first column in the user's array.
    """

    station: Station
    stages: tuple[Call, ...]
    extents: tuple[tuple[int, ...], ...]
    buffers: tuple[int, ...]
    deltas: tuple[int, ...]
    norm: Norm | None
    first: int

    @property
    def channels(self) -> int:
        """Units that are not silent, or channels."""
        return self.station.real_units

    def units(self, number: int) -> int:
        """Rows of a buffer, silent units included."""
        return self.station.units * math.prod(self.extents[number])

    def real(self, number: int) -> int:
        """Rows of a buffer that are not silent."""
        return self.channels * math.prod(self.extents[number])

    def window(self, number: int) -> Geometry:
        """The windows of stage `number`, a pool, over rows and columns."""
        return pool_of(self.stages[number], self.extents[number]).planar()

    @property
    def values(self) -> int:
        """The buffer others read."""
        return self.buffers[-1]

    @property
    def delta(self) -> int:
        """The gradient at what others read."""
        return self.deltas[-1]


def moves_rows(stage: Call) -> bool:
    """Whether a stage brings values to other rows."""
    return stage.name in POOLS or stage.name == "channelshuffle"


def placed(
    station: Station,
    read: Collection[str],
    reserve: Callable[[int], int],
    numbers: Callable[[int], int],
    passing: tuple[int, int] = (-1, -1),
) -> Place:
    """A station in the memory of a tile; `reserve` gives the place of so many rows, `numbers` that of so many floats.

    `read` are the stations that others read. `passing` are places for sums and for gradients that nobody looks at later
    (-1: they stay, in places of their own).
    """
    stages = tuple(stage for stage in stages_of(station) if stage.name not in _ELSEWHERE)
    extents = [station.shape[1:]]
    for stage in stages:
        extents.append(pool_of(stage, extents[-1]).result if stage.name in POOLS else extents[-1])
    rows = [station.units * math.prod(each) for each in extents]
    buffers = [passing[0] if passing[0] >= 0 else reserve(rows[0])]
    for number, stage in enumerate(stages):
        scored = station.role == "output" and stage.name == "softmax"
        free = not scored and not moves_rows(stage) and (number == 0 or not looks_back(stages[number - 1]))
        buffers.append(buffers[-1] if free and kept(stage) == "value" else reserve(rows[number + 1]))
    # Nobody looks at the sums under a last softmax once their gradient is known: it takes their place.
    ends = station.role == "output" and [s.name for s in stages] == ["softmax"] and station.name not in read
    deltas = [buffers[0] if ends else passing[1] if passing[1] >= 0 else reserve(rows[0])]
    for number, stage in enumerate(stages):
        deltas.append(reserve(rows[number + 1]) if moves_rows(stage) else deltas[-1])
    norm: Norm | None = None
    for number, stage in enumerate(stages):
        if stage.name == "batchnorm":
            eps, momentum = (options_of(stage)[name] for name in ("eps", "momentum"))
            assert isinstance(eps, float | int)
            assert isinstance(momentum, float | int)
            channels, positions = station.real_units, math.prod(extents[number])
            norm = Norm(channels, positions, eps, momentum, numbers(NORM_NUMBERS * channels))
    return Place(station, stages, tuple(extents), tuple(buffers), tuple(deltas), norm, 0)


def numbered(places: dict[str, Place], order: Collection[str]) -> None:
    """Say of every place which column of the user's array it begins at; `order` is that of the declarations."""
    first = {"input": 0, "output": 0, "layer": 0}
    for name in order:
        place = places[name]
        role = place.station.role
        places[name] = replace(place, first=first[role])
        first[role] += place.real(0 if role == "input" else len(place.stages))
