"""Training on sequences: texts, arrays with steps, and what does not fit."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

import pathc
from pathc.cli import main
from pathc.ir.init import initial_weights
from pathc.ir.interp import evaluate
from pathc.ir.weights import load_weights
from pathc.support.diagnostics import PathcError
from pathc.train import Settings, load_data, train
from pathc.train.samples import split_for

TEXT = "the cat sat on the mat. " * 80
LETTERS = len(set(TEXT))
MODEL = """pathc 1
let C = {letters}
model text
input now[C]
layer h[24] : bias | gru(recur = {recur})
output next[C] : bias | softmax
dense main : now -> h -> next
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.txt").write_text(TEXT)
    (tmp_path / "m.path").write_text(MODEL.format(letters=LETTERS, recur="band(5)"))
    return tmp_path


def test_a_text_is_cut_and_its_end_held_back(here: Path) -> None:
    data = load_data("text.txt", steps=16)
    x, y = data.arrays["x_train"], data.arrays["y_train"]
    count = (len(TEXT) - 1) // 16
    assert x.shape == y.shape == (count - count // 10, 16)
    assert data.arrays["x_test"].shape == (count // 10, 16)
    letters = "".join(sorted(set(TEXT)))
    whole = np.concatenate([x, data.arrays["x_test"]]).reshape(-1)
    assert "".join(letters[n] for n in whole) == TEXT[: count * 16]
    assert "".join(letters[n] for n in y[0]) == TEXT[1:17]
    split = split_for(pathc.load("m.path"), data)
    one = split.train.inputs(slice(0, 2))
    assert one.shape == (2, 16, LETTERS)
    assert np.array_equal(one.argmax(axis=2), x[:2])
    assert np.array_equal(one.sum(axis=2), np.ones((2, 16)))


@pytest.mark.parametrize("recur", ["full", "diag", "grouped(4)", "paths(count = 64)"])
def test_the_command_learns_a_text(recur: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "m.path").write_text(MODEL.format(letters=LETTERS, recur=recur))
    command = ["train", "m.path", "--data", "text.txt", "--steps", "12", "--batch", "16", "--lr", "0.02"]
    assert main([*command, "--epochs", "12", "--json", "-o", "w.safetensors"]) == 0
    said = capsys.readouterr()
    assert "W0902" not in said.err
    records = [json.loads(line) for line in said.out.splitlines()]
    assert records[-1]["test_bits"] < 0.5 * records[0]["test_bits"]
    assert records[-1]["test_bits"] == pytest.approx(records[-1]["test_loss"] / math.log(2))
    assert 0.5 < records[-1]["test_accuracy"] <= 1.0
    assert 0.0 < records[-1]["train_accuracy"] <= 1.0
    graph = pathc.load("m.path")
    test = split_for(graph, load_data("text.txt", steps=12)).test
    assert test is not None
    assert test.labels is not None
    outputs = evaluate(graph, load_weights("w.safetensors", graph), test.inputs(slice(None))).outputs
    assert (outputs.argmax(axis=2) == test.labels).mean() == pytest.approx(records[-1]["test_accuracy"])


def test_a_line_for_people_shows_bits(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "m.path", "--data", "text.txt", "--epochs", "1", "-o", "w.npz"]) == 0
    assert "bits a character" in capsys.readouterr().err


def test_interrupted_and_resumed_is_the_same(here: Path) -> None:
    graph, data = pathc.load("m.path"), load_data("text.txt", steps=16)
    settings = Settings(epochs=2, batch=16)
    whole = train(graph, data, settings).weights
    calls = iter(range(100))
    first = train(graph, data, settings, checkpoint="c.safetensors", stop=lambda: next(calls) >= 9)
    assert not first.finished
    again = train(graph, data, settings, checkpoint="c.safetensors", resume=True).weights
    assert all(np.array_equal(again[name], whole[name]) for name in whole)


def test_arrays_with_steps(here: Path) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(64, 7, 3)).astype(np.float32)
    y = (x.cumsum(axis=1)[..., 0] > 0).astype(np.int64)
    np.savez("s.npz", x_train=x, y_train=y, x_test=x[:9], y_test=y[:9])
    text = (
        "pathc 1\nmodel s\ninput x[3]\nlayer h[16] : bias | rnn\noutput y[2] : bias | softmax\ndense d : x -> h -> y\n"
    )
    graph = pathc.load(pathc.Source("s.path", text))
    result = train(graph, load_data("s.npz"), Settings(epochs=8, batch=16, lr=0.02))
    assert result.accuracy is not None
    assert result.accuracy > 0.8
    assert "test_bits" not in result.history[-1]
    outputs = evaluate(graph, result.weights, x[:9]).outputs
    assert (outputs.argmax(axis=2) == y[:9]).mean() == pytest.approx(result.accuracy)
    assert initial_weights(graph).keys() == result.weights.keys()


def sequences(**other: np.ndarray) -> None:
    arrays = {"x_train": np.zeros((4, 5, 3), np.float32), "y_train": np.zeros((4, 5), np.int64)}
    np.savez("s.npz", **{**arrays, **other})


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"x_train": np.where(np.arange(60).reshape(4, 5, 3) == 37, np.nan, 0.0)}, "nan in sample 2, step 2, unit 1"),
        ({"y_train": np.where(np.arange(20).reshape(4, 5) == 13, 2, 0)}, "the label 2 in sample 2, step 3,"),
        ({"x_train": np.zeros((4, 0, 3)), "y_train": np.zeros((4, 0), np.int64)}, "shape [4, 0, 3]: it holds no value"),
    ],
)
def test_wrong_values_of_sequences_are_found_where_they_are(other, said: str, here: Path, capsys) -> None:
    sequences(**other)
    (here / "s.path").write_text(
        "pathc 1\nmodel s\ninput x[3]\nlayer h[8] : rnn\noutput y[2] : softmax\ndense d : x -> h -> y\n"
    )
    assert main(["train", "s.path", "--data", "s.npz", "-o", "w.safetensors"]) == 1
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("m.path", "--data", "short.txt"), "E0901"),
        (("m.path", "--data", "text.txt", "--steps", "0"), "E0901"),
        (("m.path", "--data", "text.txt", "--steps", "1000"), "E0901"),
        (("m.path", "--data", "none.txt"), "E0501"),
        (("m.path", "--data", "empty.txt"), "E0901"),
        (("small.path", "--data", "text.txt"), "E0903"),
        (("flat.path", "--data", "text.txt"), "E0903"),
        (("m.path", "--data", "digits"), "E0903"),
        (("m.path", "--data", "text.txt", "--goal", "input"), "E0909"),
        (("m.path", "--data", "text.txt", "--feedback", "direct"), "E0909"),
        (("m.path", "--data", "text.txt", "--fixed-signs"), "E0909"),
        (("m.path", "--data", "labels.npz"), "E0903"),
    ],
)
def test_what_does_not_fit(
    arguments: tuple[str, ...], code: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "short.txt").write_text("abc")
    (here / "empty.txt").write_text("")
    (here / "small.path").write_text(MODEL.format(letters=3, recur="diag"))
    (here / "flat.path").write_text("pathc 1\nmodel f\ninput x[40]\noutput y[40] : softmax\ndense d : x -> y\n")
    np.savez("labels.npz", x_train=np.zeros((4, 5, LETTERS), np.float32), y_train=np.zeros(4, np.int64))
    assert main(["train", *arguments, "-o", "w.safetensors"]) in (1, 2)
    assert code in capsys.readouterr().err
    assert not (here / "w.safetensors").exists()


def test_labels_beyond_the_output_are_refused(here: Path) -> None:
    text = MODEL.format(letters=LETTERS, recur="diag").replace("output next[C]", "output next[4]")
    with pytest.raises(PathcError, match="E0905"):
        train(pathc.load(pathc.Source("m.path", text)), load_data("text.txt"))


@pytest.mark.parametrize(
    ("front", "shape"),
    [
        ("input x[2, 4x4]\nlayer c[4] : conv(3x3) | batchnorm | relu | avgpool(global)", (12, 6, 2, 4, 4)),
        ("input x[2, 6]\nlayer c[4] : conv(3, pad = same) | batchnorm | relu | steps", (12, 2, 6)),
    ],
    ids=["extents", "steps"],
)
def test_nets_with_extents_learn_a_label_for_every_step(front: str, shape: tuple[int, ...], here: Path) -> None:
    lines = "output y[3] : bias | softmax\ndense p : x -> c -> h -> y"
    (here / "m.path").write_text(f"pathc 1\n{front}\nlayer h[8] : bias | batchnorm | gru\n{lines}\n")
    random = np.random.default_rng(0)
    x = random.normal(size=shape).astype(np.float32)
    signal = x[:, 0] if x.ndim == 3 else x[:, :, 0].mean(axis=(2, 3))
    np.savez(here / "d.npz", x_train=x, y_train=np.digitize(signal, [-0.2, 0.2]))
    assert main(["train", "m.path", "--data", "d.npz", "--epochs", "8", "--lr", "0.03", "--json", "-o", "w.npz"]) == 0
    graph, weights = pathc.load("m.path"), load_weights("w.npz")
    assert not np.array_equal(weights["h.norm.mean"], np.zeros_like(weights["h.norm.mean"]))
    hits = (evaluate(graph, weights, x).outputs.argmax(axis=2) == np.digitize(signal, [-0.2, 0.2])).mean()
    assert hits > 0.6


def test_samples_that_become_steps_are_no_targets(here: Path) -> None:
    (here / "m.path").write_text("pathc 1\ninput x[2, 6] : steps\noutput y[2] : gru\ndense p : x -> y\n")
    np.savez(here / "d.npz", x_train=np.zeros((8, 2, 6), np.float32))
    assert main(["train", "m.path", "--data", "d.npz", "--goal", "input", "-o", "w.npz"]) == 1
