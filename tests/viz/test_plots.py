"""`pathc plot`: every kind as text and as picture, values that are right, files of other tools."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pathc.cli import main
from pathc.plots import KINDS, Request, plot_of
from pathc.viz.chart import Chart, Image, Plot, Series
from pathc.viz.figure import draw
from pathc.viz.patterns import per_cycle
from pathc.viz.results import pareto_front
from pathc.viz.terminal import show

EPOCHS = [
    {"epoch": 1, "loss": 2.0, "train_accuracy": 0.3, "test_accuracy": None},
    {"epoch": 2, "loss": 1.0, "train_accuracy": 0.6, "test_accuracy": None},
]
SWEPT = [
    {"model": "m", "paths": 512, "weights": 1536, "accuracy": 90.0, "spread": 0.5},
    {"model": "m", "paths": 1024, "weights": 3072, "accuracy": 95.0, "spread": None},
    {"model": "$d_0$", "paths": 0, "weights": 9999, "accuracy": 94.0, "spread": None},
    {"model": "n", "paths": 64, "weights": 99, "accuracy": None, "spread": None},
]
MEASURED = [
    {"model": "m", "target": "llvm", "gflops": 10.0, "roofline_gflops": 40.0, "bytes": 4000, "seconds_median": 1e-6},
    {"model": "m", "target": "llvm", "gflops": 20.0, "roofline_gflops": None, "bytes": 4000, "seconds_median": 4e-6},
]
SIMULATED = [
    {
        "program": "m", "cycles": 4,
        "spans": [{"unit": "EX", "start": 0, "end": 1}, {"unit": "EX", "start": 3, "end": 3},
                  {"unit": "LD", "start": 0, "end": 3}],
    }
]  # fmt: skip
SHARES = [
    {"model": "m", "paths": 64, "share": 0.25, "accuracy": 50.0},
    {"model": "m", "paths": 512, "share": 0.75, "accuracy": 90.0},
    {"model": "m", "paths": 0, "share": 1.0, "accuracy": 95.0},
]
RESULTS = {
    "share": SHARES,
    "pipeline": SIMULATED,
    "training": EPOCHS,
    "accuracy": SWEPT,
    "pareto": SWEPT,
    "roofline": MEASURED,
}
MODELS = {"adjacency": "unequal", "sobol": "unequal", "banks": "unequal"}


@pytest.fixture
def arguments(tmp_path: Path) -> dict[str, list[str]]:
    """What comes behind `pathc plot KIND`, for every kind."""
    found = {kind: [f"examples/{name}.path"] for kind, name in MODELS.items()}
    for kind, records in RESULTS.items():
        file = tmp_path / f"{kind}.json"
        file.write_text("".join(json.dumps(record) + "\n" for record in records))
        found[kind] = [str(file)]
    return {**found, "interleaver": ["--patterns", "basic,ss+md", "--seed", "3"]}


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_kind_as_text_and_as_picture(
    kind: str, arguments: dict[str, list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plot", kind, *arguments[kind]]) == 0
    text = capsys.readouterr().out
    assert len(text.splitlines()) > 5
    assert max(map(len, text.splitlines())) <= 120
    pytest.importorskip("matplotlib", reason="pictures of plots need matplotlib")
    for suffix, magic in ((".png", b"\x89PNG"), (".svg", b"<?xml"), (".pdf", b"%PDF")):
        file = tmp_path / f"out{suffix}"
        assert main(["plot", kind, *arguments[kind], "-o", str(file)]) == 0
        assert file.read_bytes().startswith(magic)
        assert len(file.read_bytes()) < 2_000_000


def test_pictures_are_the_same_every_time() -> None:
    pytest.importorskip("matplotlib", reason="pictures of plots need matplotlib")
    plot = plot_of("interleaver", Request(patterns=("basic",)))
    assert draw(plot, "svg") == draw(plot, "svg")


def test_names_are_no_formulas() -> None:
    pytest.importorskip("matplotlib", reason="pictures of plots need matplotlib")
    chart = Chart("$x_", "a\x00b", "<b>", (Series("$\\frac$", [1, 2], [1, 2]), Series("", [], [])))
    drawn = draw(Plot("t", (chart,)), "svg").decode()
    assert "$\\frac$" in drawn
    assert "<b>" not in drawn


def test_no_more_in_a_file_than_matplotlib(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    assert main(["plot", "interleaver", "-o", str(tmp_path / "x.png")]) == 3
    assert not (tmp_path / "x.png").exists()
    assert main(["plot", "interleaver"]) == 0


@pytest.mark.parametrize("kind", sorted(RESULTS))
@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "E1206"), ("[]", "E1206"), ("\n\n", "E1206"), ("{", "E1207"), ("[[1]]", "E1207"), ("3\n4\n", "E1207"),
        ('{"a": 1}', "E1207"), ('{"epoch": NaN, "loss": 1}', "E1207"), ("[" * 100_000, "E1207"),
        ('{"epoch": true, "loss": "x", "model": 3}', "E1207"), ("\x00\x01", "E1207"),
    ],
)  # fmt: skip
def test_files_of_other_tools(
    kind: str, text: str, code: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "other.json"
    file.write_text(text)
    assert main(["plot", kind, str(file)]) == 1
    assert code in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "exit_code", "code"),
    [
        (["pareot", "x"], 2, "E0804"),
        (["training"], 2, "E0804"),
        (["interleaver", "x.path"], 2, "E0804"),
        (["interleaver", "-o", "x.gif"], 2, "E0807"),
        (["interleaver", "--patterns", "nothing"], 1, "E034"),
        (["interleaver", "--size", "100000"], 1, "E1209"),
        (["interleaver", "--size", "-1"], 1, "E1209"),
        (["interleaver", "--lanes", "0"], 1, "E034"),
        (["adjacency", "examples/unequal.path", "--junction", "main.9"], 1, "E1208"),
        (["adjacency", "examples/mnist_dense.path"], 1, "E1208"),
        (["banks", "examples/unequal.path", "-p", "structure"], 1, "E1208"),
        (["training", "/nowhere/x.json"], 1, "E0501"),
    ],
)
def test_mistakes_are_told(arguments: list[str], exit_code: int, code: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plot", *arguments]) == exit_code
    assert code in capsys.readouterr().err


def charts(kind: str, file: str) -> Any:
    return plot_of(kind, Request(files=(file,))).panels


def test_values_are_those_of_the_files(arguments: dict[str, list[str]]) -> None:
    loss, accuracy = charts("training", arguments["training"][0])
    assert (loss.series[0].x, loss.series[0].y) == ([1, 2], [2.0, 1.0])
    assert [s.y for s in accuracy.series] == [[30.0, 60.0]]
    (over_paths,) = charts("accuracy", arguments["accuracy"][0])
    assert [(s.name, s.look, s.y) for s in over_paths.series] == [
        ("m", "line", [90.0, 95.0]), ("$d_0$, dense", "level", [94.0]),
    ]  # fmt: skip
    (roof,) = charts("roofline", arguments["roofline"][0])
    assert roof.series[0].x == pytest.approx([2.5, 20.0])
    assert roof.series[1].y == [40.0]
    (busy,) = charts("pipeline", arguments["pipeline"][0])
    assert busy.rows == ("EX", "LD")
    assert busy.values.tolist() == [[1, 1, 0, 1], [1, 1, 1, 1]]


def test_the_pattern_of_a_basic_interleaver_has_no_clash() -> None:
    (panel,) = plot_of("interleaver", Request(patterns=("ss+md",), seed=1)).panels
    assert isinstance(panel, Chart)
    read = np.array(panel.series[0].y)
    assert sorted(read) == list(range(256))
    units = (read // 4).reshape(-1, 16)
    assert all(len(set(row % 16)) == 16 for row in units)


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(0, 9)), min_size=1))
def test_the_front_holds_what_none_beats(points: list[tuple[int, int]]) -> None:
    front = pareto_front([(float(a), float(b)) for a, b in points])
    best = {(a, b) for a, b in points if not any(c <= a and d >= b and (c, d) != (a, b) for c, d in points)}
    assert set(front) == best


@given(st.integers(1, 700), st.integers(1, 5))
def test_occupancy_counts_every_access(cycles: int, z: int) -> None:
    lanes = np.random.default_rng(cycles).integers(-1, 4, (cycles, z))
    shares = per_cycle(lanes, 4)
    widths = np.bincount(np.arange(cycles) * shares.shape[1] // cycles)
    assert (shares * widths).sum() == pytest.approx((lanes >= 0).sum())
    if cycles <= 256:
        assert shares[2].tolist() == (lanes == 2).sum(axis=1).tolist()


def test_text_of_odd_plots() -> None:
    empty = Chart("empty", "x", "y", ())
    nan = Chart("nan", "x", "y", (Series("s", [1.0], [float("nan")]),), "log10", "log10")
    one = Chart("one", "x", "y", (Series("\x1b[31m", [0.0], [0.0]), Series("l", (), [1.0], look="level")), "log2")
    zeros = Image("zeros", "x", "y", np.zeros((1, 1)), "v", (1, 1))
    text = show(Plot("odd", (empty, nan, one, zeros)))
    assert text.count("nothing to draw") == 2
    assert "\x1b" not in text


@pytest.mark.parametrize("units", [1, 1 << 20])
@pytest.mark.parametrize("kind", ["adjacency", "sobol"])
def test_a_million_units_and_one(units: int, kind: str, tmp_path: Path) -> None:
    model = tmp_path / "m.path"
    model.write_text(f"pathc 1\nmodel m\ninput x[{units}]\noutput y[1]\npaths p : x -> y {{ count = {units} }}\n")
    assert show(plot_of(kind, Request(files=(str(model),))))


@pytest.mark.parametrize("command", ["plot adjacency", "plot banks", "dump --emit matrices", "dump --emit fan"])
def test_what_is_too_large_is_refused_before_memory_is_taken(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tmp_path / "m.path"
    model.write_text("pathc 1\nmodel m\ninput x[2Gi]\noutput y[16]\npaths p : x -> y { count = 1Gi }\n")
    assert main([*command.split(), str(model)]) == 1
    assert "E1203" in capsys.readouterr().err
    assert main(["plot", "sobol", str(model)]) == 0
    assert main(["dump", str(model), "--emit", "svg"]) == 0
