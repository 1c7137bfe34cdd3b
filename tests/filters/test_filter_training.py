"""Training nets with extents: they learn, statistics follow the batches, and compiled kernels run the result."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from filter_nets import net

import pathc
from pathc.backends.llvm.training.optimizers import Sgd
from pathc.cli import main
from pathc.ir.init import initial_weights
from pathc.ir.interp import evaluate
from pathc.support.diagnostics import PathcError
from pathc.train.stepper import Plan, stepper_for

DIGITS = """
input x[1, 8x8] : u8
layer a[8] : conv(3x3, pad = same) | batchnorm | relu | maxpool(2x2)
layer b[16] : conv(3x3, pad = same) | batchnorm(momentum = 0.2) | relu | maxpool(2x2)
output y[10] : bias | softmax
dense first : x -> a
paths filters : a -> b { count = 64 }
dense head : b -> y
"""


def test_digits_are_learned_and_compiled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "m.path").write_text("pathc 1\n" + DIGITS)
    given = ["train", "m.path", "--data", "digits", "--epochs", "3", "--lr", "0.01", "--seed", "1"]
    assert main([*given, "-o", "w.safetensors", "--json"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert json.loads(said[-1])["test_accuracy"] > 0.93
    data = np.load(Path(__file__).parents[2] / "examples" / "digits.npz")
    x = data["x_test"].astype(np.float32).reshape(-1, 1, 8, 8) / 16
    net_ = pathc.compile("m.path", "llvm", weights="w.safetensors")
    assert (net_(x).argmax(axis=1) == data["y_test"]).mean() == pytest.approx(json.loads(said[-1])["test_accuracy"])
    assert main([*given[:5], "2", *given[6:], "-o", "v.safetensors"]) == 0
    capsys.readouterr()


def test_running_statistics_move_by_their_momentum() -> None:
    graph = net(DIGITS)
    weights = initial_weights(graph)
    plan = Plan("cross-entropy", Sgd(lr=0.0), 4)
    stepper, said = stepper_for(graph, weights, plan)
    assert not said
    random = np.random.default_rng(0)
    x, y = random.random((4, 64), np.float32), random.integers(0, 10, 4)
    stepper.step(x, y)
    after = stepper.weights()
    sums = evaluate(graph, weights, x.reshape(4, 1, 8, 8), training=True).sums["b"].reshape(4, 16, 4, 4)
    np.testing.assert_allclose(after["b.norm.mean"], 0.2 * sums.mean(axis=(0, 2, 3)), rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(after["b.norm.variance"], 0.8 + 0.2 * sums.var(axis=(0, 2, 3)), rtol=1e-5)
    np.testing.assert_array_equal(after["filters.1"], weights["filters.1"])


@pytest.mark.parametrize(("plan", "target"), [({"fixed_signs": True}, "reference"), ({"feedback": "direct"}, "llvm")])
def test_what_cannot_be_trained_so(plan, target) -> None:
    graph = net(DIGITS)
    with pytest.raises(PathcError, match="E0909"):
        stepper_for(graph, initial_weights(graph), Plan("cross-entropy", Sgd(lr=0.1), 4, **plan), target)


def test_what_has_no_kernels_is_trained_by_the_interpreter() -> None:
    graph = net("input x[3, 5x5]\nlayer a[4] : conv(3x3) | softmax\noutput y[2]\ndense p : x -> a -> y")
    x, y = np.ones((4, 75), np.float32), np.ones((4, 2), np.float32)
    stepper, said = stepper_for(graph, initial_weights(graph), Plan("mse", Sgd(lr=0.1), 4))
    assert [d.code for d in said] == ["W0902"]
    assert stepper.step(x, y).loss > stepper.step(x, y).loss
