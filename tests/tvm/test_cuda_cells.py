"""Time loops as CUDA text on the processor: every form, several orders of threads; barriers, spills, the launcher."""

from __future__ import annotations

import ctypes
import re
from dataclasses import replace
from functools import cache
from itertools import count

import gpu_on_cpu as gpu
import numpy as np
import pytest
from cell_support import STRUCTURES, Loop, U, cell, check, drawn, sequences, stack
from fake_cuda import FakeCuda

from pathc.backends.base import Request
from pathc.backends.tvm import driver, facade, nvrtc
from pathc.backends.tvm.compiled import Lowered
from pathc.backends.tvm.cuda import BACKEND
from pathc.backends.tvm.program import Program, program
from pathc.backends.tvm.recurrent.plan import SequencePlan
from pathc.ir.graph import Graph, Line, Station, Visit
from pathc.ir.interp import agrees, error_bound, evaluate, forward
from pathc.ir.types import Call, Quantity, Word
from pathc.support.diagnostics import PathcError

pytestmark = pytest.mark.skipif(facade.missing() != "", reason=f"needs TVM: {facade.INSTALL}")
runs = pytest.mark.skipif(not gpu.available(), reason="needs g++ to execute CUDA text: apt-get install g++")
compiles = pytest.mark.skipif(nvrtc.library_path() == "", reason=f"needs NVRTC: {nvrtc.INSTALL}")
NETS = {
    "own": (cell("lstm", STRUCTURES["diag"], bidirectional="concat"), cell("sru", bidirectional="sum"),
            cell("qrnn", window=3, bidirectional="concat")),
    "held": (cell("gru", STRUCTURES["band"], reset="before"), cell("lstm", STRUCTURES["ring"], bidirectional="concat"),
             cell("ligru", STRUCTURES["dense"], bidirectional="concat")),
    "read": (cell("lstm", STRUCTURES["full"], gates="shared"), cell("gru", STRUCTURES["sparse"], reset="before"),
             cell("gru", STRUCTURES["wide"], bidirectional="sum")),
}  # fmt: skip


@cache
def compiled(name, units=42, batch=0):
    graph = stack(*((stage,) for stage in NETS[name]), units=units)
    weights = drawn(graph, 1)
    return graph, weights, BACKEND.compile(Request(graph, weights, {"arch": Word("sm_90")}, batch))


@runs
@pytest.mark.parametrize("name", NETS)
def test_every_form_in_several_orders(name):
    graph, weights, executable = compiled(name)
    plans = executable.lowered.plan.cells
    assert {plan.form for plan in plans} == {
        "own": {"own"}, "held": {"band", "ring", "ell"}, "read": {"dense", "csr", "band"}}[name]  # fmt: skip
    assert name == "own" or {plan.held for plan in plans} == {name == "held"}
    for order, (batch, steps) in zip(gpu.ORDERS, ((1, 1), (5, 4), (17, 2), (2, 9)), strict=True):
        x = sequences(graph, batch, steps, order)
        check(graph, weights, x, gpu.run(executable.program, executable.parameters, x, order))


@runs
def test_single_sequences_and_units_in_turns():
    """A thread for 2 of 530 units, and sequences of their own for every block."""
    recur = Call("sparse", (("density", Quantity(0.3, "%")), ("seed", 3)))
    stages = cell("gru", STRUCTURES["ring"]), cell("rnn", recur)
    graph = stack(*((stage,) for stage in stages), units=530, outputs=3, paths=600)
    weights = drawn(graph, 1)
    executable = BACKEND.compile(Request(graph, weights, {"arch": Word("sm_80")}, 1))
    assert [(p.turns, p.sequences, p.held) for p in executable.lowered.plan.cells] == [(2, 1, True), (2, 1, False)]
    x = sequences(graph, 2, 3, 1)
    check(graph, weights, x, gpu.run(executable.program, executable.parameters, x, 2))


BARRIER = re.compile(r"^ *__syncthreads\(\);\n", re.MULTILINE)


@runs
@pytest.mark.parametrize("name", ["held", "read"])
def test_a_missing_barrier_is_caught(name):
    """Every barrier of a time loop is needed: without it some order of threads gives other states."""
    graph, _, executable = compiled(name)
    program, numbers = executable.program, count()
    x = sequences(graph, 2, 4, 3)
    parts = re.split(r'(?=^extern "C" __global__)', program.text, flags=re.MULTILINE)
    loops = {f"{plan.name}_kernel(" for plan in executable.lowered.plan.cells}
    text = 'extern "C" { int removed = -1; }\n'
    for part in parts:
        mine = any(loop in part.partition("{")[0] for loop in loops)
        text += BARRIER.sub(lambda _: f"if (removed != {next(numbers)}) __syncthreads();\n", part) if mine else part
    removed = ctypes.c_int.in_dll(gpu.build(text), "removed")
    expected = 2 * len(loops) + sum(plan.twice for plan in executable.lowered.plan.cells)
    assert next(numbers) == expected

    def differ() -> bool:
        outputs = [gpu.run(program, executable.parameters, x, order, text) for order in (0, 1)]
        return not all(np.array_equal(outputs[0], y, equal_nan=False) for y in outputs)

    assert not differ()
    for removed.value in range(expected):
        assert differ(), removed.value


def single(stage: Call, units: int) -> Graph:
    stations = Station("x", "input", (16,)), Station("c", "output", (units,), pipeline=(Call("bias"), stage))
    return Graph("net", stations, (Line("main", "paths", (Visit("x", 0), Visit("c", 1)), 4 * units),))


LARGE = {
    "diag": cell("lstm", Call("diag"), bidirectional="concat"),
    "before": cell("gru", Call("diag"), reset="before"),
    "qrnn": cell("qrnn", window=2),
    "sru": cell("sru"),
    "band": cell("lstm", Call("band", (("width", 15),))),
    "wide": cell("gru", Call("band", (("width", 101),)), reset="before"),
    "ring": cell("gru", Call("ring", (("width", 9),)), bidirectional="sum"),
    "full": cell("lstm", Call("full"), stateful=True),
    "grouped": cell("gru", Call("grouped", (("groups", 4),)), reset="before"),
    "sparse": cell("lstm", Call("sparse", (("density", Quantity(2.0, "%")), ("seed", 3)))),
    "paths": cell("gru", Call("paths", (("count", 8192),))),
}


@cache
def large_loops(units):
    """Time loops of every form as one program."""
    names = LARGE if units == 512 else ("diag", "band", "full")
    cases = [(name, 0) for name in names] + [(name, 1) for name in names if name in ("full", "sparse")]
    named = tuple(Loop.of(LARGE[name], f"p{k}", units, batch).plan for k, (name, batch) in enumerate(cases))
    return named, program(Lowered(SequencePlan("loops", named, 1, 1, ()), gpu=True), "sm_90")


@compiles
@pytest.mark.parametrize("arch", nvrtc.ARCHITECTURES)
@pytest.mark.parametrize("units", [512, 2048])
def test_time_loops_compile_without_spills(units, arch):
    plans, made = large_loops(units)
    assert {plan.form for plan in plans} >= {"own", "band", "dense"}
    launches = {one.kernel: one for one in made.launches}
    for used in nvrtc.compile_text(made.text, arch).resources:
        assert (used.spilled, used.stack) == (0, 0), used
        assert used.registers * launches[used.kernel].threads <= 65536
        assert launches[used.kernel].threads <= 1024
        assert launches[used.kernel].shared <= (163 if arch == "sm_80" else 227) * 1024


def test_states_that_do_not_fit_shared_memory():
    graph = single(cell("lstm", Call("band", (("width", 3),))), 20480)
    weights = drawn(graph, 1)
    with pytest.raises(PathcError, match="E0666: the states of `c` need 245760 bytes"):
        BACKEND.compile(Request(graph, weights, {"arch": Word("sm_90")}))
    graph = single(cell("lstm", Call("band", (("width", 3),))), 16384)
    executable = BACKEND.compile(Request(graph, drawn(graph, 1), {"arch": Word("sm_90")}))
    assert executable.lowered.plan.cells[0].sequences == 1


def test_a_backward_pass_is_refused():
    graph = stack((cell("gru"),))
    with pytest.raises(PathcError, match="E0376: the backward pass of `cuda` has no recurrent cell"):
        BACKEND.compile(Request(graph, drawn(graph, 1), {"gradients": True}))


@runs
def test_tensor_cores_bring_to_cells():
    dense = Line("d", "dense", tuple(Visit(name, k) for k, name in enumerate(("x", "c0", "y"))))
    graph = replace(stack((cell("gru", Call("diag")),), inputs=32, units=32, outputs=16), lines=(dense,))
    weights, x = drawn(graph, 1), sequences(graph, 7, 11, 2)
    executable = BACKEND.compile(Request(graph, weights, {"arch": Word("sm_80"), "precision": Word("bf16")}))
    assert "mma_bf16(" in executable.program.text.partition("p0_k1_kernel(")[2]
    y = gpu.run(executable.program, executable.parameters, x, 2)
    right, bound = forward(graph, weights, x), error_bound(graph, weights, x, U, 2.0**-8, 2.0**-8)
    assert agrees(y, right, bound).all()
    with pytest.raises(PathcError, match="E0376"):
        executable.gradients(x, right)


@runs
@compiles
def test_sequences_are_launched_through_the_driver():
    stages = cell("lstm", STRUCTURES["ring"], stateful=True), cell("rnn", Call("diag"), stateful=True)
    graph = stack(*((stage,) for stage in stages), units=20)
    weights, x = drawn(graph, 1), sequences(graph, 5, 9, 2)
    executable = BACKEND.compile(Request(graph, weights, {"arch": Word("sm_90"), "fused": False}))
    fake = FakeCuda(executable.program.text)
    program = Program.from_json(executable.program.as_json())
    assert [one.kernel for one in program.launches if "steps" in one.arguments] == ["p1_kernel", "p3_kernel"]
    loaded, other = (
        driver.Loaded(program, executable.binary.cubin, executable.parameters, driver.Device(fake)) for _ in range(2)
    )
    parts = np.concatenate([loaded(x[:, :4].copy()), loaded(x[:, 4:].copy())], axis=1)
    check(graph, weights, x, parts)
    with pytest.raises(PathcError, match="E0702"):
        loaded(x[:2])
    loaded.reset()
    loaded.most = lambda steps: 2
    np.testing.assert_array_equal(loaded(x), other(x))
    again = evaluate(graph, weights, x, evaluate(graph, weights, x).state).outputs
    np.testing.assert_allclose(loaded(x), again, atol=1e-6)
    del loaded, other
    assert not fake.held


def test_long_sequences_are_counted():
    _, _, executable = compiled("own")
    loaded = driver.Loaded(executable.program, b"", {}, driver.Device(FakeCuda()))
    widest = max(columns for _, columns in executable.program.arrays)
    assert loaded.most(1000) * 1000 * widest < 1 << 31
    assert loaded.most(1000) * 1000 <= 65535 * 64
    with pytest.raises(PathcError, match="E0512"):
        loaded.most(1 << 23)
