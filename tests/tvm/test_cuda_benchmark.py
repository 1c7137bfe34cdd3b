"""The script for machines with a GPU, as far as it can run without one: what it builds, compares, plans and writes."""

from __future__ import annotations

import importlib.util
import json
import sys
import time
from dataclasses import replace
from pathlib import Path

import gpu_on_cpu as gpu
import numpy as np
import pytest
from fake_cuda import FakeCuda
from safetensors.numpy import load_file, save_file

from pathc.backends.tvm import driver, facade, nvrtc
from pathc.driver import Options, compile_model

pytestmark = [
    pytest.mark.skipif(facade.missing() != "", reason=f"needs TVM: {facade.INSTALL}"),
    pytest.mark.skipif(nvrtc.library_path() == "", reason=f"needs NVRTC: {nvrtc.INSTALL}"),
    pytest.mark.skipif(not gpu.available(), reason="needs g++ to execute CUDA text: apt-get install g++"),
]
UNITS, PATHS, SAMPLES = (64, 32, 16), 256, 40
PARTS = ("_cuda_nets", "_cuda_check", "_cuda_jobs", "_cuda_peers", "_cuda_results", "cuda")


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
    script.build(tmp_path, ("small",), ("sm_90",))
    found = script.conforms(tmp_path, "small", kind, gpu_for("small", tmp_path, kind))
    assert found["good"]
    assert 0 < found["share"] <= 1
    assert ("gradients" in found) == (kind == "back")
    assert "not tried" in found["library"]
    with np.load(tmp_path / "small.npz") as kept:
        arrays = dict(kept)
    wrong = {"dx": -arrays["dx"]} if kind == "back" else {"right": arrays["right"] + 1}
    np.savez(tmp_path / "small.npz", **(arrays | wrong))
    found = script.conforms(tmp_path, "small", kind, gpu_for("small", tmp_path, kind), plain=True)
    assert not found["good"]
    assert "WRONG" in script.said_of(found)


def test_a_wrong_unit_is_seen_behind_long_sums(script, parts, tmp_path, monkeypatch):
    """Bounds of outputs would be infinite: 256 terms, each a product of two factors that are rounded to 8 bits."""
    nets = parts["_cuda_nets"]
    for part in ("_cuda_nets", "cuda"):
        monkeypatch.setattr(parts[part], "NETS", {"deep": nets.flat((64, 16, 16), 4096, samples=20)})
    only(script, monkeypatch, "deep", "bf16")
    script.build(tmp_path, ("deep",), ("sm_90",))
    there = gpu_for("deep", tmp_path, "bf16")
    found = script.conforms(tmp_path, "deep", "bf16", there, plain=True)
    assert found["good"]
    assert found["share"] > 0.05
    path = tmp_path / "deep-bf16-sm_90.params"
    weights = load_file(path)
    (name,) = {key for key, array in weights.items() if array.ndim == 3 and key > "k1_w"}
    weights[name][:, :, 5] *= 0.9
    save_file(weights, path)
    assert not script.conforms(tmp_path, "deep", "bf16", there, plain=True)["good"]


def on(there, monkeypatch):
    """Make this machine have that GPU, for workers, too, which are then this process."""
    script = importlib.import_module("cuda")
    monkeypatch.setattr(driver, "missing", lambda: "")
    monkeypatch.setattr(driver, "device", lambda: there)
    monkeypatch.setattr(script, "sanitizer", lambda: None)

    def here(command, jobs, seconds, deadline, report):
        given = script.parsed([*command[2:], *jobs])
        for job in jobs:
            report(job, json.loads(json.dumps(script.done(given.folder, given, there, job))))
        return 0

    monkeypatch.setattr(script, "supervise", here)


@pytest.mark.parametrize(("name", "macs", "rows"), [("filters", 32 * 9 * 36, 3), ("cells", 16 * 3 * (16 + 5), 10)])
def test_filters_and_cells_are_compared_and_measured(script, parts, tmp_path, monkeypatch, capsys, name, macs, rows):
    only(script, monkeypatch, name, "many")
    there = gpu_for(name, tmp_path, "many")
    script.build(tmp_path, (name,), ("sm_90",))
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
    assert figure["graph"] > 0
    with np.load(tmp_path / f"{name}.npz") as kept:
        np.savez(tmp_path / f"{name}.npz", **(dict(kept) | {"right": kept["right"] + 1}))
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
    script.build(tmp_path, ("small",), ("sm_90",))
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
    assert figure["memory_share"] == pytest.approx(
        figure["moved"] / min(figure["seconds"], figure["graph"]) / there.bandwidth
    )
    assert set(figure["beside"]) == set(parts["_cuda_peers"].PEERS)
    table = (tmp_path / "found.md").read_text()
    assert "| small | one | 1 |" in table
    assert f"`python benchmarks/cuda.py {' '.join(arguments)} --nets small`" in table
    with np.load(tmp_path / "small.npz") as kept:
        np.savez(tmp_path / "small.npz", **(dict(kept) | {"right": kept["right"] + 1}))
    assert script.main([*arguments, "--nets", "small"]) == 1
    assert "small-one: wrong" in capsys.readouterr().out
    assert json.loads((tmp_path / "found.json").read_text())["figures"] == [], "what is wrong is not measured"


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
    first = script.planned(script.parsed(["plan", "--nets", "square,gru"])).measured
    assert [one[:2] for one in first[:4]] == [("square", 4096), ("gru", 64), ("square", 1), ("gru", 1)]
    assert len(first) == len(set(first)) == 7
    check = script.planned(script.parsed(["run", "folder", "--check"]))
    assert (check.tools, check.measured) == ((), ())
    assert check.compared == tuple((name, kind) for name, net in script.NETS.items() for kind in net.kinds)
    own = script.planned(script.parsed(["plan", "--nets", "gru,turns"])).measured
    assert own == (("gru", 64, ("many",)), ("gru", 1, ("one",)), ("gru", 1024, ("many",)))
    only = script.planned(script.parsed(["run", "folder", "--sanitize"]))
    assert (only.compared, only.tools, only.measured) == ((), ("memcheck", "racecheck"), ())
    assert script.main(["plan"]) == 0
    assert "dense tf32" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [["build"], ["run"], ["plan", "--nets", "other"], ["plan", "--batches", "1,,2"], ["plan", "--batches", "0"],
     ["run", "f", "--check", "--sanitize"], ["work"], ["run", "f", "check/odd/one"]],
    ids=" ".join,
)  # fmt: skip
def test_command_lines_that_make_no_sense(parts, arguments, capsys):
    with pytest.raises(SystemExit, match="2"):
        parts["cuda"].parsed(arguments)
    assert "error" in capsys.readouterr().err


def test_nets_are_measured_on_random_numbers(parts):
    rows = parts["cuda"].random_rows(5000, 3)
    assert rows.shape == (5000, 3)
    assert rows.dtype == np.float32
    np.testing.assert_array_equal(rows[4096:], rows[:904])
    assert 0.9 < rows.std() < 1.1


@pytest.mark.skipif(driver.missing() == "", reason="there is a GPU here")
def test_without_a_gpu_it_says_so(parts, tmp_path, capsys):
    for arguments in ([], ["run", str(tmp_path)], ["run", str(tmp_path), "--sanitize"]):
        assert parts["cuda"].main(arguments) == 3
        assert "no CUDA driver" in capsys.readouterr().err


WORKER = """import json, sys, time
folder, *jobs = sys.argv[1:]
for job in jobs:
    with open(folder + "/log", "a") as log:
        log.write(job + "\\n")
    if job == "dies":
        raise SystemExit(9)
    if job == "hangs":
        time.sleep(60)
    print("something else")
    print("found: " + json.dumps({"failed": "fault"} if job == "faults" else {"job": job}), flush=True)
    if job == "faults":
        raise SystemExit(1)
raise SystemExit(77 if "last" in jobs else 0)
"""


def test_the_rest_is_done_when_a_job_dies_hangs_or_faults(parts, tmp_path, monkeypatch):
    jobs = parts["_cuda_jobs"]
    monkeypatch.setattr(jobs, "STARTING", 1.0)
    said = {}
    command, asked = [sys.executable, "-c", WORKER, str(tmp_path)], ["a", "dies", "b", "hangs", "faults", "last"]
    code = jobs.supervise(command, asked, 0.5, float("inf"), said.__setitem__)
    assert list(said) == asked
    assert [said[one] for one in ("a", "b", "last")] == [{"job": "a"}, {"job": "b"}, {"job": "last"}]
    assert said["dies"] == {"failed": "its process ended with 9"}
    assert said["faults"] == {"failed": "fault"}
    assert "took more than" in said["hangs"]["failed"]
    assert code == 77
    assert (tmp_path / "log").read_text().split() == asked, "no job is done twice"


def test_no_job_outlasts_the_time_there_is(parts, tmp_path):
    jobs, said = parts["_cuda_jobs"], {}
    command = [sys.executable, "-c", WORKER, str(tmp_path)]
    jobs.supervise(command, ["a", "hangs", "b"], 30, time.monotonic() + 1.5, said.__setitem__)
    assert said == {"a": {"job": "a"}, "hangs": {"failed": jobs.NO_TIME}, "b": {"failed": jobs.NO_TIME}}
    said.clear()
    jobs.supervise(command, ["dies"] * 5, 30, float("inf"), lambda job, found: said.setdefault(len(said), found))
    assert [found["failed"] for found in said.values()][3:] == ["3 processes in a row did nothing"] * 2


def test_a_worker_ends_with_the_first_job_that_raises(parts, capsys):
    def do(job):
        print("noise")
        if job == "bad":
            raise RuntimeError("the GPU is gone")
        return {"job": job}

    assert parts["_cuda_jobs"].work(["good", "bad", "other"], do) == 1
    said = capsys.readouterr()
    assert said.out.splitlines() == [
        'found: {"job": "good"}',
        'found: {"failed": "RuntimeError: the GPU is gone"}',
    ]
    assert said.err.count("noise") == 2


def test_the_sanitizer_watches_both_kinds_of_faults(script, parts, tmp_path, monkeypatch, capsys):
    """The tool watches the worker itself, and what it could not get through is told."""
    tool = tmp_path / "compute-sanitizer"
    tool.write_text(
        '#!/bin/sh\necho "$@" >> "$0.log"\n'
        'for job; do case $job in check/*) echo \'found: {"net": "x", "good": true}\';; esac; done\n'
        'case "$*" in *racecheck*) exit 77;; esac\n'
    )
    tool.chmod(0o755)
    monkeypatch.setattr(script, "sanitizer", lambda: str(tool))
    monkeypatch.setattr(driver, "missing", lambda: "")
    monkeypatch.setattr(driver, "device", lambda: driver.Device(FakeCuda()))
    arguments = ["run", str(tmp_path), "--sanitize", "--nets", "small", "--out", str(tmp_path / "found")]
    assert script.main(arguments) == 1
    assert json.loads((tmp_path / "found.json").read_text())["sanitizer"] == {
        "memcheck": "clean",
        "racecheck": "faults found",
    }
    called = Path(f"{tool}.log").read_text().splitlines()
    assert [line.split()[1] for line in called] == ["memcheck", "racecheck"]
    for line in called:
        given = script.parsed(line.partition("cuda.py ")[2].split())
        assert (given.what, given.folder, given.plain) == ("work", tmp_path, True)
        assert given.jobs == [f"check/small/{kind}" for kind in parts["_cuda_nets"].KINDS]
    monkeypatch.setattr(script, "sanitizer", lambda: None)
    assert script.main(arguments) == 3
    assert "not installed" in capsys.readouterr().err


def test_the_table_says_what_was_measured(parts):
    results = parts["_cuda_results"]
    machine = results.Machine(
        "1 May 2030", "NVIDIA H200", "sm_90", "580.1", "python benchmarks/cuda.py", {"torch": "3.0"}
    )
    figure = results.Figure("wide", "bf16", 4096, 1e-4, 8e-5, 3, 48 << 20, 10**9, beside={
        "dense f32": 8e-4, "dense tf32": 4e-4, "csr torch": "RuntimeError: no memory"})  # fmt: skip
    results.shares(figure, results.peaks_of("NVIDIA H200"), 0.0)
    assert figure.memory_share == pytest.approx((48 << 20) / 8e-5 / 4.8e12)
    assert figure.peak_share == pytest.approx(1.25e13 / 989.4e12)
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
    assert "| wide | bf16 | 4096 | 100.0 | 80.0 | 13% | 1% | 10.00x | 5.00x | - | - | - |" in table
    for words in ("1 May 2030", "driver 580.1", "torch 3.0", "1 of 1 programs agree", "memcheck clean", "bf16 800"):
        assert words in table
    assert "An empty kernel takes 2.0 us" in table
    assert json.loads(everything.as_json())["figures"][0]["beside"]["dense tf32"] == 4e-4
    assert results.complaints([figure]) == ["RuntimeError: no memory"]
    bare = results.markdown(results.Results(machine))
    assert "compute-sanitizer was not run" in bare
