"""Batches whose arrays have units first, beside samples first, scipy, and a mere copy of what comes in and goes out.

    python benchmarks/units_first.py [--seconds S] [--batch 32,256] [name part ...]

One thread, ReLU between layers. `rows` is the same net on arrays with samples first; scipy multiplies CSR matrices by
[units, batch]; `copy` moves as many bytes as the net reads and writes, which no program can be faster than if its data
lies where these arrays lie. `of peak` is the share of the multiply-adds of one core, each distinct edge counted once.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.sparse
from _timing import floats, in_turns, line, peak, repeated

import pathc
from pathc.backends.llvm.junctions import junctions_of
from pathc.support.source import Source

NETS = {
    "1024-1024": ((1024, 1024), (4096, 16384, 65536)),
    "8 x 1024": ((1024,) * 9, (4096,)),
    "1024-256-256-16": ((1024, 256, 256, 16), (4096, 16384)),
    "784-300-300-10": ((784, 300, 300, 10), (1024, 4096, 16384)),
    "784-1024-1024-10": ((784, 1024, 1024, 10), (4096, 16384)),
}


def model(sizes: tuple[int, ...], count: int) -> Source:
    """A chain of layers with ReLU between them."""
    last = len(sizes) - 1
    stations = [f"input s0[{sizes[0]}]", *(f"layer s{k}[{sizes[k]}] : relu" for k in range(1, last))]
    chain = " -> ".join(f"s{k}@{k}" for k in range(len(sizes)))
    lines = ["pathc 1", "model net", *stations, f"output s{last}[{sizes[-1]}]"]
    return Source("net.path", "\n".join([*lines, f"paths main : {chain} {{ count = {count} }}", ""]))


def by_scipy(executable: Any, x: np.ndarray) -> tuple[Callable[[], np.ndarray], int]:
    """The same net by scipy, and its distinct edges."""
    matrices = []
    for junction in junctions_of(executable.graph):
        weights = executable.weights[junction.tensor]
        if junction.kind == "dense":
            matrices.append(scipy.sparse.csr_matrix(weights))
            continue
        src, dst = junction.edges()
        matrix = scipy.sparse.csr_matrix((weights, (dst, src)), shape=(junction.n_dst, junction.n_src))
        matrix.sum_duplicates()
        matrices.append(matrix)

    def run() -> np.ndarray:
        value = matrices[0] @ x
        for matrix in matrices[1:]:
            value = matrix @ np.maximum(value, 0, out=value)
        return value

    return run, sum(matrix.nnz for matrix in matrices)


def measure(name: str, sizes: tuple[int, ...], count: int, batch: int, seconds: float) -> None:
    """Print one line."""
    executable: Any = pathc.compile(model(sizes, count), "llvm{threads=1}")
    x, y = (floats(n * batch).reshape(n, batch) for n in (sizes[0], sizes[-1]))
    x[:] = np.random.default_rng(0).random(x.shape, np.float32)
    rows, out = (floats(n * batch).reshape(batch, n) for n in (sizes[0], sizes[-1]))
    rows[:] = x.T
    peer, edges = by_scipy(executable, x)
    own = executable.bind(x.T, y.T).call
    np.testing.assert_allclose(own(), peer().T, rtol=1e-3, atol=1e-3 * np.abs(peer()).max())
    half = (x.size + y.size) // 2
    here, there = floats(half), floats(half)
    runs = {
        "own": repeated(own),
        "rows": repeated(executable.bind(rows, out).call),
        "scipy": repeated(peer),
        "copy": repeated(lambda: np.copyto(there, here)),
    }
    found, limit = in_turns(runs, seconds), peak()
    best, work = found.pop("own"), 2.0 * edges * batch
    shown = line(f"{name}/{count}, batch {batch}", best, work, found)
    print(f"{shown}  {1e-9 * work / best / limit:.0%} of peak", flush=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", nargs="*", help="part of a net's name")
    parser.add_argument("--seconds", type=float, default=1.0, help="time for every line")
    parser.add_argument("--batch", default="32,256", help="numbers of samples")
    options = parser.parse_args()
    for name, (sizes, counts) in NETS.items():
        for count in counts:
            for batch in map(int, options.batch.split(",")):
                if not options.name or any(part in f"{name}/{count}" for part in options.name):
                    measure(name, sizes, count, batch, options.seconds)


if __name__ == "__main__":
    main()
