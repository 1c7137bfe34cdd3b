"""Run one row kernel on arrays, and what it should have computed, in float64."""

from __future__ import annotations

import ctypes
from functools import cache

import numpy as np

from pathc.backends.llvm.emit import module
from pathc.backends.llvm.jit import compile_ir
from pathc.backends.llvm.machine import host, machine
from pathc.backends.llvm.plan import Junction, Layout, Step

MACHINES = ("native", "avx2", "sse")


@cache
def machine_of(name):
    """A machine that this host can run, or the host itself."""
    found = host() if name == "native" else machine({"cpu": name})
    return found if found.runs_here else host()


def junction_of(n_src, n_dst, src, dst, kind="paths", scale=1.0):
    src, dst = np.asarray(src, np.int64), np.asarray(dst, np.int64)
    count = {"paths": src.size, "dense": n_src * n_dst, "skip": n_src}[kind]
    return Junction("main", 1, kind, "a", "b", n_src, n_dst, count, (), "main.1", scale, lambda: (src, dst))


def step_of(form, junction, init="zero", activation=None, weight_type="f32", tile=()):
    layouts = Layout(-(-junction.n_src // 16) * 16), Layout(-(-junction.n_dst // 16) * 16)
    return Step(form.name, "row", junction, *layouts, init, activation, weight_type, tile=tile)


def aligned(array):
    """A copy at a multiple of 64 bytes."""
    data = np.ascontiguousarray(array)
    raw = np.zeros(data.nbytes + 128, np.uint8)
    start = -raw.ctypes.data % 64
    copy = raw[start : start + data.nbytes].view(data.dtype).reshape(data.shape)
    copy[...] = data
    return copy


def compiled(functions, name, to):
    """The library and a callable that takes arrays."""
    functions[0].internal = False
    library = compile_ir(module(functions, to.triple), to)
    address = library.address(name)

    def call(*arrays):
        kinds = [ctypes.c_void_p if isinstance(a, np.ndarray) else ctypes.c_int64 for a in arrays]
        values = [a.ctypes.data if isinstance(a, np.ndarray) else a for a in arrays]
        ctypes.CFUNCTYPE(None, *kinds)(address)(*values)

    return library, call


def run_step(form, step, weights, x, before=None, bias=None, to=None, rows=1):
    """Destination rows [rows, size], of which the part behind the units is included."""
    to = to or host()
    assert not form.refusal(step.junction, to)
    functions = form.emit(step, "kernel", to, rows)
    library, call = compiled(functions, "kernel", to)
    source = np.zeros((rows, step.src_layout.size), np.float32)
    source[:, : step.junction.n_src] = x
    target = np.full((rows, step.dst_layout.size), 7.0, np.float32)
    if before is not None:
        target[:, : step.junction.n_dst] = before
    padded = np.zeros(step.dst_layout.size, np.float32)
    if bias is not None:
        padded[: step.junction.n_dst] = bias
    packed = form.pack(step, to, {step.junction.tensor: weights})
    target = aligned(target)
    call(aligned(source), target, aligned(packed), aligned(padded))
    assert library.addresses
    return target


def expected(junction, weights, x, before=None, bias=None):
    """Sums in float64 and a bound on their error: every destination adds the magnitudes of its products."""
    x64, w64 = x.astype(np.float64), weights.astype(np.float64).reshape(-1)
    rows = x64.shape[0]
    total, size = np.zeros((rows, junction.n_dst)), np.zeros((rows, junction.n_dst))
    if junction.kind == "dense":
        matrix = w64.reshape(junction.n_dst, junction.n_src)
        total, size = x64 @ matrix.T, np.abs(x64) @ np.abs(matrix).T
    elif junction.kind == "skip":
        total, size = x64 * junction.scale, np.abs(x64 * junction.scale)
    else:
        src, dst = junction.edges()
        for r in range(rows):
            total[r] = np.bincount(dst, w64 * x64[r, src], junction.n_dst)
            size[r] = np.bincount(dst, np.abs(w64 * x64[r, src]), junction.n_dst)
    for more in (before, bias):
        if more is not None:
            total, size = total + more, size + np.abs(more)
    return total, size
