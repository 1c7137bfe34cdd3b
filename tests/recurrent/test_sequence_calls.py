"""Calls of nets with cells: what is kept between them, and what must not be."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from sequence_nets import load, weights_of

from pathc.backends.base import Request
from pathc.backends.llvm.backend import BACKEND
from pathc.backends.llvm.recurrent import executable as sequences
from pathc.backends.llvm.recurrent.kernel import CellKernel
from pathc.ir.sequences import takes_sequences

CELLS = "input x[5]\nlayer h[6] : lstm(bidirectional = sum)\noutput y[4] : bias\ndense a : x -> h -> y\n"
WINDOW = (
    "input x[5]\nlayer n[6] : bias | relu\noutput y[4] : qrnn(window = 3)\ndense a : x -> n -> y\ndense b : x -> y\n"
)
STEPS = "input x[2, 4x6]\nlayer h[3] : conv(3x3, pad = same) | steps\noutput y[4] : bias | gru\ndense a : x -> h -> y\n"
NETS = pytest.mark.parametrize("text", [CELLS, WINDOW, STEPS], ids=["cells", "window", "steps"])


def compiled(text):
    graph = load(text)
    return BACKEND.compile(Request(graph, {n: w.astype(np.float32) for n, w in weights_of(graph).items()}))


def inputs(made, batch, steps=3, seed=0):
    shape = (*((steps,) if takes_sequences(made.graph) else ()), *made.graph.inputs[0].shape)
    return np.random.default_rng(seed).normal(size=(batch, *shape)).astype(np.float32)


@NETS
def test_calls_in_any_order_give_what_bound_nets_give(text) -> None:
    made = compiled(text)
    held = []
    for number, (batch, steps) in enumerate([(2, 3), (1, 1), (2, 3), (0, 3), (3, 2), (2, 3), (1, 1), (1200, 1)]):
        x = inputs(made, batch, steps, number)
        found, right = made(x), made.bind(x).call()
        held.append((found, right))
        y = np.full_like(right, np.nan)
        assert made(x, y) is y
        np.testing.assert_array_equal(y, right)
        np.testing.assert_array_equal(made(np.asfortranarray(x.astype(np.float64))), right)
        if batch:
            np.testing.assert_array_equal(made(x[0]), made.bind(x[:1]).call()[0])
    for found, right in held:
        np.testing.assert_array_equal(found, right)


@NETS
def test_nothing_is_bound_for_a_second_call(text, monkeypatch) -> None:
    made = compiled(text)
    x, other = inputs(made, 2), inputs(made, 2, seed=1)
    made(x)
    right = made.bind(other).call().copy()

    def bind(*_: object, **__: object) -> None:
        raise AssertionError("a time loop was bound")

    monkeypatch.setattr(CellKernel, "bind", bind)
    np.testing.assert_array_equal(made(other), right)


@NETS
def test_inputs_and_outputs_stay_the_callers(text) -> None:
    made = compiled(text)
    x = inputs(made, 2)
    first = made(x)
    right, given = first.copy(), x.copy()
    first[...] = np.nan
    np.testing.assert_array_equal(made(x), right)
    np.testing.assert_array_equal(x, given)


@NETS
def test_what_is_kept_is_bounded(text) -> None:
    made = compiled(text)
    for batch in [*range(1, 2 * sequences._KEPT + 2), 1025]:
        made(inputs(made, batch, 1))
    assert len(made._kept) <= sequences._KEPT
    assert all(shape[0] < 1025 for shape in made._kept)


def test_states_that_begin_anew_forget_what_was_bound() -> None:
    made = compiled("input x[5]\noutput y[4] : gru(stateful = true)\ndense a : x -> y\n")
    x = inputs(made, 2, 1)
    first, second = made(x), made(x)
    assert not np.array_equal(first, second)
    made.reset()
    one = made(x[:1])
    made.reset()
    np.testing.assert_array_equal(made(x), first)
    np.testing.assert_array_equal(made(x), second)
    np.testing.assert_allclose(one, first[:1], atol=1e-6)


@NETS
def test_threads_call_at_once(text) -> None:
    made = compiled(text)
    every = [inputs(made, 16, 8, seed) for seed in range(4)]
    right = [made.bind(x).call() for x in every]
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(made, every * 25))
    for number, y in enumerate(found):
        np.testing.assert_array_equal(y, right[number % 4])
