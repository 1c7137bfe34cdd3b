"""Compiled nets with extents and sequences against the interpreter."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sequence_nets import front_texts, load, weights_of

from pathc.backends.base import Request
from pathc.backends.llvm.backend import BACKEND
from pathc.ir.interp import agrees, error_bound, forward
from pathc.ir.sequences import takes_sequences
from pathc.support.diagnostics import PathcError

U = 2.0**-24


def single(graph, seed=0):
    return {name: values.astype(np.float32) for name, values in weights_of(graph, seed).items()}


def inputs(graph, batch, steps=5, seed=0):
    shape = (*((steps,) if takes_sequences(graph) else ()), *graph.inputs[0].shape)
    return np.random.default_rng(seed).normal(size=(batch, *shape)).astype(np.float32)


def right(graph, weights, x, y):
    expected, bound = forward(graph, weights, x), error_bound(graph, weights, x, U)
    assert y.shape == expected.shape
    assert y.dtype == np.float32
    assert agrees(y, expected, bound).all(), np.abs(y - expected).max()


@settings(max_examples=12, suppress_health_check=[HealthCheck.too_slow])
@given(front_texts(), st.sampled_from([1, 2, 5]), st.sampled_from([1, 4]), st.integers(0, 99))
def test_random_nets_agree_with_the_interpreter(text, batch, steps, seed):
    graph = load(text)
    weights, x = single(graph, seed), inputs(graph, batch, steps, seed)
    right(graph, weights, x, BACKEND.compile(Request(graph, weights))(x))


CASES = {
    "an input of one extent as steps": "input x[3, 6] : relu | steps\noutput y[4] : bias | gru\ndense a : x -> y\n",
    "an input with a bias and a normalization as steps":
        "input x[3, 4x6] : bias | batchnorm | maxpool(2x1) | steps\nlayer h[4] : bias | gru\noutput y[4] : bias | rnn\n"
        "dense a : x -> h -> y\ndense b : x -> y\n",
    "an input of two extents as steps":
        "input x[2, 4x6] : steps\nlayer h[5] : conv(3) | relu\noutput y[4] : bias | rnn | abs\ndense a : x -> h -> y\n",
    "steps as output": "input x[2, 4x6]\noutput y[3] : conv(3x3, pad = same) | tanh | steps\ndense a : x -> y\n",
    "two stations as steps of one net":
        "input x[2, 4x6]\nlayer a[3] : conv(3x3, pad = same) | steps\n"
        "layer b[2] : conv(1x3, pad = 0x1) | relu | steps\n"
        "output y[4] : bias | lstm\ndense l : x -> a -> y\ndense m : x -> b -> y\n",
    "two inputs with extents":
        "input x[2, 3x3]\ninput z[1, 4]\nlayer h[3] : conv(3x3) | relu\noutput y[6] : gru\n"
        "dense a : x -> h -> y\ndense b : z -> y\n",
    "a normalization between cells, of paths and padded units":
        "input x[5]\nlayer h[12] : gru(recur = diag) { pad = pow2 }\nlayer n[12] : batchnorm { pad = pow2 }\n"
        "output y[7] : gru(bidirectional = sum)\npaths a : x -> h { count = 64 }\nskip s : h -> n\n"
        "paths b : n -> y { count = 96, scale = 0.5 }\n",
    "a normalization behind an activation, read by a cell that looks back":
        "input x[5]\nlayer n[6] : bias | relu | batchnorm\noutput y[4] : qrnn(window = 3)\ndense a : x -> n -> y\n",
    "a cell behind a convolution is the output":
        "input x[2, 5x5]\noutput y[4] : conv(3x3) | batchnorm | maxpool(global) | lstm(gates = shared, recur = diag)\n"
        "dense a : x -> y\n",
    "an equation and a shortcut beside a cell":
        "input x[6]\nlayer e[6] : tanh | ode(step = 0.5, steps = 2)\n"
        "layer s[6] : bias | batchnorm | shortcut | relu\noutput y[4] : bias | rnn\ndense a : x -> e -> s -> y\n"
        "skip k : x -> s\n",
    "extents behind steps": "input x[2, 5x6] : steps\noutput y[3] : conv(3) | relu\ndense a : x -> y\n",
    "a flat shortcut in front of a cell":
        "input x[6]\noutput y[6] : bias | batchnorm | shortcut | gru\ndense a : x -> y\nskip k : x -> y\n",
}  # fmt: skip


@pytest.mark.parametrize("text", CASES.values(), ids=CASES)
def test_nets_agree_with_the_interpreter(text):
    graph = load(text)
    weights = single(graph)
    if len(graph.inputs) > 1:
        x = np.random.default_rng(0).normal(size=(3, 5, 22)).astype(np.float32)
    else:
        x = inputs(graph, 3)
    compiled = BACKEND.compile(Request(graph, weights))
    right(graph, weights, x, compiled(x))
    np.testing.assert_allclose(compiled(x[1]), compiled(x)[1], atol=1e-6)
    bound = compiled.bind(x)
    x[...] = np.random.default_rng(1).normal(size=x.shape)
    right(graph, weights, x, bound.call())
    assert compiled(x[:0]).shape == (0, *compiled(x).shape[1:])


@pytest.mark.parametrize("extents", ["", ", 4x4"])
def test_shortcuts_in_nets_without_sequences(extents):
    conv = "conv(3x3, pad = same) | " if extents else ""
    graph = load(
        f"input x[6{extents}]\nlayer s[6] : {conv}bias | batchnorm | shortcut | relu\n"
        "output y[4] : bias\ndense a : x -> s -> y\nskip k : x -> s { scale = 0.5 }\n"
    )
    weights, x = single(graph), inputs(graph, 3)
    right(graph, weights, x, BACKEND.compile(Request(graph, weights))(x))


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("input x[4]\ninput z[2]\nlayer c[6] : concat\noutput y[3] : gru\nskip a : x -> c\nskip b : z -> c\n"
         "dense d : c -> y\n", "E0379"),
        ("input x[4]\nlayer h[4] : gru\nlayer n[4] : batchnorm\noutput y[4] : relu\ndense a : x -> h\nskip s : h -> n\n"
         "skip t : n -> y\n", "E0379"),
        ("input x[4]\nlayer h[4] : gru\noutput y[2, 3x3]\ndense a : x -> h -> y\n", "E0379"),
    ],
)  # fmt: skip
def test_what_has_no_kernels_is_named(text, code):
    graph = load(text)
    with pytest.raises(PathcError) as caught:
        BACKEND.compile(Request(graph, single(graph)))
    assert caught.value.diagnostics[0].code == code
    assert forward(graph, single(graph), np.zeros((1, 2, 6 if len(graph.inputs) > 1 else 4))).shape[:2] == (1, 2)
