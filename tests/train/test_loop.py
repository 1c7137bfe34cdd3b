"""The training loop: what it learns, that it repeats, and how it stops."""

from __future__ import annotations

import numpy as np
import pytest
from train_support import NET, REPEAT, changed, clusters, net

import pathc
from pathc.ir.generators import resolve
from pathc.ir.init import initial_weights
from pathc.ir.interp import evaluate
from pathc.support.diagnostics import PathcError, UsageError
from pathc.train import Settings, load_data, train
from pathc.train.schedules import rate
from pathc.train.windows import Windows

LINEAR = NET.replace("bias | relu", "identity").replace(": softmax", "")
FAST = Settings(epochs=3, batch=32, lr=0.02)


def same(first, second) -> bool:
    return first.keys() == second.keys() and all(first[n].tobytes() == second[n].tobytes() for n in first)


def codes(function, *arguments, **options) -> list[str]:
    with pytest.raises(PathcError) as caught:
        function(*arguments, **options)
    return [d.code for d in caught.value.diagnostics]


def test_learns_the_digits() -> None:
    graph = pathc.load("examples/digits.path", {"P": 1024})
    result = train(graph, load_data("digits"), Settings(epochs=12, batch=32, lr=0.01))
    assert result.finished
    assert result.accuracy is not None
    assert result.accuracy > 0.9
    executable = pathc.compile(graph, weights=result.weights)
    data = load_data("digits").arrays
    hits = executable(data["x_test"].astype(np.float32) / 16).argmax(axis=1) == data["y_test"]
    assert hits.mean() == pytest.approx(result.accuracy)


@pytest.mark.parametrize("target", ["llvm", "reference"])
@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "adam"])
def test_repeats_bit_by_bit(target: str, optimizer: str) -> None:
    settings = Settings(epochs=2, batch=32, lr=0.02, optimizer=optimizer, target=target)
    first, second = (train(net(), clusters(), settings) for _ in range(2))
    assert same(first.weights, second.weights)
    assert not same(first.weights, train(net(), clusters(), Settings(**{**vars(settings), "seed": 1})).weights)
    assert not same(first.weights, initial_weights(net()))


def test_threads_change_nothing() -> None:
    results = [train(net(), clusters(), Settings(epochs=2, batch=64, threads=n)) for n in (1, 2)]
    assert same(results[0].weights, results[1].weights)


@pytest.mark.parametrize(
    "settings", [Settings(), Settings(loss="mse"), Settings(optimizer="momentum", lr=0.01)], ids=str
)
def test_agrees_with_the_reference(settings: Settings) -> None:
    small = {**vars(settings), "epochs": 1, "batch": 48}
    compiled, oracle = (train(net(), clusters(), Settings(**{**small, "target": t})) for t in ("llvm", "reference"))
    for name, values in oracle.weights.items():
        np.testing.assert_allclose(compiled.weights[name], values, rtol=2e-3, atol=2e-4)
    assert compiled.history[0]["loss"] == pytest.approx(oracle.history[0]["loss"], rel=1e-4)
    assert [d.code for d in oracle.notes] == ["W0902"]


def test_record_of_an_epoch() -> None:
    (record,) = train(net(), clusters(), Settings(epochs=1)).history
    assert list(record)[:3] == ["epoch", "loss", "train_accuracy"]
    assert {"test_accuracy", "test_loss", "seconds"} <= set(record)
    assert record["epoch"] == 1
    assert 0 < record["train_accuracy"] < 1


def test_test_accuracy_is_that_of_the_weights() -> None:
    data = clusters()
    result = train(net(), data, FAST)
    outputs = evaluate(net(), result.weights, data.arrays["x_test"]).outputs
    assert result.accuracy == pytest.approx((outputs.argmax(axis=1) == data.arrays["y_test"]).mean())


def test_every_sample_is_seen_once_an_epoch() -> None:
    rows = np.zeros((100, 16), np.float32)
    rows[:, 0] = np.arange(100)
    data = changed(clusters(), x_train=rows, y_train=np.arange(100) % 4)
    seen: list[float] = []

    class Spy:
        def step(self, x, target, *, lr=None, window=None):
            seen.extend(x[:, 0].tolist())
            assert (x[:, 0] % 4 == target).all()
            return type("Outcome", (), {"loss": 1.0, "correct": 0})

        def evaluate(self, x, target):
            return type("Outcome", (), {"loss": 1.0, "correct": 0})

        def weights(self):
            return {}

        def state(self):
            return {}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pathc.train.loop.stepper_for", lambda *_: (Spy(), []))
        train(net(), data, Settings(epochs=2, batch=32))
    assert sorted(seen[:100]) == sorted(seen[100:]) == list(range(100))
    assert seen[:100] != seen[100:]
    assert seen[:100] != list(range(100))


def test_autoencoder_learns_its_input() -> None:
    data = changed(clusters(), y_train=None, y_test=None)
    result = train(net(REPEAT), data, Settings(epochs=20, batch=32, lr=0.02, goal="input"))
    assert result.history[-1]["test_loss"] < 0.5 * result.history[0]["test_loss"]
    assert result.history[0]["train_accuracy"] is None


def test_early_stopping_keeps_the_best() -> None:
    data = changed(clusters(), y_train=np.random.default_rng(0).integers(0, 4, 240))
    settings = Settings(epochs=200, batch=16, lr=0.02, schedule="constant", validation=0.25, patience=3)
    result = train(net(), data, settings)
    losses = [record["validation_loss"] for record in result.history]
    best = int(np.argmin(losses))
    assert len(losses) < 200
    assert len(losses) - 1 - best >= 3
    held = train(net(), data, Settings(**{**vars(settings), "epochs": best + 1, "patience": 0}))
    assert same(result.weights, held.weights)


def test_fixed_signs_stay() -> None:
    weights = train(net(), clusters(), Settings(epochs=10, batch=32, lr=0.1, fixed_signs=True)).weights
    for name, begin in initial_weights(net()).items():
        if name.startswith("main"):
            assert ((weights[name] == 0) | (np.sign(weights[name]) == np.sign(begin))).all()
    assert (weights["main.1"] == 0).any()


@pytest.mark.parametrize("target", ["llvm", "reference"])
def test_windows_are_left_out_in_turn(target: str) -> None:
    windows = Windows(net(), 64, seed=5)
    order = windows.order(0, 8)
    assert sorted(order[:4]) == sorted(order[4:]) == [(0, 192), (64, 256), (128, 64), (192, 128)]
    assert order != windows.order(1, 8)
    settings = Settings(epochs=30, batch=60, lr=0.03, drop=64, target=target)
    result = train(net(), clusters(), settings)
    assert result.accuracy is not None
    assert result.accuracy > 0.8
    assert same(result.weights, train(net(), clusters(), settings).weights)


def test_weights_of_windows_are_scaled_for_all_paths() -> None:
    windows = Windows(net(), 64, seed=0)
    begin = initial_weights(net())
    once = windows.whole(windows.begin(begin))
    np.testing.assert_allclose(once["main.1"], begin["main.1"] * 0.75**0.5, rtol=1e-6)
    np.testing.assert_array_equal(once["h.bias"], begin["h.bias"])


@pytest.mark.parametrize("paths", [48, 256, 512, 3])
def test_windows_that_do_not_divide(paths: int) -> None:
    assert codes(train, net(), clusters(), Settings(drop=paths)) == ["E0912"]


def test_windows_need_paths() -> None:
    dense = net("pathc 1\ninput x[16]\noutput y[4] : softmax\ndense d : x -> y\n")
    assert codes(train, dense, clusters(), Settings(drop=4)) == ["E0912"]


@pytest.mark.parametrize(("count", "cure"), [(1000, "up to 8"), (256, "up to 128"), (255, "more factors of two")])
def test_windows_that_divide_the_paths_are_named(count: int, cure: str) -> None:
    graph = net(NET.replace("P = 256", f"P = {count}"))
    for paths in (512, 3, 1024):
        with pytest.raises(PathcError, match="E0912") as caught:
            Windows(graph, paths, seed=0)
        assert cure in caught.value.diagnostics[0].help


def test_direct_feedback_learns() -> None:
    settings = Settings(epochs=8, batch=16, lr=0.02, feedback="direct")
    result = train(net(), clusters(), settings)
    assert result.accuracy is not None
    assert result.accuracy > 0.7
    assert [d.code for d in result.notes] == ["W0902"]
    assert same(result.weights, train(net(), clusters(), settings).weights)
    assert not same(result.weights, train(net(), clusters(), Settings(**{**vars(settings), "seed": 1})).weights)


@pytest.mark.parametrize("target", ["llvm", "reference"])
def test_divergence_names_step_layer_and_norm(target: str) -> None:
    settings = Settings(epochs=20, batch=32, optimizer="sgd", lr=1e3, loss="mse", schedule="constant", target=target)
    graph = net(LINEAR)
    with pytest.raises(PathcError) as caught:
        train(graph, clusters(), settings)
    (found,) = caught.value.diagnostics
    assert found.code == "E0907"
    assert "step " in found.message
    assert "norm" in found.message or "main." in found.message
    assert any("main.1" in note for note in found.notes)


def test_divergence_is_found_by_repeating_the_epoch() -> None:
    """The weights before the step that is named are finite, and their sums are beyond float32."""
    settings = Settings(epochs=50, batch=32, optimizer="sgd", lr=5.0, loss="mse", schedule="constant", warmup=40)
    with pytest.raises(PathcError, match=r"in step \d+ \(epoch \d+\): the sums of the layer `\w` have the norm \S+e"):
        train(net(LINEAR), clusters(), settings)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"epochs": 0}, ["E0909"]),
        ({"batch": 0}, ["E0909"]),
        ({"seed": -1}, ["E0909"]),
        ({"lr": -1.0}, ["E0909"]),
        ({"lr": float("nan")}, ["E0909"]),
        ({"optimizer": "adm", "feedback": "x"}, ["E0909", "E0909"]),
        ({"goal": "labls"}, ["E0909"]),
        ({"warmup": 10.0}, ["E0909"]),
        ({"validation": 1.0}, ["E0909"]),
        ({"patience": 2}, ["E0909"]),
        ({"schedule": "cosin"}, ["E0910"]),
        ({"loss": "cross-entrpy"}, ["E0913"]),
        ({"target": "engine"}, ["E0915"]),
        ({"target": "lvm", "epochs": 0}, ["E0909", "E0915"]),
        ({"target": "llvm{"}, ["E0806"]),
        ({"target": "llvm{precision=bf17}"}, ["E0603"]),
        ({"target": "reference{precision=bf16}"}, ["E0603"]),
    ],
    ids=str,
)
def test_settings_that_cannot_be(options, expected) -> None:
    with pytest.raises(UsageError) as caught:
        Settings(**options)
    assert [d.code for d in caught.value.diagnostics] == expected


@pytest.mark.parametrize(
    ("text", "options", "expected"),
    [
        (NET.replace(": softmax", ""), {"loss": "cross-entropy"}, "E0913"),
        (NET.replace("[4]", "[16]"), {"loss": "cross-entropy", "goal": "input"}, "E0913"),
    ],
)
def test_nets_that_cannot_be_trained_so(text: str, options, expected: str) -> None:
    assert codes(train, net(text), clusters(), Settings(**options)) == [expected]


@pytest.mark.parametrize(
    ("units", "visit", "least", "most"),
    [
        (256, "@(0:16, 1:16)", 32, 32),
        (784, "@0", 10, 11),
        (1568, "@1", 5, 6),
        (784, "@(0:28, 1:28)", 8, 13),
        (1568, "@(0:7, 1:7, 2:32)", 2, 10),
    ],
)
def test_windows_visit_units_as_the_docs_say(units: int, visit: str, least: int, most: int) -> None:
    """docs/training.md, "Dropconnect": windows of 8,192 of the 65,536 paths of examples/mnist_local.path."""
    graph = net(f"pathc 1\nmodel n\ninput x[{units}]\noutput y[10]\npaths p : x{visit} -> y@4 {{ count = 65536 }}\n")
    paths = resolve(graph.lines[0], graph)
    visits = [np.bincount(paths.units(0, k, k + 8192), minlength=units) for k in range(0, 65536, 8192)]
    assert (np.min(visits), np.max(visits)) == (least, most)


def test_weights_to_begin_with_must_fit() -> None:
    assert codes(train, net(), clusters(), weights={"main.1": np.zeros(3, np.float32)})[0] == "E0507"


def test_rates_fall_within_an_epoch() -> None:
    schedule = Settings().timetable()
    assert rate(schedule, 1.0, 0.5, 10, 0) > rate(schedule, 1.0, 0.75, 10, 0)
