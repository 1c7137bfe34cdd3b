"""Paths that pick the coordinates of a unit one by one, each by a dimension of its own."""

from __future__ import annotations

import math

from pathc.ir.generators.base import Affine, Generator, UnitArray


class Grid:
    """The paths of `base`, whose visits are the coordinates of the units: those of visit v are as many as `parts[v]`.

    A unit is the number that its coordinates make, the first counting most: row * 28 + column for parts (28, 28).
    The sizes of `base` are all parts in their order.
    """

    def __init__(self, base: Generator, parts: tuple[tuple[int, ...], ...]) -> None:
        assert base.sizes == tuple(size for sizes in parts for size in sizes)
        self._base, self._parts = base, parts
        self.sizes, self.count = tuple(map(math.prod, parts)), base.count

    def affine(self, visit: int) -> Affine | None:
        """The bits of all coordinates side by side; None unless each is a linear map to a power of two."""
        columns, shift = (0,) * (self.count - 1).bit_length(), 0
        first = self._first(visit)
        for axis, size in enumerate(self._parts[visit], first):
            coordinate = self._base.affine(axis)
            if coordinate is None or size & (size - 1):
                return None
            bits = size.bit_length() - 1
            columns = tuple(c << bits | own for c, own in zip(columns, coordinate.columns, strict=True))
            shift = shift << bits | coordinate.shift
        return Affine(columns, shift)

    def units(self, visit: int, start: int, stop: int) -> UnitArray:
        """Units visited by paths start .. stop-1 at `visit`: int64 of shape [stop - start]."""
        first, parts = self._first(visit), self._parts[visit]
        units = self._base.units(first, start, stop)
        for axis, size in enumerate(parts[1:], first + 1):
            units = units * size + self._base.units(axis, start, stop)
        return units

    def _first(self, visit: int) -> int:
        return sum(map(len, self._parts[:visit]))
