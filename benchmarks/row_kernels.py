"""Row kernels of power-of-two layers against what the machine can stream and against scipy's CSR product.

    python benchmarks/row_kernels.py [--seconds S] [--rows R ...]

Every line is measured in one go with its references, so that the ratios hold on a busy machine: `roof` is a kernel
that only multiplies and adds the same bytes of weights in the same order, `scipy` a CSR matrix times the same rows.
Times are minima over many short runs, called from a native loop. `net` lines chain whole nets, natural order at
both ends, permutations included.
"""

from __future__ import annotations

import argparse
import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import scipy.sparse
from _timing import fastest, floats, line
from numpy.typing import NDArray

from pathc.backends.llvm.emit import I64, Function, module, vector
from pathc.backends.llvm.jit import compile_ir
from pathc.backends.llvm.machine import Machine, host
from pathc.backends.llvm.native import aligned
from pathc.backends.llvm.plan import Junction, Layout, Step
from pathc.backends.llvm.row.interleaved import SIGNATURE, Interleaved
from pathc.backends.llvm.row.layouts import choose, natural
from pathc.backends.llvm.row.relayout import relayout
from pathc.ir.blocks import find_blocks
from pathc.ir.generators.sobol import Sobol
from pathc.ir.gf2 import aligned_windows

LAYERS = ((256, 4096), (1024, 4096), (1024, 16384), (1024, 65536), (16384, 262144), (16384, 1048576))
NETS = ((8, 1024, 4096), (4, 1024, 16384))
FORM = Interleaved()


@dataclass
class Net:
    """Kernels of a chain of layers behind one function `net`, their parameters, and a CSR matrix a layer."""

    functions: list[Function]
    weights: NDArray[np.uint8]
    matrices: list[scipy.sparse.csr_matrix]
    scratch: NDArray[np.uint8]


def junction(number: int, units: int, count: int) -> Junction:
    """Sobol' paths from dimension `number` to the next."""
    paths = Sobol((number, number + 1), (units, units), count)
    source, target = paths.affine(0), paths.affine(1)
    assert source is not None
    assert target is not None
    blocks = tuple(find_blocks(source, target, at, length) for at, length in aligned_windows(count))

    @cache
    def edges() -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        return paths.units(0, 0, count), paths.units(1, 0, count)

    names = f"s{number}", f"s{number + 1}"
    return Junction("main", number + 1, "paths", *names, units, units, count, blocks, f"{number}", 1.0, edges)


def build(chain: Sequence[Junction], machine: Machine, rows: int, fixed: bool, weight_type: str) -> Net:
    """Kernels of a chain; `fixed`: natural order at both ends."""
    units = chain[0].n_src
    arrangement = choose(chain, [fixed, *[False] * (len(chain) - 1), fixed], machine)
    net = Function("net", SIGNATURE, internal=False)
    scratch = floats(2 * rows * units)
    functions, parts, matrices = [net], list[NDArray[np.uint8]](), list[scipy.sparse.csr_matrix]()
    plain = natural(units, machine)
    current, turn, behind = "%src", 0, 0

    def call(name: str, target: str, weights: str = "") -> str:
        given = [current, target, *([weights, "%bias"] if weights else [])]
        net.call("void", name, [("ptr", value) for value in given], declare=False)
        return target

    def other() -> str:
        nonlocal turn
        turn ^= 1
        return f"inttoptr (i64 {scratch.ctypes.data + 4 * turn * rows * units} to ptr)"

    def moved(source: Layout, target: Layout, name: str, to: str) -> str:
        functions.append(relayout(source, target, name, machine, rows))
        return call(name, to)

    if fixed and not arrangement.src[0].natural:
        current = moved(plain, arrangement.src[0], "first", other())
    rng = np.random.default_rng(1)
    for at, (j, src, dst) in enumerate(zip(chain, arrangement.src, arrangement.dst, strict=True)):
        step = Step(FORM.name, "row", j, src, dst, "zero", None, weight_type)
        values = rng.standard_normal(j.count, np.float32)
        parts.append(FORM.pack(step, machine, {j.tensor: values}))
        functions.extend(FORM.emit(step, f"layer{at}", machine, rows))
        done = at == len(chain) - 1 and (dst.natural or not fixed)
        current = call(f"layer{at}", "%dst" if done else other(), net.offset("%weights", behind, "i8"))
        behind += parts[-1].nbytes
        source, target = j.edges()
        matrices.append(scipy.sparse.csr_matrix((values, (target, source)), shape=(j.n_dst, j.n_src)))
    if fixed and not arrangement.dst[-1].natural:
        moved(arrangement.dst[-1], plain, "last", "%dst")
    weights = aligned(behind)
    weights[:] = np.concatenate(parts)
    return Net(functions, weights, matrices, scratch.view(np.uint8))


def roof(machine: Machine, size: int) -> Function:
    """A kernel that multiplies and adds `size` bytes of weights."""
    lanes, count = machine.width, machine.registers // 2
    f = Function("roof", SIGNATURE, internal=False)
    kind = vector(lanes)
    x = f.load(kind, "%src")
    with f.loop(size // 4, [(kind, "zeroinitializer")] * count, step=count * lanes) as loop:
        at = f.offset("%weights", loop.index)
        loop.following = [
            f.fma(lanes, f.load(kind, f.offset(at, k * lanes), 4 * lanes), x, value)
            for k, value in enumerate(loop.carried)
        ]
    for k, value in enumerate(loop.results):
        f.store(kind, value, f.offset("%dst", k * lanes))
    return f


def repeat() -> Function:
    """Call a kernel many times."""
    f = Function("repeat", (("ptr", "kernel"), *SIGNATURE, (I64, "times")), internal=False)
    with f.loop("%times"):
        f.line("call void %kernel(ptr %src, ptr %dst, ptr %weights, ptr %bias)")
    return f


def measure(
    label: str, chain: Sequence[Junction], machine: Machine, rows: int, fixed: bool, weight_type: str, seconds: float
) -> None:
    """Print one line."""
    net = build(chain, machine, rows, fixed, weight_type)
    library = compile_ir(module([*net.functions, roof(machine, net.weights.nbytes), repeat()], machine.triple), machine)
    signature = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 5, ctypes.c_int64)
    loop = signature(library.address("repeat"))
    units = chain[0].n_src
    x, y = floats(rows * units), floats(max(rows * units, 1024))
    x[:] = np.random.default_rng(2).standard_normal(x.size)
    pointers = x.ctypes.data, y.ctypes.data, net.weights.ctypes.data, x.ctypes.data

    def timed(name: str) -> float:
        return min(fastest(lambda n: loop(library.address(name), *pointers, n), seconds / 8) for _ in range(4))

    columns = np.ascontiguousarray(x.reshape(rows, units).T) if rows > 1 else x.copy()

    def by_scipy(times: int) -> None:
        for _ in range(times):
            value = columns
            for matrix in net.matrices:
                value = matrix @ value

    kernel, limit, peer = timed("net"), timed("roof"), fastest(by_scipy, seconds / 2)
    work = 2 * rows * sum(j.count for j in chain)
    shown = line(f"{label:26}{rows:3} rows  {weight_type}", kernel, work, {"scipy": peer})
    print(f"{shown}  {limit / kernel:.0%} of roof", flush=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=0.6, help="time for each line")
    parser.add_argument("--rows", type=int, nargs="+", default=[1, 2, 4])
    options = parser.parse_args()
    machine = host()
    print(f"{machine}; weights at batch 1 are streamed once a call, so `of roof` says how much else costs")
    for rows in options.rows:
        for units, count in LAYERS:
            measure(f"{units}/{count}", [junction(0, units, count)], machine, rows, False, "f32", options.seconds)
        for depth, units, count in NETS:
            chain = [junction(k, units, count) for k in range(depth)]
            measure(f"net {depth} x {units}/{count}", chain, machine, rows, True, "f32", options.seconds)
    for units, count in LAYERS[2:4]:
        measure(f"{units}/{count}", [junction(0, units, count)], machine, 1, False, "bf16", options.seconds)


if __name__ == "__main__":
    main()
