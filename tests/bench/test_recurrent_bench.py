"""The bench on nets with recurrent cells: sequences, operations of all steps, no peers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import pathc
from pathc.cli import main
from pathc.ir.cost import cost

MODEL = """pathc 1
model r
input x[16]
layer h[32] : bias | gru(recur = band(5))
output y[8] : bias
paths main : x -> h -> y { count = 128 }
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "r.path").write_text(MODEL)
    return tmp_path


def test_sequences_are_timed(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = [
        "bench",
        "r.path",
        "-t",
        "llvm",
        "-t",
        "reference",
        "--batch",
        "1,3",
        "--steps",
        "9",
        "--seconds",
        "0.02",
    ]
    assert main([*command, "--against", "numpy", "--json"]) == 0
    said = capsys.readouterr()
    assert "W0803" in said.err
    rows = [json.loads(line) for line in said.out.splitlines()]
    assert [(r["target"], r["batch"], r["steps"]) for r in rows] == [
        ("llvm", 1, 9), ("reference", 1, 9), ("llvm", 3, 9), ("reference", 3, 9)
    ]  # fmt: skip
    macs = cost(pathc.load("r.path")).macs
    for row in rows:
        assert row["gflops"] == pytest.approx(2e-9 * macs * row["batch"] * 9 / row["seconds_median"])
        assert row["roofline_gflops"] is None
        assert row["peers"] == {"numpy": None}


def test_the_table_shows_steps(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "r.path", "--batch", "2", "--steps", "5", "--seconds", "0.02"]) == 0
    assert "2 x 5" in capsys.readouterr().out


@pytest.mark.parametrize("steps", ["0", "-3", "99999999999"])
def test_steps_out_of_range(steps: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "r.path", "--steps", steps]) == 2
    assert "--steps 128" in capsys.readouterr().err
