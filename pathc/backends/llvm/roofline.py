"""What this machine can do at most, measured in this process: multiply-adds, streaming, low-precision dots."""

from __future__ import annotations

import ctypes
import math
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np

from pathc.backends.llvm.emit import I64, Function, module
from pathc.backends.llvm.jit import Library, compile_ir
from pathc.backends.llvm.machine import Machine, host
from pathc.backends.llvm.native import aligned
from pathc.backends.llvm.threads import pool
from pathc.backends.llvm.tiles import code

_REPEATS = 9
_SECONDS = 0.002
_LARGEST = 256 << 20
PRODUCTS: dict[code.Product, int] = {"tdpbsud": 64, "tdpbf16ps": 32}
"""Products of tiles, and the sources of a sample in each."""


@dataclass(frozen=True)
class Roofline:
    """Measured limits; rates are those of the fastest run, since other programs only slow one down.

    `fma_gflops` counts two operations a multiply-add, on one core; `fma_gflops_all` is the same on `threads` threads at
    once. `streams` pairs footprints in bytes with the GB/s at which one core reads them again and again. `vnni_gops`
    (u8 x s8) and `bf16_gflops` are those of vectors, `tile_gops` and `tile_gflops` the same of tiles; 0 where absent.
    `spread` is (largest - smallest) / median of the times behind `fma_gflops`: above 0.1 the machine is busy.
    """

    fma_gflops: float
    fma_gflops_all: float
    threads: int
    streams: tuple[tuple[int, float], ...]
    vnni_gops: float
    bf16_gflops: float
    spread: float
    tile_gops: float = 0.0
    tile_gflops: float = 0.0

    def stream_gbs(self, bytes_: float) -> float:
        """GB/s at which a footprint of this many bytes is read, interpolated between the measured ones."""
        first, last = self.streams[0], self.streams[-1]
        if bytes_ <= first[0] or bytes_ >= last[0]:
            return first[1] if bytes_ <= first[0] else last[1]
        sizes = [math.log(size) for size, _ in self.streams]
        return float(np.interp(math.log(bytes_), sizes, [rate for _, rate in self.streams]))

    def batch1_gflops(self, bytes_of_weights: float, bytes_per_weight: int = 4) -> float:
        """The limit at batch 1: two operations for every weight streamed, never above the FMA peak."""
        return min(2 / bytes_per_weight * self.stream_gbs(bytes_of_weights), self.fma_gflops)

    def integer_gops(self, weights: int, bytes_of_weights: int, threads: int = 1) -> float:
        """The limit of dot products of bytes, and of streaming the weights from so many bytes unless these are 0."""
        peak = max(self.vnni_gops, self.tile_gops) * min(threads, self.threads)
        if not bytes_of_weights:
            return peak
        return min(2 * weights / bytes_of_weights * self.stream_gbs(bytes_of_weights), peak)

    def half_gflops(self, threads: int = 1) -> float:
        """The limit of large batches of bfloat16."""
        return max(self.bf16_gflops, self.tile_gflops) * min(threads, self.threads)

    def batch_gflops(self, threads: int = 1) -> float:
        """The limit of large batches on this many threads."""
        return self.fma_gflops if threads == 1 else self.fma_gflops_all * min(threads, self.threads) / self.threads


@cache
def measure(machine: Machine | None = None, threads: int = 0) -> Roofline:
    """Measure the machine's limits with kernels made for it (about a second; the result is kept).

    `threads` 0 means one for every core. A machine that cannot run here is refused with E0604.
    """
    machine = machine or host()
    threads = threads or machine.cores
    library = compile_ir(_module(machine), machine)
    count = machine.registers - 6
    rate, spread = _peak(library, "fma", 2 * count * machine.width)
    together = _all_cores(library, threads, 2 * count * machine.width)
    points = (machine.l1 // 2, machine.l1 * 3, machine.l2 // 2, machine.l2 * 3, machine.l3 // 4)
    sizes = sorted({min(size, _LARGEST) // 4096 * 4096 for size in (*points, machine.l3 * 4)} - {0})
    memory = aligned(sizes[-1])
    memory[::4096] = 0
    streams = tuple((size, _stream(library, memory.ctypes.data, size)) for size in sizes)
    vnni = _peak(library, "vnni", 128 * count)[0] if machine.vnni else 0.0
    bf16 = _peak(library, "bf16", 64 * count)[0] if _wide_bf16(machine) else 0.0
    tiles = [_tile_peak(machine, product) for product in PRODUCTS]
    return Roofline(rate, together, threads, streams, vnni, bf16, spread, *tiles)


def _tile_peak(machine: Machine, product: code.Product) -> float:
    """Best rate of products of whole tiles, 0 without them."""
    if not code.tiled(machine, product):
        return 0.0
    f = Function(product, (("ptr", "rounds"), (I64, "task"), (I64, "worker")), internal=False)
    shape = code.TileShape(code.ROWS, code.LINE)
    places = f.assign(f"alloca [{shape.size} x i8], align 64", "p")
    for at, value in enumerate(shape.packed()):
        f.store("i8", str(value), f.offset(places, at, "i8"), 1)
    code.configure(f, places)
    with f.loop(f.load(I64, "%rounds", 8)):
        code.multiply(f, product)
    code.release(f)
    library = compile_ir(module([f], machine.triple), machine)
    return _peak(library, product, 4 * 2 * code.ROWS * PRODUCTS[product] * code.ROWS)[0]


def _peak(library: Library, name: str, operations: int) -> tuple[float, float]:
    """Best rate in 1e9 operations a second, and the spread of the times."""
    run = library.function(name, None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)
    rounds = np.array([1000], np.int64)
    times = _timed(lambda: run(rounds.ctypes.data, 0, 0), rounds)
    spread = (max(times) - min(times)) / statistics.median(times)
    return operations * int(rounds[0]) / min(times) / 1e9, spread


def _all_cores(library: Library, threads: int, operations: int) -> float:
    workers, address = pool(threads), library.address("fma")
    rounds = np.array([1000], np.int64)
    times = _timed(lambda: workers.run(address, rounds.ctypes.data, threads), rounds)
    return operations * int(rounds[0]) * threads / min(times) / 1e9


def _stream(library: Library, address: int, size: int) -> float:
    run = library.function("stream", None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)
    rounds = np.array([1], np.int64)
    times = _timed(lambda: run(address, size, int(rounds[0])), rounds)
    return size * int(rounds[0]) / min(times) / 1e9


def _timed(run: Callable[[], None], rounds: np.ndarray[tuple[int, ...], np.dtype[np.int64]]) -> list[float]:
    """Seconds of several runs, each made long enough by doubling the number of rounds."""
    while True:
        started = time.perf_counter()
        run()
        if time.perf_counter() - started > _SECONDS / 2:
            break
        rounds *= 2
    times: list[float] = []
    for _ in range(_REPEATS):
        started = time.perf_counter()
        run()
        times.append(time.perf_counter() - started)
    return times


def _wide_bf16(machine: Machine) -> bool:
    return "avx512bf16" in machine.has and machine.avx512


def _module(machine: Machine) -> str:
    lanes, count = machine.width, machine.registers - 6
    floats = f"<{lanes} x float>"
    parts = [
        _peak_kernel("fma", floats, floats, f"splat (float {_HALF})", count, _multiply_add(machine, floats)),
        _stream_kernel(machine),
    ]
    if machine.vnni:
        dot = "call <16 x i32> @llvm.x86.avx512.vpdpbusd.512(<16 x i32> {acc}, <64 x i8> {a}, <64 x i8> {b})"
        parts.append(_peak_kernel("vnni", "<16 x i32>", "<64 x i8>", "splat (i8 1)", count, [dot]))
        parts.append("declare <16 x i32> @llvm.x86.avx512.vpdpbusd.512(<16 x i32>, <64 x i8>, <64 x i8>)")
    if _wide_bf16(machine):
        dot = (
            "call <16 x float> @llvm.x86.avx512bf16.dpbf16ps.512"
            "(<16 x float> {acc}, <32 x bfloat> {a}, <32 x bfloat> {b})"
        )
        parts.append(_peak_kernel("bf16", "<16 x float>", "<32 x bfloat>", "zeroinitializer", count, [dot]))
        parts.append(
            "declare <16 x float> @llvm.x86.avx512bf16.dpbf16ps.512(<16 x float>, <32 x bfloat>, <32 x bfloat>)"
        )
    if machine.fma:
        parts.append(f"declare {floats} @llvm.fma.v{lanes}f32({floats}, {floats}, {floats})")
    return "\n".join(parts) + "\n"


_HALF = "0.5"


def _multiply_add(machine: Machine, floats: str) -> list[str]:
    if machine.fma:
        kind = f"@llvm.fma.v{machine.width}f32"
        return [f"call {floats} {kind}({floats} {{a}}, {floats} {{b}}, {floats} {{acc}})"]
    return [f"fmul {floats} {{a}}, {{b}}", f"fadd {floats} {{step}}, {{acc}}"]


def _peak_kernel(name: str, kind: str, operand: str, value: str, count: int, steps: list[str]) -> str:
    """`void name(ptr rounds, i64, i64)`: `count` independent accumulators, each fed once a round."""
    heads: list[str] = []
    body: list[str] = []
    for i in range(count):
        heads.append(f"  %c{i} = phi {kind} [ zeroinitializer, %entry ], [ %n{i}, %loop ]")
        for at, step in enumerate(steps):
            result = f"%n{i}" if at == len(steps) - 1 else f"%s{i}"
            body.append(f"  {result} = " + step.format(acc=f"%c{i}", a="%a", b="%b", step=f"%s{i}"))
    return f"""
define void @{name}(ptr %rounds, i64 %task, i64 %worker) {{
entry:
  %room = alloca {operand}, align 64
  store volatile {operand} {value}, ptr %room, align 64
  %a = load volatile {operand}, ptr %room, align 64
  %b = load volatile {operand}, ptr %room, align 64
  %count = load i64, ptr %rounds, align 8
  br label %loop
loop:
  %i = phi i64 [ 0, %entry ], [ %next, %loop ]
{chr(10).join(heads + body)}
  %next = add i64 %i, 1
  %more = icmp ult i64 %next, %count
  br i1 %more, label %loop, label %end
end:
  %sink = alloca [{count} x {kind}], align 64
{_sinks(kind, count)}
  ret void
}}
"""


def _stream_kernel(machine: Machine) -> str:
    """`void stream(ptr data, i64 bytes, i64 rounds)`: multiply-adds whose operand is memory; bytes in 4 KiB."""
    lanes, unroll = machine.width, 8
    kind = f"<{lanes} x float>"
    heads: list[str] = []
    body: list[str] = []
    for i in range(unroll):
        heads.append(f"  %c{i} = phi {kind} [ zeroinitializer, %again ], [ %n{i}, %loop ]")
        body.append(f"  %p{i} = getelementptr i8, ptr %base, i64 {i * lanes * 4}")
        body.append(f"  %v{i} = load {kind}, ptr %p{i}, align {lanes * 4}")
        for at, step in enumerate(_multiply_add(machine, kind)):
            result = f"%n{i}" if at == len(_multiply_add(machine, kind)) - 1 else f"%s{i}"
            body.append(f"  {result} = " + step.format(acc=f"%c{i}", a=f"%v{i}", b="%b", step=f"%s{i}"))
    return f"""
define void @stream(ptr %data, i64 %bytes, i64 %rounds) {{
entry:
  %sink = alloca [{unroll} x {kind}], align 64
  store volatile {kind} zeroinitializer, ptr %sink, align 64
  %b = load volatile {kind}, ptr %sink, align 64
  br label %again
again:
  %round = phi i64 [ 0, %entry ], [ %round1, %done ]
  br label %loop
loop:
  %at = phi i64 [ 0, %again ], [ %next, %loop ]
{chr(10).join(heads)}
  %base = getelementptr i8, ptr %data, i64 %at
{chr(10).join(body)}
  %next = add i64 %at, {unroll * lanes * 4}
  %more = icmp ult i64 %next, %bytes
  br i1 %more, label %loop, label %done
done:
{_sinks(kind, unroll)}
  %round1 = add i64 %round, 1
  %repeat = icmp ult i64 %round1, %rounds
  br i1 %repeat, label %again, label %end
end:
  ret void
}}
"""


def _sinks(kind: str, count: int) -> str:
    """Stores that keep the accumulators alive."""
    return "\n".join(
        f"  %k{i} = getelementptr {kind}, ptr %sink, i64 {i}\n  store volatile {kind} %n{i}, ptr %k{i}, align 16"
        for i in range(count)
    )
