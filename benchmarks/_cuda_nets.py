"""Nets that `cuda.py` compiles on any machine and runs where there is a GPU: binaries, inputs, what must come out."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from pathc.backends.tvm import driver, nvrtc
from pathc.backends.tvm.program import Launch, Program
from pathc.support.diagnostics import UnavailableError

Units = tuple[int, ...]
MEASURED: dict[str, tuple[Units, int]] = {
    "square": ((1024, 1024, 1024, 1024), 16384),
    "pyramid": ((1024, 256, 256, 16), 16384),
    "mnist": ((784, 300, 300, 10), 16384),
    "wide": ((4096, 4096), 65536),
}
"""Units of the layers, and paths."""
CHECKED_ONLY: dict[str, tuple[Units, int]] = {"odd": ((301, 77, 1, 10), 999), "thin": ((64, 1024, 64), 1024)}
NETS = MEASURED | CHECKED_ONLY
BATCHES = (1, 256, 4096, 65536)
KINDS = {"one": (1, "", 0.0), "many": (64, "", 0.0), "tf32": (64, ",precision=tf32", 2.0**-11),
         "bf16": (64, ",precision=bf16", 2.0**-8), "fp16": (64, ",precision=fp16", 2.0**-11),
         "back": (64, ",gradients=true", 0.0)}  # fmt: skip
"""Batch to compile for, options, and what factors are rounded by."""
SAMPLES = 300
"""Samples whose outputs are compared."""
MODEL = "pathc 1\nmodel net\n{stations}\npaths main : {visits} {{ count = {count} }}\n"
EMPTY = 'extern "C" __global__ void empty_kernel() {}\n'


def model_text(units: Units, count: int) -> str:
    """A net of paths with rectified layers."""
    roles = ["input ", *["layer "] * (len(units) - 2), "output"]
    tails = ["", *[" : bias | relu"] * (len(units) - 2), " : bias"]
    lines = [f"{role} s{k}[{n}]{tail}" for k, (role, n, tail) in enumerate(zip(roles, units, tails, strict=True))]
    visits = " -> ".join(f"s{k}@{k}" for k in range(len(units)))
    return MODEL.format(stations="\n".join(lines), visits=visits, count=count)


def build(folder: Path, names: tuple[str, ...]) -> None:
    """Compile nets for single samples and for many, with inputs, what must come out, and their edges for others."""
    from pathc.bench.network import edges_of
    from pathc.driver import Options, compile_model
    from pathc.ir.interp import backward, error_bound, forward
    from pathc.support.source import Source

    folder.mkdir(parents=True, exist_ok=True)
    for arch in nvrtc.ARCHITECTURES:
        (folder / f"empty-{arch}.cubin").write_bytes(nvrtc.compile_text(EMPTY, arch).cubin)
    for name in names:
        units, count = NETS[name]
        for kind, (batch, options, roundoff) in KINDS.items():
            stem = f"{name}-{kind}"
            for arch in nvrtc.ARCHITECTURES:
                source = Source(f"{name}.path", model_text(units, count))
                net = compile_model(source, f"cuda{{arch={arch}{options}}}", None, Options(batch=batch))
                for stage in ("json", "params", "cubin", "so"):
                    try:
                        data = net.executable.emit(stage)
                    except UnavailableError as reason:
                        print(f"not built: {stem}-{arch}.{stage}: {reason}", file=sys.stderr)
                        continue
                    path = folder / f"{stem}-{arch}.{stage}"
                    path.write_bytes(data.encode() if isinstance(data, str) else data)
            x = np.random.default_rng(1).normal(size=(SAMPLES, units[0])).astype(np.float32)
            right = forward(net.graph, net.weights, x)
            factors = max(2 * roundoff, 2.0**-24)
            arrays = {"x": x, "right": right, "bound": error_bound(net.graph, net.weights, x, factors, roundoff)}
            if kind == "back":
                arrays["dy"] = np.random.default_rng(2).normal(size=right.shape).astype(np.float32)
                arrays["dx"] = backward(net.graph, net.weights, x, arrays["dy"])[0]
            np.savez(folder / f"{stem}.npz", **arrays)
            print(f"built: {stem}", flush=True)
        line = net.graph.lines[0]
        edges = [edges_of(net.graph, line, number, net.weights) for number in line.junctions]
        fields = {f"{field}{at}": getattr(e, field) for at, e in enumerate(edges) for field in ("src", "dst", "weight")}
        np.savez(folder / f"{name}-edges.npz", **fields)


def fitting(gpu: driver.Device) -> str:
    """The newest architecture that was built and that a GPU runs; ends the program if there is none."""
    found = [arch for arch in nvrtc.ARCHITECTURES if arch[:-1] == gpu.arch[:-1] and arch <= gpu.arch]
    if not found:
        sys.exit(f"{gpu.name} is {gpu.arch}; binaries were made for {', '.join(nvrtc.ARCHITECTURES)}")
    return found[-1]


def load(folder: Path, stem: str, gpu: driver.Device) -> driver.Loaded:
    """A program on the GPU."""
    path = folder / f"{stem}-{fitting(gpu)}"
    program = Program.from_json(path.with_suffix(".json").read_text())
    return driver.Loaded(program, path.with_suffix(".cubin").read_bytes(), load_file(path.with_suffix(".params")), gpu)


def empty(folder: Path, gpu: driver.Device) -> driver.Loaded:
    """A kernel that does nothing: what a launch takes by itself."""
    launch = Launch("empty_kernel", ("1", "1", "1"), (1, 1, 1), 0, ())
    code = (folder / f"empty-{fitting(gpu)}.cubin").read_bytes()
    return driver.Loaded(Program("empty", "", 1, 1, 1, (launch,)), code, {}, gpu)
