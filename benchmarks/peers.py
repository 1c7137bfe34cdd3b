"""Whole nets beside the sparse products of MKL, loops compiled by TVM and numba, and scipy.

    python benchmarks/peers.py [--seconds S] [--batch 1,32,256] [name part ...]

One thread, ReLU between layers. Peers get CSR matrices, equal edges added up, and arrays [units, batch] at cache lines;
pathc takes `x.T` and `y.T` of such arrays through `bind`, at batch 1 a row. `mkl` is MKL's inspector-executor, whose
handles are made once; `tvm` is a loop nest over CSR with vectors of samples, `tvm tiled` keeps the sums of a row in
registers. The time is that of pathc's kernel repeated in native code, as `mkl native`, `numba` and `tvm` are, and their
ratios are times over it. scipy and `mkl` are called from Python layer by layer; they, and `bf16`, which is
`llvm{precision=bf16}`, are compared with bound calls of pathc from Python. `*` marks the best peer. Every output is
held to the float64 interpreter first. Peers that are not installed are named and left out:
pip install mkl numba apache-tvm
"""

from __future__ import annotations

import argparse
import ctypes
from collections.abc import Callable

import numpy as np
from _peers import PEERS, Values, matrices_of, missing, stations
from _timing import floats, in_turns, line, repeated
from units_first import NETS as WIDE
from units_first import model

from pathc.agreement import compare, disagreement
from pathc.backends.llvm.emit import I64, Function, module
from pathc.backends.llvm.halves.plan import product_of
from pathc.backends.llvm.jit import compile_ir
from pathc.backends.llvm.machine import host
from pathc.backends.llvm.native import aligned
from pathc.backends.llvm.netplan import Orders
from pathc.driver import Compiled, compile_model

NETS = {name: WIDE[name] for name in ("1024-1024", "8 x 1024", "1024-256-256-16", "784-300-300-10")}
NETS["1000-2000-500"] = ((1000, 2000, 500), (16384,))
FROM_PYTHON = ("scipy", "mkl")


def arrays_of(net: Compiled, x: Values) -> tuple[Values, Values]:
    """Inputs [units, batch] as [batch, units], units first unless there is one sample, and a place for outputs."""
    batch, units = x.shape[1], net.graph.outputs[0].units
    if batch > 1:
        return x.T, floats(units * batch).reshape(units, batch).T
    row = floats(x.size).reshape(1, -1)
    row[:] = x.T
    return row, floats(units).reshape(1, -1)


def own(net: Compiled, x: Values) -> Callable[[], Values]:
    """A bound call of a compiled net for inputs [units, batch]; outputs are [batch, units]."""
    return net.executable.bind(*arrays_of(net, x)).call


def native(net: Compiled, x: Values) -> Callable[[int], Values]:
    """The kernel of a compiled net for inputs [units, batch], repeated in native code; outputs are [batch, units]."""
    batch = x.shape[1]
    orders: Orders = ("units", "units") if batch > 1 else ("rows", "rows")
    kernel = net.executable.kernel(batch, orders)
    given, made = arrays_of(net, x)
    names = ("kernel", "x", "y", "params", "scratch", "batch", "x_stride", "y_stride")
    kinds = ["ptr"] * 5 + [I64] * 3
    f = Function("repeat", [*zip(kinds, names, strict=True), (I64, "rounds")], internal=False)
    with f.loop("%rounds"):
        arguments = ", ".join(f"{kind} %{name}" for kind, name in zip(kinds[1:], names[1:], strict=True))
        f.line(f"call void %kernel({arguments})")
    repeat = compile_ir(module([f], host().triple), host()).function(
        "repeat", None, *[ctypes.c_void_p] * 5, *[ctypes.c_int64] * 4
    )
    scratch = aligned(max(kernel.scratch, 64))
    held = given, made, kernel.params, scratch
    places = kernel.library.address(kernel.name), *(array.ctypes.data for array in held)
    strides = (batch, batch) if batch > 1 else (given.shape[1], made.shape[1])
    kept = kernel, *held

    def run(rounds: int) -> Values:
        repeat(*places, batch, *strides, rounds)
        return kept[2]

    return run


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
    runs: dict[str, Callable[[int], Values]] = {}
    for target, compiled in targets.items():
        call = own(compiled, x)
        hold(compiled, x, target, call())
        runs[target] = repeated(call)
    runs["native"] = native(net, x)
    hold(net, x, "native", runs["native"](1))
    for peer in names:
        run = runs[peer] = PEERS[peer][1](matrices, stations(matrices, x))
        hold(net, x, peer, run(1).T)
    found = in_turns(runs, seconds)
    best, bound = found.pop("native"), found.pop("own")
    found = {peer: taken / (bound if peer in (*FROM_PYTHON, "bf16") else best) for peer, taken in found.items()}
    first = min((peer for peer in found if peer != "bf16"), key=lambda peer: found[peer], default="")
    shown = {f"{peer}{'*' if peer == first else ' '}": best * ratio for peer, ratio in found.items()}
    work = 2.0 * batch * sum(len(matrix.values) for matrix in matrices)
    print(line(f"{name}/{count}, batch {batch}", best, work, shown), flush=True)


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
