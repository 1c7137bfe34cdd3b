"""The linear array of Kung and Leiserson: a band matrix times a vector on as many cells as the band has diagonals.

With `lower` diagonals below and `upper` above the main one, w = lower + upper + 1 cells stand in a row. Cell k always
multiplies elements of the diagonal i - j = k - upper. Inputs enter at the left end every other cycle and move right,
sums enter at the right end and move left; they meet where their element is.
Source: H. T. Kung, C. E. Leiserson, Systolic Arrays (for VLSI), Sparse Matrix Proceedings (1978).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pathc.support.diagnostics import error

Int64 = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Band:
    """What came of it: `sums` int64 [n], cycles until the last one left, multiplications, and a bound of the cycles.

    The bound is 2 n + 2 max(lower, upper) + 1, which is 2 n + w for as many diagonals above as below.
    """

    sums: Int64
    cycles: int
    multiplications: int
    bound: int


def multiply_band(matrix: Int64, values: Int64, lower: int, upper: int) -> Band:
    """A matrix int64 [n, n] with nothing outside of its band times a vector int64 [n], cycle by cycle.

    E1070 if there is something outside of the band, or the shapes do not fit.
    """
    size = len(values)
    if matrix.shape != (size, size) or not 0 <= lower < max(1, size) or not 0 <= upper < max(1, size):
        shapes = f"a matrix {matrix.shape}, {size} inputs, {lower} diagonals below and {upper} above"
        raise error("E1070", f"these do not fit together: {shapes}")
    distance = np.subtract.outer(np.arange(size), np.arange(size))
    if matrix[(distance > lower) | (distance < -upper)].any():
        raise error("E1070", f"the matrix has elements outside of {lower} diagonals below and {upper} above")
    cells = lower + upper + 1
    first_input, first_sum = max(0, lower - upper), max(0, upper - lower)
    inputs, sums = np.full(cells, -1, np.int64), np.full(cells, -1, np.int64)
    carried, partial = np.zeros(cells, np.int64), np.zeros(cells, np.int64)
    found = np.zeros(size, np.int64)
    left, cycle, multiplications = size, 0, 0
    while left:
        inputs[1:], carried[1:] = inputs[:-1].copy(), carried[:-1].copy()
        sums[:-1], partial[:-1] = sums[1:].copy(), partial[1:].copy()
        inputs[0], carried[0] = _entering(cycle - first_input, size, values)
        sums[-1], partial[-1] = _entering(cycle - first_sum, size, np.zeros(size, np.int64))
        meeting = np.flatnonzero((inputs >= 0) & (sums >= 0))
        partial[meeting] += matrix[sums[meeting], inputs[meeting]] * carried[meeting]
        multiplications += len(meeting)
        if sums[0] >= 0:
            found[sums[0]] = partial[0]
            left -= 1
        cycle += 1
    return Band(found, cycle, multiplications, 2 * (size + max(lower, upper)) + 1)


def _entering(time: int, size: int, values: Int64) -> tuple[int, int]:
    """The number and value of what enters at this time, one every other cycle; -1 for nothing."""
    number = time // 2
    if time < 0 or time % 2 or number >= size:
        return -1, 0
    return number, int(values[number])
