from itertools import permutations, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pathc.ir.catalogue import INTERLEAVERS
from pathc.ir.generators.interleaver import (
    Interleaver,
    adjacency,
    clashes,
    dispersion,
    from_rows,
    from_starts,
    interleave,
    spread,
    start_vector,
)
from pathc.support.diagnostics import PathcError

# Dey, Beerel, Chugg, Interleaver Design for Deep Neural Networks: the worked example and figure 4
EXAMPLE_STARTS = np.array([2, 0, 3, 1, 2, 0, 3, 1])
FIGURE_BANKS = np.array([9, 2, 8, 13, 4, 6, 7, 0, 1, 5, 12, 3, 14, 10, 11, 15])


def test_worked_example():
    pi = from_starts(32, 2, 8, EXAMPLE_STARTS)
    assert pi[:16].tolist() == [32, 2, 52, 22, 40, 10, 60, 30, 48, 18, 4, 38, 56, 26, 12, 46]
    assert pi[45] == 27
    assert clashes(pi, 2, 8) == 0


def test_figure_basic():
    pi = from_starts(64, 4, 16, start_vector((2, 3, 0, 1), 16))
    assert pi[:16].tolist() == [128, 196, 8, 76, 144, 212, 24, 92, 160, 228, 40, 108, 176, 244, 56, 124]
    assert spread(pi) == 18
    assert dispersion(pi) == pytest.approx(0.0258, abs=5e-5)


def test_figure_memory_dither():
    pi = from_starts(64, 4, 16, start_vector((3, 0, 2, 1), 16), FIGURE_BANKS)
    assert pi[:16].tolist() == [228, 8, 160, 116, 208, 24, 156, 64, 196, 20, 176, 76, 248, 40, 172, 124]
    assert spread(pi) == 6
    assert dispersion(pi) == pytest.approx(0.2193, abs=5e-5)


def test_every_basic_interleaver_of_the_figure_has_spread_18_or_20():
    spreads = [spread(from_starts(64, 4, 16, start_vector(r, 16))) for r in permutations(range(4))]
    assert set(spreads) == {18, 20}
    assert np.mean(spreads) == pytest.approx(18.33, abs=0.005)


@pytest.mark.parametrize(
    ("kind", "mean_spread", "mean_dispersion"),
    [
        ("basic", 18.37, 0.041),
        ("md", 7.54, 0.217),
        ("ss", 9.10, 0.073),
        ("ss+md", 6.64, 0.368),
        ("sv", 6.60, 0.082),
        ("sv+md", 7.12, 0.227),
        ("sv+ss", 5.00, 0.095),
        ("sv+ss+md", 5.77, 0.386),
    ],
)
def test_average_spread_and_dispersion_are_those_of_the_paper(kind, mean_spread, mean_dispersion):
    draws = [interleave(kind, 64, 4, 16, seed) for seed in range(60)]
    spreads = np.array([spread(pi) for pi in draws])
    dispersions = np.array([dispersion(pi) for pi in draws[:20]])
    # four standard errors of our mean, and as many of the published one; the constants round it
    tolerance = 4 * np.sqrt(spreads.var() * (1 / 60 + 1 / 150)) + 0.02
    assert spreads.mean() == pytest.approx(mean_spread, abs=tolerance)
    tolerance = 4 * np.sqrt(dispersions.var() * (1 / 20 + 1 / 150)) + 0.001
    assert dispersions.mean() == pytest.approx(mean_dispersion, abs=tolerance)


@given(
    st.sampled_from([*INTERLEAVERS, "md+ss"]),
    st.integers(2, 9),
    st.integers(1, 12),
    st.integers(1, 5),
    st.booleans(),
    st.integers(0, 2**64 - 1),
)
def test_every_interleaver_is_a_clash_free_permutation(kind, depth, z, fo, dither, seed):
    p = depth * z
    pi = interleave(kind, p, fo, z, seed, dither=dither)
    assert sorted(pi.tolist()) == list(range(p * fo))
    assert clashes(pi, fo, z) == 0
    for n in (n for n in range(1, p * fo + 1) if p * fo % n == 0):
        edges = adjacency(pi, p, n)
        assert (edges.sum(axis=0) == fo).all()
        assert (edges.sum(axis=1) == p * fo // n).all()


def test_a_clash_is_counted():
    assert clashes(np.arange(8), 1, 4) == 0
    assert clashes(np.array([0, 4, 1, 5, 2, 6, 3, 7]), 1, 4) == 4
    assert clashes(np.array([0, 4, 8, 12]), 1, 4) == 3


def test_start_vectors_repeat_within_what_each_kind_allows():
    def starts(kind, seed=3):
        return interleave(kind, 64, 4, 16, seed).reshape(4, 4, 16)[:, 0] // 4 // 16

    basic, sv, ss, both = starts("basic"), starts("sv"), starts("ss"), starts("sv+ss")
    assert (basic == np.tile(basic[0, :4], 4)).all()
    assert (sv == sv[0]).all()
    assert (sv != np.tile(sv[0, :4], 4)).any()
    assert all((row == np.tile(row[:4], 4)).all() for row in ss)
    assert (ss != ss[0]).any()
    assert (both != both[0]).any()
    for groups in (sv, both):
        assert (np.sort(groups.reshape(4, 4, 4), axis=2) == np.arange(4)).all()


def test_few_memories_take_the_first_entries_of_the_rows():
    assert start_vector((2, 0, 3, 1), 3).tolist() == [2, 0, 3]
    pi = interleave("basic", 32, 1, 4, seed=1)
    assert len(set((pi[:4] // 4).tolist())) == 4


def test_dither_order_is_one_for_all_sweeps_unless_starts_are_drawn_anew():
    def banks(kind):
        return interleave(kind, 64, 4, 16, 5, dither=True).reshape(4, 4, 16)[:, 0] // 4 % 16

    for kind in ("basic", "ss", "type3"):
        assert (banks(kind) == banks(kind)[0]).all()
    for kind in ("type1", "type2"):
        assert (banks(kind) != banks(kind)[0]).any()


def test_number_of_patterns_of_each_type():
    # p = 9, fo = 2, z = 3 and fan-in 3: a pattern is the set of left units of each right one
    def patterns(rows):
        pi = np.stack([from_rows(9, 2, 3, r) for r in rows])
        return len(np.unique(np.sort((pi // 2).reshape(len(pi), -1, 3), axis=2).reshape(len(pi), -1), axis=0))

    cycles = np.arange(3)[:, None]
    type3 = [((np.array(s) + cycles) % 3)[None] for s in product(range(3), repeat=3)]
    type2 = [np.concatenate(pair) for pair in product(type3, repeat=2)]
    sweeps = [np.array(columns).T[None] for columns in product(permutations(range(3)), repeat=3)]
    assert patterns(type3) == 27
    assert patterns(type2) == 729
    assert patterns(sweeps) == 216
    assert patterns(np.concatenate(pair) for pair in product(sweeps[::6], sweeps)) == 36 * 216


def test_adjacency_of_one_junction_and_no_repeats_where_fan_in_divides_p():
    for kind in INTERLEAVERS:
        assert adjacency(interleave(kind, 24, 4, 6, 2), 24, 8).sum(axis=1).tolist() == [12] * 8
        assert adjacency(interleave(kind, 24, 4, 6, 2), 24, 8).max() == 1


def test_paths_of_one_junction_are_its_weights_in_order():
    paths = Interleaver((0, 1), (32, 16), 64, 8, "ss+md", seed=4)
    left, right = paths.units(0, 0, 64), paths.units(1, 0, 64)
    assert right.tolist() == [w // 4 for w in range(64)]
    for cycle in left.reshape(-1, 8):
        assert len(set((cycle % 8).tolist())) == 8


def test_chained_junctions_hold_the_edges_of_each_interleaver():
    sizes, count = (32, 16, 64), 128
    paths = Interleaver((0, 1, 2), sizes, count, 4, "sv", seed=4)
    units = [paths.units(v, 0, count) for v in range(3)]
    for j in (1, 2):
        found = np.zeros((sizes[j], sizes[j - 1]), np.int64)
        np.add.at(found, (units[j], units[j - 1]), 1)
        np.testing.assert_array_equal(found, adjacency(paths.junction(j), sizes[j - 1], sizes[j]))


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("basic", 32, 2, 5), "E0346"),
        (("basic", 32, 2, 0), "E0346"),
        (("basic", 32, 2, 32), "E0346"),
        (("basic", 32, 0, 4), "E0341"),
        (("basic", 1 << 20, 1 << 10, 4), "E0341"),
        (("bsic", 32, 2, 4), "E0344.*"),
        (("ss+ss", 32, 2, 4), "E0344"),
        (("type1+md", 32, 2, 4), "E0344"),
        (("", 32, 2, 4), "E0344"),
    ],
)
def test_memories_that_do_not_fit_are_refused(arguments, code):
    with pytest.raises(PathcError, match=code):
        interleave(*arguments)


def test_the_cure_names_memory_counts_that_fit():
    with pytest.raises(PathcError) as caught:
        interleave("basic", 12, 1, 5)
    assert caught.value.diagnostics[0].help == "z may be 1, 2, 3, 4, 6; 15 units fill 5 memories"


def test_counts_that_no_layer_size_divides_are_refused():
    with pytest.raises(PathcError, match="E0343") as caught:
        Interleaver((0, 1), (32, 10), 64, 4)
    assert "count = 160" in caught.value.diagnostics[0].help
