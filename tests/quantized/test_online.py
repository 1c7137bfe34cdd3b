"""Sampling activations during inference."""

from __future__ import annotations

import numpy as np
import pytest
from quantized_nets import rich

from pathc.driver import load
from pathc.ir.compress.online import sparse_forward
from pathc.ir.compress.quantize import quantize
from pathc.ir.init import initial_weights
from pathc.ir.interp import evaluate, forward
from pathc.ir.types import Call
from pathc.ir.weights import expected_tensors
from pathc.support.diagnostics import PathcError

GRAPH = rich(Call("relu"))
WEIGHTS = {n: np.random.default_rng(i).normal(size=s) for i, (n, s) in enumerate(expected_tensors(GRAPH).items())}
X = np.random.default_rng(0).normal(size=(30, 6))


def test_without_rates_it_is_the_net():
    np.testing.assert_allclose(sparse_forward(GRAPH, WEIGHTS, X, {}).outputs, forward(GRAPH, WEIGHTS, X), atol=1e-12)


def test_many_samples_come_close():
    exact = forward(GRAPH, WEIGHTS, X)
    off = [
        np.abs(sparse_forward(GRAPH, WEIGHTS, X, {"e": r, "c": r, "d": r}).outputs - exact).max() for r in (1, 30, 1000)
    ]
    assert off[0] > off[1] > off[2]
    assert off[2] < 0.02 * np.abs(exact).max()


def test_samples_are_right_on_average():
    x = X[0]
    exact = evaluate(GRAPH, WEIGHTS, x).outputs[-6:]
    mean = np.mean([sparse_forward(GRAPH, WEIGHTS, x, {"d": 0.6}, seed).outputs[-6:] for seed in range(3000)], axis=0)
    np.testing.assert_allclose(mean, exact, atol=0.06 * np.abs(exact).max())


def test_counters():
    found = sparse_forward(GRAPH, WEIGHTS, X, {"d": 0.2, "c": 100.0})
    values = evaluate(GRAPH, WEIGHTS, X).values
    assert found.activity["c"].active == pytest.approx((values["c"][:, :7] != 0).mean())
    assert 0 < found.activity["d"].used <= 0.2
    assert found.activity["d"].used < found.activity["d"].active


def test_silent_stations_stay_silent():
    weights = {n: np.zeros_like(t) for n, t in WEIGHTS.items()}
    assert not sparse_forward(GRAPH, weights, X, {"d": 1.0}).outputs.any()


@pytest.mark.parametrize(
    ("code", "rates", "x"),
    [
        ("E0302", {"q": 1.0}, X),
        ("E1311", {"d": 0.0}, X),
        ("E1311", {"d": float("nan")}, X),
        ("E1311", {"x": 1.0}, X * np.nan),
    ],
)
def test_bad_input_is_refused(code, rates, x):
    with pytest.raises(PathcError, match=code):
        sparse_forward(GRAPH, WEIGHTS, x, rates)


def test_cells_are_refused():
    graph = load("examples/recurrent.path")
    with pytest.raises(PathcError, match="E1303"):
        quantize(graph, initial_weights(graph))
