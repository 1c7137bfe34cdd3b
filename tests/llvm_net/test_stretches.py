"""Nets of one kernel on arrays with units first: block by block along all samples, any batch, nothing else touched."""

from __future__ import annotations

import ctypes
import itertools
import shutil
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from net_support import BIAS, MACHINES, check, drawn, graph_of, inputs

from pathc.backends.base import Request
from pathc.backends.llvm import aot
from pathc.backends.llvm.backend import BACKEND
from pathc.backends.llvm.column.stretch import Stretch, stretch_of
from pathc.backends.llvm.native import aligned
from pathc.backends.llvm.net import sizes_of
from pathc.ir import interp
from pathc.ir.types import Call, Word

UNITS = ("units", "units")
BATCHES = [2, 7, 16, 63, 64, 65, 257, 1000, 2100]
NETS = {
    "blocks": ((64, 64), 256),
    "few paths": ((32, 32), 64),
    "one path a unit": ((32, 32), 32),
    "more units": ((16, 64), 256),
    "fewer units": ((64, 8), 512),
    "pair": ((32, 32, 32), 64),
}


def compiled(units, count, options=None, final="relu"):
    graph = graph_of(units, count, BIAS, Call(final))
    weights = drawn(graph, 1)
    return graph, weights, BACKEND.compile(Request(graph, weights, options or {}))


def stretch(executable, orders=UNITS):
    return stretch_of(executable.columns(orders), executable.machine)


@pytest.mark.parametrize("cpu", MACHINES)
@pytest.mark.parametrize("net", NETS.values(), ids=NETS)
def test_every_batch_equals_the_interpreter_and_only_its_samples_are_written(net, cpu):
    graph, weights, executable = compiled(*net, {"cpu": Word(cpu)})
    assert stretch(executable) is not None
    for batch in BATCHES:
        x = np.asfortranarray(inputs(graph, batch, batch))
        wide = np.full((net[0][-1], batch + 9), 7, np.float32)
        y = wide[:, 4 : 4 + batch].T
        executable.bind(x, y, threads=1)()
        check(graph, weights, x, y)
        assert (wide[:, :4] == 7).all()
        assert (wide[:, 4 + batch :] == 7).all()


@settings(max_examples=15, deadline=None)
@given(
    st.lists(st.integers(3, 6), min_size=2, max_size=3),
    st.integers(5, 9),
    st.integers(2, 300),
    st.sampled_from(["relu", "tanh", "abs"]),
    st.sampled_from(MACHINES),
    st.sampled_from(["f32", "bf16"]),
)
def test_random_nets_equal_the_interpreter(bits, paths, batch, function, cpu, kind):
    """bfloat16 rounds weights by a relative 2^-8."""
    options = {"cpu": Word(cpu), "weights": Word(kind)}
    graph, weights, executable = compiled([1 << b for b in bits], 1 << paths, options, function)
    x = np.asfortranarray(inputs(graph, batch, paths))
    check(graph, weights, x, executable(x), 2.0**-8 if kind == "bf16" else 0.0)


@pytest.mark.parametrize("net", NETS.values(), ids=NETS)
def test_samples_do_not_meet(net):
    """A NaN or an infinity stays in its sample, and reaches what it reaches there."""
    graph, weights, executable = compiled(*net)
    x = np.asfortranarray(inputs(graph, 150, 2))
    clean = executable(x).copy()
    bad = {0: np.nan, 17: np.inf, 70: -np.inf, 149: np.nan}
    for sample, value in bad.items():
        x[sample, sample % net[0][0]] = value
    y, right = executable(x), interp.forward(graph, weights, x)
    assert np.isnan(right[0]).any()
    np.testing.assert_array_equal(np.isnan(y), np.isnan(right))
    np.testing.assert_array_equal(np.isinf(y), np.isinf(right))
    others = [sample for sample in range(150) if sample not in bad]
    np.testing.assert_array_equal(y[others], clean[others])


@pytest.mark.parametrize("batch", [64, 257, 1000])
def test_two_threads_take_stretches_of_their_own(batch):
    graph, weights, executable = compiled((256, 256), 8192, {"threads": 2})
    assert stretch(executable) is not None
    x = np.asfortranarray(inputs(graph, batch, 2))
    alone, shared = (executable.bind(x, threads=threads).call() for threads in (1, 2))
    check(graph, weights, x, shared)
    np.testing.assert_array_equal(shared, alone)


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")
@pytest.mark.parametrize("net", [NETS["blocks"], NETS["pair"]], ids=["blocks", "pair"])
def test_a_shared_library_takes_any_batch(tmp_path, net):
    graph, weights, executable = compiled(*net, {"arrays": Word("units")})
    program = executable.program()
    aot.write(program, tmp_path, ("so", "params"))
    function = getattr(ctypes.CDLL(str(tmp_path / f"{program.name}.so")), program.name)
    function.argtypes = [*[ctypes.c_void_p] * 4, *[ctypes.c_int64] * 3]
    scratch = aligned(max(program.scratch, 64))
    memory = np.fromfile(tmp_path / f"{program.name}.params", np.uint8)
    packed = aligned(memory.size)
    packed[:] = memory
    for batch in (1, 2, 7, 65, 2100):
        x = np.asfortranarray(inputs(graph, batch, 2))
        y = np.full((batch, net[0][-1]), np.nan, np.float32, order="F")
        places = x.ctypes.data, y.ctypes.data, packed.ctypes.data, scratch.ctypes.data
        function(*places, batch, batch, batch)
        check(graph, weights, x, y)


def test_which_plans_go_in_stretches():
    """Not those with more than one kernel, other arrays, or blocks whose sources fill the cache."""
    _, _, executable = compiled((1024, 1024), 4096, {"cpu": Word("avx512")})
    for orders in itertools.product(("rows", "units"), repeat=2):
        assert (stretch(executable, orders) is not None) == (orders == UNITS)
    assert stretch_of(executable.row_plan, executable.machine) is None
    plan = executable.columns(UNITS)
    assert stretch(executable) == Stretch(16, 2048)
    assert sizes_of(plan, executable.machine, 64) == (2048,)
    assert sizes_of(plan, executable.machine, 65) == (2048, 16)
    assert executable.kernel(4096, UNITS).tile == plan.samples == 64
    small = replace(executable.machine, l2=4 * 4 * 4 * 256)
    assert stretch_of(plan, small) == Stretch(16, 256)
    assert stretch_of(plan, replace(small, l2=small.l2 - 1)) is None
    for units, count in (((256, 256, 64, 16), 2048), ((300, 300), 4096), ((64, 64), 96)):
        assert stretch(compiled(units, count, {"cpu": Word("avx512")})[2]) is None
    softmax = compiled((64, 64), 256, {"cpu": Word("avx512")}, "softmax")[2]
    assert stretch(softmax) is None
