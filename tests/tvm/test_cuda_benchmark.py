"""The script for machines with a GPU, as far as it can run without one: what it builds, compares, plans and writes."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import replace
from pathlib import Path

import gpu_on_cpu as gpu
import numpy as np
import pytest
from fake_cuda import FakeCuda

from pathc.backends.tvm import driver, facade, nvrtc
from pathc.driver import Options, compile_model

pytestmark = [
    pytest.mark.skipif(facade.missing() != "", reason=f"needs TVM: {facade.INSTALL}"),
    pytest.mark.skipif(nvrtc.library_path() == "", reason=f"needs NVRTC: {nvrtc.INSTALL}"),
    pytest.mark.skipif(not gpu.available(), reason="needs g++ to execute CUDA text: apt-get install g++"),
]
UNITS, PATHS, SAMPLES = (64, 32, 16), 256, 40
PARTS = ("_cuda_nets", "_cuda_check", "_cuda_peers", "_cuda_results", "cuda")


@pytest.fixture(scope="module")
def parts():
    """The modules of the script by name."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
        yield {name: importlib.import_module(name) for name in PARTS}


@pytest.fixture
def script(parts, monkeypatch):
    """The script with a small net of each sort, for one architecture."""
    nets = parts["_cuda_nets"]
    monkeypatch.setattr(nvrtc, "ARCHITECTURES", ("sm_90",))
    small = {
        "small": nets.flat(UNITS, PATHS, samples=SAMPLES),
        "filters": nets.filters(8, 6, 32, (3,), samples=11),
        "cells": nets.cells("gru(recur = ring(width = 5))", 16, (2,), steps=5, samples=11),
    }
    for part in ("_cuda_nets", "cuda"):
        monkeypatch.setattr(parts[part], "NETS", small)
    return parts["cuda"]


def only(script, monkeypatch, name, *kinds):
    """One net, in some kinds."""
    nets = {name: replace(script.NETS[name], kinds=kinds)}
    for part in ("_cuda_nets", "cuda"):
        monkeypatch.setattr(importlib.import_module(part), "NETS", nets)


def gpu_for(name, folder, kind):
    """A GPU that executes the program of one kind."""
    nets = importlib.import_module("_cuda_nets")
    model = folder / "net.path"
    model.write_text(nets.NETS[name].text)
    batch, options, _ = nets.KINDS[kind]
    made = compile_model(model, f"cuda{{arch=sm_90{options}}}", None, Options(batch=batch))
    return driver.Device(FakeCuda(str(made.executable.emit("cuda")) + nets.EMPTY))


@pytest.mark.parametrize("kind", ["bf16", "back"])
def test_it_builds_carries_and_compares(script, parts, tmp_path, monkeypatch, kind):
    only(script, monkeypatch, "small", kind)
    script.build(tmp_path, ("small",))
    found = script.conforms(tmp_path, f"small-{kind}", gpu_for("small", tmp_path, kind))
    assert found["good"]
    assert 0 < found["share"] <= 1
    assert ("gradients" in found) == (kind == "back")
    assert "not tried" in found["library"]
    with np.load(tmp_path / f"small-{kind}.npz") as kept:
        arrays = dict(kept)
    wrong = {"dx": -arrays["dx"]} if kind == "back" else {"right": arrays["right"] + 1}
    np.savez(tmp_path / f"small-{kind}.npz", **(arrays | wrong))
    assert not script.conforms(tmp_path, f"small-{kind}", gpu_for("small", tmp_path, kind))["good"]


def on(there, monkeypatch):
    """Make this machine have that GPU."""
    monkeypatch.setattr(driver, "missing", lambda: "")
    monkeypatch.setattr(driver, "device", lambda: there)
    monkeypatch.setattr(importlib.import_module("cuda"), "sanitizer", lambda: None)


@pytest.mark.parametrize(("name", "macs", "rows"), [("filters", 32 * 9 * 36, 3), ("cells", 16 * 3 * (16 + 5), 10)])
def test_filters_and_cells_are_compared_and_measured(script, parts, tmp_path, monkeypatch, capsys, name, macs, rows):
    only(script, monkeypatch, name, "many")
    there = gpu_for(name, tmp_path, "many")
    script.build(tmp_path, (name,))
    on(there, monkeypatch)
    arguments = ["run", str(tmp_path), "--out", str(tmp_path / "found"), "--seconds", "0.001", "--nets", name]
    assert script.main(arguments) == 0
    found = json.loads((tmp_path / "found.json").read_text())
    assert [one["net"] for one in found["conformance"]] == [f"{name}-many"]
    (figure,) = found["figures"]
    assert (figure["batch"] * max(1, figure["steps"]), figure["operations"]) == (rows, 2 * rows * macs)
    program = json.loads((tmp_path / f"{name}-many-sm_90.json").read_text())
    ends = 4 * rows * (program["inputs"] + program["outputs"])
    assert figure["moved"] == ends + sum(a.nbytes for a in _weights(tmp_path, f"{name}-many"))
    assert set(figure["beside"]) == set(parts["_cuda_peers"].PEERS[:3])
    assert ("| cells | many | 2 x 5 |" if name == "cells" else "| filters | many | 3 |") in (
        tmp_path / "found.md"
    ).read_text()
    with np.load(tmp_path / f"{name}-many.npz") as kept:
        np.savez(tmp_path / f"{name}-many.npz", **(dict(kept) | {"right": kept["right"] + 1}))
    assert script.main([*arguments, "--check"]) == 1


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="needs PyTorch: pip install torch")
def test_what_is_beside_has_the_shapes_of_the_nets(parts):
    import torch

    peers = parts["_cuda_peers"]
    shapes = {peers.Chain((8, 4, 2)): (3, 2), peers.Convolution(4, 6): (3, 4, 6, 6)}
    shapes |= {peers.Recurrent(kind, 8, 5): (3, 5, 8) for kind in ("RNN", "LSTM", "GRU")}
    for dense, shape in shapes.items():
        for dtype in (torch.float32, torch.bfloat16):
            assert tuple(dense.call(torch, 3, dtype, "cpu")().shape) == shape


def test_a_whole_run_writes_results(script, parts, tmp_path, monkeypatch, capsys):
    only(script, monkeypatch, "small", "one")
    script.build(tmp_path, ("small",))
    there = gpu_for("small", tmp_path, "one")
    on(there, monkeypatch)
    arguments = ["run", str(tmp_path), "--out", str(tmp_path / "found"), "--seconds", "0.001", "--batches", "1"]
    assert script.main([*arguments, "--nets", "small"]) == 0
    assert "all is well" in capsys.readouterr().out
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["machine"]["gpu"] == "a processor"
    assert found["conformance"][0]["good"]
    assert found["empty_launch"] > 0
    (figure,) = found["figures"]
    assert (figure["net"], figure["kind"], figure["batch"], figure["launches"]) == ("small", "one", 1, 1)
    assert figure["moved"] == 4 * (64 + 16) + sum(a.nbytes for a in _weights(tmp_path))
    assert figure["operations"] == 2 * sum(len(np.load(tmp_path / "small-work.npz")[f"weight{k}"]) for k in (0, 1))
    assert figure["memory_share"] == pytest.approx(figure["moved"] / figure["seconds"] / there.bandwidth)
    assert set(figure["beside"]) == set(parts["_cuda_peers"].PEERS)
    table = (tmp_path / "found.md").read_text()
    assert "| small | one | 1 |" in table
    assert f"`python benchmarks/cuda.py {' '.join(arguments)} --nets small`" in table
    np.savez(
        tmp_path / "small-one.npz", x=np.ones((40, 64), np.float32), right=np.full((40, 16), 5.0), bound=np.ones(1)
    )
    assert script.main([*arguments, "--nets", "small", "--check"]) == 1


def _weights(folder, stem="small-one"):
    from safetensors.numpy import load_file

    return load_file(folder / f"{stem}-sm_90.params").values()


def test_the_plan_is_what_was_asked_for(parts, monkeypatch, capsys):
    script = parts["cuda"]
    monkeypatch.setattr(script, "sanitizer", lambda: "/usr/bin/compute-sanitizer")
    plan = script.planned(script.parsed(["plan", "--nets", "mnist,odd", "--batches", "1,256"]))
    assert len(plan.compared) == 2 * len(parts["_cuda_nets"].KINDS)
    assert plan.tools == ("memcheck", "racecheck")
    assert plan.measured == (("mnist", 1, ("one",)), ("mnist", 256, ("many", "tf32", "bf16", "fp16", "back")))
    check = script.planned(script.parsed(["run", "folder", "--check"]))
    assert (check.tools, check.measured) == ((), ())
    assert check.compared == tuple(f"{name}-{kind}" for name, net in script.NETS.items() for kind in net.kinds)
    own = script.planned(script.parsed(["plan", "--nets", "gru,turns"])).measured
    assert own == (("gru", 1, ("one",)), ("gru", 64, ("many",)), ("gru", 1024, ("many",)))
    only = script.planned(script.parsed(["run", "folder", "--sanitize"]))
    assert (only.compared, only.tools, only.measured) == ((), ("memcheck", "racecheck"), ())
    assert script.main(["plan"]) == 0
    assert "dense tf32" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [["build"], ["run"], ["plan", "--nets", "other"], ["plan", "--batches", "1,,2"], ["plan", "--batches", "0"],
     ["run", "f", "--check", "--sanitize"]],
    ids=" ".join,
)  # fmt: skip
def test_command_lines_that_make_no_sense(parts, arguments, capsys):
    with pytest.raises(SystemExit, match="2"):
        parts["cuda"].parsed(arguments)
    assert "error" in capsys.readouterr().err


@pytest.mark.skipif(driver.missing() == "", reason="there is a GPU here")
def test_without_a_gpu_it_says_so(parts, tmp_path, capsys):
    for arguments in ([], ["run", str(tmp_path)], ["run", str(tmp_path), "--sanitize"]):
        assert parts["cuda"].main(arguments) == 3
        assert "no CUDA driver" in capsys.readouterr().err


def test_the_sanitizer_watches_both_kinds_of_faults(parts, tmp_path, monkeypatch, capsys):
    check = parts["_cuda_check"]
    tool = tmp_path / "compute-sanitizer"
    tool.write_text('#!/bin/sh\necho "$@" >> "$0.log"\ncase "$*" in *racecheck*) exit 77;; esac\n')
    tool.chmod(0o755)
    monkeypatch.setattr(check, "sanitizer", lambda: str(tool))
    found = check.sanitize(tmp_path, Path("cuda.py"), ("square", "mnist", "odd"))
    assert found == {"memcheck": "clean", "racecheck": "faults found"}
    called = Path(f"{tool}.log").read_text().splitlines()
    assert [line.split()[1] for line in called] == ["memcheck", "racecheck"]
    assert all(line.endswith("--check --nets mnist,odd") for line in called)
    monkeypatch.setattr(check, "sanitizer", lambda: None)
    assert check.sanitize(tmp_path, Path("cuda.py"), ("mnist",)) == {}
    assert "not installed" in capsys.readouterr().err


def test_the_table_says_what_was_measured(parts):
    results = parts["_cuda_results"]
    machine = results.Machine(
        "1 May 2030", "NVIDIA H200", "sm_90", "580.1", "python benchmarks/cuda.py", {"torch": "3.0"}
    )
    figure = results.Figure("wide", "bf16", 4096, 1e-4, 8e-5, 3, 48 << 20, 10**9, beside={
        "dense f32": 8e-4, "dense tf32": 4e-4, "csr torch": "RuntimeError: no memory"})  # fmt: skip
    results.shares(figure, results.peaks_of("NVIDIA H200"), 0.0)
    assert figure.memory_share == pytest.approx((48 << 20) / 1e-4 / 4.8e12)
    assert figure.peak_share == pytest.approx(1e13 / 989.4e12)
    assert results.peaks_of("NVIDIA H100 PCIe")["memory"] == 2.0e12
    assert results.peaks_of("NVIDIA A100-SXM4-80GB")["memory"] == 2.039e12
    assert results.peaks_of("NVIDIA A100-SXM4-40GB")["memory"] == 1.555e12
    assert set(results.peaks_of("NVIDIA H200 NVL")) == {"memory"}
    assert results.peaks_of("a processor") == {}
    plain = results.Figure("wide", "many", 4096, 1e-4, "", 3, 48 << 20, 10**9)
    results.shares(plain, results.peaks_of("NVIDIA H100 PCIe"), 0.0)
    assert plain.peak_share == pytest.approx(1e13 / 51.2e12)
    everything = results.Results(machine, [{"net": "wide-bf16", "good": True}], {"memcheck": "clean"}, 2e-6, 9e-6,
                                 {"bf16": 8e14, "f32": "RuntimeError"}, [figure])  # fmt: skip
    table = results.markdown(everything)
    assert "| wide | bf16 | 4096 | 100.0 | 80.0 | 10% | 1% | 10.00x | 5.00x | - | - | - |" in table
    for words in ("1 May 2030", "driver 580.1", "torch 3.0", "1 of 1 programs agree", "memcheck clean", "bf16 800"):
        assert words in table
    assert "An empty kernel takes 2.0 us" in table
    assert json.loads(everything.as_json())["figures"][0]["beside"]["dense tf32"] == 4e-4
    assert results.complaints([figure]) == ["RuntimeError: no memory"]
    bare = results.markdown(results.Results(machine))
    assert "compute-sanitizer was not run" in bare
