"""Sweeps: the grid, processes, resuming, results, the plot."""

from __future__ import annotations

import csv
import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
from train_support import NET, clusters

from pathc.cli import main
from pathc.support.diagnostics import PathcError
from pathc.train import Settings
from pathc.train.cells import file_of, grid, train_cell
from pathc.train.results import rows_of, table
from pathc.train.sweep import sweep

DENSE = "pathc 1\nmodel dense\ninput x[16]\noutput y[4] : softmax\ndense d : x -> y\n"
LINEAR = NET.replace("bias | relu", "identity").replace(": softmax", "")
FAST = Settings(epochs=2, batch=32)
WILD = Settings(epochs=20, batch=32, optimizer="sgd", lr=1e3, schedule="constant")
WITHOUT = {name: importlib.util.find_spec(name) is None for name in ("distributed", "matplotlib")}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "small.path").write_text(NET)
    (tmp_path / "dense.path").write_text(DENSE)
    (tmp_path / "out" / "cells").mkdir(parents=True)
    np.savez(tmp_path / "data.npz", **clusters().arrays)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def cells(*models: str, seeds: int = 1, **sets):
    settings = [Settings(epochs=2, batch=32, seed=seed) for seed in range(seeds)]
    return grid(models, sets, settings, data="data.npz", folder="out")


def here(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Train cells in this process; returns a list of those that were trained."""
    trained: list[str] = []

    class Done:
        def __init__(self, record):
            self.record = record

        def done(self):
            return True

        def result(self):
            return self.record

        def cancel(self):
            pass

    class Pool:
        def __init__(self, *_, **__):
            pass

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def submit(self, function, cell, key):
            trained.append(cell.label)
            return Done(function(cell, key))

    monkeypatch.setattr("pathc.train.sweep.ProcessPoolExecutor", Pool)
    return trained


def test_grid_sets_what_a_model_has(folder: Path) -> None:
    found = cells("small.path", "dense.path", seeds=2, P=("64", "128"))
    assert [c.label for c in found] == [
        "small P=64 seed=0", "small P=64 seed=1", "small P=128 seed=0", "small P=128 seed=1",
        "dense seed=0", "dense seed=1",
    ]  # fmt: skip


def test_seed_reaches_a_let(folder: Path) -> None:
    (folder / "random.path").write_text(
        NET.replace("let P", "let S = 0\nlet P").replace("sign = bit(4)", "sequence = random, seed = S")
    )
    settings = [Settings(epochs=1, seed=seed) for seed in range(3)]
    found = grid(["random.path", "dense.path"], {}, settings, data="data.npz", seed_into="S")
    digests = {c.key("") for c in found}
    assert len(digests) == 6
    lines = {str(c.graph().lines[0].generator) for c in found[:3]}
    assert len(lines) == 3


@pytest.mark.parametrize("options", [{"sets": {"Q": ("1",)}}, {"sets": {}, "seed_into": "S"}])
def test_lets_that_no_model_has(folder: Path, options) -> None:
    with pytest.raises(PathcError, match="E0914"):
        grid(["small.path"], settings=[FAST], data="data.npz", **options)


def test_too_many_cells(folder: Path) -> None:
    with pytest.raises(PathcError, match="E0914"):
        grid(["small.path"], {"P": tuple(map(str, range(1, 60_000)))}, [FAST, Settings()], data="data.npz")


def test_mistakes_of_a_model_stop_the_sweep(folder: Path) -> None:
    (folder / "small.path").write_text(NET.replace("relu", "rleu"))
    with pytest.raises(PathcError) as caught:
        cells("small.path", P=("64",))
    assert not {"E0914", "E0228"} & {d.code for d in caught.value.diagnostics}


def test_finished_cells_are_not_repeated(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained = here(monkeypatch)
    first = sweep(cells("small.path", P=("64", "128")))
    assert len(trained) == 2
    assert sweep(cells("small.path", P=("64", "128"))) == first
    assert len(trained) == 2
    sweep(cells("small.path", "dense.path", P=("64", "128", "256")))
    assert trained[2:] == ["small P=256 seed=0", "dense seed=0"]
    (folder / "small.path").write_text(NET.replace("relu", "tanh"))
    sweep(cells("small.path", P=("64",)))
    assert trained[4:] == ["small P=64 seed=0"]


def test_damaged_results_are_trained_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained = here(monkeypatch)
    (record,) = sweep(cells("dense.path"))
    (file,) = (folder / "out" / "cells").iterdir()
    half = {name: record[name] for name in ("key", "model", "sets", "seed", "paths", "weights")}
    damaged = (
        "",
        "[]",
        "{}",
        "[" * 99999,
        file.read_text()[:-20],
        json.dumps(half),
        json.dumps({**half, "history": []}),
    )
    for text in damaged:
        file.write_text(text)
        sweep(cells("dense.path"))
    assert len(trained) == 1 + len(damaged)
    assert json.loads(file.read_text())["key"] == record["key"]


def test_a_cell_that_fails_does_not_stop_the_others(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained = here(monkeypatch)
    (folder / "linear.path").write_text(LINEAR)
    wild = grid(["linear.path", "dense.path"], {}, [WILD], data="data.npz", folder="out")
    found = sweep(wild)
    assert [[e["code"] for e in r.get("errors", [])] for r in found] == [["E0907"], []]
    assert [row.model for row in rows_of(found)] == ["dense"]
    sweep(wild)
    assert trained == ["linear seed=0", "dense seed=0", "linear seed=0"]


def test_a_net_that_cannot_be_is_told_before_training(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained = here(monkeypatch)
    with pytest.raises(PathcError, match="E0209"):
        sweep(cells("small.path", P=("64", "0")))
    assert trained == []


def test_killed_process_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pathc.train.sweep.train_cell", killed)
    with pytest.raises(PathcError, match=r"E0914.*ended by the system"):
        sweep(cells("dense.path"), jobs=1)


def killed(cell, key):
    os.kill(os.getpid(), signal.SIGKILL)


def test_stopped_sweep_keeps_what_it_has(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here(monkeypatch)
    assert sweep(cells("small.path", P=("64", "128")), stop=lambda: True) == []
    assert len(sweep(cells("small.path", P=("64", "128")))) == 2


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="children are looked for in /proc")
@pytest.mark.parametrize("delay", [0.0, 0.05, 0.3, 0.8])
def test_ctrl_c_while_processes_start(folder: Path, delay: float) -> None:
    # A terminal sends Ctrl-C to all processes at once, those among them that have only just been started.
    process = subprocess.Popen(
        [sys.executable, "-m", "pathc", "sweep", "small.path", "--data", "data.npz", "--seeds", "40", "--epochs", "60",
         "--jobs", "2", "-o", "out"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    while process.poll() is None and len(children.read_text().split()) < 2:
        time.sleep(0.005)
    time.sleep(delay)
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=100)
    assert process.returncode == 130, said
    assert "Traceback" not in said
    assert "E0914" not in said


def test_rows_are_means_over_seeds(folder: Path) -> None:
    found = [train_cell(cell, "key") for cell in cells("small.path", "dense.path", seeds=3, P=("64",))]
    small, dense = rows_of(found)
    accuracies = [100 * r["history"][-1]["test_accuracy"] for r in found[:3]]
    assert small.accuracy == pytest.approx(np.mean(accuracies))
    assert small.spread == pytest.approx(np.std(accuracies, ddof=1))
    assert (small.least, small.most, small.seeds) == (min(accuracies), max(accuracies), 3)
    assert (small.paths, small.weights) == (64, 64 * 2 + 32)
    assert (dense.paths, dense.weights) == (0, 64)
    assert "small" in table([small, dense])


def test_command_in_processes(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sweep_it = [
        "sweep", "small.path", "dense.path", "--data", "data.npz", "--set", "P=64,128", "--seeds", "2",
        "--epochs", "2", "-o", "out", "--json",
    ]  # fmt: skip
    assert main(sweep_it) == 0
    captured = capsys.readouterr()
    records = [json.loads(line) for line in captured.out.splitlines()]
    assert [(r["model"], r["paths"], r["seeds"]) for r in records] == [
        ("small", 64, 2),
        ("small", 128, 2),
        ("dense", 0, 2),
    ]
    with (folder / "out" / "results.csv").open() as file:
        assert [row["sets"] for row in csv.DictReader(file)] == ["P=64", "P=128", ""]
    assert json.loads((folder / "out" / "results.json").read_text()) == records
    assert len(list((folder / "out" / "cells").iterdir())) == 6
    assert main(sweep_it) == 0
    assert capsys.readouterr().out == captured.out


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("--set", "P"), 2, "E0801"),
        (("--set", "Q=1"), 2, "E0914"),
        (("--seeds", "0"), 2, "E0914"),
        (("--plot", "a.txt"), 2, "E0807"),
        (("--data", "nothing"), 1, "E0901"),
        (("--lr", "-1"), 2, "E0909"),
        (("-t", "engine"), 2, "E0915"),
        (("-t", "llvm{precision=bf17}"), 2, "E0603"),
        (("-t", "llvm{"), 2, "E0806"),
        (("--loss", "mes"), 2, "did you mean `mse`"),
        (("-o", "data.npz"), 1, "E0503"),
    ],
)
def test_mistakes(folder: Path, capsys: pytest.CaptureFixture[str], arguments, code: int, says: str) -> None:
    assert main(["sweep", "small.path", "--data", "data.npz", "-o", "out", *arguments]) == code
    captured = capsys.readouterr()
    assert says in captured.err
    assert "Traceback" not in captured.err
    assert list((folder / "out").rglob("*")) == [folder / "out" / "cells"]


def test_failed_cells_are_told(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    here(monkeypatch)
    (folder / "linear.path").write_text(LINEAR)
    wild = ("--optimizer", "sgd", "--lr", "1e3", "--schedule", "constant", "--batch", "32", "--epochs", "20")
    assert main(["sweep", "linear.path", "dense.path", "--data", "data.npz", "-o", "out", *wild]) == 1
    captured = capsys.readouterr()
    assert "E0917" in captured.err
    assert "E0907" in captured.err
    assert "dense" in captured.out


def test_missing_libraries_name_the_cure(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    def absent(name: str):
        raise ImportError(name)

    monkeypatch.setattr("pathc.viz.figure.import_module", absent)
    monkeypatch.setattr("pathc.train.sweep.import_module", absent)
    assert main(["sweep", "dense.path", "--data", "data.npz", "-o", "out", "--scheduler", "local"]) == 3
    assert "pip install 'pathc[sweep]'" in capsys.readouterr().err
    fast = ("--epochs", "1", "-q")
    assert main(["sweep", "dense.path", "--data", "data.npz", "-o", "out", "--plot", "a.svg", *fast]) == 3
    assert "pip install 'pathc[plot]'" in capsys.readouterr().err


@pytest.mark.skipif(WITHOUT["matplotlib"], reason="matplotlib is not installed, so no plot is drawn")
@pytest.mark.parametrize("suffix", ["svg", "png"])
def test_plot(folder: Path, suffix: str) -> None:
    grid = ("--set", "P=64,128", "--epochs", "1", "-q", "-o", "out", "--plot", f"a.{suffix}")
    assert main(["sweep", "small.path", "dense.path", "--data", "data.npz", *grid]) == 0
    data = (folder / f"a.{suffix}").read_bytes()
    assert data.startswith({"svg": b"<?xml", "png": b"\x89PNG"}[suffix])
    if suffix == "svg":
        assert b"<svg" in data


@pytest.mark.skipif(WITHOUT["distributed"], reason="distributed is not installed, so no Dask cluster is started")
def test_dask(folder: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = sweep(cells("small.path", P=("64", "128")), jobs=1, scheduler="local")
    assert [r["paths"] for r in found] == [64, 128]
    assert all(file_of(c, r["key"]).exists() for c, r in zip(cells("small.path", P=("64", "128")), found, strict=True))
