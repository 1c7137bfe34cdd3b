"""What the benchmarks share: aligned memory, the fastest run, the peak of one core."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from pathc.backends.llvm.emit import Function, module
from pathc.backends.llvm.jit import compile_ir
from pathc.backends.llvm.machine import host
from pathc.backends.llvm.native import aligned

_SUMS = 12
_ROUNDS = 50_000
_SHORT = 2e-4
"""Seconds of a run that the clock measures well."""


def floats(count: int) -> NDArray[np.float32]:
    """Zeros at the start of a cache line."""
    return aligned(4 * count).view(np.float32)


def fastest(run: Callable[[int], object], seconds: float) -> float:
    """Seconds of one round of `run(rounds)`: the minimum over short runs."""
    rounds, best, end = 1, float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        run(rounds)
        took = time.perf_counter() - start
        if took < _SHORT:
            rounds *= 2
        else:
            best = min(best, took / rounds)
    return best


def in_turns(runs: dict[str, Callable[[int], object]], seconds: float, turns: int = 4) -> dict[str, float]:
    """`fastest` of each, all of them taking turns, so that a slow spell of the machine hits all."""
    best = dict.fromkeys(runs, float("inf"))
    for _ in range(turns):
        for name, run in runs.items():
            best[name] = min(best[name], fastest(run, seconds / turns / len(runs)))
    return best


def repeated(call: Callable[[], object]) -> Callable[[int], None]:
    """A function that makes so many calls."""

    def run(rounds: int) -> None:
        for _ in range(rounds):
            call()

    return run


def peak_call() -> tuple[Callable[[], None], float]:
    """A call that does nothing but multiply-adds from registers, and how many flop it does."""
    on = host()
    f = Function("peak", (("ptr", "data"), ("i64", "count")), internal=False)
    kind = f"<{on.width} x float>"
    factor = f.load(kind, "%data")
    with f.loop("%count", [(kind, factor)] * _SUMS) as loop:
        loop.following = [f.fma(on.width, value, factor, factor) for value in loop.carried]
    total = loop.results[0]
    for value in loop.results[1:]:
        total = f.op("fadd", kind, total, value)
    f.store(kind, total, "%data")
    library = compile_ir(module([f], on.triple), on)
    call = library.function("peak", None, ctypes.c_void_p, ctypes.c_int64)
    data = aligned(256)
    return lambda: call(data.ctypes.data, _ROUNDS), 2.0 * _SUMS * on.width * _ROUNDS


def peak(seconds: float = 0.05) -> float:
    """GFLOP/s of multiply-adds from registers on one core."""
    call, flop = peak_call()
    return 1e-9 * flop / fastest(repeated(call), seconds)


def line(label: str, best: float, work: float, others: dict[str, float]) -> str:
    """A line of a table: time, GFLOP/s for a work in flop, and how many times as long the others take."""
    shown = "".join(f"{taken / best:7.1f}x {name}" for name, taken in others.items())
    return f"{label:<46}{1e6 * best:10.3f} us{1e-9 * work / best:8.1f} GF{shown}"
