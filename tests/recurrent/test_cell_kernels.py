"""Compiled recurrent nets against the interpreter, on random models."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from recurrent_nets import CELLS, STRUCTURED, STRUCTURES, cell, net, stages, weights_for

from pathc.backends.base import Request
from pathc.backends.llvm.backend import BACKEND
from pathc.backends.llvm.machine import machine
from pathc.backends.llvm.recurrent.kernel import CellKernel
from pathc.ir.cells import cell_of
from pathc.ir.graph import Graph, Line, Station, Visit
from pathc.ir.interp import agrees, error_bound, evaluate, forward
from pathc.ir.interp.recurrent.unroll import Unrolled
from pathc.ir.recurrence import structure_shape
from pathc.ir.types import Call, Quantity
from pathc.support.diagnostics import PathcError, UsageError
from pathc.support.source import Loc

U = 2.0**-24


def right(graph, weights, x, y):
    expected, bound = forward(graph, weights, x), error_bound(graph, weights, x, U)
    assert y.shape == expected.shape
    assert y.dtype == np.float32
    assert agrees(y, expected, bound).all(), np.abs(y - expected).max()
    return float(np.abs(y - expected).max(initial=0.0))


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(
    stages(),
    st.sampled_from([6, 12, 18, 48, 54, 102]),
    st.sampled_from([1, 2, 7, 33]),
    st.sampled_from([1, 2, 7, 16]),
    st.booleans(),
    st.integers(0, 99),
)
def test_random_nets_agree_with_the_interpreter(stage, units, steps, batch, skip, seed):
    graph = net(stage, units=units, skip=skip, dense=seed % 2 == 0, behind=(Call("relu"),) if seed % 3 else ())
    weights = weights_for(graph, seed)
    size = units if skip else 7
    x = np.random.default_rng(seed).normal(size=(batch, steps, size)).astype(np.float32)
    right(graph, weights, x, BACKEND.compile(Request(graph, weights))(x))


@pytest.mark.parametrize("options", [{"cpu": "avx2"}, {"cpu": "sse"}, {"width": 4}], ids=str)
@pytest.mark.parametrize("name", STRUCTURED)
def test_other_machines(options, name):
    for structure in ("band", "diag", "grouped", "sparse"):
        graph = net(cell(name, STRUCTURES[structure]), units=21)
        weights = weights_for(graph, 1)
        x = np.random.default_rng(0).normal(size=(5, 9, 7)).astype(np.float32)
        right(graph, weights, x, BACKEND.compile(Request(graph, weights, options))(x))


def test_every_form_is_met():
    met = set()
    for structure in (*STRUCTURES.values(), Call("sparse", (("density", Quantity(0.5, "%")),))):
        station = Station("c", "layer", (480,), pipeline=(Call("lstm", (("recur", structure),)),))
        own = cell_of(station)
        shape = structure_shape(own.recur, 480)
        weights = {t: np.full(shape, 0.01, np.float32) for t in own.tensors}
        kernel = CellKernel(own, machine({}), weights)
        met.add(kernel.layout.form)
        x = np.random.default_rng(0).normal(size=(3, 4, kernel.columns)).astype(np.float32)
        y = np.empty((3, 4, 480), np.float32)
        kernel.bind(x, y)()
        copies = x.reshape(3, 4, 4, 480).transpose(2, 0, 1, 3).astype(np.float64)
        expected = Unrolled(own, weights).forward(copies, np.zeros((3, 4, 480))).output
        np.testing.assert_allclose(y, expected, atol=1e-6)
    assert met == {"diag", "band", "list", "gather"}


def test_units_that_see_nobody(tmp_path):
    """A whole vector of units without a block in their rows of a mask."""
    blocks = np.ones((4, 4), np.int64)
    blocks[1] = 0
    blocks[:, 2] = 0
    np.savez(tmp_path / "m.npz", mask=blocks)
    place = Loc(str(tmp_path / "m.path"), 1, 1)
    graph = net(cell("gru", Call("mask", (("file", "m.npz"), ("block", 16)))), units=64)
    stations = tuple(replace(s, loc=place) if s.name == "c" else s for s in graph.stations)
    graph = replace(graph, stations=stations)
    weights = weights_for(graph, 1)
    x = np.random.default_rng(0).normal(size=(5, 4, 7)).astype(np.float32)
    right(graph, weights, x, BACKEND.compile(Request(graph, weights))(x))


def test_a_cell_behind_the_output_is_not_the_output():
    stations = (
        Station("x", "input", (5,)),
        Station("y", "output", (8,), pipeline=(cell("gru", Call("diag")),)),
        Station("z", "layer", (8,), pipeline=(cell("lstm", Call("diag")),)),
    )
    lines = tuple(Line(f"l{k}", "dense", (Visit(a, 0), Visit(b, 1))) for k, (a, b) in enumerate(("xy", "yz")))
    graph = Graph("net", stations, lines)
    weights = weights_for(graph, 1)
    x = np.random.default_rng(0).normal(size=(2, 4, 5)).astype(np.float32)
    right(graph, weights, x, BACKEND.compile(Request(graph, weights))(x))


def test_stacked_nets_and_lines_around_cells():
    stages_ = [cell("gru", Call("diag"), bidirectional="concat"), cell("lstm", STRUCTURES["ring"])]
    stations = (
        Station("x", "input", (16,)),
        Station("h", "layer", (16,), pipeline=(Call("relu"),)),
        Station("a", "layer", (32,), pipeline=(Call("bias"), stages_[0])),
        Station("b", "layer", (16,), pipeline=(Call("bias"), stages_[1], Call("abs"))),
        Station("y", "output", (8,), pipeline=(Call("bias"), Call("softmax"))),
        Station("z", "output", (16,), pipeline=(cell("indrnn"),)),
    )
    lines = (
        Line("main", "paths", tuple(Visit(n, k) for k, n in enumerate("xhaby")), 128),
        Line("over", "skip", (Visit("h", 0), Visit("b", 1))),
        Line("up", "dense", (Visit("b", 0), Visit("z", 1))),
        Line("back", "paths", (Visit("a", 0), Visit("z", 1)), 64, Call("random")),
    )
    graph = Graph("stack", stations, lines)
    weights = weights_for(graph, 5)
    x = np.random.default_rng(1).normal(size=(3, 11, 16)).astype(np.float32)
    executable = BACKEND.compile(Request(graph, weights))
    right(graph, weights, x, executable(x))
    np.testing.assert_allclose(executable(x[1]), executable(x)[1], atol=1e-6)
    assert executable(x[:0]).shape == (0, 11, 24)


def test_names_of_a_net_may_be_those_of_its_pieces():
    """Stations named as the ends in front of a cell, and lines whose names and numbers read alike."""
    names = ("x", "c_0", "c_highway", "c", "c_out")
    stages_ = {"c_0": (Call("relu"),), "c_highway": (Call("tanh"),), "c": (Call("bias"), cell("sru"))}
    stations = tuple(
        Station(
            n, "input" if n == "x" else "output" if n in ("c", "c_out") else "layer", (8,), pipeline=stages_.get(n, ())
        )
        for n in names
    )
    lines = (
        Line("a", "paths", (Visit("x", 0), Visit("c", 1)), 32),
        Line("a_1", "paths", (Visit("x", 0), Visit("c_0", 1), Visit("c_highway", 2)), 32),
        Line("b", "paths", (Visit("c_highway", 0), Visit("c", 1)), 32),
        Line("over", "skip", (Visit("c_highway", 0), Visit("c", 1))),
        Line("c", "dense", (Visit("c", 0), Visit("c_out", 1))),
    )
    graph = Graph("net", stations, lines)
    weights = weights_for(graph, 2)
    x = np.random.default_rng(0).normal(size=(2, 4, 8)).astype(np.float32)
    right(graph, weights, x, BACKEND.compile(Request(graph, weights))(x))


def test_inputs_may_have_a_bias():
    graph = net(cell("gru", Call("diag")))
    stations = tuple(replace(s, pipeline=(Call("bias"), Call("relu"))) if s.name == "x" else s for s in graph.stations)
    graph = replace(graph, stations=stations)
    weights = weights_for(graph, 2)
    x = np.random.default_rng(0).normal(size=(2, 4, 7)).astype(np.float32)
    right(graph, weights, x, BACKEND.compile(Request(graph, weights))(x))


def test_a_cell_may_be_the_output():
    stations = (Station("x", "input", (5,)), Station("c", "output", (20,), pipeline=(cell("rnn", Call("diag")),)))
    graph = Graph("net", stations, (Line("in", "dense", (Visit("x", 0), Visit("c", 1))),))
    weights = weights_for(graph, 2)
    x = np.random.default_rng(0).normal(size=(2, 4, 5)).astype(np.float32)
    executable = BACKEND.compile(Request(graph, weights))
    right(graph, weights, x, executable(x))
    bound = executable.bind(x)
    np.testing.assert_array_equal(bound.call(), executable(x))
    x *= 2
    right(graph, weights, x, bound.call())


def test_stateful_cells_go_on_until_reset():
    graph = net(cell("lstm", STRUCTURES["band"], stateful=True), units=20)
    weights = weights_for(graph, 4)
    x = np.random.default_rng(0).normal(size=(2, 9, 7)).astype(np.float32)
    executable = BACKEND.compile(Request(graph, weights))
    parts = np.concatenate([executable(x[:, :4]), executable(x[:, 4:])], axis=1)
    np.testing.assert_allclose(parts, evaluate(graph, weights, x).outputs, atol=1e-6)
    with pytest.raises(PathcError) as caught:
        executable(x[:1])
    assert caught.value.diagnostics[0].code == "E0702"
    executable.reset()
    np.testing.assert_allclose(executable(x), parts, atol=1e-6)


def test_nan_stays_in_its_sequence_and_its_unit():
    graph = net(cell("gru", Call("diag")), units=20)
    weights = weights_for(graph, 4)
    x = np.random.default_rng(0).normal(size=(2, 6, 7)).astype(np.float32)
    x[0, 3, 2], x[1, 2, 0] = np.nan, np.inf
    found, expected = BACKEND.compile(Request(graph, weights))(x), forward(graph, weights, x)
    np.testing.assert_array_equal(np.isnan(found), np.isnan(expected))


def test_what_cannot_be_compiled_is_refused():
    graph = net(cell("gru"))
    weights = weights_for(graph, 4)
    with pytest.raises(UsageError):
        BACKEND.compile(Request(graph, weights, forms={"*": "dense"}))
    line = Line("main", "paths", graph.lines[0].visits, 36, Call("interleaver", (("z", 4),)))
    stations = tuple(Station(s.name, s.role, (12,), pipeline=s.pipeline) for s in graph.stations)
    whole = Graph("net", stations, (line,))
    weights = weights_for(whole, 4)
    assert forward(whole, weights, np.zeros((1, 1, 12))).shape == (1, 1, 12)
    with pytest.raises(PathcError) as caught:
        BACKEND.compile(Request(whole, weights))
    assert caught.value.diagnostics[0].code == "E0377"


DRIFT = [
    *((name, structure) for name in ("rnn", "lstm", "gru") for structure in ("diag", "band", "grouped")),
    *((name, "ring") for name in ("ligru", "linear")),
    ("ligru", "diag"),
    ("linear", "diag"),
    *((name, "") for name in ("qrnn", "sru", "indrnn")),
]


@pytest.mark.parametrize(("name", "structure"), DRIFT)
def test_no_drift_over_a_thousand_steps(name, structure):
    graph = net(cell(name, STRUCTURES[structure] if structure else None), units=42)
    weights = {n: w * np.float32(0.5) for n, w in weights_for(graph, 3).items()}
    x = np.random.default_rng(0).normal(size=(1, 1000, 7)).astype(np.float32)
    assert right(graph, weights, x, BACKEND.compile(Request(graph, weights))(x)) < 1e-6


def loop_of(stage, units, weights, batch, steps, seed=0):
    """Input, output and a call of a bare time loop, and its cell."""
    own = cell_of(Station("c", "layer", (units,), pipeline=(stage,)))
    kernel = CellKernel(own, machine({}), weights)
    x = np.random.default_rng(seed).normal(size=(batch, steps, kernel.columns)).astype(np.float32)
    y = np.empty((batch, steps, units), np.float32)
    return own, x, y, kernel.bind(x, y)


def bounded(own, weights, x):
    """What the interpreter makes of the inputs of a loop, and how far a kernel may be from it."""
    batch, steps, columns = x.shape
    units = own.hidden
    copies = x.reshape(batch, steps, columns // units, units).transpose(2, 0, 1, 3).astype(np.float64)
    over, cells = np.zeros((batch, steps, units)), Unrolled(own, weights)
    with np.errstate(all="ignore"):
        bound = cells.bounds((copies, np.zeros_like(copies)), (over, over), U)
        return cells.forward(copies, over).output, bound


FACTORS = {
    "decaying": (0.1, 0.99),
    "turning": (-0.99, -0.5),
    "growing": (-1.5, 1.5),
    "zero": (0.0, 0.0),
    "too small to scan": (1e-12, 1e-11),
}


@pytest.mark.parametrize("factors", FACTORS.values(), ids=FACTORS)
@pytest.mark.parametrize("units", [1, 3, 8, 9, 17, 24])
def test_linear_recurrences_some_steps_ahead_stay_within_the_bound(units, factors):
    """The same bound as step after step: whatever the powers of the factors and the numbers of steps that are left."""
    rng = np.random.default_rng(units)
    weights = {"c.recurrent.h": rng.uniform(*factors, size=units).astype(np.float32)}
    for steps in (1, 2, 4, 5, 8, 31):
        own, x, y, call = loop_of(cell("linear", Call("diag")), units, weights, 1 + steps % 3, steps, steps)
        call()
        expected, bound = bounded(own, weights, x)
        assert agrees(y, expected, bound).all(), np.abs(y - expected).max()


def test_infinities_and_nan_spread_in_a_scan_as_they_do_step_by_step():
    weights = {"c.recurrent.h": np.array([0.5, -0.5, 0.0, 1.0], np.float32)}
    own, x, y, call = loop_of(cell("linear", Call("diag")), 4, weights, 1, 23)
    for at, value in ((3, np.inf), (9, -np.inf), (15, np.nan)):
        x[...] = 1.0
        x[0, at] = value
        call()
        expected, bound = bounded(own, weights, x)
        assert agrees(y, expected, np.nan_to_num(bound, nan=0.0, posinf=0.0)).all()
        assert np.isfinite(y[0, :at]).all()


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("units", [5, 16, 33])
def test_samples_side_by_side_are_those_one_after_the_other(name, units):
    recur = Call("diag") if name in STRUCTURED else None
    graph = net(cell(name, recur, stateful=True), units=units)
    weights = weights_for(graph, 4)
    x = np.random.default_rng(0).normal(size=(15, 6, 7)).astype(np.float32)
    executable = BACKEND.compile(Request(graph, weights))
    whole = np.concatenate([executable(x[:, :2]), executable(x[:, 2:])], axis=1)
    right(graph, weights, x, whole)
    for sample in (0, 7, 14):
        executable.reset()
        np.testing.assert_allclose(executable(x[sample : sample + 1]), whole[sample : sample + 1], atol=1e-6)


@pytest.mark.parametrize("skip", [False, True])
def test_an_sru_without_weights_on_its_state(skip):
    graph = net(cell("sru", bidirectional="sum"), skip=skip)
    weights = weights_for(graph, 4)
    for name in weights:
        if "recurrent" in name:
            weights[name] = np.zeros_like(weights[name])
    x = np.random.default_rng(0).normal(size=(3, 9, 12 if skip else 7)).astype(np.float32)
    right(graph, weights, x, BACKEND.compile(Request(graph, weights))(x))
