"""Linear algebra over GF(2): vectors are Python integers whose bits are the coordinates, addition is XOR.

A linear map is the tuple of its columns: column k is the image of the unit vector with bit k. Bases are kept in
reduced echelon form, leading bits ascending, so equal spaces have equal bases and `span_array` of a basis ascends.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

IndexArray = NDArray[np.int64]

_TABLE_BITS = 11


def apply(columns: Sequence[int], vector: int) -> int:
    """The image of `vector` under the map with these columns; bits beyond the columns are ignored."""
    image = 0
    for k, column in enumerate(columns):
        if vector >> k & 1:
            image ^= column
    return image


def compose(outer: Sequence[int], inner: Sequence[int]) -> tuple[int, ...]:
    """Columns of the map that applies `inner` first and `outer` after it."""
    return tuple(apply(outer, column) for column in inner)


def reduce(vector: int, basis: Sequence[int]) -> int:
    """The smallest element of the coset of `vector` modulo the span of an echelon basis."""
    for element in reversed(basis):
        if vector >> (element.bit_length() - 1) & 1:
            vector ^= element
    return vector


def echelon(vectors: Iterable[int]) -> tuple[int, ...]:
    """The reduced echelon basis of the span, leading bits ascending; no leading bit occurs in another element."""
    basis: list[int] = []
    for vector in vectors:
        basis = _insert(basis, vector)
    return tuple(basis)


def rank(vectors: Iterable[int]) -> int:
    """Dimension of the span."""
    return len(echelon(vectors))


def contains(basis: Sequence[int], vector: int) -> bool:
    """Whether `vector` lies in the span of an echelon basis."""
    return reduce(vector, basis) == 0


def kernel(columns: Sequence[int]) -> tuple[int, ...]:
    """Echelon basis of the vectors that the map with these columns sends to zero."""
    _, null = _eliminate(columns)
    return echelon(null)


def solve(columns: Sequence[int], target: int) -> int | None:
    """A vector that the map sends to `target`, or None if there is none."""
    pivots, _ = _eliminate(columns)
    solution = 0
    for image, combination in sorted(pivots, reverse=True):
        if target >> (image.bit_length() - 1) & 1:
            target ^= image
            solution ^= combination
    return None if target else solution


def intersection(left: Sequence[int], right: Sequence[int]) -> tuple[int, ...]:
    """Echelon basis of the vectors that lie in both spans."""
    relations = kernel((*left, *right))
    return echelon(apply(left, relation) for relation in relations)


def complement(space: Iterable[int], inside: Iterable[int]) -> tuple[int, ...]:
    """Those of the vectors `space`, taken in order, that extend the span of `inside` to the span of both."""
    basis = list(echelon(inside))
    chosen: list[int] = []
    for vector in space:
        larger = _insert(basis, vector)
        if len(larger) > len(basis):
            chosen.append(vector)
            basis = larger
    return tuple(chosen)


def coordinates(basis: Sequence[int]) -> tuple[int, ...]:
    """Columns of a left inverse of independent vectors: it sends the XOR of basis[k] over bits k of c to c.

    The basis need not be in echelon form. Raises ValueError if the vectors depend on each other.
    """
    reduced: list[tuple[int, int]] = []
    for k, vector in enumerate(basis):
        combination = 1 << k
        for element, how in reduced:
            if vector >> (element.bit_length() - 1) & 1:
                vector, combination = vector ^ element, combination ^ how
        if not vector:
            raise ValueError("coordinates need independent vectors")
        lead = vector.bit_length() - 1
        reduced = [(e ^ vector, h ^ combination) if e >> lead & 1 else (e, h) for e, h in reduced]
        reduced.append((vector, combination))
    width = max((element.bit_length() for element, _ in reduced), default=0)
    columns = [0] * width
    for element, combination in reduced:
        columns[element.bit_length() - 1] = combination
    return tuple(columns)


def inverse(columns: Sequence[int]) -> tuple[int, ...] | None:
    """Columns of the inverse of a square map, or None if it is singular or leaves its space."""
    size = len(columns)
    if any(column >> size for column in columns) or rank(columns) < size:
        return None
    return coordinates(columns)


def span_array(basis: Sequence[int], shift: int = 0) -> IndexArray:
    """All elements `shift ^ span(basis)`: entry k is the XOR of basis[b] over the set bits b of k, and of shift.

    int64 of shape [2^len(basis)]; vectors must be below 2^63. The caller bounds the size.
    """
    elements = np.empty(1 << len(basis), dtype=np.int64)
    elements[0] = shift
    for k, vector in enumerate(basis):
        np.bitwise_xor(elements[: 1 << k], np.int64(vector), out=elements[1 << k : 2 << k])
    return elements


def apply_array(columns: Sequence[int], vectors: IndexArray) -> IndexArray:
    """The images of many vectors (int64, any shape) at once; bits beyond the columns are ignored."""
    images = np.zeros_like(vectors)
    for low in range(0, len(columns), _TABLE_BITS):
        table = span_array(columns[low : low + _TABLE_BITS])
        images ^= table[(vectors >> low) & (len(table) - 1)]
    return images


def reduce_array(vectors: IndexArray, basis: Sequence[int]) -> IndexArray:
    """`reduce` of many vectors (int64, any shape) at once, modulo the span of one echelon basis."""
    found = vectors.copy()
    for element in reversed(basis):
        found ^= (found >> (element.bit_length() - 1) & 1) * np.int64(element)
    return found


def parity_array(vectors: IndexArray) -> NDArray[np.uint8]:
    """The parity of the number of set bits of each non-negative entry, 0 or 1."""
    return np.bitwise_count(vectors) & np.uint8(1)


def aligned_windows(count: int) -> tuple[tuple[int, int], ...]:
    """`count` indices from 0 as maximal aligned power-of-two windows (start, length): 12288 = 8192 + 4096."""
    windows: list[tuple[int, int]] = []
    start = 0
    for bit in reversed(range(count.bit_length())):
        if count >> bit & 1:
            windows.append((start, 1 << bit))
            start += 1 << bit
    return tuple(windows)


def _insert(basis: Sequence[int], vector: int) -> list[int]:
    """The reduced echelon basis enlarged by one vector."""
    vector = reduce(vector, basis)
    if not vector:
        return list(basis)
    lead = vector.bit_length() - 1
    cleared = [element ^ vector if element >> lead & 1 else element for element in basis]
    return sorted((*cleared, vector))


def _eliminate(columns: Sequence[int]) -> tuple[list[tuple[int, int]], list[int]]:
    """Images with distinct leading bits and the combination of columns that gives each; combinations that give 0."""
    pivots: dict[int, tuple[int, int]] = {}
    null: list[int] = []
    for k, image in enumerate(columns):
        combination = 1 << k
        while image and (found := pivots.get(image.bit_length())):
            image, combination = image ^ found[0], combination ^ found[1]
        if image:
            pivots[image.bit_length()] = (image, combination)
        else:
            null.append(combination)
    return list(pivots.values()), null
