"""Paths of another line, walked backwards."""

from __future__ import annotations

from pathc.ir.generators.base import Affine, Generator, UnitArray


class Mirror:
    """The paths of `base` from their last visit to their first: visit v is visit len(sizes) - 1 - v of `base`."""

    def __init__(self, base: Generator) -> None:
        self.base = base
        self.sizes, self.count = base.sizes[::-1], base.count

    def affine(self, visit: int) -> Affine | None:
        """The visit as an affine map of the path index, or None."""
        return self.base.affine(len(self.sizes) - 1 - visit)

    def units(self, visit: int, start: int, stop: int) -> UnitArray:
        """Units visited by paths start .. stop-1 at `visit`: int64 of shape [stop - start]."""
        return self.base.units(len(self.sizes) - 1 - visit, start, stop)
