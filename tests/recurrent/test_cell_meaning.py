"""The interpreter's cells against formulas written out, their gradients against differences."""

from __future__ import annotations

import numpy as np
import pytest
from recurrent_nets import CELLS, STRUCTURED, STRUCTURES, cell, net, random_weights

from pathc.ir.cells import cell_of
from pathc.ir.graph import Graph, Line, Station, Visit
from pathc.ir.init import initial_weights
from pathc.ir.interp import backward, error_bound, evaluate, forward
from pathc.ir.recurrence import structure_edges, structure_shape, structure_weights
from pathc.ir.types import Call
from pathc.ir.weights import expected_tensors
from pathc.support.diagnostics import PathcError


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def only_cell(stage, units, inputs):
    stations = (Station("x", "input", (inputs,)), Station("c", "output", (units,), pipeline=(Call("bias"), stage)))
    return Graph("net", stations, (Line("in", "dense", (Visit("x", 0), Visit("c", 1))),))


def matrix(structure, units, values):
    dense = np.zeros((units, units))
    np.add.at(dense, structure_edges(structure, units), values.reshape(-1))
    return dense


def written_out(name, u, r, h, c, after):
    if name == "rnn":
        return np.tanh(u[0] + h @ r[0].T), c
    if name == "lstm":
        i, f, g, o = (u[k] + h @ r[k].T for k in range(4))
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        return sigmoid(o) * np.tanh(c), c
    if name == "gru":
        reset, z = sigmoid(u[0] + h @ r[0].T), sigmoid(u[1] + h @ r[1].T)
        n = np.tanh(u[2] + (reset * (h @ r[2].T) if after else (reset * h) @ r[2].T))
        return (1 - z) * n + z * h, c
    if name == "ligru":
        z = sigmoid(u[0] + h @ r[0].T)
        return z * h + (1 - z) * np.maximum(u[1] + h @ r[1].T, 0), c
    return u[0] + h @ r[0].T, c


@pytest.mark.parametrize("structure", STRUCTURES.values(), ids=STRUCTURES)
@pytest.mark.parametrize("name", STRUCTURED)
def test_cells_are_their_formulas(name, structure):
    graph = only_cell(cell(name, structure), 12, 5)
    weights = random_weights(graph, 1)
    x = np.random.default_rng(0).normal(size=(2, 6, 5))
    found = forward(graph, weights, x)
    gates = cell_of(graph.station("c")).gates
    w, b = weights["in.1"].reshape(-1, 12, 5), weights["c.bias"].reshape(-1, 12)
    r = [matrix(structure, 12, weights[f"c.recurrent.{gate}"]) for gate in gates]
    h = c = np.zeros((2, 12))
    for t in range(6):
        u = [x[:, t] @ w[k].T + b[k] for k in range(len(gates))]
        h, c = written_out(name, u, r, h, c, after=True)
        np.testing.assert_allclose(found[:, t], h, atol=1e-12)


def test_elementwise_cells_are_their_formulas():
    x = np.random.default_rng(0).normal(size=(2, 6, 5))
    for name in ("qrnn", "sru", "indrnn"):
        graph = only_cell(cell(name), 4, 5)
        weights = random_weights(graph, 2)
        found = forward(graph, weights, x)
        w, b = weights["in.1"].reshape(-1, 4, 5), weights["c.bias"].reshape(-1, 4)
        c = np.zeros((2, 4))
        for t in range(6):
            u = [x[:, t] @ w[k].T + b[k] for k in range(len(w))]
            if name == "qrnn":
                f = sigmoid(u[1])
                c = f * np.tanh(u[0]) + (1 - f) * c
                h = sigmoid(u[2]) * c
            elif name == "sru":
                f = sigmoid(u[1] + weights["c.recurrent.f"] * c)
                r = sigmoid(u[2] + weights["c.recurrent.r"] * c)
                c = f * c + (1 - f) * u[0]
                h = r * c
            else:
                h = c = np.maximum(u[0] + weights["c.recurrent.h"] * c, 0)
            np.testing.assert_allclose(found[:, t], h, atol=1e-12)


def test_reset_before_the_matrix_is_another_cell():
    structure = STRUCTURES["band"]
    graph = only_cell(cell("gru", structure, reset="before"), 12, 5)
    weights = random_weights(graph, 1)
    x = np.random.default_rng(0).normal(size=(1, 3, 5))
    r = [matrix(structure, 12, weights[f"c.recurrent.{gate}"]) for gate in "rzn"]
    h = np.zeros((1, 12))
    for t in range(3):
        u = [x[:, t] @ weights["in.1"][k].T + weights["c.bias"][k] for k in range(3)]
        h, _ = written_out("gru", u, r, h, h, after=False)
    np.testing.assert_allclose(forward(graph, weights, x)[:, -1], h, atol=1e-12)


def test_a_wide_qrnn_looks_back():
    graph = only_cell(cell("qrnn", window=3), 2, 1)
    weights = random_weights(graph, 3)
    assert weights["in.1"].shape == (9, 2, 1)
    x = np.random.default_rng(0).normal(size=(1, 5, 1))
    c = np.zeros(2)
    for t in range(5):
        u = [weights["c.bias"][k] + sum(weights["in.1"][3 * tap + k] @ x[0, t - tap] for tap in range(min(3, t + 1)))
             for k in range(3)]  # fmt: skip
        f = sigmoid(u[1])
        c = f * np.tanh(u[0]) + (1 - f) * c
        np.testing.assert_allclose(forward(graph, weights, x)[0, t], sigmoid(u[2]) * c, atol=1e-12)


def test_the_highway_of_an_sru_is_its_skip():
    graph = net(cell("sru"), skip=True, bias=False)
    weights = random_weights(graph, 3)
    x = np.random.default_rng(0).normal(size=(1, 4, 12))
    with_skip = evaluate(graph, weights, x)
    without = evaluate(Graph("net", graph.stations, graph.lines[:1]), weights, x)
    r = with_skip.cells["c"].gates[0]["r"]
    np.testing.assert_allclose(with_skip.cells["c"].output - without.cells["c"].output, (1 - r) * 0.5 * x, atol=1e-12)


@pytest.mark.parametrize("name", STRUCTURED)
def test_two_directions(name):
    x = np.random.default_rng(0).normal(size=(2, 5, 3))
    both, summed = (only_cell(cell(name, Call("diag"), bidirectional=b), n, 3) for b, n in (("concat", 8), ("sum", 4)))
    one = only_cell(cell(name, Call("diag")), 4, 3)
    weights = random_weights(both, 4)
    gates = cell_of(one.station("c")).gates
    k = len(gates)

    def half(d):
        part = {f"c.recurrent.{g}": weights[f"c.recurrent.{g}{'.reverse' * d}"] for g in gates}
        rows = slice(4 * d, 4 * d + 4)
        return {**part, "in.1": weights["in.1"][..., rows, :], "c.bias": weights["c.bias"][..., rows]}

    there, back = forward(one, half(0), x), forward(one, half(1), x[:, ::-1])[:, ::-1]
    np.testing.assert_allclose(forward(both, weights, x), np.concatenate((there, back), axis=2), atol=1e-12)
    joined = {**{n: w for n, w in weights.items() if "recurrent" in n}}
    for tensor in ("in.1", "c.bias"):
        parts = [half(d)[tensor].reshape(k, *half(d)[tensor].shape[-2 if tensor == "in.1" else -1 :]) for d in (0, 1)]
        joined[tensor] = np.concatenate(parts)
    np.testing.assert_allclose(forward(summed, joined, x), there + back, atol=1e-12)


def test_a_state_carries_a_sequence_on():
    graph = net(cell("lstm", Call("diag")))
    weights = random_weights(graph, 5)
    x = np.random.default_rng(0).normal(size=(3, 9, 7))
    first = evaluate(graph, weights, x[:, :4])
    second = evaluate(graph, weights, x[:, 4:], first.state)
    whole = evaluate(graph, weights, x)
    np.testing.assert_allclose(np.concatenate((first.outputs, second.outputs), axis=1), whole.outputs, atol=1e-12)
    np.testing.assert_array_equal(second.state["c"][0][1], whole.state["c"][0][1])


GRADIENTS = [
    *((name, cell(name, STRUCTURES[s]), False) for name, s in zip(STRUCTURED, STRUCTURES, strict=False)),
    ("gru before", cell("gru", STRUCTURES["ring"], reset="before"), False),
    ("shared", cell("lstm", STRUCTURES["paths"], gates="shared", bidirectional="sum"), False),
    ("concat", cell("gru", Call("grouped", (("groups", 2),)), bidirectional="concat"), False),
    ("window", cell("qrnn", window=2, bidirectional="concat"), False),
    ("sru", cell("sru", bidirectional="sum"), True),
    ("indrnn", cell("indrnn"), True),
    ("relu", cell("rnn", STRUCTURES["sparse"], activation="relu"), True),
]


@pytest.mark.parametrize(("stage", "skip"), [case[1:] for case in GRADIENTS], ids=[case[0] for case in GRADIENTS])
def test_gradients_are_differences(stage, skip):
    graph = net(stage, skip=skip, dense=True, behind=(Call("tanh"),))
    weights = random_weights(graph, 6)
    rng = np.random.default_rng(1)
    x = rng.normal(size=(2, 4, 12 if skip else 7))
    direction = rng.normal(size=(2, 4, 4))
    at_x, tensors = backward(graph, weights, x, direction)
    assert {name: g.shape for name, g in tensors.items()} == expected_tensors(graph)

    def loss(w, inputs):
        return float((forward(graph, w, inputs) * direction).sum())

    step = 1e-6
    for name, gradient in tensors.items():
        way = rng.normal(size=gradient.shape)
        ahead, behind = ({**weights, name: weights[name] + s * step * way} for s in (1, -1))
        assert (loss(ahead, x) - loss(behind, x)) / (2 * step) == pytest.approx(
            float((gradient * way).sum()), rel=1e-5, abs=1e-7
        ), name
    way = rng.normal(size=x.shape)
    slope = (loss(weights, x + step * way) - loss(weights, x - step * way)) / (2 * step)
    assert slope == pytest.approx(float((at_x * way).sum()), rel=1e-5, abs=1e-7)


@pytest.mark.parametrize("name", CELLS)
def test_single_sequences_and_empty_ones(name):
    graph = net(cell(name))
    weights = random_weights(graph)
    x = np.random.default_rng(0).normal(size=(3, 5, 7))
    np.testing.assert_allclose(forward(graph, weights, x[1]), forward(graph, weights, x)[1], atol=1e-12)
    assert forward(graph, weights, x[:0]).shape == (0, 5, 4)
    with pytest.raises(PathcError) as caught:
        forward(graph, weights, x[:, :0])
    assert caught.value.diagnostics[0].code == "E0371"
    with pytest.raises(PathcError) as caught:
        forward(graph, weights, x[0, 0])
    assert caught.value.diagnostics[0].code == "E0512"


@pytest.mark.parametrize("structure", STRUCTURES.values(), ids=STRUCTURES)
def test_structures_have_the_weights_they_count(structure):
    into, seen = structure_edges(structure, 12)
    assert len(into) == len(seen) == structure_weights(structure, 12) == np.prod(structure_shape(structure, 12))
    if structure.name not in ("paths",):
        assert len(set(zip(into, seen, strict=True))) == len(into)


def test_bands_are_clipped_and_rings_wrap():
    band, ring = (
        matrix(STRUCTURES[name], 6, np.ones(structure_weights(STRUCTURES[name], 6))) for name in ("band", "ring")
    )
    far = np.abs(np.subtract.outer(np.arange(6), np.arange(6)))
    np.testing.assert_array_equal(band, far <= 2)
    np.testing.assert_array_equal(ring, np.minimum(far, 6 - far) <= 2)


def test_masks_choose_blocks(tmp_path):
    np.savez(tmp_path / "m.npz", mask=np.array([[1, 0, 1], [0, 1, 0], [0, 0, 1]]))
    structure = Call("mask", (("file", str(tmp_path / "m.npz")), ("block", 2)))
    assert structure_shape(structure, 6) == (4, 2, 2)
    dense = matrix(structure, 6, np.arange(1, 17))
    np.testing.assert_array_equal(dense[:2], [[1, 2, 0, 0, 5, 6], [3, 4, 0, 0, 7, 8]])
    with pytest.raises(PathcError) as caught:
        structure_edges(structure, 8)
    assert caught.value.diagnostics[0].code == "E0370"


def test_bounds_hold_for_float32_and_grow_slowly():
    for name in ("rnn", "lstm", "gru", "linear"):
        graph = net(cell(name, STRUCTURES["band"]))
        weights = random_weights(graph, 7, scale=0.2)
        single = {n: w.astype(np.float32) for n, w in weights.items()}
        x = np.random.default_rng(0).normal(size=(2, 50, 7)).astype(np.float32)
        bound = error_bound(graph, single, x, 2.0**-24)
        assert np.isfinite(bound).all()
        assert 2.0**-24 < bound.max() < 1e-4
        nearby = {n: w * (1 + 2.0**-24 * np.sign(w)) for n, w in single.items()}
        off = np.abs(forward(graph, nearby, x) - forward(graph, single, x))
        assert (off <= bound).all()


def test_initial_weights_fit_and_differ_between_gates():
    for name in CELLS:
        graph = net(cell(name))
        found = initial_weights(graph)
        assert {n: w.shape for n, w in found.items()} == expected_tensors(graph)
        again = initial_weights(graph)
        assert all(np.array_equal(found[n], again[n]) for n in found)
        copies = found["main.1"].reshape(-1, 32)
        assert len({row.tobytes() for row in copies}) == len(copies)
    identity = initial_weights(net(cell("rnn", STRUCTURES["band"])))["c.recurrent.h"]
    assert identity.sum() == 12


def test_targets_without_cells_say_so():
    graph = net(cell("gru"))
    from pathc.backends.llvm.training.trainer import Trainer
    from pathc.ir.quantized.network import integer_network

    for refuse, code in (
        (lambda: Trainer(graph, initial_weights(graph)), "E0376"),
        (lambda: integer_network(graph, {}), "E1303"),
    ):
        with pytest.raises(PathcError) as caught:
            refuse()
        assert caught.value.diagnostics[0].code == code
