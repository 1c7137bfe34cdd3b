from __future__ import annotations

import numpy as np
import pytest
from ir_nets import ACTIVATIONS, BIAS, chain, random_weights, rich_graph

from pathc.ir.generators import resolve
from pathc.ir.interp import agrees, error_bound, evaluate, forward, tolerance, unit_roundoff
from pathc.ir.types import Call
from pathc.support.tensors import round_to_bfloat16

U = unit_roundoff("float32")


def single_precision(graph, weights, x):
    """A chain of paths evaluated in float32, paths in reverse order, as a backend might."""
    line = graph.lines[0]
    generator = resolve(line, graph)
    a = x.astype(np.float32)
    for j in line.junctions:
        station = graph.station(line.visits[j].station)
        sums = np.zeros((len(x), station.units), dtype=np.float32)
        sums += weights.get(f"{station.name}.bias", np.float32(0))
        u, v = generator.units(j - 1, 0, line.count)[::-1], generator.units(j, 0, line.count)[::-1]
        for i, w in enumerate(weights[f"{line.name}.{j}"][::-1]):
            sums[:, v[i]] += w * a[:, u[i]]
        a = ACTIVE[station.pipeline[-1].name](sums) if station.pipeline else sums
    return a


ACTIVE = {
    "relu": lambda x: np.maximum(x, np.float32(0)),
    "tanh": np.tanh,
    "bias": lambda x: x,
    "abs": np.abs,
    "softmax": lambda x: (e := np.exp(x - x.max(1, keepdims=True))) / e.sum(1, keepdims=True),
}


@pytest.mark.parametrize("last", ["bias", "softmax", "abs"])
@pytest.mark.parametrize("inner", ["relu", "tanh"])
def test_float32_stays_within_the_bound_and_the_bound_is_not_idle(inner, last):
    pipelines = [(), (BIAS, Call(inner)), (BIAS, Call(inner)), (BIAS, Call(last))]
    graph = chain((40, 33, 16, 9), 300, pipelines)
    weights = random_weights(graph, dtype=np.float32)
    x = np.random.default_rng(1).normal(size=(6, 40)).astype(np.float32)
    exact, bound = forward(graph, weights, x), error_bound(graph, weights, x, U)
    actual = single_precision(graph, weights, x)
    assert actual.dtype == np.float32
    assert agrees(actual, exact, bound).all()
    if last == "bias":
        assert (bound < 1e-2 * (1 + np.abs(exact))).all()
        assert not agrees(actual + np.float32(0.05), exact, bound).any()


def test_rounded_weights_stay_within_their_bound():
    graph = chain((32, 32, 8), 256, [(), (Call("relu"),), ()])
    weights = random_weights(graph, dtype=np.float32)
    rounded = {name: round_to_bfloat16(tensor) for name, tensor in weights.items()}
    x = np.random.default_rng(1).normal(size=(4, 32)).astype(np.float32)
    exact = forward(graph, weights, x)
    actual = single_precision(graph, rounded, x)
    assert not agrees(actual, exact, error_bound(graph, weights, x, U)).all()
    assert agrees(actual, exact, error_bound(graph, weights, x, U, weight_roundoff=2.0**-8)).all()


def test_exact_arithmetic_has_a_bound_near_zero():
    graph = chain((8, 8), 16)
    bound = error_bound(graph, random_weights(graph), np.ones(8), 0.0)
    assert bound.shape == (8,)
    assert (bound < 1e-30).all()


def test_bound_grows_with_fan_in():
    weights = [random_weights(chain((8, 8), n)) for n in (8, 8192)]
    small, large = (error_bound(chain((8, 8), len(w["main.1"])), w, np.ones(8), U).max() for w in weights)
    assert large > 100 * small


def test_open_winners_are_given_room():
    graph = chain((4, 4, 4), 4, [(), (), (Call("kwinners", (("k", 1),)),)])
    weights = {"main.1": np.ones(4), "main.2": np.ones(4)}
    clear = error_bound(graph, weights, np.array([1.0, 2.0, 3.0, 9.0]), U)
    assert clear.max() < 1e-4
    tied = error_bound(graph, weights, np.array([1.0, 2.0, 9.0, 9.0]), U)
    assert (tied > 1).sum() == 2


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=str)
def test_bounds_of_a_rich_graph_are_finite_and_of_the_right_shape(activation):
    graph = rich_graph(activation)
    x = np.random.default_rng(0).normal(size=(3, 6))
    bound = error_bound(graph, random_weights(graph), x, U)
    assert bound.shape == (3, 11)
    assert np.isfinite(bound).all()
    assert (bound >= 0).all()
    assert error_bound(graph, random_weights(graph), x[:0], U).shape == (0, 11)


def test_special_values():
    graph = chain((2, 2), 2)
    weights = {"main.1": np.ones(2)}
    x = np.array([np.nan, 1.0])
    exact, bound = forward(graph, weights, x), error_bound(graph, weights, x, U)
    assert agrees(exact, exact, bound).all()
    assert not agrees(np.zeros(2), exact, bound).any()
    assert agrees(np.array([np.inf]), np.array([np.inf]), 0.0).all()
    assert not agrees(np.array([-np.inf]), np.array([np.inf]), 0.0).any()
    assert not agrees(np.array([np.nan]), np.array([1.0]), 0.5).any()
    overflow = np.array([3e38, 3e38])
    exact, bound = forward(graph, {"main.1": np.full(2, 2.0)}, overflow), None
    bound = error_bound(graph, {"main.1": np.full(2, 2.0)}, overflow, U)
    assert agrees(np.array([np.inf, np.inf]), exact, bound).all()


def test_tolerance_holds_against_the_sum_of_magnitudes():
    graph = chain((16, 16, 16), 128)
    weights = random_weights(graph, dtype=np.float32)
    x = np.random.default_rng(0).normal(size=(4, 16)).astype(np.float32)
    magnitudes = evaluate(graph, {n: np.abs(w) for n, w in weights.items()}, np.abs(x)).outputs
    error = np.abs(single_precision(graph, weights, x) - forward(graph, weights, x))
    assert (error <= tolerance(graph, "float32") * magnitudes).all()
    assert tolerance(graph, "float64") < 1e-13 < tolerance(graph, "float32") < 1e-5
