"""Nets of bfloat16 beside float32, scipy, and, where PyTorch is there, a dense net of the same layers in its bfloat16.

    python benchmarks/halves.py [--batch 256] [--seconds S]

Products of tiles on a processor with AMX, dot products of vectors on one with AVX-512 BF16; one thread, the fastest of
runs in turns, arrays with samples first, in the last columns and for scipy with units first. Every net is held to the
interpreter under its error bound first. `of peak` is the share of the float32 multiply-adds a second that registers
alone allow: beyond 100% no float32 kernel could follow.
"""

from __future__ import annotations

import argparse
import importlib.util
from collections.abc import Callable
from itertools import pairwise

import numpy as np
from _timing import floats, in_turns, repeated
from units_first import by_scipy

import pathc
from pathc.agreement import compare
from pathc.backends.llvm.machine import host
from pathc.backends.llvm.roofline import measure
from pathc.driver import compile_model
from pathc.ir.init import initial_weights
from pathc.support.source import Source

NETS = (
    ("784-300-300-10", (1024, 4096, 16384)),
    ("784-1024-1024-10", (4096, 16384)),
    ("1024-256-256-16", (1024, 4096, 16384)),
    ("1024-1024-1024-16", (16384, 65536)),
    ("4096-4096-4096-16", (65536, 262144)),
)


def source(shape: str, paths: int) -> Source:
    """A chain of layers with ReLU and a dense line in the end."""
    sizes = shape.split("-")
    last = len(sizes) - 1
    stations = [f"{'input' if k == 0 else 'output' if k == last else 'layer'} s{k}[{n}]" for k, n in enumerate(sizes)]
    stations[1:-1] = [f"{each} : bias | relu" for each in stations[1:-1]]
    chain = " -> ".join(f"s{k}@{k}" for k in range(last))
    lines = [f"paths main : {chain} {{ count = {paths} }}", f"dense last : s{last - 1} -> s{last}"]
    return Source("net.path", "\n".join(["pathc 1", "model net", *stations, *lines]) + "\n")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", default="64,256", help="numbers of samples")
    parser.add_argument("--seconds", type=float, default=2.0, help="time for every line")
    options = parser.parse_args()
    peak = measure(host(), 1).fma_gflops
    head = f"{'net':<18}{'paths':>7}{'batch':>6}{'bf16, us':>10}{'of peak':>9}{'float32':>9}{'scipy':>8}{'dense':>8}"
    print(f"{head}{'units first':>13}{'of peak':>9}{'float32':>9}")
    for shape, counts in NETS:
        for paths in counts:
            for batch in map(int, options.batch.split(",")):
                _line(shape, paths, batch, options.seconds, peak)


def _line(shape: str, paths: int, batch: int, seconds: float, peak: float) -> None:
    graph = pathc.load(source(shape, paths))
    weights = initial_weights(graph, seed=1)
    sizes = [int(n) for n in shape.split("-")]
    x = np.random.default_rng(0).normal(size=(batch, sizes[0])).astype(np.float32)
    turned = floats(x.size).reshape(sizes[0], batch)
    turned[:] = x.T
    runs: dict[str, Callable[[int], None]] = {}
    for name, target in (("bf16", "llvm{precision=bf16, threads=1}"), ("float32", "llvm{threads=1}")):
        compiled = compile_model(graph, target, weights=weights)
        executable = compiled.executable
        found = compare(compiled, x, executable(x))
        if not found.agrees:
            raise SystemExit(f"{name}: differs from the interpreter by {found.share:.3g} bounds")
        runs[name] = repeated(executable.bind(x).call)
        runs[f"{name} units"] = repeated(executable.bind(turned.T, floats(batch * sizes[-1]).reshape(-1, batch).T).call)
        if name == "float32":
            runs["scipy"] = repeated(by_scipy(executable, turned)[0])
    if importlib.util.find_spec("torch"):
        runs["dense"] = repeated(_dense(sizes, x))
    times = in_turns(runs, seconds)
    work = (len(sizes) - 2) * paths + sizes[-2] * sizes[-1]
    own, units = times["bf16"], times["bf16 units"]
    shares = [2e-9 * work * batch / best / peak for best in (own, units)]
    dense = f"{times['dense'] / own:7.1f}x" if "dense" in times else f"{'':8}"
    first = f"{shape:<18}{paths:7}{batch:6}{own * 1e6:10.1f}{shares[0]:9.0%}{times['float32'] / own:8.1f}x"
    behind = f"{units * 1e6:13.1f}{shares[1]:9.0%}{times['float32 units'] / units:8.1f}x"
    print(f"{first}{times['scipy'] / own:7.1f}x{dense}{behind}")


def _dense(sizes: list[int], x: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> Callable[[], object]:
    """The dense net of the same layers in PyTorch."""
    import torch

    torch.set_num_threads(1)
    layers: list[torch.nn.Module] = []
    for into, out in pairwise(sizes):
        layers += [torch.nn.Linear(into, out), torch.nn.ReLU()]
    net = torch.nn.Sequential(*layers[:-1]).to(torch.bfloat16)
    given = torch.from_numpy(x)
    with torch.inference_mode():
        return lambda: net(given.to(torch.bfloat16)).float()


if __name__ == "__main__":
    main()
