"""Whatever is wrong with the input: a diagnostic with its code, the right exit code, nothing half-written."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command import SMALL, Result, Run

import pathc
from pathc.ir.init import initial_weights
from pathc.ir.weights import save_weights


def assert_refused(result: Result, code: str, exit_code: int = 1) -> None:
    assert result.code == exit_code, result.err
    assert f"error[{code}]" in result.err
    assert "Traceback" not in result.err
    assert result.out == ""


def files(folder: Path) -> set[str]:
    return {str(p.relative_to(folder)) for p in folder.rglob("*")}


@pytest.fixture
def weights(model: Path, tmp_path: Path) -> dict[str, Any]:
    tensors = initial_weights(pathc.load(model))
    save_weights(tmp_path / "w.safetensors", tensors)
    return dict(tensors)


def test_missing_file(run: Run) -> None:
    assert_refused(run("dump", "nowhere.path"), "E0501")


def test_directory(run: Run, tmp_path: Path) -> None:
    (tmp_path / "folder.path").mkdir()
    assert_refused(run("dump", "folder.path"), "E0501")
    assert_refused(run("dump", tmp_path), "E0501")


def test_wrong_suffix(run: Run, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"\x08\x07")
    assert_refused(run("dump", "model.onnx"), "E0802")


@pytest.mark.parametrize("name", ["binary.path", "binary.pir"])
def test_binary_file(run: Run, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(bytes(range(256)) * 10)
    assert_refused(run("dump", name), "E0110")
    assert_refused(run("dump", "-", stdin=b"\xff\xfe"), "E0110")


@pytest.mark.parametrize(("name", "text"), [("empty.path", ""), ("empty.pir", ""), ("nul.path", "\0\0")])
def test_nothing_in_the_file(run: Run, tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    assert run("dump", name).code == 1


def test_unreadable_file(run: Run, model: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root reads everything")
    model.chmod(0)
    assert_refused(run("dump", model), "E0501")


def test_unknown_key(run: Run, model: Path) -> None:
    model.write_text(SMALL.replace("count = P", "count = P, scrambel = owen"))
    result = run("check", model)
    assert result.code == 1
    assert "did you mean `scramble`?" in result.err
    assert "small.path:7" in result.err


def test_unknown_let(run: Run, model: Path) -> None:
    assert run("check", model, "--set", "Q=1").code == 1


def test_cyclic_use(run: Run, tmp_path: Path) -> None:
    (tmp_path / "a.path").write_text('use "b.path"\n' + SMALL.replace("pathc 1\n", ""))
    (tmp_path / "b.path").write_text('use "c.path"\n')
    (tmp_path / "c.path").write_text('use "a.path"\n')
    result = run("check", "a.path")
    assert result.code == 1
    assert "a.path -> b.path -> c.path -> a.path" in result.err


def test_count_beyond_memory(run: Run, model: Path, inputs: Path, tmp_path: Path) -> None:
    before = files(tmp_path)
    huge = ("--set", "P=1Ti")
    assert run("check", model, *huge).code == 0
    assert_refused(run("run", model, *huge, "--input", inputs, "-o", "y.npy"), "E0502")
    assert_refused(run("compile", model, *huge, "-o", "net.so"), "E0502")
    assert files(tmp_path) == before


def test_batch_beyond_memory(run: Run, model: Path) -> None:
    wide = SMALL.replace("h[32]", "h[1Mi]")
    assert_refused(run("bench", "-", "--batch", 1 << 24, stdin=wide.encode()), "E0502")


@pytest.mark.parametrize("cut", [0.1, 0.5, 0.9])
def test_truncated_graph(run: Run, model: Path, tmp_path: Path, cut: float) -> None:
    text = run("dump", model).out
    (tmp_path / "cut.pir").write_text(text[: int(len(text) * cut)])
    result = run("opt", "cut.pir", "-p", "coalesce", "-o", "out.pir")
    assert result.code == 1
    assert "error[E0" in result.err
    assert not (tmp_path / "out.pir").exists()


def test_graph_with_a_wrong_fact(run: Run, model: Path, tmp_path: Path) -> None:
    (tmp_path / "g.pir").write_text(run("dump", model).out.replace("length = 256", "length = 512"))
    assert run("check", "g.pir").code == 1


@pytest.mark.parametrize("size", [0, 4, 100, 2000])
def test_truncated_weights(run: Run, model: Path, inputs: Path, tmp_path: Path, weights: Any, size: int) -> None:
    whole = (tmp_path / "w.safetensors").read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(whole[:size])
    result = run("run", model, "--input", inputs, "--weights", "cut.safetensors", "-o", "y.npy")
    assert_refused(result, "E0504")
    assert not (tmp_path / "y.npy").exists()


@pytest.mark.parametrize(
    ("name", "change", "code"),
    [
        ("missing", lambda w: w.pop("main.2"), "E0505"),
        ("unknown", lambda w: w.update({"mian.1": w["main.1"]}), "E0506"),
        ("shape", lambda w: w.update({"main.1": w["main.1"][:-1]}), "E0507"),
        ("dtype", lambda w: w.update({"main.1": w["main.1"].astype(np.bool_)}), "E0508"),
    ],
)
@pytest.mark.parametrize("verb", ["run", "compile"])
def test_weights_that_do_not_fit(
    run: Run, model: Path, inputs: Path, tmp_path: Path, weights: Any, name: str, change: Any, code: str, verb: str
) -> None:
    change(weights)
    np.savez(tmp_path / "w.npz", **weights)
    before = files(tmp_path)
    more = ("--input", inputs, "-o", "y.npy") if verb == "run" else ("-o", "net.so")
    assert_refused(run(verb, model, "--weights", "w.npz", *more), code)
    assert files(tmp_path) == before


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite(
    run: Run, model: Path, inputs: Path, tmp_path: Path, weights: Any, value: float
) -> None:
    weights["main.1"][7] = value
    np.savez(tmp_path / "w.npz", **weights)
    result = run("run", model, "--input", inputs, "--weights", "w.npz")
    assert_refused(result, "E0509")
    assert "[7]" in result.err


def test_pickled_weights_are_never_read(run: Run, model: Path, inputs: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "w.npz", allow_pickle=True, **{"main.1": np.array([{}], dtype=object)})
    assert_refused(run("run", model, "--input", inputs, "--weights", "w.npz"), "E0504")


def test_weights_of_an_unknown_kind(run: Run, model: Path, inputs: Path, tmp_path: Path) -> None:
    (tmp_path / "w.pt").write_bytes(b"PK")
    assert_refused(run("run", model, "--input", inputs, "--weights", "w.pt"), "E0510")


@pytest.mark.parametrize(
    ("array", "code"),
    [
        (np.zeros((3, 63), np.float32), "E0512"),
        (np.zeros((2, 3, 64), np.float32), "E0512"),
        (np.float32(1.0), "E0512"),
        (np.zeros((3, 64), np.complex64), "E0504"),
        (np.zeros((3, 64), "U4"), "E0504"),
    ],
)
def test_inputs_that_do_not_fit(run: Run, model: Path, tmp_path: Path, array: Any, code: str) -> None:
    np.save(tmp_path / "bad.npy", array)
    for target in ("llvm", "reference"):
        assert_refused(run("run", model, "-t", target, "--input", "bad.npy", "-o", "y.npy"), code)
    assert not (tmp_path / "y.npy").exists()


def test_inputs_that_are_damaged(run: Run, model: Path, inputs: Path, tmp_path: Path) -> None:
    inputs.write_bytes(inputs.read_bytes()[:-10])
    assert_refused(run("run", model, "--input", inputs), "E0504")
    (tmp_path / "x.csv").write_text("1,2")
    assert_refused(run("run", model, "--input", "x.csv"), "E0510")


def test_nan_in_inputs_runs_through(run: Run, model: Path, tmp_path: Path) -> None:
    x = np.ones((2, 64), np.float32)
    x[0, 3] = np.nan
    np.save(tmp_path / "x.npy", x)
    record = run("run", model, "--input", "x.npy", "--against", "reference", "--json").records[0]
    assert record["agrees"] is True
    assert record["not_finite"] > 0


@pytest.mark.parametrize("large", [1e300, 3e38])
def test_what_float32_cannot_hold_is_not_compared(run: Run, model: Path, tmp_path: Path, large: float) -> None:
    """3e38 is a float32, sums of it are none."""
    x = np.ones((3, 64))
    x[1] = large
    np.save(tmp_path / "x.npy", x)
    np.savez("w.npz", **{"main.1": np.ones(256, "f4"), "main.2": np.ones(256, "f4"), "h.bias": np.zeros(32, "f4")})
    command = ("run", model, "--weights", "w.npz", "--input", "x.npy", "--against", "reference", "--json")
    record = run(*command).records[0]
    assert record["agrees"] is True
    assert record["not_compared"] == 1


def test_empty_batch(run: Run, model: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((0, 64), np.float32))
    result = run("run", model, "--input", "x.npy", "-o", "y.npy", "--against", "reference")
    assert result.code == 0, result.err
    assert np.load(tmp_path / "y.npy").shape == (0, 16)


@pytest.mark.parametrize("name", ["no/such/folder/y.npy", "y.txt"])
def test_outputs_that_cannot_be_written(run: Run, model: Path, inputs: Path, tmp_path: Path, name: str) -> None:
    before = files(tmp_path)
    assert_refused(run("run", model, "--input", inputs, "-o", name), "E0510" if name == "y.txt" else "E0503")
    assert files(tmp_path) == before


def test_what_no_target_computes_yet(run: Run, tmp_path: Path) -> None:
    text = SMALL.replace("x[64]", "x[64, 8x8]").replace("bias | relu", "conv(3x3, pad = same) | relu")
    (tmp_path / "conv.path").write_text(text.replace("y[16]", "y[16] : conv(3x3, pad = same)"))
    assert run("check", "conv.path").code == 0
    result = run("compile", "conv.path", "-t", "engine", "-o", "net.pe")
    assert_refused(result, "E0379")
    assert "`conv`" in result.err
    assert not (tmp_path / "net.pe").exists()


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("dump", "small.path", "--set", "P"), "E0801"),
        (("dump", "small.path", "--set", "P=1", "--set", "P=2"), "E0801"),
        (("dump", "small.path", "--emit", "plna"), "E0804"),
        (("dump", "small.path", "-p", "strucutre"), "E0320"),
        (("dump", "small.path", "-p", "coalesce{limit=x}"), "E0322"),
        (("dump", "small.path", "--stop-after", "coalesce"), "E0329"),
        (("compile", "small.path", "-o", "net"), "E0807"),
        (("compile", "small.path", "-o", "net.exe"), "E0804"),
        (("compile", "small.path", "-t", "lvm"), "E0810"),
        (("compile", "small.path", "-t", "llvm{cpu"), "E0806"),
        (("compile", "small.path", "-t", "llvm{cpu=}"), "E0806"),
        (("compile", "small.path", "-t", "llvm{8}"), "E0806"),
        (("compile", "small.path", "-t", ""), "E0806"),
        (("compile", "small.path", "-t", "reference{a=1}"), "E0806"),
        (("compile", "small.path", "--batch", "0"), "E0808"),
        (("bench", "small.path", "--batch", "1,two"), "E0808"),
        (("bench", "small.path", "--against", "scypi"), "E0809"),
        (("explain", "E9999"), "E0805"),
        (("dump", "g.pir", "--set", "P=1"), "E0803"),
        (("dump", "g.pir", "--emit", "ast"), "E0804"),
    ],
)
def test_wrong_usage(run: Run, model: Path, tmp_path: Path, arguments: tuple[str, ...], code: str) -> None:
    (tmp_path / "g.pir").write_text(run("dump", model).out)
    before = files(tmp_path)
    assert_refused(run(*arguments), code, 2)
    assert files(tmp_path) == before


@pytest.mark.parametrize("arguments", [(), ("chekc",), ("run", "small.path"), ("dump",), ("check", "--jsno", "x.path")])
def test_arguments_that_nobody_knows(run: Run, arguments: tuple[str, ...]) -> None:
    result = run(*arguments)
    assert (result.code, result.out) == (2, "")
    assert "usage: pathc" in result.err


def test_target_that_is_not_here(run: Run, model: Path) -> None:
    assert_refused(run("compile", model, "-t", "gemmini"), "E0811", 3)


def test_code_for_another_machine_is_written_but_not_run(run: Run, model: Path, inputs: Path) -> None:
    assert run("compile", model, "-t", "llvm{cpu=aarch64}", "-o", "net.o").code == 0
    assert_refused(run("run", model, "-t", "llvm{cpu=aarch64}", "--input", inputs), "E0604", 3)


def test_unknown_processor_and_option(run: Run, model: Path) -> None:
    assert_refused(run("compile", model, "-t", "llvm{cpu=z80}"), "E0601")
    assert_refused(run("compile", model, "-t", "llvm{thraeds=2}"), "E0603")


def test_errors_in_json(run: Run, model: Path) -> None:
    result = run("dump", model, "--emit", "cost", "--json", "--set", "P=0")
    assert result.code == 1
    assert result.out == ""
    assert '"severity": "error"' in result.err


def test_sequences_are_compared_step_by_step(run: Run, tmp_path: Path) -> None:
    stations = "input x[8]\nlayer h[24] : bias | lstm(recur = band(5))\noutput y[4]\n"
    (tmp_path / "r.path").write_text(f"pathc 1\n{stations}paths p : x -> h -> y {{ count = 48 }}\n")
    x = np.random.default_rng(0).normal(size=(2, 6, 8)).astype(np.float32)
    x[1, 3, 0] = np.nan
    np.save(tmp_path / "x.npy", x)
    record = run("run", "r.path", "--input", "x.npy", "--against", "reference", "--json").records[0]
    assert record["agrees"] is True
    assert record["shape"] == [2, 6, 4]
    np.save(tmp_path / "x.npy", x[:, :0])
    assert "E0371" in run("run", "r.path", "--input", "x.npy").err
