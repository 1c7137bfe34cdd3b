"""Column kernels against dense matrices in float64: every form, width, start, activation and weight type."""

from __future__ import annotations

import numpy as np
import pytest
from column_support import (
    MACHINES,
    activated,
    block_junction,
    blocks_of,
    call,
    check,
    matrix,
    paths,
    rounded,
    run_step,
    simple,
    step_of,
    window_edges,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from pathc.backends.llvm.column.blocks import ColumnBlocks, block_weights
from pathc.backends.llvm.column.dense import ColumnDense
from pathc.backends.llvm.column.ell import LOCKSTEP, ColumnEll, sliced
from pathc.backends.llvm.column.fused import ColumnFused
from pathc.backends.llvm.column.skip import ColumnSkip
from pathc.backends.llvm.column.unrolled import ColumnUnrolled
from pathc.backends.llvm.general.edges import coalesce, distinct_edges
from pathc.backends.llvm.machine import machine
from pathc.ir.types import Call

FEW = settings(max_examples=25, deadline=None, derandomize=True)
WIDTHS = st.sampled_from([16, 8, 4])
COLUMNS = st.sampled_from([16, 32, 48, 64])
INITS = st.sampled_from(["zero", "bias", "add"])
ACTIVATIONS = st.sampled_from([None, "relu", "abs", "tanh"])
WEIGHT_TYPES = st.sampled_from(["f32", "bf16"])
SEEDS = st.integers(0, 1 << 20)


def window_matrix(junction, weights, weight_type):
    """The junction's matrix with each window rounded on its own, as the kernels keep them."""
    total = np.zeros((junction.n_dst, junction.n_src))
    src, dst = junction.edges()
    for window in junction.blocks:
        part = slice(window.start, window.start + window.length)
        alone = paths(src[part], dst[part], junction.n_src, junction.n_dst)
        total += matrix(alone, weights[part], weight_type)
    return total


@FEW
@given(
    st.integers(0, 7), st.integers(0, 7), st.integers(0, 6), st.integers(0, 6), st.integers(0, 2), st.booleans(),
    WIDTHS, COLUMNS, INITS, ACTIVATIONS, WEIGHT_TYPES, SEEDS,
)  # fmt: skip
def test_blocks(src, dst, fan_in, fan_out, repeats, twice, width, columns, init, activation, weight_type, seed):
    rng = np.random.default_rng(seed)
    fan_in, fan_out = min(fan_in, src), min(fan_out, dst)
    windows = [blocks_of(rng, src, dst, fan_in, fan_out, repeats)]
    if twice:
        windows.append(blocks_of(rng, src, dst, fan_in // 2, fan_out, 0, start=windows[0].length))
    junction = block_junction(rng, windows, src, dst)
    check(
        ColumnBlocks(), junction, width, columns, init, activation, weight_type, seed,
        lambda weights: window_matrix(junction, weights, weight_type),
    )  # fmt: skip


def test_blocks_with_more_sources_than_fit_a_basic_block():
    rng = np.random.default_rng(1)
    for width in MACHINES:
        junction = block_junction(rng, [blocks_of(rng, 9, 5, 8, 4)], 9, 5)
        check(ColumnBlocks(), junction, width, 32, "bias", "relu", "f32", 2)


def test_windows_that_leave_destinations_without_a_path_still_start_and_finish_them():
    rng = np.random.default_rng(5)
    partial = blocks_of(rng, 3, 7, 1, 2)
    assert partial.count * partial.fan_out < 128
    junction = block_junction(rng, [partial], 3, 7)
    for width in MACHINES:
        for init in ("zero", "bias", "add"):
            check(ColumnBlocks(), junction, width, 16, init, "tanh", "f32", 3)


def test_block_weights_add_repeats_in_double_precision():
    rng = np.random.default_rng(2)
    window = blocks_of(rng, 2, 2, 1, 1, repeat_bits=1)
    junction = block_junction(rng, [window], 2, 2)
    weights = np.full(window.length, 1.0, np.float32)
    src, dst = junction.edges()
    same = np.flatnonzero((src == src[0]) & (dst == dst[0]))
    weights[same] = 1e8, -1e8 + 8
    dense = block_weights(window, junction, weights)
    assert dense.shape == (window.count, 2, 2)
    assert np.sort(dense.reshape(-1)).tolist() == [2.0] * (dense.size - 1) + [8.0]


@FEW
@given(
    st.integers(0, 6), st.integers(0, 3), st.integers(0, 3), st.integers(0, 3), st.integers(0, 3), st.integers(0, 2),
    WIDTHS, COLUMNS, st.sampled_from(["zero", "bias"]), ACTIVATIONS, WEIGHT_TYPES, SEEDS,
)  # fmt: skip
def test_fused(reps, a_in, a_out, b_in, b_out, repeats, width, columns, init, activation, weight_type, seed):
    rng = np.random.default_rng(seed)
    middle = reps + max(a_out, b_in)
    src, dst = middle - a_out + a_in, middle - b_in + b_out
    first = block_junction(rng, [blocks_of(rng, src, middle, a_in, a_out, repeats)], src, middle)
    second = block_junction(rng, [blocks_of(rng, middle, dst, b_in, b_out, number=2)], middle, dst, 2)
    form, on = ColumnFused(), MACHINES[width]
    if form.pair_refusal(first, second, on):
        return
    weights = {j.tensor: rng.standard_normal(j.count).astype(np.float32) for j in (first, second)}
    x = rng.standard_normal((first.n_src, columns)).astype(np.float32)
    padded = -(-first.n_dst // width) * width
    bias = np.zeros(padded + second.n_dst + 16, np.float32)
    bias[: first.n_dst] = rng.standard_normal(first.n_dst)
    bias[padded : padded + second.n_dst] = rng.standard_normal(second.n_dst)
    step = step_of(
        form, first, init, call(activation), weight_type, fused=second, fused_init="bias", fused_activation=Call("relu")
    )
    before = np.full((second.n_dst, columns), np.nan, np.float32)
    got = run_step(form, step, on, x, weights, bias, before, columns)
    ahead, behind = (matrix(j, weights[j.tensor], weight_type) for j in (first, second))
    start = bias[: first.n_dst, None] if init == "bias" else 0.0
    hidden = activated(activation, ahead @ x.astype(np.float64) + start)
    want = activated("relu", behind @ hidden + bias[padded : padded + second.n_dst, None])
    reach = np.abs(behind) @ (np.abs(ahead) @ np.abs(x) + np.abs(start) + 1) + 5
    bound = (first.fan_in + second.fan_in + 16) * np.finfo(np.float32).eps * reach
    assert np.all(np.abs(got - want) <= bound)


def test_a_butterfly_of_radix_16_is_fused_where_registers_allow():
    rng = np.random.default_rng(4)
    first = block_junction(rng, [blocks_of(rng, 6, 6, 2, 2)], 6, 6)
    second = block_junction(rng, [blocks_of(rng, 6, 6, 2, 2, number=2)], 6, 6, 2)
    form = ColumnFused()
    assert form.pair_refusal(first, second, MACHINES[16]) == ""
    assert "registers" in form.pair_refusal(first, second, MACHINES[8])
    assert "follow" in form.pair_refusal(second, first, MACHINES[16])
    assert "paths" in form.refusal(simple("dense", 4, 4), MACHINES[16])


@FEW
@given(
    st.integers(1, 500), st.integers(1, 300), st.integers(0, 3000), st.booleans(),
    WIDTHS, COLUMNS, INITS, ACTIVATIONS, WEIGHT_TYPES, SEEDS, st.integers(1, 16),
)  # fmt: skip
def test_ell(n_src, n_dst, count, skewed, width, columns, init, activation, weight_type, seed, pieces):
    rng = np.random.default_rng(seed)
    dst = rng.integers(n_dst, size=count)
    if skewed:
        dst = dst * dst // n_dst
    junction = paths(rng.integers(n_src, size=count), dst, n_src, n_dst)
    tile = (("vectors", 2), ("pieces", pieces))
    check(ColumnEll(), junction, width, columns, init, activation, weight_type, seed, tile=tile)


def test_ell_numbers_units_beyond_16_bits():
    rng = np.random.default_rng(3)
    junction = paths(rng.integers(70000, size=300), rng.integers(40, size=300), 70000, 40)
    for weight_type in ("f32", "bf16"):
        check(ColumnEll(), junction, 16, 16, "bias", "relu", weight_type, 5)


@pytest.mark.parametrize("lengths", [[1, 2, 3, 9], [0, 0, 1], [5], [0], [70, 1, 70, 3, 2], [4] * 8])
def test_rows_in_lockstep_are_filled_with_pieces_of_their_own_weights(lengths):
    dst = np.repeat(np.arange(len(lengths)), lengths)
    src = np.concatenate([np.arange(n) for n in lengths] or [np.zeros(0, int)]).astype(np.int64)
    weights = np.random.default_rng(1).standard_normal(len(dst)).astype(np.float32)
    edges = coalesce(100, len(lengths), src, dst.astype(np.int64))
    rows = sliced(edges, edges.sums(weights))
    assert set(rows.rows.reshape(-1)) == set(range(len(lengths)))
    assert rows.empty * LOCKSTEP >= lengths.count(0)
    lane_of, total = np.zeros((len(lengths), 100)), 0
    for row_set, length in zip(rows.rows[rows.empty :], np.repeat(rows.runs[:, 0], rows.runs[:, 1]), strict=True):
        for lane, row in enumerate(row_set):
            lane_of[row] = 0
            np.add.at(
                lane_of[row], rows.index[total : total + length, lane], rows.weights[total : total + length, lane]
            )
        total += length
    assert total == len(rows.index)
    want = np.zeros((len(lengths), 100))
    want[dst, src] = weights
    assert np.allclose(lane_of, want, rtol=1e-6, atol=0)
    assert np.all(rows.weights != 0)


@FEW
@given(
    st.integers(1, 400), st.integers(1, 40), WIDTHS, COLUMNS, INITS, ACTIVATIONS, WEIGHT_TYPES, SEEDS
)  # fmt: skip
def test_dense(n_src, n_dst, width, columns, init, activation, weight_type, seed):
    check(ColumnDense(), simple("dense", n_src, n_dst), width, columns, init, activation, weight_type, seed)


@FEW
@given(st.integers(1, 40), st.integers(1, 20), WIDTHS, COLUMNS, INITS, WEIGHT_TYPES, SEEDS)
def test_paths_that_fill_the_matrix_run_dense(n_src, n_dst, width, columns, init, weight_type, seed):
    rng = np.random.default_rng(seed)
    count = 2 * n_src * n_dst
    junction = paths(rng.integers(n_src, size=count), rng.integers(n_dst, size=count), n_src, n_dst)
    check(ColumnDense(), junction, width, columns, init, "relu", weight_type, seed)


@FEW
@given(st.integers(1, 70), st.sampled_from([1.0, -0.5]), WIDTHS, COLUMNS, INITS, ACTIVATIONS, SEEDS)
def test_skip(units, scale, width, columns, init, activation, seed):
    check(ColumnSkip(), simple("skip", units, units, scale), width, columns, init, activation, "f32", seed)


def test_refusals_say_why():
    rng = np.random.default_rng(0)
    random = paths(rng.integers(90, size=50), rng.integers(90, size=50), 90, 90)
    on = MACHINES[16]
    assert "no dense blocks" in ColumnBlocks().refusal(random, on)
    assert "small part" in ColumnDense().refusal(random, on)
    assert "skip" in ColumnSkip().refusal(random, on)
    assert "differ" in ColumnSkip().refusal(simple("skip", 3, 4), on)
    assert "dense" in ColumnEll().refusal(simple("dense", 3, 4), on)
    assert "dense" in ColumnBlocks().refusal(simple("dense", 3, 4), on)
    assert "dense" in ColumnUnrolled().refusal(simple("dense", 3, 4), on)
    assert "AVX-512" in ColumnUnrolled().refusal(random, MACHINES[8])
    many = paths(np.zeros(1 << 17), np.zeros(1 << 17), 90, 90)
    assert "cache" in ColumnUnrolled().refusal(many, machine({"cpu": "avx512"}))
    wide = paths([0], [0], 1 << 21, 1), paths([0], [0], 1, 1 << 13)
    assert all("at most" in ColumnUnrolled().refusal(each, machine({"cpu": "avx512"})) for each in wide)
    blocks = block_junction(rng, [blocks_of(rng, 3, 3, 1, 1)], 3, 3)
    assert "blocks" in ColumnUnrolled().refusal(blocks, machine({"cpu": "avx512"}))


@pytest.mark.parametrize("name", ["column-ell", "column-blocks", "column-unrolled"])
def test_infinities_and_nan_reach_exactly_the_destinations_with_a_path(name):
    rng = np.random.default_rng(6)
    blocks = block_junction(rng, [blocks_of(rng, 5, 5, 1, 1, repeat_bits=1)], 5, 5)
    uneven = paths(*(np.concatenate(e) for e in zip(blocks.edges(), ([1, 2, 3], [4, 4, 4]), strict=True)), 32, 32)
    form, junction = {
        "column-ell": (ColumnEll(), uneven),
        "column-blocks": (ColumnBlocks(), blocks),
        "column-unrolled": (ColumnUnrolled(), uneven),
    }[name]
    weights = rng.uniform(0.5, 1.0, junction.count).astype(np.float32)
    machines = {width: on for width, on in MACHINES.items() if not form.refusal(junction, on)}
    if not machines:
        pytest.skip(f"{name} runs on none of {', '.join(map(str, MACHINES.values()))}")
    for width, on in machines.items():
        for special in (np.nan, np.inf, -np.inf):
            x = np.ones((32, 32), np.float32)
            x[np.arange(32), np.arange(32)] = special
            reached = (matrix(junction, weights) != 0).astype(bool)
            step = step_of(form, junction, "zero", Call("relu"))
            none = np.zeros(64, np.float32)
            got = run_step(form, step, on, x, {"main.1": weights}, none, np.zeros((32, 32)), 32)
            expected = {np.inf: np.isposinf, -np.inf: lambda v: v == 0, np.nan: np.isnan}[special](got)
            assert np.array_equal(expected[reached], np.ones(reached.sum(), bool)), width
            assert np.all(np.isfinite(got[~reached]))


def test_bf16_rounds_to_nearest_even_and_keeps_nan():
    from pathc.backends.llvm.column.common import encode

    values = np.array([1.0, 1.00390625, 1.01171875, -3.4e38, np.inf, np.nan, 0.0, 1e-40], np.float32)
    got = encode(values, "bf16").view(np.uint16).astype(np.uint32) << 16
    kept = got.view(np.float32)
    assert np.isnan(kept[5])
    assert np.array_equal(np.delete(kept, 5), np.delete(rounded(values, "bf16"), 5))


def test_edges_are_found_once():
    rng = np.random.default_rng(0)
    asked = []
    junction = paths(rng.integers(9, size=50), rng.integers(9, size=50), 9, 9)
    edges = junction.edges()
    object.__setattr__(junction, "edges", lambda: asked.append(1) or edges)
    step = step_of(ColumnEll(), junction)
    for _ in range(2):
        ColumnEll().pack(step, MACHINES[16], {"main.1": np.ones(50, np.float32)})
    assert len(asked) == 1
    assert distinct_edges(junction).src.size <= 50


def test_window_edges_cover_every_edge_of_the_blocks():
    rng = np.random.default_rng(8)
    window = blocks_of(rng, 5, 4, 2, 1, 1)
    src, dst = window_edges(window, rng)
    pairs, counts = np.unique(src * 16 + dst, return_counts=True)
    assert len(pairs) == 1 << window.rank
    assert np.all(counts == window.repeat)


@pytest.mark.parametrize("order", ["linear", "backwards", "random"])
@pytest.mark.parametrize("bits", [(5, 6, 2, 3), (0, 0, 0, 0)])
def test_block_weights_in_any_order_of_paths(order, bits):
    rng = np.random.default_rng(9)
    window = blocks_of(rng, *bits)
    number = np.arange(window.length)
    if order != "linear":
        number = number[::-1] if order == "backwards" else rng.permutation(number)
    inner, outer = len(window.src_basis), len(window.dst_basis)
    block, row, col = number >> (inner + outer), number >> inner & (window.fan_out - 1), number & (window.fan_in - 1)
    src = window.src_shift ^ span(window.src_basis, col) ^ span(window.src_reps, block)
    dst = window.dst_shift ^ span(window.dst_basis, row) ^ span(window.dst_reps, block)
    junction = paths(src, dst, 32, 64, [window])
    weights = rng.standard_normal(window.length).astype(np.float32)
    assert np.array_equal(block_weights(window, junction, weights)[block, row, col], weights)


def span(basis, numbers):
    """The XOR of basis[k] over the set bits of each number."""
    result = np.zeros_like(numbers)
    for k, vector in enumerate(basis):
        result ^= (numbers >> k & 1) * vector
    return result
