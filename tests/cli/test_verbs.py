"""Every verb does its work, and what scripts rely on holds."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from command import SMALL, Run

import pathc
from pathc.ir.init import initial_weights
from pathc.ir.weights import save_weights


def test_check_is_silent_on_stdout_and_says_correct(run: Run, model: Path) -> None:
    result = run("check", model)
    assert (result.code, result.out) == (0, "")
    assert "correct" in result.err
    assert run("check", "-q", model).err == ""


def test_check_reads_stdin_both_languages(run: Run, model: Path) -> None:
    assert run("check", "-", stdin=SMALL.encode()).code == 0
    graph = run("dump", model).out
    assert run("check", "-", stdin=graph.encode()).code == 0


def test_check_prints_one_object_per_diagnostic(run: Run, tmp_path: Path) -> None:
    bad = tmp_path / "bad.path"
    bad.write_text(SMALL.replace("relu", "rleu").replace("count = P", "count = Q"))
    result = run("check", bad, "--json")
    assert result.code == 1
    assert {r["severity"] for r in result.records} == {"error"}
    assert [r["line"] for r in result.records] == [5, 7]
    assert "did you mean `relu`?" in result.records[0]["help"]
    assert set(result.records[0]) >= {"code", "severity", "message", "file", "line", "column", "notes", "help"}


def test_lints_are_warnings_and_not_given_after_an_error(run: Run, tmp_path: Path) -> None:
    lame = tmp_path / "lame.path"
    lame.write_text(SMALL.replace("count = P", "count = 100"))
    result = run("check", lame, "--json")
    assert result.code == 0
    assert {r["severity"] for r in result.records} == {"warning"}
    lame.write_text(SMALL.replace("count = P", "count = 100").replace("relu", "rleu"))
    assert {r["severity"] for r in run("check", lame, "--json").records} == {"error"}


def test_check_goes_on_after_a_wrong_file(run: Run, model: Path) -> None:
    result = run("check", "missing.path", model)
    assert result.code == 1
    assert "E0501" in result.err
    assert "correct" in result.err


def test_set_overrides_a_let(run: Run, model: Path) -> None:
    assert run("dump", model, "--set", "P=512", "--emit", "cost", "--json").records[0]["weights"] == 1024


def test_fmt_writes_once_and_checks(run: Run, model: Path) -> None:
    model.write_text(SMALL.replace("layer  h[32] : bias | relu", "layer h[32]:bias|relu"))
    assert run("fmt", "--check", model).code == 1
    assert run("fmt", model).code == 0
    text = model.read_text()
    assert run("fmt", "--check", model).code == 0
    assert run("fmt", "-", stdin=text.encode()).out == text


def test_fmt_prints_graphs_as_the_printer_does(run: Run, model: Path) -> None:
    graph = run("dump", model).out
    assert run("fmt", "-", stdin=graph.replace("  %x", "      %x").encode()).out == graph


@pytest.mark.parametrize("kind", ["ast", "pir", "structure", "schedule", "cost"])
def test_dump_shows_every_stage_as_text_and_json(run: Run, model: Path, kind: str) -> None:
    text = run("dump", model, "--emit", kind)
    assert (text.code, text.err) == (0, "")
    assert text.out.strip()
    assert len(run("dump", model, "--emit", kind, "--json").records) == 1


def test_dump_of_a_target_stage(run: Run, model: Path) -> None:
    assert "main.1" in run("dump", model, "--emit", "plan").out
    assert "define" in run("dump", model, "--emit", "ll", "-t", "llvm{cpu=avx2}").out
    assert "gather $main.1" in run("dump", model, "--emit", "plan", "--batch", "1", "--form", "main.1=gather").out


def test_dump_cost_contract(run: Run, model: Path) -> None:
    record = run("dump", model, "--emit", "cost", "--json").records[0]
    expected = {"weights": 512, "weights_dense_equivalent": 64 * 32 + 32 * 16, "recurrent_weights": 0, "biases": 32}
    assert expected.items() <= record.items()
    assert (record["macs"], record["bytes"]) == (512, 4 * (512 + 32))
    assert [line["name"] for line in record["lines"]] == ["main"]
    assert {"weights", "weights_dense_equivalent", "macs", "bytes"} <= set(record["lines"][0])


def test_dump_explains_defaults(run: Run, model: Path) -> None:
    assert "sobol" in run("dump", model, "--explain-defaults").out
    assert run("dump", model, "--explain-defaults", "--json").records[0]["node"] == "Default"


def test_hooks_dump_print_time_and_stop(run: Run, model: Path, tmp_path: Path) -> None:
    result = run(
        "dump", model, "-p", "canonical,structure,coalesce", "--dump-dir", "d", "--stop-after", "structure",
        "--print-after", "canonical", "--time-passes",
    )  # fmt: skip
    assert result.code == 0
    assert sorted(p.name for p in (tmp_path / "d").iterdir()) == [
        "00-lower.pir",
        "01-canonical.pir",
        "02-structure.pir",
    ]
    assert (tmp_path / "d" / "02-structure.pir").read_text() == result.out
    assert "blocks" in result.out
    assert "distinct" not in result.out
    assert "pir 1" in result.err
    assert re.search(r"ms  structure$", result.err, re.MULTILINE)


def test_opt_goes_on_from_any_stage(run: Run, model: Path) -> None:
    graph = run("dump", model, "--stop-after", "lower").out
    assert run("opt", "-", "-p", "canonical,structure", stdin=graph.encode()).out == run("dump", model).out
    assert "distinct" in run("opt", "-", "-p", "coalesce{limit=10}", stdin=graph.encode()).out


@pytest.mark.parametrize("target", ["reference", "llvm", "llvm{threads=1}"])
def test_run_writes_outputs(run: Run, model: Path, inputs: Path, tmp_path: Path, target: str) -> None:
    result = run("run", model, "-t", target, "--input", inputs, "-o", "y.npy")
    assert (result.code, result.out) == (0, "")
    assert "W0802" in result.err
    outputs = np.load(tmp_path / "y.npy")
    net = pathc.compile(model, "reference")
    np.testing.assert_allclose(outputs, net(np.load(inputs)), rtol=1e-4, atol=1e-5)


def test_run_takes_one_sample_without_a_batch(run: Run, model: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "one.npy", np.ones(64, np.uint8))
    assert run("run", model, "--input", "one.npy", "-o", "y.npy").code == 0
    assert np.load(tmp_path / "y.npy").shape == (16,)


def test_run_against_the_reference(run: Run, model: Path, inputs: Path) -> None:
    record = run("run", model, "--input", inputs, "--against", "reference", "--json").records[0]
    assert record["agrees"] is True
    assert 0 <= record["max_abs_error"] <= record["bound"]
    assert record["share"] <= 1
    assert record["shape"] == [3, 16]


def test_run_with_weights_says_nothing_of_initial_ones(run: Run, model: Path, inputs: Path, tmp_path: Path) -> None:
    save_weights(tmp_path / "w.safetensors", initial_weights(pathc.load(model)))
    assert "W0802" not in run("run", model, "--input", inputs, "--weights", "w.safetensors").err


def test_run_on_a_graph(run: Run, model: Path, inputs: Path, tmp_path: Path) -> None:
    (tmp_path / "g.pir").write_text(run("dump", model).out)
    first, second = (run("run", name, "--input", inputs, "--json").records for name in (model, "g.pir"))
    assert first == second


def test_targets_of_the_model(run: Run, model: Path, inputs: Path) -> None:
    model.write_text(SMALL + "target slow : reference\ntarget narrow : llvm { cpu = sse, threads = 1 }\n")
    for name in ("slow", "narrow", "narrow{threads=2}"):
        assert run("run", model, "-t", name, "--input", inputs).code == 0


@pytest.mark.parametrize("suffix", ["so", "o", "ll", "s"])
def test_compile_writes_by_suffix(run: Run, model: Path, tmp_path: Path, suffix: str) -> None:
    result = run("compile", model, "-t", "llvm", "-o", f"net.{suffix}")
    assert result.code == 0, result.err
    names = {p.name for p in tmp_path.iterdir()} - {"small.path"}
    companions = {"pathc_net.h", "pathc_net.c", "pathc_net.params"} if suffix in ("so", "o") else set()
    assert names == {f"net.{suffix}", *companions}
    start = (tmp_path / f"net.{suffix}").read_bytes()[:4]
    assert (start == b"\x7fELF") == (suffix in ("so", "o"))


def test_compile_emits_to_stdout(run: Run, model: Path) -> None:
    assert "pathc_small" in run("compile", model, "--emit", "h").out


def test_bench_contract(run: Run, model: Path) -> None:
    arguments = ("bench", model, "-t", "llvm", "-t", "reference", "--batch", "1,7", "--seconds", "0.01")
    result = run(*arguments, "--against", "numpy,scipy", "--json")
    assert result.code == 0
    assert [(r["target"], r["batch"]) for r in result.records] == [
        ("llvm", 1), ("reference", 1), ("llvm", 7), ("reference", 7),
    ]  # fmt: skip
    for record in result.records:
        assert record["seconds_median"] >= record["seconds_min"] > 0
        assert set(record["peers"]) == {"numpy", "scipy"}
        assert all(record["peers"].values())
        assert record["gflops"] > 0
        assert (record["roofline_share"] is None) == (record["target"] == "reference")
        assert {"compile_seconds", "bytes"} <= set(record)
    table = run(*arguments[:4], "--seconds", "0.01", "--batch", "1")
    assert "GFLOP/s" in table.out


@pytest.mark.parametrize(
    "topic",
    ["", "codes", "forms", "passes", "targets", "words", "E0203", "e0801", "sobol", "structure", "llvm", "windowed"],
)
def test_explain(run: Run, topic: str) -> None:
    result = run("explain", *([topic] if topic else []))
    assert (result.code, result.err) == (0, "")
    assert topic.upper() in result.out.upper() or topic in ("codes", "forms", "passes", "targets", "words")
    assert len(result.out) > 40


def test_passes_and_targets_as_json(run: Run) -> None:
    assert {"structure", "canonical"} <= {r["name"] for r in run("passes", "--json").records}
    assert {"reference", "llvm"} <= {r["name"] for r in run("targets", "--json").records}


def test_version(run: Run) -> None:
    assert run("--version").out == f"pathc {pathc.__version__}\n"
