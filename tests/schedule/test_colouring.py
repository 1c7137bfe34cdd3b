import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pathc.ir.generators import make
from pathc.ir.schedule import Banks, build, check
from pathc.ir.schedule.colouring import bound, colour, colour_reads
from pathc.ir.types import Call


@st.composite
def bank_pairs(draw):
    count = draw(st.integers(1, 120))
    source, destination = draw(st.integers(1, 12)), draw(st.integers(1, 12))
    pairs = draw(
        st.lists(st.tuples(st.integers(0, source - 1), st.integers(0, destination - 1)), min_size=count, max_size=count)
    )
    return np.array(pairs, np.int64).T


def assert_cycles(cycles, source, destination, z):
    by_cycle = {}
    for cycle, *banks in zip(cycles.tolist(), source.tolist(), destination.tolist(), strict=True):
        by_cycle.setdefault(cycle, []).append(banks)
    for held in by_cycle.values():
        assert len(held) <= z
        assert all(len(set(banks)) == len(held) for banks in zip(*held, strict=True))
    assert min(by_cycle) >= 0
    return max(by_cycle) + 1


@given(bank_pairs(), st.integers(1, 14))
def test_colours_reach_the_bound(pairs, z):
    source, destination = pairs
    assert assert_cycles(colour(source, destination, z), source, destination, z) <= bound(source, destination, z)


@given(bank_pairs(), st.integers(1, 14))
def test_reads_alone_reach_their_bound(pairs, z):
    source, _ = pairs
    every = np.arange(len(source))
    cycles = assert_cycles(colour_reads(source, z), source, every, z)
    assert cycles <= max(np.bincount(source).max(), -(-len(source) // z))


@settings(max_examples=25, deadline=None)
@given(bank_pairs())
def test_no_colouring_of_networkx_takes_fewer(pairs):
    graph = nx.MultiGraph()
    for number, (s, d) in enumerate(pairs.T.tolist()):
        graph.add_edge(("s", s), ("d", d), key=number)
    line_graph = nx.Graph(nx.line_graph(graph))
    line_graph.add_nodes_from(graph.edges(keys=True))
    theirs = max(nx.greedy_color(line_graph, "DSATUR").values()) + 1
    assert colour(*pairs, 12).max() + 1 <= theirs


def scheduled(kind, source, destination, sizes, z=16, map="high"):
    class Listed:
        count = len(source)

        def units(self, visit, start, stop):
            return (source, destination)[visit][start:stop]

        def affine(self, visit):
            return None

    Listed.sizes = sizes
    return check(build(kind, Listed(), 1, z, *(Banks(n, z, map) for n in sizes)))


def test_sobol_paths_from_784_to_300():
    paths = make(Call("sobol"), (0, 1), (784, 300), 4096)
    ends = paths.units(0, 0, 4096), paths.units(1, 0, 4096)
    blocks = scheduled("blocks", *ends, (784, 300))
    assert (blocks.ideal, blocks.cycles, blocks.time) == (256, 256, 267)
    assert scheduled("blocks", *ends, (784, 300), map="low").time == 512
    stalled = scheduled("stall", *ends, (784, 300))
    assert (stalled.cycles, stalled.stalls) == (267, 0)
    assert stalled.clash_free
    assert stalled.complete
    coloured = scheduled("colour", *ends, (784, 300))
    assert (coloured.cycles, coloured.stalls) == (260, 0)
    assert coloured.clash_free
    assert coloured.complete
    assert coloured.utilisation == pytest.approx(0.985, abs=0.001)


def test_random_paths_from_784_to_300():
    rng = np.random.default_rng(0)
    ends = rng.integers(0, 784, 4096), rng.integers(0, 300, 4096)
    assert scheduled("blocks", *ends, (784, 300), map="low").time == 875
    assert scheduled("stall", *ends, (784, 300), map="low").cycles == 875
    assert scheduled("colour", *ends, (784, 300), map="low").cycles == 288


@settings(max_examples=60)
@given(bank_pairs(), st.integers(1, 9), st.sampled_from(["stall", "colour"]))
def test_orders_for_any_paths_are_complete_and_clash_free(pairs, z, kind):
    verdict = scheduled(kind, *pairs, (12, 12), z)
    assert verdict.complete
    assert verdict.clash_free
    assert verdict.stalls == 0
    blocks = scheduled("blocks", *pairs, (12, 12), z)
    assert verdict.cycles == blocks.time if kind == "stall" else verdict.cycles <= blocks.time


def test_a_million_paths_and_many_banks():
    rng = np.random.default_rng(1)
    source, destination = rng.integers(0, 64, 1 << 18), rng.integers(0, 48, 1 << 18)
    cycles = colour(source, destination, 48)
    assert cycles.max() + 1 == bound(source, destination, 48)
    for banks in (source, destination):
        assert len(np.unique(cycles * 64 + banks)) == len(cycles)


def test_one_path():
    assert colour(np.array([5]), np.array([2]), 4).tolist() == [0]


@pytest.mark.parametrize(("banks", "own"), [(8, True), (16, False)])
def test_a_lane_keeps_to_its_source_bank_where_there_are_lanes_for_all(banks, own):
    paths = make(Call("random"), (0, 1), (100, 60), 500)
    found = build("colour", paths, 1, 8, Banks(100, banks), Banks(60, 8))
    bank = found.source_bank()
    assert (bank == np.where(bank < 0, -1, np.arange(8))).all() == own
