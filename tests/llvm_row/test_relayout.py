"""Layouts of chains, and moving rows between layouts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from row_support import chain_of, floats, linked, machines, place

from pathc.backends.llvm.plan import Layout
from pathc.backends.llvm.row.interleaved import common_edges
from pathc.backends.llvm.row.layouts import chains, choose
from pathc.backends.llvm.row.relayout import relayout
from pathc.backends.llvm.row.weave import weave
from pathc.ir import gf2
from pathc.ir.types import Call


def random_layout(bits: int, seed: int) -> Layout:
    rng = np.random.default_rng(seed)
    while True:
        columns = tuple(int(c) for c in rng.integers(1, 1 << bits, bits))
        if gf2.rank(columns) == bits:
            return Layout(1 << bits, columns)


@settings(max_examples=25, deadline=None)
@given(
    st.integers(4, 12),
    st.integers(0, 1000),
    st.booleans(),
    st.integers(1, 3),
    st.sampled_from(machines()),
    st.sampled_from([None, Call("relu")]),
)
def test_relayout_moves_every_unit(bits, seed, from_natural, rows, machine, activation):
    source = Layout(1 << bits) if from_natural else random_layout(bits, seed)
    target = random_layout(bits, seed + 1)
    _, call = linked([relayout(source, target, "move", machine, rows, activation)], "move", machine)
    x = np.random.default_rng(seed).standard_normal((rows, 1 << bits), np.float32)
    result = floats(rows << bits).reshape(rows, -1)
    call(place(source, x), result)
    expected = x if activation is None else np.maximum(x, 0)
    assert np.array_equal(result[:, target.positions(np.arange(1 << bits))], expected)


def test_chains_lead_from_edge_to_edge():
    net = chain_of(range(5), [256] * 5, 1024)
    edges = [common_edges(j.blocks) for j in net]
    found = chains(edges, [256] * 5, 4, True, False)
    assert found
    for chain in found:
        assert chain[0] < 16
        for pairs, s, d in zip(edges, chain, chain[1:], strict=False):
            space = gf2.echelon(a << 8 | b for a, b in pairs)
            assert gf2.contains(space, s << 8 | d)


@pytest.mark.parametrize("machine", machines(), ids=str)
def test_layouts_are_bijections_and_fit_every_junction(machine):
    net = chain_of(range(6), [1024, 256, 512, 64, 128, 1024], 4096)
    arrangement = choose(net, [True, False, False, True, False, True], machine)
    assert arrangement == choose(net, [True, False, False, True, False, True], machine)
    bits = machine.width.bit_length() - 1
    for j, src, dst in zip(net, arrangement.src, arrangement.dst, strict=True):
        assert len(np.unique(src.positions(np.arange(j.n_src)))) == j.n_src
        assert all(weave(b, src, dst, bits) is not None for b in j.blocks)


def test_a_net_that_mixes_is_natural_at_both_ends():
    machine = machines()[0]
    net = chain_of(range(9), [1024] * 9, 4096)
    arrangement = choose(net, [True, *[False] * 7, True], machine)
    assert arrangement.src[0].natural
    assert arrangement.dst[-1].natural
    assert all(a == b for a, b in zip(arrangement.dst, arrangement.src[1:], strict=False))
