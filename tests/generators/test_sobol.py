import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import qmc

from pathc.ir.generators.sobol import SCRAMBLES, Sobol, dimensions, generator_matrix
from pathc.support.diagnostics import PathcError

# Joe and Kuo (2008), D(6): floor(16 x) of the first sixteen points in natural order, dimensions 0 to 7
GOLDEN = """
0 8 4 12 2 10 6 14 1 9 5 13 3 11 7 15
0 8 12 4 10 2 6 14 15 7 3 11 5 13 9 1
0 8 12 4 6 14 10 2 9 1 5 13 15 7 3 11
0 8 12 4 2 10 14 6 5 13 9 1 7 15 11 3
0 8 4 12 2 10 6 14 11 3 15 7 9 1 13 5
0 8 4 12 6 14 2 10 3 11 7 15 5 13 1 9
0 8 12 4 10 2 6 14 13 5 1 9 7 15 11 3
0 8 4 12 10 2 14 6 5 13 1 9 15 7 11 3
"""


def gray(index):
    return index ^ index >> 1


def distinct_edges(dims, sizes, count, **options):
    sobol = Sobol(dims, sizes, count, **options)
    units = [sobol.units(v, 0, count) for v in range(len(dims))]
    return [len(np.unique(a * n + b)) for a, b, n in zip(units, units[1:], sizes[1:], strict=False)]


def test_first_sixteen_points_are_the_golden_ones():
    sobol = Sobol(tuple(range(8)), (16,) * 8, 16)
    rows = [[int(u) for u in row.split()] for row in GOLDEN.split("\n") if row]
    assert [sobol.units(v, 0, 16).tolist() for v in range(8)] == rows


def test_every_dimension_equals_scipy_in_gray_code_order():
    count = 1024
    points = qmc.Sobol(dimensions(), scramble=False, bits=32).random(count)
    expected = (points * 2.0**32).astype(np.int64)
    columns = np.array([generator_matrix(d)[:10] for d in range(dimensions())], np.int64)
    index = gray(np.arange(count))
    natural = np.zeros((count, dimensions()), np.int64)
    for k in range(10):
        natural ^= (index >> k & 1)[:, None] * columns[:, k]
    assert dimensions() >= 1024
    np.testing.assert_array_equal(natural, expected)


def test_high_columns_of_every_dimension_equal_scipy():
    first, count = (1 << 17) - 8, 32
    engine = qmc.Sobol(dimensions(), scramble=False, bits=32)
    engine.fast_forward(first)
    expected = (engine.random(count) * 2.0**32).astype(np.int64)
    index = gray(np.arange(first, first + count))
    columns = np.array([generator_matrix(d)[:18] for d in range(dimensions())], np.int64)
    natural = np.zeros((count, dimensions()), np.int64)
    for k in range(18):
        natural ^= (index >> k & 1)[:, None] * columns[:, k]
    np.testing.assert_array_equal(natural, expected)


def test_units_equal_scipy_for_a_size_that_is_no_power_of_two():
    count, size, dims = 1 << 12, 784, (0, 1, 5, 40, 1000, 4095)
    points = qmc.Sobol(dimensions(), scramble=False, bits=32).random(count)[:, dims]
    expected = np.floor(points * size).astype(np.int64)
    sobol = Sobol(dims, (size,) * len(dims), count)
    order = gray(np.arange(count))
    for v in range(len(dims)):
        np.testing.assert_array_equal(sobol.units(v, 0, count)[order], expected[:, v])


def test_matrices_are_upper_triangular_with_unit_diagonal():
    for dim in range(dimensions()):
        matrix = generator_matrix(dim)
        assert all(column & (1 << 32 - k) - 1 == 1 << 31 - k for k, column in enumerate(matrix[:32]))


@pytest.mark.parametrize("scramble", SCRAMBLES)
def test_aligned_blocks_are_permutations(scramble):
    for m in (1, 3, 5, 8):
        size = 1 << m
        sobol = Sobol(tuple(range(64)), (size,) * 64, 4 * size, scramble, seed=3)
        for v in range(64):
            blocks = np.sort(sobol.units(v, 0, 4 * size).reshape(4, size), axis=1)
            assert (blocks == np.arange(size)).all()


@pytest.mark.parametrize("scramble", SCRAMBLES)
def test_the_first_half_of_twice_the_paths_are_the_paths(scramble):
    small, large = (Sobol((0, 7), (300, 64), count, scramble, seed=1) for count in (1024, 2048))
    for v in range(2):
        np.testing.assert_array_equal(small.units(v, 0, 1024), large.units(v, 0, 1024))


def test_distinct_edges_of_consecutive_dimensions():
    assert distinct_edges(tuple(range(7)), (32,) * 7, 1024) == [1024, 1024, 512, 1024, 1024, 512]


@pytest.mark.parametrize(
    ("count", "edges"),
    [(1024, [1024, 1024, 904]), (4096, [4096, 4096, 2714]), (16384, [16340, 16196, 3000])],
)
def test_distinct_edges_of_a_digit_classifier(count, edges):
    assert distinct_edges((0, 1, 2, 3), (784, 300, 300, 10), count) == edges


@pytest.mark.parametrize("scramble", ["shift", "lms", "owen"])
def test_scrambling_keeps_the_quality_of_pairs(scramble):
    assert distinct_edges((0, 1), (32, 32), 1024, scramble=scramble, seed=5) == [1024]


@pytest.mark.parametrize("scramble", SCRAMBLES)
def test_every_size_is_covered_evenly(scramble):
    for size in (1, 3, 10, 300, 784, 1000):
        sobol = Sobol((2,), (size,), 4096, scramble, seed=9)
        counts = np.bincount(sobol.units(0, 0, 4096), minlength=size)
        # one point in each interval of 1/4096: plain points are the lower ends, scrambled ones stray at both borders
        stray = 0 if scramble == "none" else 1
        assert counts.min() >= 4096 // size - stray
        assert counts.max() <= -(-4096 // size) + stray


@given(
    st.sampled_from(SCRAMBLES),
    st.sampled_from([1, 2, 7, 256, 784, 1 << 20]),
    st.integers(0, 3),
    st.integers(0, 100_000),
    st.data(),
)
def test_windows_do_not_depend_on_how_they_are_split(scramble, size, dim, skip, data):
    count = 70_000
    sobol = Sobol((dim,), (size,), count, scramble, seed=11, skip=skip)
    start, middle, stop = sorted(data.draw(st.lists(st.integers(0, count), min_size=3, max_size=3)))
    whole = sobol.units(0, start, stop)
    parts = [sobol.units(0, start, middle), sobol.units(0, middle, stop)]
    assert whole.dtype == np.int64
    np.testing.assert_array_equal(whole, np.concatenate(parts))
    if start < stop:
        assert whole[-1] == sobol.units(0, stop - 1, stop)[0]


@given(
    st.sampled_from(["none", "shift", "lms"]),
    st.integers(0, 12),
    st.integers(0, 200),
    st.integers(1, 5000),
    st.integers(0, 3),
    st.integers(0, 2**64 - 1),
    st.data(),
)
def test_affine_map_equals_units(scramble, exponent, dim, count, blocks, seed, data):
    skip = blocks << (count - 1).bit_length()
    sobol = Sobol((dim,), (1 << exponent,), count, scramble, seed, skip)
    affine = sobol.affine(0)
    assert affine is not None
    assert len(affine.columns) == (count - 1).bit_length()
    start = data.draw(st.integers(0, count - 1))
    stop = min(count, start + 40)
    assert sobol.units(0, start, stop).tolist() == [affine(i) for i in range(start, stop)]


def test_affine_map_is_absent_where_the_paths_are_not_linear():
    assert Sobol((0,), (300,), 1024).affine(0) is None
    assert Sobol((0,), (256,), 1024, "owen").affine(0) is None
    assert Sobol((0,), (256,), 1024, skip=512).affine(0) is None
    assert Sobol((0,), (256,), 1024, skip=2048).affine(0) is not None
    assert Sobol((0,), (256,), 1000, skip=1024).affine(0) is not None


def test_a_single_unit_and_a_single_path():
    sobol = Sobol((3,), (1,), 6)
    assert sobol.units(0, 0, 6).tolist() == [0] * 6
    assert sobol.affine(0).columns == (0, 0, 0)
    assert Sobol((3,), (8,), 1).affine(0).columns == ()
    assert Sobol((3,), (8,), 1).units(0, 0, 1).tolist() == [0]
    assert sobol.units(0, 2, 2).tolist() == []


def test_skip_leaves_out_the_first_points():
    plain, skipped = Sobol((4,), (77,), 200), Sobol((4,), (77,), 100, skip=33)
    np.testing.assert_array_equal(skipped.units(0, 0, 100), plain.units(0, 33, 133))


def test_indices_beyond_32_bits_stay_exact():
    count = 1 << 40
    sobol = Sobol((5,), (1 << 20,), count, "lms", seed=2)
    affine = sobol.affine(0)
    start = (1 << 39) + (1 << 33) + 12345
    assert sobol.units(0, start, start + 50).tolist() == [affine(i) for i in range(start, start + 50)]
    block = Sobol((5,), (256,), count).units(0, 1 << 36, (1 << 36) + 256)
    assert sorted(block.tolist()) == list(range(256))
    assert len({tuple(Sobol((5,), (256,), count).units(0, k << 34, (k << 34) + 9)) for k in range(9)}) > 1


def test_an_owen_flip_depends_only_on_the_bits_above():
    count = 1 << 10
    plain = Sobol((6,), (1 << 10,), count).units(0, 0, count)
    scrambled = Sobol((6,), (1 << 10,), count, "owen", seed=4).units(0, 0, count)
    for bits in range(1, 11):
        above, flip = plain >> 11 - bits, (plain ^ scrambled) >> 10 - bits & 1
        assert all(len(np.unique(flip[above == node])) == 1 for node in range(1 << bits - 1))


def test_owen_flips_are_fair_and_pairwise_independent_over_seeds():
    seeds = 400
    flips = np.array(
        [
            Sobol((0,), (64,), 64, "owen", seed).units(0, 0, 64) ^ Sobol((0,), (64,), 64).units(0, 0, 64)
            for seed in range(seeds)
        ]
    )
    order = np.argsort(Sobol((0,), (64,), 64).units(0, 0, 64))
    last_bit = 1.0 - 2.0 * (flips[:, order[::2]] & 1)
    # 32 means and 496 correlations of 400 fair coins: six standard deviations stay below 0.3
    assert np.abs(last_bit.mean(axis=0)).max() < 0.3
    correlation = last_bit.T @ last_bit / seeds - np.eye(32)
    assert np.abs(correlation).max() < 0.3


def test_scrambling_depends_on_seed_and_dimension_only():
    first = Sobol((3, 8, 3), (64,) * 3, 128, "lms", seed=1)
    np.testing.assert_array_equal(first.units(0, 0, 128), first.units(2, 0, 128))
    other = Sobol((3, 8, 3), (64,) * 3, 128, "lms", seed=2)
    assert (first.units(0, 0, 128) != other.units(0, 0, 128)).any()


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (((0,), (0,), 4), "E0341"),
        (((0,), ((1 << 32) + 1,), 4), "E0341"),
        (((0,), (4,), 0), "E0341"),
        (((0,), (4,), 1 << 63), "E0341"),
        (((0,), (4,), 1 << 62, "none", 0, 1), "E0341"),
        (((1 << 15,), (4,), 4), "E0345"),
        (((-1,), (4,), 4), "E0345"),
    ],
)
def test_what_cannot_be_counted_is_refused(arguments, code):
    with pytest.raises(PathcError, match=code):
        Sobol(*arguments)


@pytest.mark.parametrize("window", [(-1, 2), (3, 2), (0, 9), (0, 1 << 40)])
def test_windows_outside_the_paths_are_refused(window):
    with pytest.raises(PathcError, match="E0342"):
        Sobol((0,), (4,), 8).units(0, *window)


def test_windows_beyond_memory_are_refused():
    with pytest.raises(PathcError, match=r"E0342.*more than 2\^30"):
        Sobol((0,), (4,), 1 << 40).units(0, 0, 1 << 39)
