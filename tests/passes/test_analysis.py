from __future__ import annotations

from collections import Counter

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nets import net, sobol

from pathc.ir import cosets, edges
from pathc.ir.facts import Distinct, Valence
from pathc.ir.facts import Mixing as MixingFact
from pathc.ir.generators import Affine, resolve
from pathc.ir.passes.coalesce import Coalesce
from pathc.ir.passes.coverage import Coverage
from pathc.ir.passes.mixing import Mixing
from pathc.ir.types import Call

sizes = st.one_of(st.integers(0, 5).map(lambda m: 1 << m), st.integers(1, 40))
nets = st.builds(
    net,
    st.tuples(sizes, sizes, sizes, sizes),
    st.tuples(*[st.integers(0, 12)] * 4),
    st.one_of(st.integers(1, 300), st.integers(0, 8).map(lambda b: 1 << b)),
    st.sampled_from([sobol("none"), sobol("lms", 3), sobol("owen", 1), Call("random")]),
)


def visits_of(graph):
    line = graph.lines[0]
    generator = resolve(line, graph)
    return [generator.units(v, 0, line.count).tolist() for v in range(len(line.visits))]


@settings(max_examples=100, deadline=None)
@given(nets)
def test_distinct_edges_and_valence_equal_a_count(graph):
    visits = visits_of(graph)
    found = {f.junction: f.edges for f in Coalesce()(graph).facts_of(Distinct)}
    assert found == {j: len(set(zip(visits[j - 1], visits[j], strict=True))) for j in (1, 2, 3)}
    for fact in Coverage()(graph).facts_of(Valence):
        counts = Counter(visits[fact.visit])
        units = graph.stations[fact.visit].units
        assert fact.touched == len(counts)
        assert fact.most == max(counts.values())
        assert fact.least == min(counts[u] for u in range(units))


@settings(max_examples=100, deadline=None)
@given(nets)
def test_mixing_equals_a_search(graph):
    visits = visits_of(graph)
    (fact,) = Mixing()(graph).facts_of(MixingFact)
    whole = nx.Graph()
    sees = {(0, u): {u} for u in visits[0]}
    for j in (1, 2, 3):
        for u, v in zip(visits[j - 1], visits[j], strict=True):
            whole.add_edge((j - 1, u), (j, v))
            sees[j, v] = sees.get((j, v), set()) | sees[j - 1, u]
    reach = [[len(sees[j, v]) for v in set(visits[j])] for j in (1, 2, 3)]
    assert fact.exact
    assert fact.pieces == nx.number_connected_components(whole)
    assert fact.least == tuple(map(min, reach))
    assert fact.most == tuple(map(max, reach))


@pytest.mark.parametrize(("dims", "fields"), [((0, 1, 2, 3, 4), (4, 16, 64, 256)), ((0, 1, 0, 1, 0), (4, 4, 4, 4))])
def test_golden_mixing(dims, fields):
    (fact,) = Mixing()(net((256,) * 5, dims, 1024)).facts_of(MixingFact)
    assert fact.least == fact.most == fields
    assert fact.pieces == (1 if fields[-1] == 256 else 64)


@pytest.mark.parametrize(
    ("count", "edges_"), [(1024, (1024, 1024, 904)), (4096, (4096, 4096, 2714)), (16384, (16340, 16196, 3000))]
)
def test_golden_distinct_edges_of_the_classifier(count, edges_):
    graph = Coalesce()(net((784, 300, 300, 10), (0, 1, 2, 3), count))
    assert tuple(f.edges for f in graph.facts_of(Distinct)) == edges_


def test_golden_valence_of_the_classifier():
    graph = Coverage()(net((784, 300, 300, 10), (0, 1, 2, 3), 1024))
    assert [(f.touched, f.least, f.most) for f in graph.facts_of(Valence)] == [
        (784, 1, 2),
        (300, 3, 4),
        (300, 3, 4),
        (10, 102, 103),
    ]


def test_huge_lines_stay_symbolic(monkeypatch):
    graph = net((1 << 16,) * 3, (0, 1, 2), 3 << 40)
    monkeypatch.setattr(type(resolve(graph.lines[0], graph)), "units", None)
    for step in (Coalesce(), Coverage(), Mixing()):
        graph = step(graph)
    (mixing,) = graph.facts_of(MixingFact)
    assert (mixing.least[-1], mixing.pieces, mixing.exact) == (1 << 16, 1, False)
    assert {f.least for f in graph.facts_of(Valence)} == {3 << 24}
    assert len(list(graph.facts_of(Distinct))) == 2


def test_no_fact_beyond_the_limit():
    graph = net((300, 300), (0, 1), 2000)
    for step in (Coalesce(limit=1999), Coverage(limit=1999), Mixing(limit=1999)):
        assert step(graph).facts == ()
        assert step(step(graph)) == step(graph)


def test_many_inputs_are_sampled(monkeypatch):
    graph = net((3000, 100, 3), (0, 1, 2), 3000, Call("random"))
    (exact,) = Mixing()(graph).facts_of(MixingFact)
    monkeypatch.setattr("pathc.ir.passes.mixing._WORK", 1)
    (sampled,) = Mixing()(graph).facts_of(MixingFact)
    assert exact.exact
    assert not sampled.exact
    assert sampled.pieces == exact.pieces
    assert 0.7 * exact.most[-1] < sampled.most[-1] < 1.3 * exact.most[-1]


def test_components_of_a_long_ring():
    n = 5000
    left = np.arange(n)
    assert set(edges.components(n, left, (left + 1) % n).tolist()) == {0}


def test_coalesce_tells_the_edge_of_every_path():
    graph = net((8, 8), (5, 6), 64)
    generator = resolve(graph.lines[0], graph)
    found, edge = edges.coalesce(generator, 1)
    assert len(found) == 32
    assert np.array_equal(found.src[edge], generator.units(0, 0, 64))
    assert np.array_equal(found.dst[edge], generator.units(1, 0, 64))
    assert found.paths.tolist() == [2] * 32


def test_spread_of_a_constant_map():
    assert cosets.spread(Affine((0, 0), 1), 4, 1) == cosets.Spread(1, 0, 4)
