"""Compiled training of nets with extents, normalizations and sequences against the interpreter."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from sequence_nets import front_texts, load, weights_of
from test_sequence_kernels import CASES

from pathc.backends.llvm.recurrent.training import SequenceTrainer, without_kernels
from pathc.backends.llvm.training import Adam, Momentum, Sgd
from pathc.ir.inputs import as_samples
from pathc.ir.interp import backward, evaluate
from pathc.ir.interp.junctions import real_read_size, real_size
from pathc.ir.sequences import fixed_steps, takes_sequences
from pathc.support.diagnostics import PathcError
from pathc.train.reference import ReferenceStepper
from pathc.train.stepper import Plan, stepper_for

NETS = {name: text for name, text in CASES.items() if "scale" not in text}
NETS["filters of paths beside cells of paths"] = (
    "input x[4, 5x7]\nlayer c[4] : conv(3x3, pad = 1) | bias | batchnorm | tanh | steps\n"
    "layer h[8] : bias | lstm(recur = diag)\nlayer n[8] : batchnorm\nlayer g[8] : bias | gru\n"
    "output y[3] : bias | softmax\npaths p : x -> c { count = 16 }\ndense d : c -> h\nskip s : h -> n\n"
    "paths q : n -> g { count = 24 }\ndense e : g -> y\n"
)
NETS["two directions behind a normalized filter of paths"] = (
    "input x[4, 4x4]\nlayer h[4] : conv(3x3, pad = same) | batchnorm | avgpool(global) | gru(bidirectional = sum)\n"
    "layer n[4] : batchnorm\noutput y[3] : bias | softmax\n"
    "paths p : x -> h { count = 16 }\nskip s : h -> n\ndense d : n -> y\n"
)
LEARNED = ["filters of paths beside cells of paths", "two directions behind a normalized filter of paths"]


def single(graph, seed=0):
    return {name: values.astype(np.float32) for name, values in weights_of(graph, seed).items()}


def rows(graph, batch, steps=5, seed=0):
    """Inputs as trainers take them, channels with their extents side by side."""
    lead = (batch, steps) if takes_sequences(graph) else (batch,)
    return np.random.default_rng(seed).normal(size=(*lead, sum(map(real_size, graph.inputs)))).astype(np.float32)


def values(graph, batch, steps=5, seed=1):
    shape = batch, fixed_steps(graph) or steps, sum(map(real_read_size, graph.outputs))
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def labels(graph, batch, steps=5, seed=1):
    return np.random.default_rng(seed).integers(0, 3, (batch, fixed_steps(graph) or steps))


def room(expected):
    """Float32 against float64: tensors whose gradient vanishes by cancellation are held to the others' size."""
    largest = max(np.abs(each).max() for each in expected.values())
    return {name: 1e-4 * np.abs(each).max() + 2e-6 * largest for name, each in expected.items()}


def near(found, expected):
    assert set(found) == set(expected)
    for name, within in room(expected).items():
        np.testing.assert_allclose(found[name], expected[name], rtol=0, atol=within, err_msg=name)


def near_a_kink(graph, weights, x, target):
    """Whether changes as small as those of rounding change gradients by more than half of what is allowed."""
    plan, random = Plan("mse", Sgd(), 1), np.random.default_rng(0)
    exact = ReferenceStepper(graph, weights, plan).gradients(x, target)
    allowed = room(exact)
    way = {name: 2e-6 * random.normal(size=each.shape) for name, each in weights.items()}
    for side in (1, -1):
        moved = {name: each * (1 + side * way[name]) for name, each in weights.items()}
        found = ReferenceStepper(graph, moved, plan).gradients(x, target)
        if any(np.abs(found[name] - exact[name]).max() > allowed[name] / 2 for name in exact):
            return True
    return False


def gradients_agree(graph, weights, x, target):
    trainer = SequenceTrainer(graph, weights, loss="mse", batch=4)
    reference = ReferenceStepper(graph, weights, Plan("mse", Sgd(), 4))
    loss, gradients = trainer.gradients(x, target)
    near(gradients, reference.gradients(x, target))
    assert trainer.evaluate(x, target).loss == pytest.approx(reference.evaluate(x, target).loss, rel=1e-5)
    assert loss == pytest.approx(reference.step(x, target).loss, rel=1e-5)


@pytest.mark.parametrize("text", NETS.values(), ids=NETS)
def test_gradients(text):
    graph = load(text)
    gradients_agree(graph, single(graph), rows(graph, 7), values(graph, 7))


@settings(max_examples=10, suppress_health_check=[HealthCheck.too_slow])
@given(front_texts(), st.sampled_from([2, 5, 18]), st.sampled_from([1, 4]), st.integers(0, 99))
def test_gradients_of_random_nets(text, batch, steps, seed):
    graph = load(text)
    weights, x, target = single(graph, seed), rows(graph, batch, steps, seed), values(graph, batch, steps)
    assert without_kernels(graph) == []
    assume(not near_a_kink(graph, weights, x, target))
    gradients_agree(graph, weights, x, target)


@pytest.mark.parametrize("by_batch", [False, True])
@pytest.mark.parametrize("name", ["an input of one extent as steps", *LEARNED])
def test_outputs_and_what_goes_back_from_them(name, by_batch):
    graph = load(NETS[name])
    weights, x, dy = single(graph), rows(graph, 3), values(graph, 3)
    shaped = as_samples(graph, x)
    trainer = SequenceTrainer(graph, weights, loss="none")
    outputs, saved = trainer.forward(x, by_batch=by_batch)
    trace = evaluate(graph, weights, shaped, training=by_batch)
    near({"outputs": outputs}, {"outputs": trace.outputs})
    dx, tensors = trainer.backward(saved, dy)
    at_x, exact = backward(graph, weights, shaped, dy, training=by_batch, trace=trace)
    near({**tensors, "inputs": dx}, {**exact, "inputs": at_x.reshape(x.shape)})
    trainer.release(saved)
    _, again = trainer.forward(x, by_batch=by_batch)
    nothing, same = trainer.backward(again, dy, inputs=False)
    assert nothing.size == 0
    assert all(np.array_equal(same[name], tensors[name]) for name in tensors)


@pytest.mark.parametrize("window", [None, (4, 12), (12, 4)], ids=str)
@pytest.mark.parametrize(
    "optimizer", [Sgd(0.05, weight_decay=0.1), Momentum(0.02, 0.9), Adam(0.01, eps=1e-2, weight_decay=0.1)], ids=str
)
@pytest.mark.parametrize("name", LEARNED)
def test_steps_are_those_of_the_reference(name, optimizer, window):
    """Statistics move by their momentum alone: no optimizer, and no weight decay, moves them."""
    graph = load(NETS[name])
    weights, plan = single(graph), Plan("cross-entropy", optimizer, 6)
    trainer, notes = stepper_for(graph, weights, plan)
    assert isinstance(trainer, SequenceTrainer)
    assert not notes
    reference = ReferenceStepper(graph, weights, plan)
    for batch in (6, 3, 5):
        x, target = rows(graph, batch, seed=batch), labels(graph, batch)
        found, exact = (each.step(x, target, window=window) for each in (trainer, reference))
        assert found.loss == pytest.approx(exact.loss, rel=1e-4)
        assert found.correct == exact.correct
    after = reference.weights()
    for tensor, mine in trainer.weights().items():
        np.testing.assert_allclose(mine, after[tensor], rtol=1e-3, atol=1e-4, err_msg=tensor)
    for each in (trainer.weights(), after) if window is not None else ():
        behind, ahead = np.arange(16) >= window[0], np.arange(16) < window[1]
        outside = ~(behind & ahead if window[0] < window[1] else behind | ahead)
        paths = (slice(None),) * (each["p.1"].ndim - 3)
        assert np.array_equal(each["p.1"][(*paths, outside)], weights["p.1"][(*paths, outside)])


def test_only_steps_move_statistics():
    graph = load(NETS[LEARNED[0]])
    weights, x, target = single(graph), rows(graph, 4), labels(graph, 4)
    trainer = SequenceTrainer(graph, weights, optimizer=Sgd(0.0), batch=4)
    trainer.gradients(x, target)
    trainer.evaluate(x, target)
    trainer.release(trainer.forward(x, by_batch=True)[1])
    assert all(np.array_equal(each, weights[name]) for name, each in trainer.weights().items())
    trainer.step(x, target)
    moved = {name for name, each in trainer.weights().items() if not np.array_equal(each, weights[name])}
    assert moved == {f"{station}.norm.{number}" for station in "cn" for number in ("mean", "variance")}


@pytest.mark.parametrize("name", LEARNED)
def test_bits_do_not_depend_on_threads_or_interruptions(name):
    graph = load(NETS[name])
    weights = single(graph)
    batches = [(rows(graph, n, seed=n), labels(graph, n)) for n in (9, 4, 9)]
    one, two = (SequenceTrainer(graph, weights, optimizer=Adam(0.01), batch=9, threads=n) for n in (1, 2))
    losses = [each.step(x, target).loss for x, target in batches for each in (one, two)]
    assert losses[::2] == losses[1::2]
    broken = SequenceTrainer(graph, weights, optimizer=Adam(0.01), batch=9)
    broken.step(*batches[0])
    rest = SequenceTrainer(graph, broken.weights(), optimizer=Adam(0.01), batch=9)
    rest.load_state(broken.state())
    for x, target in batches[1:]:
        rest.step(x, target)
    for found in (two, rest):
        assert all(np.array_equal(each, found.weights()[tensor]) for tensor, each in one.weights().items())


@pytest.mark.parametrize("name", LEARNED)
def test_labels_under_squared_errors(name):
    graph = load(NETS[name])
    x, target, plan = rows(graph, 6), labels(graph, 6), Plan("mse", Adam(0.01), 6)
    mine, exact = (stepper_for(graph, single(graph), plan, target)[0] for target in ("llvm", "reference"))
    assert mine.step(x, target).loss == pytest.approx(exact.step(x, target).loss, rel=1e-5)
    found, wanted = (each.evaluate(x, target) for each in (mine, exact))
    assert found.loss == pytest.approx(wanted.loss, rel=1e-4)
    assert found.correct == wanted.correct


def test_samples_that_do_not_fit_are_refused():
    graph = load(NETS[LEARNED[0]])
    trainer = SequenceTrainer(graph, single(graph), optimizer=Sgd())
    x, target = rows(graph, 2), labels(graph, 2)
    for wrong in (x[:, :5], x[:0], x[None]):
        with pytest.raises(PathcError, match=r"E0702: the input has shape .*, not \[n, 140\]"):
            trainer.step(wrong, target)
    with pytest.raises(PathcError, match="E0702: labels"):
        trainer.step(x, target[:, :5])


def test_what_has_no_kernels_is_named():
    graph = load("input x[2, 4x6] : steps\noutput y[3] : conv(3) | softmax\ndense p : x -> y\n")
    assert [d.code for d in without_kernels(graph)] == ["E0379"]
