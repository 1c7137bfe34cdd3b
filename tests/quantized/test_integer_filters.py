"""Nets with extents in integers: exact sums and readings, widths that are proved, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from integer_filter_nets import LIMITS, exactly, formatted, net, texts

import pathc
from pathc.ir.compress.quantize import quantize
from pathc.ir.compress.tensors import Settings
from pathc.ir.facts import Scale, Sums
from pathc.ir.folding import folded
from pathc.ir.interp import evaluate, forward
from pathc.ir.interp.junctions import float_tensors
from pathc.ir.quantized import bits_for, evaluate_integers, integer_forward, integer_network, quantize_inputs
from pathc.ir.text import parse_graph, print_graph
from pathc.ir.verify import violations
from pathc.ir.weights import SCALE, VARIANCE, expected_tensors
from pathc.support.diagnostics import PathcError
from pathc.support.source import Source

HEALTH = [HealthCheck.too_slow, HealthCheck.filter_too_much]
RANDOM = settings(max_examples=40, deadline=None, suppress_health_check=HEALTH)
NET = """
input x[2, 8x8]
layer a[8] : conv(3x3, pad = same) | batchnorm | relu | maxpool(2x2)
layer b[8] : conv(3x3, pad = same) | bias | batchnorm | relu
layer c[8] : conv(1x1) | bias | relu | avgpool(global)
output y[5] : bias
dense p : x -> a
paths q : a -> b { count = 32 }
skip s : a -> c
dense r : b -> c -> y
"""


def made(text, seed, kind, per):
    graph = net(text)
    sums = [s.name for s in graph.outputs] if seed % 2 else []
    graph, tensors = formatted(graph, seed, kind, per, sums)
    return graph, tensors, integer_network(graph, tensors)


def inputs(graph, batch, seed):
    station = graph.inputs[0]
    return np.random.default_rng(seed).normal(0, 3, (batch, station.real_units, *station.shape[1:]))


@RANDOM
@given(texts(), st.integers(0, 999), st.sampled_from(list(LIMITS)), st.sampled_from(["tensor", "unit"]))
def test_sums_and_values_are_exact(text, seed, kind, per) -> None:
    graph, tensors, network = made(text, seed, kind, per)
    x = inputs(graph, 2, seed)
    rows, layout = quantize_inputs(network, x)
    assert not layout.single
    trace = evaluate_integers(network, rows)
    sums, values = exactly(graph, tensors, network, rows)
    for each in network.stations:
        name = each.station.name
        found = trace.sums[name]
        assert found[:, : sums[name][0].size].tolist() == sums[name].reshape(2, -1).tolist()
        assert trace.values[name].tolist() == values[name].reshape(2, -1).tolist()
        assert (found >= each.low).all()
        assert (found <= each.high).all()
        low, high = each.value_range()
        assert (trace.values[name] >= low).all()
        assert (trace.values[name] <= high).all()
    outputs = integer_forward(network, x)
    np.testing.assert_array_equal(integer_forward(network, x[0]), outputs[0])


def trained(graph, seed=0):
    """Weights as training leaves them: sums of about one."""
    rng = np.random.default_rng(seed)
    found = {}
    for name, shape in expected_tensors(graph).items():
        drawn = rng.normal(0, 0.3, shape).astype(np.float32)
        found[name] = np.abs(drawn) + np.float32(0.5) if name.endswith((VARIANCE, "gain")) else drawn
    return found


def test_normalizations_are_folded_and_stations_calibrated() -> None:
    graph = net(NET)
    weights = trained(graph)
    x = np.random.default_rng(1).uniform(0, 1, (40, 2, 8, 8)).astype(np.float32)
    exact = forward(graph, weights, x)
    plain, tensors = folded(graph, weights)
    np.testing.assert_allclose(forward(plain, tensors, x), exact, rtol=1e-5, atol=1e-5)
    result = quantize(graph, weights, Settings("int8", per="unit"), x.reshape(40, -1))
    assert [s.stage("batchnorm") for s in result.graph.stations] == [None] * 5
    assert {f.station for f in result.graph.facts_of(Scale)} == {"x", "a", "b", "c"}
    assert violations(result.graph) == []
    assert parse_graph(Source("g.pir", print_graph(result.graph))) == result.graph
    network = integer_network(result.graph, result.tensors)
    assert [f.bits for f in result.graph.facts_of(Sums)] == [each.bits for each in network.stations]
    assert result.tensors["a.bias"].dtype == np.int32
    assert result.tensors["a.bias" + SCALE].shape == (8,)
    found = integer_forward(network, x)
    assert np.abs(found - exact).max() < 0.02 * np.abs(exact).max()
    target = pathc.compile(result.graph, "reference{integers=true}", weights=result.tensors)
    np.testing.assert_array_equal(target(x), found)
    np.testing.assert_array_equal(target(x[3]), found[3])


@settings(max_examples=20, deadline=None, suppress_health_check=HEALTH)
@given(texts(), st.integers(0, 99), st.sampled_from(["int8", "int4", "mc"]), st.sampled_from(["tensor", "unit"]))
def test_calibrated_integers_are_near_the_floats_they_stand_for(text, seed, method, per) -> None:
    """Half a step of each input, carried by all weights, half a step of the sums, half a step of what is read."""
    graph = net(text)
    x = inputs(graph, 3, seed)
    try:
        result = quantize(graph, trained(graph, seed), Settings(method, 2.0, per=per), x.reshape(3, -1))
    except PathcError as refused:  # few weights of a unit may be given more samples than 8 bits hold
        assume({d.code for d in refused.diagnostics} != {"E1306"})
        raise
    network = integer_network(result.graph, result.tensors)
    trace = evaluate_integers(network, quantize_inputs(network, x)[0])
    exact = evaluate(result.graph, float_tensors(result.graph, result.tensors), x)
    source, each = network.station("x"), network.station("a")
    negative, positive = network.into["a"][0].reach(np.zeros_like(source.low), np.ones_like(source.low))
    carried = 0.51 * (float((positive - negative).max()) + 1.0) * float(each.sum_scale.max())
    entry = 0.0 if each.reading.table is None else 1.0 / 32
    within = np.clip(exact.values["a"], each.format.low * each.scale, each.format.high * each.scale)
    steps = np.abs(trace.values["a"] * each.scale - within)
    assert steps.max() <= 0.51 * each.scale + carried + entry


def test_windows_of_sums_are_proved() -> None:
    graph = net("input x[1, 4x4]\nlayer a[1] : conv(1x1) | avgpool(global)\noutput y[1]\ndense p : x -> a -> y")
    graph, tensors = formatted(graph, 0, sums=["y"])
    tensors["p.1"][...] = 100
    network = integer_network(graph, tensors)
    low, high = -128 * 100 * 16, 127 * 100 * 16
    assert network.station("a").bits == bits_for(low, high) > bits_for(-128 * 100, 127 * 100)
    for extreme in (-1e9, 1e9):
        trace = evaluate_integers(network, quantize_inputs(network, np.full((1, 1, 4, 4), extreme))[0])
        (total,) = network.station("a").steps.before
        assert int(total(trace.sums["a"])[0, 0]) in (low, high)
    with pytest.raises(PathcError, match="E1304"):
        integer_network(graph, tensors, network.station("a").bits - 1)


@pytest.mark.parametrize(
    ("stages", "code"),
    [
        ("conv(3x3) | relu | batchnorm", "E1303"),
        ("conv(3x3) | kwinners(2)", "E1303"),
        ("conv(3x3) | tanh | avgpool(2)", "E1303"),
        ("conv(3x3) | leaky(0.1) | avgpool(2)", "E1303"),
        ("conv(3x3) | hardtanh | maxpool(2) | abs", "E1303"),
        ("conv(3x3, pad = same) | relu | ode(solver = euler, step = 0.5, steps = 2)", "E1303"),
    ],
)
def test_what_integers_cannot_do_is_named(stages, code) -> None:
    graph = net(f"input x[4, 6x6]\nlayer a[4] : {stages}\noutput y[2]\ndense p : x -> a\ndense q : a -> y")
    with pytest.raises(PathcError, match=f"{code}: station `a`"):
        quantize(graph, trained(graph), Settings(), np.ones((2, 144)))


def test_a_normalization_behind_a_skip_stays_and_is_named() -> None:
    text = "input x[4, 6x6]\nlayer a[4] : conv(1x1)\nlayer b[4] : conv(1x1) | batchnorm\noutput y[2]\n"
    graph = net(text + "dense p : x -> a -> b -> y\nskip s : a -> b")
    weights = trained(graph)
    with pytest.raises(PathcError, match="E1303: station `b` has the stage `batchnorm`"):
        quantize(graph, weights, Settings(), np.ones((2, 144)))


def test_pools_of_positions_with_scales_of_their_own_are_refused() -> None:
    graph = net("input x[3]\nlayer a[2, 2x2] : avgpool(global)\noutput y[1]\ndense p : x -> a -> y")
    weights, x = trained(graph), np.ones((2, 3))
    assert quantize(graph, weights, Settings(), x).calibrated
    with pytest.raises(PathcError, match="E1305"):
        quantize(graph, weights, Settings(per="unit"), x)
