"""`pathc quantize` as a user meets it: reports, and what its nets are held to."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from pathc.cli import main

ODD = """pathc 1
input  x[13]
layer  h[7]  : bias | relu
layer  g[17] : leaky
output y[3]  : bias | softmax
paths p : x -> h -> g -> y { count = 101 }
"""
QUANTIZE = ("quantize", "odd.path", "--weights", "odd.npz", "-o", "q.safetensors")
RUN = ("run", "q.pir", "--weights", "q.safetensors", "--input", "x.npy", "--against", "reference")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    (tmp_path / "odd.path").write_text(ODD)
    sizes = {"p.1": 101, "p.2": 101, "p.3": 101, "h.bias": 7, "y.bias": 3}
    np.savez("odd.npz", **{name: rng.normal(size=n).astype(np.float32) for name, n in sizes.items()})
    np.save("x.npy", rng.normal(size=(9, 13)).astype(np.float32))
    np.savez("d.npz", x_train=rng.normal(size=(40, 13)), y_train=rng.integers(0, 3, 40))
    return tmp_path


def test_the_integer_interpreter_is_held_to_itself(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*QUANTIZE, "--data", "d.npz"]) == 0
    capsys.readouterr()
    assert main([*RUN, "-t", "reference{integers=true}", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["agrees"]
    assert found["max_abs_error"] > 0.0


def test_switches_of_the_reference_are_true_or_false(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*QUANTIZE, "--data", "d.npz"]) == 0
    assert main([*RUN, "-t", "reference{integers=false}"]) == 0
    assert main([*RUN, "-t", "reference{integers=yes}"]) == 1
    assert "E0603" in capsys.readouterr().err


@pytest.mark.parametrize("data", [(), ("--data", "d.npz")], ids=["weights alone", "data"])
def test_bfloat16_is_reported(data: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*QUANTIZE, "--method", "bf16", "--json", *data]) == 0
    found = json.loads(capsys.readouterr().out)
    assert sorted(each["name"] for each in found["tensors"]) == ["p.1", "p.2", "p.3"]
    assert {each["bits"] for each in found["tensors"]} == {16}
    assert (found["bits"], found["nonzero"]) == (16.0, 1.0)
