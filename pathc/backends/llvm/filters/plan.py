"""What is computed for one sample, in order, and the planes in memory it runs on.

A plane holds the positions of a channel row by row, with room between the rows for the zeros a filter sees around it.
A tap of a filter is then a constant distance in memory, wherever it stands, so that a filter is a sum of shifted
planes and rows need not end where vectors do: what is computed between the rows is never looked at. A stride takes
the rows and columns apart into phases, each a plane of its own, over which the filter runs with stride one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pathc.ir.types import Call

Array = NDArray[np.float32]
Pair = tuple[int, int]
Base = Literal["x", "y", "scratch"]


@dataclass(frozen=True)
class Planes:
    """Channels in memory: `at` floats behind a base, `plane` floats from channel to channel.

    `extents` are rows and columns. Position (r, c) lies in phase ((r + f) % s, (c + f') % s') of `phases` (s, s'), with
    `front` (f, f') zeros in front of it, at row (r + f) // s and column (c + f') // s' of rows `pitch` floats apart;
    phases are `phase` floats apart. `padded` says that there are zeros to be written.
    """

    base: Base
    at: int
    channels: int
    extents: Pair
    pitch: int
    plane: int
    phase: int = 0
    phases: Pair = (1, 1)
    front: Pair = (0, 0)
    padded: bool = False

    @property
    def size(self) -> int:
        """Floats of all channels."""
        return self.channels * self.plane


@dataclass(frozen=True, eq=False)
class Affine:
    """scale * value + shift, numbers of each channel; no `scale` is one."""

    shift: Array
    scale: Array | None = None


Elementwise = Call | Affine
"""An elementwise function."""


@dataclass(frozen=True, eq=False)
class Place:
    """Bring planes into another arrangement, functions applied on the way.

    Channel i of the target, counted from `first`, is channel `order[i]` of the source, or channel i without `order`.
    """

    src: Planes
    dst: Planes
    functions: tuple[Elementwise, ...] = ()
    order: tuple[int, ...] = ()
    first: int = 0


@dataclass(frozen=True)
class Add:
    """dst = scale * src, or added to what is there unless `fresh`; the channels of the target count from `first`."""

    src: Planes
    dst: Planes
    scale: float
    fresh: bool
    first: int = 0


@dataclass(frozen=True)
class PoolOp:
    """The largest value or the mean of every window."""

    src: Planes
    dst: Planes
    window: Pair
    stride: Pair
    largest: bool


@dataclass(frozen=True)
class Across:
    """Softmax over the channels, at every position, in place."""

    planes: Planes


@dataclass(frozen=True)
class Chunk:
    """Channels of the result that hear the same channels of the source.

    `weights[i][t][k]` leads from channel `sources[i]` through tap t to channel `targets[k]`.
    """

    targets: tuple[int, ...]
    sources: tuple[int, ...]
    weights: Array


@dataclass(frozen=True, eq=False)
class Mix:
    """Sums of shifted planes: dst[o][p] = sum over sources i and taps t of w * src[i][p + taps[t]].

    Added to what is there unless `fresh`; functions are applied to the sums before they are stored.
    """

    src: Planes
    dst: Planes
    taps: tuple[int, ...]
    chunks: tuple[Chunk, ...]
    fresh: bool
    functions: tuple[Elementwise, ...] = ()

    @property
    def work(self) -> int:
        """Multiply-adds that count, without those between the rows."""
        rows, columns = self.dst.extents
        return sum(len(c.targets) * len(c.sources) for c in self.chunks) * len(self.taps) * rows * columns


Op = Place | Add | PoolOp | Across | Mix


@dataclass(frozen=True, eq=False)
class FilterPlan:
    """All operations for one sample: `inputs` and `outputs` floats at x and y, `scratch` floats of working memory.

    `results` are the stations whose planes lie at y, one after another.
    """

    ops: tuple[Op, ...]
    inputs: int
    outputs: int
    scratch: int
    results: Mapping[str, Planes]

    @property
    def work(self) -> int:
        """Multiply-adds for a sample."""
        return sum(op.work for op in self.ops if isinstance(op, Mix))
