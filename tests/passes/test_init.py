from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nets import net

from pathc.ir.generators import resolve
from pathc.ir.graph import Graph, Line, Station, Visit
from pathc.ir.init import fans_of, initial_weights, magnitude
from pathc.ir.signs import hadamard_bits, sign_rule
from pathc.ir.types import Call, Size
from pathc.ir.weights import check_weights
from pathc.support.diagnostics import PathcError


def signed(graph, sign):
    return replace(graph, lines=tuple(replace(line, sign=sign) for line in graph.lines))


def matrix(graph, junction=1):
    """The dense matrix that the initial signs draw."""
    generator, count = resolve(graph.lines[0], graph), graph.lines[0].count
    weights = initial_weights(graph)[f"main.{junction}"]
    dense = np.zeros((generator.sizes[junction], generator.sizes[junction - 1]))
    np.add.at(dense, (generator.units(junction, 0, count), generator.units(junction - 1, 0, count)), np.sign(weights))
    return dense


@pytest.mark.parametrize(
    ("sizes", "count"), [((64, 64), 1024), ((64, 64), 512), ((64, 16), 512), ((16, 64), 512), ((256, 16), 2048)]
)
def test_hadamard_blocks_have_full_rank(sizes, count):
    dense = matrix(net(sizes, (0, 1), count))
    gram = dense @ dense.T if sizes[0] >= sizes[1] else dense.T @ dense
    assert np.array_equal(gram, np.diag(np.diag(gram)))
    assert np.linalg.matrix_rank(dense) == min(sizes)


@pytest.mark.parametrize("log_in", range(5))
@pytest.mark.parametrize("log_out", range(6))
def test_hadamard_block(log_in, log_out):
    fan_in, fan_out = 1 << log_in, 1 << log_out
    rows, columns = np.arange(fan_out)[:, None], np.arange(fan_in)[None, :]
    block = 1 - 2 * hadamard_bits(rows, columns, fan_out, fan_in).astype(int)
    gram = block @ block.T if fan_out <= fan_in else block.T @ block
    assert np.array_equal(gram, max(fan_in, fan_out) * np.eye(min(fan_in, fan_out), dtype=int))
    if fan_out < fan_in:
        assert not block.sum(axis=1).any()
    if log_in >= 3:
        assert len(np.unique(block, axis=0)) == fan_out


@pytest.mark.parametrize("sizes", [(64, 16), (64, 64)])
def test_hadamard_signs_are_balanced_at_every_unit_but_one_of_a_square_block(sizes):
    sums = matrix(net(sizes, (0, 1), 512)).sum(axis=1)
    assert np.count_nonzero(sums) == (0 if sizes[1] < sizes[0] else 64 // 8)


@given(
    st.sampled_from(
        ["hadamard", "halves", "parity", "positive", Call("bit", (("m", 3),)), Call("dim", (("k", 9),)), "random"]
    ),
    st.integers(1, 700),
    st.data(),
)
@settings(max_examples=60, deadline=None)
def test_windows_agree_with_the_whole(sign, count, data):
    sign = Call(sign) if isinstance(sign, str) else sign
    graph = signed(net((32, 16), (0, 1), count), sign)
    rule = sign_rule(graph.lines[0], 1, resolve(graph.lines[0], graph))
    start = data.draw(st.integers(0, count))
    stop = data.draw(st.integers(start, count))
    assert np.array_equal(rule(start, stop), rule(0, count)[start:stop])


@pytest.mark.parametrize("sign", [Call("halves"), Call("bit", (("m", 6),)), Call("dim", (("k", 11),))])
def test_rules_balanced_at_every_unit(sign):
    dense = matrix(signed(net((64, 64), (0, 1), 512), sign))
    assert not dense.sum(axis=0).any()
    assert not dense.sum(axis=1).any()


def test_parity_splits_dimension_0_into_plus_and_minus():
    dense = matrix(signed(net((64, 64), (0, 1), 512), Call("parity")))
    assert set(dense.sum(axis=0)) == {-8.0, 8.0}


def test_halves_stand_in_where_there_are_no_blocks():
    graph = net((300, 300), (0, 1), 1001)
    weights = initial_weights(graph)["main.1"]
    assert np.all(weights[:501] > 0)
    assert np.all(weights[501:] < 0)


def test_magnitude_sums_the_lines_of_a_station():
    graph = net((64, 32), (0, 1), 512)
    one = initial_weights(graph)["main.1"]
    assert np.all(np.abs(one) == np.float32(math.sqrt(2 / (16 + 8))))
    second = replace(graph.lines[0], name="more", kind="dense", count=0)
    both = replace(graph, lines=(*graph.lines, second))
    assert magnitude(fans_of(both), *both.stations) == math.sqrt(2 / (16 + 64 + 8 + 32))


def test_every_kind_of_tensor():
    bias = (Call("bias"), Call("relu"))
    stations = (
        Station("x", "input", (64,), declared=50),
        Station("h", "layer", (32,), pipeline=bias),
        Station("z", "layer", (64,)),
        Station("y", "output", (10,), pipeline=bias),
    )
    lines = (
        Line("enc", "paths", (Visit("x", 0), Visit("h", 1)), 256),
        Line("dec", "paths", (Visit("h", 0), Visit("z", 1)), mirror="enc", tied=True),
        Line("own", "paths", (Visit("h", 0), Visit("z", 1)), 256, mirror="enc"),
        Line("head", "dense", (Visit("z", 0), Visit("y", 1))),
        Line("res", "skip", (Visit("x", 0), Visit("z", 1))),
    )
    graph = Graph("net", stations, lines)
    weights = initial_weights(graph)
    assert {k: v.shape for k, v in weights.items()} == {
        "enc.1": (256,), "own.1": (256,), "head.1": (10, 64), "h.bias": (32,), "y.bias": (10,)
    }  # fmt: skip
    assert check_weights(graph, weights, finite=True) == []
    assert not weights["h.bias"].any()
    gram = weights["head.1"].astype(float) @ weights["head.1"].T
    assert np.allclose(gram, np.diag(np.diag(gram)))
    assert np.allclose(weights["head.1"].sum(axis=1), 0)


def test_convolutions_have_a_filter_per_path():
    stations = (
        Station("x", "input", (4, 8, 8)),
        Station("y", "output", (8, 6, 6), pipeline=(Call("conv", (("kernel", Size((3, 3))),)),)),
    )
    graph = Graph("net", stations, (Line("main", "paths", (Visit("x", 0), Visit("y", 1)), 16),))
    assert initial_weights(graph)["main.1"].shape == (16, 3, 3)


def test_seed_changes_random_signs_only():
    graph = net((64, 64), (0, 1), 512)
    assert np.array_equal(initial_weights(graph)["main.1"], initial_weights(graph, seed=5)["main.1"])
    graph = signed(graph, Call("random"))
    assert not np.array_equal(initial_weights(graph)["main.1"], initial_weights(graph, seed=5)["main.1"])


def test_too_large_and_unknown():
    with pytest.raises(PathcError, match="E0502"):
        initial_weights(net((1024, 1024), (0, 1), 1 << 40))
    with pytest.raises(PathcError, match="E0324"):
        initial_weights(signed(net((8, 8), (0, 1), 8), Call("hadamart")))
