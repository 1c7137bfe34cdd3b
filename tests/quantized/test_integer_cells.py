"""Recurrent cells in integers against Python's own integers, the float64 interpreter, and the limits they keep."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parents[1] / "recurrent"))

from recurrent_nets import CELLS, STRUCTURES, cell, net, random_weights

from pathc.cli import main
from pathc.driver import load
from pathc.ir.cells import cell_of
from pathc.ir.compress.quantize import quantize
from pathc.ir.compress.tensors import Settings
from pathc.ir.facts import Recurrent, Scale, Sums
from pathc.ir.generators import resolve
from pathc.ir.init import initial_weights
from pathc.ir.interp import evaluate
from pathc.ir.quantized import evaluate_integers, integer_forward, integer_network, quantize_inputs
from pathc.ir.recurrence import structure_edges
from pathc.ir.text import parse_graph, print_graph
from pathc.ir.types import Call, plain_type
from pathc.ir.verify import violations
from pathc.ir.weights import save_weights
from pathc.support.diagnostics import PathcError
from pathc.support.source import Source

BEHIND = ((), (Call("relu"),), (Call("leaky", (("slope", 0.25),)),), (Call("tanh"),), (Call("kwinners", (("k", 3),)),))
SIMPLE = st.sampled_from(["rnn", "indrnn", "linear"])


@st.composite
def nets(draw):
    """A simple cell of any structure between stations, its weights quantized and calibrated."""
    name = draw(SIMPLE)
    recur = None if name == "indrnn" else STRUCTURES[draw(st.sampled_from(list(STRUCTURES)))]
    options = {"activation": draw(st.sampled_from(["tanh", "relu", "sigmoid", "identity"]))} if name == "rnn" else {}
    options["bidirectional"] = draw(st.sampled_from(["none", "none", "concat"]))
    graph = net(cell(name, recur, **options), bias=draw(st.booleans()), skip=draw(st.booleans()),
                dense=draw(st.booleans()), behind=draw(st.sampled_from(BEHIND)))  # fmt: skip
    if draw(st.booleans()):
        stations = [replace(s, declared=s.units - 2) if s.name == "y" else s for s in graph.stations]
        graph = replace(graph, stations=tuple(stations))
    seed = draw(st.integers(0, 50))
    x = np.random.default_rng(seed).normal(0, 0.5, (4, 5, graph.inputs[0].units))
    per = draw(st.sampled_from(["tensor", "unit"]))
    made = quantize(graph, random_weights(graph, seed, 0.2), Settings(per=per, method=draw(
        st.sampled_from(["int8", "int4", "mc", "ternary"]))), x)  # fmt: skip
    return made.graph, made.tensors, x


def read(reading, sums):
    """What a reading makes of the sums of all units, in fractions."""
    found = []
    for unit, total in enumerate(sums):
        factor = int((reading.positive if total >= 0 else reading.negative)[unit])
        value = min(max(round(Fraction(total * factor, 1 << int(reading.shift[unit]))), reading.low), reading.high)
        found.append(int(reading.table[value + 128]) if reading.table is not None else value)
    if reading.winners:
        kept = sorted(range(len(found)), key=lambda u: (-found[u], u))[: reading.winners]
        found = [value if unit in kept else 0 for unit, value in enumerate(found)]
    return found


def by_hand(graph, tensors, network, sequence):
    """Values of the station `c` at every step of one sequence of integers [steps, units], in Python's integers."""
    each = network.station("c")
    total = [[int(b) for b in each.bias] for _ in sequence]
    for one in network.into["c"]:
        junction, weights = one.junction, one.weights
        if not junction.tensor:
            edges = [(u, u, int(w)) for u, w in enumerate(weights)]
        elif weights.ndim == 1:
            generator = resolve(graph.line("main"), graph)
            units = (generator.units(v, 0, generator.count).tolist() for v in (0, 1))
            edges = list(zip(*units, weights.tolist(), strict=True))
        else:
            edges = [(s, d, int(weights[d, s])) for d in range(weights.shape[0]) for s in range(weights.shape[1])]
        for row, x in zip(total, sequence, strict=True):
            for source, destination, weight in edges:
                row[destination] += weight * int(x[source])
    about = cell_of(each.station)
    into, seen = structure_edges(about.recur, about.hidden, about.loc)
    states = [[0] * len(total[0]) for _ in total]
    for direction in range(about.directions):
        matrix, first = tensors[about.tensors[direction]].reshape(-1).tolist(), direction * about.hidden
        order = list(range(len(total)))[:: -1 if direction else 1]
        before = None
        for t in order:
            if before is not None:
                for d, s, weight in zip(into.tolist(), seen.tolist(), matrix, strict=True):
                    total[t][first + d] += weight * states[before][first + s]
            own = slice(first, first + about.hidden)
            states[t][own] = read(each.reading, total[t])[own]
            before = t
    return [read(each.cell.behind, row) if each.cell.behind is not None else row for row in states], total


@settings(deadline=None, max_examples=60)
@given(nets())
def test_every_step_is_exact(made):
    graph, tensors, x = made
    network = integer_network(graph, tensors)
    rows, layout = quantize_inputs(network, x)
    trace = evaluate_integers(network, rows, layout.steps)
    values, sums = (a["c"].reshape(4, 5, -1) for a in (trace.values, trace.sums))
    for sequence, found, total in zip(rows["x"].reshape(4, 5, -1)[:2], values, sums, strict=False):
        states, expected = by_hand(graph, tensors, network, sequence)
        assert found.tolist() == states
        assert total.tolist() == expected


@settings(deadline=None, max_examples=25)
@given(nets(), st.integers(1, 4))
def test_a_sequence_goes_on_where_it_ended(made, cut):
    graph, tensors, x = made
    if "concat" in print_graph(graph):
        return
    network = integer_network(graph, tensors)

    def run(part, state=None):
        rows, layout = quantize_inputs(network, part)
        trace = evaluate_integers(network, rows, layout.steps, state)
        return trace.values["y"].reshape(4, layout.steps, -1), trace.state

    whole, _ = run(x)
    first, state = run(x[:, :cut])
    rest, _ = run(x[:, cut:], state)
    assert np.concatenate([first, rest], axis=1).tolist() == whole.tolist()


@settings(deadline=None, max_examples=40)
@given(nets(), st.integers(0, 100))
def test_no_partial_sum_leaves_the_proved_bounds(made, seed):
    """States of any format value, products in random order: the running sums stay within low and high."""
    graph, tensors, _ = made
    network = integer_network(graph, tensors)
    each, rng = network.station("c"), np.random.default_rng(seed)
    assert each.bits == next(fact.bits for fact in graph.facts_of(Sums) if fact.station == "c")
    x = rng.choice([-1e9, 1e9], (1, 5, graph.inputs[0].units))
    rows, _ = quantize_inputs(network, x)
    trace = evaluate_integers(network, rows, 5)
    assert (trace.sums["c"] >= each.low).all()
    assert (trace.sums["c"] <= each.high).all()
    unit = int(rng.integers(0, each.station.real_units))
    terms = [int(each.bias[unit])]
    for one in network.into["c"]:
        alone = np.eye(len(rows["x"][0]), dtype=np.int64) * rows["x"][0]
        terms += one.push(alone)[:, unit].tolist()
    about = each.cell.cell
    into, _ = structure_edges(about.recur, about.hidden, about.loc)
    direction, place = divmod(unit, about.hidden)
    ends = each.reading.table if each.reading.table is not None else np.array([each.reading.low, each.reading.high])
    weights = each.cell.weights[direction][into == place]
    terms += [int(w) * int(rng.choice([ends.min(), ends.max()])) for w in weights]
    running = np.cumsum(rng.permutation(terms))
    assert each.low[unit] <= running.min()
    assert running.max() <= each.high[unit]


@pytest.mark.parametrize("recur", list(STRUCTURES))
@pytest.mark.parametrize("name", ["relu", "identity"])
def test_floats_are_near(recur, name):
    """Functions of slope one and a matrix of norm below a half: the error of a step and half of the one before.

    A step is off by half of a unit of the state, by what inputs and bias were rounded, by the weights' own rounding,
    and by 2^-16 of the state for its multiplier.
    """
    graph = net(cell("rnn", STRUCTURES[recur], activation=name), dense=True)
    weights, rng = random_weights(graph, 3, 0.3), np.random.default_rng(4)
    into, _ = structure_edges(STRUCTURES[recur], 12, None)
    matrix = weights["c.recurrent.h"].reshape(-1)
    matrix *= 0.5 / np.bincount(into, np.abs(matrix)).max()
    x = rng.random((6, 30, 7))
    made = quantize(graph, weights, Settings(), x)
    network = integer_network(made.graph, made.tensors)
    rows, layout = quantize_inputs(network, x)
    c = network.station("c")
    found = evaluate_integers(network, rows, layout.steps).values["c"] * c.scale
    expected = evaluate(graph, weights, x).values["c"]
    generator = resolve(graph.line("main"), graph)
    fed = generator.units(1, 0, generator.count)
    inputs = np.abs(weights["head.1"]).sum(axis=1).max() + np.bincount(fed, np.abs(weights["main.1"])).max()
    terms = 7 + np.bincount(fed).max() + np.bincount(into).max()
    once = 0.5 * network.station("x").scale * inputs + 0.5 * float(c.sum_scale[0]) * (255 * terms + 1)
    once += 0.5 * c.scale + 2.0**-15 * np.abs(expected).max()
    assert np.abs(found - expected).max() <= 2 * once


@pytest.mark.parametrize("name", [c for c in CELLS if c not in ("rnn", "indrnn", "linear")])
def test_gates_are_refused_by_name(name):
    graph = net(cell(name))
    with pytest.raises(PathcError, match=f"E1303.*`{name}`, whose gates multiply states"):
        quantize(graph, random_weights(graph), Settings(), np.ones((2, 3, 7)))
    with pytest.raises(PathcError, match="E1303"):
        quantize(graph, random_weights(graph))


def calibrated(**options):
    graph = net(cell("rnn", Call("diag"), **options))
    made = quantize(graph, random_weights(graph), Settings(), np.ones((2, 3, 7)))
    return made.graph, made.tensors


@pytest.mark.parametrize(
    ("code", "damage"),
    [
        ("E1302", lambda g, t: (replace(g, facts=tuple(f for f in g.facts if not isinstance(f, Recurrent))), t)),
        ("E1302", lambda g, t: (replace(g, facts=tuple(
            f for f in g.facts if not (isinstance(f, Scale) and f.station == "c"))), t)),
        ("E1302", lambda g, t: (g, {n: v for n, v in t.items() if n != "c.recurrent.h.scale"})),
        ("E1305", lambda g, t: (g, {**t, "c.recurrent.h.scale": t["c.recurrent.h.scale"] * np.float32(1.1)})),
        ("E1306", lambda g, t: (replace(g, facts=tuple(
            replace(f, type=plain_type("t2")) if isinstance(f, Recurrent) else f for f in g.facts)), t)),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(code, damage):
    with pytest.raises(PathcError, match=code):
        integer_network(*damage(*calibrated()))


def test_other_things_that_integers_cannot_do_beside_cells():
    for pipeline, said in (((Call("softmax"),), "softmax"), ((Call("tanh"), Call("relu")), "relu")):
        graph = net(cell("rnn", Call("diag")), behind=pipeline)
        with pytest.raises(PathcError, match=f"E1303.*`{said}`"):
            quantize(graph, random_weights(graph), Settings(), np.ones((2, 3, 7)))
    graph = net(cell("rnn", Call("diag"), bidirectional="sum"))
    with pytest.raises(PathcError, match=r"E1303.*two directions"):
        quantize(graph, random_weights(graph), Settings(), np.ones((2, 3, 7)))
    weights = random_weights(net(cell("linear", Call("diag"))))
    weights["c.recurrent.h"] = np.zeros_like(weights["c.recurrent.h"])
    with pytest.raises(PathcError, match=r"E1310.*`c\.recurrent\.h`"):
        quantize(net(cell("linear", Call("diag"))), weights)


def test_facts_of_cells_read_back():
    graph, _ = calibrated()
    text = print_graph(graph)
    assert "recurrent %c { type = i8 }" in text
    assert parse_graph(Source("g.pir", text)) == graph
    assert violations(graph) == []
    fact = next(graph.facts_of(Recurrent))
    for facts in ((*graph.facts, fact), (replace(fact, type=plain_type("u8")),)):
        assert [d.code for d in violations(replace(graph, facts=facts))] == ["E0310"]


def test_states_that_cannot_be_negative_are_u8():
    for function, kind in (("relu", "u8"), ("sigmoid", "u8"), ("tanh", "i8"), ("identity", "i8")):
        graph, _ = calibrated(activation=function)
        assert [f.type.name for f in graph.facts_of(Scale) if f.station == "c"] == [kind]


def test_one_sequence_without_a_batch():
    network = integer_network(*calibrated())
    x = np.random.default_rng(0).random((2, 5, 7))
    whole = integer_forward(network, x)
    assert whole.shape == (2, 5, 4)
    assert integer_forward(network, x[1]).tolist() == whole[1].tolist()
    assert integer_forward(network, x[:0]).shape == (0, 5, 4)
    with pytest.raises(PathcError, match="E1308"):
        integer_forward(network, np.full((1, 2, 7), np.nan))


MODEL = """pathc 1
model s
input  x[6]
layer  h[16] : bias | rnn(recur = band(5))
output y[3]  : bias | softmax
paths main : x -> h -> y { count = 64 }
"""


def test_the_command(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    (tmp_path / "s.path").write_text(MODEL)
    save_weights("w.safetensors", initial_weights(load("s.path")))
    x, labels = rng.random((12, 9, 6)).astype(np.float32), rng.integers(0, 3, (12, 9))
    np.savez("d.npz", x_train=x[:8], y_train=labels[:8], x_test=x[8:], y_test=labels[8:])
    assert main(["quantize", "s.path", "--weights", "w.safetensors", "--data", "d.npz", "-o", "q.safetensors",
                 "--json"]) == 0  # fmt: skip
    said = json.loads(capsys.readouterr().out)
    assert "h.recurrent.h" in {tensor["name"] for tensor in said["tensors"]}
    assert 0 <= said["accuracy_integers"] <= 100
    np.save("x.npy", x)
    target = "reference{integers=true}"
    assert main(["run", "q.pir", "--weights", "q.safetensors", "-t", target, "--input", "x.npy", "-o", "y.npy"]) == 0
    assert main(["run", "s.path", "--weights", "w.safetensors", "--input", "x.npy", "-o", "f.npy", "-t",
                 "reference"]) == 0  # fmt: skip
    assert np.load("y.npy").shape == (12, 9, 3)
    assert np.abs(np.load("y.npy") - np.load("f.npy")).max() < 0.1
    assert main(["run", "q.pir", "--weights", "q.safetensors", "-t", "llvm{integers=true}", "--input", "x.npy"]) == 1
    assert "E0376" in capsys.readouterr().err
