"""Compiled training of nets with extents against the interpreter: gradients, steps, statistics, windows, threads."""

from __future__ import annotations

import numpy as np
import pytest
from filter_nets import net, texts, weights_of
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from test_filter_meaning import EQUATION, RESIDUAL, SHORTCUT

from pathc.backends.llvm.machine import machine
from pathc.backends.llvm.training import Adam, Momentum, Sgd, Trainer, untrainable
from pathc.ir import interp
from pathc.ir.graph import Graph
from pathc.ir.inputs import input_shape, output_shape
from pathc.ir.interp.statistics import moved_statistics
from pathc.support.diagnostics import PathcError
from pathc.train.reference import ReferenceStepper
from pathc.train.stepper import Plan

RANDOM = settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
MACHINES = [name for name in ("native", "avx512", "avx2", "sse") if machine({"cpu": name}).runs_here]
NETS = {
    "strides": """input x[3, 11x9]
layer a[6] : conv(3x3, stride = 2x3, pad = 2) | bias | tanh
layer b[5] : conv(2x3, stride = 3x1, dilation = 1x2, pad = 3)
output y[4] : bias
dense p : x -> a -> b -> y""",
    "dilated strides": """input x[2, 13x14]
layer a[4] : conv(3x4, stride = 2x4, dilation = 3x6, pad = 8)
layer b[9] : conv(1x1, stride = 2) | sigmoid
output y[4] : bias
dense p : x -> a -> b -> y""",
    "nothing but zeros": """input x[2, 5x1]
layer a[4] : conv(1x1, pad = 1, stride = 2) | bias | tanh
output y[3] : bias
dense p : x -> a -> y""",
    "groups and depthwise": """input x[8, 7x6]
layer a[8] : conv(3x3, groups = 8, pad = same) | bias | leaky(0.2)
layer b[12] : conv(2x2, groups = 4) | channelshuffle(3) | abs | channelshuffle(2)
output y[5] : bias | softmax
dense p : x -> a -> b -> y""",
    "concatenated": """input x[3, 6x6]
layer a[5] : conv(3x3, pad = same) | bias | tanh
layer b[2] : conv(1x1) | sigmoid
layer d[10, 6x6] : concat | batchnorm | leaky(0.1)
layer e[4] : conv(3x3) | avgpool(global)
output y[3] : bias
dense p : x -> a -> b
skip q : a -> d { scale = 0.5 }
skip r : b -> d
skip s : x -> d
paths t : d -> e { count = 16 }
paths u : e -> y { count = 8 }""",
    "sequence": """input x[4, 23]
layer a[8] : conv(3, causal = true, dilation = 2) | batchnorm | relu | maxpool(3, stride = 2)
layer b[8] : conv(4, stride = 2) | bias | pick(2, stride = 1, tap = 1)
output y[3] : tanh
paths p : x -> a -> b { count = 32 }
dense q : b -> y""",
    "pools": """input x[3, 12x12] : maxpool(2x3, stride = 1x2)
layer a[4] : conv(3x3, pad = 2x2) | maxpool(5, stride = 1) | avgpool(2x2, stride = 1) | tanh | maxpool(global)
output y[3] : bias
dense p : x -> a -> y""",
    "silent channels": """input x[3, 5x5] { pad = pow2 }
layer a[11] : conv(3x3, pad = same) | batchnorm | leaky(0.3) { pad = pow2 }
layer b[6] : conv(3x3) | bias { pad = pow2 }
output y[3]
paths p : x -> a -> b { count = 64 }
dense q : b -> y""",
    "outputs with extents": """input x[4, 6x6]
input z[4, 6x6]
layer a[4] : conv(3x3, pad = same) | bias | hardtanh
output y[4] : conv(3x3) | maxpool(2x2)
output v[4, 6x6] : bias | tanh
dense p : x -> a
skip q : z -> a
dense r : a -> y
dense s : a -> v""",
    "shared filters": """input x[4, 6x6]
layer a[4] : conv(3x3, pad = same) | tanh
layer b[4] : conv(3x3, pad = same) | tanh
output y[4] : conv(3x3)
paths p : x -> a { count = 24 }
paths q : a -> b { mirror = p, weights = tied }
dense r : b -> y""",
    "flat": """input x[12]
layer a[16] : batchnorm | relu
layer b[16] : bias | tanh | ode(solver = rk4, step = 0.2, steps = 2)
output y[3] : bias | softmax
paths p : x -> a { count = 48 }
dense q : a -> b -> y""",
    "flat to extents": """input x[6]
layer a[3, 4x5] : bias | relu
layer b[3] : conv(3x3, pad = same) | batchnorm | ode(solver = rk2, step = 0.5, steps = 1)
output y[3]
dense p : x -> a
dense r : a -> b
dense q : b -> y""",
    "equation": EQUATION,
    "residual": RESIDUAL,
    "shortcut": SHORTCUT,
}


def drawn(graph: Graph, seed: int = 0) -> dict[str, np.ndarray]:
    """Weights that keep sums near one."""
    found = {}
    for name, values in weights_of(graph, seed).items():
        size = 1.0 if ".norm." in name else 1.0 / np.sqrt(max(1.0, values[0].size))
        found[name] = (values * size).astype(np.float32)
    return found


def rows(graph: Graph, count: int, seed: int = 1) -> np.ndarray:
    size = int(np.prod(input_shape(graph)))
    return np.random.default_rng(seed).normal(size=(count, size)).astype(np.float32)


def targets(graph: Graph, count: int, seed: int = 2) -> np.ndarray:
    size = int(np.prod(output_shape(graph)))
    return np.random.default_rng(seed).normal(size=(count, size)).astype(np.float32)


def assert_near(found, expected) -> None:
    """Float32 against float64: tensors whose gradient vanishes by cancellation are held to the others' size."""
    largest = max(np.abs(values).max() for values in expected.values())
    assert set(found) == set(expected)
    for name, values in expected.items():
        room = 1e-4 * np.abs(values).max() + 2e-6 * largest
        np.testing.assert_allclose(found[name], values, rtol=0, atol=room, err_msg=name)


def assert_gradients(graph: Graph, count: int, cpu: str = "native", seed: int = 0) -> None:
    weights, x, target = drawn(graph, seed), rows(graph, count), targets(graph, count)
    trainer = Trainer(graph, weights, loss="mse", batch=count, machine=machine({"cpu": cpu}))
    reference = ReferenceStepper(graph, weights, Plan("mse", Sgd(0.1), count))
    loss, gradients = trainer.gradients(x, target)
    assert_near(gradients, reference.gradients(x, target))
    judged = trainer.evaluate(x, target).loss
    assert judged == pytest.approx(reference.evaluate(x, target).loss, rel=1e-5)
    assert loss == pytest.approx(reference.step(x, target).loss, rel=1e-5)


@pytest.mark.parametrize("cpu", MACHINES)
@pytest.mark.parametrize("name", NETS)
def test_gradients(name, cpu) -> None:
    assert_gradients(net(NETS[name]), 21, cpu)


@RANDOM
@given(texts(), st.integers(1, 40), st.integers(0, 99), st.sampled_from(MACHINES))
def test_random_nets(text, count, seed, cpu) -> None:
    graph = net(text)
    assume(not untrainable(graph) and not ("batchnorm" in text and count < 3))
    assert_gradients(graph, count, cpu, seed)


@pytest.mark.parametrize("optimizer", [Sgd(0.05, weight_decay=0.1), Momentum(0.02, 0.9), Adam(0.01, eps=1e-2)])
@pytest.mark.parametrize("name", ["silent channels", "concatenated", "shared filters", "flat"])
def test_steps(name, optimizer) -> None:
    graph = net(NETS[name])
    weights, target = drawn(graph), targets(graph, 19)
    trainer = Trainer(graph, weights, loss="mse", optimizer=optimizer, batch=19)
    reference = ReferenceStepper(graph, weights, Plan("mse", optimizer, 19))
    for seed in range(3):
        x = rows(graph, 19, seed)
        assert trainer.step(x, target).loss == pytest.approx(reference.step(x, target).loss, rel=1e-4)
    found, expected = trainer.weights(), reference.weights()
    for tensor, values in expected.items():
        np.testing.assert_allclose(found[tensor], values, rtol=2e-3, atol=2e-4, err_msg=tensor)


@pytest.mark.parametrize("window", [(5, 20), (20, 5)])
def test_windows_of_paths(window) -> None:
    graph = net(NETS["silent channels"])
    weights, x, target = drawn(graph), rows(graph, 9), targets(graph, 9)
    trainer = Trainer(graph, weights, loss="mse", optimizer=Adam(0.01, eps=1e-2), batch=9)
    reference = ReferenceStepper(graph, weights, Plan("mse", Adam(0.01, eps=1e-2), 9))
    for _ in range(2):
        assert trainer.step(x, target, window=window).loss == pytest.approx(
            reference.step(x, target, window=window).loss, rel=1e-4
        )
    found, expected = trainer.weights(), reference.weights()
    inside = np.arange(64) >= 5 if window == (5, 20) else np.arange(64) >= 20
    inside = inside & (np.arange(64) < 20) if window == (5, 20) else inside | (np.arange(64) < 5)
    np.testing.assert_array_equal(found["p.1"][~inside], weights["p.1"][~inside])
    for tensor, values in expected.items():
        np.testing.assert_allclose(found[tensor], values, rtol=2e-3, atol=2e-4, err_msg=tensor)


def test_fixed_signs_of_filters() -> None:
    graph = net(NETS["silent channels"])
    weights, x, target = drawn(graph), rows(graph, 9), targets(graph, 9)
    trainer = Trainer(graph, weights, loss="mse", optimizer=Sgd(2.0), batch=9, fixed_signs=True)
    for _ in range(3):
        trainer.step(x, target)
    after = trainer.weights()
    assert (np.signbit(after["p.2"]) == np.signbit(weights["p.2"])).all()
    assert (after["p.2"] == 0).any()


@pytest.mark.parametrize("name", ["concatenated", "sequence", "equation"])
def test_threads_and_batches_change_no_bit(name) -> None:
    graph = net(NETS[name])
    weights, x, target = drawn(graph), rows(graph, 50), targets(graph, 50)
    after = []
    for threads, batch in ((1, 50), (2, 50), (3, 64)):
        trainer = Trainer(graph, weights, loss="mse", optimizer=Adam(0.01), batch=batch, threads=threads)
        losses = [trainer.step(x, target).loss for _ in range(3)]
        after.append((losses, trainer.weights(), trainer.state()))
    for losses, found, state in after[1:]:
        assert losses == after[0][0]
        for tensor, values in after[0][1].items():
            np.testing.assert_array_equal(found[tensor], values)
        for key, values in after[0][2].items():
            np.testing.assert_array_equal(state[key], values)


def test_going_on_from_a_state_gives_the_same_bits() -> None:
    graph = net(NETS["concatenated"])
    x, target = rows(graph, 17), targets(graph, 17)
    whole, half = (Trainer(graph, drawn(graph), loss="mse", optimizer=Adam(0.01), batch=17) for _ in range(2))
    for _ in range(4):
        whole.step(x, target)
    for _ in range(2):
        half.step(x, target)
    rest = Trainer(graph, half.weights(), loss="mse", optimizer=Adam(0.01), batch=17)
    rest.load_state(half.state())
    for _ in range(2):
        rest.step(x, target)
    for tensor, values in whole.weights().items():
        np.testing.assert_array_equal(rest.weights()[tensor], values)


def test_statistics_follow_the_batch_in_steps_alone() -> None:
    graph = net(NETS["equation"])
    weights, x, target = drawn(graph), rows(graph, 33), targets(graph, 33)
    trainer = Trainer(graph, weights, loss="mse", optimizer=Sgd(0.0), batch=33)
    trainer.gradients(x, target)
    trainer.evaluate(x, target)
    for tensor, values in weights.items():
        np.testing.assert_array_equal(trainer.weights()[tensor], values)
    trainer.step(x, target)
    trace = interp.evaluate(graph, weights, x.reshape(33, *input_shape(graph)), training=True)
    for tensor, values in moved_statistics(graph, weights, trace).items():
        np.testing.assert_allclose(trainer.weights()[tensor], values, rtol=1e-5, atol=1e-6)


def test_frozen_tensors_stay_with_their_statistics() -> None:
    graph = net(NETS["concatenated"])
    weights, x, target = drawn(graph), rows(graph, 17), targets(graph, 17)
    frozen = ("p.1", "d.norm.gain", "d.norm.mean", "d.norm.variance", "a.bias")
    trainer = Trainer(graph, weights, loss="mse", optimizer=Sgd(0.1), batch=17, frozen=frozen)
    trainer.step(x, target)
    for tensor, values in trainer.weights().items():
        assert np.array_equal(values, weights[tensor]) == (tensor in frozen), tensor


@pytest.mark.parametrize("name", ["pools", "concatenated", "strides"])
def test_nan_and_infinity_reach_the_loss(name) -> None:
    graph = net(NETS[name])
    for value in (np.nan, np.inf):
        x = rows(graph, 5)
        x[3, :] = value
        trainer = Trainer(graph, drawn(graph), loss="mse", optimizer=Sgd(0.1), batch=5)
        assert not np.isfinite(trainer.step(x, targets(graph, 5)).loss)


def test_gradients_for_the_inputs() -> None:
    graph = net(NETS["strides"])
    weights, x, dy = drawn(graph), rows(graph, 20), targets(graph, 20)
    trainer = Trainer(graph, weights, loss="none", batch=16)
    y, saved = trainer.forward(x)
    np.testing.assert_allclose(y, interp.forward(graph, weights, x.reshape(20, 3, 11, 9)), rtol=1e-4, atol=1e-5)
    dx, gradients = trainer.backward(saved, dy)
    expected, tensors = interp.backward(graph, weights, x.reshape(20, 3, 11, 9), dy)
    assert_near({"x": dx, **gradients}, {"x": expected.reshape(20, -1), **tensors})


@pytest.mark.parametrize("stage", ["softmax", "kwinners(2)"])
def test_what_has_no_kernels(stage) -> None:
    graph = net(f"input x[3, 5x5]\nlayer a[4] : conv(3x3) | {stage}\noutput y[2]\ndense p : x -> a -> y")
    with pytest.raises(PathcError, match="E0379"):
        Trainer(graph, drawn(graph), loss="mse")
