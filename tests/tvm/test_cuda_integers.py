"""Quantized nets as CUDA text: executed on the processor, they give the bits of the integer interpreter."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from pathlib import Path

import gpu_on_cpu as gpu
import library_support
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pathc
from pathc.backends.base import Request
from pathc.backends.llvm.backend import BACKEND as LLVM
from pathc.backends.tvm import facade, nvrtc
from pathc.backends.tvm.cuda import BACKEND
from pathc.backends.tvm.integer.executable import CudaIntegers
from pathc.backends.tvm.integer.plan import Listed, Tensor, plan_integers
from pathc.driver import DEFAULT_PIPELINE
from pathc.ir.facts import Scale, Weights
from pathc.ir.graph import Graph
from pathc.ir.passes import parse_pipeline
from pathc.ir.pipeline import run_passes
from pathc.ir.quantized import IntegerNetwork, integer_forward, integer_network
from pathc.ir.types import Call, Word, plain_type
from pathc.support.diagnostics import PathcError

sys.path.insert(0, str(Path(__file__).parent.parent / "quantized"))

from quantized_nets import quantized, rich

pytestmark = pytest.mark.skipif(facade.missing() != "", reason=f"needs TVM: {facade.INSTALL}")
runs = pytest.mark.skipif(not gpu.available(), reason="needs g++ to execute CUDA text: apt-get install g++")
ACTIVATIONS = [
    Call("identity"),
    Call("relu"),
    Call("abs"),
    Call("leaky", (("slope", -0.1),)),
    Call("hardtanh", (("low", -0.5), ("high", 2.0))),
    Call("tanh"),
    Call("sigmoid"),
    Call("kwinners", (("k", 2),)),
]


def assert_same(network: IntegerNetwork, x: np.ndarray, order: int = 2) -> CudaIntegers:
    """The bits of the integer interpreter, or its numbers where outputs have functions in float32."""
    net = CudaIntegers(network, "sm_90")
    found = gpu.run(net.program, net.parameters, x, order)
    wanted = integer_forward(network, x).astype(np.float32)
    if net.roundoff:
        np.testing.assert_allclose(found, wanted, rtol=net.roundoff, atol=net.roundoff)
    else:
        np.testing.assert_array_equal(found, wanted)
    return net


@runs
@pytest.mark.parametrize("kind", ["i8", "t2"])
@pytest.mark.parametrize("number", range(len(ACTIVATIONS)))
def test_every_function_and_format(kind, number) -> None:
    graph, tensors = quantized(rich(ACTIVATIONS[number]), number + 3, kind, "unit" if number % 2 else "tensor")
    x = np.random.default_rng(number).normal(0, 2, (70, 6)).astype(np.float32)
    x[3, 1], x[4, 2] = np.inf, -np.inf
    assert_same(integer_network(graph, tensors), x)


def chain(sizes: list[int], counts: list[int], out: str = "", function: str = "relu") -> Graph:
    names = [f"s{k}" for k in range(len(sizes))]
    lines = [f"input s0[{sizes[0]}]"]
    lines += [f"layer {n}[{size}] : bias | {function}" for n, size in zip(names[1:-1], sizes[1:-1], strict=True)]
    lines.append(f"output {names[-1]}[{sizes[-1]}]{out}")
    for k, count in enumerate(counts):
        ends = f"p{k} : s{k}@{k} -> s{k + 1}@{k + 1} {{ count = {count} }}"
        lines.append(f"paths {ends}" if count else f"dense p{k} : s{k} -> s{k + 1}")
    text = "\n".join(["pathc 1", "model chain", *lines]) + "\n"
    return run_passes(pathc.load(pathc.Source("chain.path", text)), parse_pipeline(DEFAULT_PIPELINE))


@runs
@settings(max_examples=12)
@given(st.data())
def test_random_chains(data) -> None:
    depth = data.draw(st.integers(1, 3))
    sizes = [1 << data.draw(st.integers(1, 6)) if data.draw(st.booleans()) else data.draw(st.integers(1, 70))
             for _ in range(depth + 1)]  # fmt: skip
    counts = [data.draw(st.sampled_from([0, 1, 64, 100, 512])) for _ in range(depth)]
    function = data.draw(st.sampled_from(["relu", "abs", "tanh"]))
    graph, tensors = quantized(chain(sizes, counts, function=function), data.draw(st.integers(0, 99)))
    batch = data.draw(st.sampled_from([1, 2, 63, 65]))
    x = np.random.default_rng(1).normal(0, 2, (batch, sizes[0])).astype(np.float32)
    assert_same(integer_network(graph, tensors), x, data.draw(st.sampled_from(gpu.ORDERS)))


@runs
@pytest.mark.parametrize(("fan", "depth"), [(8, 16), (16, 16), (32, 32), (40, 32)])
def test_blocks_are_multiplied_on_tensor_cores(fan, depth) -> None:
    graph, tensors = quantized(chain([64, 64], [64 * fan]) if fan in (8, 16, 32) else chain([40, 24], [0]), 5)
    network = integer_network(graph, tensors)
    (step,) = plan_integers(network).steps
    (kernel,) = step.kernels
    assert isinstance(kernel, Tensor)
    assert kernel.depth == depth
    x = np.random.default_rng(1).normal(0, 2, (66, network.graph.inputs[0].units)).astype(np.float32)
    net = assert_same(network, x)
    # A fragment in the wrong thread must not hide: other weights, other outputs.
    swapped = dict(net.parameters) | {"k1_w": net.parameters["k1_w"][..., ::-1].copy()}
    assert (gpu.run(net.program, swapped, x, 0) != integer_forward(network, x)).any()


@runs
def test_a_barrier_less_is_noticed() -> None:
    graph, tensors = quantized(chain([64, 64], [1024]), 5)
    network = integer_network(graph, tensors)
    net = CudaIntegers(network, "sm_90")
    x = np.random.default_rng(1).normal(0, 2, (66, 64)).astype(np.float32)
    for barrier, count in (("__syncthreads();", 2), ("__syncwarp();", 2)):
        assert net.program.text.count(barrier) == count
        text = net.program.text.replace(barrier, "")
        wrong = [gpu.run(net.program, net.parameters, x, order, text) for order in gpu.ORDERS]
        assert all((y != integer_forward(network, x)).any() for y in wrong)


def as_sums(graph: Graph, output: str) -> Graph:
    """The graph without the format of an output."""
    return replace(graph, facts=tuple(f for f in graph.facts if not (isinstance(f, Scale) and f.station == output)))


@runs
@pytest.mark.parametrize("out", [" : softmax", " : bias | tanh", " : kwinners(3)", " : leaky(0.5) | softmax"])
def test_outputs_given_as_sums(out) -> None:
    graph, tensors = quantized(chain([16, 32, 10], [256, 0], out), 7)
    x = np.random.default_rng(1).normal(0, 2, (67, 16)).astype(np.float32)
    assert_same(integer_network(as_sums(graph, "s2"), tensors), x)


@runs
def test_edges_one_by_one() -> None:
    text = "pathc 1\ninput x[50]\noutput y[37]\npaths p : x -> y { count = 90, sequence = random(seed = 3) }\n"
    graph, tensors = quantized(pathc.load(pathc.Source("net.path", text)), 3)
    network = integer_network(graph, tensors)
    assert [type(k) for step in plan_integers(network).steps for k in step.kernels] == [Listed]
    assert_same(network, np.random.default_rng(1).normal(0, 2, (5, 50)).astype(np.float32))


@pytest.mark.skipif(nvrtc.library_path() == "", reason=f"needs NVRTC: {nvrtc.INSTALL}")
@pytest.mark.parametrize("arch", nvrtc.ARCHITECTURES)
def test_they_compile_without_spills(arch) -> None:
    graph, tensors = quantized(chain([1024, 512, 300, 10], [16384, 2048, 0], " : softmax"), 5)
    graph = as_sums(graph, "s3")
    request = Request(graph, tensors, {"integers": True, "arch": Word(arch)}, stored=tensors)
    net = BACKEND.compile(request)
    assert isinstance(net, CudaIntegers)
    used = net.binary.resources
    assert len(used) == len(net.program.launches)
    assert [one for one in used if one.spilled or one.stack] == []
    assert "mma.sync.aligned.m16n8k32.row.col.s32.s8.u8.s32" in net.binary.ptx
    said = net.emit("report")
    assert isinstance(said, str)
    assert re.search(r"k1_kernel .*occupancy", said)
    assert net.companions("cubin") == ("json", "params")


@runs
@pytest.mark.skipif(nvrtc.library_path() == "", reason=f"needs NVRTC: {nvrtc.INSTALL}")
def test_as_a_library_and_as_a_cu_file(tmp_path, fake) -> None:
    graph, tensors = quantized(chain([64, 37, 10], [512, 0]), 5)
    net = BACKEND.compile(Request(graph, tensors, {"integers": True, "arch": Word("sm_90")}, stored=tensors))
    library_support.write(tmp_path, net)
    gpu.build_file(net.program.text, tmp_path / "kernels.so")
    x = np.random.default_rng(1).normal(0, 2, (70, 64)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    said = library_support.call(tmp_path, fake)
    wanted = integer_forward(integer_network(graph, tensors), x).astype(np.float32)
    for name in ("y", "run", "kernels", "lent"):
        np.testing.assert_array_equal(np.load(tmp_path / f"{name}.npy"), wanted)
    assert said["left"] == [0, 0, 0]
    gpu.check_launches(str(net.emit("cu")), tmp_path / "cu.so")


def test_what_is_refused() -> None:
    graph, tensors = quantized(chain([16, 8], [64]), 5)

    def made(options, facts=graph.facts):
        BACKEND.compile(Request(replace(graph, facts=facts), tensors, options, stored=tensors))

    with pytest.raises(PathcError, match="E0667"):
        made({"integers": True, "precision": Word("bf16")})
    with pytest.raises(PathcError, match="E0804"):
        BACKEND.compile(Request(graph, tensors, {"integers": True}, stored=tensors)).emit("tir")
    wide = tuple(replace(f, type=plain_type("i16")) if isinstance(f, Scale | Weights) else f for f in graph.facts)
    for options, backend in (({"integers": True}, BACKEND), ({"integers": True}, LLVM)):
        with pytest.raises(PathcError, match="E1309"):
            backend.compile(Request(replace(graph, facts=wide), tensors, options, stored=tensors))
