"""Checkpoints: going on as if nothing had happened, and everything that can go wrong with them."""

from __future__ import annotations

import errno
import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from train_support import changed, clusters, net

from pathc.support.diagnostics import PathcError
from pathc.support.tensors import read_safetensors, safetensors_bytes, safetensors_metadata
from pathc.train import Settings, train

BASE = Settings(epochs=4, batch=32, lr=0.02, validation=0.2, patience=4)
STEPS = 6
"""Steps of an epoch: 192 samples in batches of 32."""


def after(steps: int):
    """Stop before step `steps` (from 0)."""
    count = iter(range(10**6))
    return lambda: next(count) >= steps


def figures(history) -> list[dict[str, object]]:
    return [{k: v for k, v in record.items() if k != "seconds"} for record in history]


def same(first, second) -> bool:
    return first.keys() == second.keys() and all(first[n].tobytes() == second[n].tobytes() for n in first)


def codes(function, *arguments, **options) -> list[str]:
    with pytest.raises(PathcError) as caught:
        function(*arguments, **options)
    return [d.code for d in caught.value.diagnostics]


@pytest.mark.parametrize("target", ["llvm", "reference"])
@pytest.mark.parametrize("optimizer", ["adam", "momentum", "sgd"])
@pytest.mark.parametrize("stop", [0, 3, STEPS, STEPS + 5, 4 * STEPS - 1])
def test_resumes_bit_by_bit(tmp_path: Path, target: str, optimizer: str, stop: int) -> None:
    chosen = replace(BASE, target=target, optimizer=optimizer)
    whole = train(net(), clusters(), chosen)
    path = tmp_path / "c.safetensors"
    broken = train(net(), clusters(), chosen, checkpoint=path, stop=after(stop))
    assert not broken.finished
    rest = train(net(), clusters(), chosen, checkpoint=path, resume=True)
    assert rest.finished
    assert same(rest.weights, whole.weights)
    assert figures(rest.history) == figures(whole.history)


@settings(max_examples=8, deadline=None)
@given(st.lists(st.integers(0, 9), min_size=1, max_size=5), st.booleans())
def test_many_interruptions(tmp_path_factory, stops: list[int], windows: bool) -> None:
    chosen = replace(BASE, epochs=3, drop=64 if windows else 0, patience=0)
    path = tmp_path_factory.mktemp("many") / "c.safetensors"
    for stop in stops:
        train(net(), clusters(), chosen, checkpoint=path, resume=path.exists(), stop=after(stop))
    rest = train(net(), clusters(), chosen, checkpoint=path, resume=True)
    assert same(rest.weights, train(net(), clusters(), chosen).weights)


def test_killed_between_epochs(tmp_path: Path) -> None:
    """A run that dies without a word goes on from the end of the last epoch."""

    class Killed(BaseException):
        pass

    class Killer:
        def begin(self, epoch, epochs, samples, done):
            pass

        def step(self, samples, loss, correct):
            self.steps = getattr(self, "steps", 0) + 1
            if self.steps == 2 * STEPS + 3:
                raise Killed

        def end(self, record):
            pass

    path = tmp_path / "c.safetensors"
    with pytest.raises(Killed):
        train(net(), clusters(), BASE, checkpoint=path, watch=Killer())
    assert json.loads(safetensors_metadata(path)["progress"])["epoch"] == 2
    rest = train(net(), clusters(), BASE, checkpoint=path, resume=True)
    assert same(rest.weights, train(net(), clusters(), BASE).weights)


def test_finished_run_is_not_trained_again(tmp_path: Path) -> None:
    path = tmp_path / "c.safetensors"
    first = train(net(), clusters(), BASE, checkpoint=path)
    again = train(net(), clusters(), BASE, checkpoint=path, resume=True, stop=lambda: True)
    assert again.finished
    assert same(first.weights, again.weights)


def test_more_epochs_with_a_constant_rate(tmp_path: Path) -> None:
    path, constant = tmp_path / "c.safetensors", Settings(epochs=2, batch=32, schedule="constant")
    train(net(), clusters(), constant, checkpoint=path)
    longer = replace(constant, epochs=4)
    rest = train(net(), clusters(), longer, checkpoint=path, resume=True)
    assert same(rest.weights, train(net(), clusters(), longer).weights)


def test_threads_may_change(tmp_path: Path) -> None:
    path = tmp_path / "c.safetensors"
    train(net(), clusters(), BASE, checkpoint=path, stop=after(4))
    rest = train(net(), clusters(), replace(BASE, threads=2), checkpoint=path, resume=True)
    assert same(rest.weights, train(net(), clusters(), BASE).weights)


def test_nothing_to_resume_is_a_note(tmp_path: Path) -> None:
    result = train(net(), clusters(), BASE, checkpoint=tmp_path / "c.safetensors", resume=True)
    assert [d.code for d in result.notes] == ["W0904"]
    assert result.finished


def test_checkpoint_of_another_run(tmp_path: Path) -> None:
    path = tmp_path / "c.safetensors"
    train(net(), clusters(), BASE, checkpoint=path, stop=after(4))
    before = path.read_bytes()
    for graph, data, chosen, words in (
        (net(P=128), clusters(), BASE, "another model"),
        (net(), changed(clusters(), x_train=clusters().arrays["x_train"] * 2), BASE, "other data"),
        (net(), clusters(), replace(BASE, lr=0.01), "lr = 0.02"),
        (net(), clusters(), replace(BASE, epochs=5), "epochs = 4"),
        (net(), clusters(), replace(BASE, optimizer="sgd"), "optimizer = adam"),
    ):
        with pytest.raises(PathcError, match=words) as caught:
            train(graph, data, chosen, checkpoint=path, resume=True)
        assert {d.code for d in caught.value.diagnostics} == {"E0908"}
        assert path.read_bytes() == before


def test_files_that_are_no_checkpoints(tmp_path: Path) -> None:
    path = tmp_path / "c.safetensors"
    path.write_bytes(b"nonsense")
    assert codes(train, net(), clusters(), BASE, checkpoint=path, resume=True) == ["E0504"]
    path.write_bytes(safetensors_bytes({"w": ("float32", np.zeros(3, np.float32))}, {"seed": "0"}))
    assert codes(train, net(), clusters(), BASE, checkpoint=path, resume=True) == ["E0908"]


@pytest.mark.parametrize("progress", ["", "{}x", "[]", '{"epoch": -1}', '{"epoch": "a"}', '{"what": 1}', "[" * 99999])
def test_hostile_progress(tmp_path: Path, progress: str) -> None:
    path = tmp_path / "c.safetensors"
    train(net(), clusters(), BASE, checkpoint=path, stop=after(4))
    metadata = {**safetensors_metadata(path), "progress": progress}
    tensors = {name: (array.dtype.name, array) for name, array in read_safetensors(path).items()}
    path.write_bytes(safetensors_bytes(tensors, metadata))
    assert codes(train, net(), clusters(), BASE, checkpoint=path, resume=True) == ["E0504"]


@pytest.mark.parametrize("target", ["llvm", "reference"])
def test_checkpoint_without_its_tensors(tmp_path: Path, target: str) -> None:
    path, chosen = tmp_path / "c.safetensors", replace(BASE, target=target)
    train(net(), clusters(), chosen, checkpoint=path, stop=after(4))
    tensors = {n: (a.dtype.name, a) for n, a in read_safetensors(path).items() if "main.1" not in n}
    path.write_bytes(safetensors_bytes(tensors, safetensors_metadata(path)))
    (code,) = codes(train, net(), clusters(), chosen, checkpoint=path, resume=True)
    assert code in ("E0504", "E0505", "E0622")


def test_full_disk_leaves_the_last_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "c.safetensors"
    writes, fsync = [0], os.fsync

    def full(handle: int) -> None:
        writes[0] += 1
        if writes[0] == 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(handle)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(PathcError, match="No space left") as caught:
        train(net(), clusters(), BASE, checkpoint=path)
    (found,) = caught.value.diagnostics
    assert found.code == "E0503"
    assert "the checkpoint before it is as it was" in found.notes
    assert json.loads(safetensors_metadata(path)["progress"])["epoch"] == 1
    assert [p.name for p in tmp_path.iterdir()] == ["c.safetensors"]
    rest = train(net(), clusters(), BASE, checkpoint=path, resume=True)
    assert same(rest.weights, train(net(), clusters(), BASE).weights)


def test_unwritable_folder_is_told_before_training(tmp_path: Path) -> None:
    assert codes(train, net(), clusters(), BASE, checkpoint=tmp_path / "no" / "c.safetensors") == ["E0503"]


def test_divergence_leaves_the_last_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "c.safetensors"
    graph = net("pathc 1\ninput x[16]\nlayer h[32]\noutput y[4]\npaths m : x -> h -> y { count = 256 }\n")
    wild = Settings(epochs=50, batch=32, optimizer="sgd", lr=5.0, schedule="constant", warmup=40)
    assert codes(train, graph, clusters(), wild, checkpoint=path) == ["E0907"]
    stored = read_safetensors(path)
    assert json.loads(safetensors_metadata(path)["progress"])["epoch"] > 0
    assert all(np.isfinite(array).all() for array in stored.values())
