from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nets import net, sobol

from pathc.ir import gf2
from pathc.ir.blocks import Places, destination_units, find_blocks, path_slots, source_units, window
from pathc.ir.facts import Blocks
from pathc.ir.generators import Affine, make, resolve
from pathc.ir.passes.structure import Structure
from pathc.ir.types import Call


def blocks_of(graph, junction=1):
    return [f for f in Structure()(graph).facts_of(Blocks) if f.junction == junction]


def edges_of_fact(fact):
    """Every (source, destination) pair the fact claims, with its number of paths, by its docstring."""
    edges = Counter()
    for k in range(fact.count):
        src = [fact.src_shift ^ gf2.apply(fact.src_reps, k) ^ s for s in gf2.span_array(fact.src_basis).tolist()]
        dst = [fact.dst_shift ^ gf2.apply(fact.dst_reps, k) ^ d for d in gf2.span_array(fact.dst_basis).tolist()]
        edges.update({(s, d): fact.repeat for s in src for d in dst})
    return edges


def edges_of_paths(src, dst):
    return Counter(zip(src.tolist(), dst.tolist(), strict=True))


sizes = st.integers(0, 7).map(lambda m: 1 << m)


@settings(max_examples=150, deadline=None)
@given(
    st.tuples(sizes, sizes, sizes),
    st.tuples(st.integers(0, 40), st.integers(0, 40), st.integers(0, 40)),
    st.integers(1, 1500),
    st.sampled_from(["none", "shift", "lms"]),
    st.integers(0, 99),
    st.integers(0, 3),
)
def test_facts_equal_the_enumerated_edges(sizes, dims, count, scramble, seed, skipped_blocks):
    skip = skipped_blocks << (count - 1).bit_length()
    graph = net(sizes, dims, count, sobol(scramble, seed, skip))
    generator = resolve(graph.lines[0], graph)
    for junction in (1, 2):
        facts = blocks_of(graph, junction)
        assert [(f.start, f.length) for f in facts] == list(gf2.aligned_windows(count))
        for fact in facts:
            end = fact.start + fact.length
            src = generator.units(junction - 1, fact.start, end)
            dst = generator.units(junction, fact.start, end)
            assert edges_of_fact(fact) == edges_of_paths(src, dst)
            assert sum(edges_of_fact(fact).values()) == fact.length


columns = st.lists(st.tuples(st.integers(0, 31), st.integers(0, 63)), min_size=0, max_size=8)


@settings(max_examples=300, deadline=None)
@given(columns, st.integers(0, 31), st.integers(0, 63))
def test_any_linear_pair_of_visits_covering_or_not(pairs, src_shift, dst_shift):
    src, dst = Affine(tuple(s for s, _ in pairs), src_shift), Affine(tuple(d for _, d in pairs), dst_shift)
    fact = find_blocks(src, dst, 0, 1 << len(pairs))
    edges = Counter((src(i), dst(i)) for i in range(1 << len(pairs)))
    assert edges_of_fact(fact) == edges
    assert 1 << fact.rank == len(edges)

    source, target = source_units(fact), destination_units(fact)
    assert len(np.unique(source)) == source.size
    assert len(np.unique(target)) == target.size
    assert np.all(np.diff(source[:, 0]) > 0)
    assert np.all(np.diff(source, axis=1) > 0)
    assert np.all(np.diff(target, axis=1) > 0)

    s = np.array([src(i) for i in range(fact.length)])
    d = np.array([dst(i) for i in range(fact.length)])
    block, row, column = Places.of(fact).of_edges(s, d)
    assert np.array_equal(Places.of(fact).of_destinations(d)[0], block)
    assert np.array_equal(source[block, column], s)
    assert np.array_equal(target[block, row], d)
    slots = (block * fact.fan_out + row) * fact.fan_in + column
    assert np.array_equal(path_slots(fact, src, dst), slots)
    assert Counter(np.bincount(slots).tolist()) == {fact.repeat: 1 << fact.rank}


@given(columns, st.integers(0, 31), st.integers(0, 63), st.randoms())
def test_equal_sets_of_edges_give_equal_facts(pairs, src_shift, dst_shift, random):
    src, dst = Affine(tuple(s for s, _ in pairs), src_shift), Affine(tuple(d for _, d in pairs), dst_shift)
    i = random.randrange(1 << len(pairs))
    shuffled = random.sample(pairs, len(pairs))
    other = Affine(tuple(s for s, _ in shuffled), src(i)), Affine(tuple(d for _, d in shuffled), dst(i))
    assert find_blocks(src, dst, 0, 1 << len(pairs)) == find_blocks(*other, 0, 1 << len(pairs))


@pytest.mark.parametrize(
    ("sizes", "dims", "count", "shape"),
    [
        ((1024, 1024), (0, 1), 16384, (64, 16, 16)),
        ((1024, 256), (0, 1), 8192, (32, 8, 32)),
        ((256, 16), (0, 1), 2048, (2, 8, 128)),
    ],
)
def test_golden_blocks(sizes, dims, count, shape):
    (fact,) = blocks_of(net(sizes, dims, count))
    assert (fact.count, fact.fan_out, fact.fan_in) == shape
    assert fact.repeat == 1


def test_golden_distinct_edges():
    graph = net((32,) * 7, range(7), 1024)
    assert [1 << f.rank for f in Structure()(graph).facts_of(Blocks)] == [1024, 1024, 512, 1024, 1024, 512]


def test_two_windows():
    assert [(f.start, f.length) for f in blocks_of(net((1024, 1024), (0, 1), 12288))] == [(0, 8192), (8192, 4096)]


def test_2_to_the_30_paths_need_no_edge_list(monkeypatch):
    graph = net((1 << 20, 1 << 20), (0, 1), 1 << 30)
    monkeypatch.setattr(type(resolve(graph.lines[0], graph)), "units", None)
    (fact,) = blocks_of(graph)
    assert (fact.count, fact.fan_out, fact.fan_in, fact.repeat) == (1024, 1024, 1024, 1)


@pytest.mark.parametrize(
    ("sizes", "generator"),
    [
        ((300, 256), Call("sobol")),
        ((256, 256), sobol("owen")),
        ((256, 256), sobol("none", skip=1)),
        ((256, 256), Call("random")),
    ],
)
def test_no_fact_where_the_theorem_does_not_hold(sizes, generator):
    assert blocks_of(net(sizes, (0, 1), 1024, generator)) == []


def test_a_junction_between_powers_of_two_is_found_beside_others():
    facts = list(Structure()(net((300, 256, 64), (0, 1, 2), 1024)).facts_of(Blocks))
    assert [f.junction for f in facts] == [2]


def test_running_twice_changes_nothing():
    once = Structure()(net((64, 64), (0, 1), 256))
    assert Structure()(once) == once


def test_windows_must_be_aligned():
    with pytest.raises(ValueError, match="aligned"):
        window(Affine((1, 2, 4)), 2, 4)


def test_one_path():
    (fact,) = blocks_of(net((8, 8), (0, 1), 1))
    assert (fact.count, fact.fan_in, fact.fan_out, fact.repeat) == (1, 1, 1, 1)
    assert make(Call("sobol"), (0,), (8,), 1).units(0, 0, 1).tolist() == [0]
