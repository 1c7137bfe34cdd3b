"""Integer kernels beside the float32 kernels of the same nets, and beside the peak of u8 x s8 dot products.

    python benchmarks/integer.py [--units 1024,4096] [--fan-in 16,64] [--batch 1,256] [--seconds S]

Chains of three junctions of Sobol' paths with ReLU and a dense one to a few outputs, quantized with all scales
calibrated; one thread. Every net is held to the integer interpreter first, bit for bit. `faster` is the time of float32
over that of integers in the same run, `peak` the share of the multiply-adds a second that dot products of vectors alone
allow; products of tiles go beyond it.
"""

from __future__ import annotations

import argparse

import numpy as np
from _timing import in_turns, repeated

import pathc
from pathc.backends.llvm.executable import CpuExecutable
from pathc.backends.llvm.integer.executable import IntegerExecutable
from pathc.backends.llvm.machine import host
from pathc.backends.llvm.roofline import measure
from pathc.ir.compress.quantize import quantize
from pathc.ir.compress.tensors import Method, Settings
from pathc.ir.init import initial_weights
from pathc.support.source import Source

DEPTH = 4
OUTPUTS = 64
"""Units of a layer for each output."""
METHODS: tuple[Method, ...] = ("int8", "int4", "ternary")


def source(units: int, fan_in: int) -> Source:
    """A chain of layers of one size, a few outputs behind them."""
    stations = ["input s0", *(f"layer s{k}" for k in range(1, DEPTH)), f"output s{DEPTH}"]
    sizes = [units] * DEPTH + [units // OUTPUTS]
    functions = ["", *[" : relu"] * (DEPTH - 1), ""]
    lines = [f"{name}[{n}]{then}" for name, n, then in zip(stations, sizes, functions, strict=True)]
    chain = " -> ".join(f"s{k}@{k}" for k in range(DEPTH))
    paths = f"paths main : {chain} {{ count = {units * fan_in} }}"
    text = ["pathc 1", "model chain", *lines, paths, f"dense last : s{DEPTH - 1} -> s{DEPTH}"]
    return Source("chain.path", "\n".join(text) + "\n")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--units", default="1024,4096", help="units of each layer")
    parser.add_argument("--fan-in", default="16,64", help="paths for each unit")
    parser.add_argument("--batch", default="1,256", help="numbers of samples")
    parser.add_argument("--seconds", type=float, default=2.0, help="time for every line")
    options = parser.parse_args()
    peak = measure(host()).vnni_gops
    print(f"{'units':>6}{'fan-in':>8}{'batch':>7}  {'numbers':<9}{'us':>9}{'faster':>9}{'peak':>8}")
    for units in map(int, options.units.split(",")):
        for fan_in in map(int, options.fan_in.split(",")):
            for batch in map(int, options.batch.split(",")):
                _line(units, fan_in, batch, options.seconds, peak)


def _line(units: int, fan_in: int, batch: int, seconds: float, peak: float) -> None:
    """Measure float32 and all kinds of integers in turns."""
    graph = pathc.load(source(units, fan_in))
    weights = initial_weights(graph, seed=1)
    x = np.abs(np.random.default_rng(0).normal(size=(max(batch, 64), units))).astype(np.float32)
    floats = pathc.compile(graph, "llvm{threads=1}", weights=weights, batch=batch)
    assert isinstance(floats, CpuExecutable)
    given = np.ascontiguousarray(x[:batch])
    runs = {"float32": repeated(floats.bind(given).call)}
    for method in METHODS:
        made = quantize(graph, weights, Settings(method, per="unit"), x)
        target = "llvm{integers=true, threads=1}"
        net = pathc.compile(made.graph, target, weights=made.tensors)
        assert isinstance(net, IntegerExecutable)
        if not np.array_equal(net(x), net.integer_reference(x)):
            raise SystemExit(f"{method}: the kernels differ from the interpreter")
        runs[method] = repeated(net.bind(given).call)
    times = in_turns(runs, seconds)
    work = ((DEPTH - 1) * units * fan_in + units * (units // OUTPUTS)) * batch
    for name, best in times.items():
        share = f"{2e-9 * work / best / peak:8.0%}" if peak and name != "float32" else f"{'':8}"
        faster = times["float32"] / best
        print(f"{units:6}{fan_in:8}{batch:7}  {name:<9}{best * 1e6:9.2f}{faster:9.2f}{share}")


if __name__ == "__main__":
    main()
