"""Junctions, kernels and the float64 meaning that row kernels are compared with."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from pathc.backends.llvm.emit import Function, module
from pathc.backends.llvm.jit import Library, compile_ir
from pathc.backends.llvm.machine import Machine, host
from pathc.backends.llvm.machine import machine as machine_of
from pathc.backends.llvm.native import aligned
from pathc.backends.llvm.plan import Form, Junction, Layout, Step
from pathc.ir.blocks import find_blocks
from pathc.ir.generators.sobol import Sobol
from pathc.ir.gf2 import aligned_windows

Floats = NDArray[np.float32]
WIDTHS = (16, 8, 4)


def machines() -> list[Machine]:
    """One machine for every vector width that runs here."""
    found = [machine_of({"cpu": name}) for name in ("avx512", "avx2", "sse")] if host().arch == "x86_64" else [host()]
    return [m for m in found if m.runs_here]


def junction(
    dims: tuple[int, int], sizes: tuple[int, int], count: int, number: int = 1, scramble: str = "none", seed: int = 0
) -> Junction:
    """Sobol' paths between two layers, with their blocks."""
    paths = Sobol(dims, sizes, count, scramble, seed)
    source, target = paths.affine(0), paths.affine(1)
    assert source is not None
    assert target is not None
    blocks = tuple(find_blocks(source, target, at, length) for at, length in aligned_windows(count))

    @cache
    def edges() -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        return paths.units(0, 0, count), paths.units(1, 0, count)

    names = f"s{number - 1}", f"s{number}"
    return Junction("l", number, "paths", *names, *sizes, count, blocks, f"l.{number}", 1.0, edges)


def chain_of(dims: Sequence[int], sizes: Sequence[int], count: int, scramble: str = "none") -> list[Junction]:
    """Junctions that follow each other."""
    return [
        junction((dims[k], dims[k + 1]), (sizes[k], sizes[k + 1]), count, k + 1, scramble)
        for k in range(len(sizes) - 1)
    ]


def floats(size: int) -> Floats:
    """Zeros on a multiple of 64 bytes."""
    values = aligned(4 * size).view(np.float32)
    values[:] = 0
    return values


def linked(functions: Sequence[Function], name: str, machine: Machine) -> tuple[Library, Callable[..., None]]:
    """Compile functions and export one; arrays and None are passed by address."""
    for function in functions:
        function.internal = function.name != name
    library = compile_ir(module(functions, machine.triple), machine)
    address = library.address(name)

    def call(*arrays: NDArray[np.generic]) -> None:
        ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * len(arrays))(address)(*(a.ctypes.data for a in arrays))

    return library, call


def place(layout: Layout, rows: Floats) -> Floats:
    """Rows of units in a layout."""
    placed = floats(len(rows) * layout.size).reshape(len(rows), layout.size)
    placed[:, layout.positions(np.arange(rows.shape[1]))] = rows
    return placed


def computed(
    form: Form, step: Step, machine: Machine, x: Floats, weights: Floats, bias: Floats, before: Floats
) -> Floats:
    """What a kernel makes of rows of natural order: rows of natural order."""
    packed = form.pack(step, machine, {step.junction.tensor: weights})
    stream = aligned(packed.nbytes)
    stream[:] = packed.reshape(-1)
    _, call = linked(form.emit(step, "kernel", machine, len(x)), "kernel", machine)
    result = place(step.dst_layout, before)
    call(place(step.src_layout, x), result, stream, place(step.dst_layout, bias[None]))
    units = step.dst_layout.positions(np.arange(before.shape[1]))
    behind = np.ones(step.dst_layout.size, bool)
    behind[units] = False
    assert not result[:, behind].any()
    return result[:, units]


def meant(
    step: Step, x: Floats, weights: Floats, bias: Floats, before: Floats
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The float64 sums before the activation, and the sum of the magnitudes of what is added up."""
    junction = step.junction
    source, target = junction.edges()
    start = {"zero": np.zeros_like(before), "bias": np.broadcast_to(bias, before.shape), "add": before}[step.init]
    sums, sizes = start.astype(np.float64), np.abs(start).astype(np.float64)
    for row in range(len(x)):
        terms = weights.astype(np.float64) * x[row, source]
        np.add.at(sums[row], target, terms)
        np.add.at(sizes[row], target, np.abs(terms))
    return sums, sizes


def check(form: Form, step: Step, machine: Machine, rows: int = 1, seed: int = 0) -> None:
    """Compare a kernel with its meaning on random numbers."""
    rng = np.random.default_rng(seed)
    junction = step.junction
    x = rng.standard_normal((rows, junction.n_src), np.float32)
    weights = rng.standard_normal(junction.count, np.float32)
    bias = rng.standard_normal(junction.n_dst, np.float32)
    before = rng.standard_normal((rows, junction.n_dst), np.float32)
    got = computed(form, step, machine, x, weights, bias, before)
    sums, sizes = meant(step, x, weights, bias, before)
    if step.activation is not None:
        assert step.activation.name == "relu"
        sums = np.maximum(sums, 0)
    repeats = junction.count / junction.n_dst + 2
    unit = 2.0**-8 if step.weight_type == "bf16" else 2.0**-24 * repeats
    assert np.all(np.abs(got - sums) <= 1.01 * unit * sizes + 1e-30)
