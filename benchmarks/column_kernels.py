"""How close batched kernels come to the multiply-adds of one core, and how far ahead of scipy's CSR they are.

    python benchmarks/column_kernels.py [name part ...]

Peak, kernels and scipy take turns in one run; every figure is the best of many short rounds. A kernel works tile
after tile of a batch that already lies in tiles, scipy on one array [units][batch].
"""

from __future__ import annotations

import ctypes
import sys
import time
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from _timing import peak
from scipy.sparse import coo_array

from pathc.backends.llvm.column.blocks import ColumnBlocks
from pathc.backends.llvm.column.dense import ColumnDense
from pathc.backends.llvm.column.ell import ColumnEll
from pathc.backends.llvm.column.fused import ColumnFused
from pathc.backends.llvm.column.tiling import tile_columns
from pathc.backends.llvm.column.unrolled import ColumnUnrolled
from pathc.backends.llvm.emit import Function, module
from pathc.backends.llvm.forms import tile_of
from pathc.backends.llvm.jit import compile_ir
from pathc.backends.llvm.junctions import junctions_of
from pathc.backends.llvm.machine import host
from pathc.backends.llvm.native import aligned
from pathc.backends.llvm.plan import Form, Junction, Layout, Step
from pathc.ir.graph import Graph, Line, Station, Visit
from pathc.ir.passes.structure import Structure
from pathc.ir.types import Call

SECONDS = 0.002
ROUNDS = 40
RELU = Call("relu")
POINTERS = (("ptr", "src"), ("ptr", "dst"), ("ptr", "weights"), ("ptr", "bias"))


def seconds(run, repeats: int, rounds: int = ROUNDS) -> float:
    """Best time of one of `repeats` calls that `run(repeats)` makes."""
    best = float("inf")
    for _ in range(rounds):
        start = time.perf_counter()
        run(repeats)
        best = min(best, (time.perf_counter() - start) / repeats)
    return best


def measure(form: Form, step: Step, batch: int, columns: int) -> tuple[float, float]:
    """Seconds for the batch, and seconds to compile."""
    on = host()
    rng = np.random.default_rng(1)
    first, last = step.junction, step.last
    weights = {
        j.tensor: rng.standard_normal(j.count).astype(np.float32) for j in (step.junction, step.fused) if j is not None
    }
    packed = form.pack(step, on, weights)
    buffers = [aligned(4 * first.n_src * batch), aligned(4 * last.n_dst * batch), aligned(packed.size + 1)]
    buffers.append(aligned(4 * (first.n_dst + last.n_dst + 64)))
    buffers[0].view(np.float32)[: first.n_src * batch] = rng.standard_normal(first.n_src * batch)
    buffers[2][: packed.size] = packed
    caller = Function("caller", (("i64", "count"), *POINTERS), internal=False)
    with caller.loop("%count"), caller.loop(batch // columns) as tiles:
        src, dst = (
            caller.offset(f"%{name}", caller.op("mul", "i64", tiles.index, str(units * columns)))
            for name, units in (("src", first.n_src), ("dst", last.n_dst))
        )
        caller.call("void", "kernel", [("ptr", p) for p in (src, dst, "%weights", "%bias")], declare=False)
    started = time.perf_counter()
    library = compile_ir(module([*form.emit(step, "kernel", on, columns), caller], on.triple), on)
    compiled = time.perf_counter() - started
    call = ctypes.CFUNCTYPE(None, ctypes.c_int64, *[ctypes.c_void_p] * 4)(library.address("caller"))
    pointers = [buffer.ctypes.data for buffer in buffers]
    once = seconds(lambda n: call(n, *pointers), 1, 5)
    return seconds(lambda n: call(n, *pointers), max(1, int(SECONDS / once))), compiled


def scipy_seconds(junctions: list[Junction], batch: int) -> float:
    """Seconds scipy takes for CSR matrices times a batch, one after another."""
    rng = np.random.default_rng(2)
    matrices = []
    for junction in junctions:
        src, dst = junction.edges()
        values = rng.standard_normal(junction.count).astype(np.float32)
        matrices.append(coo_array((values, (dst, src)), shape=(junction.n_dst, junction.n_src)).tocsr())
    x = rng.standard_normal((junctions[0].n_src, batch)).astype(np.float32)

    def run(repeats: int) -> None:
        for _ in range(repeats):
            value = x
            for matrix in matrices:
                value = matrix @ value

    once = seconds(run, 1, 3)
    return seconds(run, max(1, int(SECONDS / once)), 15)


def net(sizes: tuple[int, ...], paths: int, first: int = 0) -> tuple[Junction, ...]:
    """Junctions of a Sobol' net, dimensions from `first` on."""
    stations = tuple(Station(f"s{i}", "layer", (units,)) for i, units in enumerate(sizes))
    visits = tuple(Visit(station.name, first + i) for i, station in enumerate(stations))
    return junctions_of(Structure()(Graph("net", stations, (Line("main", "paths", visits, paths),))))


def single(form: Form, junction: Junction) -> Step:
    """A step with bias and relu."""
    layouts = Layout(junction.n_src), Layout(junction.n_dst)
    step = Step(form.name, "column", junction, *layouts, "bias", RELU)
    return replace(step, tile=tile_of(step, host()))


def cases() -> Iterator[tuple[str, Form, Step, list[Junction], bool]]:
    """Name, form, step, its junctions, and whether paths are scattered."""
    blocks, fused, ell, dense = ColumnBlocks(), ColumnFused(), ColumnEll(), ColumnDense()
    for paths in (4096, 16384, 65536):
        (junction,) = net((1024, 1024), paths, 1)
        yield f"1024-1024/{paths}", blocks, single(blocks, junction), [junction], False
    first, second = net((1024, 1024, 1024), 4096, 1)
    layouts = Layout(1024), Layout(1024)
    pair = Step(
        fused.name, "column", first, *layouts, "bias", RELU, fused=second, fused_init="bias", fused_activation=RELU
    )
    yield "1024-1024-1024/4096 fused", fused, pair, [first, second], False
    for paths in (1024, 4096, 16384):
        inner, hidden, last = net((784, 300, 300, 10), paths)
        for any_edges in (ell, ColumnUnrolled()):
            if any_edges.refusal(inner, host()):
                continue
            for name, junction in ((f"784-300/{paths}", inner), (f"300-300/{paths}", hidden)):
                yield f"{name} {any_edges.name}", any_edges, single(any_edges, junction), [junction], True
        step = single(dense, last)
        form: Form = dense
        if dense.refusal(last, host()):
            form, step = ell, single(ell, last)
        yield f"300-10/{paths} {form.name}", form, step, [last], True


def distinct(junctions: list[Junction]) -> int:
    """Edges that differ: what is counted as work."""
    return sum(len(np.unique(j.edges()[1] * j.n_src + j.edges()[0])) for j in junctions)


def main(wanted: list[str]) -> None:
    on = host()
    print(f"{on}: peak {peak():.0f} GFLOP/s of float32 multiply-adds on one core")
    print(
        f"{'junctions':34}{'batch':>6}{'tile':>6}{'us':>10}{'GFLOP/s':>9}{'of peak':>9}{'scipy':>8}{'compile ms':>12}"
    )
    for name, form, step, junctions, scattered in cases():
        if wanted and not any(part in name for part in wanted):
            continue
        work = distinct(junctions)
        for batch in (16, 64, 256):
            columns = tile_columns(on, (step.junction.n_src, step.last.n_dst), batch, scattered)
            before = peak()
            taken, compiled = measure(form, step, batch, columns)
            limit = max(before, peak())
            rate = 2e-9 * work * batch / taken
            other = scipy_seconds(junctions, batch)
            print(
                f"{name:34}{batch:6}{columns:6}{1e6 * taken:10.2f}{rate:9.1f}{rate / limit:9.0%}"
                f"{other / taken:7.1f}x{1e3 * compiled:12.0f}",
                flush=True,
            )


if __name__ == "__main__":
    main(sys.argv[1:])
