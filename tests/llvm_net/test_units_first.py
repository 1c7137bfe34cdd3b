"""Arrays that lie units first: the same results, nothing transposed, nothing touched that is not the user's."""

from __future__ import annotations

import ctypes
import itertools
import mmap
import shutil
import subprocess
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from net_support import BATCHES, BIAS, MACHINES, check, drawn, graph_of, inputs, models

from pathc.backends.base import Request
from pathc.backends.llvm import aot
from pathc.backends.llvm.backend import BACKEND
from pathc.backends.llvm.call import order_of
from pathc.backends.llvm.netplan import Load, Save
from pathc.ir import interp
from pathc.ir.types import Call, Word
from pathc.support.diagnostics import PathcError

ORDERS = list(itertools.product("CF", repeat=2))
NETS = {
    "blocks": (64, 64),
    "wide blocks": (1024, 256, 256, 16),
    "fused": (256, 256, 256),
    "any size": (784, 300, 300, 10),
    "one unit": (1, 1),
    "few units": (5, 70, 3),
}


def executable_of(units, count=4096, options=None, forms=None):
    graph = graph_of(units, count, BIAS, Call("relu"))
    weights = drawn(graph, 1)
    return graph, weights, BACKEND.compile(Request(graph, weights, options or {}, forms=forms or {}))


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(models(), st.sampled_from(BATCHES), st.integers(0, 9), st.sampled_from(MACHINES), st.sampled_from(ORDERS))
def test_random_models_in_all_orders_equal_the_interpreter(graph, batch, seed, cpu, orders):
    weights = drawn(graph, seed)
    executable = BACKEND.compile(Request(graph, weights, {"cpu": Word(cpu)}))
    x = np.array(inputs(graph, batch, seed), order=orders[0])
    y = np.full((batch, executable.row_plan.outputs), np.nan, np.float32, order=orders[1])
    executable.bind(x, y, threads=1 + seed % 2)()
    check(graph, weights, x, y)


@pytest.mark.parametrize("units", NETS.values(), ids=NETS)
def test_every_batch_in_all_orders(units):
    graph, weights, executable = executable_of(units)
    for batch, orders in itertools.product([*BATCHES, 48], ORDERS):
        x = np.array(inputs(graph, batch, 2), order=orders[0])
        y = np.full((batch, units[-1]), np.nan, np.float32, order=orders[1])
        assert executable(x, y) is y
        check(graph, weights, x, y)
        made = executable(x)
        check(graph, weights, x, made)
        assert order_of(made) == order_of(x) or units[-1] == 1
        np.testing.assert_array_equal(executable.bind(x).call(), made)


@pytest.mark.parametrize("batch", [7, 64, 100])
def test_nothing_but_the_users_samples_is_written(batch):
    """Between the units of a wider array lie values of others."""
    graph, weights, executable = executable_of((70, 50, 40))
    x = np.asfortranarray(inputs(graph, batch, 2))
    wide = np.full((40, batch + 9), 7, np.float32)
    y = wide[:, 4 : 4 + batch].T
    assert executable(x, y) is y
    check(graph, weights, x, y)
    assert (wide[:, :4] == 7).all()
    assert (wide[:, 4 + batch :] == 7).all()


@pytest.mark.skipif(not hasattr(mmap, "PROT_READ"), reason="no mprotect on this system")
@pytest.mark.parametrize("units", NETS.values(), ids=NETS)
@pytest.mark.parametrize("batch", [2, 15, 16, 33, 64])
def test_nothing_behind_an_array_is_read(units, batch):
    """Arrays end where memory that may not be touched begins."""
    graph, weights, executable = executable_of(units)
    x, y = (before_a_guard(n, batch) for n in (units[0], units[-1]))
    x[...] = inputs(graph, batch, 2)
    executable.bind(x, y, threads=1)()
    check(graph, weights, x, y)


def before_a_guard(units, batch):
    page, size = mmap.PAGESIZE, 4 * units * batch
    room = -(-size // page) * page
    memory = mmap.mmap(-1, room + page)
    first = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    protect = ctypes.CDLL(None, use_errno=True).mprotect
    assert protect(ctypes.c_void_p(first + room), ctypes.c_size_t(page), 0) == 0
    return np.frombuffer(memory, np.float32, units * batch, room - size).reshape(units, batch).T


@pytest.mark.parametrize("batch", [3, 64])
def test_what_is_contiguous_neither_way_is_copied_or_refused(batch):
    graph, weights, executable = executable_of((70, 50, 40))
    x = np.asfortranarray(inputs(graph, 2 * batch, 2))[::2]
    check(graph, weights, x, executable(x))
    backwards = np.asfortranarray(inputs(graph, batch, 3))[:, ::-1]
    check(graph, weights, backwards, executable(backwards))
    whole = np.asfortranarray(np.arange(70 * batch, dtype=np.uint8).reshape(batch, 70))
    check(graph, weights, whole.astype(np.float32), executable(whole))
    with pytest.raises(PathcError, match="E0703"):
        executable.bind(x)
    with pytest.raises(PathcError, match="E0703"):
        executable.bind(np.asfortranarray(x), np.empty((2 * batch, 40), np.float32, order="F")[::2])


def test_one_array_for_both_is_refused():
    _, _, executable = executable_of((40, 40))
    memory = np.zeros((60, 33), np.float32)
    with pytest.raises(PathcError, match="E0705"):
        executable(memory[:40].T, memory[20:].T)


def test_whole_tiles_stay_in_the_users_arrays():
    _, _, executable = executable_of((1024, 1024))
    plan = executable.columns(("units", "units"))
    assert [op.layout.array for op in plan.ops if isinstance(op, Load | Save)] == ["x", "y"]
    assert executable.plan(64, ("units", "rows")).orders == ("units", "rows")
    assert executable.plan(64).orders == ("rows", "rows")


def test_inputs_that_are_read_many_times_are_brought_into_a_tile():
    cases = (1024, "column-ell", "x"), (65536, "column-ell", ""), (65536, "column-unrolled", "x")
    for count, form, array in cases:
        _, _, executable = executable_of((784, 300, 300), count, {"cpu": Word("avx512")}, {"*": form})
        assert next(op.layout.array for op in executable.columns(("units", "units")).ops) == array


def test_inputs_with_activations_and_outputs_with_softmax_go_through_scratch_memory():
    graph = graph_of((40, 40), 512, Call("softmax"))
    graph = replace(graph, stations=(replace(graph.stations[0], pipeline=(Call("abs"),)), *graph.stations[1:]))
    weights = drawn(graph, 1)
    executable = BACKEND.compile(Request(graph, weights))
    for batch in BATCHES:
        x = np.asfortranarray(inputs(graph, batch, 2))
        check(graph, weights, x, executable(x))
    plan = executable.columns(("units", "units"))
    assert [op.layout.array for op in plan.ops if isinstance(op, Load | Save)] == ["", ""]


@pytest.mark.parametrize("value", [np.nan, np.inf, -0.0])
def test_special_values(value):
    graph, weights, executable = executable_of((64, 64, 64), 512)
    x = np.asfortranarray(inputs(graph, 40, 2))
    x[3, ::7] = value
    y, right = executable(x), interp.forward(graph, weights, x)
    np.testing.assert_array_equal(np.isnan(y), np.isnan(right))


@pytest.mark.parametrize("arrays", ["rows", "units"])
def test_files_say_how_arrays_lie(tmp_path, arrays):
    graph, weights, executable = executable_of((40, 30, 20), 512, {"arrays": Word(arrays)})
    program = executable.program()
    text = aot.header(program)
    assert ("x: 40 rows of batch floats, units first" in text) == (arrays == "units")
    assert ("y: batch rows of 20 floats" in text) == (arrays == "rows")
    if shutil.which("cc") is None:
        pytest.skip("no C compiler")
    aot.write(program, tmp_path, ("o", "h", "c", "params"))
    name = program.name
    command = ["cc", "-Wall", "-Werror", "-O1", "-o", "example", f"{name}.c", f"{name}.o", "-lm"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    done = subprocess.run(["./example", f"{name}.params"], cwd=tmp_path, check=True, capture_output=True, text=True)
    x = (np.arange(80) % 7 / np.float32(7)).astype(np.float32).reshape(2, 40)
    check(graph, weights, x, np.array(done.stdout.split(), np.float32).reshape(2, 20))


def test_an_unknown_order_is_refused():
    graph = graph_of((4, 4), 16)
    with pytest.raises(PathcError, match="E0603"):
        BACKEND.compile(Request(graph, drawn(graph, 1), {"arrays": Word("columns")}))
