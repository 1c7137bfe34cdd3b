"""The stepper of the interpreter: losses, gradients, optimizers, direct feedback."""

from __future__ import annotations

import numpy as np
import pytest
from train_support import NET, clusters, net

from pathc.backends.llvm.training.optimizers import Adam, Momentum, Optimizer, Sgd
from pathc.ir.init import initial_weights
from pathc.train.reference import ReferenceStepper
from pathc.train.stepper import LOSSES, Plan, stepper_for

X = clusters().arrays["x_train"][:20]
Y = clusters().arrays["y_train"][:20].astype(np.int64)
OPTIMIZERS = [
    Sgd(0.1), Sgd(0.1, 0.01), Momentum(0.1, 0.8, 0.01), Adam(0.01, eps=1e-4),
    Adam(0.01, eps=1e-4, weight_decay=0.1), Adam(0.01, eps=1e-4, weight_decay=0.1, decoupled=True),
]  # fmt: skip
"""Adam with a large eps: with the usual one it makes whole steps of gradients that are rounding alone."""


def stepper(loss="cross-entropy", optimizer: Optimizer = OPTIMIZERS[0], **options) -> ReferenceStepper:
    return ReferenceStepper(net(), initial_weights(net()), Plan(loss, optimizer, 32, **options))


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("labels", [True, False])
def test_gradients_are_finite_differences(loss: str, labels: bool) -> None:
    target = Y if labels else np.eye(4, dtype=np.float32)[Y]
    reference, weights = stepper(loss), initial_weights(net())
    gradients = reference.gradients(X, target)
    for name, at in (("main.1", 17), ("main.2", 200), ("h.bias", 5)):
        losses = []
        for step in (1e-5, -1e-5):
            moved = {n: w.astype(np.float64) for n, w in weights.items()}
            moved[name][at] += step
            reference.load(moved)
            losses.append(reference.evaluate(X, target).loss)
        assert gradients[name][at] == pytest.approx((losses[0] - losses[1]) / 2e-5, rel=1e-4, abs=1e-7)


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=str)
@pytest.mark.parametrize("window", [None, (64, 192), (192, 64)])
@pytest.mark.parametrize("fixed_signs", [False, True])
def test_compiled_steps_agree(optimizer: Optimizer, window, fixed_signs: bool) -> None:
    plan = Plan("cross-entropy", optimizer, 32, fixed_signs=fixed_signs)
    compiled, _ = stepper_for(net(), initial_weights(net()), plan)
    oracle, _ = stepper_for(net(), initial_weights(net()), plan, "reference")
    for lr in (0.05, 0.02, 0.01):
        first, second = (s.step(X, Y, lr=lr, window=window) for s in (compiled, oracle))
        assert first.loss == pytest.approx(second.loss, rel=1e-4)
    for name, values in oracle.weights().items():
        np.testing.assert_allclose(compiled.weights()[name], values, rtol=1e-3, atol=2e-4)


def test_paths_outside_a_window_do_not_move() -> None:
    reference, begin = stepper(optimizer=Adam(0.01, weight_decay=0.1)), initial_weights(net())
    reference.step(X, Y, window=(192, 64))
    moved = reference.weights()["main.1"] != begin["main.1"]
    assert not moved[64:192].any()
    assert moved[:64].any()
    assert moved[192:].any()


def test_direct_feedback_is_exact_at_the_output() -> None:
    exact, direct = stepper(), stepper(feedback="direct")
    np.testing.assert_allclose(direct.gradients(X, Y)["main.2"], exact.gradients(X, Y)["main.2"], rtol=1e-12)
    assert not np.allclose(direct.gradients(X, Y)["main.1"], exact.gradients(X, Y)["main.1"])


def test_direct_feedback_is_drawn_again_from_its_seed() -> None:
    weights = initial_weights(net())
    first, again, other = (
        ReferenceStepper(net(), weights, Plan("cross-entropy", Sgd(0.1), 32, feedback="direct", seed=seed))
        for seed in (9, 9, 10)
    )
    gradient = first.gradients(X, Y)["main.1"]
    np.testing.assert_array_equal(gradient, first.gradients(X, Y)["main.1"])
    np.testing.assert_array_equal(gradient, again.gradients(X, Y)["main.1"])
    assert not np.allclose(gradient, other.gradients(X, Y)["main.1"])


def test_direct_feedback_is_linear_in_the_error() -> None:
    """Between identities, the gradient of the hidden weights is x (B e): twice the error, twice the gradient."""
    text = NET.replace("bias | relu", "identity").replace(": softmax", "")
    zeros = {name: np.zeros(256, np.float32) for name in ("main.1", "main.2")}
    reference = ReferenceStepper(net(text), zeros, Plan("mse", Sgd(0.1), 32, feedback="direct"))
    target = np.eye(4, dtype=np.float32)[Y]
    once, twice = (reference.gradients(X, factor * target)["main.1"] for factor in (1, 2))
    assert once.any()
    np.testing.assert_allclose(twice, 2 * once, rtol=1e-12)
