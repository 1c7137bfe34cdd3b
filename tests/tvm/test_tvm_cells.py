"""Recurrent cells on `tvm-llvm` against the interpreter: every cell and structure, random nets, states, NaN."""

from __future__ import annotations

import numpy as np
import pytest
from cell_support import (
    BIAS,
    CELLS,
    STRUCTURED,
    STRUCTURES,
    Loop,
    OnProcessor,
    cell,
    check,
    drawn,
    sequences,
    stack,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pathc.backends.base import Request
from pathc.backends.tvm import facade
from pathc.backends.tvm.cpu import BACKEND
from pathc.ir.graph import Graph, Line, Station, Visit
from pathc.ir.interp import evaluate, forward
from pathc.ir.types import Call, Quantity
from pathc.support.diagnostics import PathcError

pytestmark = pytest.mark.skipif(facade.missing() != "", reason=f"needs TVM: {facade.INSTALL}")
SIDES = ("none", "concat", "sum")


def variants(name):
    """All structures of a cell, with its options by turns."""
    options = [{}]
    if name == "rnn":
        options = [{"activation": a} for a in ("tanh", "relu", "sigmoid", "identity")]
    elif name in ("lstm", "ligru"):
        options = [{"gates": g} for g in ("separate", "shared")]
    elif name == "gru":
        options = [{"reset": r, "gates": g} for g in ("separate", "shared") for r in ("before", "after")]
    elif name == "qrnn":
        options = [{"window": w} for w in (1, 3)]
    structures = list(STRUCTURES.values()) if name in STRUCTURED else [None]
    for k in range(max(len(structures), len(options), 3)):
        yield cell(name, structures[k % len(structures)], **options[k % len(options)], bidirectional=SIDES[k % 3])
    if name == "gru":
        yield cell(name, STRUCTURES["diag"], reset="before")


@pytest.mark.parametrize("name", CELLS)
def test_every_cell_in_every_structure(name):
    loops = []
    for k, stage in enumerate(variants(name)):
        units = 24 if "concat" in str(stage) else 12
        alone = k % 4 == 3
        loops.append(Loop.of(stage, f"p{k}", units, batch=int(alone), seed=k, highway=name == "sru" and k != 1))
    forms = {"own", "band", "ring", "dense", "ell", "csr"} if name in STRUCTURED else {"own"}
    assert {loop.plan.form for loop in loops} == forms
    compiled = OnProcessor(*loops)
    for batch, steps in ((5, 7), (1, 1), (9, 2)):
        sums = {loop.plan.name: loop.sums(batch, steps) for loop in loops}
        made = compiled.run(sums)
        for loop in loops:
            loop.check(sums[loop.plan.name], made[loop.plan.name])


@pytest.mark.parametrize("structure", ["ring", "full", "sparse", "diag"])
def test_units_in_turns_and_in_chunks(structure):
    """More units than a block has threads, odd ones, and weights that no thread can keep."""
    units = 700 if structure in ("diag", "sparse") else 530
    recur = STRUCTURES[structure]
    if structure == "sparse":
        recur = Call("sparse", (("density", Quantity(0.5, "%")), ("seed", 3)))
    loop = Loop.of(cell("gru", recur, reset="before"), "p0", units)
    loop.weights = {name: w * np.float32(0.2) for name, w in loop.weights.items()}
    assert (loop.plan.turns, loop.plan.chunks) == ((1, 3) if structure == "diag" else (2, 1))
    assert loop.plan.held == (structure == "ring")
    sums = {"p0": loop.sums(3, 4)}
    loop.check(sums["p0"], OnProcessor(loop).run(sums)["p0"])


@st.composite
def nets(draw):
    """One cell or two behind paths, with a skip and a dense line, silent units, activations behind."""
    stages = []
    for _ in range(draw(st.integers(1, 2))):
        name = draw(st.sampled_from(CELLS))
        recur = draw(st.sampled_from(list(STRUCTURES.values()))) if name in STRUCTURED else None
        options = {"bidirectional": draw(st.sampled_from(SIDES))}
        if name == "gru":
            options["reset"] = draw(st.sampled_from(["before", "after"]))
        if name == "qrnn":
            options["window"] = draw(st.sampled_from([1, 4]))
        behind = (Call("relu"),) if draw(st.booleans()) else ()
        stages.append((cell(name, recur, **options), *behind))
    graph = stack(*stages, units=draw(st.sampled_from([12, 30, 54])), inputs=draw(st.integers(1, 9)))
    if draw(st.booleans()):
        graph = Graph("net", graph.stations, (*graph.lines, Line("d", "dense", (Visit("x", 0), Visit("c0", 1)))))
    return graph


@settings(max_examples=3, deadline=None, suppress_health_check=list(HealthCheck))
@given(nets(), st.sampled_from([1, 2, 7]), st.sampled_from([1, 3, 22]), st.integers(0, 9))
def test_random_nets_equal_the_interpreter(graph, batch, steps, seed):
    weights, x = drawn(graph, seed), sequences(graph, batch, steps, seed)
    check(graph, weights, x, BACKEND.compile(Request(graph, weights))(x))


def test_lines_around_cells_and_cells_at_the_ends():
    """Two inputs, two outputs of which one is a cell, stations that several pieces compute, silent units."""
    stations = (
        Station("x", "input", (7,)),
        Station("z", "input", (4,), declared=3),
        Station("h", "layer", (16,), pipeline=(BIAS, Call("relu"))),
        Station("a", "layer", (32,), pipeline=(BIAS, cell("gru", Call("diag"), bidirectional="concat"))),
        Station("b", "output", (16,), pipeline=(BIAS, cell("lstm", STRUCTURES["ring"]), Call("abs"))),
        Station("y", "output", (6,), pipeline=(BIAS, Call("softmax")), declared=5),
        Station("s", "output", (16,), pipeline=(cell("sru", bidirectional="sum"),)),
    )
    lines = (
        Line("main", "paths", tuple(Visit(n, k) for k, n in enumerate("xhaby")), 128),
        Line("side", "dense", (Visit("z", 0), Visit("a", 1))),
        Line("over", "skip", (Visit("h", 0), Visit("s", 1))),
        Line("up", "paths", (Visit("b", 0), Visit("s", 1)), 64, Call("random")),
    )
    graph = Graph("stack", stations, lines)
    weights, x = drawn(graph, 5), sequences(graph, 3, 11, 1)
    executable = BACKEND.compile(Request(graph, weights, forms={"*": "ell", "main.1": "csr"}))
    check(graph, weights, x, executable(x))
    np.testing.assert_array_equal(executable(x[1]), executable(x)[1])
    assert executable(x[:0]).shape == (0, 11, 37)
    assert "csr, 128 edges" in str(executable.emit("plan"))
    assert "def p1(" in str(executable.emit("tir"))
    with pytest.raises(PathcError, match="E0371"):
        executable(x[:, :0])


def ending():
    """A net that ends in a stateful cell."""
    stage = cell("lstm", STRUCTURES["band"], stateful=True)
    stations = Station("x", "input", (5,)), Station("c", "output", (20,), pipeline=(stage,))
    return Graph("net", stations, (Line("in", "dense", (Visit("x", 0), Visit("c", 1))),))


def test_stateful_cells_go_on_until_reset_and_as_a_library(tmp_path):
    from pathc.backends.tvm.library import Library

    graph = ending()
    weights, x = drawn(graph, 4), sequences(graph, 2, 9, 0)
    executable = BACKEND.compile(Request(graph, weights))
    (tmp_path / "net.so").write_bytes(executable.emit("so"))
    for kind in executable.companions("so"):
        data = executable.emit(kind)
        (tmp_path / f"net.{kind}").write_bytes(data if isinstance(data, bytes) else data.encode())
    for run in (executable, Library(tmp_path / "net.so")):
        parts = np.concatenate([run(x[:, :4]), run(x[:, 4:])], axis=1)
        check(graph, weights, x, parts)
        again = evaluate(graph, weights, x, evaluate(graph, weights, x).state).outputs
        np.testing.assert_allclose(run(x), again, atol=1e-6)
        with pytest.raises(PathcError, match="E0702"):
            run(x[:1])
        run.reset()
        np.testing.assert_array_equal(run(x[:1]), parts[:1])


def test_a_cell_behind_the_output_changes_nothing():
    graph = ending()
    more = Station("d", "layer", (20,), pipeline=(cell("rnn", Call("diag")),))
    line = Line("on", "skip", (Visit("c", 0), Visit("d", 1)))
    graph = Graph("net", (*graph.stations, more), (*graph.lines, line))
    weights, x = drawn(graph, 4), sequences(graph, 2, 5, 0)
    check(graph, weights, x, BACKEND.compile(Request(graph, weights))(x))


def test_diagonal_states_are_handed_on():
    for k, name in enumerate(("lstm", "qrnn")):
        loop = Loop.of(cell(name, STRUCTURES["diag"] if name == "lstm" else None, stateful=True), f"p{k}")
        state = np.zeros((3, loop.plan.cell.states * 12), np.float32)
        sums = loop.sums(3, 6)
        compiled = OnProcessor(loop)
        parts = [compiled.run({f"p{k}": sums[:, a:b].copy()}, state)[f"p{k}"] for a, b in ((0, 2), (2, 6))]
        loop.check(sums, np.concatenate(parts, axis=1))


@pytest.mark.parametrize("structure", ["diag", "sparse"])
def test_special_values_are_heard_by_those_that_see_them(structure):
    graph = stack((cell("gru", STRUCTURES[structure], reset="before"),), units=21)
    weights, x = drawn(graph, 4), sequences(graph, 3, 6, 0)
    x[0, 3, 2], x[1, 2, 0] = np.nan, np.inf
    found, expected = BACKEND.compile(Request(graph, weights))(x), forward(graph, weights, x)
    np.testing.assert_array_equal(np.isnan(found), np.isnan(expected))
    assert not np.isnan(expected[0, :3]).any()


def test_what_is_not_there_is_refused():
    graph = stack((cell("gru", STRUCTURES["band"]),))
    weights = drawn(graph, 1)
    with pytest.raises(PathcError, match="E0612"):
        BACKEND.compile(Request(graph, weights, forms={"main.9": "csr"}))
    with pytest.raises(PathcError, match="E0612"):
        BACKEND.compile(Request(graph, weights, forms={"main.1": "crs"}))
    executable = BACKEND.compile(Request(graph, weights))
    with pytest.raises(PathcError, match="E0376"):
        executable.gradients(np.zeros((1, 2, 6)), np.zeros((1, 2, 4)))
    line = Line("main", "paths", graph.lines[0].visits, 36, Call("interleaver", (("z", 4),)))
    stations = tuple(Station(s.name, s.role, (12,), pipeline=s.pipeline) for s in graph.stations)
    whole = Graph("net", stations, (line,))
    with pytest.raises(PathcError, match="E0377"):
        BACKEND.compile(Request(whole, drawn(whole, 1)))
