from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pathc.ir.generators import make
from pathc.ir.generators.expander import Expander
from pathc.ir.generators.explicit import Explicit
from pathc.ir.generators.hashing import hash64, hash_stream, integers, permutations
from pathc.ir.generators.random import Random
from pathc.ir.generators.shuffle import Shuffle
from pathc.ir.types import Call
from pathc.support.diagnostics import PathcError


def edges(generator, junction, count):
    return list(
        zip(generator.units(junction - 1, 0, count).tolist(), generator.units(junction, 0, count).tolist(), strict=True)
    )


def test_hash_stream_is_splitmix64():
    # Steele, Lea, Flood (2014): first outputs of the generator seeded with 1234567
    expected = [6457827717110365317, 3203168211198807973, 9817491932198370423]
    assert hash_stream(1234567, 0, 3).tolist() == expected
    assert hash_stream(1234567, 1, 3).tolist() == expected[1:]


def test_hashes_depend_on_every_key_and_their_order():
    assert len({hash64(), hash64(0), hash64(0, 0), hash64(1, 2), hash64(2, 1)}) == 5
    assert hash64(0, 1) == hash64(1 << 64, 1)


def test_hashed_permutations_and_integers():
    rows = permutations(50, 7, 3)
    assert (np.sort(rows, axis=1) == np.arange(7)).all()
    assert len(np.unique(rows, axis=0)) > 40
    draws = integers((100, 100), 5, 8)
    assert draws.shape == (100, 100)
    # 10^4 draws over five values: 2000 each, standard deviation 40
    assert np.abs(np.bincount(draws.ravel(), minlength=5) - 2000).max() < 200


@given(st.integers(1, 1 << 32), st.integers(0, 2**64 - 1), st.integers(0, 1 << 62), st.integers(0, 300))
def test_random_units_do_not_depend_on_the_window(size, seed, start, length):
    start = min(start, (1 << 62) - length)
    random = Random((4,), (size,), 1 << 62, seed)
    whole = random.units(0, start, start + length)
    middle = start + length // 3
    np.testing.assert_array_equal(
        whole, np.concatenate([random.units(0, start, middle), random.units(0, middle, start + length)])
    )
    assert ((whole >= 0) & (whole < size)).all()


def test_random_units_are_uniform_and_independent_between_dimensions_and_seeds():
    count = 100_000
    random = Random((0, 1), (10, 10), count, seed=1)
    pairs = random.units(0, 0, count) * 10 + random.units(1, 0, count)
    # chi-square with 99 degrees of freedom: mean 99, standard deviation 14
    observed = np.bincount(pairs, minlength=100)
    assert 40 < ((observed - 1000) ** 2 / 1000).sum() < 170
    other = Random((0,), (10,), count, seed=2).units(0, 0, count)
    assert 0.09 < (other == random.units(0, 0, count)).mean() < 0.11


def test_random_windows_longer_than_a_block():
    random = Random((0,), (1000,), 100_000, seed=1)
    np.testing.assert_array_equal(random.units(0, 0, 100_000)[16_000:50_000], random.units(0, 16_000, 50_000))
    assert random.affine(0) is None


def test_shuffle_rotates_the_index():
    shuffle = Shuffle((0, 1, 2, 3), (8,) * 4, 8)
    assert shuffle.units(0, 0, 8).tolist() == list(range(8))
    # Stone (1971): 2i in the lower half, 2i + 1 - N in the upper
    assert shuffle.units(1, 0, 8).tolist() == [0, 2, 4, 6, 1, 3, 5, 7]
    np.testing.assert_array_equal(shuffle.units(2, 0, 8), shuffle.units(1, 0, 8)[shuffle.units(1, 0, 8)])
    assert shuffle.units(3, 0, 8).tolist() == list(range(8))


def test_two_shuffles_transpose_a_matrix_of_four_rows():
    positions = Shuffle((2,), (32,), 32).units(0, 0, 32)
    matrix = np.arange(32).reshape(4, 8)
    transposed = np.empty(32, np.int64)
    transposed[positions] = matrix.ravel()
    np.testing.assert_array_equal(transposed.reshape(8, 4), matrix.T)


def test_shuffle_of_half_as_many_units_is_an_omega_network():
    shuffle = Shuffle((0, 1, 2, 3), (8,) * 4, 16)
    sources = [{0}]
    for j in (1, 2, 3):
        sources.append({v for u, v in edges(shuffle, j, 16) if u in sources[-1]})
    assert [len(s) for s in sources] == [1, 2, 4, 8]


@given(st.integers(0, 12), st.integers(0, 14), st.integers(0, 30))
def test_shuffle_is_linear(bits, exponent, dim):
    shuffle = Shuffle((dim,), (1 << exponent,), 1 << bits)
    affine = shuffle.affine(0)
    assert len(affine.columns) == bits
    assert shuffle.units(0, 0, 1 << bits).tolist() == [affine(i) for i in range(1 << bits)]


def test_shuffle_of_other_sizes_is_balanced_and_not_linear():
    shuffle = Shuffle((3,), (10,), 64)
    assert shuffle.affine(0) is None
    assert set(np.bincount(shuffle.units(0, 0, 64))) == {6, 7}


def test_shuffle_needs_a_power_of_two():
    with pytest.raises(PathcError, match="E0343") as caught:
        Shuffle((0,), (8,), 12)
    assert caught.value.diagnostics[0].help == "count = 8 or 16"
    with pytest.raises(PathcError, match="E0341"):
        Shuffle((0,), (8,), 1 << 32)


@given(st.integers(1, 12), st.integers(1, 12), st.integers(1, 12), st.integers(1, 6), st.integers(0, 1000))
def test_expanders_are_regular_and_repeat_no_edge_where_they_need_not(a, b, c, factor, seed):
    count = int(np.lcm.reduce([a, b, c])) * factor
    expander = Expander((0, 1, 2), (a, b, c), count, seed)
    for visit, size in enumerate((a, b, c)):
        assert set(np.bincount(expander.units(visit, 0, count), minlength=size)) == {count // size}
    for j, (n_left, n_right) in enumerate(((a, b), (b, c)), start=1):
        pairs = edges(expander, j, count)
        assert max(map(pairs.count, set(pairs))) == -(-count // (n_left * n_right))


def test_expanders_reach_every_unit_soon_and_differ_by_seed():
    count = 256 * 4
    expander = Expander(tuple(range(8)), (256,) * 8, count, seed=1)
    reached = {0}
    for j in range(1, 8):
        reached = {v for u, v in edges(expander, j, count) if u in reached}
    assert len(reached) == 256
    assert edges(expander, 1, count) != edges(Expander((0, 1), (256,) * 2, count, seed=2), 1, count)
    assert edges(expander, 1, count) == edges(Expander((0, 1), (256,) * 2, count, seed=1), 1, count)


def test_an_expander_forgets_the_graph_it_starts_from():
    # a random bipartite graph of degree 8 on 256 + 256 units: two left units share 8 * 8 / 256 = 1/4 right ones
    count = 256 * 8
    expander = Expander((0, 1), (256, 256), count, seed=5)
    matrix = np.zeros((256, 256), np.int64)
    matrix[expander.units(0, 0, count), expander.units(1, 0, count)] = 1
    common = matrix @ matrix.T - 8 * np.eye(256, dtype=np.int64)
    assert common.max() <= 5
    second = np.sort(np.linalg.svd(matrix / 8.0, compute_uv=False))[-2]
    assert second < 0.75  # near the bound 2 sqrt(7) / 8 = 0.66 of the best expanders


def test_expanders_need_counts_that_fit_and_memory():
    with pytest.raises(PathcError, match="E0343"):
        Expander((0, 1), (4, 6), 16)
    with pytest.raises(PathcError, match=r"E0341.*keeps its paths in memory"):
        Expander((0, 1), (4, 4), 1 << 27)


def test_explicit_paths_in_one_array_or_one_per_visit(tmp_path):
    units = np.array([[0, 1, 2, 3], [1, 0, 1, 0]], np.uint8)
    np.savez(tmp_path / "one.npz", units=units)
    np.savez_compressed(tmp_path / "each.npz", visit0=units[0], visit1=units[1].astype(">i4"))
    for name in ("one.npz", "each.npz"):
        explicit = Explicit(tmp_path / name, (4, 2), 4)
        assert explicit.units(0, 1, 4).tolist() == [1, 2, 3]
        assert explicit.units(1, 0, 4).dtype == np.int64
        assert explicit.units(1, 0, 4).tolist() == [1, 0, 1, 0]
        assert explicit.affine(0) is None


def test_lines_of_explicit_paths_share_a_file_by_dimensions(tmp_path):
    units = np.array([[0, 1, 2, 3], [1, 0, 1, 0], [2, 2, 0, 1]], np.uint8)
    np.savez(tmp_path / "one.npz", units=units)
    np.savez(tmp_path / "each.npz", visit1=units[1], visit2=units[2])
    for name in ("one.npz", "each.npz"):
        explicit = make(Call("explicit", (("file", name),)), (1, 2), (2, 3), 4, folder=tmp_path)
        assert [explicit.units(v, 0, 4).tolist() for v in (0, 1)] == units[1:].tolist()
        with pytest.raises(PathcError, match="E0347"):
            make(Call("explicit", (("file", name),)), (2, 3), (3, 3), 4, folder=tmp_path)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"units": np.zeros((2, 5), int)}, "shape"),
        ({"units": np.zeros((1, 4), int)}, "shape"),
        ({"units": np.zeros((2, 4))}, "float64, not integers"),
        ({"units": np.array([[0, 1, 9, 3], [0, 0, 0, 0]])}, "path 2 visits unit 9 at visit 0"),
        ({"units": np.array([[0, 1, 2, 3], [0, -1, 0, 0]])}, "path 1 visits unit -1 at visit 1"),
        ({"visit0": np.zeros(4, int)}, "nor `visit1`"),
        ({"other": np.zeros(4, int)}, "nor `visit0`"),
        ({"visit0": np.zeros(4, int), "visit1": np.zeros(3, int)}, "`visit1` has shape"),
    ],
)
def test_explicit_files_that_hold_something_else(tmp_path, arrays, message):
    np.savez(tmp_path / "paths.npz", **arrays)
    with pytest.raises(PathcError, match=f"E0347.*{message}"):
        Explicit(tmp_path / "paths.npz", (4, 2), 4)


def test_explicit_files_that_are_damaged_or_hostile(tmp_path):
    path = tmp_path / "paths.npz"
    np.savez(path, units=np.zeros((2, 4), int))
    whole = path.read_bytes()
    random = np.random.default_rng(1)
    for turn in range(300):
        data = bytearray(whole)
        if turn % 2:
            data = data[: random.integers(len(data))]
        else:
            for place in random.integers(len(data), size=3):
                data[place] = random.integers(256)
        path.write_bytes(data)
        with suppress(PathcError):
            Explicit(path, (4, 2), 4)
    np.savez(path, units=np.array([[{}] * 4] * 2, object), allow_pickle=True)
    with pytest.raises(PathcError, match="E0504"):
        Explicit(path, (4, 2), 4)
    with pytest.raises(PathcError, match="E0501"):
        Explicit(tmp_path / "absent.npz", (4, 2), 4)
