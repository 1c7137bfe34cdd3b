"""Paths that pick every unit independently and uniformly, from a seed."""

from __future__ import annotations

import numpy as np

from pathc.ir.generators.base import UnitArray
from pathc.ir.generators.checks import check_line, check_window
from pathc.ir.generators.hashing import hash64, hash_stream, scale_to
from pathc.support.diagnostics import Place

_BLOCK = 1 << 14


class Random:
    """Unit of path i at visit v: floor(u * sizes[v]), u a 32-bit fraction hashed from seed, dims[v] and i.

    Counter-based: a unit does not depend on the window it is asked for in. Errors: E0341.
    """

    def __init__(
        self, dims: tuple[int, ...], sizes: tuple[int, ...], count: int, seed: int = 0, place: Place = None
    ) -> None:
        check_line(sizes, count, place)
        self.dims, self.sizes, self.count, self.seed = dims, sizes, count, seed

    def affine(self, visit: int) -> None:
        """None: a random visit is not linear."""

    def units(self, visit: int, start: int, stop: int) -> UnitArray:
        """Units visited by paths start .. stop-1 at `visit`: int64 of shape [stop - start]."""
        check_window(start, stop, self.count)
        key = hash64(self.seed, self.dims[visit])
        units = np.empty(stop - start, np.int64)
        for first in range(start, stop, _BLOCK):
            last = min(first + _BLOCK, stop)
            units[first - start : last - start] = scale_to(hash_stream(key, first, last), self.sizes[visit])
        return units
