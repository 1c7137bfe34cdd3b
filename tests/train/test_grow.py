"""Progressive growth: the net of P paths is the beginning of the net of 2P paths."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from train_support import NET, clusters, net

from pathc.ir.init import initial_weights
from pathc.ir.interp import forward
from pathc.support.diagnostics import PathcError
from pathc.support.source import Source
from pathc.train import Settings, grown_weights, train
from pathc.train.job import Job, run

FAST = Settings(epochs=3, batch=32, lr=0.02)


def codes(function, *arguments, **options) -> list[str]:
    with pytest.raises(PathcError) as caught:
        function(*arguments, **options)
    return [d.code for d in caught.value.diagnostics]


def test_new_paths_of_weight_zero_leave_the_function_as_it_was() -> None:
    small, large = net(P=128), net(P=256)
    weights = train(small, clusters(), FAST).weights
    grown = grown_weights(large, weights)
    x = clusters().arrays["x_test"]
    np.testing.assert_array_equal(forward(large, grown, x), forward(small, weights, x))
    for name in ("main.1", "main.2"):
        np.testing.assert_array_equal(grown[name][:128], weights[name])
        assert not grown[name][128:].any()
    np.testing.assert_array_equal(grown["h.bias"], weights["h.bias"])


def test_new_paths_learn_though_they_begin_at_zero() -> None:
    grown = grown_weights(net(P=256), train(net(P=128), clusters(), FAST).weights)
    later = train(net(P=256), clusters(), FAST, weights=grown).weights
    assert (later["main.1"][128:] != 0).mean() > 0.5
    assert (later["main.2"][128:] != 0).mean() > 0.5


def test_initial_is_that_of_the_large_net() -> None:
    large = net(P=256)
    grown = grown_weights(large, initial_weights(net(P=64)), kind="initial", magnitude=0.5)
    np.testing.assert_array_equal(grown["main.1"][64:], initial_weights(large)["main.1"][64:] * np.float32(0.5))


@pytest.mark.parametrize("sign", ["bit(4)", "dim(7)", "positive", "halves"])
def test_fixed_signs_need_a_rule_that_does_not_look_at_the_count(sign: str) -> None:
    text = NET.replace("bit(4)", sign)
    weights = initial_weights(net(text, P=128))
    if sign == "halves":
        assert set(codes(grown_weights, net(text), weights, fixed_signs=True)) == {"E0911"}
        return
    grown = grown_weights(net(text), weights, fixed_signs=True)
    np.testing.assert_array_equal(np.signbit(grown["main.1"]), np.signbit(initial_weights(net(text))["main.1"]))


@pytest.mark.parametrize(
    ("small", "large", "expected"),
    [
        (net(P=256), net(P=128), {"E0911"}),
        (net(), net(NET.replace("h[32]", "h[16]")), {"E0911"}),
        (net(), net(NET.replace("paths main", "paths other")), {"E0505", "E0506"}),
        (net(NET.replace("bias | ", "")), net(), {"E0505"}),
    ],
)
def test_nets_that_are_no_beginning(small, large, expected) -> None:
    assert set(codes(grown_weights, large, initial_weights(small))) == expected


def test_unknown_kind() -> None:
    assert codes(grown_weights, net(), initial_weights(net()), kind="zeros") == ["E0909"]


def job(tmp_path, **options) -> Job:
    return Job(
        Source("small.path", NET), clusters(), FAST, grow=("P", ("64", "128", "256")),
        output=str(tmp_path / "w.safetensors"), **options,
    )  # fmt: skip


def test_stages_of_a_job(tmp_path) -> None:
    class Watch:
        def __init__(self) -> None:
            self.records: list[dict[str, object]] = []

        def begin(self, epoch, epochs, samples, done):
            assert epochs == 9

        def step(self, samples, loss, correct):
            pass

        def end(self, record):
            self.records.append(record)

    watch = Watch()
    result = run(job(tmp_path), watch)
    assert [r["epoch"] for r in watch.records] == list(range(1, 10))
    assert [r["stage"] for r in watch.records] == [1] * 3 + [2] * 3 + [3] * 3
    assert len(result.weights["main.1"]) == 256
    assert watch.records[3]["loss"] < watch.records[0]["loss"]
    assert [p.name for p in tmp_path.iterdir()] == ["w.safetensors"]


@pytest.mark.parametrize("stop", [5, 24, 30, 50])
def test_stages_resume_bit_by_bit(tmp_path, stop: int) -> None:
    count = iter(range(10**6))
    broken = run(job(tmp_path), stop=lambda: next(count) >= stop)
    assert not broken.finished
    assert not (tmp_path / "w.safetensors").exists()
    rest = run(job(tmp_path, resume=True))
    (tmp_path / "w.safetensors").unlink()
    whole = run(job(tmp_path))
    assert all(rest.weights[n].tobytes() == whole.weights[n].tobytes() for n in whole.weights)


def test_growing_and_setting_the_same_let(tmp_path) -> None:
    assert codes(run, replace(job(tmp_path), overrides={"P": "64"})) == ["E0909"]
