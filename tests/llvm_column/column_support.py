"""Junctions to test with, plain NumPy in float64 as their meaning, and a way to run one kernel."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from pathc.backends.llvm.emit import Function, module
from pathc.backends.llvm.jit import compile_ir
from pathc.backends.llvm.machine import Machine, machine
from pathc.backends.llvm.plan import Form, Junction, Layout, Step
from pathc.ir.facts import Blocks
from pathc.ir.gf2 import apply_array, complement, span_array
from pathc.ir.types import Call

MACHINES = {width: machine({"cpu": cpu}) for width, cpu in ((16, "native"), (8, "avx2"), (4, "generic"))}
NATURAL = Layout(0)


def like(on: Machine, other: bool) -> Machine:
    """The machine itself, or one that differs in whether two multiply-adds of 512 bits start in a clock.

    Code for either runs on both, as half-precision arithmetic, by which they are told apart, is not used.
    """
    return replace(on, has=on.has ^ {"avx512fp16"}) if other else on


def aligned(values: np.ndarray, spare: int = 0) -> np.ndarray:
    """A copy that starts at a cache line, with `spare` further elements of memory behind it."""
    size = values.size + spare
    raw = np.zeros(size * values.itemsize + 64, np.uint8)
    start = -raw.ctypes.data % 64
    copy = raw[start : start + size * values.itemsize].view(values.dtype)
    copy[: values.size] = values.reshape(-1)
    return copy[: values.size].reshape(values.shape)


def independent(rng: np.random.Generator, bits: int) -> tuple[int, ...]:
    """A random basis of all vectors of that many bits."""
    found = complement([int(v) for v in rng.permutation(1 << bits)], ())
    assert len(found) == bits
    return found


def blocks_of(rng, src_bits, dst_bits, fan_in_bits, fan_out_bits, repeat_bits=0, start=0, number=1) -> Blocks:
    """A random window of blocks: the smaller side decides how many there are."""
    count = min(src_bits - fan_in_bits, dst_bits - fan_out_bits)
    src, dst = independent(rng, src_bits), independent(rng, dst_bits)
    return Blocks(
        line="main",
        junction=number,
        start=start,
        length=1 << (count + fan_in_bits + fan_out_bits + repeat_bits),
        src_basis=src[:fan_in_bits],
        dst_basis=dst[:fan_out_bits],
        src_reps=src[fan_in_bits : fan_in_bits + count],
        dst_reps=dst[fan_out_bits : fan_out_bits + count],
        src_shift=int(rng.integers(1 << src_bits)),
        dst_shift=int(rng.integers(1 << dst_bits)),
    )


def window_edges(blocks: Blocks, rng) -> tuple[np.ndarray, np.ndarray]:
    """Every edge of a window, each as often as it repeats, in random order."""
    i = rng.permutation(np.arange(blocks.length) % (1 << blocks.rank))
    inner, outer = len(blocks.src_basis), len(blocks.dst_basis)
    col, row, block = i & (blocks.fan_in - 1), i >> inner & (blocks.fan_out - 1), i >> (inner + outer)
    src = apply_array(blocks.src_basis, col) ^ apply_array(blocks.src_reps, block) ^ blocks.src_shift
    dst = apply_array(blocks.dst_basis, row) ^ apply_array(blocks.dst_reps, block) ^ blocks.dst_shift
    return src, dst


def paths(src, dst, n_src, n_dst, blocks: Sequence[Blocks] = (), number=1) -> Junction:
    """A junction of paths with these edges."""
    edges = np.asarray(src, np.int64), np.asarray(dst, np.int64)
    return Junction(
        "main", number, "paths", f"s{number - 1}", f"s{number}", n_src, n_dst, len(src), tuple(blocks),
        f"main.{number}", 1.0, lambda: edges,
    )  # fmt: skip


def block_junction(rng, windows: Sequence[Blocks], src_bits, dst_bits, number=1) -> Junction:
    """A junction made of windows of blocks."""
    edges = [window_edges(window, rng) for window in windows]
    src, dst = (np.concatenate(side) for side in zip(*edges, strict=True))
    return paths(src, dst, 1 << src_bits, 1 << dst_bits, windows, number)


def simple(kind, n_src, n_dst, scale=1.0) -> Junction:
    """A dense junction or a skip."""
    count = n_src * n_dst if kind == "dense" else n_src
    return Junction("main", 1, kind, "s0", "s1", n_src, n_dst, count, (), "main.1", scale, lambda: None)  # type: ignore[arg-type,return-value]


def step_of(form: Form, junction: Junction, init="zero", activation=None, weight_type="f32", **more) -> Step:
    """A step in natural order."""
    return Step(
        form.name, "column", junction, Layout(junction.n_src), Layout(junction.n_dst), init, activation, weight_type,
        **more,
    )  # fmt: skip


def rounded(weights: np.ndarray, weight_type: str) -> np.ndarray:
    """Weights as the kernel sees them, in float64: bf16 rounded to nearest even."""
    if weight_type == "f32":
        return weights.astype(np.float64)
    bits = weights.astype(np.float32).view(np.uint32).astype(np.uint64)
    bits = (bits + 0x7FFF + (bits >> 16 & 1)) >> 16 << 16
    return bits.astype(np.uint32).view(np.float32).astype(np.float64)


def matrix(junction: Junction, weights: np.ndarray, weight_type: str = "f32") -> np.ndarray:
    """The junction as a dense matrix in float64, repeated edges added before anything is rounded."""
    if junction.kind == "dense":
        return rounded(weights.reshape(junction.n_dst, junction.n_src), weight_type)
    result = np.zeros((junction.n_dst, junction.n_src))
    if junction.kind == "skip":
        np.fill_diagonal(result, junction.scale)
        return result
    src, dst = junction.edges()
    np.add.at(result, (dst, src), weights.astype(np.float64))
    return rounded(result.astype(np.float32), weight_type)


def run(functions: Sequence[Function], name: str, on: Machine, arguments: Sequence) -> None:
    """Compile functions and call one with arrays (by address) and integers."""
    for function in functions:
        function.internal = function.name != name
    library = compile_ir(module(functions, on.triple), on)
    values = [a.ctypes.data if isinstance(a, np.ndarray) else a for a in arguments]
    types = [ctypes.c_void_p if isinstance(a, np.ndarray) else ctypes.c_int64 for a in arguments]
    ctypes.CFUNCTYPE(None, *types)(library.address(name))(*values)


def run_step(form: Form, step: Step, on: Machine, x, weights, bias, before, columns, other=False) -> np.ndarray:
    """The destination [n_dst, columns] after one kernel; memory behind it must stay as it was."""
    n_dst = step.last.n_dst
    guarded = np.full((n_dst + 2) * columns, 12345.0, np.float32)
    guarded[: n_dst * columns] = before.reshape(-1)
    dst = aligned(guarded)
    packed = aligned(form.pack(step, on, weights))
    run(form.emit(step, "kernel", like(on, other), columns), "kernel", on, (aligned(x), dst, packed, aligned(bias)))
    assert np.all(dst[n_dst * columns :] == 12345.0)
    return dst[: n_dst * columns].reshape(n_dst, columns).copy()


def activated(name: str | None, values: np.ndarray) -> np.ndarray:
    """Elementwise activations in float64."""
    if name is None:
        return values
    return {"relu": lambda v: np.where(v < 0, 0.0, v), "abs": np.abs, "tanh": np.tanh}[name](values)


def all_units(bits: int) -> np.ndarray:
    """Every unit number of so many bits."""
    return span_array([1 << k for k in range(bits)])


def call(name):
    return None if name is None else Call(name)


def check(form, junction, width, columns, init, activation, weight_type, seed, dense=None, tile=()):
    """Run one kernel on random numbers and compare within a bound from the fan-in."""
    rng = np.random.default_rng(seed)
    on = MACHINES[width]
    assert form.refusal(junction, on) == ""
    weights = rng.standard_normal(junction.count).astype(np.float32)
    x = rng.standard_normal((junction.n_src, columns)).astype(np.float32)
    bias = np.zeros(junction.n_dst + 16, np.float32)
    bias[: junction.n_dst] = rng.standard_normal(junction.n_dst)
    before = rng.standard_normal((junction.n_dst, columns)).astype(np.float32)
    step = replace(step_of(form, junction, init, call(activation), weight_type), tile=tile)
    got = run_step(form, step, on, x, {junction.tensor: weights}, bias, before, columns, seed % 2 == 1)
    exact = matrix(junction, weights, weight_type) if dense is None else dense(weights)
    start = {"zero": np.zeros_like(before), "bias": bias[: junction.n_dst, None], "add": before}[init]
    want = activated(activation, exact @ x.astype(np.float64) + start)
    fan_in = np.count_nonzero(exact, axis=1)[:, None] + 8
    bound = fan_in * np.finfo(np.float32).eps * (np.abs(exact) @ np.abs(x) + np.abs(start)) + 4e-7
    assert np.all(np.abs(got - want) <= bound)
