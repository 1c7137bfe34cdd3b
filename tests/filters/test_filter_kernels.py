"""Compiled nets with extents against the interpreter: random nets, vector widths, batches, special values."""

from __future__ import annotations

import ctypes
import shutil

import numpy as np
import pytest
from filter_nets import inputs_of, net, texts, weights_of
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from test_filter_meaning import EQUATION, RESIDUAL, SHORTCUT

import pathc
from pathc.backends.base import Request
from pathc.backends.llvm import aot
from pathc.backends.llvm.backend import BACKEND
from pathc.backends.llvm.native import aligned
from pathc.ir.inputs import input_shape
from pathc.ir.interp import agrees, error_bound, forward, unit_roundoff
from pathc.support.diagnostics import PathcError

RANDOM = settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
WIDTHS = ("native", "avx2", "sse")


def compiled(graph, weights, cpu="native"):
    return BACKEND.compile(Request(graph, weights, {"cpu": cpu}))


def assert_right(graph, weights, x, cpu="native") -> None:
    single = {name: w.astype(np.float32) for name, w in weights.items()}
    x = x.astype(np.float32)
    y = compiled(graph, single, cpu)(x)
    expected = forward(graph, single, x)
    assert y.shape == expected.shape
    bound = error_bound(graph, single, x, unit_roundoff("float32"))
    right = agrees(y, expected, bound)
    assert right.all(), (y[~right][:4], expected[~right][:4], bound[~right][:4])


@RANDOM
@given(texts(), st.sampled_from(WIDTHS), st.integers(1, 5))
def test_random_nets(text, cpu, batch) -> None:
    assume("kwinners" not in text)
    graph = net(text)
    assert_right(graph, weights_of(graph), inputs_of(graph, batch), cpu)


@pytest.mark.parametrize("cpu", WIDTHS)
@pytest.mark.parametrize("text", [EQUATION, RESIDUAL, SHORTCUT])
def test_equations_and_residuals(text, cpu) -> None:
    graph = net(text)
    assert_right(graph, weights_of(graph), inputs_of(graph, 3), cpu)


SHAPES = [
    ("3, 32x32", "conv(3x3, pad = same)"),
    ("16, 17x31", "conv(3x3, pad = same) | bias | batchnorm | relu"),
    ("8, 9x40", "conv(5x5, stride = 2, pad = 2) | relu"),
    ("8, 14x14", "conv(1x1, stride = 2) | bias"),
    ("8, 12x12", "conv(3x3, dilation = 3) | leaky(0.1)"),
    ("4, 11x41", "conv(11x21, stride = 2x2, pad = 5x10) | hardtanh(0, 20)"),
    ("8, 100", "conv(7, causal = true, dilation = 4) | tanh"),
    ("4, 1x1", "conv(1x1) | bias | sigmoid"),
    ("8, 6x6", "conv(3x3, pad = same) | maxpool(3x3, stride = 2) | relu"),
    ("8, 8x8", "conv(3x3, pad = same) | avgpool(global)"),
    ("8, 8x9", "conv(1x3) | maxpool(global) | softmax"),
    ("8, 5x23", "conv(3x3, pad = same) | softmax | channelshuffle(4) | batchnorm"),
    ("8, 16x16", "conv(3x3, pad = same) | avgpool(4x5, stride = 3x2) | channelshuffle(2) | bias"),
]


LINES = (
    "paths p : x -> y { count = 100 }",
    "paths p : x -> y { count = 64, sequence = random }",
    "dense p : x -> y",
)


@pytest.mark.parametrize("cpu", WIDTHS)
@pytest.mark.parametrize("line", LINES)
@pytest.mark.parametrize(("extents", "pipeline"), SHAPES)
def test_shapes(extents, pipeline, line, cpu) -> None:
    graph = net(f"input x[{extents}]\noutput y[16] : {pipeline}\n{line}")
    assert_right(graph, weights_of(graph), inputs_of(graph, 2), cpu)


@pytest.mark.parametrize("groups", [2, 8])
def test_groups_and_chains_of_filters(groups) -> None:
    graph = net(f"""
input x[8, 12x12] : relu
layer a[8] : conv(3x3, pad = same, groups = {groups}) | bias | relu
layer b[16] : conv(1x1) | channelshuffle(4)
layer c[16] : conv(3x3, stride = 2, pad = 1) | batchnorm | relu
layer d[32, 6x6] : concat | relu
output y[10] : bias | softmax
dense p : x -> a -> b
paths q : b -> c {{ count = 64 }}
paths r : a -> c {{ count = 40 }}
skip s : c -> d
skip t : c -> d {{ scale = -1 }}
dense h : d -> y
""")
    assert_right(graph, weights_of(graph), inputs_of(graph, 3))


@pytest.mark.parametrize("special", [np.nan, np.inf, -np.inf, -0.0, 3e38, 1e-42])
def test_values_that_are_hardly_numbers(special) -> None:
    graph = net("""
input x[8, 9x9]
layer a[8] : conv(3x3, pad = same) | bias | relu
layer b[8] : conv(3x3, stride = 2) | maxpool(2x2)
output y[4]
paths p : x -> a -> b { count = 16 }
dense h : b -> y
""")
    x = inputs_of(graph, 3)
    x[1, 3, 4, 4] = special
    with np.errstate(over="ignore"):
        assert_right(graph, weights_of(graph), x)


def test_a_line_from_filters_to_flat_layers_is_cut() -> None:
    graph = net("""
input x[4, 8x8] : u8
layer a[16] : conv(3x3) | relu | avgpool(global)
layer b[32] : bias | relu
output y[8] : softmax
paths p : x -> a -> b -> y { count = 128 }
""")
    weights, x = weights_of(graph), inputs_of(graph, 9)
    assert_right(graph, weights, x)
    net_ = compiled(graph, {name: w.astype(np.float32) for name, w in weights.items()})
    x = x.astype(np.float32)
    one = net_(x[0])
    assert one.shape == (8,)
    np.testing.assert_array_equal(net_.bind(x[:1].copy())(), one[None])
    out = np.empty((9, 8), np.float32)
    assert net_(x, out) is out
    assert net_(x[:0]).shape == (0, 8)
    np.testing.assert_array_equal(net_.bind(x, threads=2)(), out)
    assert "define" in net_.emit("ll")


def test_pad_with_silent_channels() -> None:
    graph = net("""
input x[3, 8x8] { pad = pow2 }
layer a[6] : conv(3x3, pad = same) | bias | relu { pad = pow2 }
output y[5] : bias
paths p : x -> a { count = 64 }
dense h : a -> y
""")
    assert graph.stations[0].units == 4
    assert_right(graph, weights_of(graph), inputs_of(graph, 3))


def test_a_normalization_behind_a_function_goes_into_what_reads_it() -> None:
    graph = net("input x[4, 4x4]\nlayer h[4] : relu | batchnorm\noutput y[2]\ndense p : x -> h -> y")
    assert_right(graph, weights_of(graph), inputs_of(graph, 3))


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("input x[4, 4x4]\nlayer h[4] : conv(1x1) | kwinners(2)\noutput y[2]\ndense p : x -> h -> y", "kwinners"),
        ("input x[4]\nlayer h[4, 4x4] : relu\noutput y[2]\ndense p : x -> h -> y", "back to the extents"),
        ("input x[4, 4x4]\nlayer h[4] : relu | batchnorm | tanh\noutput y[2]\ndense p : x -> h -> y", "normalization"),
        ("input x[4, 4x4]\noutput y[2] : conv(1x1)\noutput z[2]\ndense p : x -> y\ndense q : x -> z", "outputs"),
    ],
)
def test_what_has_no_kernels(text, word) -> None:
    graph = net(text)
    with pytest.raises(PathcError, match=word) as refused:
        compiled(graph, weights_of(graph))
    assert {d.code for d in refused.value.diagnostics} == {"E0379"}
    x = inputs_of(graph, 2).reshape(2, *input_shape(graph))
    assert np.isfinite(forward(graph, weights_of(graph), x)).all()


def test_interleaved_lines_cannot_be_cut(tmp_path) -> None:
    graph = net("""
input x[8, 4x4]
layer a[8] : conv(1x1) | avgpool(global)
output y[8]
paths p : x -> a -> y { count = 16, sequence = expander }
""")
    with pytest.raises(PathcError, match="E0377"):
        compiled(graph, weights_of(graph))


def test_compile_takes_arrays_with_extents() -> None:
    source = pathc.Source(
        "n.path", "pathc 1\ninput x[3, 6x6]\noutput y[2] : conv(3x3) | avgpool(global)\ndense p : x -> y"
    )
    net_ = pathc.compile(source)
    assert net_(np.ones((5, 3, 6, 6), np.float32)).shape == (5, 2, 1, 1)
    with pytest.raises(PathcError, match="E0512"):
        net_(np.ones((5, 3, 6), np.float32))


FILES = {
    "flat behind": RESIDUAL,
    "filters alone": "input x[3, 7x7]\noutput y[4] : conv(3x3) | bias | relu\npaths p : x -> y { count = 16 }",
}


@pytest.mark.skipif(shutil.which("cc") is None, reason="linking needs a C compiler, cc")
@pytest.mark.parametrize("name", FILES)
def test_as_a_library(name, tmp_path) -> None:
    graph = net(FILES[name])
    weights = {n: w.astype(np.float32) for n, w in weights_of(graph).items()}
    made = compiled(graph, weights)
    program = made.program()
    (path,) = aot.write(program, tmp_path, ["so"])
    function = ctypes.CDLL(str(path))[program.name]
    x = inputs_of(graph, 5).astype(np.float32).reshape(5, -1)
    expected = made(x.reshape(5, *input_shape(graph))).reshape(5, -1)
    y = np.full((5, expected.shape[1] + 3), 7.0, np.float32)
    params, scratch = aligned(program.params.nbytes), aligned(program.scratch)
    params[:] = program.params.view(np.uint8)
    scratch[:] = 255
    arrays = (ctypes.c_void_p(a.ctypes.data) for a in (x, y, params, scratch))
    function(*arrays, *(ctypes.c_int64(n) for n in (5, x.shape[1], y.shape[1])))
    np.testing.assert_allclose(y[:, :-3], expected, rtol=1e-5, atol=1e-6)
    assert (y[:, -3:] == 7.0).all()
    assert f"#define {program.name.upper()}_INPUTS {x.shape[1]}" in str(made.emit("h"))


@pytest.mark.parametrize("kind", ["ll", "asm", "o", "h", "c", "params"])
def test_stages_for_other_machines(kind) -> None:
    graph = net(RESIDUAL)
    weights = {n: w.astype(np.float32) for n, w in weights_of(graph).items()}
    for cpu in ("aarch64", "avx512"):
        assert compiled(graph, weights, cpu).emit(kind)
    with pytest.raises(PathcError, match="E0804"):
        compiled(graph, weights).emit("plan")
