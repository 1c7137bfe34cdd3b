"""Gradients of the kernels against the interpreter, on models drawn at random."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from training_support import (
    BIAS,
    ELEMENTWISE,
    SOFTMAX,
    WHOLE,
    canonical,
    chain,
    cross_entropy,
    drawn,
    inputs,
    models,
    outputs,
    squares,
)

from pathc.backends.llvm.machine import machine
from pathc.backends.llvm.training import Sgd, Trainer
from pathc.ir import interp
from pathc.ir.graph import Graph, Line, Station, Visit
from pathc.ir.types import Call

MACHINES = [name for name in ("native", "avx512", "avx2", "sse") if machine({"cpu": name}).runs_here]
BATCHES = [1, 7, 64, 128, 130]
QUIET = settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


def near_a_kink(graph: Graph, weights, x) -> bool:
    """Whether rounding may decide on which side of a kink a sum lies, or who wins."""
    trace = interp.evaluate(graph, weights, x)
    for station in graph.stations:
        value = trace.sums[station.name][:, : station.real_units]
        for stage in station.pipeline:
            if stage.name == "bias":
                continue
            limits = [float(v) for k, v in stage.options if k in ("low", "high")] or [0.0]
            if any((np.abs(value - limit) < 1e-4).any() for limit in limits):
                return True
            k = stage.get("k")
            if isinstance(k, int) and k < value.shape[1]:
                ordered = np.sort(value, axis=1)
                if (ordered[:, -k] - ordered[:, -k - 1] < 1e-4).any():
                    return True
            function = interp.network.activation(stage)
            value = function.apply(value)
    return False


def close(actual, expected, reach=0.0):
    """Within float32's reach of the largest gradient, and of what `reach` says gradients are differences of."""
    size = max(1e-3, float(np.abs(expected).max(initial=0.0)))
    assert actual.shape == expected.shape
    np.testing.assert_allclose(actual, expected, rtol=2e-4, atol=1e-4 * size + 2e-6 * reach)


def reach_of(graph: Graph, weights, x, dy) -> float:
    """The largest gradient there were if no unit saturated: the derivative of a saturated one is 1 - t * t in float32,
    a difference of nearly equal numbers, off by some 1e-7 of this.
    """
    plain = [replace(s, pipeline=tuple(c for c in s.pipeline if c.name == "bias")) for s in graph.stations]
    sizes = {name: np.abs(tensor) for name, tensor in weights.items()}
    dx, gradients = interp.backward(replace(graph, stations=tuple(plain)), sizes, np.abs(x), np.abs(dy))
    return max(float(np.max(g, initial=0.0)) for g in (dx, *gradients.values()))


@QUIET
@given(models(), st.sampled_from(BATCHES), st.integers(0, 9), st.sampled_from(MACHINES))
def test_backward_equals_the_interpreter(graph, batch, seed, cpu):
    weights, x = drawn(graph, seed), inputs(graph, batch, seed)
    assume(not near_a_kink(graph, weights, x))
    trainer = Trainer(graph, weights, loss="none", batch=max(batch, 2), machine=machine({"cpu": cpu}))
    dy = np.random.default_rng(seed).normal(size=(batch, outputs(graph))).astype(np.float32)
    y, saved = trainer.forward(x)
    close(y, interp.forward(graph, weights, x))
    dx, gradients = trainer.backward(saved, dy)
    right_dx, right = interp.backward(graph, weights, x, dy)
    assert gradients.keys() == right.keys()
    reach = reach_of(graph, weights, x, dy)
    close(dx, right_dx, reach)
    for name, gradient in right.items():
        close(gradients[name], gradient, reach)


@QUIET
@given(models(output=(SOFTMAX,)), st.sampled_from(BATCHES), st.integers(0, 9))
def test_cross_entropy_equals_the_interpreter(graph, batch, seed):
    weights, x = drawn(graph, seed), inputs(graph, batch, seed)
    assume(not near_a_kink(graph, weights, x))
    labels = np.random.default_rng(seed).integers(0, outputs(graph), batch)
    trainer = Trainer(graph, weights, batch=batch)
    loss, gradients = trainer.gradients(x, labels)
    right_loss, right = cross_entropy(graph, weights, x, labels)
    assert loss == pytest.approx(right_loss, rel=1e-4, abs=1e-5)
    result = trainer.evaluate(x, labels)
    assert result.loss == pytest.approx(loss, rel=1e-6, abs=1e-6)
    assert result.correct == (interp.forward(graph, weights, x).argmax(axis=1) == labels).sum()
    reach = reach_of(graph, weights, x, np.full((batch, outputs(graph)), 1.0 / batch))
    for name, gradient in right.items():
        close(gradients[name], gradient, reach)


@QUIET
@given(models(), st.sampled_from([1, 7, 130]), st.integers(0, 9))
def test_squared_errors_equal_the_interpreter(graph, batch, seed):
    weights, x = drawn(graph, seed), inputs(graph, batch, seed)
    assume(not near_a_kink(graph, weights, x))
    target = np.random.default_rng(seed).normal(size=(batch, outputs(graph))).astype(np.float32)
    trainer = Trainer(graph, weights, loss="mse", batch=batch)
    loss, gradients = trainer.gradients(x, target)
    right_loss, right = squares(graph, weights, x, target)
    assert loss == pytest.approx(right_loss, rel=1e-4)
    assert trainer.evaluate(x, target).loss == pytest.approx(loss, rel=1e-6)
    off = interp.forward(graph, weights, x) - target
    reach = reach_of(graph, weights, x, 2.0 * off / off.size)
    for name, gradient in right.items():
        close(gradients[name], gradient, reach)


@pytest.mark.parametrize(
    ("units", "paths"),
    [((1024, 256, 256, 16), 8192), ((784, 300, 300, 10), 4096), ((64, 64, 64), 256), ((64, 64, 16), 4096), ((1, 1), 3)],
)
def test_named_sizes(units, paths):
    graph = chain(units, paths, BIAS, Call("tanh"), out=(BIAS, SOFTMAX))
    weights, x = drawn(graph, 1), inputs(graph, 100, 2)
    labels = np.arange(100) % units[-1]
    _, gradients = Trainer(graph, weights, batch=128).gradients(x, labels)
    for name, gradient in cross_entropy(graph, weights, x, labels)[1].items():
        close(gradients[name], gradient)


def test_silent_units_get_no_gradient():
    graph = chain((64, 32, 16), 512, BIAS, Call("sigmoid"), out=(SOFTMAX,), declared={0: 50, 1: 20, 2: 10})
    weights, x = drawn(graph, 1), inputs(graph, 9, 2)
    labels = np.arange(9)
    _, gradients = Trainer(graph, weights, batch=16).gradients(x, labels)
    right = cross_entropy(graph, weights, x, labels)[1]
    assert (right["main.1"] == 0).sum() > 100
    for name, gradient in right.items():
        assert ((gradients[name] == 0) | (gradient != 0)).all()
        close(gradients[name], gradient)


def test_kwinners_passes_the_gradient_to_winners_that_are_zero():
    graph = chain((4, 4), 4, out=(Call("kwinners", (("k", 2),)),))
    weights = {"main.1": np.ones(4, np.float32)}
    x = np.array([[0, 0, 0, 1], [-1, 0, 0, 0], [-1, -2, -3, -4], [0, 2, 1, 0]], np.float32)
    trainer = Trainer(graph, weights, loss="none", batch=4)
    _, saved = trainer.forward(x)
    dy = np.ones((4, 4), np.float32)
    dx, _ = trainer.backward(saved, dy)
    np.testing.assert_array_equal(dx, interp.backward(graph, weights, x, dy)[0])


@pytest.mark.parametrize("first", [*ELEMENTWISE, *WHOLE], ids=str)
@pytest.mark.parametrize("second", [*ELEMENTWISE, *WHOLE], ids=str)
def test_a_stage_behind_another(first, second):
    graph = chain((9, 7, 5), 40, first, second, out=(BIAS,))
    weights, x = drawn(graph, 3), inputs(graph, 20, 4)
    trainer = Trainer(graph, weights, loss="none", batch=20)
    dy = np.random.default_rng(5).normal(size=(20, 5)).astype(np.float32)
    dx, gradients = trainer.backward(trainer.forward(x)[1], dy)
    right, expected = interp.backward(graph, weights, x, dy)
    close(dx, right)
    for name, gradient in expected.items():
        close(gradients[name], gradient)


def test_nan_is_reported():
    graph = chain((64, 64, 16), 1024, Call("relu"), out=(SOFTMAX,))
    x = inputs(graph, 40, 1)
    x[17, 3] = np.nan
    trainer = Trainer(graph, drawn(graph, 1), optimizer=Sgd(0.1), batch=64)
    labels = np.zeros(40, np.int64)
    assert np.isnan(trainer.evaluate(x, labels).loss)
    assert np.isnan(trainer.step(x, labels).loss)
    assert np.isnan(trainer.evaluate(np.nan_to_num(x), labels).loss)


def test_an_output_that_others_read_keeps_its_scores():
    stations = (
        Station("x", "input", (20,)),
        Station("y", "output", (10,), pipeline=(BIAS, Call("tanh"), SOFTMAX)),
        Station("z", "layer", (6,), pipeline=(BIAS,)),
    )
    lines = (
        Line("main", "dense", (Visit("x", 0), Visit("y", 0))),
        Line("on", "paths", (Visit("y", 1), Visit("z", 2)), 9),
    )
    graph = canonical(Graph("net", stations, lines))
    weights, x, labels = drawn(graph, 1), inputs(graph, 12, 2), np.arange(12) % 10
    loss, gradients = Trainer(graph, weights, batch=12).gradients(x, labels)
    right_loss, right = cross_entropy(graph, weights, x, labels)
    assert loss == pytest.approx(right_loss, rel=1e-5)
    for name, gradient in right.items():
        close(gradients[name], gradient)


@pytest.mark.parametrize("last", [(), (BIAS, Call("tanh"))])
def test_softmax_is_implied(last):
    graph = chain((30, 20, 10), 300, Call("tanh"), out=last)
    scored = chain((30, 20, 10), 300, Call("tanh"), out=(*last, SOFTMAX))
    weights, x, labels = drawn(graph, 1), inputs(graph, 12, 2), np.arange(12) % 10
    loss, gradients = Trainer(graph, weights, batch=12).gradients(x, labels)
    right_loss, right = cross_entropy(scored, weights, x, labels)
    assert loss == pytest.approx(right_loss, rel=1e-5)
    for name, gradient in right.items():
        close(gradients[name], gradient)


@pytest.mark.parametrize("cpu", MACHINES)
@pytest.mark.parametrize(("units", "paths"), [((64, 64, 64), 1024), ((128, 64, 32), 2048), ((32, 64, 4), 768)])
def test_every_shape_of_blocks(units, paths, cpu):
    graph = chain(units, paths, Call("tanh"), out=(Call("tanh"),))
    weights, x = drawn(graph, 1), inputs(graph, 100, 2)
    trainer = Trainer(graph, weights, loss="mse", batch=100, machine=machine({"cpu": cpu}))
    target = np.ones((100, units[-1]), np.float32)
    for name, gradient in squares(graph, weights, x, target)[1].items():
        close(trainer.gradients(x, target)[1][name], gradient)
