"""Convolutions and what belongs to them in the interpreter, against plain loops and finite differences."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from filter_nets import correlated, inputs_of, net, texts, weights_of, windows
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pathc.ir.cost import cost
from pathc.ir.generators import resolve
from pathc.ir.init import initial_weights
from pathc.ir.interp import backward, error_bound, evaluate, forward, tolerance

RANDOM = settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])


def path_edges(graph, line, number, weights):
    generator = resolve(graph.line(line), graph)
    src, dst = (generator.units(v, 0, generator.count) for v in (number - 1, number))
    return list(zip(dst, src, weights, strict=True))


@pytest.mark.parametrize(
    ("extents", "kernel", "options", "result", "stride", "dilation", "front"),
    [
        ("6x5", (3, 3), "pad = same", (6, 5), (1, 1), (1, 1), (1, 1)),
        ("6x5", (3, 2), "", (4, 4), (1, 1), (1, 1), (0, 0)),
        ("7x9", (3, 3), "stride = 2x3, pad = 1", (4, 3), (2, 3), (1, 1), (1, 1)),
        ("9x9", (3, 3), "dilation = 2x3, pad = valid", (5, 3), (1, 1), (2, 3), (0, 0)),
        ("4x4", (2, 2), "pad = same", (4, 4), (1, 1), (1, 1), (0, 0)),
        ("11", (4,), "causal = true, dilation = 2", (11,), (1,), (2,), (6,)),
        ("8", (5,), "pad = 3, stride = 2", (5,), (2,), (1,), (3,)),
    ],
)
@pytest.mark.parametrize("kind", ["paths", "dense"])
def test_convolution(kind, extents, kernel, options, result, stride, dilation, front) -> None:
    size = "x".join(map(str, kernel))
    line = "paths p : x -> y { count = 24 }" if kind == "paths" else "dense p : x -> y"
    comma = ", " if options else ""
    graph = net(f"input x[3, {extents}]\noutput y[4] : conv({size}{comma}{options}) | bias\n{line}")
    weights, x = weights_of(graph), inputs_of(graph, 2)
    w = weights["p.1"]
    if kind == "paths":
        assert w.shape == (24, *kernel)
        edges = path_edges(graph, "p", 1, w)
    else:
        assert w.shape == (4, 3, *kernel)
        edges = [(o, i, w[o, i]) for o in range(4) for i in range(3)]
    expected = correlated(x, edges, result, stride, dilation, front)
    expected += weights["y.bias"].reshape(1, 4, *[1] * len(result))
    y = forward(graph, weights, x)
    assert y.shape == (2, 4, *result)
    np.testing.assert_allclose(y, expected, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(forward(graph, weights, x[0]), y[0], rtol=1e-12, atol=1e-12)
    assert forward(graph, weights, x[:0]).shape == (0, 4, *result)


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_grouped_and_depthwise(groups) -> None:
    graph = net(f"input x[4, 5x5]\noutput y[8] : conv(3x3, groups = {groups})\ndense p : x -> y")
    weights, x = weights_of(graph), inputs_of(graph, 2)
    w = weights["p.1"]
    assert w.shape == (8, 4 // groups, 3, 3)
    edges = [(o, o // (8 // groups) * (4 // groups) + i, w[o, i]) for o in range(8) for i in range(4 // groups)]
    expected = correlated(x, edges, (3, 3), (1, 1), (1, 1), (0, 0))
    np.testing.assert_allclose(forward(graph, weights, x), expected, rtol=1e-12, atol=1e-12)
    assert cost(graph).weights == w.size
    assert cost(graph).macs == w.size * 9


@pytest.mark.parametrize("special", [np.nan, np.inf, -np.inf])
def test_absent_edges_do_not_spread_what_is_not_finite(special) -> None:
    graph = net("input x[8, 6x6]\noutput y[8] : conv(3x3, pad = same)\npaths p : x -> y { count = 16 }")
    weights, x = weights_of(graph), inputs_of(graph, 1)
    x[0, 3, 2, 2] = special
    y = forward(graph, weights, x)
    heard = {int(o) for o, i, _ in path_edges(graph, "p", 1, weights["p.1"]) if i == 3}
    assert 0 < len(heard) < 8
    for channel in range(8):
        near = np.zeros((6, 6), bool)
        near[1:4, 1:4] = channel in heard
        assert (~np.isfinite(y[0, channel]) == near).all()


@pytest.mark.parametrize(("pool", "window", "stride"), [("2x2", (2, 2), (2, 2)), ("3x2, stride = 1x2", (3, 2), (1, 2))])
@pytest.mark.parametrize("kind", ["maxpool", "avgpool"])
def test_pools(kind, pool, window, stride) -> None:
    graph = net(f"input x[3, 7x6] : {kind}({pool})\noutput y[3] : conv(1x1)\ndense p : x -> y")
    weights, x = {"p.1": np.eye(3).reshape(3, 3, 1, 1)}, inputs_of(graph, 2)
    y = forward(graph, weights, x)
    for place, values in windows(x, window, stride):
        expected = values.max(axis=-1) if kind == "maxpool" else values.mean(axis=-1)
        np.testing.assert_allclose(y[(..., *place)], expected, rtol=1e-12)


def test_global_pool_and_flattening() -> None:
    text = "input x[3, 4x5] : {}\noutput y[2]\ndense p : x -> y"
    graph, x = net(text.format("avgpool(global)")), np.random.default_rng(0).normal(size=(2, 3, 4, 5))
    weights = weights_of(graph)
    assert weights["p.1"].shape == (2, 3)
    np.testing.assert_allclose(forward(graph, weights, x), x.mean(axis=(2, 3)) @ weights["p.1"].T)
    graph = net(text.format("relu"))
    weights = weights_of(graph)
    assert weights["p.1"].shape == (2, 60)
    np.testing.assert_allclose(forward(graph, weights, x), np.maximum(x, 0).reshape(2, 60) @ weights["p.1"].T)


def test_paths_without_a_filter_join_channels_at_every_position() -> None:
    graph = net("input x[4, 3x3]\noutput y[4, 3x3]\npaths p : x -> y { count = 8 }")
    weights, x = weights_of(graph), inputs_of(graph, 2)
    assert weights["p.1"].shape == (8,)
    matrix = np.zeros((4, 4))
    for o, i, w in path_edges(graph, "p", 1, weights["p.1"]):
        matrix[o, i] += w
    np.testing.assert_allclose(forward(graph, weights, x), np.einsum("oi,bihw->bohw", matrix, x), rtol=1e-12)


def test_batch_normalization() -> None:
    graph = net("input x[4, 3x3]\noutput y[4] : conv(1x1) | batchnorm(eps = 0.01)\ndense p : x -> y")
    weights, x = weights_of(graph), inputs_of(graph, 5)
    weights["p.1"] = np.eye(4).reshape(4, 4, 1, 1)
    gain, shift, mean, variance = (
        weights[f"y.norm.{n}"].reshape(4, 1, 1) for n in ("gain", "shift", "mean", "variance")
    )
    expected = gain * (x - mean) / np.sqrt(variance + 0.01) + shift
    np.testing.assert_allclose(forward(graph, weights, x), expected)
    mean, variance = x.mean(axis=(0, 2, 3), keepdims=True), x.var(axis=(0, 2, 3), keepdims=True)
    trained = evaluate(graph, weights, x, training=True).outputs
    np.testing.assert_allclose(trained, gain * (x - mean) / np.sqrt(variance + 0.01) + shift)


def test_concatenation_and_shuffle() -> None:
    graph = net(
        """
input x[4, 3x3]
layer a[2] : conv(1x1)
layer b[4] : concat | channelshuffle(2)
layer c[2] : conv(1x1)
output y[4] : conv(1x1)
dense p : x -> a
dense r : x -> c
skip s : a -> b
skip t : c -> b { scale = 2 }
dense q : b -> y
""".replace("layer b[4]", "layer b[4, 3x3]")
    )
    weights, x = weights_of(graph), inputs_of(graph, 2)
    weights["q.1"] = np.eye(4).reshape(4, 4, 1, 1)
    a, c = (np.einsum("oi,bihw->bohw", weights[f"{n}.1"][:, :, 0, 0], x) for n in "pr")
    expected = np.stack([a[:, 0], 2 * c[:, 0], a[:, 1], 2 * c[:, 1]], axis=1)
    np.testing.assert_allclose(forward(graph, weights, x), expected)


@pytest.mark.parametrize(("solver", "order"), [("euler", 1), ("rk2", 2), ("rk4", 4)])
def test_equations_converge_with_the_order_of_their_solver(solver, order) -> None:
    text = "input x[4]\nlayer h[4] : bias | tanh | ode(solver = {}, step = {}, steps = {})\noutput y[4]\n"
    text += "dense f : x -> h\nskip s : h -> y"
    weights = {"f.1": np.random.default_rng(0).normal(size=(4, 4)), "h.bias": np.array([0.1, -0.2, 0.3, 0.0])}
    x = np.random.default_rng(1).normal(size=(3, 4))

    def end(steps: int, how: str = solver) -> np.ndarray:
        return forward(net(text.format(how, 1.0 / steps, steps)), weights, x)

    exact = end(256, "rk4")
    errors = [np.abs(end(n) - exact).max() for n in (8, 16, 32)]
    rates = [np.log2(a / b) for a, b in pairwise(errors)]
    assert all(abs(rate - order) < 0.3 for rate in rates), rates
    one = x + 0.5 * np.tanh(x @ weights["f.1"].T + weights["h.bias"])
    assert solver != "euler" or np.allclose(end(2), one + 0.5 * np.tanh(one @ weights["f.1"].T + weights["h.bias"]))


EQUATION = """
input x[2, 4x4]
layer h[2] : conv(3x3, pad = same) | bias | batchnorm | tanh | ode(solver = rk4, step = 0.3, steps = 2) | sigmoid
output y[2] : conv(2x2, stride = 2) | avgpool(2x1)
paths f : x -> h -> y { count = 6 }
skip s : x -> h { scale = -0.5 }
"""
SHORTCUT = """
input x[4, 6x6]
layer a[8] : conv(3x3, pad = same) | bias | batchnorm(eps = 0.1) | tanh
layer s[8] : conv(3x3, pad = same) | batchnorm(eps = 0.1) | shortcut | bias | tanh | avgpool(global)
layer g[8] : bias | tanh
layer f[8] : bias | tanh | shortcut | leaky(0.2)
output y[3] : bias | tanh
dense m : x -> a
paths p : a -> s -> g { count = 64 }
skip k : a -> s { scale = 0.5 }
paths q : s -> f { count = 64 }
skip l : g -> f
dense h : f -> y
"""
RESIDUAL = """
input x[3, 6x6]
layer a[4] : conv(3x3, pad = same) | batchnorm | tanh
layer b[4] : conv(3x3, pad = same) | bias | avgpool(2x2)
layer c[8, 3x3] : concat | channelshuffle(4)
layer d[4] : conv(1x1) | avgpool(2x2, stride = 1) | channelshuffle(2)
output y[2] : bias | softmax
paths p : x -> a -> b { count = 16 }
skip r : a -> b
skip t : b -> c
skip u : b -> c { scale = 2 }
dense q : c -> d -> y
"""


def assert_gradients(graph, weights, x, *, training: bool) -> None:
    """Finite differences of a random functional of the outputs, in a few random directions."""
    random = np.random.default_rng(5)
    outputs = evaluate(graph, weights, x, training=training).outputs
    at_outputs = random.normal(size=outputs.shape)
    at_inputs, tensors = backward(graph, weights, x, at_outputs, training=training)
    assert at_inputs.shape == x.shape
    stored = {name for name in weights if name.endswith(("norm.mean", "norm.variance"))}
    assert set(tensors) == set(weights) - stored

    def value(w, inputs) -> float:
        return float((evaluate(graph, w, inputs, training=training).outputs * at_outputs).sum())

    step = 1e-5
    for name in (*tensors, ""):
        there = x if not name else weights[name]
        direction = random.normal(size=there.shape)
        ends = []
        for sign in (1, -1):
            moved = there + sign * step * direction
            ends.append(value(weights | {name: moved}, x) if name else value(weights, moved))
        expected = (ends[0] - ends[1]) / (2 * step)
        given = float(((tensors[name] if name else at_inputs) * direction).sum())
        assert given == pytest.approx(expected, rel=2e-4, abs=2e-5), name or "input"


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("text", [EQUATION, RESIDUAL, SHORTCUT])
def test_gradients(text, training) -> None:
    graph = net(text)
    assert_gradients(graph, weights_of(graph), inputs_of(graph, 3), training=training)


@RANDOM
@given(texts(smooth=True), st.booleans())
def test_gradients_of_random_nets(text, training) -> None:
    graph = net(text)
    assert_gradients(graph, weights_of(graph), inputs_of(graph, 3), training=training)


@pytest.mark.parametrize("kind", ["maxpool", "relu"])
def test_gradient_of_a_kink_goes_to_the_first_of_the_largest(kind) -> None:
    stage = "maxpool(2)" if kind == "maxpool" else "relu"
    graph = net(f"input x[1, 4] : {stage}\noutput y[1] : conv(1)\ndense p : x -> y")
    weights = {"p.1": np.ones((1, 1, 1))}
    x = np.array([[[1.0, 1.0, 0.0, 2.0]]])
    seen = np.ones((1, 1, 2 if kind == "maxpool" else 4))
    assert backward(graph, weights, x, seen)[0].tolist() == [
        [[1.0, 0.0, 0.0, 1.0]] if kind == "maxpool" else [[1.0, 1.0, 0.0, 1.0]]
    ]


@RANDOM
@given(texts())
def test_rounded_arithmetic_stays_within_the_bound(text) -> None:
    """Weights and inputs rounded to float32 are one of the ways to be off by what the bound allows."""
    graph = net(text)
    weights, x = weights_of(graph), inputs_of(graph, 3)
    rounded = {name: w.astype(np.float32).astype(np.float64) for name, w in weights.items()}
    roundoff = 2.0**-24
    bound = error_bound(graph, weights, x, 0.0, roundoff)
    filters = {name for name in weights if name.split(".")[1].isdecimal()}
    off = np.abs(
        forward(graph, {n: rounded[n] if n in filters else weights[n] for n in weights}, x) - forward(graph, weights, x)
    )
    assert bound.shape == off.shape
    assert (off <= bound + 1e-12).all()
    assert 0 < tolerance(graph, "float32") < 1


def test_initial_filters_differ_and_have_one_magnitude() -> None:
    graph = net("input x[16, 8x8]\noutput y[16] : conv(3x3) | batchnorm\npaths p : x -> y { count = 256 }")
    weights = initial_weights(graph)
    assert len(np.unique(np.abs(weights["p.1"]))) == 1
    assert len(np.unique(np.sign(weights["p.1"]).reshape(256, 9), axis=0)) > 16
    assert weights["y.norm.gain"].tolist() == [1.0] * 16
    y = forward(graph, weights, np.random.default_rng(0).normal(size=(64, 16, 8, 8)))
    assert 0.5 < y.std() < 2
