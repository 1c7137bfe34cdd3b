"""Blocks on tensor cores: CUDA text with `mma` executed on the processor, fragment by fragment, and compiled."""

from __future__ import annotations

import ctypes
import re
from itertools import count

import gpu_on_cpu as gpu
import numpy as np
import pytest
from tvm_support import BIAS, ELEMENTWISE, RELU, chain, drawn, inputs

from pathc.backends.base import Request
from pathc.backends.tvm import facade, nvrtc, tensorcore
from pathc.backends.tvm.backward import plan_gradients
from pathc.backends.tvm.compiled import Lowered
from pathc.backends.tvm.cuda import BACKEND
from pathc.backends.tvm.lower import plan_net
from pathc.backends.tvm.pack import pack, unpack
from pathc.backends.tvm.program import program
from pathc.ir import interp
from pathc.ir.graph import Graph, Line, Station, Visit
from pathc.ir.types import Word
from pathc.support.diagnostics import PathcError

pytestmark = pytest.mark.skipif(facade.missing() != "", reason=f"needs TVM: {facade.INSTALL}")
runs = pytest.mark.skipif(not gpu.available(), reason="needs g++ to execute CUDA text: apt-get install g++")
ROUNDOFF = {"tf32": 2.0**-11, "bf16": 2.0**-8, "fp16": 2.0**-11, "fp8": 2.0**-4}
EVERY = pytest.mark.parametrize("precision", tensorcore.PRECISIONS)


def rounded(values, precision):
    """What tensor cores make of float32 factors."""
    if precision == "fp8":
        size = np.abs(values.astype(np.float64))
        step = np.exp2(np.floor(np.log2(np.maximum(size, 2.0**-6))) - 3)
        return np.sign(values) * np.minimum(np.rint(size / step) * step, 448)
    if precision == "fp16":
        return values.astype(np.float16).astype(np.float64)
    bits = values.view(np.uint32).astype(np.uint64)
    if precision == "tf32":
        return ((bits + 0x1000) & 0xFFFFE000).astype(np.uint32).view(np.float32).astype(np.float64)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000).astype(np.uint32).view(np.float32).astype(np.float64)


def made_for(graph, lanes, precision):
    plan = plan_net(graph, lanes, {})
    lowered = Lowered(plan, True, precision=precision)
    assert any(tensorcore.fits(plan, op, precision) for op in plan.ops)
    return plan, program(lowered, "sm_90")


@runs
@EVERY
@pytest.mark.parametrize(("units", "count"), [((64, 32), 2048), ((256, 64), 8192), ((96, 80), 0)])
@pytest.mark.parametrize(("lanes", "batch"), [(64, 70), (8, 3)])
def test_one_junction_is_that_of_rounded_factors(units, count, lanes, batch, precision):
    """With one junction nothing but the factors is rounded, so that a fragment in the wrong place cannot hide."""
    graph = chain(units, count, BIAS) if count else dense(units)
    weights = drawn(graph, 1)
    x = inputs(graph, batch, 2)
    plan, made = made_for(graph, lanes, precision)
    parameters = pack(plan, graph, weights)
    times = 16 if precision == "fp8" else 1
    right_weights = {
        n: a if n.endswith("bias") else rounded(np.ascontiguousarray(a * times, np.float32), precision) / times
        for n, a in weights.items()
    }
    right = interp.forward(graph, right_weights, rounded(x, precision))
    bound = interp.error_bound(graph, right_weights, rounded(x, precision), 2.0**-23)
    for order in (1, 2):
        y = gpu.run(made, parameters, x, order)
        assert interp.agrees(y, right, bound).all()
    assert not interp.agrees(y, interp.forward(graph, weights, x), bound).all()


def dense(units):
    stations = Station("s0", "input", (units[0],)), Station("s1", "output", (units[1],))
    return Graph("net", stations, (Line("main", "dense", (Visit("s0", 0), Visit("s1", 1))),))


@runs
@EVERY
@pytest.mark.parametrize("stage", ELEMENTWISE[1:], ids=str)
def test_activations_and_sums_that_go_on(stage, precision):
    graph = chain((64, 32), 2048, BIAS, stage)
    weights, x = drawn(graph, 1), inputs(graph, 9, 2)
    plan, made = made_for(graph, 16, precision)
    right = interp.forward(graph, weights, x)
    roundoff = ROUNDOFF[precision]
    bound = interp.error_bound(graph, weights, x, 2.0**-24, roundoff, roundoff)
    y = gpu.run(made, pack(plan, graph, weights), x, 2)
    assert interp.agrees(y, right, bound).all()


WAITS = re.compile(r"\b(copies_end|copies_wait|__syncwarp)\(\);")


@runs
@EVERY
def test_a_missing_wait_is_caught(precision):
    """Copies that are not ended or not waited for, and a warp that does not meet, give other sums in some order."""
    graph = chain((256, 64), 8192)
    weights, x = drawn(graph, 1), inputs(graph, 20, 2)
    plan, made = made_for(graph, 64, precision)
    (launch,) = (one for one in made.launches if one.kernel == "k1_kernel")
    assert 0 < launch.shared <= 48 * 1024
    before, kernel = made.text.rsplit('extern "C" __global__', 1)
    assert "k1_kernel(" in kernel.partition("{")[0]
    numbers = count()
    kernel = WAITS.sub(lambda wait: f"if (removed != {next(numbers)}) {wait[0]}", kernel)
    text = f'extern "C" {{ int removed = -1; }}\n{before}extern "C" __global__{kernel}'
    removed = ctypes.c_int.in_dll(gpu.build(text), "removed")
    assert next(numbers) == 4
    parameters = pack(plan, graph, weights)
    right = gpu.run(made, parameters, x, 0)

    def differs() -> bool:
        return any(not np.array_equal(gpu.run(made, parameters, x, order, text), right) for order in (0, 1))

    assert not differs()
    for removed.value in range(4):
        assert differs(), removed.value


SEEN = """extern "C" { int seen_at[2][32][64], seen_count[2][32]; }
inline int seen(int what, int index) {
  const int lane = (int)threadIdx.x;
  if (!blockIdx.x && !blockIdx.y && lane < 32) seen_at[what][lane][seen_count[what][lane]++] = index;
  return index;
}
"""


@runs
@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_a_warp_asks_for_whole_sectors(precision):
    """Blocks of one step are not staged: every request is four sectors of 32 bytes with all their bytes, each once."""
    graph = chain((1024, 1024), 16384, BIAS)
    plan, made = made_for(graph, 64, precision)
    (op,) = (op for op in plan.ops if op.name == "k1")
    assert (op.fan_in, made.launches[1].shared) == (16, 0)
    text, loads = re.subn(r"from\[(units\[[^]]*\] \* 64 \+ b_)\]", r"from[seen(0, \1)]", made.text)
    text, stores = re.subn(r"\(float2\*\)\(to \+ ([^)]*)\)", r"(float2*)(to + seen(1, \1))", text)
    assert loads
    assert stores
    library = gpu.build(SEEN + text)
    gpu.run(made, pack(plan, graph, drawn(graph, 1)), inputs(graph, 256, 2), 0, SEEN + text)
    at = np.array((ctypes.c_int * (2 * 32 * 64)).in_dll(library, "seen_at")).reshape(2, 32, 64)
    counts = np.array((ctypes.c_int * 64).in_dll(library, "seen_count")).reshape(2, 32)
    for what, wide, sectors in ((0, 1, 4), (1, 2, 8)):
        (requests,) = set(counts[what])
        for request in at[what, :, :requests].T:
            floats = (request[:, None] + np.arange(wide)).ravel()
            assert len(np.unique(floats)) == 32 * wide
            assert len(np.unique(floats // 8)) == sectors
        units = op.fan_in if what == 0 else tensorcore.ROWS
        assert requests * sectors * 8 == units * 64


@runs
def test_special_values_stay_in_their_sample():
    graph = chain((64, 32), 1024, RELU)
    weights, x = drawn(graph, 1), inputs(graph, 9, 2)
    x[2, ::3], x[5, 1] = np.nan, np.inf
    plan, made = made_for(graph, 16, "bf16")
    y = gpu.run(made, pack(plan, graph, weights), x, 1)
    assert np.isnan(y[2]).any()
    assert np.isfinite(np.delete(y, [2, 5], axis=0)).all()


@runs
def test_gradients_through_tensor_cores():
    graph = chain((64, 32), 1024, BIAS)
    weights, x, dy = drawn(graph, 1), inputs(graph, 9, 2), inputs(graph, 9, 3)[:, :32]
    plan = plan_gradients(graph, 16, {})
    made = program(Lowered(plan, True, precision="tf32"), "sm_90")
    assert made.text.count("mma_tf32(sums") == 2
    found = gpu.run_gradients(made, pack(plan, graph, weights), x, np.ascontiguousarray(dy), 2)
    right_dx, right = interp.backward(graph, weights, x, dy)
    scale = np.abs(right_dx).max()
    np.testing.assert_allclose(found["dx"], right_dx, atol=2e-3 * scale)
    for name, y in unpack(plan, graph, found).items():
        np.testing.assert_allclose(y, right[name], rtol=2e-5, atol=1e-4)


@EVERY
@pytest.mark.skipif(nvrtc.library_path() == "", reason=f"needs NVRTC: {nvrtc.INSTALL}")
@pytest.mark.parametrize("arch", nvrtc.ARCHITECTURES)
def test_they_compile_without_spills_to_mma(arch, precision):
    graph = chain((1024, 1024, 256, 8), 32768, BIAS, RELU)
    if precision == "fp8" and arch == "sm_80":
        with pytest.raises(PathcError, match="sm_80 has no products on tensor cores for `precision=fp8`"):
            BACKEND.compile(Request(graph, drawn(graph, 1), {"arch": Word(arch), "precision": Word(precision)}))
        return
    executable = BACKEND.compile(
        Request(graph, drawn(graph, 1), {"arch": Word(arch), "precision": Word(precision), "lanes": 64})
    )
    plan = plan_net(chain((1024, 256, 256, 16), 16384, BIAS, RELU), 64, {})
    other = program(Lowered(plan, True, precision=precision), arch)
    used = (*executable.binary.resources, *nvrtc.compile_text(other.text, arch).resources)
    assert [one for one in used if one.spilled or one.stack] == []
    product = {"tf32": "m16n8k8", "bf16": "m16n8k16", "fp16": "m16n8k16", "fp8": "m16n8k32"}[precision]
    assert product in executable.binary.ptx
    assert "cp.async.cg.shared.global" in executable.binary.ptx
    assert [note.code for note in executable.notes] == ["W0669"]
    assert "main.3" in executable.notes[0].message


def test_what_does_not_go_together_is_refused():
    graph = chain((64, 32), 1024, RELU)
    for options in ({"precision": Word("fp4")}, {"precision": Word("tf32"), "fused": True}):
        with pytest.raises(PathcError, match="E0667"):
            BACKEND.compile(Request(graph, drawn(graph, 1), options))
    single = BACKEND.compile(Request(graph, drawn(graph, 1), {"precision": Word("tf32")}, batch=1))
    assert [note.code for note in single.notes] == ["W0669"]
