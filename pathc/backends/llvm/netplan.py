"""The plan of a whole net: kernels in order, the buffers they run on, and where each parameter lies."""

from __future__ import annotations

from dataclasses import dataclass

from pathc.backends.llvm.plan import Family, Layout, Step
from pathc.ir.types import Call

ALIGNMENT = 64
"""Bytes: buffers and parameters start at multiples of a cache line."""


@dataclass(frozen=True)
class Load:
    """Bring an input of the user into its station's buffer, applying the input's activation.

    `first` is the column of the user's array where this station starts, `declared` how many it takes; the silent
    units behind them become zero.
    """

    station: str
    layout: Layout
    units: int
    first: int
    declared: int
    activation: Call | None


@dataclass(frozen=True)
class Post:
    """An activation that looks at all units of a station (softmax, kwinners), in place on natural order."""

    station: str
    units: int
    call: Call


@dataclass(frozen=True)
class Save:
    """Bring an output station's buffer to the user's array, columns `first` onwards."""

    station: str
    layout: Layout
    units: int
    first: int
    declared: int


Op = Load | Step | Post | Save


@dataclass(frozen=True)
class Buffer:
    """Where a station lives in the scratch memory: floats from its start, floats long for one sample."""

    station: str
    offset: int
    size: int


@dataclass(frozen=True)
class NetPlan:
    """All kernels of a net for one family.

    `samples` is how many samples a kernel takes at a time: the tile of columns, or the larger of the two row
    counts (the other is 1). `scratch` is in floats.
    """

    name: str
    family: Family
    samples: int
    ops: tuple[Op, ...]
    buffers: tuple[Buffer, ...]
    scratch: int
    inputs: int
    outputs: int
    cycles: float

    def buffer(self, station: str) -> Buffer:
        """The buffer of a station."""
        return next(b for b in self.buffers if b.station == station)

    @property
    def steps(self) -> tuple[Step, ...]:
        """The kernels that multiply, in order."""
        return tuple(op for op in self.ops if isinstance(op, Step))


@dataclass(frozen=True)
class Lifetime:
    """A buffer's first and last use, as positions in the list of operations."""

    station: str
    size: int
    first: int
    last: int


def place(lifetimes: list[Lifetime], samples: int) -> tuple[tuple[Buffer, ...], int]:
    """Lay buffers into scratch memory so that two alive at the same time never overlap; returns the floats needed.

    First fit, the largest first: layers of a deep net come to share two places, which keeps them in the nearest
    cache.
    """
    placed: list[tuple[Lifetime, int]] = []
    unit = ALIGNMENT // 4
    for life in sorted(lifetimes, key=lambda l: (-l.size, l.first)):
        size = -(-life.size * samples // unit) * unit
        taken = sorted(
            (offset, offset + -(-other.size * samples // unit) * unit)
            for other, offset in placed
            if other.first <= life.last and life.first <= other.last
        )
        at = 0
        for start, end in taken:
            if at + size <= start:
                break
            at = max(at, end)
        placed.append((life, at))
    buffers = tuple(Buffer(life.station, offset, life.size) for life, offset in placed)
    total = max((b.offset + -(-b.size * samples // unit) * unit for b in buffers), default=0)
    return buffers, total
