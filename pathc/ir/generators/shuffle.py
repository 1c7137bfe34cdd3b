"""Paths along the perfect shuffle network."""

from __future__ import annotations

import numpy as np

from pathc.ir.generators.base import Affine, UnitArray
from pathc.ir.generators.checks import check_line, check_window
from pathc.support.diagnostics import Place, error

_MAX_BITS = 31


class Shuffle:
    """Path i of 2^m stands at position rotl(i, d) at a visit of dimension d: its index with the m bits rotated
    left d times, that is after d perfect shuffles. Its unit is floor(position * size / 2^m).

    With size 2^m / 2 a junction is the shuffle-exchange stage of an omega network. Source: Stone, Parallel
    Processing with the Perfect Shuffle (1971). Errors: E0341, E0343 if the count is no power of two.
    """

    def __init__(self, dims: tuple[int, ...], sizes: tuple[int, ...], count: int, place: Place = None) -> None:
        check_line(sizes, count, place)
        bits = count.bit_length() - 1
        if count != 1 << bits:
            message = f"a perfect shuffle needs a power of two, not {count} paths"
            raise error("E0343", message, place, help=f"count = {1 << bits} or {2 << bits}")
        if bits > _MAX_BITS:
            raise error("E0341", f"a perfect shuffle of {count} paths goes beyond 2^{_MAX_BITS}", place)
        self.dims, self.sizes, self.count = dims, sizes, count
        self._bits = bits

    def affine(self, visit: int) -> Affine | None:
        """The visit over GF(2) if its size is a power of two, None otherwise."""
        size = self.sizes[visit]
        if size & size - 1:
            return None
        turn = self._turn(visit)
        return Affine(tuple((1 << (k + turn) % self._bits) * size >> self._bits for k in range(self._bits)))

    def units(self, visit: int, start: int, stop: int) -> UnitArray:
        """Units visited by paths start .. stop-1 at `visit`: int64 of shape [stop - start]."""
        check_window(start, stop, self.count)
        turn = self._turn(visit)
        index = np.arange(start, stop, dtype=np.uint64)
        position = (index << np.uint64(turn) | index >> np.uint64(self._bits - turn)) & np.uint64(self.count - 1)
        return (position * np.uint64(self.sizes[visit]) >> np.uint64(self._bits)).view(np.int64)

    def _turn(self, visit: int) -> int:
        return self.dims[visit] % max(self._bits, 1)
