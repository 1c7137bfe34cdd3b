"""Measure what the runtime itself costs here: calls, fork and join, loading from the cache, the roofline.

Run it as `python -m pathc.backends.llvm.measure`.
"""

from __future__ import annotations

import ctypes
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from pathc.backends.llvm.cache import Cache
from pathc.backends.llvm.call import Kernel
from pathc.backends.llvm.jit import compile_ir
from pathc.backends.llvm.machine import host
from pathc.backends.llvm.native import runtime, runtime_ir
from pathc.backends.llvm.roofline import Roofline, measure
from pathc.backends.llvm.threads import pool

_EMPTY = "define void @empty(ptr %x, ptr %y, ptr %p, ptr %s, i64 %n, i64 %xs, i64 %ys) nounwind {\n  ret void\n}\n"
_JOBS = """
declare void @run(ptr, ptr, ptr, i64)
define internal void @task(ptr %context, i64 %task, i64 %worker) nounwind {
entry:
  %room = alloca i64, align 8
  br label %loop
loop:
  %i = phi i64 [ 0, %entry ], [ %n, %loop ]
  store volatile i64 %i, ptr %room, align 8
  %n = add i64 %i, 1
  %more = icmp ult i64 %n, 20000
  br i1 %more, label %loop, label %end
end:
  ret void
}
define void @jobs(ptr %pool, i64 %tasks, i64 %count) nounwind {
entry:
  br label %loop
loop:
  %i = phi i64 [ 0, %entry ], [ %n, %loop ]
  call void @run(ptr %pool, ptr @task, ptr null, i64 %tasks)
  %n = add i64 %i, 1
  %more = icmp ult i64 %n, %count
  br i1 %more, label %loop, label %end
end:
  ret void
}
"""


def nanoseconds(run: Callable[[], object], count: int = 10_000, repeats: int = 15) -> float:
    """Median time of one call, the loop around it included."""
    times: list[float] = []
    for _ in range(repeats):
        started = time.perf_counter()
        for _ in range(count):
            run()
        times.append((time.perf_counter() - started) / count * 1e9)
    return statistics.median(times)


def calls() -> dict[str, float]:
    """Nanoseconds of a call that computes nothing, by way of calling."""
    library = compile_ir(_EMPTY)
    x, y = np.zeros((1, 16), np.float32), np.zeros((1, 16), np.float32)
    small = Kernel(library, "empty", 16, 16, np.zeros(16, np.float32), threads=1)
    large = Kernel(library, "empty", 16, 16, np.zeros(16, np.float32), threads=1, work=1 << 20)
    return {
        "an empty Python function": nanoseconds(lambda: None),
        "bind(x, y).call()": nanoseconds(small.bind(x, y).call),
        "bind(x, y).call(), GIL released": nanoseconds(large.bind(x, y).call),
        "kernel(x, y)": nanoseconds(lambda: small(x, y)),
        "kernel(x)": nanoseconds(lambda: small(x)),
    }


def fork_join(threads: int, count: int = 20) -> float:
    """Nanoseconds by which a job of one task a thread, some microseconds each, takes longer than a single task."""
    library = compile_ir(_JOBS, imports={"run": runtime().address("pathc_pool_run")})
    jobs = library.function("jobs", None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)
    workers = pool(threads)

    def job(tasks: int) -> float:
        return nanoseconds(lambda: jobs(workers.address, tasks, count), 1, 51) / count

    return job(threads) - job(1)


def loading() -> tuple[float, float]:
    """Milliseconds to compile the runtime's own code, and to load it from the cache."""
    with tempfile.TemporaryDirectory() as folder:
        store, text = Cache(Path(folder)), runtime_ir() + "; a copy\n"
        first = compile_ir(text, store=store).seconds
        return first * 1e3, compile_ir(text, store=store).seconds * 1e3


def report(roof: Roofline) -> str:
    """The roofline as lines of text."""
    lines = [f"FMA peak {roof.fma_gflops:.0f} GFLOP/s, on {roof.threads} threads {roof.fma_gflops_all:.0f}"]
    lines += [f"streaming {size >> 10:>8} KiB {rate:7.1f} GB/s" for size, rate in roof.streams]
    lines.append(f"u8 x s8 dot {roof.vnni_gops:.0f} GOP/s, bf16 dot {roof.bf16_gflops:.0f} GFLOP/s")
    lines.append(f"tiles u8 x s8 {roof.tile_gops:.0f} GOP/s, bf16 {roof.tile_gflops:.0f} GFLOP/s")
    return "\n".join(lines)


def main() -> None:
    """Print all of it."""
    print(host())
    for name, cost in calls().items():
        print(f"{name:34}{cost:8.0f} ns")
    cores = max(2, host().cores)
    print(f"{f'fork and join on {cores} threads':34}{fork_join(cores):8.0f} ns")
    cold, warm = loading()
    print(f"compile the runtime {cold:.1f} ms, load it from the cache {warm:.1f} ms")
    print(report(measure()))


if __name__ == "__main__":
    main()
