"""Arguments that no file, number or object of JSON can be made of: refused with a reason, or written as JSON has it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from command import SMALL, Run

import pathc
from pathc.cli.talk import put_json
from pathc.ir.init import initial_weights
from pathc.ir.text import print_graph
from pathc.ir.weights import save_weights

LONG = "a" * 300
DIGITS = "small.path", "--data", "digits"
NORMED = """pathc 1
input  x[2, 6x6]
output y[4] : conv(3x3) | batchnorm
dense d : x -> y
"""


@pytest.mark.parametrize(
    "arguments",
    [
        ("check", LONG),
        ("fmt", LONG),
        ("run", LONG, "--input", "x.npy"),
        ("export", LONG, "--weights", "w.npz", "--onnx", "m.onnx"),
        ("sample", "small.path", "--weights", "w.npz", "--count", "9", "--data", LONG),
        ("quantize", "small.path", "--weights", "w.npz", "--data", LONG),
        ("train", "small.path", "--data", LONG, "-o", "t.npz"),
        ("train", *DIGITS, "-o", f"{LONG}/t.npz"),
        ("train", *DIGITS, "-o", "t.npz", "--checkpoint", LONG),
        ("lsp", "--vsix", "v.vsix", "--modules", LONG),
        ("lsp", "--vsix", ""),
        ("import", "w.npz", "-o", "/"),
        ("import", "w.npz", "-o", ""),
        ("sample", "small.path", "--weights", "w.npz", "--count", "9", "-o", "."),
    ],
    ids=lambda arguments: " ".join(arguments).replace(LONG, "LONG"),
)
def test_names_that_no_file_has(
    run: Run, model: Path, inputs: Path, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    save_weights(tmp_path / "w.npz", initial_weights(pathc.load(model)))
    before = set(tmp_path.iterdir())
    result = run(*arguments)
    assert result.code == 1, result.err
    assert "error[E" in result.err
    assert set(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("sample", "small.path", "--weights", "w.npz", "--count", "9", "-o", "w.pir"), "E1107"),
        (("sample", "small.path", "--weights", "w.npz", "--count", "9", "-o", "w"), "E1107"),
        (("sample", "small.path", "--weights", "w.npz", "--count", "9", "-o", "s.npz"), "E0510"),
        (("quantize", "small.pir", "--weights", "w.npz", "--data", "d.npz", "-o", "small.npz"), "E1107"),
        (("import", "w.safetensors", "-o", "w.pir"), "E1107"),
        (("import", "w.safetensors", "-o", "small.path"), "E0510"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else value,
)
def test_nothing_that_is_read_or_named_otherwise_is_written_over(
    run: Run, model: Path, tmp_path: Path, arguments: tuple[str, ...], code: str
) -> None:
    graph = pathc.load(model)
    (tmp_path / "small.pir").write_text(print_graph(graph))
    for suffix in ("npz", "safetensors"):
        save_weights(tmp_path / f"w.{suffix}", initial_weights(graph))
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "d.npz", x_train=rng.normal(size=(20, 64)), y_train=rng.integers(0, 4, 20))
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    result = run(*arguments)
    assert result.code == 1, result.err
    assert f"error[{code}]" in result.err
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize(
    "arguments",
    [
        ("bench", "small.path", "--seed", "-1"),
        ("dump", "small.path", "--seed", "-1"),
        ("plot", "patterns", "small.path", "--seed", "-1"),
        ("quantize", "small.path", "--weights", "w.npz", "--seed", "-1"),
        ("sample", "small.path", "--weights", "w.npz", "--count", "9", "--seed", "-1"),
        ("sweep", *DIGITS, "-o", "out", "--jobs", "-1"),
        ("bench", "small.path", "--seconds", "inf"),
        ("bench", "small.path", "--seconds", "nan"),
        ("bench", "small.path", "--seconds", "-1"),
        ("bench", "small.path", "--rpc", "127.0.0.1:9190", "--key", "k", "--wait", "inf"),
        ("bench", "small.path", "--rpc", "127.0.0.1:9190", "--key", "k", "--wait", "nan"),
    ],
    ids=" ".join,
)
def test_numbers_that_count_nothing(run: Run, model: Path, arguments: tuple[str, ...]) -> None:
    result = run(*arguments)
    assert result.code == 2, result.err
    assert f"argument {arguments[-2]}: " in result.err


def test_normalizations_without_tensors(run: Run, tmp_path: Path) -> None:
    (tmp_path / "n.path").write_text(NORMED)
    np.savez(tmp_path / "w.npz", **{"d.1": np.zeros((4, 2, 3, 3), np.float32)})
    np.save(tmp_path / "x.npy", np.zeros((1, 2, 6, 6), np.float32))
    result = run("run", "n.path", "--input", "x.npy", "--weights", "w.npz")
    assert result.code == 1
    assert "error[E0505]: tensor `y.norm.gain` of shape [4] is missing" in result.err
    assert "n.path:3" in result.err


def test_numbers_that_are_not_finite_are_null(capsys: pytest.CaptureFixture[str]) -> None:
    """Strict readers of JSON know neither NaN nor Infinity."""
    put_json({"bound": np.inf, "rows": [{"share": float("nan")}], "least": 0.5})
    assert capsys.readouterr().out == '{"bound": null, "rows": [{"share": null}], "least": 0.5}\n'


@pytest.mark.filterwarnings("error")
def test_inputs_beyond_float32_are_said_in_json(run: Run, model: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.full((2, 64), 1e300))
    (record,) = run("run", model, "--input", "x.npy", "--against", "reference", "--json").records
    assert (record["not_finite"], record["not_compared"], record["agrees"]) == (32, 2, True)


def test_a_model_that_is_read_from_nowhere_is_left_alone(run: Run, model: Path) -> None:
    assert run("fmt", LONG, model).code == 1
    assert model.read_text() == SMALL


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("input x[4]\noutput y[4]\nskip s : x -> y\n", "E1313"),
        (
            "input x[2, 3x3]\nlayer h[2] : conv(1x1) | shortcut\noutput y[2]\ndense d : x -> h -> y\nskip s : x -> h\n",
            "E1313",
        ),
        ("input x[4]\nlayer h[4] : ode(step = 0.5, steps = 1)\noutput y[2]\ndense d : x -> h -> y\n", "E1313"),
    ],
    ids=["skips alone", "shortcut", "equation"],
)
def test_nets_that_no_paths_are_sampled_from(run: Run, tmp_path: Path, text: str, code: str) -> None:
    (tmp_path / "n.path").write_text(f"pathc 1\n{text}")
    save_weights(tmp_path / "w.npz", initial_weights(pathc.load(tmp_path / "n.path")))
    result = run("sample", "n.path", "--weights", "w.npz", "--count", "50", "-o", "s.pir")
    assert result.code == 1
    assert f"error[{code}]" in result.err


@pytest.mark.parametrize(
    ("text", "shape"),
    [
        ("input x[4]\noutput y[3]\ndense d : x -> y\n", (8, 4)),
        ("input x[4, 5x5]\noutput y[3] : conv(3x3) | softmax\ndense d : x -> y\n", (8, 4, 5, 5)),
        ("input x[4]\noutput y[3] : gru\ndense d : x -> y\n", (8, 6, 4)),
    ],
    ids=["flat", "extents", "cell"],
)
def test_outputs_of_another_size_repeat_no_input(run: Run, tmp_path: Path, text: str, shape: tuple[int, ...]) -> None:
    (tmp_path / "n.path").write_text(f"pathc 1\n{text}")
    np.savez(tmp_path / "d.npz", x_train=np.zeros(shape, np.float32))
    for target in ("llvm", "reference"):
        result = run("train", "n.path", "--data", "d.npz", "--goal", "input", "-t", target, "-o", "t.npz")
        assert result.code == 1
        assert "error[E0909]" in result.err
