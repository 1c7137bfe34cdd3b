"""Filters as passes over planes: forwards one, backwards one for every phase of the strides.

A pass computes `result` positions of a channel. Position (r, c) of it is the sum over taps (i, j) of weight (i, j)
times the source at row r * step + tap, column likewise, of a plane that has zeros around it where taps reach beyond.
Backwards through a stride s, the rows of the source fall into s phases: each hears every s-th tap, or another divisor
of s of them where the filter is dilated, of gradients that lie side by side.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import gcd

from pathc.ir.filters import Geometry

Pair = tuple[int, int]


@dataclass(frozen=True)
class Taps:
    """Taps along an axis: tap k reads `first + k * step` behind the position, its weight is `weight + k * stride`."""

    count: int
    first: int
    step: int
    weight: int
    stride: int


@dataclass(frozen=True)
class Padding:
    """Planes of `extents` with `front` zeros in front and `behind` zeros behind each axis."""

    extents: Pair
    front: Pair
    behind: Pair

    @property
    def padded(self) -> Pair:
        """Extents with the zeros."""
        return (
            self.front[0] + self.extents[0] + self.behind[0],
            self.front[1] + self.extents[1] + self.behind[1],
        )

    @property
    def rows(self) -> int:
        """Positions of a plane with its zeros."""
        return self.padded[0] * self.padded[1]

    @property
    def plain(self) -> bool:
        """Whether there are no zeros."""
        return self.padded == self.extents


@dataclass(frozen=True)
class Pass:
    """One pass: positions computed, taps along rows and columns, and how positions lie in both planes.

    In the source a position moves by `read_step`, in the target it is `write_first` + position * `write_step`; pitches
    are positions from row to row, planes those from channel to channel. `kernel` are the taps of a stored filter.
    """

    result: Pair
    taps: tuple[Taps, Taps]
    kernel: Pair
    read_pitch: int
    read_plane: int
    read_step: Pair
    write_pitch: int
    write_plane: int
    write_first: Pair = (0, 0)
    write_step: Pair = (1, 1)


def forward_pass(geometry: Geometry) -> tuple[Padding, Pass]:
    """The zeros around a source over rows and columns, and the pass that filters it."""
    padding = Padding(_pair(geometry.source), _pair(geometry.front), _pair(geometry.behind))
    rows, columns = (Taps(k, 0, d, 0, 1) for k, d in zip(geometry.kernel, geometry.dilation, strict=True))
    result = _pair(geometry.result)
    return padding, Pass(
        result, (rows, columns), _pair(geometry.kernel), padding.padded[1], padding.rows, _pair(geometry.stride),
        result[1], result[0] * result[1],
    )  # fmt: skip


def backward_passes(geometry: Geometry) -> tuple[Padding, tuple[Pass, ...]]:
    """The zeros around a gradient, and the passes that bring it to the source, one for each phase of the strides."""
    axes = [_phases(geometry, axis) for axis in (0, 1)]
    result, source = _pair(geometry.result), _pair(geometry.source)
    padding = Padding(result, (axes[0].front, axes[1].front), (axes[0].behind, axes[1].behind))
    passes: list[Pass] = []
    for top, height, rows in axes[0].phases:
        for left, width, columns in axes[1].phases:
            passes.append(
                Pass(
                    (height, width), (rows, columns), _pair(geometry.kernel), padding.padded[1], padding.rows, (1, 1),
                    source[1], source[0] * source[1], (top, left), _pair(geometry.stride),
                )
            )  # fmt: skip
    return padding, tuple(passes)


@dataclass(frozen=True)
class _Axis:
    front: int
    behind: int
    phases: tuple[tuple[int, int, Taps], ...]


def _phases(geometry: Geometry, axis: int) -> _Axis:
    """Of every phase along an axis: its first position, how many there are, and the taps it hears."""
    size, result, kernel = geometry.source[axis], geometry.result[axis], geometry.kernel[axis]
    stride, dilation, front = geometry.stride[axis], geometry.dilation[axis], geometry.front[axis]
    every = stride // gcd(stride, dilation)
    found: list[tuple[int, int, int, int, int]] = []
    for first in range(min(stride, size)):
        count = -(-(size - first) // stride)
        heard = [t for t in range(kernel) if (first + front - t * dilation) % stride == 0]
        reach = (first + front - heard[0] * dilation) // stride if heard else 0
        found.append((first, count, len(heard), heard[0] if heard else 0, reach))
    back = every * dilation // stride
    lowest = min((reach - (taps - 1) * back for _, _, taps, _, reach in found if taps), default=0)
    highest = max((count - 1 + reach for _, count, taps, _, reach in found if taps), default=0)
    before, behind = max(0, -lowest), max(0, highest - (result - 1))
    phases = tuple(
        (first, count, Taps(taps, reach + before, -back, weight, every)) for first, count, taps, weight, reach in found
    )
    return _Axis(before, behind, phases)


def _pair(values: tuple[int, ...]) -> Pair:
    return values[0], values[1]
