"""Path nets on a GPU: right, and how fast beside PyTorch's dense and sparse products.

    python benchmarks/cuda.py build FOLDER          on any machine with `pip install 'pathc[cuda]'`
    python benchmarks/cuda.py run FOLDER            on a machine with a GPU; NumPy suffices, PyTorch for what is beside
    python benchmarks/cuda.py run FOLDER --check    compare only
    python benchmarks/cuda.py run FOLDER --sanitize compare under compute-sanitizer, memcheck and racecheck
    python benchmarks/cuda.py                       both, in a temporary folder

`build` writes binaries for sm_80 and sm_90, inputs and the interpreter's outputs with their bounds. `run` exits with 1
if an output is wrong and with 3 where there is no GPU. Times are minima over launches that are timed in a row.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from pathc.backends.tvm import driver, nvrtc
from pathc.backends.tvm.program import Program
from pathc.support.diagnostics import PathcError, render

NETS = {"square": ((1024, 1024, 1024, 1024), 16384), "pyramid": ((1024, 256, 256, 16), 16384),
        "mnist": ((784, 300, 300, 10), 16384), "wide": ((4096, 4096), 65536)}  # fmt: skip
BATCHES = (1, 256, 4096, 65536)
KINDS = {"one": (1, "", 0.0), "many": (64, "", 0.0), "tf32": (64, ",precision=tf32", 2.0**-11),
         "bf16": (64, ",precision=bf16", 2.0**-8), "fp16": (64, ",precision=fp16", 2.0**-11),
         "back": (64, ",gradients=true", 0.0)}  # fmt: skip
"""Batch to compile for, options, and what factors are rounded by."""
GRADIENT_ERROR = 1e-3
"""Of the norm: more than roundings, less than one wrong junction, and room for sums next to a kink."""
CHECKED = 300
MODEL = "pathc 1\nmodel net\n{stations}\npaths main : {visits} {{ count = {count} }}\n"


def model_text(units: tuple[int, ...], count: int) -> str:
    """A net of paths with rectified layers."""
    roles = ["input ", *["layer "] * (len(units) - 2), "output"]
    tails = ["", *[" : bias | relu"] * (len(units) - 2), " : bias"]
    lines = [f"{role} s{k}[{n}]{tail}" for k, (role, n, tail) in enumerate(zip(roles, units, tails, strict=True))]
    visits = " -> ".join(f"s{k}@{k}" for k in range(len(units)))
    return MODEL.format(stations="\n".join(lines), visits=visits, count=count)


def build(folder: Path) -> None:
    """Compile every net for single samples and for many, with inputs and what must come out."""
    from pathc.driver import Options, compile_model
    from pathc.ir.interp import backward, error_bound, forward
    from pathc.support.source import Source

    folder.mkdir(parents=True, exist_ok=True)
    for name, (units, count) in NETS.items():
        for kind, (batch, options, roundoff) in KINDS.items():
            stem = f"{name}-{kind}"
            for arch in nvrtc.ARCHITECTURES:
                source = Source(f"{name}.path", model_text(units, count))
                net = compile_model(source, f"cuda{{arch={arch}{options}}}", None, Options(batch=batch))
                for stage in ("json", "params", "cubin"):
                    data = net.executable.emit(stage)
                    path = folder / f"{stem}-{arch}.{stage}"
                    path.write_bytes(data.encode() if isinstance(data, str) else data)
            x = np.random.default_rng(1).normal(size=(CHECKED, units[0])).astype(np.float32)
            right = forward(net.graph, net.weights, x)
            factors = max(2 * roundoff, 2.0**-24)
            arrays = {"x": x, "right": right, "bound": error_bound(net.graph, net.weights, x, factors, roundoff)}
            if kind == "back":
                arrays["dy"] = np.random.default_rng(2).normal(size=right.shape).astype(np.float32)
                arrays["dx"] = backward(net.graph, net.weights, x, arrays["dy"])[0]
            np.savez(folder / f"{stem}.npz", **arrays)
            print(f"built: {stem}", flush=True)


def load(folder: Path, stem: str, gpu: driver.Device) -> driver.Loaded:
    """A program on the GPU, for the newest architecture that it runs."""
    from safetensors.numpy import load_file

    fitting = [arch for arch in nvrtc.ARCHITECTURES if arch[:-1] == gpu.arch[:-1] and arch <= gpu.arch]
    if not fitting:
        sys.exit(f"{gpu.name} is {gpu.arch}; binaries were made for {', '.join(nvrtc.ARCHITECTURES)}")
    path = folder / f"{stem}-{fitting[-1]}"
    program = Program.from_json(path.with_suffix(".json").read_text())
    return driver.Loaded(program, path.with_suffix(".cubin").read_bytes(), load_file(path.with_suffix(".params")), gpu)


def conforms(folder: Path, stem: str, gpu: driver.Device) -> bool:
    """Compare with the interpreter, at odd batches, too."""
    loaded = load(folder, stem, gpu)
    good = True
    with np.load(folder / f"{stem}.npz", allow_pickle=False) as expected:
        for batch in (1, 33, CHECKED):
            y = loaded(expected["x"][:batch])
            off = np.abs(y - expected["right"][:batch])
            share = float(np.max(off / np.maximum(expected["bound"][:batch], 1e-30)))
            good = good and share <= 1
            print(f"{stem:14} batch {batch:5}: largest error {share:.2f} of its bound", flush=True)
        if "dy" in expected:
            dx, _ = loaded.gradients(expected["x"], expected["dy"])
            off = float(np.linalg.norm(dx - expected["dx"]) / np.linalg.norm(expected["dx"]))
            good = good and off <= GRADIENT_ERROR
            print(f"{stem:14} gradients at inputs are off by {off:.1e} of their norm", flush=True)
    return good


def seconds(run: Callable[[], object], wait: Callable[[], object], least: float = 0.3) -> float:
    """The fastest of several series of calls, in seconds a call."""
    run()
    wait()
    best, calls, end = float("inf"), 1, time.perf_counter() + least
    while time.perf_counter() < end:
        start = time.perf_counter()
        for _ in range(calls):
            run()
        wait()
        spent = time.perf_counter() - start
        best = min(best, spent / calls)
        calls = max(calls, min(1000, int(calls * 0.02 / max(spent, 1e-6)) or 1))
    return best


def peers(units: tuple[int, ...], density: float, batch: int) -> dict[str, float]:
    """Seconds of PyTorch on a chain of matrices of the same sizes, each captured as a graph where it can be."""
    try:
        import torch
    except ModuleNotFoundError:
        return {}
    found: dict[str, float] = {}
    sizes = list(pairwise(units))

    def measure(name: str, dtype: Any, make: Callable[[int, int], Any], product: Callable[[Any, Any], Any]) -> None:
        x = torch.randn(batch, units[0], device="cuda", dtype=dtype)
        matrices = [make(n, m) for n, m in sizes]

        def run() -> Any:
            y = x
            for matrix in matrices:
                y = torch.relu(product(y, matrix))
            return y

        run()
        torch.cuda.synchronize()
        call: Callable[[], object] = run
        if "csr" not in name:
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                run()
            call = graph.replay
        found[name] = seconds(call, torch.cuda.synchronize)

    def dense(dtype: Any) -> Callable[[int, int], Any]:
        return lambda n, m: torch.randn(n, m, device="cuda", dtype=dtype)

    def csr(n: int, m: int) -> Any:
        mask = torch.rand(m, n, device="cuda") < density
        return (torch.randn(m, n, device="cuda") * mask).to_sparse_csr()

    torch.backends.cuda.matmul.allow_tf32 = False
    measure("dense f32", torch.float32, dense(torch.float32), lambda y, w: y @ w)
    torch.backends.cuda.matmul.allow_tf32 = True
    measure("dense tf32", torch.float32, dense(torch.float32), lambda y, w: y @ w)
    measure("dense bf16", torch.bfloat16, dense(torch.bfloat16), lambda y, w: y @ w)
    measure("csr", torch.float32, csr, lambda y, w: (w @ y.T).T)
    return found


def run(folder: Path, check: bool) -> int:
    """Compare, then measure; the exit code."""
    gpu = driver.device()
    print(f"{gpu.name}, {gpu.arch}")
    stems = [f"{name}-{kind}" for name in NETS for kind in KINDS]
    if [stem for stem in stems if not conforms(folder, stem, gpu)]:
        return 1
    if check:
        return 0
    for name, (units, count) in NETS.items():
        for batch in BATCHES:
            beside = peers(units, count / (units[0] * units[1]), batch)
            for kind in ("one",) if batch == 1 else ("many", "tf32", "bf16", "fp16", "back"):
                loaded = load(folder, f"{name}-{kind}", gpu)
                memory = loaded.room(batch)
                memory["x"].write(np.zeros((batch, units[0]), np.float32))
                if kind == "back":
                    memory["dy"].write(np.zeros((batch, units[-1]), np.float32))
                best = seconds(partial(loaded.launch, memory, batch, backward=kind == "back"), gpu.synchronize)
                print(
                    f"{name:8} {kind:5} batch {batch:6}: {best * 1e6:10.1f} us  {_moved(loaded, batch, best)}", end=""
                )
                print(
                    *("" if kind == "back" else f"  {peer} {t / best:6.2f}x" for peer, t in beside.items()), flush=True
                )
    return 0


def _moved(loaded: driver.Loaded, batch: int, spent: float) -> str:
    """How fast inputs, outputs and weights were moved, and which share of the memory's bandwidth that is."""
    program = loaded.program
    moved = 4 * batch * (program.inputs + program.outputs) + sum(a.nbytes for a in loaded.parameters.values())
    peak = loaded.device.bandwidth
    share = f" ({moved / spent / peak:4.0%} of the memory's)" if peak else ""
    return f"{moved / spent / 1e9:8.1f} GB/s ends{share}"


def sanitize(folder: Path) -> int:
    """The comparison under memcheck and racecheck."""
    tool = shutil.which("compute-sanitizer")
    if tool is None:
        print("compute-sanitizer is not installed; it is part of the CUDA toolkit", file=sys.stderr)
        return 3
    again = [sys.executable, __file__, "run", str(folder), "--check"]
    codes = [
        subprocess.run([tool, "--tool", kind, "--error-exitcode", "1", *again], check=False).returncode
        for kind in ("memcheck", "racecheck")
    ]
    return max(codes)


def main() -> int:
    """Build, run, or both; the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("what", nargs="?", choices=("build", "run"))
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--check", action="store_true", help="compare only")
    parser.add_argument("--sanitize", action="store_true", help="compare under compute-sanitizer")
    given = parser.parse_args()
    if given.what and given.folder is None:
        parser.error("name a folder")
    try:
        if given.what == "build":
            build(given.folder)
            return 0
        reason = driver.missing()
        if reason:
            print(f"nothing to run: {reason}", file=sys.stderr)
            return 3
        if given.what == "run":
            return sanitize(given.folder) if given.sanitize else run(given.folder, given.check)
        with tempfile.TemporaryDirectory() as folder:
            build(Path(folder))
            return run(Path(folder), given.check)
    except PathcError as mistake:
        print(*map(render, mistake.diagnostics), sep="\n", file=sys.stderr, end="")
        return mistake.exit_code


if __name__ == "__main__":
    sys.exit(main())
