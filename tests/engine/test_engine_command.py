"""The engine on the command line: compile, dump, sim, run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from pathc.cli import main
from pathc.driver import compile_model
from pathc.support.diagnostics import PathcError

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(EXAMPLES, tmp_path / "examples")
    monkeypatch.chdir(tmp_path)
    np.save(tmp_path / "x.npy", np.random.default_rng(0).random((3, 1024)).astype(np.float32))
    return tmp_path


def test_compile_sim_and_run_give_the_same(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compile", "examples/unequal.path", "-t", "engine", "--batch", "3", "-o", "net.pe"]) == 0
    assert "W1001" in capsys.readouterr().err
    files = ["--trace", "t.json", "--vcd", "w.vcd", "-o", "sim.npy"]
    assert main(["sim", "net.pe", "--input", "x.npy", "--json", *files]) == 0
    record = json.loads(capsys.readouterr().out)
    for account in record["units"].values():
        assert sum(account[name] for name in account if name != "cycles") == account["cycles"] == record["cycles"]
    assert (here / "t.json").exists()
    assert (here / "w.vcd").exists()
    assert main(["run", "examples/unequal.path", "-t", "engine", "--input", "x.npy", "--against", "reference",
                 "-o", "run.npy"]) == 0  # fmt: skip
    assert "agrees         yes" in capsys.readouterr().err
    assert np.array_equal(np.load("sim.npy"), np.load("run.npy"))


def test_assembly_is_a_program_too(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dump", "examples/unequal.path", "-t", "engine", "--emit", "asm", "-o", "net.s"]) == 0
    assert main(["compile", "examples/unequal.path", "-t", "engine", "-o", "net.pe"]) == 0
    capsys.readouterr()
    assert main(["sim", "net.s", "--json"]) == 0
    first = capsys.readouterr().out
    assert main(["sim", "net.pe", "--json"]) == 0
    one, other = json.loads(first), json.loads(capsys.readouterr().out)
    assert one["spans"][3:] == other["spans"][3:]


def test_machines_are_described_or_given_as_options(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dump", "examples/unequal.path", "-t", "engine{lanes=32}", "--emit", "machine", "-o", "m.toml"]) == 0
    assert main(["compile", "examples/unequal.path", "-t", "engine{machine=m.toml}", "-o", "net.pe"]) == 0
    assert main(["sim", "net.pe", "--machine", "m.toml", "--check"]) == 0
    (here / "other.toml").write_text("[machine]\nlanes = 8\n")
    assert main(["sim", "net.pe", "--machine", "other.toml"]) == 1
    assert "E1024" in capsys.readouterr().err
    assert main(["compile", "examples/unequal.path", "-t", "engine{lane=32}"]) == 2
    assert main(["compile", "examples/unequal.path", "-t", "engine{lanes=33}"]) == 2


@pytest.mark.parametrize(
    ("content", "code"),
    [(b"", "E1020"), (b"PATHENG\0", "E1022"), (b"\x7fELF" * 99, "E1020")],
)
def test_other_files_are_refused(here: Path, content: bytes, code: str, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "net.pe").write_bytes(content)
    assert main(["sim", "net.pe"]) == 1
    assert code in capsys.readouterr().err
    assert main(["sim", "missing.pe"]) == 1
    assert "E0501" in capsys.readouterr().err


def test_wrong_inputs_are_refused(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compile", "examples/unequal.path", "-t", "engine", "-o", "net.pe"]) == 0
    for values, code in ((np.zeros((2, 1024)), "E0512"), (np.zeros(7), "E0512"), (np.full(1024, np.nan), "E1308")):
        np.save("bad.npy", values)
        assert main(["sim", "net.pe", "--input", "bad.npy"]) == 1
        assert code in capsys.readouterr().err
    with pytest.raises(PathcError, match="E1308"):
        compile_model("examples/unequal.path", "engine").executable(np.full((1, 1024), np.nan, np.float32))


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_any_batch_runs_through_any_program(here: Path, batch: int) -> None:
    from pathc.driver import Options

    x = np.random.default_rng(1).random((5, 1024)).astype(np.float32)
    made = compile_model("examples/unequal.path", "engine", options=Options(batch=batch))
    outputs = made.executable(x)
    assert outputs.shape == (5, 16)
    assert np.array_equal(outputs[3], made.executable(x[3]))
    assert made.executable(x[:0]).shape == (0, 16)
