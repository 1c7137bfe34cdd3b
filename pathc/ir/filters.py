"""What a junction between stations with extents does: the taps of its filter, and the shape of its weights."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pathc.ir.catalogue import options_of
from pathc.ir.extents import conv_extents, padding, per_axis, pool_extents, read_extents
from pathc.ir.graph import Line, Station
from pathc.ir.types import Call, Word

Tap = tuple[int, ...]


@dataclass(frozen=True)
class Geometry:
    """A window of taps that moves over the extents `source` and stops at every position of `result`.

    Everything is given per axis. `front` and `behind` are zeros added around the source.
    """

    source: tuple[int, ...]
    result: tuple[int, ...]
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    front: tuple[int, ...]
    behind: tuple[int, ...]

    @property
    def positions(self) -> int:
        """Positions of the result."""
        return math.prod(self.result)

    @property
    def taps(self) -> tuple[Tap, ...]:
        """All taps in the order of the weights."""
        return tuple(product(*map(range, self.kernel)))

    def planar(self) -> Geometry:
        """The same over rows and columns: one extent is a single row."""
        if len(self.source) == 2:
            return self
        return Geometry(
            (1, *self.source), (1, *self.result), (1, *self.kernel), (1, *self.stride), (1, *self.dilation),
            (0, *self.front), (0, *self.behind),
        )  # fmt: skip

    def padded(self, values: NDArray[Any]) -> NDArray[Any]:
        """[rows, channels, *source] with the zeros around it."""
        return np.pad(values, ((0, 0), (0, 0), *zip(self.front, self.behind, strict=True)))

    def view(self, padded: NDArray[Any], tap: Tap) -> NDArray[Any]:
        """What a tap sees at every position: [rows, channels, *result], a view of the padded array."""
        starts = [t * d for t, d in zip(tap, self.dilation, strict=True)]
        spans = zip(starts, self.stride, self.result, strict=True)
        return padded[(..., *(slice(a, a + s * (n - 1) + 1, s) for a, s, n in spans))]

    def views(self, values: NDArray[Any]) -> Iterator[tuple[Tap, NDArray[Any]]]:
        """Every tap with what it sees of [rows, channels, *source]."""
        padded = self.padded(values)
        return ((tap, self.view(padded, tap)) for tap in self.taps)

    def inside(self, padded: NDArray[Any]) -> NDArray[Any]:
        """The source inside a padded array."""
        spans = zip(self.front, self.source, strict=True)
        return padded[(..., *(slice(a, a + n) for a, n in spans))]


def filter_of(source: Station, destination: Station) -> Geometry | None:
    """The filter with which a line leads from one station into another, None where units are joined one by one.

    Between stations with extents but without a convolution a weight is a filter of one tap. Raises ValueError if
    the extents do not meet.
    """
    extents, own = read_extents(source), destination.shape[1:]
    conv = destination.stage("conv")
    if conv is not None:
        if not extents:
            raise ValueError(f"`{source.name}` has no extents")
        rank, options = len(extents), options_of(conv)
        front, behind = zip(*padding(conv, rank), strict=True)
        kernel, stride, dilation = (per_axis(options[name], rank) for name in ("kernel", "stride", "dilation"))
        geometry = Geometry(extents, conv_extents(conv, extents), kernel, stride, dilation, front, behind)
        if geometry.result != own:
            raise ValueError(f"the convolution gives {list(geometry.result)}, `{destination.name}` has {list(own)}")
        return geometry
    if not extents or not own:
        return None
    if extents != own:
        raise ValueError(f"`{source.name}` gives {list(extents)}, `{destination.name}` has {list(own)}")
    one, none = (1,) * len(own), (0,) * len(own)
    return Geometry(own, own, one, one, one, none, none)


def pool_of(pool: Call, extents: tuple[int, ...]) -> Geometry:
    """The window of a pool over these extents; ValueError if it does not fit."""
    options, rank = options_of(pool), len(extents)
    window = extents if options["window"] == Word("global") else per_axis(options["window"], rank)
    whole = Word("global") == options["window"] or Word("window") == options["stride"]
    stride = window if whole else per_axis(options["stride"], rank)
    none = (0,) * rank
    return Geometry(extents, pool_extents(pool, extents), window, stride, (1,) * rank, none, none)


def tap_of(pool: Call, geometry: Geometry) -> Tap | None:
    """The tap of each window that a pool picks, None for one that looks at all of them."""
    tap = options_of(pool).get("tap")
    return geometry.taps[tap] if isinstance(tap, int) else None


def taps_of(destination: Station) -> tuple[int, ...]:
    """Extents of the filter that a weight into the station stands for; () if it has no convolution."""
    stage = destination.stage("conv")
    return per_axis(options_of(stage)["kernel"], len(destination.shape) - 1) if stage is not None else ()


def groups_of(destination: Station) -> int:
    """Groups of channels that a dense line into the station keeps apart."""
    stage = destination.stage("conv")
    groups = options_of(stage)["groups"] if stage is not None else 1
    return groups if isinstance(groups, int) else 1


def shuffle_order(stage: Call, channels: int) -> NDArray[np.int64]:
    """The channel that each channel behind a `channelshuffle` comes from."""
    groups = options_of(stage)["groups"]
    assert isinstance(groups, int)
    return np.arange(channels).reshape(groups, channels // groups).T.reshape(-1)


def dense_sides(source: Station, destination: Station) -> tuple[int, int]:
    """Rows and columns of a dense junction without its taps: units out, and units in that each of them sees.

    Channels where both stations have extents, all units of all positions otherwise.
    """
    shared = destination.stage("conv") is not None or (bool(read_extents(source)) and len(destination.shape) > 1)
    if shared:
        return destination.real_units, source.real_units // groups_of(destination)
    return destination.real_units * math.prod(destination.shape[1:]), source.real_units * math.prod(
        read_extents(source)
    )


def weight_shape(line: Line, source: Station, destination: Station) -> tuple[int, ...]:
    """Shape of the weights of a junction: [paths, *taps] or [units out, units in, *taps]."""
    if line.kind == "paths":
        return line.count, *taps_of(destination)
    return *dense_sides(source, destination), *taps_of(destination)


def positions_of(source: Station, destination: Station) -> int:
    """Positions at which each weight of a junction is applied."""
    geometry = filter_of(source, destination)
    return 1 if geometry is None else geometry.positions
