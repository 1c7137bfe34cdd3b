"""`pathc sample`: nets written, and accuracy over the share of weights that are on a path."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from pathc.cli import main

EXAMPLES = Path(__file__).parents[2] / "examples"
NET = [str(EXAMPLES / "digits.path"), "--weights", str(EXAMPLES / "digits.safetensors")]


def test_shares_and_accuracy(capsys: pytest.CaptureFixture[str]) -> None:
    given = ["sample", *NET, "--count", "500,8000", "--data", "digits", "--scale", "1", "--json"]
    assert main(given) == 0
    few, many, whole = map(json.loads, capsys.readouterr().out.splitlines())
    assert (few["paths"], many["paths"], whole["paths"]) == (500, 8000, 0)
    assert few["share"] < many["share"] < whole["share"] == 1.0
    assert few["accuracy"] < many["accuracy"]
    assert many["accuracy"] > whole["accuracy"] - 2.0


def test_a_table_and_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "s.pir"
    given = ["sample", *NET, "--count", "2000", "--data", "digits", "--scale", "1", "-o", str(target)]
    assert main(given) == 0
    assert "the net" in capsys.readouterr().out
    assert {path.suffix for path in tmp_path.iterdir()} == {".pir", ".npz", ".safetensors"}
    np.save(tmp_path / "x.npy", np.ones((2, 64), np.float32))
    run = ["run", str(target), "--weights", str(target.with_suffix(".safetensors")), "--input", str(tmp_path / "x.npy")]
    assert main([*run, "--against", "reference"]) == 0


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (["--count", "5x"], "no numbers of paths"),
        (["--count", ""], "no numbers of paths"),
        (["--count", "-5"], "no numbers of paths"),
        (["--count", "500"], "nothing to do"),
        (["--count", "500,600", "-o", "s.pir"], "one net"),
    ],
)
def test_mistakes(given: list[str], text: str, tmp_path: Path, monkeypatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["sample", *NET, *given]) == 2
    assert text in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_data_without_labels(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.savez(tmp_path / "d.npz", samples=np.zeros((20, 64), np.float32))
    assert main(["sample", *NET, "--count", "500", "--data", str(tmp_path / "d.npz")]) != 0
    assert capsys.readouterr().err
