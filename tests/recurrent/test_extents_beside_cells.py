"""Stations with extents beside cells, cells behind convolutions, sequences made of a last extent: what they mean."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sequence_nets import front_texts, load, weights_of

import pathc
from pathc.ir.cells import cell_of
from pathc.ir.graph import Graph
from pathc.ir.init import initial_weights
from pathc.ir.interp import backward, error_bound, evaluate, forward
from pathc.ir.interp.recurrent.unroll import Unrolled
from pathc.ir.interp.statistics import moved_statistics
from pathc.ir.weights import expected_tensors
from pathc.support.source import Source

FRONT = """
input  x[2, 6x5]
layer  c1[4] : conv(3x3, pad = same) | batchnorm | relu | maxpool(2x2)
"""


def random(shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def test_stations_with_extents_are_computed_for_every_step():
    text = FRONT + "{cell}\ndense a : x -> c1 -> h\n"
    whole = load(text.format(cell="output h[5] : bias | gru(recur = band(3))"))
    front = load(text.format(cell="output h[15] : bias"))
    weights = weights_of(whole)
    joined = {**weights, "a.2": weights["a.2"].reshape(15, -1), "h.bias": weights["h.bias"].reshape(15)}
    x = random((3, 4, 2, 6, 5))
    sums = forward(front, {n: joined[n] for n in expected_tensors(front)}, x.reshape(12, 2, 6, 5))
    copies = sums.reshape(3, 4, 3, 5).transpose(2, 0, 1, 3)
    expected = Unrolled(cell_of(whole.station("h")), weights).forward(copies, np.zeros((3, 4, 5))).output
    found = forward(whole, weights, x)
    np.testing.assert_allclose(found, expected, atol=1e-12)
    np.testing.assert_allclose(forward(whole, weights, x[1]), found[1], atol=1e-12)
    assert forward(whole, weights, x[:0]).shape == (0, 4, 5)


@pytest.mark.parametrize("gates", ["separate", "shared"])
@pytest.mark.parametrize("shortcut", ["", "shortcut | "])
def test_a_cell_behind_a_convolution_is_the_formula_of_prernn(gates, shortcut):
    """y_t = H(P(B(W * x_t) + gamma_t) + W_hh y_t-1), every gate with its own W and B unless it is shared."""
    line = "skip g : x -> c" if shortcut else ""
    text = "input x[4, 5x5]\n{c}\ndense a : x -> c\n" + line
    stage = f"conv(3x3, pad = same) | bias | batchnorm | {shortcut}avgpool(global)"
    whole = load(text.format(c=f"output c[4] : {stage} | gru(recur = diag, gates = {gates})"))
    front = load(text.format(c=f"output c[4] : {stage}"))
    weights, x = weights_of(whole), random((2, 6, 4, 5, 5))
    copies = 3 if gates == "separate" else 1
    u = []
    for k in range(3):
        own = {n: weights[n].reshape(copies, *shape)[k % copies] for n, shape in expected_tensors(front).items()}
        u.append(forward(front, own, x.reshape(12, 4, 5, 5)).reshape(2, 6, 4))
    h, found = np.zeros((2, 4)), forward(whole, weights, x)
    sigmoid = lambda v: 1 / (1 + np.exp(-v))  # noqa: E731
    for t in range(6):
        own = [weights[f"c.recurrent.{g}"] for g in "rzn"]
        r, z = (sigmoid(u[k][:, t] + own[k] * h) for k in (0, 1))
        n = np.tanh(u[2][:, t] + r * (own[2] * h))
        h = (1 - z) * n + z * h
        np.testing.assert_allclose(found[:, t], h, atol=1e-12)


def test_a_shortcut_is_added_where_it_stands():
    text = "input x[4, 6x6]\noutput y[4] : conv(3x3, pad = same) | {stages}\ndense a : x -> y\n"
    x = random((3, 4, 6, 6))
    front = load(text.format(stages="bias | batchnorm | maxpool(2x2)"))
    weights = weights_of(front)
    residual = load(
        "input x[4, 6x6]\nlayer s[4, 6x6] : maxpool(2x2)\n"
        "output y[4] : conv(3x3, pad = same) | bias | batchnorm | maxpool(2x2) | shortcut | relu\n"
        "dense a : x -> y\nskip l : x -> s\nskip g : s -> y { scale = 0.5 }\n"
    )
    pooled = x.reshape(3, 4, 3, 2, 3, 2).max(axis=(3, 5))
    expected = np.maximum(forward(front, weights, x) + 0.5 * pooled, 0)
    np.testing.assert_allclose(forward(residual, weights, x), expected, atol=1e-12)


@pytest.mark.parametrize("extents", ["3, 5x7", "3, 7"])
def test_steps_are_the_last_extent(extents):
    text = f"input x[{extents}] : steps\noutput y[4] : bias | tanh\ndense a : x -> y\n"
    graph = load(text)
    shape = graph.inputs[0].shape
    units = math.prod(shape[:-1])
    flat = load(f"input x[{units}]\noutput y[4] : bias | tanh\ndense a : x -> y\n")
    weights, x = weights_of(graph), random((2, *shape))
    expected = forward(flat, weights, np.moveaxis(x, -1, 1).reshape(14, units)).reshape(2, 7, 4)
    np.testing.assert_allclose(forward(graph, weights, x), expected, atol=1e-12)
    np.testing.assert_allclose(forward(graph, weights, x[0]), expected[0], atol=1e-12)
    gradient = random((2, 7, 4), 3)
    at_x, at_weights = backward(graph, weights, x, gradient)
    rows, others = backward(flat, weights, np.moveaxis(x, -1, 1).reshape(14, units), gradient.reshape(14, 4))
    np.testing.assert_allclose(at_x, np.moveaxis(rows.reshape(2, 7, *shape[:-1]), 1, -1), atol=1e-12)
    np.testing.assert_allclose(at_weights["a.1"], others["a.1"], atol=1e-12)
    assert forward(graph, weights, x[:0]).shape == (0, 7, 4)


def differences(graph, weights, x, training):
    out = evaluate(graph, weights, x, training=training).outputs
    direction = random(out.shape, 5)
    at_x, tensors = backward(graph, weights, x, direction, training=training)
    frozen = {n for n in weights if n.endswith((".mean", ".variance"))}
    assert {n: g.shape for n, g in tensors.items()} == {
        n: s for n, s in expected_tensors(graph).items() if n not in frozen
    }

    def loss(w, inputs):
        return float((evaluate(graph, w, inputs, training=training).outputs * direction).sum())

    step = 1e-5
    for name, gradient in tensors.items():
        way = random(gradient.shape, 6)
        ahead, behind = ({**weights, name: weights[name] + s * step * way} for s in (1, -1))
        slope = (loss(ahead, x) - loss(behind, x)) / (2 * step)
        assert slope == pytest.approx(float((gradient * way).sum()), rel=1e-5, abs=1e-6), name
    way = random(x.shape, 7)
    slope = (loss(weights, x + step * way) - loss(weights, x - step * way)) / (2 * step)
    assert slope == pytest.approx(float((at_x * way).sum()), rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("cell", ["lstm(recur = diag)", "gru(gates = shared, bidirectional = concat)",
                                  "rnn(bidirectional = sum)", "linear"])  # fmt: skip
def test_gradients_are_differences(cell, training):
    graph = load(
        "input x[2, 4x4]\nlayer c1[4] : conv(3x3, pad = same) | batchnorm | tanh\n"
        f"layer c[4] : conv(3x3, pad = same) | batchnorm | shortcut | avgpool(global) | {cell} | tanh\n"
        "output y[3] : batchnorm | tanh\ndense a : x -> c1 -> c -> y\nskip g : c1 -> c { scale = 0.5 }\n"
    )
    differences(graph, weights_of(graph), random((2, 3, 2, 4, 4)), training)


@pytest.mark.parametrize("training", [False, True])
def test_gradients_go_through_steps(training):
    graph = load(
        "input x[2, 4x9]\nlayer c1[3] : conv(3x3, stride = 2x1, pad = 1) | batchnorm | tanh | steps\n"
        "layer h[4] : bias | gru(bidirectional = sum)\nlayer n[4] : batchnorm\noutput y[3] : bias\n"
        "dense a : x -> c1 -> h\nskip s : h -> n\ndense b : n -> y\n"
    )
    differences(graph, weights_of(graph), random((2, 2, 4, 9)), training)


def test_statistics_in_front_of_a_cell_are_those_of_every_gate():
    graph = load(
        "input x[2, 4x4]\noutput c[3] : conv(3x3) | batchnorm(momentum = 1.0) | avgpool(global) | gru\n"
        "dense a : x -> c\n"
    )
    weights, x = weights_of(graph), random((2, 5, 2, 4, 4))
    found = moved_statistics(graph, weights, evaluate(graph, weights, x, training=True))
    front = load("input x[2, 4x4]\noutput c[3] : conv(3x3)\ndense a : x -> c\n")
    for k in range(3):
        sums = forward(front, {"a.1": weights["a.1"][k]}, x.reshape(10, 2, 4, 4))
        np.testing.assert_allclose(found["c.norm.mean"][k], sums.mean(axis=(0, 2, 3)))
        np.testing.assert_allclose(found["c.norm.variance"][k], sums.var(axis=(0, 2, 3)))


@settings(max_examples=25)
@given(front_texts(), st.integers(0, 99))
def test_bounds_hold_for_weights_that_are_rounded(text, seed):
    graph = load(text)
    single = {n: w.astype(np.float32) for n, w in weights_of(graph, seed).items()}
    x = random((2, *((3,) * graph_takes_steps(graph)), *graph.inputs[0].shape), seed).astype(np.float32)
    nearby = {n: w * (1 + 2.0**-24 * np.sign(w)) for n, w in single.items()}
    bound = error_bound(graph, single, x, 2.0**-24)
    off = np.abs(forward(graph, nearby, x) - forward(graph, single, x))
    assert (off <= bound).all()


def graph_takes_steps(graph: Graph) -> bool:
    return not any(station.stage("steps") for station in graph.stations)


def test_initial_weights_fit():
    for cell in ("gru", "lstm(gates = shared)", "rnn(bidirectional = sum)"):
        graph = load(
            f"input x[2, 4x4]\noutput c[3] : conv(3x3) | bias | batchnorm | avgpool(global) | {cell}\n"
            "dense a : x -> c\n"
        )
        assert {n: w.shape for n, w in initial_weights(graph).items()} == expected_tensors(graph)


CELL = "output c[4] : conv(3x3, pad = same) | {stages}\ndense a : x -> c\nskip g : x -> c\n"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("input x[4, 5x5]\n" + CELL.format(stages="batchnorm | gru"), "E0315"),
        ("input x[4, 5x5]\n" + CELL.format(stages="gru | avgpool(global)"), "E0372"),
        ("input x[4, 5x5]\n" + CELL.format(stages="gru | shortcut"), "E0372"),
        ("input x[4, 5x5]\n" + CELL.format(stages="avgpool(global) | gru | steps"), "E0372"),
        ("input x[4, 5x5]\n" + CELL.format(stages="avgpool(global) | gru | batchnorm"), "E0373"),
        ("input x[4, 5x5]\n" + CELL.format(stages="shortcut | avgpool(global) | sru"), "E0374"),
        ("input x[4, 5x5]\n" + CELL.format(stages="batchnorm | avgpool(global) | qrnn(window = 2)"), "E0374"),
        ("input x[4, 5x5]\n" + CELL.format(stages="avgpool(global) | sru"), "E0315"),
        ("input x[4]\noutput y[4] : shortcut | relu\nskip a : x -> y\n", "E0315"),
        ("input x[4]\noutput y[4] : shortcut | relu\ndense a : x -> y\n", "E0315"),
        ("input x[4] : steps\noutput y[4] : gru\ndense a : x -> y\n", "E0315"),
        ("input x[4, 5] : steps | relu\noutput y[4] : gru\ndense a : x -> y\n", "E0315"),
        ("input x[4, 5] : steps\noutput y[4] : steps\ndense a : x -> y\n", "E0315"),
        ("input x[4, 5]\nlayer h[4] : conv(3) | steps\noutput y[4] : gru\ndense a : x -> h -> y\ndense b : x -> y\n",
         "E0315"),
        ("input x[4, 5]\nlayer h[4] : conv(3) | steps\nlayer g[4] : conv(2) | steps\noutput y[4] : gru\n"
         "dense a : x -> h -> y\ndense b : x -> g -> y\n", "E0315"),
        ("input x[4, 5]\nlayer h[4] : conv(3) | steps\noutput y[4] : gru\noutput z[3]\n"
         "dense a : x -> h -> y\ndense b : x -> z\n", "E0315"),
        ("input x[4, 5]\nlayer g[4] : gru\nlayer h[4] : conv(3) | steps\noutput y[4]\n"
         "dense a : x -> h -> y\ndense b : x -> g\n", "E0315"),
    ],
)  # fmt: skip
def test_mistakes_are_named_with_their_cure(text, code):
    found = [d for d in pathc.check(Source("m.path", "pathc 1\n" + text)) if d.severity.name == "ERROR"]
    assert code in [d.code for d in found], found
    assert all(d.loc is not None and d.help for d in found if d.code == code)
