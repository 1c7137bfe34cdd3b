"""Edges as instructions against dense matrices in float64: sums, addresses far away, assembly of other processors."""

from __future__ import annotations

import numpy as np
import pytest
from column_support import MACHINES, check, paths, run_step, step_of
from hypothesis import given, settings
from hypothesis import strategies as st

from pathc.backends.llvm.column.unrolled import ColumnUnrolled, sets_of
from pathc.backends.llvm.emit import module
from pathc.backends.llvm.general.edges import distinct_edges
from pathc.backends.llvm.jit import emit_assembly
from pathc.backends.llvm.machine import machine
from pathc.ir.types import Call

FEW = settings(max_examples=25, deadline=None, derandomize=True)
COLUMNS = st.sampled_from([16, 32, 48, 64])
INITS = st.sampled_from(["zero", "bias", "add"])
ACTIVATIONS = st.sampled_from([None, "relu", "abs", "tanh"])
WEIGHT_TYPES = st.sampled_from(["f32", "bf16"])
SEEDS = st.integers(0, 1 << 20)
WITH_512 = pytest.mark.skipif(not MACHINES[16].avx512, reason="runs instructions of AVX-512, which are missing here")


@WITH_512
@FEW
@given(
    st.integers(1, 700), st.integers(1, 150), st.integers(0, 3000), st.booleans(), st.integers(1, 28),
    COLUMNS, INITS, ACTIVATIONS, WEIGHT_TYPES, SEEDS,
)  # fmt: skip
def test_unrolled(n_src, n_dst, count, skewed, rows, columns, init, activation, weight_type, seed):
    rng = np.random.default_rng(seed)
    dst = rng.integers(n_dst, size=count)
    if skewed:
        dst = dst * dst // n_dst
    junction = paths(rng.integers(n_src, size=count), dst, n_src, n_dst)
    check(ColumnUnrolled(), junction, 16, columns, init, activation, weight_type, seed, tile=(("rows", rows),))


@WITH_512
@pytest.mark.parametrize("count", [1, 255, 256, 257, 700])
def test_unrolled_moves_its_base_along_many_weights_and_far_sources(count):
    rng = np.random.default_rng(count)
    junction = paths(rng.permutation(5000)[:count], rng.integers(3, size=count), 5000, 3)
    check(ColumnUnrolled(), junction, 16, 16, "bias", "relu", "f32", 4)


def test_unrolled_takes_every_destination_and_every_edge_once():
    rng = np.random.default_rng(3)
    junction = paths(rng.integers(90, size=900), rng.integers(70, size=900) * 7 // 10, 90, 70)
    sets = sets_of(junction, 12)
    assert sorted(np.concatenate(sets.rows).tolist()) == list(range(70))
    assert max(map(len, sets.rows)) <= 12
    edges = distinct_edges(junction)
    assert sorted(sets.order.tolist()) == list(range(edges.src.size))
    assert sets.loads < edges.src.size


def test_unrolled_keeps_minus_zero_that_nothing_is_added_to():
    if not MACHINES[16].avx512:
        pytest.skip("runs instructions of AVX-512, which are missing here")
    junction = paths([0], [0], 2, 3)
    before = np.full((3, 16), -0.0, np.float32)
    step = step_of(ColumnUnrolled(), junction, "add")
    x, one = np.zeros((2, 16), np.float32), np.ones(1, np.float32)
    got = run_step(ColumnUnrolled(), step, MACHINES[16], x, {"main.1": one}, np.zeros(64, np.float32), before, 16)
    assert np.signbit(got[1:]).all()
    assert not np.signbit(got[0]).any()


def test_unrolled_is_assembled_for_every_processor_with_avx512():
    rng = np.random.default_rng(2)
    junction = paths(rng.integers(300, size=400), rng.integers(40, size=400), 300, 40)
    for cpu in ("znver4", "skylake-avx512", "avx512"):
        on = machine({"cpu": cpu})
        step = step_of(ColumnUnrolled(), junction, "bias", Call("relu"))
        text = emit_assembly(module(ColumnUnrolled().emit(step, "kernel", on, 16), on.triple), on)
        assert text.count("vfmadd231ps") == distinct_edges(junction).src.size
