"""Row kernels of 784-300-300-10, whose sizes are no powers of two, against scipy's CSR product.

    python benchmarks/general_kernels.py [--seconds S] [--cpu NAME] [--paths {sobol,random}]

Every line is measured in one go with its reference, so that ratios hold on a busy machine. Times are minima over
many short runs; kernels are called from a native loop, scipy from Python, as it is used. Rows name the form that
the cost model takes and, with --all, every other that fits. `net` chains the three junctions with ReLU between.
"""

from __future__ import annotations

import argparse
import ctypes
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy.sparse
from _timing import floats, in_turns, line
from numpy.typing import NDArray

from pathc.backends.llvm.column.common import PARAMETERS
from pathc.backends.llvm.emit import I64, Function, module
from pathc.backends.llvm.general.dense import Dense
from pathc.backends.llvm.general.gather import Gather
from pathc.backends.llvm.general.streamed import Streamed
from pathc.backends.llvm.general.windowed import Windowed
from pathc.backends.llvm.jit import Library, compile_ir
from pathc.backends.llvm.machine import Machine, machine
from pathc.backends.llvm.native import aligned
from pathc.backends.llvm.plan import Form, Junction, Layout, Step
from pathc.ir.generators.sobol import Sobol
from pathc.ir.types import Call

SIZES = (784, 300, 300, 10)
COUNTS = (1024, 4096, 16384)
FORMS: tuple[Form, ...] = (Windowed(), Streamed(), Gather(), Dense())
Floats = NDArray[np.float32]


@dataclass
class Kernel:
    """A step with its weights, and scipy's matrix."""

    form: Form
    step: Step
    values: Floats
    matrix: scipy.sparse.csr_matrix


def junction(number: int, count: int, kind: str) -> Junction:
    """Junction `number` of the net."""
    sizes = SIZES[number], SIZES[number + 1]
    if kind == "sobol":
        paths = Sobol((number, number + 1), sizes, count)
        edges = paths.units(0, 0, count), paths.units(1, 0, count)
    else:
        rng = np.random.default_rng(number)
        edges = rng.integers(sizes[0], size=count), rng.integers(sizes[1], size=count)
    names = f"s{number}", f"s{number + 1}"
    return Junction("main", number + 1, "paths", *names, *sizes, count, (), f"{number}", 1.0, lambda: edges)


def kernels(j: Junction, to: Machine, relu: bool) -> list[Kernel]:
    """All forms that fit, the cheapest by the cost model first."""
    layouts = Layout(-(-j.n_src // 16) * 16), Layout(-(-j.n_dst // 16) * 16)
    activation = Call("relu") if relu else None
    values = np.random.default_rng(1).standard_normal(j.count, np.float32)
    src, dst = j.edges()
    matrix = scipy.sparse.csr_matrix((values, (dst, src)), shape=(j.n_dst, j.n_src))
    matrix.sum_duplicates()
    found = [
        Kernel(form, Step(form.name, "row", j, *layouts, "zero", activation), values, matrix)
        for form in FORMS
        if not form.refusal(j, to)
    ]
    return sorted(found, key=lambda kernel: kernel.form.cycles(kernel.step, to, 1))


def compiled(chain: list[Kernel], to: Machine) -> tuple[Library, Callable[[int], None], float]:
    """A function that runs a chain of kernels a number of times, and its largest error against scipy."""
    scratch = [floats(1024) for _ in range(len(chain) + 1)]
    packed = [k.form.pack(k.step, to, {k.step.junction.tensor: k.values}) for k in chain]
    behind = np.cumsum([0] + [-(-p.nbytes // 64) * 64 for p in packed])
    weights = aligned(int(behind[-1]))
    for start, part in zip(behind, packed, strict=False):
        weights[start : start + part.nbytes] = part
    net = Function("net", (*PARAMETERS, (I64, "count")), internal=False)
    functions = [net]
    with net.loop("%count"):
        for at, kernel in enumerate(chain):
            functions.extend(kernel.form.emit(kernel.step, f"layer{at}", to, 1))
            places = [f"inttoptr (i64 {scratch[at + k].ctypes.data} to ptr)" for k in range(2)]
            given = [*places, net.offset("%weights", int(behind[at]), "i8"), "%bias"]
            net.call("void", f"layer{at}", [("ptr", value) for value in given], declare=False)
    library = compile_ir(module(functions, to.triple), to)
    entry = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 4, ctypes.c_int64)(library.address("net"))
    bias = floats(1024)
    x = np.random.default_rng(2).random(chain[0].step.junction.n_src, np.float32)
    scratch[0][: x.size] = x
    held = (scratch, weights, bias, library)

    def call(count: int) -> None:
        entry(scratch[0].ctypes.data, scratch[1].ctypes.data, weights.ctypes.data, bias.ctypes.data, count)

    call(1)
    right, result = reference(chain, x), held[0][len(chain)][: chain[-1].step.junction.n_dst]
    return library, call, float(np.abs(result - right).max() / np.abs(right).max())


def reference(chain: list[Kernel], x: Floats) -> Floats:
    """The same with scipy."""
    for kernel in chain:
        x = kernel.matrix @ x
        if kernel.step.activation is not None:
            x = np.maximum(x, 0)
    return x


def report(label: str, chain: list[Kernel], to: Machine, seconds: float) -> None:
    """Measure and print one line."""
    library, call, error = compiled(chain, to)
    x = np.random.default_rng(2).random(chain[0].step.junction.n_src, np.float32)

    def scipy_calls(count: int) -> None:
        for _ in range(count):
            reference(chain, x)

    found = in_turns({"own": call, "scipy": scipy_calls}, seconds)
    forms = " ".join(kernel.form.name for kernel in chain)
    work = 2.0 * sum(kernel.matrix.nnz for kernel in chain)
    shown = line(f"{label:<20} {forms}", found["own"], work, {"scipy": found["scipy"]})
    print(f"{shown}  error {error:.0e}  compiled in {library.seconds * 1e3:4.0f} ms", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=0.5, help="time for every line")
    parser.add_argument("--cpu", default="native", help="processor kernels are made for")
    parser.add_argument("--paths", choices=("sobol", "random"), default="sobol")
    parser.add_argument("--all", action="store_true", help="every form that fits")
    given = parser.parse_args()
    to = machine({"cpu": given.cpu})
    print(f"{to}, {given.paths} paths")
    for count in COUNTS:
        for number in range(3):
            j = junction(number, count, given.paths)
            for kernel in kernels(j, to, False)[: None if given.all else 1]:
                report(f"{j.n_src} -> {j.n_dst}, {count} paths", [kernel], to, given.seconds)
        chain = [kernels(junction(number, count, given.paths), to, number < 2)[0] for number in range(3)]
        report(f"net, {count} paths", chain, to, given.seconds)


if __name__ == "__main__":
    main()
