"""Backward kernels against the interpreter's gradients: TIR on the processor, and CUDA text executed there."""

from __future__ import annotations

import gpu_on_cpu as gpu
import numpy as np
import pytest
from fake_cuda import FakeCuda
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from tvm_support import BIAS, ELEMENTWISE, GENERATORS, RELU, SOFTMAX, chain, check, drawn, inputs, models

from pathc.backends.base import Request
from pathc.backends.tvm import driver, facade, nvrtc
from pathc.backends.tvm.backward import plan_gradients
from pathc.backends.tvm.compiled import Lowered
from pathc.backends.tvm.cpu import BACKEND
from pathc.backends.tvm.cuda import BACKEND as CUDA
from pathc.backends.tvm.pack import pack, unpack
from pathc.backends.tvm.program import Program, program
from pathc.ir import interp
from pathc.ir.types import Call, Word
from pathc.support.diagnostics import PathcError

pytestmark = pytest.mark.skipif(facade.missing() != "", reason=f"needs TVM: {facade.INSTALL}")
KINKED = 1e-5
"""Sums nearer to a kink than this may fall to its other side in float32."""
KINKS = (0.0, -0.5, 2.0)


def check_gradients(graph, weights, x, dy, dx, found):
    """Close to the interpreter's, relative to what the same sums of magnitudes come to."""
    right_dx, right = interp.backward(graph, weights, x, dy)
    assert dx.shape == right_dx.shape
    assert {n: a.shape for n, a in found.items()} == {n: a.shape for n, a in right.items()}
    for name, y, expected in [("dx", dx, right_dx), *((n, found[n], right[n]) for n in right)]:
        largest = np.abs(expected).max(initial=0.0)
        np.testing.assert_allclose(y, expected, rtol=2e-5, atol=2e-5 * largest + 1e-30, err_msg=name)


def smooth(graph, weights, x):
    """The inputs whose sums keep clear of kinks."""
    trace = interp.evaluate(graph, weights, x)
    clear = [
        (np.abs(sums[:, :, None] - KINKS) > KINKED).all(axis=(1, 2))
        for name, sums in trace.sums.items()
        if any(stage.name != "bias" for stage in graph.station(name).pipeline)
    ]
    return x[np.all(clear, axis=0)] if clear else x


def on_processor(graph, weights, x, dy, forms=None):
    return BACKEND.compile(Request(graph, weights, forms=forms or {})).gradients(x, dy)


def on_gpu(graph, weights, x, dy, lanes, order=0, forms=None):
    plan = plan_gradients(graph, lanes, forms or {})
    made = program(Lowered(plan, gpu=True), "sm_90")
    arrays = gpu.run_gradients(made, pack(plan, graph, weights), x, dy, order)
    return arrays["dx"], unpack(plan, graph, arrays)


@settings(max_examples=6, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
@given(models(largest=100, paths=1024), st.sampled_from([1, 2, 7, 65]), st.integers(0, 9))
def test_random_models_have_the_gradients_of_the_interpreter(graph, batch, seed):
    weights, x = drawn(graph, seed), inputs(graph, batch, seed)
    x = smooth(graph, weights, x)
    if len(x):
        dy = np.random.default_rng(seed).normal(size=(len(x), sum(s.real_units for s in graph.outputs)))
        dy = dy.astype(np.float32)
        check_gradients(graph, weights, x, dy, *on_processor(graph, weights, x, dy))


@pytest.mark.parametrize("stage", [*ELEMENTWISE, SOFTMAX, Call("kwinners", (("k", 3),))], ids=str)
def test_every_activation(stage):
    graph = chain((16, 8), 64, BIAS, stage)
    weights, x = drawn(graph, 1), inputs(graph, 5, 2)
    dy = inputs(graph, 5, 3)[:, :8]
    check_gradients(graph, weights, x, dy, *on_processor(graph, weights, x, dy))


@pytest.mark.parametrize("generator", GENERATORS, ids=str)
@pytest.mark.parametrize("form", ["", "ell", "csr"])
def test_every_generator_and_form(generator, form):
    graph = chain((32, 64, 16), 128, BIAS, RELU, generator=generator)
    weights, x = drawn(graph, 1), smooth(graph, drawn(graph, 1), inputs(graph, 7, 2))
    dy = np.random.default_rng(3).normal(size=(len(x), 16)).astype(np.float32)
    check_gradients(graph, weights, x, dy, *on_processor(graph, weights, x, dy, {"*": form} if form else None))


@pytest.mark.skipif(not gpu.available(), reason="needs g++ to execute CUDA text: apt-get install g++")
@pytest.mark.parametrize(("units", "count"), [((64, 128, 32), 2048), ((50, 31, 10), 300)])
@pytest.mark.parametrize(("lanes", "batch"), [(1, 3), (32, 40)])
def test_scheduled_kernels_have_them_too(units, count, lanes, batch):
    graph = chain(units, count, BIAS, RELU, last=[BIAS, SOFTMAX])
    weights = {name: array / 8 for name, array in drawn(graph, 1).items()}
    x = smooth(graph, weights, inputs(graph, batch, 2))
    dy = np.random.default_rng(3).normal(size=(len(x), units[-1])).astype(np.float32)
    for order in (1, 2):
        check_gradients(graph, weights, x, dy, *on_gpu(graph, weights, x, dy, lanes, order))


@pytest.mark.skipif(not gpu.available(), reason="needs g++ to execute CUDA text: apt-get install g++")
@pytest.mark.parametrize("units", [(4, 1), (1, 4)])
def test_a_side_of_one_unit_and_one_sample(units):
    graph = chain(units, 4, BIAS)
    weights, x, dy = drawn(graph, 1), inputs(graph, 3, 2), np.full((3, units[1]), 0.5, np.float32)
    for order in (1, 2):
        check_gradients(graph, weights, x, dy, *on_gpu(graph, weights, x, dy, 1, order))


@pytest.mark.skipif(nvrtc.library_path() == "", reason=f"needs NVRTC: {nvrtc.INSTALL}")
@pytest.mark.parametrize("arch", nvrtc.ARCHITECTURES)
@pytest.mark.parametrize(("units", "count"), [((1024, 256, 256, 16), 16384), ((784, 300, 300, 10), 8192)])
def test_backward_kernels_compile_without_spills(units, count, arch):
    plan = plan_gradients(chain(units, count, BIAS, RELU), 64, {})
    made = program(Lowered(plan, gpu=True), arch)
    used = nvrtc.compile_text(made.text, arch).resources
    assert len(used) == len(made.launches) == len(plan.ops)
    assert [one for one in used if one.spilled or one.stack] == []
    assert made.shared <= 163 * 1024


@pytest.mark.skipif(not gpu.available(), reason="needs g++ to execute CUDA text: apt-get install g++")
def test_the_target_launches_both_passes(monkeypatch):
    graph = chain((32, 64, 16), 256, BIAS, RELU)
    weights, x = drawn(graph, 1), smooth(graph, drawn(graph, 1), inputs(graph, 40, 2))
    executable = CUDA.compile(Request(graph, weights, {"gradients": True, "lanes": 16, "arch": Word("sm_90")}))
    fake = driver.Device(FakeCuda(executable.program.text))
    again = Program.from_json(executable.program.as_json())
    loaded = driver.Loaded(again, b"\x7fELF", executable.parameters, fake)
    monkeypatch.setitem(executable.__dict__, "loaded", loaded)
    dy = np.random.default_rng(3).normal(size=(len(x), 16)).astype(np.float32)
    check(graph, weights, x, executable(x))
    check_gradients(graph, weights, x, dy, *executable.gradients(x, dy))
    monkeypatch.setattr(driver.Loaded, "most", lambda _: 16)
    check_gradients(graph, weights, x, dy, *executable.gradients(x, dy))


def test_without_a_backward_pass_there_are_no_gradients():
    graph = chain((16, 8), 64, RELU)
    executable = CUDA.compile(Request(graph, drawn(graph, 1), {"arch": Word("sm_90")}))
    with pytest.raises(PathcError, match=r"E0667.*without a backward pass"):
        executable.gradients(np.zeros((3, 16), np.float32), np.zeros((3, 8), np.float32))


def test_gradients_that_do_not_fit_are_refused():
    graph = chain((16, 8), 64, RELU)
    executable = BACKEND.compile(Request(graph, drawn(graph, 1)))
    with pytest.raises(PathcError, match="E0512"):
        executable.gradients(np.zeros((3, 16), np.float32), np.zeros((2, 8), np.float32))
    with pytest.raises(PathcError, match="E0512"):
        executable.gradients(np.zeros((3, 15), np.float32), np.zeros((3, 8), np.float32))
