"""`--plan` on the command line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import pathc
from pathc.cli import main

MODEL = """pathc 1
model net
input x[64]
layer h[64] : relu
output y[16]
paths main : x@0 -> h@1 -> y@2 { count = 512 }
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("net.path").write_text(MODEL)
    np.save("x.npy", np.random.default_rng(0).random((3, 64), dtype=np.float32))
    assert main(["dump", "net.path", "--emit", "plan", "-o", "net.plan"]) == 0
    return tmp_path


def test_run_compile_and_bench_follow_a_plan(folder, capsys):
    plan = Path("net.plan").read_text()
    Path("net.plan").write_text(plan.replace("samples = 1,", "samples = 2,"))
    assert main(["run", "net.path", "--input", "x.npy", "--plan", "net.plan", "--against", "reference"]) == 0
    assert main(["compile", "net.path", "--plan", "net.plan", "-o", "net.ll"]) == 0
    assert "define" in Path("net.ll").read_text()
    assert main(["bench", "net.path", "--plan", "net.plan", "--batch", "1", "--seconds", "0.01", "--json"]) == 0
    capsys.readouterr()
    y = pathc.compile("net.path", plan="net.plan")(np.load("x.npy"))
    np.testing.assert_allclose(y, pathc.compile("net.path", "reference")(np.load("x.npy")), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [("load x[0:64]", "load x[0:65]", "E0654"), ("plan 1", "plain 1", "E0641"), (" from zero", " from add", "E0655")],
)
def test_a_wrong_plan_is_the_users_mistake(folder, capsys, old, new, code):
    text = Path("net.plan").read_text()
    assert old in text
    Path("net.plan").write_text(text.replace(old, new, 1))
    assert main(["run", "net.path", "--input", "x.npy", "--plan", "net.plan"]) == 1
    said = capsys.readouterr().err
    assert f"error[{code}]" in said
    assert "--> net.plan:" in said
    assert "^" in said


def test_only_targets_with_plans_follow_one(folder, capsys):
    assert main(["run", "net.path", "-t", "reference", "--input", "x.npy", "--plan", "net.plan"]) == 2
    assert "E0804" in capsys.readouterr().err
    assert main(["run", "net.path", "--input", "x.npy", "--plan", "none.plan"]) == 1
    assert "E0501" in capsys.readouterr().err
