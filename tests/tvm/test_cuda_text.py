"""Scheduled CUDA text executed on the processor: every kernel form, several orders of threads, odd sizes."""

from __future__ import annotations

import ctypes
import re
from dataclasses import replace
from functools import cache
from itertools import count

import gpu_on_cpu as gpu
import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from tvm_support import BIAS, GENERATORS, RELU, SOFTMAX, chain, check, drawn, inputs, models

from pathc.backends.tvm import facade
from pathc.backends.tvm.compiled import Lowered
from pathc.backends.tvm.lower import fusable, plan_net
from pathc.backends.tvm.pack import pack
from pathc.backends.tvm.program import program
from pathc.backends.tvm.schedule import Tile
from pathc.ir.graph import Graph, Line, Station, Visit
from pathc.ir.types import Call

pytestmark = [
    pytest.mark.skipif(facade.missing() != "", reason=f"needs TVM: {facade.INSTALL}"),
    pytest.mark.skipif(not gpu.available(), reason="needs g++ to execute CUDA text: apt-get install g++"),
]
NETS = {
    "blocks": lambda: chain((64, 128, 32), 2048, BIAS, RELU),
    "windows": lambda: chain((32, 32, 32), 192, BIAS, RELU),
    "odd": lambda: chain((50, 31, 10), 300, BIAS, RELU, last=[BIAS, SOFTMAX]),
    "narrow": lambda: chain((40, 1, 3), 64, RELU),
    "ends": lambda: _ends(),
    "winners": lambda: chain((24, 12, 5), 64, RELU, last=[BIAS, Call("kwinners", (("k", 2),))]),
}


def _ends():
    """Two outputs, one on the way to the other."""
    graph = chain((24, 12, 5), 64, BIAS, RELU)
    stations = tuple(replace(s, role="output") if s.name == "s1" else s for s in graph.stations)
    return replace(graph, stations=stations)


@cache
def lowered(name, lanes, fused=False, form=""):
    graph = NETS[name]()
    plan = plan_net(graph, lanes, {"*": form} if form else {}, fused)
    return graph, plan, program(Lowered(plan, gpu=True), "sm_90")


def conforms(name, lanes, batch, fused=False, form="", orders=gpu.ORDERS):
    graph, plan, made = lowered(name, lanes, fused, form)
    weights, x = drawn(graph, 1), inputs(graph, batch, 2)
    parameters = pack(plan, graph, weights)
    for order in orders:
        check(graph, weights, x, gpu.run(made, parameters, x, order))


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize(("lanes", "batch"), [(1, 1), (64, 70)])
def test_a_kernel_for_every_junction(name, lanes, batch):
    conforms(name, lanes, batch)


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize(("lanes", "batch"), [(1, 1), (16, 33)])
def test_one_kernel_for_the_whole_net(name, lanes, batch):
    if not fusable(plan_net(NETS[name](), lanes, {}, True)):
        assert (name, lanes) == ("narrow", 1)
        return
    conforms(name, lanes, batch, fused=True)
    assert len(lowered(name, lanes, True)[2].launches) == 1


@pytest.mark.parametrize("form", ["ell", "csr"])
@pytest.mark.parametrize("lanes", [1, 32])
@pytest.mark.parametrize("fused", [False, True])
def test_table_forms(form, lanes, fused):
    conforms("blocks", lanes, min(lanes, 9), fused, form, orders=(1, 2))


@pytest.mark.parametrize("units", [(1, 17), (37, 40), (101, 33), (41, 1)], ids=str)
@pytest.mark.parametrize("lanes", [32, 256])
def test_dense_lines_of_sizes_that_do_not_divide(units, lanes):
    """One source at a time is copied by some of the threads that read it."""
    stations = Station("s0", "input", (units[0],)), Station("s1", "output", (units[1],))
    graph = Graph("net", stations, (Line("main", "dense", (Visit("s0", 0), Visit("s1", 1))),))
    plan = plan_net(graph, lanes, {})
    made = program(Lowered(plan, gpu=True), "sm_90")
    assert made.shared <= 48 * 1024
    weights, x = drawn(graph, 1), inputs(graph, 33, 2)
    for order in gpu.ORDERS:
        check(graph, weights, x, gpu.run(made, pack(plan, graph, weights), x, order))


@settings(max_examples=3, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
@given(models(largest=64, paths=512), st.sampled_from([1, 2, 32, 64]), st.booleans(), st.integers(0, 9), st.data())
def test_random_models(graph, lanes, fused, seed, data):
    batch = data.draw(st.integers(1, 2 * lanes + 1))
    weights, x = drawn(graph, seed), inputs(graph, batch, seed)
    plan = plan_net(graph, lanes, {}, fused)
    if fused and not fusable(plan):
        plan = replace(plan, fused=False)
    made = program(Lowered(plan, gpu=True), "sm_80")
    check(graph, weights, x, gpu.run(made, pack(plan, graph, weights), x, data.draw(st.integers(0, 3))))


@pytest.mark.parametrize("generator", GENERATORS[1:2], ids=str)
def test_generators(generator):
    graph = chain((64, 64, 64), 256, RELU, generator=generator)
    plan = plan_net(graph, 32, {})
    made = program(Lowered(plan, gpu=True), "sm_90")
    weights, x = drawn(graph, 1), inputs(graph, 40, 2)
    check(graph, weights, x, gpu.run(made, pack(plan, graph, weights), x, 2))


@pytest.mark.parametrize("tile", [Tile(1, 1, 4, 64), Tile(4, 2, 8, 128), Tile(8, 2, 16, 512)], ids=str)
def test_tiles_of_a_tuner(tile):
    graph, plan, _ = lowered("blocks", 64)
    made = program(Lowered(plan, True, {op.name: tile for op in plan.ops[1:-1]}), "sm_90")
    weights, x = drawn(graph, 1), inputs(graph, 65, 2)
    check(graph, weights, x, gpu.run(made, pack(plan, graph, weights), x, 3))


def test_special_values_stay_in_their_sample():
    graph, plan, made = lowered("odd", 32)
    weights, x = drawn(graph, 1), inputs(graph, 40, 2)
    x[3, 7], x[5, 7], x[9, 1] = np.nan, np.inf, -0.0
    y = gpu.run(made, pack(plan, graph, weights), x, 2)
    clean = [row for row in range(40) if row not in (3, 5)]
    check(graph, weights, x[clean], y[clean])
    assert np.isnan(y[3]).all()


BARRIER = re.compile(r"^ *__syncthreads\(\);\n", re.MULTILINE)


@pytest.mark.parametrize(("name", "fused"), [("blocks", False), ("odd", True)])
def test_a_missing_barrier_is_caught(name, fused):
    """Without its barriers a kernel reads what other threads have yet to write; some order of threads shows it."""
    graph, plan, made = lowered(name, 32, fused)
    weights, x = drawn(graph, 1), inputs(graph, 33, 2)
    parameters = pack(plan, graph, weights)
    numbers = count()
    text = 'extern "C" { int removed = -1; }\n'
    text += BARRIER.sub(lambda _: f"if (removed != {next(numbers)}) __syncthreads();\n", made.text)
    removed = ctypes.c_int.in_dll(gpu.build(text), "removed")
    places = next(numbers)
    assert places

    def differ() -> bool:
        outputs = [gpu.run(made, parameters, x, order, text) for order in (0, 1)]
        return not all(np.array_equal(outputs[0], y, equal_nan=False) for y in outputs)

    assert not differ()
    needed = 0
    for removed.value in range(places):
        needed += differ()
    assert needed >= (len(plan.ops) - 1 if fused else places)


def test_a_barrier_not_all_threads_reach_is_caught():
    graph, plan, made = lowered("odd", 32, True)
    text = made.text.replace("__syncthreads();", "if (threadIdx.x != 7) __syncthreads();", 1)
    with pytest.raises(gpu.KernelError, match="wait at a barrier"):
        gpu.run(made, pack(plan, graph, drawn(graph, 1)), inputs(graph, 1, 2), text=text)


def test_shuffles_exchange_and_lonely_ones_are_caught():
    text = """extern "C" __global__ void __launch_bounds__(64) sums(float* __restrict__ y_ptr, int who) {
  float mine = threadIdx.x;
  if ((int)threadIdx.x != who)
    for (int step = 16; step; step /= 2) mine = mine + __shfl_xor_sync(0xffffffffu, mine, step);
  y_ptr[threadIdx.x] = mine;
}
"""
    y = np.zeros(64, np.float32)
    from pathc.backends.tvm.program import Launch

    one = Launch("sums", ("1", "1", "1"), (64, 1, 1), 0, ("y", "who"))
    for order in gpu.ORDERS:
        gpu.launch(gpu.build(text), one, {"y": y}, {"who": -1}, order)
        np.testing.assert_array_equal(y, np.repeat([496, 1520], 32))
    with pytest.raises(gpu.KernelError, match="part of a warp"):
        gpu.launch(gpu.build(text), one, {"y": y}, {"who": 3}, 0)
