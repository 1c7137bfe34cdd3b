from __future__ import annotations

import numpy as np
import pytest
from ir_nets import ACTIVATIONS, BIAS, chain, random_weights, rich_graph, station, visits

from pathc.ir.generators import resolve
from pathc.ir.graph import Graph, Line, Station
from pathc.ir.interp import evaluate, forward, supports
from pathc.ir.types import Call
from pathc.ir.weights import expected_tensors
from pathc.support.diagnostics import PathcError
from pathc.support.source import Loc

RELU = Call("relu")


def codes(action):
    with pytest.raises(PathcError) as caught:
        action()
    return [d.code for d in caught.value.diagnostics]


def by_definition(graph, weights, x):
    """The sums over paths, path by path, for a single line with activations on its stations."""
    line = graph.lines[0]
    generator = resolve(line, graph)

    def read(station_, a):
        names = [s.name for s in station_.pipeline]
        return max(a, 0.0) if "relu" in names else a

    stations = [graph.station(v.station) for v in line.visits]
    a = list(x)
    for j in line.junctions:
        bias = weights.get(f"{stations[j].name}.bias", np.zeros(stations[j].units))
        sums = list(bias)
        u, v = generator.units(j - 1, 0, line.count), generator.units(j, 0, line.count)
        for i in range(line.count):
            sums[v[i]] += weights[f"{line.name}.{j}"][i] * read(stations[j - 1], a[u[i]])
        a = sums
    return np.array([read(stations[-1], value) for value in a])


@pytest.mark.parametrize(("sizes", "count"), [((4, 4), 4), ((7, 5, 3), 21), ((1, 1, 1), 5), ((16, 8, 16), 64)])
def test_equals_the_sum_path_by_path(sizes, count):
    graph = chain(sizes, count, [(RELU,), *[(BIAS, RELU)] * (len(sizes) - 2), (BIAS,)])
    weights = random_weights(graph)
    x = np.random.default_rng(1).normal(size=(3, sizes[0]))
    expected = np.stack([by_definition(graph, weights, row) for row in x])
    np.testing.assert_allclose(forward(graph, weights, x), expected, rtol=1e-13, atol=1e-13)


def test_sobol_units_and_sums_by_hand():
    # dimension 0 visits 0 2 1 3, dimension 1 visits 0 2 3 1
    graph = chain((4, 4), 4)
    y = forward(graph, {"main.1": np.array([1.0, 10.0, 100.0, 1000.0])}, np.array([1, 2, 3, 4]))
    assert y.tolist() == [1.0, 4000.0, 30.0, 200.0]


def test_repeated_edges_add():
    graph = chain((1, 1), 3)
    assert forward(graph, {"main.1": np.array([1.0, 2.0, 4.0])}, np.array([3.0])).tolist() == [21.0]


def test_activation_is_applied_on_read_and_at_the_output():
    graph = chain((1, 1, 1), 1, [(), (RELU,), (Call("abs"),)])
    weights = {"main.1": np.array([-1.0]), "main.2": np.array([5.0])}
    trace = evaluate(graph, weights, np.array([[2.0], [-2.0]]))
    assert trace.sums["s1"].tolist() == [[-2.0], [2.0]]
    assert trace.values["s1"].tolist() == [[0.0], [2.0]]
    assert trace.outputs.tolist() == [[0.0], [10.0]]
    weights["main.2"] = np.array([-5.0])
    assert forward(graph, weights, np.array([-2.0])).tolist() == [10.0]


def test_input_is_not_rectified_unless_named():
    weights = {"main.1": np.ones(1)}
    assert forward(chain((1, 1), 1), weights, np.array([-2.0])).tolist() == [-2.0]
    assert forward(chain((1, 1), 1, [(RELU,), ()]), weights, np.array([-2.0])).tolist() == [0.0]


@pytest.mark.parametrize(
    ("name", "options", "x", "expected"),
    [
        ("identity", (), [-1.0, 2.0], [-1.0, 2.0]),
        ("relu", (), [-1.0, 2.0], [0.0, 2.0]),
        ("leaky", (), [-1.0, 2.0], [-0.01, 2.0]),
        ("leaky", (("slope", 0.5),), [-1.0, 2.0], [-0.5, 2.0]),
        ("abs", (), [-1.0, 2.0], [1.0, 2.0]),
        ("tanh", (), [0.0, 1.0], [0.0, 0.7615941559557649]),
        ("sigmoid", (), [0.0, 1.0], [0.5, 0.7310585786300049]),
        ("hardtanh", (), [-3.0, 0.5], [-1.0, 0.5]),
        ("hardtanh", (("low", 0.0), ("high", 20.0)), [-3.0, 50.0], [0.0, 20.0]),
        ("softmax", (), [0.0, np.log(3.0)], [0.25, 0.75]),
        ("softmax", (), [1e300, 1e300], [0.5, 0.5]),
        ("kwinners", (("k", 2),), [1.0, 5.0, -1.0, 5.0, 5.0], [0.0, 5.0, 0.0, 5.0, 0.0]),
        ("kwinners", (("k", 1),), [-2.0, -1.0], [0.0, -1.0]),
        ("kwinners", (("k", 9),), [-2.0, -1.0], [-2.0, -1.0]),
    ],
)
def test_activations(name, options, x, expected):
    graph = chain((len(x), len(x)), 1, [(Call(name, options),), ()])
    values = evaluate(graph, random_weights(graph), np.array(x)).values["s0"][0]
    np.testing.assert_allclose(values, expected, rtol=1e-15)


@pytest.mark.parametrize("activation", [a for a in ACTIVATIONS if a.name not in ("softmax", "kwinners")])
def test_nan_propagates_and_stays_in_its_unit(activation):
    graph = chain((2, 2), 2, [(activation,), ()])
    y = forward(graph, {"main.1": np.ones(2)}, np.array([np.nan, 1.0]))
    assert np.isnan(y).sum() == 1


def test_nan_in_softmax_and_kwinners():
    graph = chain((3, 3), 3, [(Call("softmax"),), ()])
    assert np.isnan(evaluate(graph, {"main.1": np.ones(3)}, np.array([np.nan, 1, 2])).values["s0"]).all()
    graph = chain((3, 3), 3, [(Call("kwinners", (("k", 1),)),), ()])
    values = evaluate(graph, {"main.1": np.ones(3)}, np.array([np.inf, np.nan, 2])).values["s0"][0]
    assert values[[0, 2]].tolist() == [0.0, 0.0]
    assert np.isnan(values[1])


def test_infinities_and_minus_zero():
    graph = chain((1, 1), 1)
    one = {"main.1": np.ones(1)}
    assert forward(graph, one, np.array([-np.inf])).tolist() == [-np.inf]
    assert np.isnan(forward(graph, {"main.1": np.zeros(1)}, np.array([np.inf]))).all()
    assert np.isnan(forward(chain((1, 1), 2), {"main.1": np.array([1.0, -1.0])}, np.array([np.inf]))).all()
    assert not np.signbit(forward(graph, one, np.array([-0.0]))).any()
    trace = evaluate(graph, one, np.array([-0.0]))
    assert np.signbit(trace.values["s0"]).all()
    assert forward(graph, {"main.1": np.array([1e200])}, np.array([1e200])).tolist() == [np.inf]


def test_batch_axis():
    graph = rich_graph(Call("tanh"))
    weights = random_weights(graph)
    x = np.random.default_rng(2).normal(size=(5, 6))
    whole = forward(graph, weights, x)
    assert whole.shape == (5, 11)
    assert whole.dtype == np.float64
    rows = np.stack([forward(graph, weights, row) for row in x])
    np.testing.assert_allclose(whole, rows, rtol=1e-14)
    assert forward(graph, weights, x[:0]).shape == (0, 11)
    assert forward(graph, weights, x[0]).shape == (11,)


def test_integer_and_boolean_inputs_are_values():
    graph = chain((3, 3), 3)
    weights = random_weights(graph)
    x = np.array([[0, 1, 255]], dtype=np.uint8)
    assert forward(graph, weights, x).tolist() == forward(graph, weights, x.astype(float)).tolist()
    assert forward(graph, weights, x > 0).tolist() == forward(graph, weights, (x > 0) * 1.0).tolist()


def test_several_inputs_lie_side_by_side_or_come_by_name():
    stations = (station("a", "input", 2), station("b", "input", 3), station("y", "output", 2))
    graph = Graph("two", stations, (Line("p", "dense", visits("a", "y")), Line("q", "dense", visits("b", "y"))))
    weights = {"p.1": np.arange(4.0).reshape(2, 2), "q.1": np.ones((2, 3))}
    a, b = np.array([[1.0, 2.0]]), np.array([[3.0, 4.0, 5.0]])
    assert forward(graph, weights, np.hstack([a, b])).tolist() == [[14.0, 20.0]]
    assert forward(graph, weights, {"b": b, "a": a}).tolist() == [[14.0, 20.0]]
    assert codes(lambda: forward(graph, weights, {"b": b})) == ["E0512"]
    assert codes(lambda: forward(graph, weights, {"b": b, "a": a, "c": a})) == ["E0506"]
    assert codes(lambda: forward(graph, weights, {"b": b, "a": np.ones((2, 2))})) == ["E0512"]


def test_mirrored_line_walks_backwards_with_the_same_weights():
    graph = rich_graph(Call("identity"))
    weights = random_weights(graph)
    generator = resolve(graph.line("encode"), graph)
    trace = evaluate(graph, weights, np.random.default_rng(3).normal(size=6))
    c, d = trace.values["c"][0], weights["down.1"] @ trace.values["x"][0, :6]
    for i in range(37):
        d[generator.units(1, i, i + 1)[0]] += weights["encode.2"][i] * c[generator.units(2, i, i + 1)[0]]
    np.testing.assert_allclose(trace.sums["d"][0], d, rtol=1e-13)
    np.testing.assert_allclose(trace.sums["z"][0, :6], weights["down.1"].T @ d, rtol=1e-13)


@pytest.mark.parametrize("name", ["sigmoid", "softmax", "relu"])
def test_silent_units_read_as_zero(name):
    stations = (station("x", "input", 4, Call(name), declared=3), station("y", "output", 4, Call(name), declared=3))
    graph = Graph("pad", stations, (Line("p", "paths", visits("x", "y"), 4),))
    trace = evaluate(graph, {"p.1": np.ones(4)}, np.array([1.0, 2.0, 3.0]))
    assert trace.values["x"].shape == (1, 4)
    assert trace.values["x"][0, 3] == 0.0
    assert trace.outputs.shape == (3,)
    if name == "softmax":
        assert trace.outputs.sum() == pytest.approx(1.0)


def test_windows_of_paths_add_up(monkeypatch):
    graph = chain((8, 8), 100)
    weights, x = random_weights(graph), np.random.default_rng(0).normal(size=(2, 8))
    whole = forward(graph, weights, x)
    monkeypatch.setattr("pathc.ir.interp.junctions._WINDOW", 7)
    np.testing.assert_allclose(forward(graph, weights, x), whole, rtol=1e-14)


def test_scale_of_integer_weights():
    graph = chain((2, 2), 2)
    x = np.array([3.0, 5.0])
    weights = {"main.1": np.array([2, -4], dtype=np.int8)}
    plain = forward(graph, weights, x)
    scaled = forward(graph, weights | {"main.1.scale": np.array(0.25, dtype=np.float32)}, x)
    assert scaled.tolist() == (plain / 4).tolist()


def test_wrong_weights_and_inputs_are_diagnosed():
    graph = chain((4, 4), 4)
    good, x = random_weights(graph), np.ones((1, 4))
    assert codes(lambda: forward(graph, {}, x)) == ["E0505"]
    assert codes(lambda: forward(graph, {"main.1": np.ones(5)}, x)) == ["E0507"]
    assert codes(lambda: forward(graph, good | {"mian.1": np.ones(4)}, x)) == ["E0506"]
    assert codes(lambda: forward(graph, {"main.1": np.array(list("abcd"))}, x)) == ["E0508"]
    assert codes(lambda: forward(graph, good, np.ones((1, 5)))) == ["E0512"]
    assert codes(lambda: forward(graph, good, np.ones((1, 1, 4)))) == ["E0512"]
    assert codes(lambda: forward(graph, good, np.array(["a"] * 4))) == ["E0513"]
    assert codes(lambda: forward(graph, good, np.array(3.0))) == ["E0512"]


def test_what_cannot_be_evaluated_is_named_at_its_place():
    place = Loc("m.path", 7, 1)
    shuffle = Call("channelshuffle", (("groups", 2),))
    cell = Station("h", "layer", (4,), pipeline=(shuffle, Call("indrnn")), loc=place)
    behind = Station("k", "layer", (4,), pipeline=(Call("indrnn"), Call("ode")))
    graph = Graph("g", (station("x", "input", 4), cell, behind, station("y", "output", 4, shuffle)), ())
    found = [d for d in supports(graph) if d.code == "E0610"]
    assert len(found) == 2
    assert found[0].place == place
    assert "`channelshuffle`" in found[0].message
    assert "`ode`" in found[1].message
    assert supports(rich_graph(Call("softmax"))) == []


def test_every_generator_gives_the_same_network_as_its_edge_list():
    for generator, count in ((Call("random"), 40), (Call("shuffle"), 64), (Call("expander"), 64)):
        graph = chain((16, 16), count, generator=generator)
        weights = random_weights(graph)
        edges = resolve(graph.lines[0], graph)
        matrix = np.zeros((16, 16))
        np.add.at(matrix, (edges.units(1, 0, count), edges.units(0, 0, count)), weights["main.1"])
        x = np.random.default_rng(5).normal(size=(4, 16))
        np.testing.assert_allclose(forward(graph, weights, x), x @ matrix.T, rtol=1e-12, atol=1e-13)


def test_expected_tensors_of_a_rich_graph():
    assert expected_tensors(rich_graph(RELU)) == {
        "encode.1": (37,), "encode.2": (37,), "shortcut.1": (19,), "down.1": (5, 6),
        "e.bias": (5,), "c.bias": (7,), "y.bias": (5,),
    }  # fmt: skip
    untied = expected_tensors(rich_graph(RELU, tied=False))
    assert untied["decode.2"] == (37,)
    assert untied["up.1"] == (6, 5)
