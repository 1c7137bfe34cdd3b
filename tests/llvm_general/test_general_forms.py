"""Every general form against sums in float64, on random and low-discrepancy edges of any size."""

from dataclasses import replace

import general_support as support
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pathc.backends.llvm.emit import Function, module
from pathc.backends.llvm.general.dense import Dense, folded
from pathc.backends.llvm.general.edges import coalesce
from pathc.backends.llvm.general.gather import Gather, slices
from pathc.backends.llvm.general.skip import Skip
from pathc.backends.llvm.general.streamed import CHUNK, Streamed, arrangement, sequence
from pathc.backends.llvm.general.windowed import Windowed
from pathc.backends.llvm.general.windows import gathered_order, natural_order, operations, windows
from pathc.backends.llvm.jit import emit_object
from pathc.backends.llvm.machine import machine
from pathc.ir.generators.sobol import Sobol
from pathc.ir.types import Call

PATHS = (Windowed(), Streamed(), Gather(), Dense())
FORMS = pytest.mark.parametrize("form", PATHS, ids=lambda form: form.name)
FEW = settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
ROUNDOFF = 2.0**-24


def edges_of(kind, n_src, n_dst, count, seed):
    rng = np.random.default_rng(seed)
    if kind == "sobol":
        paths = Sobol((seed % 3, seed % 3 + 1), (n_src, n_dst), count)
        return paths.units(0, 0, count), paths.units(1, 0, count)
    if kind == "hub":
        return rng.integers(n_src, size=count), np.minimum(rng.geometric(0.2, size=count) - 1, n_dst - 1)
    return rng.integers(n_src, size=count), rng.integers(n_dst, size=count)


def close(y, junction, weights, x, step, before=None, bias=None, activation=None):
    """The units lie within a bound from fan-in, and zeros stand behind them."""
    total, size = support.expected(junction, weights, x, before, bias)
    if activation is not None:
        total = activation(total)
    longest = (
        np.bincount(junction.edges()[1], minlength=1).max(initial=0) if junction.kind == "paths" else junction.n_src
    )
    bound = (longest + 4) * ROUNDOFF * size + 1e-6 * (activation is not None) + 1e-37
    assert np.all(np.abs(y[:, : junction.n_dst] - total) <= bound)
    assert not y[:, junction.n_dst :].any()


@FORMS
@FEW
@given(
    st.sampled_from(["sobol", "random", "hub"]),
    st.integers(1, 700),
    st.integers(1, 700),
    st.integers(0, 13),
    st.sampled_from(support.MACHINES),
    st.sampled_from(["zero", "bias", "add"]),
    st.integers(0, 1 << 20),
)
def test_paths(form, kind, n_src, n_dst, log_count, name, init, seed):
    to = support.machine_of(name)
    count = max(1, (1 << log_count) + seed % 5 - 2)
    src, dst = edges_of(kind, n_src, n_dst, count, seed)
    junction = support.junction_of(n_src, n_dst, src, dst)
    if form.refusal(junction, to):
        return
    rng = np.random.default_rng(seed)
    rows = 1 + seed % 4
    x = rng.standard_normal((rows, n_src)).astype(np.float32)
    weights = rng.standard_normal(count).astype(np.float32)
    before = rng.standard_normal((rows, n_dst)).astype(np.float32) if init == "add" else None
    bias = rng.standard_normal(n_dst).astype(np.float32) if init == "bias" else None
    step = support.step_of(form, junction, init)
    y = support.run_step(form, step, weights, x, before, bias, to, rows)
    close(y, junction, weights, x, step, before, bias)
    assert form.cycles(step, to, rows) > 0


@FEW
@given(st.integers(1, 400), st.integers(1, 150), st.sampled_from(support.MACHINES), st.integers(1, 4), st.booleans())
def test_dense(n_src, n_dst, name, rows, half):
    to = support.machine_of(name)
    junction = support.junction_of(n_src, n_dst, [], [], "dense")
    rng = np.random.default_rng(n_src * n_dst)
    weights = rng.standard_normal((n_dst, n_src)).astype(np.float32)
    if half:
        weights = (weights.view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)
    x = rng.standard_normal((rows, n_src)).astype(np.float32)
    bias = rng.standard_normal(n_dst).astype(np.float32)
    step = support.step_of(Dense(), junction, "bias", Call("leaky"), "bf16" if half else "f32")
    y = support.run_step(Dense(), step, weights, x, None, bias, to, rows)
    close(y, junction, weights, x, step, None, bias, lambda t: np.where(t > 0, t, 0.01 * t))


@FEW
@given(st.integers(1, 700), st.sampled_from(support.MACHINES), st.integers(1, 4), st.sampled_from([1.0, -0.5]))
def test_skip(units, name, rows, scale):
    to = support.machine_of(name)
    junction = support.junction_of(units, units, [], [], "skip", scale)
    rng = np.random.default_rng(units)
    x, before = rng.standard_normal((2, rows, units)).astype(np.float32)
    step = support.step_of(Skip(), junction, "add", Call("relu"))
    y = support.run_step(Skip(), step, np.zeros(0, np.float32), x, before, None, to, rows)
    close(y, junction, np.zeros(0), x, step, before, None, lambda t: np.maximum(t, 0))


@FORMS
@pytest.mark.parametrize("name", support.MACHINES)
@pytest.mark.parametrize("call", ["relu", "tanh", "sigmoid"])
def test_activation_and_half_weights(form, name, call):
    to = support.machine_of(name)
    src, dst = edges_of("sobol", 97, 53, 700, 1)
    junction = support.junction_of(97, 53, src, dst)
    if form.refusal(junction, to):
        return
    rng = np.random.default_rng(5)
    weights = (rng.standard_normal(700) / 4).astype(np.float32)
    sums = coalesce(97, 53, src, dst).sums(weights)
    exact = np.where(np.abs(sums) > 2, sums, sums)
    x = rng.standard_normal((2, 97)).astype(np.float32)
    bias = rng.standard_normal(53).astype(np.float32)
    step = support.step_of(form, junction, "bias", Call(call), "bf16")
    y = support.run_step(form, step, weights, x, None, bias, to, 2)
    total, size = support.expected(junction, weights, x, None, bias)
    function = {"relu": lambda t: np.maximum(t, 0), "tanh": np.tanh, "sigmoid": lambda t: 1 / (1 + np.exp(-t))}[call]
    assert exact.size
    assert np.all(np.abs(y[:, :53] - function(total)) <= size * 2.0**-8 + 1e-6)
    assert not y[:, 53:].any()


@pytest.mark.parametrize("form", [Windowed(), Streamed(), Gather()], ids=lambda form: form.name)
@pytest.mark.parametrize("name", support.MACHINES)
@pytest.mark.parametrize("kind", ["sobol", "random", "hub"])
@pytest.mark.parametrize("count", [300, 3000])
def test_what_is_not_finite_stays_on_its_edges(form, name, kind, count):
    to = support.machine_of(name)
    src, dst = edges_of(kind, 203, 131, count, 2)
    junction = support.junction_of(203, 131, src, dst)
    if form.refusal(junction, to):
        return
    rng = np.random.default_rng(3)
    x = rng.standard_normal((1, 203)).astype(np.float32)
    x[0, [0, 77, 150, 202]] = np.nan, np.inf, -np.inf, np.inf
    weights = (rng.random(count) + 0.5).astype(np.float32)
    step = support.step_of(form, junction)
    y = support.run_step(form, step, weights, x, None, None, to)
    with np.errstate(invalid="ignore"):
        total, _ = support.expected(junction, weights, x)
    assert np.array_equal(np.isnan(y[0, :131]), np.isnan(total[0]))
    assert np.array_equal(np.isposinf(y[0, :131]), np.isposinf(total[0]))
    assert np.array_equal(np.isneginf(y[0, :131]), np.isneginf(total[0]))
    assert not y[:, 131:].any()


@FORMS
def test_repeated_edges_are_added_before_they_are_rounded(form):
    src, dst = np.full(3, 39), np.zeros(3, np.int64)
    junction = support.junction_of(40, 1, src, dst)
    weights = np.array([1e8, 1.0, -1e8], np.float32)
    y = support.run_step(form, support.step_of(form, junction), weights, np.ones((1, 40), np.float32))
    assert y[0, 0] == 1.0


@FORMS
def test_source_that_ends_with_its_last_unit(form):
    """A user's array may end where its page does, so nothing is read behind it."""
    src, dst = edges_of("random", 37, 40, 200, 4)
    junction = support.junction_of(37, 40, src, dst)
    step = replace(
        support.step_of(form, junction), src_layout=replace(support.step_of(form, junction).src_layout, size=37)
    )
    rng = np.random.default_rng(4)
    x = rng.standard_normal((3, 37)).astype(np.float32)
    weights = rng.standard_normal(200).astype(np.float32)
    close(support.run_step(form, step, weights, x, rows=3), junction, weights, x, step)


@pytest.mark.parametrize("near", [1, 4, 8])
@pytest.mark.parametrize("lanes", [8, 16])
def test_every_edge_is_taken_once(near, lanes):
    rng = np.random.default_rng(near)
    edges = coalesce(100, 90, rng.integers(100, size=800), rng.integers(90, size=800))
    plan = windows(edges, lanes, near, 16)
    shares = np.zeros(edges.src.size)
    np.add.at(shares, plan.edge[plan.edge >= 0], plan.share[plan.edge >= 0])
    assert np.array_equal(shares, np.ones(edges.src.size))
    rows = plan.order[plan.group]
    taken = plan.edge >= 0
    assert np.array_equal(edges.dst[plan.edge[taken]], rows[taken])
    assert np.array_equal((edges.src[plan.edge] - plan.base[:, None] * lanes)[taken], plan.index[taken])
    assert ((plan.index >= 0) & (plan.index < 2 * lanes)).all()
    assert np.array_equal(np.sort(plan.order[plan.order >= 0]), np.arange(90))


def test_low_discrepancy_fills_the_windows():
    src, dst = edges_of("sobol", 300, 300, 16384, 1)
    edges = coalesce(300, 300, src, dst)
    plan = windows(edges, 16, 1, 20)
    assert plan.count * 16 <= 1.06 * edges.src.size
    assert not plan.masked.any()


@pytest.mark.parametrize("lanes", [8, 16])
@pytest.mark.parametrize("n_dst", [1, 8, 90, 2000])
def test_sorted_destinations_are_all_there_and_the_last_fills_up(n_dst, lanes):
    src, dst = edges_of("sobol", 1000, n_dst, 5 * n_dst, 1)
    edges = coalesce(1000, n_dst, src, dst)
    order = gathered_order(edges, lanes)
    flat = order.reshape(-1)
    assert order.shape == (-(-n_dst // lanes), lanes)
    assert np.array_equal(np.sort(flat[:n_dst]), np.arange(n_dst))
    assert (flat[n_dst:] == flat[n_dst - 1]).all()


def test_sorting_halves_the_operations_of_few_sources_a_unit():
    src, dst = edges_of("sobol", 1000, 2000, 16384, 1)
    edges = coalesce(1000, 2000, src, dst)
    natural, moved = (operations(edges, o, 1 << 20) for o in (natural_order(2000, 16), gathered_order(edges, 16)))
    assert moved <= natural / 1.9
    plan = sequence(edges, 16, True)
    assert plan.count == moved
    chunks = -(-np.bincount(plan.group) // CHUNK)
    assert np.array_equal(chunks, np.sort(chunks))


@pytest.mark.parametrize("name", support.MACHINES)
@pytest.mark.parametrize("init", ["zero", "bias", "add"])
def test_streamed_with_sorted_destinations(name, init):
    """Sorted: a thousand units with few sources each. An output that no path reaches keeps what it starts from."""
    to = support.machine_of(name)
    src, dst = edges_of("sobol", 1003, 1501, 8192, 2)
    src, dst = src[dst != 700], dst[dst != 700]
    junction = support.junction_of(1003, 1501, src, dst)
    form = Streamed()
    if form.refusal(junction, to):
        return
    assert arrangement(junction, to)[0]
    rng = np.random.default_rng(7)
    x = rng.standard_normal((2, 1003)).astype(np.float32)
    weights = rng.standard_normal(src.size).astype(np.float32)
    before = rng.standard_normal((2, 1501)).astype(np.float32) if init == "add" else None
    bias = rng.standard_normal(1501).astype(np.float32) if init == "bias" else None
    step = support.step_of(form, junction, init, Call("relu"))
    y = support.run_step(form, step, weights, x, before, bias, to, 2)
    close(y, junction, weights, x, step, before, bias, lambda total: np.maximum(total, 0))
    x[0, 500], x[0, 3] = np.nan, np.inf
    y = support.run_step(form, support.step_of(form, junction), np.abs(weights), x, None, None, to, 2)
    total, _ = support.expected(junction, np.abs(weights), x)
    assert np.array_equal(np.isnan(y[:, :1501]), np.isnan(total))
    assert np.array_equal(np.isposinf(y[:, :1501]), np.isposinf(total))


@pytest.mark.parametrize("lanes", [4, 8, 16])
def test_slices_share_out_whole_weights(lanes):
    rng = np.random.default_rng(lanes)
    edges = coalesce(50, 70, rng.integers(50, size=300), np.minimum(rng.geometric(0.1, size=300), 69))
    plan = slices(edges, lanes)
    full = plan.rows[: len(plan.steps)]
    shares = np.zeros(edges.src.size)
    unique = np.ones(full.size, np.bool_)
    unique[np.unique(full, return_index=True)[1]] = False
    at = np.repeat(np.arange(len(full)), plan.steps)
    once = ~unique.reshape(full.shape)[at]
    np.add.at(shares, plan.edge[once], plan.share[once])
    assert np.array_equal(shares, np.ones(edges.src.size))
    assert plan.empty == -(-np.count_nonzero(edges.lengths == 0) // lanes)


def test_sums_of_lanes_end_in_their_lane():
    to = support.host()
    for count in range(1, to.width + 1):
        f = Function("fold", (("ptr", "src"), ("ptr", "dst")))
        kind = f"<{to.width} x float>"
        vectors = [f.load(kind, f.offset("%src", k * to.width)) for k in range(count)]
        f.store(kind, folded(f, to.width, vectors), "%dst")
        library, call = support.compiled([f], "fold", to)
        x = np.arange(count * to.width, dtype=np.float32).reshape(count, to.width) ** 2
        y = np.ones(to.width, np.float32)
        call(x, y)
        assert library.addresses
        assert np.array_equal(y[:count], x.sum(axis=1))
        assert not y[count:].any()


def test_refusals():
    paths = support.junction_of(40, 20, [1, 2], [3, 4])
    skip = support.junction_of(20, 20, [], [], "skip")
    dense = support.junction_of(40, 20, [], [], "dense")
    wide, narrow = machine({"cpu": "avx512"}), machine({"cpu": "sse"})
    assert not any(form.refusal(paths, wide) for form in PATHS)
    assert Windowed().refusal(paths, narrow)
    assert Streamed().refusal(paths, narrow)
    assert not Gather().refusal(paths, narrow)
    assert all(form.refusal(skip, wide) for form in PATHS)
    assert Skip().refusal(paths, wide)
    assert Windowed().refusal(dense, wide)
    assert Gather().refusal(dense, wide)
    assert not Dense().refusal(dense, narrow)
    large = support.junction_of(1 << 14, 1 << 14, [0], [0])
    assert Dense().refusal(large, wide)
    rng = np.random.default_rng(0)
    long = support.junction_of(3000, 3000, rng.integers(3000, size=60000), rng.integers(3000, size=60000))
    assert "straight-line" in Windowed().refusal(long, wide)


@pytest.mark.parametrize("form", PATHS, ids=lambda form: form.name)
def test_objects_for_other_machines(form):
    src, dst = edges_of("sobol", 40, 20, 100, 1)
    junction = support.junction_of(40, 20, src, dst)
    for cpu in ("aarch64", "sse", "avx2", "avx512"):
        to = machine({"cpu": cpu})
        if not form.refusal(junction, to):
            functions = form.emit(support.step_of(form, junction), "kernel", to, 2)
            functions[0].internal = False
            assert emit_object(module(functions, to.triple), to)
