"""`pathc train`: the contract that scripts rely on, signals, files."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from train_support import NET, clusters

from pathc.cli import main
from pathc.ir.weights import load_metadata, load_weights
from pathc.support.tensors import safetensors_metadata


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "small.path").write_text(NET)
    np.savez(tmp_path / "data.npz", **clusters().arrays)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def pathc(*arguments: object) -> int:
    return main([str(a) for a in arguments])


TRAIN = ("train", "small.path", "--data", "data.npz", "--epochs", "3", "--batch", "32")


def test_json_is_one_object_an_epoch(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert pathc(*TRAIN, "--seed", 4, "--json", "-o", "w.safetensors") == 0
    captured = capsys.readouterr()
    records = [json.loads(line) for line in captured.out.splitlines()]
    assert [r["epoch"] for r in records] == [1, 2, 3]
    assert all({"epoch", "loss", "train_accuracy", "test_accuracy", "seconds"} <= set(r) for r in records)
    assert captured.err == ""
    assert load_weights("w.safetensors")["main.1"].shape == (256,)
    assert sorted(p.name for p in folder.iterdir()) == ["data.npz", "small.path", "w.safetensors"]


def test_lines_without_a_terminal(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert pathc(*TRAIN) == 0
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "note[W0906]" in captured.err
    assert captured.err.count("epoch ") == 3
    assert "\x1b" not in captured.err
    assert pathc(*TRAIN, "-q") == 0
    assert capsys.readouterr().err == ""


def test_provenance(folder: Path) -> None:
    for output in ("w.safetensors", "w.npz"):
        assert pathc(*TRAIN, "--seed", 4, "--set", "P=128", "-o", output, "-q") == 0
        found = load_metadata(output)
        assert found["model"] == "small"
        assert found["data"] == "data.npz"
        assert found["seed"] == "4"
        assert len(found["model_sha256"]) == len(found["data_sha256"]) == 64
        assert json.loads(found["settings"])["epochs"] == 3
        assert float(found["test_accuracy"]) > 0
    assert load_metadata("w.npz") == load_metadata("w.safetensors")
    first = load_metadata("w.npz")["model_sha256"]
    (folder / "small.path").write_text("# another comment\n" + NET.replace("P = 256", "P = 128"))
    assert pathc(*TRAIN, "--seed", 4, "-o", "w.npz", "-q") == 0
    assert load_metadata("w.npz")["model_sha256"] == first


def test_trained_weights_run(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert pathc(*TRAIN, "-o", "w.safetensors", "--json") == 0
    expected = json.loads(capsys.readouterr().out.splitlines()[-1])["test_accuracy"]
    data = clusters().arrays
    np.save("x.npy", data["x_test"])
    assert pathc("run", "small.path", "--input", "x.npy", "--weights", "w.safetensors", "-o", "y.npy", "-q") == 0
    assert (np.load("y.npy").argmax(axis=1) == data["y_test"]).mean() == expected


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("--lr", "-1"), 2, "E0909"),
        (("--optimizer", "adm"), 2, "did you mean `adam`"),
        (("--schedule", "cosin"), 2, "did you mean `cosine`"),
        (("--sign", "hadamart"), 2, "did you mean `hadamard`"),
        (("--sign", "bit"), 2, "write bit(N)"),
        (("--sign", "halves(3)"), 2, "takes no number"),
        (("--grow", "P"), 2, "E0801"),
        (("--grow", "P=,2"), 2, "E0801"),
        (("--grow", "Q=1,2"), 1, "E0228"),
        (("--resume",), 2, "nothing to resume"),
        (("-o", "w.bin"), 1, "E0510"),
        (("-o", "no/w.npz"), 1, "E0503"),
        (("-o", "."), 1, "E0510"),
        (("--weights", "no.npz"), 1, "E0501"),
        (("--drop", "3"), 1, "E0912"),
        (("-t", "engine"), 2, "E0915"),
        (("--data", "nothing"), 1, "E0901"),
        (("--patience", "3"), 2, "--validation"),
    ],
)
def test_mistakes(folder: Path, capsys: pytest.CaptureFixture[str], arguments, code: int, says: str) -> None:
    assert pathc(*TRAIN, *arguments) == code
    captured = capsys.readouterr()
    assert says in captured.err
    assert "Traceback" not in captured.err
    assert captured.out == ""


def test_sign_rules_reach_the_weights(folder: Path) -> None:
    for rule in ("positive", "bit(3)", "bit(m = 3)", "random(5)", "random", "dim(9)", "halves", "parity", "hadamard"):
        assert pathc(*TRAIN, "--epochs", 1, "--sign", rule, "--fixed-signs", "-o", "w.npz", "-q") == 0
    assert pathc(*TRAIN, "--epochs", 1, "--sign", "positive", "--fixed-signs", "-o", "w.npz", "-q") == 0
    weights = load_weights("w.npz")
    assert all((weights[name] >= 0).all() for name in ("main.1", "main.2"))


@pytest.mark.parametrize("per", ["tensor", "unit"])
def test_quantized_weights_begin_as_what_they_stand_for(folder: Path, capsys, per: str) -> None:
    assert pathc(*TRAIN, "-o", "w.npz", "-q") == 0
    assert pathc("quantize", "small.path", "--weights", "w.npz", "--per", per, "-o", "q.npz", "-q") == 0
    capsys.readouterr()
    losses = []
    for name in ("w.npz", "q.npz"):
        assert pathc(*TRAIN, "--weights", name, "--epochs", 1, "--lr", "1e-9", "--json", "-q") == 0
        losses.append(json.loads(capsys.readouterr().out.splitlines()[-1])["loss"])
    assert losses[1] == pytest.approx(losses[0], rel=0.05)


def test_quantized_weights_of_another_net_do_not_begin(folder: Path, capsys) -> None:
    assert pathc(*TRAIN, "-o", "w.npz", "-q") == 0
    assert pathc("quantize", "small.path", "--weights", "w.npz", "--per", "unit", "-o", "q.npz", "-q") == 0
    for count in (128, 512):
        assert pathc(*TRAIN, "--set", f"P={count}", "--weights", "q.npz") == 1
        assert "E0507" in capsys.readouterr().err


def test_weights_of_fewer_paths_are_grown(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert pathc(*TRAIN, "--set", "P=128", "-o", "small.npz", "-q") == 0
    assert pathc(*TRAIN, "--weights", "small.npz", "-o", "large.npz") == 0
    assert "note[W0905]" in capsys.readouterr().err
    assert load_weights("large.npz")["main.1"].shape == (256,)


def test_model_from_standard_input(folder: Path) -> None:
    command = [sys.executable, "-m", "pathc", *TRAIN, "-o", "w.npz"]
    command[4] = "-"
    done = subprocess.run(command, input=NET, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (folder / "w.npz").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_training_goes_on(folder: Path, number: signal.Signals) -> None:
    long = ("--epochs", "400", "--batch", "8", "--json")
    process = subprocess.Popen(
        [sys.executable, "-m", "pathc", *TRAIN, *long, "-o", "w.safetensors"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    first = process.stdout.readline()
    process.send_signal(number)
    rest, talk = process.communicate(timeout=60)
    assert process.returncode == 130, talk
    assert "Traceback" not in talk
    seen = [json.loads(line) for line in (first + rest).splitlines()]
    assert seen[-1]["epoch"] == len(seen) < 400
    assert not (folder / "w.safetensors").exists()
    checkpoint = folder / "w.checkpoint.safetensors"
    assert json.loads(safetensors_metadata(checkpoint)["progress"])["epoch"] == len(seen)
    stored = checkpoint.read_bytes()
    assert pathc(*TRAIN, *long, "--lr", 0.5, "-o", "w.safetensors", "--resume") == 1
    assert checkpoint.read_bytes() == stored


def test_second_interrupt_ends_at_once(folder: Path) -> None:
    from pathc.train.interrupt import interruptible

    def interrupt_twice() -> None:
        with interruptible() as stop:
            os.kill(os.getpid(), signal.SIGINT)
            while not stop():
                time.sleep(0.001)
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(5)

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        interrupt_twice()
    assert signal.getsignal(signal.SIGINT) == before


@pytest.mark.skipif("PATHC_MNIST" not in os.environ, reason="PATHC_MNIST names no mnist.npz, so MNIST is not trained")
def test_mnist_within_two_epochs(capsys: pytest.CaptureFixture[str]) -> None:
    example = Path(__file__).parents[2] / "examples" / "mnist.path"
    assert pathc("train", example, "--data", os.environ["PATHC_MNIST"], "--epochs", 2, "--json") == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["test_accuracy"] > 0.955
