"""Seeded randomness that is the same on every machine and in every version: counters put through a 64-bit mix."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_MASK = (1 << 64) - 1
_STEP = 0x9E3779B97F4A7C15
_FIRST, _SECOND = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB


def hash64(*keys: int) -> int:
    """64 bits that depend on all keys and their order."""
    state = 0
    for key in keys:
        state = _mix((state ^ (key & _MASK)) + _STEP)
    return state


def hash_stream(key: int, start: int, stop: int) -> NDArray[np.uint64]:
    """Element k is the SplitMix64 output number k of the stream `key`, k = start .. stop-1: uint64 of shape
    [stop - start]. Source: Steele, Lea, Flood, Fast Splittable Pseudorandom Number Generators (2014).
    """
    x = np.arange(start, stop, dtype=np.uint64)
    x += np.uint64(1)
    x *= np.uint64(_STEP)
    x += np.uint64(key)
    x ^= x >> np.uint64(30)
    x *= np.uint64(_FIRST)
    x ^= x >> np.uint64(27)
    x *= np.uint64(_SECOND)
    x ^= x >> np.uint64(31)
    return x


def permutations(rows: int, length: int, *keys: int) -> NDArray[np.int64]:
    """Independent random permutations of 0 .. length-1: int64 of shape [rows, length].

    The index rides in the low bits of the hash it is ranked by, which makes ties impossible and sorting fast.
    """
    index = np.uint64((1 << (length - 1).bit_length()) - 1)
    ranks = hash_stream(hash64(*keys), 0, rows * length).reshape(rows, length)
    ranks &= ~index
    ranks |= np.arange(length, dtype=np.uint64)
    ranks.sort(axis=1)
    ranks &= index
    return ranks.view(np.int64)


def integers(shape: tuple[int, ...], bound: int, *keys: int) -> NDArray[np.int64]:
    """Independent uniform integers in 0 .. bound-1, bound <= 2^32: int64 of the given shape."""
    return scale_to(hash_stream(hash64(*keys), 0, int(np.prod(shape))), bound).reshape(shape)


def scale_to(bits: NDArray[np.uint64], bound: int) -> NDArray[np.int64]:
    """The upper 32 of 64 bits as a fraction, times `bound` <= 2^32, rounded down: int64 of the same shape."""
    return (((bits >> np.uint64(32)) * np.uint64(bound)) >> np.uint64(32)).view(np.int64)


def _mix(x: int) -> int:
    x &= _MASK
    x = ((x ^ x >> 30) * _FIRST) & _MASK
    x = ((x ^ x >> 27) * _SECOND) & _MASK
    return x ^ x >> 31
