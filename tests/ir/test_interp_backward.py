from __future__ import annotations

import numpy as np
import pytest
from ir_nets import ACTIVATIONS, BIAS, chain, random_weights, rich_graph

from pathc.ir.interp import backward, forward
from pathc.ir.types import Call
from pathc.support.diagnostics import PathcError

STEP = 1e-6


def numeric_gradient(function, array):
    """Central differences of a scalar function of one array."""
    gradient = np.zeros_like(array)
    for index in np.ndindex(array.shape):
        saved = array[index]
        array[index] = saved + STEP
        above = function()
        array[index] = saved - STEP
        gradient[index] = (above - function()) / (2 * STEP)
        array[index] = saved
    return gradient


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("activation", ACTIVATIONS, ids=str)
def test_backward_is_the_derivative_of_forward(activation, tied):
    graph = rich_graph(activation, tied)
    weights = random_weights(graph, seed=11)
    rng = np.random.default_rng(12)
    x, slope = rng.normal(size=(2, 6)), rng.normal(size=(2, 11))

    def loss():
        return float((forward(graph, weights, x) * slope).sum())

    input_gradient, gradients = backward(graph, weights, x, slope)
    assert gradients.keys() == weights.keys()
    np.testing.assert_allclose(input_gradient, numeric_gradient(loss, x), rtol=1e-5, atol=1e-6)
    for name, tensor in weights.items():
        assert gradients[name].shape == tensor.shape
        np.testing.assert_allclose(gradients[name], numeric_gradient(loss, tensor), rtol=1e-5, atol=1e-6, err_msg=name)


def test_gradients_by_hand():
    # one path with weight 3 then 5: y = 5 relu(3 x + 1)
    graph = chain((1, 1, 1), 1, [(), (BIAS, Call("relu")), ()])
    weights = {"main.1": np.array([3.0]), "main.2": np.array([5.0]), "s1.bias": np.array([1.0])}
    dx, dw = backward(graph, weights, np.array([2.0]), np.array([1.0]))
    assert dx.tolist() == [15.0]
    assert {k: v.tolist() for k, v in dw.items()} == {"main.1": [10.0], "main.2": [7.0], "s1.bias": [5.0]}
    dx, dw = backward(graph, weights, np.array([-2.0]), np.array([1.0]))
    assert dx.tolist() == [0.0]
    assert {k: v.tolist() for k, v in dw.items()} == {"main.1": [0.0], "main.2": [0.0], "s1.bias": [0.0]}


@pytest.mark.parametrize(
    ("activation", "x", "expected"),
    [
        (Call("relu"), 0.0, 0.0),
        (Call("leaky", (("slope", 0.25),)), 0.0, 0.25),
        (Call("abs"), 0.0, 0.0),
        (Call("hardtanh"), 1.0, 0.0),
        (Call("hardtanh"), -1.0, 0.0),
    ],
)
def test_kinks_follow_the_convention(activation, x, expected):
    graph = chain((1, 1), 1, [(activation,), ()])
    dx, _ = backward(graph, {"main.1": np.ones(1)}, np.array([x]), np.ones(1))
    assert dx.tolist() == [expected]


def test_weight_gradient_sums_over_the_batch_and_an_empty_batch_gives_zeros():
    graph = rich_graph(Call("tanh"))
    weights, rng = random_weights(graph), np.random.default_rng(4)
    x, slope = rng.normal(size=(3, 6)), rng.normal(size=(3, 11))
    _, whole = backward(graph, weights, x, slope)
    rows = [backward(graph, weights, a, b)[1] for a, b in zip(x, slope, strict=True)]
    for name in weights:
        np.testing.assert_allclose(whole[name], sum(row[name] for row in rows), rtol=1e-12, atol=1e-14)
    dx, empty = backward(graph, weights, x[:0], slope[:0])
    assert dx.shape == (0, 6)
    assert all(not gradient.any() for gradient in empty.values())


def test_cost_of_a_wide_batch_stays_small():
    graph = chain((64, 64), 4096)
    weights = random_weights(graph)
    dx, dw = backward(graph, weights, np.ones((256, 64)), np.ones((256, 64)))
    np.testing.assert_allclose(dw["main.1"], 256.0)
    np.testing.assert_allclose(dx[0], dx[255])


def test_output_gradient_of_another_shape_is_diagnosed():
    graph = chain((2, 2), 2)
    with pytest.raises(PathcError) as caught:
        backward(graph, random_weights(graph), np.ones((1, 2)), np.ones((2, 2)))
    assert [d.code for d in caught.value.diagnostics] == ["E0512"]
