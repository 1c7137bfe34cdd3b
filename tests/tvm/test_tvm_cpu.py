"""TIR on the processor against the interpreter: random models, every generator, odd sizes, special values."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tvm_support import BIAS, ELEMENTWISE, GENERATORS, RELU, SOFTMAX, chain, check, drawn, inputs, models, structured

from pathc.backends.base import Request
from pathc.backends.tvm import facade
from pathc.backends.tvm.cpu import BACKEND
from pathc.ir import interp
from pathc.ir.graph import Graph, Line, Station, Visit
from pathc.ir.types import Call
from pathc.support.diagnostics import InternalError, PathcError, UnavailableError

pytestmark = pytest.mark.skipif(facade.missing() != "", reason=f"needs TVM: {facade.INSTALL}")


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(models(), st.sampled_from([1, 2, 7, 64, 65]), st.integers(0, 9))
def test_random_models_equal_the_interpreter(graph, batch, seed):
    weights, x = drawn(graph, seed), inputs(graph, batch, seed)
    check(graph, weights, x, BACKEND.compile(Request(graph, weights))(x))


@pytest.mark.parametrize("batch", [1, 7])
@pytest.mark.parametrize("generator", GENERATORS, ids=str)
def test_every_generator(generator, batch):
    graph = chain((64, 64, 64), 256, BIAS, RELU, generator=generator)
    weights, x = drawn(graph, 1), inputs(graph, batch, 2)
    check(graph, weights, x, BACKEND.compile(Request(graph, weights))(x))


@pytest.mark.parametrize("units", [(1024, 256, 256, 16), (300, 129, 10), (1, 1), (512, 1, 3), (4, 700)])
def test_named_sizes(units):
    graph = chain(units, 4096, BIAS, RELU)
    weights = drawn(graph, 1)
    executable = BACKEND.compile(Request(graph, weights))
    for batch in (1, 2, 64, 200):
        x = inputs(graph, batch, 2)
        check(graph, weights, x, executable(x))


@pytest.mark.parametrize("form", ["blocks", "ell", "csr"])
@pytest.mark.parametrize("batch", [1, 40])
def test_forms(form, batch):
    graph = chain((64, 32, 64), 512, BIAS, Call("tanh"))
    weights, x = drawn(graph, 1), inputs(graph, batch, 2)
    executable = BACKEND.compile(Request(graph, weights, batch=batch, forms={"*": form}))
    assert {"blocks": "8x16 sources", "ell": "ell, width", "csr": "csr, 512 edges"}[form] in str(
        executable.emit("plan")
    )
    check(graph, weights, x, executable(x))


@pytest.mark.parametrize("stage", [*ELEMENTWISE, SOFTMAX, Call("kwinners", (("k", 3),))], ids=str)
def test_special_values_at_activations(stage):
    """NaN, infinities, zeros of both signs and tiny values reach every activation as they are."""
    stations = Station("x", "input", (8,)), Station("y", "output", (8,), pipeline=(stage,))
    graph = Graph("net", stations, (Line("s", "skip", (Visit("x", 0), Visit("y", 0))),))
    values = np.array([np.nan, np.inf, -np.inf, -0.0, 0.0, 3e38, 1e-45, -1.5], np.float32)
    x = np.stack([np.roll(values, k)[:8] for k in range(8)] + [np.where(np.isnan(values), 1, values), values[::-1]])
    x = np.concatenate([x, np.where(np.isfinite(x), x, 2.0)]).astype(np.float32)
    y = BACKEND.compile(Request(graph, {}))(x)
    check(graph, {}, x, y)


@pytest.mark.parametrize("form", ["blocks", "ell", "csr"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30])
def test_special_inputs_stay_on_their_paths(form, value):
    """What is not on an edge is not read: no zero of a table may meet an infinity."""
    graph = chain((64, 64, 16), 256, RELU)
    weights, x = drawn(graph, 1), inputs(graph, 3, 2)
    x[0, ::7] = value
    y = BACKEND.compile(Request(graph, weights, forms={"main.1": form}))(x)
    right = interp.forward(graph, weights, x)
    np.testing.assert_array_equal(np.isnan(y[1:]), False)
    if np.isnan(value):
        np.testing.assert_array_equal(np.isnan(y), np.isnan(right))
    else:
        check(graph, weights, x, y)


def test_uneven_tables_do_not_read_what_is_missing():
    graph = chain((50, 30, 20), 70)
    weights, x = drawn(graph, 1), inputs(graph, 5, 2)
    x[2, 3] = np.inf
    executable = BACKEND.compile(Request(graph, weights, forms={"*": "ell"}))
    np.testing.assert_array_equal(np.isnan(executable(x)), np.isnan(interp.forward(graph, weights, x)))


def test_tied_lines_silent_units_and_several_ends():
    def station(name, role, units, declared, *pipeline):
        return Station(name, role, (units,), pipeline=pipeline, declared=declared)

    def visits(names):
        return tuple(Visit(name, k) for k, name in enumerate(names))

    stations = (
        station("x", "input", 8, 6, BIAS, Call("sigmoid")),
        station("e", "layer", 5, 0, BIAS, Call("sigmoid")),
        station("c", "layer", 8, 7, BIAS, Call("sigmoid")),
        station("d", "layer", 5, 0, Call("tanh"), RELU),
        station("y", "output", 8, 5, BIAS, SOFTMAX, Call("tanh")),
        station("z", "output", 8, 6, Call("sigmoid")),
        station("u", "output", 3, 0, BIAS, Call("abs")),
    )
    lines = (
        Line("encode", "paths", visits("xec"), 37),
        Line("decode", "paths", visits("cdy"), 37, mirror="encode", tied=True),
        Line("res", "skip", visits("cy"), scale=-0.5),
        Line("down", "dense", visits("xd")),
        Line("up", "dense", visits("dz"), mirror="down", tied=True),
    )
    graph = structured(Graph("rich", stations, lines))
    weights = drawn(graph, 3)
    for batch in (1, 5):
        x = inputs(graph, batch, 4)
        check(graph, weights, x, BACKEND.compile(Request(graph, weights))(x))


def test_one_sample_integers_and_strides():
    graph = chain((50, 30, 20), 512, RELU)
    executable = BACKEND.compile(Request(graph, drawn(graph, 1)))
    wide = np.arange(64 * 100, dtype=np.uint8).reshape(64, 100)
    np.testing.assert_array_equal(executable(wide[:, :50]), executable(wide[:, :50].astype(np.float32)))
    assert executable(wide[0, :50]).shape == (20,)
    assert executable(wide[:0, :50]).shape == (0, 20)


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        ({"options": {"colour": 1}}, "E0806"),
        ({"forms": {"main.1": "blocks"}}, "E0611"),
        ({"forms": {"main.1": "block"}}, "E0612"),
        ({"forms": {"main.7": "csr"}}, "E0612"),
    ],
)
def test_wrong_requests_are_refused(request_, code):
    graph = chain((50, 30, 20), 64)
    with pytest.raises(PathcError, match=code):
        BACKEND.compile(Request(graph, drawn(graph, 1), **request_))


def test_without_tvm_it_says_what_to_install(monkeypatch):
    graph = chain((50, 30, 20), 64)
    monkeypatch.setattr(facade, "missing", lambda: facade.INSTALL)
    with pytest.raises(UnavailableError) as caught:
        BACKEND.compile(Request(graph, drawn(graph, 1)))
    assert caught.value.diagnostics[0].help == "pip install 'apache-tvm>=0.27'"
    assert BACKEND.unavailable() == facade.INSTALL


def test_what_tvm_refuses_is_a_fault_of_ours():
    with pytest.raises(InternalError, match="E0698"):
        facade.parse("@I.ir_module\nclass Net:\n    nonsense here\n")


def test_stages_are_shown():
    graph = chain((64, 64, 16), 256, RELU)
    executable = BACKEND.compile(Request(graph, drawn(graph, 1), batch=64))
    assert str(executable.emit("plan")).startswith("plan net: tiles of 64 samples")
    assert "def k1(" in str(executable.emit("tir"))
    assert "sch.vectorize" in str(executable.emit("schedule"))
    assert "T.vectorized" in str(executable.emit("scheduled"))
