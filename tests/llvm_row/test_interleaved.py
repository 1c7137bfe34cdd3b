"""Interleaved blocks against sums in float64."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from row_support import chain_of, check, computed, floats, junction, machines

from pathc.backends.llvm.machine import Machine
from pathc.backends.llvm.plan import Junction, Layout, Step
from pathc.backends.llvm.row.interleaved import Interleaved
from pathc.backends.llvm.row.layouts import choose, natural
from pathc.ir.types import Call

FORM = Interleaved()
RELU = Call("relu")


def steps(chain: list[Junction], machine: Machine, fixed: bool = True) -> list[Step]:
    ends = [fixed, *[False] * (len(chain) - 1), fixed]
    arrangement = choose(chain, ends, machine)
    return [
        Step("interleaved", "row", j, src, dst, "bias", RELU)
        for j, src, dst in zip(chain, arrangement.src, arrangement.dst, strict=True)
    ]


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.integers(4, 8).map(lambda m: 1 << m), min_size=2, max_size=4),
    st.integers(1, 128).map(lambda c: 16 * c) | st.sampled_from([64, 512, 1024, 4096]),
    st.permutations(range(8)),
    st.sampled_from(["none", "shift", "lms"]),
    st.sampled_from(machines()),
    st.sampled_from(["zero", "bias", "add"]),
    st.sampled_from([None, RELU]),
    st.integers(1, 4),
    st.sampled_from(["f32", "bf16"]),
    st.booleans(),
)
def test_random_chains(sizes, count, dims, scramble, machine, init, activation, rows, weight_type, fixed):
    chain = chain_of(dims, sizes, count, scramble)
    if any(FORM.refusal(j, machine) for j in chain):
        assert count & -count < machine.width
        return
    for step in steps(chain, machine, fixed)[-2:]:
        check(FORM, replace(step, init=init, activation=activation, weight_type=weight_type), machine, rows)


@pytest.mark.parametrize("machine", machines(), ids=str)
@pytest.mark.parametrize(
    ("sizes", "count"),
    [
        ((1024, 1024), 1024),
        ((1024, 1024), 12288),
        ((1024, 16), 4096),
        ((16, 1024), 4096),
        ((16, 16), 4096),
        ((64, 32), 65536),
        ((1024, 1024), 1 << 17),
    ],
)
def test_single_junctions_on_every_width(machine, sizes, count):
    step = steps([junction((0, 1), sizes, count)], machine)[0]
    check(FORM, step, machine)


def test_windows_that_miss_destinations_still_set_them():
    machine = machines()[0]
    for count in (16, 32, 96, 48):
        for init in ("zero", "bias", "add"):
            step = steps([junction((1, 2), (256, 256), count)], machine)[0]
            check(FORM, replace(step, init=init), machine, 2)


def test_a_nan_reaches_its_destinations_and_no_other():
    machine = machines()[0]
    net = junction((0, 3), (256, 128), 1024)
    step = steps([net], machine)[0]
    x = floats(256).reshape(1, -1)
    x[0, 77] = np.nan
    weights = np.ones(1024, np.float32)
    got = computed(FORM, step, machine, x, weights, floats(128), floats(128).reshape(1, -1))
    source, target = net.edges()
    assert set(np.flatnonzero(np.isnan(got[0]))) == set(target[source == 77])


def test_refusals_name_the_reason():
    machine = machines()[0]
    plain = junction((0, 1), (64, 64), 256)
    assert FORM.refusal(plain, machine) == ""
    assert "no dense blocks" in FORM.refusal(replace(plain, blocks=()), machine)
    assert "powers of two" in FORM.refusal(replace(plain, n_src=100), machine)
    assert "lanes" in FORM.refusal(junction((0, 1), (64, 2), 256), machine)
    assert "touches fewer" in FORM.refusal(junction((0, 1), (64, 64), 256 + 1), machine)


def test_layouts_that_do_not_fit_are_refused():
    machine = machines()[0]
    step = Step("interleaved", "row", junction((0, 1), (1024, 1024), 4096), Layout(1024), Layout(1024), "zero", None)
    with pytest.raises(ValueError, match="matching blocks"):
        FORM.emit(step, "k", machine, 1)


def test_packing_a_million_paths_takes_no_loop_over_paths():
    machine = machines()[0]
    step = steps([junction((0, 1), (16384, 16384), 1 << 20)], machine)[0]
    weights = np.arange(1 << 20, dtype=np.float32)
    packed = FORM.pack(step, machine, {"l.1": weights}).view(np.float32)
    assert np.array_equal(np.sort(packed), weights)


def test_cost_grows_with_work():
    machine = machines()[0]

    def cycles(count: int, rows: int) -> float:
        net = junction((0, 1), (1024, 1024), count)
        return FORM.cycles(
            Step("interleaved", "row", net, natural(1024, machine), natural(1024, machine), "zero", None), machine, rows
        )

    assert cycles(4096, 1) < cycles(16384, 1) < cycles(65536, 1)
    assert cycles(16384, 1) < cycles(16384, 4) < 4 * cycles(16384, 1)
