"""Paths from the Sobol' sequence: plain, digitally shifted, linearly matrix-scrambled or Owen-scrambled."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pathc.ir.generators.base import Affine, UnitArray
from pathc.ir.generators.checks import MAX_COUNT, check_line, check_window
from pathc.ir.generators.hashing import hash64
from pathc.support.diagnostics import Place, error

SCRAMBLES = ("none", "shift", "lms", "owen")
BITS = 32
"""Bits of a Sobol' fraction."""
INDEX_BITS = 62
"""Bits of a path index."""

_BLOCK_BITS = 14
_TABLE = Path(__file__).with_name("joe_kuo_d6.npz")


@lru_cache(maxsize=1)
def _table() -> tuple[NDArray[np.uint32], NDArray[np.uint16]]:
    with np.load(_TABLE, allow_pickle=False) as table:
        return table["polynomial"], table["initial"]


def dimensions() -> int:
    """Number of Sobol' dimensions that ship."""
    return len(_table()[0])


@lru_cache(maxsize=8192)
def generator_matrix(dim: int) -> tuple[int, ...]:
    """Column k of the generator matrix of dimension `dim` as a 32-bit fraction, k = 0 .. 61.

    The most significant bit is the first matrix row; the matrix is upper triangular with unit diagonal.
    Recurrence: Bratley and Fox, Algorithm 659 (1988); initial numbers: Joe and Kuo (2008), criterion D(6).
    """
    polynomial, initial = _table()
    if dim == 0:
        numbers = [1] * INDEX_BITS
    else:
        p = int(polynomial[dim])
        degree = p.bit_length() - 1
        numbers = [int(m) for m in initial[dim, :degree]]
        for j in range(degree, INDEX_BITS):
            number = numbers[j - degree] ^ numbers[j - degree] << degree
            for k in range(1, degree):
                if p >> degree - k & 1:
                    number ^= numbers[j - k] << k
            numbers.append(number)
    return tuple(m << BITS - 1 - k if k < BITS else m >> k - BITS + 1 for k, m in enumerate(numbers))


class Sobol:
    """Unit of path i at visit v: floor(x * sizes[v]), x the Sobol' fraction of index i + skip, dimension dims[v].

    `scramble` is none, shift (XOR with a constant per dimension), lms (a random lower triangular matrix times
    the generator matrix, then a shift) or owen (nested: the flip of a bit depends on all bits above it); all
    keep every aligned block of 2^m indices a permutation of 2^m units. `seed` matters to all but none. A
    dimension is scrambled the same way wherever it is used. Errors: E0341, E0344, E0345.
    """

    def __init__(
        self,
        dims: tuple[int, ...],
        sizes: tuple[int, ...],
        count: int,
        scramble: str = "none",
        seed: int = 0,
        skip: int = 0,
        place: Place = None,
    ) -> None:
        check_line(sizes, count, place)
        if count + skip > MAX_COUNT:
            raise error("E0341", f"{count} paths after the first {skip} go beyond index 2^62", place)
        for dim in dims:
            if not 0 <= dim < dimensions():
                raise error("E0345", f"Sobol' dimension {dim} is outside 0 .. {dimensions() - 1}", place)
        self.dims, self.sizes, self.count = dims, sizes, count
        self.scramble, self.seed, self.skip = scramble, seed, skip

    def affine(self, visit: int) -> Affine | None:
        """The visit over GF(2), for sizes 2^m, no Owen scrambling, and a skip that is a multiple of the power of
        two from `count` up (0 included); None otherwise.
        """
        bits = (self.count - 1).bit_length()
        size = self.sizes[visit]
        if self.scramble == "owen" or size & size - 1 or self.skip & (1 << bits) - 1:
            return None
        columns, shift = self._linear(visit)
        drop = BITS - (size.bit_length() - 1)
        shift = Affine(columns, shift)(self.skip)
        return Affine(tuple(c >> drop for c in columns[:bits]), shift >> drop)

    def units(self, visit: int, start: int, stop: int) -> UnitArray:
        """Units visited by paths start .. stop-1 at `visit`: int64 of shape [stop - start]."""
        check_window(start, stop, self.count)
        size = self.sizes[visit]
        columns, shift = self._linear(visit)
        first, last = start + self.skip, stop + self.skip
        if self.scramble == "owen":
            return _owen_units(columns, _owen_rounds(self.seed, self.dims[visit]), size, first, last)
        return _linear_units(Affine(columns, shift), size, first, last)

    def _linear(self, visit: int) -> tuple[tuple[int, ...], int]:
        """Columns and shift of the 32-bit fraction, before any Owen scrambling."""
        dim = self.dims[visit]
        columns = generator_matrix(dim)
        if self.scramble in ("none", "owen"):
            return columns, 0
        if self.scramble == "lms":
            columns = _matrix_scramble(self.seed, dim)
        return columns, hash64(self.seed, dim, 0) >> BITS


@lru_cache(maxsize=1024)
def _matrix_scramble(seed: int, dim: int) -> tuple[int, ...]:
    rows: list[int] = []
    for row in range(BITS):
        diagonal = 1 << BITS - 1 - row
        above = (1 << BITS) - 2 * diagonal
        rows.append(diagonal | hash64(seed, dim, 1, row) & above)
    return tuple(
        sum(((mask & column).bit_count() & 1) << BITS - 1 - row for row, mask in enumerate(rows))
        for column in generator_matrix(dim)
    )


def _linear_units(fraction: Affine, size: int, start: int, stop: int) -> UnitArray:
    units = np.empty(stop - start, np.int64)
    bits = _block_bits(start, stop)
    low = _span(fraction.columns[:bits], np.uint64)
    exponent = size.bit_length() - 1
    power_of_two = size == 1 << exponent
    drop = np.uint64(BITS - exponent if power_of_two else BITS)
    if power_of_two:
        low >>= drop
    out = units.view(np.uint64)
    for block in range(start >> bits, (stop - 1 >> bits) + 1):
        base = block << bits
        first, last = max(start, base), min(stop, base + (1 << bits))
        target, source = out[first - start : last - start], low[first - base : last - base]
        high = np.uint64(fraction(base))
        if power_of_two:
            np.bitwise_xor(source, high >> drop, out=target)
        else:
            np.bitwise_xor(source, high, out=target)
            target *= np.uint64(size)
            target >>= drop
    return units


def _owen_units(columns: tuple[int, ...], rounds: tuple[int, ...], size: int, start: int, stop: int) -> UnitArray:
    units = np.empty(stop - start, np.int64)
    out = units.view(np.uint64)
    bits = _block_bits(start, stop)
    reversed_columns = tuple(int(f"{c:0{BITS}b}"[::-1], 2) for c in columns)
    low = _span(reversed_columns[:bits], np.uint32)
    fraction = Affine(reversed_columns)
    for block in range(start >> bits, (stop - 1 >> bits) + 1):
        base = block << bits
        first, last = max(start, base), min(stop, base + (1 << bits))
        x = low[first - base : last - base] ^ np.uint32(fraction(base))
        target = out[first - start : last - start]
        target[:] = _reverse_bits(_flip_upwards(x, rounds))
        target *= np.uint64(size)
        target >>= np.uint64(BITS)
    return units


def _block_bits(start: int, stop: int) -> int:
    return min(_BLOCK_BITS, max(stop - start - 1, 0).bit_length())


def _span(columns: tuple[int, ...], dtype: type[np.uint32] | type[np.uint64]) -> NDArray[np.unsignedinteger]:
    """All XOR combinations of the columns, in natural order of the index: shape [2^len(columns)]."""
    table = np.zeros(1 << len(columns), dtype)
    for k, column in enumerate(columns):
        np.bitwise_xor(table[: 1 << k], dtype(column), out=table[1 << k : 2 << k])
    return table


_OWEN_ROUNDS = 4


@lru_cache(maxsize=1024)
def _owen_rounds(seed: int, dim: int) -> tuple[int, ...]:
    """Per round a summand, an even and an odd factor, all 32 bits."""
    numbers = [hash64(seed, dim, 2, k) >> BITS for k in range(3 * _OWEN_ROUNDS)]
    return tuple(n if k % 3 == 0 else n & ~1 if k % 3 == 1 else n | 1 for k, n in enumerate(numbers))


def _flip_upwards(x: NDArray[np.uint32], rounds: tuple[int, ...]) -> NDArray[np.uint32]:
    """Flip each bit by a keyed function of the bits below it, in place.

    Sums, odd multiples and XOR with even multiples carry only upwards, so on bit-reversed fractions this is a
    nested uniform scramble; after Laine and Karras, Stratified Sampling for Stochastic Transparency (2011).
    """
    product = np.empty_like(x)
    for k in range(0, len(rounds), 3):
        x += np.uint32(rounds[k])
        np.multiply(x, np.uint32(rounds[k + 1]), out=product)
        x ^= product
        x *= np.uint32(rounds[k + 2])
    return x


def _reverse_bits(x: NDArray[np.uint32]) -> NDArray[np.uint32]:
    x = x.byteswap()
    for mask, step in ((0x0F0F0F0F, 4), (0x33333333, 2), (0x55555555, 1)):
        upper = x >> np.uint32(step)
        upper &= np.uint32(mask)
        x &= np.uint32(mask)
        x <<= np.uint32(step)
        x |= upper
    return x
