from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from nets import net, sobol

from pathc.ir.bicliques import find_bicliques
from pathc.ir.edges import Edges, distinct_edges
from pathc.ir.facts import Bicliques as BicliquesFact
from pathc.ir.generators import resolve
from pathc.ir.passes.bicliques import Bicliques
from pathc.ir.passes.structure import Structure


def edges_of(pairs):
    dst, src = np.array(sorted(pairs), np.int64).reshape(-1, 2).T
    return Edges(src, dst, np.ones(len(src), np.int64))


@settings(max_examples=200, deadline=None)
@given(st.sets(st.tuples(st.integers(0, 9), st.integers(0, 3))), st.integers(1, 3))
def test_blocks_and_remainder_are_the_edges(pairs, least):
    found = find_bicliques(edges_of(pairs), least)
    covered = set(zip(found.dst.tolist(), found.src.tolist(), strict=True))
    total = len(covered) + found.edges
    seen = set()
    for k in range(len(found)):
        rows = found.rows[found.row_start[k] : found.row_start[k + 1]].tolist()
        columns = found.columns[found.column_start[k] : found.column_start[k + 1]].tolist()
        assert len(rows) >= least
        assert rows == sorted(rows)
        assert tuple(columns) not in seen
        seen.add(tuple(columns))
        covered |= {(r, c) for r in rows for c in columns}
    assert covered == pairs
    assert total == len(pairs)
    sources = {d: frozenset(s for e, s in pairs if e == d) for d, _ in pairs}
    lonely = {d for d, s in sources.items() if list(sources.values()).count(s) < least}
    assert set(found.dst.tolist()) == lonely


def test_blocks_of_a_linear_junction_are_found_again_in_its_edges():
    graph = net((64, 64), (0, 1), 512)
    found = find_bicliques(distinct_edges(resolve(graph.lines[0], graph), 1))
    assert len(found) == 8
    assert len(found.src) == 0


def test_pass_looks_only_where_there_is_no_structure():
    graph = Structure()(net((64, 64, 4), (0, 1, 2), 512, sobol("owen")))
    facts = list(Bicliques()(graph).facts_of(BicliquesFact))
    assert [f.junction for f in facts] == [1, 2]
    assert (facts[1].blocks, facts[1].edges, facts[1].remainder) == (1, 256, 0)
    assert list(Bicliques()(Structure()(net((64, 64), (0, 1), 512))).facts_of(BicliquesFact)) == []
    assert list(Bicliques(limit=511)(graph).facts_of(BicliquesFact)) == []
