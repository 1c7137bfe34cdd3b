"""What is computed of a net with extents, operation by operation, before a flat net takes over.

Arrays are [batch, floats]; planes of channels lie in them one after the other, row by row, without room between. There
are the input `x`, the outputs `y` or what the flat net reads, `z`, and buffers `planes0`, ..., which operations share
that never need them at the same time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pathc.ir.filters import Geometry
from pathc.ir.types import Call

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Pair = tuple[int, int]


@dataclass(frozen=True)
class Planes:
    """Channels of rows and columns: `at` floats behind the start of a sample in an array."""

    array: str
    at: int
    channels: int
    rows: int
    columns: int

    @property
    def positions(self) -> int:
        """Floats of a channel."""
        return self.rows * self.columns

    @property
    def size(self) -> int:
        """Floats of all channels."""
        return self.channels * self.positions

    def __str__(self) -> str:
        return f"%{self.array}+{self.at}[{self.channels}, {self.rows}x{self.columns}]"


@dataclass(frozen=True, eq=False)
class Affine:
    """scale * value + shift, numbers of each channel; no `scale` is one."""

    shift: Floats
    scale: Floats | None = None


Function = Call | Affine
"""An elementwise function."""


@dataclass(frozen=True, eq=False)
class End:
    """What happens to a value before it is stored: scaled planes are added, then functions are applied.

    The value of channel c is stored as channel `places[c]` of the target, or as channel c without `places`.
    """

    terms: tuple[tuple[Planes, float], ...] = ()
    functions: tuple[Function, ...] = ()
    places: tuple[int, ...] = ()

    def __str__(self) -> str:
        shown = [f" + {scale:g} * {planes}" for planes, scale in self.terms]
        for function in self.functions:
            affine = "shift" if isinstance(function, Affine) and function.scale is None else "scale and shift"
            shown.append(f" | {affine if isinstance(function, Affine) else function}")
        return "".join(shown) + ", channels moved" * bool(self.places)


@dataclass(frozen=True, eq=False)
class _Sums:
    """What sums of filters have in common: planes, channels that are summed, channels that are heard, weights."""

    name: str
    junction: str
    src: Planes
    dst: Planes
    geometry: Geometry
    targets: Ints
    sources: Ints
    weights: Floats
    end: End

    def _line(self, channels: str) -> str:
        what = f"{self.src} -> {self.dst} {self.junction}, {channels}, {_window(self.geometry)}"
        return f"{self.name}: filters {what}{self.end}"


@dataclass(frozen=True, eq=False)
class Blocks(_Sums):
    """Sums of filters by blocks of channels: all targets of a block hear all its sources.

    Channel `targets[k, r]` of block k hears channel `sources[k, i]` through `weights[k, i, tap, r]`.
    """

    def __str__(self) -> str:
        (count, fan_out), fan_in = self.targets.shape, self.sources.shape[1]
        return self._line(f"{count} of {fan_out}x{fan_in}")


@dataclass(frozen=True, eq=False)
class Lists(_Sums):
    """Sums of filters by lists: channel `targets[n]` hears the edges from `starts[n]` to `starts[n + 1]`.

    Edge e comes from channel `sources[e]` with `weights[e, tap]`.
    """

    starts: Ints

    def __str__(self) -> str:
        return self._line(f"lists of {len(self.sources)} edges to {len(self.targets)} channels")


@dataclass(frozen=True, eq=False)
class Blend:
    """Planes added up, each times a number: skips, parts of a concatenation, steps of equations, copies."""

    name: str
    dst: Planes
    end: End

    def __str__(self) -> str:
        return f"{self.name}: blend {self.dst} = 0{self.end}"


@dataclass(frozen=True, eq=False)
class Pool:
    """The largest value or the mean of every window, or one of its values where the window has been cut to that."""

    name: str
    src: Planes
    dst: Planes
    window: Pair
    stride: Pair
    largest: bool
    end: End
    first: Pair = (0, 0)

    def __str__(self) -> str:
        rows, columns = self.window
        what = f"{'maxima' if self.largest else 'means'} of {rows}x{columns}"
        return f"{self.name}: pool {self.src} -> {self.dst}, {what}, stride {_pair(self.stride)}{self.end}"


@dataclass(frozen=True, eq=False)
class Across:
    """A function of all channels, at every position for itself: softmax, kwinners."""

    name: str
    src: Planes
    dst: Planes
    call: Call
    end: End

    def __str__(self) -> str:
        return f"{self.name}: across {self.src} -> {self.dst} | {self.call}{self.end}"


Filters = Blocks | Lists
Op = Blocks | Lists | Blend | Pool | Across


@dataclass(frozen=True, eq=False)
class FilterPlan:
    """All operations in order; `arrays` are the arrays besides `x` and `y` with their floats for a sample.

    `results` are the stations whose planes lie in `z` or `y`, one after the other.
    """

    ops: tuple[Op, ...]
    inputs: int
    outputs: int
    arrays: Mapping[str, int]
    results: Mapping[str, Planes]

    def floats(self, array: str) -> int:
        """Floats of an array for a sample."""
        return {"x": self.inputs, "y": self.outputs}.get(array) or self.arrays[array]

    def __str__(self) -> str:
        lines = [f"  %{name}: [batch, {size}]" for name, size in self.arrays.items()]
        return "".join(f"{line}\n" for line in (*lines, *(f"  {op}" for op in self.ops)))


def reads(op: Op) -> tuple[Planes, ...]:
    """The planes that an operation reads."""
    terms = tuple(planes for planes, _ in op.end.terms)
    return terms if isinstance(op, Blend) else (op.src, *terms)


def operations_a_byte(op: Filters) -> float:
    """Operations for every byte of planes that are read and written once; weights are shared by all samples."""
    heard = len(np.unique(op.sources)) * op.src.positions
    stored = op.targets.size * op.dst.positions
    return 2 * op.weights.size * op.dst.positions / (4 * (heard + stored * (1 + len(op.end.terms))))


def _window(geometry: Geometry) -> str:
    parts = [f"{_pair(geometry.kernel)} taps"]
    if max(geometry.stride) > 1:
        parts.append(f"stride {_pair(geometry.stride)}")
    if max(geometry.dilation) > 1:
        parts.append(f"dilation {_pair(geometry.dilation)}")
    return ", ".join(parts)


def _pair(numbers: tuple[int, ...]) -> str:
    return "x".join(map(str, numbers))
