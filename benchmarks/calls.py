"""What lies around a kernel: compiling it, finding it in the cache, calling it, and a second core.

    python benchmarks/calls.py [--seconds S]

Milliseconds of processor time a junction, for the two programs that serve one sample and many: `plan` is everything
before code generation (reading, checking, drawing paths, planning, packing weights), `cold` code generation, `cached`
the same from the object cache. `cores` is the time on one thread over the time on all at a batch of 256; both take
turns of half a second, so that threads wake up in theirs, and each counts with its fastest run.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from _timing import in_turns, repeated

import pathc
from pathc.backends.llvm.cache import Cache
from pathc.backends.llvm.jit import compile_ir
from pathc.support.source import Source

NETS = (
    ((1024, 1024), 16384),
    ((1024, 1024), 65536),
    ((784, 300, 300, 10), 4096),
    ((784, 300, 300, 10), 16384),
    ((1024, 256, 256, 16), 16384),
)
BATCH = 256
TRIES = 3


def model(sizes: tuple[int, ...], count: int) -> Source:
    """A chain of layers with ReLU between them."""
    stations = [f"input s0[{sizes[0]}]", *(f"layer s{k}[{n}] : relu" for k, n in enumerate(sizes[1:-1], start=1))]
    stations.append(f"output s{len(sizes) - 1}[{sizes[-1]}]")
    chain = " -> ".join(f"s{k}@{k}" for k in range(len(sizes)))
    lines = ["pathc 1", "model net", *stations, f"paths main : {chain} {{ count = {count} }}"]
    return Source("net.path", "\n".join(lines) + "\n")


def compiling(source: Source) -> tuple[float, float, float]:
    """Processor seconds to plan and write the code, of code generation, and of the same from the cache; medians."""
    plan, cold, cached = list[float](), list[float](), list[float]()
    for _ in range(TRIES):
        started = time.process_time()
        texts = [str(emitted(source, batch)) for batch in (1, BATCH)]
        plan.append(time.process_time() - started)
        with tempfile.TemporaryDirectory() as folder:
            for taken in (cold, cached):
                gc.collect()
                started = time.process_time()
                libraries = [compile_ir(text, store=Cache(Path(folder))) for text in texts]
                taken.append(time.process_time() - started)
                del libraries
    return statistics.median(plan), statistics.median(cold), statistics.median(cached)


def emitted(source: Source, batch: int) -> str | bytes:
    """The code for a batch."""
    executable: Any = pathc.compile(source, "llvm{threads=1}", batch=batch)
    return executable.emit("ll")


def calling(seconds: float) -> None:
    """Print what a call costs that computes next to nothing."""
    executable: Any = pathc.compile(model((16, 16), 16), "llvm{threads=1}")
    x, y = np.zeros((1, 16), np.float32), np.zeros((1, 16), np.float32)
    bound = executable.bind(x, y).call
    calls = {
        "bind(x, y).call()": repeated(bound),
        "executable(x, y)": repeated(lambda: executable(x, y)),
        "executable(x)": repeated(lambda: executable(x)),
    }
    for name, taken in in_turns(calls, seconds).items():
        print(f"{name:20} {1e9 * taken:6.0f} ns, a kernel of 16 weights included")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=2.0, help="time for every figure")
    options = parser.parse_args()
    calling(options.seconds)
    print(f"{'net':>26} {'plan ms':>9} {'cold ms':>9} {'cached ms':>10} {'cores':>7}")
    for sizes, count in NETS:
        source, junctions = model(sizes, count), len(sizes) - 1
        plan, cold, cached = (1e3 * seconds / junctions for seconds in compiling(source))
        x = np.random.default_rng(0).random((BATCH, sizes[0]), np.float32)
        both: dict[str, Any] = {target: pathc.compile(source, target) for target in ("llvm{threads=1}", "llvm")}
        calls = {target: repeated(executable.bind(x).call) for target, executable in both.items()}
        one, all_ = in_turns(calls, options.seconds, 2).values()
        name = "-".join(map(str, sizes))
        print(f"{f'{name}/{count}':>26} {plan:9.1f} {cold:9.1f} {cached:10.2f} {one / all_:6.2f}x", flush=True)


if __name__ == "__main__":
    main()
