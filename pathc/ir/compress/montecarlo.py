"""Monte Carlo quantization: integer weights by sampling a discrete density, in linear time.

N samples x_i of [0, 1) fall into cells as long as the magnitudes of the weights; the number that falls into a cell is
the magnitude of its integer weight. With samples at equal distances no search is needed: the count of a cell is the
difference of a rounded cumulative sum at its ends.

Such samples hand on what they round: what one cell is given too much, the next is given too little. Positive weights
lie in front of negative ones, so that between any two weights of one sign the sums are right within one sample.
Otherwise half of what is handed on would change its sign with the weight, and errors would add up in the sums of a
unit. Source: Mordido, Van Keirsbilck, Keller, Monte Carlo Gradient Quantization and Instant Quantization of Neural
Networks using Monte Carlo Methods (MCQ), 2019.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from pathc.ir.generators.hashing import hash64, hash_stream

Sampling = Literal["systematic", "stratified", "sobol", "independent"]
SAMPLINGS: tuple[str, ...] = get_args(Sampling)
"""systematic: (i + xi) / N with one random xi; stratified: one random number for each i; sobol: the first N points of
the base-2 sequence with a digital shift; independent: pseudo-random."""

Counts = NDArray[np.int64]
Steps = Callable[[NDArray[np.float64]], NDArray[np.float64]]
_CHUNK = 1 << 15
_FRACTION = 2.0**-53


def sample_counts(
    values: NDArray[Any], samples: int, sampling: Sampling = "systematic", seed: int = 0
) -> NDArray[np.signedinteger[Any]]:
    """Integers q of the signs of `values` [n] with sum |q| = samples, in proportion to the magnitudes.

    With systematic and Sobol' samples of a power of two |q - samples * values / sum |values|| < 1, with stratified
    ones < 2. The type is the narrowest of int8, int16, int32, int64 that holds them. Linear in time; takes 8 bytes a
    value at most. All values must be finite, and one of them not zero.
    """
    if sampling == "independent":
        return _independent(values, samples, seed)
    cells = _Cells(values, samples, sampling, seed)
    result: NDArray[np.signedinteger[Any]] = np.empty(len(values), dtype=np.int8)
    for start in range(0, len(values), _CHUNK):
        part = values[start : start + _CHUNK]
        found = cells.counts(part)
        result = _wide_enough(result, int(found.max()))
        np.copysign(found, part, out=found, casting="same_kind")
        result[start : start + _CHUNK] = found
    cells.give_rest(values, result)
    return result


def sample_weights(
    values: NDArray[Any], samples: int, sampling: Sampling = "systematic", seed: int = 0
) -> NDArray[np.signedinteger[Any]]:
    """The same as `sample_counts`, with all positive values in front of the negative ones."""
    if sampling == "independent":
        return _independent(values, samples, seed)
    cells = _Cells(values, samples, sampling, seed)
    result: NDArray[np.signedinteger[Any]] = np.empty(len(values), dtype=np.int8)
    for sign in (1, -1):
        for start in range(0, len(values), _CHUNK):
            part = values[start : start + _CHUNK]
            own = np.flatnonzero(np.signbit(part) == (sign < 0))
            if len(own):
                found = cells.counts(part[own])
                result = _wide_enough(result, int(found.max()))
                result[start : start + _CHUNK][own] = sign * found
    cells.give_rest(values, result)
    return result


def _independent(values: NDArray[Any], samples: int, seed: int) -> NDArray[np.signedinteger[Any]]:
    sizes = np.abs(values, dtype=np.float64)
    drawn = np.random.default_rng(seed).multinomial(samples, sizes / _norm(values))
    return _narrow(np.where(values < 0, -drawn, drawn))


def _norm(values: NDArray[Any]) -> float:
    parts = (values[start : start + _CHUNK] for start in range(0, len(values), _CHUNK))
    return math.fsum(float(np.sum(np.abs(part), dtype=np.float64)) for part in parts)


class _Cells:
    """Cells of [0, 1) as long as the magnitudes of values, laid one behind the other as they come."""

    def __init__(self, values: NDArray[Any], samples: int, sampling: Sampling, seed: int) -> None:
        self.samples = samples
        self._scale, self._steps = samples / _norm(values), _steps(sampling, samples, seed)
        self._ends, self._counts = np.empty(_CHUNK), np.empty(_CHUNK)
        self._carried = self._before = 0.0

    def counts(self, part: NDArray[Any]) -> NDArray[np.float64]:
        """Samples in each of the next cells; the array is used again."""
        upto, found = self._ends[: len(part)], self._counts[: len(part)]
        np.abs(part, out=upto, dtype=np.float64, casting="unsafe")
        upto[0] += self._carried
        np.cumsum(upto, out=upto)
        self._carried = float(upto[-1])
        upto *= self._scale
        np.minimum(upto, self.samples, out=upto)
        after = self._steps(upto)
        np.subtract(after[1:], after[:-1], out=found[1:])
        found[0] = after[0] - self._before
        self._before = float(after[-1])
        return found

    def give_rest(self, values: NDArray[Any], result: NDArray[np.signedinteger[Any]]) -> None:
        """Hand samples that rounding left over to the last value that is not zero."""
        missing = self.samples - int(self._before)
        if missing > 0:
            last = int(np.flatnonzero(values)[-1])
            result[last] += missing if values[last] > 0 else -missing


def sample_groups(
    expected: NDArray[np.float64],
    groups: Counts,
    sampling: Sampling = "systematic",
    seed: int = 0,
    negative: NDArray[np.bool_] | None = None,
) -> Counts:
    """Counts [n] whose sums over each group are those of `expected` (whole numbers), and which are near it.

    `expected` [n] is not negative, `groups` [n] numbers the group of each from 0; those that are `negative` [n] lie
    behind the others of their group.
    """
    order = np.argsort(groups, kind="stable") if negative is None else np.lexsort((negative, groups))
    sorted_groups, values = groups[order], expected[order]
    if sampling in ("independent", "sobol"):
        parts = [
            _one_group(part, sampling, hash64(seed, number)) for number, part in enumerate(_runs(values, sorted_groups))
        ]
        counts = np.concatenate([np.zeros(0), *parts])
    else:
        counts = _group_counts(values, sorted_groups, sampling, seed)
    result = np.empty(len(values), dtype=np.int64)
    result[order] = counts
    return result


def _group_counts(values: NDArray[np.float64], groups: Counts, sampling: Sampling, seed: int) -> Counts:
    """Differences of the rounded cumulative sum, which is exact at the last value of each group that is not zero."""
    if not values.size:
        return np.zeros(0, dtype=np.int64)
    starts = np.flatnonzero(np.diff(groups, prepend=-1))
    totals = np.rint(np.add.reduceat(values, starts))
    ends = np.repeat(np.cumsum(totals), np.diff(starts, append=len(values)))
    begins = np.repeat(np.cumsum(totals) - totals, np.diff(starts, append=len(values)))
    index = np.where(values > 0, np.arange(len(values)), -1)
    last = np.repeat(np.maximum.reduceat(index, starts), np.diff(starts, append=len(values)))
    upto = np.cumsum(values)
    offsets = np.repeat(upto[starts] - values[starts], np.diff(starts, append=len(values)))
    places = np.clip(begins + (upto - offsets), begins, ends)
    places = np.where((np.arange(len(values)) >= last) & (last >= 0), ends, places)
    return np.diff(_steps(sampling, int(totals.sum()), seed)(places), prepend=0).astype(np.int64)


def _one_group(part: NDArray[np.float64], sampling: Sampling, seed: int) -> Counts:
    total = round(float(part.sum()))
    if total == 0:
        return np.zeros(len(part), dtype=np.int64)
    return sample_counts(part, total, sampling, seed).astype(np.int64)


def _runs(values: NDArray[np.float64], groups: Counts) -> list[NDArray[np.float64]]:
    return np.split(values, np.flatnonzero(np.diff(groups)) + 1)


def _steps(sampling: Sampling, samples: int, seed: int) -> Steps:
    """The number of samples below t / samples, for t in [0, samples]; never falls, 0 at 0 and `samples` at the end."""
    if sampling == "stratified":
        return lambda t: _stratified(t, seed)
    if sampling == "sobol":
        return _sobol(samples, seed)
    shift = (hash64(seed, 0) >> 11) * _FRACTION
    return lambda t: np.ceil(np.subtract(t, shift, out=t), out=t)


def _stratified(t: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
    if not t.size:
        return t
    whole = np.floor(t)
    index = whole.astype(np.int64)
    first = int(index[0])
    stream = hash_stream(hash64(seed, 2), first, int(index[-1]) + 1)
    jitter = (stream[index - first] >> np.uint64(11)).astype(np.float64) * _FRACTION
    return whole + (jitter < t - whole)


def _sobol(samples: int, seed: int) -> Steps:
    """Counts of the first points of the base-2 radical inverse, digitally shifted: aligned windows are equidistant."""
    shift = hash64(seed, 1) >> 12
    windows: list[tuple[int, float]] = []
    start = 0
    for power in range(samples.bit_length() - 1, -1, -1):
        if samples >> power & 1:
            below = (_reversed(start) ^ shift) & ((1 << (52 - power)) - 1)
            windows.append((1 << power, below / (1 << (52 - power))))
            start += 1 << power

    def count(t: NDArray[np.float64]) -> NDArray[np.float64]:
        total = np.zeros(t.shape)
        for size, rest in windows:
            total += np.clip(np.ceil(t * (size / samples) - rest), 0, size)
        return total

    return count


def _reversed(index: int) -> int:
    """The 52 low bits of an index in reverse."""
    return int(format(index, "052b")[::-1], 2)


def _wide_enough(result: NDArray[np.signedinteger[Any]], largest: int) -> NDArray[np.signedinteger[Any]]:
    if largest < np.iinfo(result.dtype).max:
        return result
    return result.astype(next(t for t in (np.int16, np.int32, np.int64) if largest < np.iinfo(t).max))


def _narrow(counts: Counts) -> NDArray[np.signedinteger[Any]]:
    """The integers in the narrowest type that holds them."""
    return counts.astype(_wide_enough(np.zeros(0, dtype=np.int8), int(np.abs(counts).max(initial=0))).dtype)
