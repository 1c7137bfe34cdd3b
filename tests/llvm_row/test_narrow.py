"""Blocks of layers narrower than a vector against sums in float64."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from row_support import check, computed, floats, junction, machines

from pathc.backends.llvm.plan import Layout, Step
from pathc.backends.llvm.row.interleaved import Interleaved
from pathc.backends.llvm.row.layouts import natural
from pathc.backends.llvm.row.narrow import Dot, Spread
from pathc.ir.types import Call


def step_of(form, net, machine, **changes):
    step = Step(form.name, "row", net, natural(net.n_src, machine), natural(net.n_dst, machine), "bias", None)
    return replace(step, **changes)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 10),
    st.integers(0, 10),
    st.integers(0, 3),
    st.booleans(),
    st.permutations(range(5)),
    st.sampled_from(["none", "shift", "lms"]),
    st.sampled_from(machines()),
    st.sampled_from(["zero", "bias", "add"]),
    st.sampled_from([None, Call("relu")]),
    st.integers(1, 4),
    st.sampled_from(["f32", "bf16"]),
)
def test_every_pair_of_powers_of_two(m, n, more, two, dims, scramble, machine, init, activation, rows, weight_type):
    length = 1 << max(m, n) + more
    net = junction((dims[0], dims[1]), (1 << m, 1 << n), length + (length // 2 if two and more else 0), 1, scramble)
    form = Spread() if net.n_src < machine.width else Dot()
    wide = net.n_src >= machine.width and net.n_dst >= machine.width
    assert bool(form.refusal(net, machine)) == wide
    assert wide or Interleaved().refusal(net, machine)
    if not wide:
        changes = {"init": init, "activation": activation, "weight_type": weight_type}
        check(form, step_of(form, net, machine, **changes), machine, rows)


@pytest.mark.parametrize("sizes", [(512, 8), (8, 512)])
def test_any_layout_of_the_wide_side(sizes):
    machine = machines()[0]
    columns = tuple(1 << (k * 5 + 2) % 9 | (k == 3) << 4 for k in range(9))
    wide = Layout(512, columns)
    form = Dot() if sizes[0] == 512 else Spread()
    side = "src_layout" if sizes[0] == 512 else "dst_layout"
    check(form, step_of(form, junction((0, 2), sizes, 2048), machine, **{side: wide}), machine, 2)


@pytest.mark.parametrize("sizes", [(64, 8), (8, 64), (8, 4)])
def test_a_nan_reaches_its_destinations_and_no_other(sizes):
    machine = machines()[0]
    net = junction((0, 1), sizes, max(sizes))
    form = Dot() if sizes[0] == 64 else Spread()
    x = np.ones((1, sizes[0]), np.float32)
    x[0, 3] = np.nan
    before = floats(sizes[1]).reshape(1, -1)
    got = computed(form, step_of(form, net, machine), machine, x, np.ones(net.count, np.float32), before[0], before)
    source, target = net.edges()
    assert set(np.flatnonzero(np.isnan(got[0]))) == set(target[source == 3])


def test_an_activation_leaves_zeros_behind_the_units():
    machine = machines()[0]
    for sizes in ((64, 4), (4, 8)):
        form = Dot() if sizes[0] == 64 else Spread()
        net = junction((0, 1), sizes, 64)
        step = step_of(form, net, machine, activation=Call("sigmoid"))
        x = np.zeros((2, sizes[0]), np.float32)
        zeros = np.zeros((2, sizes[1]), np.float32)
        got = computed(form, step, machine, x, np.ones(64, np.float32), zeros[0], zeros)
        assert np.allclose(got, 0.5)


def test_windows_that_miss_units_are_refused():
    machine = machines()[0]
    assert "misses" in Dot().refusal(junction((0, 1), (1024, 8), 512), machine)
    assert "misses" in Spread().refusal(junction((0, 1), (8, 1024), 512), machine)
