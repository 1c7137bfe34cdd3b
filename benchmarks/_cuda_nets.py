"""Nets that `cuda.py` compiles on any machine and runs where there is a GPU: binaries, inputs, what must come out."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from _cuda_peers import Chain, Convolution, Dense, Recurrent
from numpy.typing import NDArray
from safetensors.numpy import load_file

from pathc.backends.tvm import driver, nvrtc
from pathc.backends.tvm.program import Launch, Program
from pathc.ir.inputs import input_shape
from pathc.support.diagnostics import UnavailableError

if TYPE_CHECKING:
    from pathc.driver import Compiled
    from pathc.support.source import Source

Units = tuple[int, ...]
BATCHES = (1, 256, 4096, 65536)
KINDS = {"one": (1, "", 0.0), "many": (64, "", 0.0), "tf32": (64, ",precision=tf32", 2.0**-11),
         "bf16": (64, ",precision=bf16", 2.0**-8), "fp16": (64, ",precision=fp16", 2.0**-11),
         "back": (64, ",gradients=true", 0.0)}  # fmt: skip
"""Batch to compile for, options, and what factors are rounded by."""
ROUNDINGS = 4.0
"""How often more than the largest rounding of a factor a sum may be off, as a share of the norm, for every junction."""
_FLOAT32 = ("one", "many")
EMPTY = 'extern "C" __global__ void empty_kernel() {}\n'


@dataclass(frozen=True)
class Net:
    """A net, and what computes as many units or channels without paths.

    `samples` are compared, so few that what is built can be carried anywhere, each a sequence of so many `steps` if
    that is not 0. `batches` are measured.
    """

    text: str
    dense: Dense
    kinds: tuple[str, ...]
    batches: tuple[int, ...] = ()
    samples: int = 70
    steps: int = 0


def flat(units: Units, count: int, batches: tuple[int, ...] = BATCHES, samples: int = 70) -> Net:
    """A net of paths with rectified layers."""
    roles = ["input ", *["layer "] * (len(units) - 2), "output"]
    tails = ["", *[" : bias | relu"] * (len(units) - 2), " : bias"]
    lines = [f"{role} s{k}[{n}]{tail}" for k, (role, n, tail) in enumerate(zip(roles, units, tails, strict=True))]
    visits = " -> ".join(f"s{k}@{k}" for k in range(len(units)))
    lines.append(f"paths main : {visits} {{ count = {count} }}")
    return Net(_model(lines), Chain(units), tuple(KINDS), batches, samples)


def filters(channels: int, extent: int, count: int, batches: tuple[int, ...] = (), samples: int = 3) -> Net:
    """3x3 filters on so many rows and columns, as many channels out as in, drawn by paths."""
    lines = [
        f"input x[{channels}, {extent}x{extent}]",
        f"output y[{channels}] : conv(3x3, pad = same) | relu",
        f"paths main : x -> y {{ count = {count} }}",
    ]
    return Net(_model(lines), Convolution(channels, extent), _FLOAT32, batches, samples)


def cells(stage: str, units: int, batches: tuple[int, ...] = (), steps: int = 128, samples: int = 3) -> Net:
    """A recurrent cell behind paths of fan-in 16 from as many inputs."""
    lines = [
        f"input x[{units}]",
        f"output y[{units}] : {stage}",
        f"paths main : x -> y {{ count = {min(16, units) * units} }}",
    ]
    kind = stage.partition("(")[0].upper()
    return Net(_model(lines), Recurrent(kind, units, steps), _FLOAT32, batches, samples, steps)


def _model(lines: list[str]) -> str:
    return "\n".join(["pathc 1", "model net", *lines, ""])


NETS = {
    "square": flat((1024, 1024, 1024, 1024), 16384),
    "pyramid": flat((1024, 256, 256, 16), 16384),
    "mnist": flat((784, 300, 300, 10), 16384),
    "wide": flat((4096, 4096), 65536),
    "planes": filters(64, 56, 1024, (1, 64, 256), samples=2),
    "channels": filters(256, 14, 4096, (1, 64, 1024)),
    "lstm": cells("lstm(recur = diag)", 512, (1, 64, 1024)),
    "gru": cells("gru(recur = band(width = 21))", 512, (1, 64, 1024)),
    "rnn": cells("rnn(recur = grouped(groups = 4))", 512, (1, 64, 1024)),
    "odd": flat((301, 77, 1, 10), 999, ()),
    "thin": flat((64, 1024, 64), 1024, ()),
    "borders": filters(12, 11, 50, samples=20),
    "turns": cells("gru(recur = sparse(density = 9%), reset = before, bidirectional = sum)", 30, steps=7, samples=20),
}
"""The last ones are compared only."""


def build(folder: Path, names: tuple[str, ...], archs: Sequence[str]) -> None:
    """Compile nets for single samples and for many, with inputs, what must come out, and their edges for others."""
    from pathc.driver import Options, compile_model

    folder.mkdir(parents=True, exist_ok=True)
    for arch in archs:
        (folder / f"empty-{arch}.cubin").write_bytes(nvrtc.compile_text(EMPTY, arch).cubin)
    for name in names:
        net = NETS[name]
        source, weights = source_of(name), drawn(name)
        for kind in net.kinds:
            batch, options, _ = KINDS[kind]
            stem = f"{name}-{kind}"
            for arch in archs:
                compiled = compile_model(source, f"cuda{{arch={arch}{options}}}", weights, Options(batch=batch))
                for stage in ("json", "params", "cubin", "so"):
                    try:
                        data = compiled.executable.emit(stage)
                    except UnavailableError as reason:
                        print(f"not built: {stem}-{arch}.{stage}: {reason}", file=sys.stderr)
                        continue
                    path = folder / f"{stem}-{arch}.{stage}"
                    path.write_bytes(data.encode() if isinstance(data, str) else data)
            print(f"built: {stem}", flush=True)
        np.savez(folder / f"{name}.npz", **expected(net, compiled))
        np.savez_compressed(folder / f"{name}-work.npz", **work(net, compiled))


def source_of(name: str) -> Source:
    """The text of a net as the compiler takes it."""
    from pathc.support.source import Source

    return Source(f"{name}.path", NETS[name].text)


def drawn(name: str) -> dict[str, NDArray[Any]]:
    """Weights that are all different, as large as those a net begins with, and biases: no two can be exchanged."""
    from pathc.driver import compile_model

    begun, rng = compile_model(source_of(name), "reference").weights, np.random.default_rng(3)
    return {
        key: (rng.normal(size=array.shape) * (np.abs(array).mean() or 0.1)).astype(np.float32)
        for key, array in begun.items()
    }


def bound_of(kind: str) -> str:
    """The key of the bounds of a kind: those of kinds that round alike are the same."""
    return f"bound {KINDS[kind][2]}"


def expected(net: Net, compiled: Compiled) -> dict[str, NDArray[Any]]:
    """Inputs as rows, what the interpreter makes of them, and how far right kernels of every kind may be off.

    Where factors are rounded that is one number, a share of the norm: bounds of every output, which hold whatever the
    signs of the roundings are, grow beyond the outputs with the terms of a sum, and then nothing is wrong any more.
    """
    from pathc.ir.inputs import as_samples
    from pathc.ir.interp import backward, error_bound, forward

    graph, weights = compiled.graph, compiled.weights
    axes = (net.samples, net.steps) if net.steps else (net.samples,)
    units = math.prod(input_shape(graph))
    x = np.random.default_rng(1).normal(size=(*axes, units)).astype(np.float32)
    given = as_samples(graph, x)
    right = forward(graph, weights, given).reshape(*axes, -1)
    arrays: dict[str, NDArray[Any]] = {"x": x, "right": right.astype(np.float32)}
    stored = np.abs(right - arrays["right"])
    for kind in net.kinds:
        if roundoff := KINDS[kind][2]:
            depth = max(len(line.junctions) for line in graph.lines)
            arrays[bound_of(kind)] = np.array(ROUNDINGS * roundoff * math.sqrt(depth))
            continue
        bound = error_bound(graph, weights, given, 2.0**-24).reshape(right.shape)
        arrays[bound_of(kind)] = np.nextafter((bound + stored).astype(np.float32), np.float32(np.inf))
    if "back" in net.kinds:
        arrays["dy"] = np.random.default_rng(2).normal(size=right.shape).astype(np.float32)
        arrays["dx"] = backward(graph, weights, x, arrays["dy"])[0].astype(np.float32)
    return arrays


def work(net: Net, compiled: Compiled) -> dict[str, NDArray[Any]]:
    """Multiply-adds for a sample, or for a step of one, and the edges of a chain of matrices."""
    from pathc.bench.limits import Work
    from pathc.bench.network import edges_of

    found: dict[str, NDArray[Any]] = {"macs": np.array(Work.of(compiled).macs)}
    if isinstance(net.dense, Chain):
        line = compiled.graph.lines[0]
        edges = [edges_of(compiled.graph, line, number, compiled.weights) for number in line.junctions]
        found |= {f"{key}{at}": getattr(e, key) for at, e in enumerate(edges) for key in ("src", "dst", "weight")}
    return found


def fitting(gpu: driver.Device) -> str:
    """The newest architecture that can be built and that a GPU runs; ends the program if there is none."""
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
