"""What Stone, Parallel Processing with the Perfect Shuffle (1971), does on one network, every wire of it as drawn
by the `shuffle` generator: position p of one visit is joined to position rotl(p) of the next.
"""

import numpy as np
import pytest

from pathc.ir.generators import make
from pathc.ir.schedule import Banks, build
from pathc.ir.types import Call

SIZES = [2, 4, 16, 128]


def shuffled(values, times=1):
    """Values moved along `times` junctions of the network of len(values) paths, from every unit to the next one."""
    n = len(values)
    paths = make(Call("shuffle"), tuple(range(times + 1)), (n,) * (times + 1), n)
    for junction in range(1, times + 1):
        source, destination = paths.units(junction - 1, 0, n), paths.units(junction, 0, n)
        moved = np.empty_like(values)
        moved[destination] = values[source]
        values = moved
    return values


def exchanged(values, rule):
    """Neighbours 2k and 2k + 1 put through `rule`."""
    upper, lower = rule(values[0::2], values[1::2])
    result = np.empty_like(values)
    result[0::2], result[1::2] = upper, lower
    return result


def bits_of(n):
    return n.bit_length() - 1


@pytest.mark.parametrize("n", SIZES)
def test_log_n_shuffles_change_nothing(n):
    assert shuffled(np.arange(n), bits_of(n)).tolist() == list(range(n))


def test_one_shuffle_of_eight_cards():
    assert shuffled(np.arange(8)).tolist() == [0, 4, 1, 5, 2, 6, 3, 7]


@pytest.mark.parametrize(("rows", "columns"), [(1, 8), (2, 4), (4, 4), (16, 8)])
def test_transposition(rows, columns):
    matrix = np.arange(rows * columns)
    transposed = shuffled(matrix, bits_of(rows)) if rows > 1 else matrix
    assert transposed.tolist() == matrix.reshape(rows, columns).T.reshape(-1).tolist()


@pytest.mark.parametrize("n", SIZES)
def test_fourier_transform(n):
    """Every stage is a shuffle, a butterfly of neighbours, and a twiddle factor (Pease 1968); order bit-reversed."""
    x = np.random.default_rng(n).normal(size=(n, 2)) @ (1, 1j)
    values = x.copy()
    pair = np.arange(n // 2)
    for stage in range(bits_of(n)):
        values = shuffled(values)
        twiddle = np.exp(-2j * np.pi * (pair >> stage << stage) / n)
        values = exchanged(values, lambda a, b, w=twiddle: (a + b, (a - b) * w))
    order = np.array([int(f"{k:0{bits_of(n)}b}"[::-1], 2) for k in range(n)])
    np.testing.assert_allclose(values[order], np.fft.fft(x), atol=1e-11)


@pytest.mark.parametrize("n", SIZES)
def test_bitonic_sorting(n):
    """log n merges of log n shuffles each; the first shuffles of a merge only carry values into place."""
    bits = bits_of(n)
    for seed in range(5):
        values = np.random.default_rng(seed).integers(0, n, n)
        expected = sorted(values.tolist())
        index = np.arange(n)
        for merge in range(1, bits + 1):
            for step in range(bits):
                values, index = shuffled(values), shuffled(index)
                if step < bits - merge:
                    continue
                descending = (index[0::2] >> merge & 1).astype(bool)
                values = exchanged(
                    values,
                    lambda a, b, d=descending: (
                        np.where(d, np.maximum(a, b), np.minimum(a, b)),
                        np.where(d, np.minimum(a, b), np.maximum(a, b)),
                    ),
                )
        assert values.tolist() == expected


@pytest.mark.parametrize("n", SIZES)
def test_polynomial_evaluation(n):
    """Powers of x by one masked product per shuffle, then sums of neighbours."""
    rng = np.random.default_rng(n)
    coefficients, x = rng.normal(size=n), 0.9
    values, mask = coefficients.copy(), np.arange(n)
    for bit in reversed(range(bits_of(n))):
        values, mask = shuffled(values), shuffled(mask)
        factor = x ** (1 << bit)
        values = exchanged(values, lambda a, b, f=factor: (a, b * f))
        assert (mask[1::2] >> bit & 1).all()
    for _ in range(bits_of(n)):
        values = exchanged(shuffled(values), lambda a, b: (a + b, a + b))
    np.testing.assert_allclose(values, np.polyval(coefficients[::-1], x), rtol=1e-11)


@pytest.mark.parametrize("n", [16, 128])
def test_banks_have_to_be_the_bits_that_tell_lanes_apart(n):
    """The low bits of an aligned block's index at the first visit, carried to the top by shuffles at the second."""
    paths = make(Call("shuffle"), (0, bits_of(n) - 3), (n, n), n)
    found = build("blocks", paths, 1, 8, Banks(n, 8, "low"), Banks(n, 8, "high")).verdict()
    assert found.clash_free
    assert not build("blocks", paths, 1, 8, Banks(n, 8, "high"), Banks(n, 8, "high")).verdict().clash_free
