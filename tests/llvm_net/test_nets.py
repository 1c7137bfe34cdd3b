"""Whole nets on the CPU against the interpreter: random models, every batch, every machine this host can run."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from net_support import BATCHES, BIAS, MACHINES, check, drawn, graph_of, inputs, models

from pathc.backends.base import Request
from pathc.backends.llvm.backend import BACKEND
from pathc.ir import interp
from pathc.ir.graph import Graph, Line, Station, Visit
from pathc.ir.types import Call, Word
from pathc.support.diagnostics import PathcError


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(models(), st.sampled_from(BATCHES), st.integers(0, 9), st.sampled_from(MACHINES), st.data())
def test_random_models_equal_the_interpreter(graph, batch, seed, cpu, data):
    weights = drawn(graph, seed)
    executable = BACKEND.compile(Request(graph, weights, {"cpu": Word(cpu)}))
    x = inputs(graph, batch, seed)
    check(graph, weights, x, executable(x))
    threads = data.draw(st.sampled_from([1, 2]))
    y = np.full((batch, executable.row_plan.outputs), np.nan, np.float32)
    executable.bind(x, y, threads=threads)()
    check(graph, weights, x, y)


@pytest.mark.parametrize("batch", [0, *BATCHES])
@pytest.mark.parametrize("units", [(1024, 256, 256, 16), (784, 300, 300, 10), (1, 1), (4096, 1, 3), (16, 4096)])
def test_named_sizes(units, batch):
    graph = graph_of(units, 4096, BIAS, Call("relu"))
    weights, x = drawn(graph, 1), inputs(graph, batch, 2)
    check(graph, weights, x, BACKEND.compile(Request(graph, weights))(x))


@pytest.mark.parametrize("batch", [2, 9, 12, 16, 20, 24, 33, 40, 64, 96])
def test_threads_take_whole_tiles(batch):
    """Of rows as of columns: a kernel made for a multiple of four samples takes no other number of them."""
    graph = graph_of((64, 129, 1, 300, 300), 12288, Call("sigmoid"))
    weights, x = drawn(graph, 1), inputs(graph, batch, 2)
    executable = BACKEND.compile(Request(graph, weights, {"threads": 2}))
    for again in range(3):
        y = np.full((batch, 300), np.nan, np.float32)
        check(graph, weights, x, executable(x, y) if again else executable.bind(x, y).call())


@pytest.mark.parametrize("batch", [1, 64])
def test_layers_beyond_memory_are_refused(batch):
    graph = graph_of((4, 1 << 31, 4), 64, Call("relu"))
    executable = BACKEND.compile(Request(graph, drawn(graph, 1), {"threads": 8}))
    with pytest.raises(PathcError, match="E0502"):
        executable(inputs(graph, batch, 2))


@pytest.mark.parametrize("batch", [1, 3, 40])
@pytest.mark.parametrize("units", [(64, 64, 64), (50, 30, 20)])
def test_bfloat16_weights(units, batch):
    graph = graph_of(units, 1024, Call("relu"))
    weights, x = drawn(graph, 1), inputs(graph, batch, 2)
    y = BACKEND.compile(Request(graph, weights, {"weights": Word("bf16")}))(x)
    check(graph, weights, x, y, 2.0**-8)
    assert np.abs(y - interp.forward(graph, weights, x)).max() > 1e-4


@pytest.mark.parametrize("batch", [1, 3, 40])
@pytest.mark.parametrize("units", [(64, 64, 64), (50, 30, 20), (1024, 256, 16)])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, -0.0, 3e38, 1e-45])
def test_special_values(units, batch, value):
    """NaN stays NaN exactly where the interpreter has it; infinities likewise, unless float32 overflowed."""
    graph = graph_of(units, 512, Call("relu"))
    weights, x = drawn(graph, 1), inputs(graph, batch, 2)
    x[0, ::7] = value
    y, right = BACKEND.compile(Request(graph, weights))(x), interp.forward(graph, weights, x)
    if np.isfinite(value) and abs(value) < 1e38:
        check(graph, weights, x, y)
    elif np.isnan(value):
        np.testing.assert_array_equal(np.isnan(y), np.isnan(right))
    else:
        unsure = ~np.isfinite(right)
        assert not np.isfinite(y[unsure & np.isnan(right)]).any()
        check(graph, weights, x[1:], y[1:])


@pytest.mark.parametrize("batch", [1, 3, 40])
def test_k_winners(batch):
    graph = graph_of((64, 64, 40), 512, Call("kwinners", (("k", 5),)))
    weights, x = drawn(graph, 1), inputs(graph, batch, 2)
    y = BACKEND.compile(Request(graph, weights))(x)
    assert ((y != 0).sum(axis=1) == 5).all()
    check(graph, weights, x, y)


def test_single_samples_integers_and_strides():
    graph = graph_of((50, 30, 20), 512, Call("relu"))
    weights = drawn(graph, 1)
    executable = BACKEND.compile(Request(graph, weights))
    wide = np.arange(64 * 100, dtype=np.uint8).reshape(64, 100)
    np.testing.assert_array_equal(executable(wide[:, :50]), executable(wide[:, :50].astype(np.float32)))
    one = executable(wide[0, :50])
    assert one.shape == (20,)
    np.testing.assert_allclose(one, executable(wide[:1, :50])[0])


def net_with(station: Station, *lines: Line) -> Graph:
    """A net of an input `x`, an output `y` and one more station."""
    ends = Station("x", "input", (16,)), Station("y", "output", (16,))
    return Graph("net", (*ends, station), lines)


def line(name, kind, visits, count=0):
    return Line(name, kind, tuple(Visit(station, k) for k, station in enumerate(visits)), count)


def test_stations_on_no_line_cost_nothing():
    graph = net_with(Station("u", "layer", (4,), pipeline=(Call("softmax"),)), line("main", "paths", "xy", 64))
    weights, x = drawn(graph, 1), inputs(graph, 3, 2)
    executable = BACKEND.compile(Request(graph, weights))
    check(graph, weights, x, executable(x))
    assert {buffer.name for buffer in executable.row_plan.buffers} == {"x", "y"}


@pytest.mark.parametrize("arrays", ["rows", "units"])
@pytest.mark.parametrize("batch", [1, 37])
@pytest.mark.parametrize("units", [1, 16, 67])
@pytest.mark.parametrize("stages", [(), ("sigmoid",), ("softmax",)])
def test_inputs_may_have_biases(stages, units, batch, arrays):
    pipeline = (BIAS, *(Call(name) for name in stages))
    h = Station("h", "input", (units + 3,), pipeline=pipeline, declared=units)
    graph = net_with(h, line("main", "paths", "xy", 64), line("d", "dense", "hy"), line("p", "paths", "hy", 32))
    weights, x = drawn(graph, 1), inputs(graph, batch, 2)
    given = np.asfortranarray(x) if arrays == "units" else x
    check(graph, weights, x, BACKEND.compile(Request(graph, weights, {"arrays": arrays}))(given))


def test_a_layer_in_place_of_an_input_takes_no_name_that_exists():
    h = Station("x_in", "input", (5,)), Station("x", "input", (16,), pipeline=(BIAS,)), Station("y", "output", (16,))
    graph = Graph("net", h, (line("x_bias", "dense", ["x_in", "y"]), line("d", "dense", ["x", "y"])))
    weights, x = drawn(graph, 1), inputs(graph, 3, 2)
    check(graph, weights, x, BACKEND.compile(Request(graph, weights))(x))


@pytest.mark.parametrize(("batch", "scale"), [(1, 1.0), (2, -0.5), (37, 0.25)])
@pytest.mark.parametrize("real", [1, 16, 65, 130, 199])
@pytest.mark.parametrize("stages", [("sigmoid",), (), ("softmax",)])
def test_skips_out_of_layers_with_silent_units_bring_zeros(stages, real, scale, batch):
    pipeline = (BIAS, *(Call(name) for name in stages))
    h = Station("h", "layer", (200,), pipeline=pipeline, declared=real)
    out = Station("y", "output", (200,), pipeline=(BIAS, Call("tanh")))
    skip = replace(line("s", "skip", "hy"), scale=scale)
    graph = Graph("net", (Station("x", "input", (16,)), h, out), (line("in", "paths", "xh", 400), skip))
    weights, x = drawn(graph, 1), inputs(graph, batch, 2)
    x[0, 3] = np.nan
    check(graph, weights, x, BACKEND.compile(Request(graph, weights))(x))


def test_threads_are_those_asked_for_though_code_is_shared():
    graph = graph_of((64, 64), 512)
    weights = drawn(graph, 1)
    alive = [BACKEND.compile(Request(graph, weights, {"threads": threads})) for threads in (1, 3, 2)]
    assert [executable.kernel(256).threads for executable in alive] == [1, 3, 2]
