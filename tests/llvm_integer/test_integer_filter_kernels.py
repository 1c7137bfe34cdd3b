"""Integer kernels of filters against the integer interpreter: equal, bit for bit, on any net and processor."""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

import pathc
from pathc.backends.llvm import aot
from pathc.backends.llvm.integer.filters.executable import IntegerFilterExecutable, beyond_kernels
from pathc.backends.llvm.machine import machine
from pathc.ir.quantized import integer_forward, integer_network
from pathc.support.diagnostics import PathcError

sys.path.insert(0, str(Path(__file__).parent.parent / "quantized"))

from integer_filter_nets import LIMITS, formatted, net, texts

MACHINES = ["native", "cascadelake", "avx512", "alderlake", "avx2", "sse"]
RUNNABLE = [name for name in MACHINES if machine({"cpu": name}).runs_here]
WIDTHS = [name for name in ("native", "avx2", "sse") if name in RUNNABLE]
HEALTH = [HealthCheck.too_slow, HealthCheck.filter_too_much]
RESIDUAL = """
input x[3, 12x12]
layer a[16] : conv(3x3, pad = same) | bias | relu
layer b[16] : conv(3x3, pad = same) | bias | leaky(0.1)
layer c[24] : conv(3x3, stride = 2, pad = 1) | bias | relu | maxpool(2x2)
layer d[9] : conv(1x1) | bias | relu | avgpool(global)
layer e[7] : bias | relu
output y[5] : bias
dense p : x -> a
paths q : a -> b { count = 64 }
skip s : a -> b
dense r : b -> c
paths t : c -> d { count = 50, sequence = random(seed = 2) }
dense head : d -> e -> y
"""


def inputs(graph, batch, seed=0):
    station = graph.inputs[0]
    shape = (batch, station.real_units, *station.shape[1:])
    return np.random.default_rng(seed).normal(0, 3, shape).astype(np.float32)


def same(network, cpu, x):
    """Assert that kernels and interpreter agree."""
    executable = IntegerFilterExecutable(network, machine({"cpu": cpu}), "pathc_net")
    wanted = integer_forward(network, x).astype(np.float32)
    np.testing.assert_array_equal(executable(x), wanted)
    return executable


@settings(max_examples=20, deadline=None, suppress_health_check=HEALTH)
@given(texts(), st.integers(0, 999), st.sampled_from(list(LIMITS)), st.sampled_from(["tensor", "unit"]),
       st.sampled_from(RUNNABLE))  # fmt: skip
def test_random_nets(text, seed, kind, per, cpu) -> None:
    graph = net(text)
    graph, tensors = formatted(graph, seed, kind, per, [s.name for s in graph.outputs] if seed % 2 else [])
    network = integer_network(graph, tensors)
    assume(not beyond_kernels(network))
    executable = IntegerFilterExecutable(network, machine({"cpu": cpu}), "pathc_net")
    x = inputs(graph, 3, seed)
    wanted = integer_forward(network, x).astype(np.float32)
    # relu of an output in float32 is exact as well.
    np.testing.assert_array_equal(executable(x), wanted)


@pytest.mark.parametrize("cpu", RUNNABLE)
def test_residual_nets_of_paths(cpu) -> None:
    graph, tensors = formatted(net(RESIDUAL), 5, "i8", "unit")
    network = integer_network(graph, tensors)
    executable = same(network, cpu, inputs(graph, 5))
    np.testing.assert_array_equal(executable(inputs(graph, 5)[3]), executable(inputs(graph, 5))[3])
    assert executable(inputs(graph, 0)).shape == (0, 5)
    assert executable.roundoff == 0.0


NETS = {
    "many taps": "input x[2, 14x14]\nlayer a[5] : conv(5x5, dilation = 2) | bias | relu\noutput y[3]\n"
    "dense p : x -> a -> y",
    "few channels, one extent": "input x[1, 40]\nlayer a[6] : conv(7, causal = true, dilation = 3) | bias | tanh\n"
    "layer b[4] : conv(3, stride = 3) | sigmoid\noutput y[3] : bias\ndense p : x -> a -> b -> y",
    "strides of three": "input x[4, 20x23]\nlayer a[8] : conv(4x5, stride = 3, pad = 2) | bias | abs\n"
    "output y[3] : bias\ndense p : x -> a -> y",
    "large windows": "input x[3, 17x19] : relu\nlayer a[6] : conv(3x3) | bias | maxpool(5x5, stride = 3)\n"
    "layer b[6] : conv(1x1) | relu | avgpool(global)\noutput y[2] : bias\ndense p : x -> a -> b -> y",
    "outputs with extents": "input x[3, 9x9]\nlayer a[6] : conv(3x3) | bias | relu | channelshuffle(3)\n"
    "output y[4] : conv(1x1) | bias | relu | maxpool(2x2)\ndense p : x -> a -> y",
    "two inputs": "input x[2, 6x6]\ninput z[5]\nlayer a[4] : conv(3x3) | relu\nlayer h[8] : bias | relu\n"
    "output y[3]\ndense p : x -> a -> h\ndense q : z -> h\ndense r : h -> y\ndense t : z -> y",
    "wide rows": "input x[2, 3x150]\nlayer a[3] : conv(3x3, pad = same) | bias | hardtanh(low = -1, high = 1)\n"
    "layer b[3, 3x150] : identity\noutput y[1]\ndense p : x -> a\nskip s : a -> b { scale = -0.7 }\ndense q : b -> y",
}


@pytest.mark.parametrize("name", NETS)
def test_every_shape(name) -> None:
    graph, tensors = formatted(net(NETS[name]), 4, "i8", "unit", ["y"] if "outputs" not in name else [])
    network = integer_network(graph, tensors)
    if len(graph.inputs) == 1:
        x = inputs(graph, 3)
    else:
        x = np.random.default_rng(1).normal(0, 3, (3, 77)).astype(np.float32)
    for cpu in WIDTHS:
        same(network, cpu, x)


def test_wide_sums() -> None:
    """Sums beyond 25 bits are read in float64, averages of windows, too."""
    stations = (
        "input x[64, 9x9]\nlayer a[2] : conv(9x9, pad = same) | bias | relu\nlayer b[2] : conv(1x1) | avgpool(global)"
    )
    graph = net(f"{stations}\noutput y[1]\ndense p : x -> a -> b -> y")
    graph, tensors = formatted(graph, 3, "i8", "tensor")
    tensors["p.1"][0] = 127
    network = integer_network(graph, tensors)
    assert network.station("a").bits > 25
    x = np.concatenate([np.full((1, 64, 9, 9), 9e9), inputs(graph, 2)]).astype(np.float32)
    for cpu in WIDTHS:
        same(network, cpu, x)


def test_nan_is_refused_and_stays_in_its_sample() -> None:
    graph, tensors = formatted(net(RESIDUAL), 5)
    executable = IntegerFilterExecutable(integer_network(graph, tensors), machine({"threads": "2"}), "pathc_net")
    clean = inputs(graph, 70)
    for bad in (66, 3):
        x = clean.copy()
        x[bad, 1, 4, 4] = np.nan
        with pytest.raises(PathcError, match="E1308"):
            executable(x)
        found = executable.bind(x).call()
        assert np.isnan(found[bad]).all()
        others = np.arange(70) != bad
        np.testing.assert_array_equal(found[others], executable(clean)[others])


@pytest.mark.parametrize("text", [RESIDUAL, NETS["outputs with extents"]], ids=["flat", "extents"])
def test_ahead_of_time(text, tmp_path) -> None:
    graph, tensors = formatted(net(text), 5)
    executable = IntegerFilterExecutable(integer_network(graph, tensors), machine({}), "pathc_net")
    x = inputs(graph, 3)
    program = executable.program()
    aot.write(program, tmp_path, ["so"])
    run = ctypes.CDLL(str(tmp_path / f"{program.name}.so"))[program.name]
    run.argtypes = [*[ctypes.c_void_p] * 4, *[ctypes.c_int64] * 3]
    y = np.empty((3, program.outputs), np.float32)
    memory = [np.zeros(program.params.nbytes + 64, np.uint8), np.zeros(program.scratch + 64, np.uint8)]
    starts = [-part.ctypes.data % 64 for part in memory]
    memory[0][starts[0] : starts[0] + program.params.nbytes] = program.params
    ends = [part.ctypes.data + start for part, start in zip(memory, starts, strict=True)]
    run(x.ctypes.data, y.ctypes.data, *ends, 3, program.inputs, program.outputs)
    np.testing.assert_array_equal(y, executable(x).reshape(3, -1))


@pytest.mark.parametrize("cpu", ["aarch64", "neoverse-v1", "znver4", "x86-64-v2"])
def test_objects_for_other_processors(cpu) -> None:
    graph, tensors = formatted(net(RESIDUAL), 5)
    executable = IntegerFilterExecutable(integer_network(graph, tensors), machine({"cpu": cpu}), "pathc_net")
    assert len(executable.emit("o")) > 1000
    assert cpu != "znver4" or "vpdpbusd" in str(executable.emit("asm"))
    with pytest.raises(PathcError, match="E0804"):
        executable.emit("plan")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("input x[3]\nlayer a[2, 2x2] : relu\noutput y[1]\ndense p : x -> a -> y", "back to the extents of `a`"),
        ("input x[2, 4x4]\nlayer a[4] : relu\nlayer b[8] : concat\noutput y[1]\ndense p : x -> a\nskip s : a -> b\n"
         "skip t : a -> b\ndense q : b -> y", "`concat`"),
        ("input x[2, 4x4]\noutput y[4] : conv(1x1) | softmax\ndense p : x -> y", "as sums and has the stage `softmax`"),
        ("input x[2, 4x4]\noutput y[4] : conv(1x1)\noutput z[4]\ndense p : x -> y\ndense q : x -> z", "some outputs"),
    ],
)  # fmt: skip
def test_what_kernels_do_not_have(text, why) -> None:
    graph = net(text)
    graph, tensors = formatted(graph, 3, sums=[s.name for s in graph.outputs])
    with pytest.raises(PathcError, match=f"E0379: .*{why}"):
        pathc.compile(graph, "llvm{integers=true}", weights=tensors)
    assert pathc.compile(graph, "reference{integers=true}", weights=tensors)


def test_the_target(tmp_path) -> None:
    graph, tensors = formatted(net(RESIDUAL), 6)
    executable = pathc.compile(graph, "llvm{integers=true, threads=1}", weights=tensors)
    x = inputs(graph, 4)
    wanted = pathc.compile(graph, "reference{integers=true}", weights=tensors)(x)
    np.testing.assert_array_equal(executable(x), wanted.astype(np.float32))
    y = np.empty((4, 5), np.float32)
    assert executable(x, y) is y
    with pytest.raises(PathcError, match="E0512"):
        executable(x[:, :2])
    with pytest.raises(PathcError, match="E0703"):
        executable.bind(x.astype(np.float64))
