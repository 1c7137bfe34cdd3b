"""Nets of bfloat16 beside float32, and beside a dense net of the same layers in PyTorch's bfloat16 where it is there.

    python benchmarks/halves.py [--batch 256] [--seconds S]

Products of tiles on a processor with AMX, dot products of vectors on one with AVX-512 BF16; one thread, samples first,
the fastest of runs in turns. Every net is held to the interpreter under its error bound first. `of peak` is the share
of the float32 multiply-adds a second that registers alone allow: beyond 100% no float32 kernel could follow.
"""

from __future__ import annotations

import argparse
import importlib.util
from collections.abc import Callable
from itertools import pairwise

import numpy as np
from _timing import in_turns, repeated

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
    print(f"{'net':<20}{'paths':>8}{'batch':>7}{'bf16, us':>10}{'of peak':>9}{'float32':>9}{'dense bf16':>12}")
    for shape, counts in NETS:
        for paths in counts:
            for batch in map(int, options.batch.split(",")):
                _line(shape, paths, batch, options.seconds, peak)


def _line(shape: str, paths: int, batch: int, seconds: float, peak: float) -> None:
    graph = pathc.load(source(shape, paths))
    weights = initial_weights(graph, seed=1)
    sizes = [int(n) for n in shape.split("-")]
    x = np.random.default_rng(0).normal(size=(batch, sizes[0])).astype(np.float32)
    runs: dict[str, Callable[[int], None]] = {}
    for name, target in (("bf16", "llvm{precision=bf16, threads=1}"), ("float32", "llvm{threads=1}")):
        compiled = compile_model(graph, target, weights)
        found = compare(compiled, x, compiled.executable(x))
        if not found.agrees:
            raise SystemExit(f"{name}: differs from the interpreter by {found.share:.3g} bounds")
        runs[name] = repeated(compiled.executable.bind(x).call)
    if importlib.util.find_spec("torch"):
        runs["dense"] = repeated(_dense(sizes, x))
    times = in_turns(runs, seconds)
    work = (len(sizes) - 2) * paths + sizes[-2] * sizes[-1]
    share = 2e-9 * work * batch / times["bf16"] / peak
    dense = f"{times['dense'] / times['bf16']:11.1f}x" if "dense" in times else f"{'':12}"
    faster = times["float32"] / times["bf16"]
    print(f"{shape:<20}{paths:8}{batch:7}{times['bf16'] * 1e6:10.1f}{share:9.0%}{faster:8.1f}x{dense}")


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
