"""Whole nets beside the sparse products of MKL, loops compiled by TVM and numba, and scipy.

    python benchmarks/peers.py [--seconds S] [--batch 1,32,256] [name part ...]

One thread, ReLU between layers. Peers get CSR matrices, equal edges added up, and arrays [units, batch] at cache lines;
pathc takes `x.T` and `y.T` of such arrays through `bind`, at batch 1 a row. `mkl` is MKL's inspector-executor, whose
handles are made once; `tvm` is a loop nest over CSR with vectors of samples, `tvm tiled` keeps the sums of a row in
registers. Calls from Python are part of the time of pathc (one a net), scipy and `mkl` (one a layer, one for ReLU);
`mkl native`, `numba` and `tvm` repeat the net in native code. Ratios are times over that of pathc, `*` marks the best
peer; `bf16` is `llvm{precision=bf16}`. Every output is held to the float64 interpreter first. Peers that are not
installed are named and left out: pip install mkl numba apache-tvm
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import numpy as np
from _peers import PEERS, Values, matrices_of, missing, stations
from _timing import floats, in_turns, line, repeated
from units_first import NETS as WIDE
from units_first import model

from pathc.agreement import compare, disagreement
from pathc.backends.llvm.halves.plan import product_of
from pathc.backends.llvm.machine import host
from pathc.driver import Compiled, compile_model

NETS = {name: WIDE[name] for name in ("1024-1024", "8 x 1024", "1024-256-256-16", "784-300-300-10")}
NETS["1000-2000-500"] = ((1000, 2000, 500), (16384,))


def own(net: Compiled, x: Values) -> Callable[[], Values]:
    """A bound call of a compiled net for inputs [units, batch]; outputs are [batch, units]."""
    batch, units = x.shape[1], net.graph.outputs[0].units
    if batch == 1:
        row = floats(x.size).reshape(1, -1)
        row[:] = x.T
        return net.executable.bind(row, floats(units).reshape(1, -1)).call
    return net.executable.bind(x.T, floats(units * batch).reshape(units, batch).T).call


def hold(net: Compiled, x: Values, name: str, outputs: Values) -> None:
    """Stop if outputs [batch, units] are not those of the net."""
    found = compare(net, np.ascontiguousarray(x.T), outputs)
    if not found.agrees:
        raise SystemExit(f"{name}: {disagreement(net, found)}")


def measure(name: str, sizes: tuple[int, ...], count: int, batch: int, names: list[str], seconds: float) -> None:
    """Print one line."""
    text = model(sizes, count)
    net = compile_model(text, "llvm{threads=1}")
    matrices = matrices_of(net)
    x = floats(sizes[0] * batch).reshape(sizes[0], batch)
    x[:] = np.random.default_rng(0).random(x.shape, np.float32)
    targets = {"own": net}
    if batch > 1 and product_of(host()):
        targets["bf16"] = compile_model(text, "llvm{precision=bf16, threads=1}")
    runs: dict[str, Callable[[int], object]] = {}
    for target, compiled in targets.items():
        call = own(compiled, x)
        hold(compiled, x, target, call())
        runs[target] = repeated(call)
    for peer in names:
        run = runs[peer] = PEERS[peer][1](matrices, stations(matrices, x))
        hold(net, x, peer, run(1).T)
    found = in_turns(runs, seconds)
    best = found.pop("own")
    halves = {"bf16": found.pop("bf16")} if "bf16" in found else {}
    first = min(found, key=lambda peer: found[peer], default="")
    shown = {f"{peer}{'*' if peer == first else ' '}": taken for peer, taken in found.items()}
    work = 2.0 * batch * sum(len(matrix.values) for matrix in matrices)
    print(line(f"{name}/{count}, batch {batch}", best, work, shown | halves), flush=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", nargs="*", help="part of a net's name")
    parser.add_argument("--seconds", type=float, default=4.0, help="time for every line")
    parser.add_argument("--batch", default="1,32,256", help="numbers of samples")
    options = parser.parse_args()
    absent = {peer: packages for peer in PEERS if (packages := missing(peer))}
    for peer, packages in absent.items():
        print(f"no {peer}: pip install {' '.join(packages)}")
    names = [peer for peer in PEERS if peer not in absent]
    for name, (sizes, counts) in NETS.items():
        for count in counts:
            for batch in map(int, options.batch.split(",")):
                if not options.name or any(part in f"{name}/{count}" for part in options.name):
                    measure(name, sizes, count, batch, names, options.seconds)


if __name__ == "__main__":
    main()
