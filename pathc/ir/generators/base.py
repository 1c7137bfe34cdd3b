"""The one concept behind every way to draw paths: a map from (visit, path index) to a unit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

UnitArray = NDArray[np.int64]


@dataclass(frozen=True)
class Affine:
    """An affine map over GF(2): unit(i) = shift ^ XOR of columns[k] over the set bits k of path index i."""

    columns: tuple[int, ...]
    shift: int = 0

    def __call__(self, index: int) -> int:
        """The unit of path `index`."""
        unit = self.shift
        for k, column in enumerate(self.columns):
            if index >> k & 1:
                unit ^= column
        return unit


class Generator(Protocol):
    """The paths of one line, resolved against its stations.

    `sizes[v]` is the number of units at visit v and `count` the number of paths.
    """

    sizes: tuple[int, ...]
    count: int

    def units(self, visit: int, start: int, stop: int) -> UnitArray:
        """Units visited by paths start .. stop-1 at `visit`: int64 of shape [stop - start]."""
        ...

    def affine(self, visit: int) -> Affine | None:
        """The visit as an affine map of the path index (ceil(log2(count)) columns), or None if it is none."""
        ...
