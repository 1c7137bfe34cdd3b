"""Steps of the optimizers against one weight a path in NumPy; determinism, resuming, windows, fixed signs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from training_support import (
    BIAS,
    GENERATORS,
    OPTIMIZERS,
    SOFTMAX,
    PerPath,
    canonical,
    chain,
    cross_entropy,
    drawn,
    inputs,
    models,
    outputs,
    squares,
)

from pathc.backends.llvm.training import Adam, Momentum, Sgd, Trainer
from pathc.ir.graph import Graph, Line, Station, Visit
from pathc.ir.types import Call
from pathc.support.diagnostics import PathcError

TANH = Call("tanh")
REPEATED = [
    chain((64, 64, 16), 16384, BIAS, TANH, out=(BIAS, SOFTMAX)),
    chain((30, 20, 10), 700, BIAS, TANH, out=(SOFTMAX,)),
    chain((16, 16, 16), 40, TANH, out=(SOFTMAX,), generator=Call("random", (("seed", 1),))),
    chain((40, 30, 10), 300, TANH, out=(BIAS, SOFTMAX)),
]


def follow(trainer, reference, graph, steps, loss=cross_entropy, **options):
    """Run both for some steps and compare every weight after each."""
    for step in range(steps):
        n = (5, 64, 20)[step % 3]
        x = inputs(graph, n, step)
        labels = np.random.default_rng(step).integers(0, outputs(graph), n)
        trainer.step(x, labels, **options)
        reference.update(loss(graph, reference.weights, x, labels)[1], options.get("lr"))
        for name, weight in trainer.weights().items():
            np.testing.assert_allclose(weight, reference.weights[name], rtol=2e-4, atol=2e-5, err_msg=name)


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=str)
@pytest.mark.parametrize("graph", REPEATED, ids=["blocks", "dense", "random", "rows"])
def test_steps_equal_one_weight_a_path(graph, optimizer):
    weights = drawn(graph, 3)
    trainer = Trainer(graph, weights, optimizer=optimizer, batch=64)
    follow(trainer, PerPath(optimizer, weights), graph, 4)


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(models(output=(SOFTMAX,)), st.sampled_from(OPTIMIZERS))
def test_a_step_moves_weights_along_their_gradient(graph, optimizer):
    weights, x = drawn(graph, 1), inputs(graph, 20, 2)
    labels = np.random.default_rng(3).integers(0, outputs(graph), 20)
    gradients = Trainer(graph, weights, batch=20).gradients(x, labels)[1]
    trainer = Trainer(graph, weights, optimizer=optimizer, batch=20)
    trainer.step(x, labels)
    reference = PerPath(optimizer, weights)
    reference.update(gradients)
    for name, weight in trainer.weights().items():
        np.testing.assert_allclose(weight, reference.weights[name], rtol=1e-5, atol=1e-6)


def autoencoder(tied: bool) -> Graph:
    stations = (
        Station("x", "input", (40,)),
        Station("h", "layer", (32,), pipeline=(BIAS, TANH)),
        Station("k", "layer", (12,), pipeline=(TANH,)),
        Station("m", "layer", (32,), pipeline=(TANH,)),
        Station("y", "output", (40,), pipeline=(BIAS,)),
    )
    lines = (
        Line("encode", "paths", (Visit("x", 0), Visit("h", 1)), 800),
        Line("in", "dense", (Visit("h", 0), Visit("k", 0))),
        Line("out", "dense", (Visit("k", 0), Visit("m", 0)), mirror="in", tied=tied),
        Line("decode", "paths", (Visit("m", 0), Visit("y", 1)), 800, mirror="encode", tied=tied),
    )
    return canonical(Graph("net", stations, lines))


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("optimizer", OPTIMIZERS[::2], ids=str)
def test_tied_and_mirrored_weights(tied, optimizer):
    graph = autoencoder(tied)
    weights = drawn(graph, 5)
    assert len(weights) == (4 if tied else 6)
    trainer = Trainer(graph, weights, loss="mse", optimizer=optimizer, batch=70)
    reference = PerPath(optimizer, weights)
    for step in range(4):
        x = inputs(graph, 70, step)
        trainer.step(x, x)
        reference.update(squares(graph, reference.weights, x, x)[1])
        for name, weight in trainer.weights().items():
            np.testing.assert_allclose(weight, reference.weights[name], rtol=2e-4, atol=2e-5, err_msg=name)


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=str)
@pytest.mark.parametrize("count", [8, 11, 20])
def test_nothing_is_learned_where_no_path_leads(count, optimizer):
    graph = chain((4, 3), count, out=(BIAS,), generator=GENERATORS[3])
    weights, x = drawn(graph, 0), inputs(graph, 9, 1)
    target = np.random.default_rng(2).normal(size=(9, 3)).astype(np.float32)
    trainer = Trainer(graph, weights, loss="mse", optimizer=optimizer, batch=9)
    for _ in range(3):
        trainer.step(x, target)
    again = Trainer(graph, trainer.weights(), loss="mse", batch=9)
    assert trainer.evaluate(x, target).loss == pytest.approx(again.evaluate(x, target).loss, rel=1e-6)


@pytest.mark.parametrize("optimizer", OPTIMIZERS[::3], ids=str)
@pytest.mark.parametrize("graph", REPEATED[:2], ids=["blocks", "dense"])
def test_fixed_signs_stay(graph, optimizer):
    weights = drawn(graph, 7, 0.1)
    trainer = Trainer(graph, weights, optimizer=optimizer, batch=64, fixed_signs=True)
    lr = 0.02 if isinstance(optimizer, Adam) else 0.3
    follow(trainer, PerPath(optimizer, weights, fixed=True), graph, 5, lr=lr)
    moved = trainer.weights()
    assert any((w == 0).any() for name, w in moved.items() if name.startswith("main"))
    for name, weight in moved.items():
        if name.startswith("main"):
            np.testing.assert_array_equal(np.signbit(weight), np.signbit(weights[name]))


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=str)
@pytest.mark.parametrize("graph", REPEATED, ids=["blocks", "dense", "random", "rows"])
def test_a_window_trains_its_paths_alone(graph, optimizer):
    weights = drawn(graph, 9)
    trainer, reference = Trainer(graph, weights, optimizer=optimizer, batch=64), PerPath(optimizer, weights)
    count = graph.lines[0].count
    for step, (a, b) in enumerate([(0, count // 2), (count // 4, count), (0, count)]):
        x, labels = inputs(graph, 40, step), np.arange(40) % outputs(graph)
        number = np.arange(count)
        outside = {name: (number < a) | (number >= b) for name in weights if not name.endswith("bias")}
        present = {n: np.where(outside[n], 0.0, w) if n in outside else w for n, w in reference.weights.items()}
        loss, gradients = cross_entropy(graph, present, x, labels)
        assert trainer.step(x, labels, window=(a, b)).loss == pytest.approx(loss, rel=1e-4)
        before = trainer.weights()
        reference.update(gradients, outside=outside)
        for name, weight in before.items():
            np.testing.assert_allclose(weight, reference.weights[name], rtol=2e-4, atol=2e-5, err_msg=name)


def run(graph, weights, steps, **options):
    trainer = Trainer(graph, weights, optimizer=Adam(0.01), batch=200, **options)
    results = []
    for step in range(steps):
        x, labels = inputs(graph, 200 - step, step), np.arange(200 - step) % outputs(graph)
        results.append(trainer.step(x, labels))
    return trainer, results


def same(a, b):
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)


@pytest.mark.parametrize("units", [(256, 256, 16), (90, 70, 10)])
def test_two_threads_give_the_same_bits(units):
    graph = chain(units, 8192, BIAS, Call("relu"), out=(BIAS, SOFTMAX))
    weights = drawn(graph, 1)
    one, first = run(graph, weights, 5)
    two, second = run(graph, weights, 5, threads=2)
    assert first == second
    same(one.weights(), two.weights())
    same(one.state(), two.state())


def test_resuming_gives_the_same_bits():
    graph = chain((90, 70, 10), 3000, BIAS, Call("relu"), out=(SOFTMAX,))
    weights = drawn(graph, 1)
    whole, _ = run(graph, weights, 3)
    part, _ = run(graph, weights, 3)
    again = Trainer(graph, part.weights(), optimizer=Adam(0.01), batch=200)
    again.load_state(part.state())
    x, labels = inputs(graph, 100, 9), np.arange(100) % 10
    assert whole.step(x, labels) == again.step(x, labels)
    same(whole.weights(), again.weights())
    same(whole.state(), again.state())
    assert whole.state()["step"] == 4


def test_frozen_tensors_stay():
    graph = chain((30, 20, 10), 300, BIAS, TANH, out=(BIAS, SOFTMAX))
    weights = drawn(graph, 1)
    trainer = Trainer(graph, weights, optimizer=Momentum(0.1), batch=32, frozen=("main.1", "s1.bias"))
    x, labels = inputs(graph, 32, 1), np.arange(32) % 10
    reference = PerPath(Momentum(0.1), weights)
    gradients = cross_entropy(graph, weights, x, labels)[1]
    reference.update({n: g for n, g in gradients.items() if n not in trainer.frozen})
    trainer.step(x, labels)
    assert not any("main.1" in key or "s1.bias" in key for key in trainer.state())
    for name, weight in trainer.weights().items():
        np.testing.assert_allclose(weight, reference.weights[name], rtol=1e-5, atol=1e-6)
    assert trainer.gradients(x, labels)[1].keys() == {"main.2", "s2.bias"}


def test_training_learns():
    graph = chain((64, 64, 8), 1024, BIAS, Call("relu"), out=(BIAS, SOFTMAX))
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(8, 64))
    labels = rng.integers(0, 8, 256)
    x = (centres[labels] + 0.3 * rng.normal(size=(256, 64))).astype(np.float32)
    trainer = Trainer(graph, drawn(graph, 1), optimizer=Adam(0.01), batch=256)
    first = trainer.step(x, labels).loss
    for _ in range(60):
        trainer.step(x, labels)
    after = trainer.evaluate(x, labels)
    assert after.loss < 0.1 * first
    assert after.correct > 250


def codes(call):
    with pytest.raises(PathcError) as caught:
        call()
    return [d.code for d in caught.value.diagnostics]


def test_mistakes_are_diagnosed():
    graph = chain((30, 20, 10), 300, out=(SOFTMAX,))
    weights, x = drawn(graph, 1), inputs(graph, 8, 1)
    trainer = Trainer(graph, weights, optimizer=Sgd(0.1), batch=8)
    before = trainer.weights()
    labels = np.arange(8)
    assert codes(lambda: trainer.step(x, labels + 3)) == ["E0710"]
    assert codes(lambda: trainer.step(x, labels - 1)) == ["E0710"]
    same(before, trainer.weights())
    assert codes(lambda: trainer.step(x.astype(np.float64), labels)) == ["E0701"]
    assert codes(lambda: trainer.step(x[:, :9], labels)) == ["E0702"]
    assert codes(lambda: trainer.step(x, labels[:5])) == ["E0702"]
    assert codes(lambda: trainer.step(x, labels.astype(np.float32))) == ["E0702"]
    assert codes(lambda: trainer.step(np.concatenate((x, x)), np.arange(16))) == ["E0702"]
    assert codes(lambda: Trainer(graph, weights, batch=8).step(x, labels)) == ["E0621"]
    assert codes(lambda: Trainer(graph, weights, loss="none").evaluate(x, labels)) == ["E0620"]
    assert codes(lambda: Trainer(graph, weights, loss="hinge")) == ["E0620"]
    assert codes(lambda: Trainer(graph, weights, batch=0)) == ["E0621"]
    assert codes(lambda: Trainer(graph, weights, optimizer=Adam(eps=0.0))) == ["E0621"]
    assert codes(lambda: Trainer(graph, weights, frozen=("main.7",))) == ["E0506"]
    assert codes(lambda: Trainer(graph, {})) == ["E0505", "E0505"]
    assert codes(lambda: trainer.load_state({})) == ["E0622"]
    assert codes(lambda: trainer.load_state(Trainer(graph, weights, optimizer=Momentum()).state())) == ["E0622"]
