"""Normalization keeps outputs; sampled paths follow the weights."""

from __future__ import annotations

import numpy as np
import pytest
from quantized_nets import BIAS, rich, station, visits

from pathc.cli import main
from pathc.ir.compress.edges import weighted_edges
from pathc.ir.compress.normalize import normalize
from pathc.ir.compress.paths import sample_paths, write_units
from pathc.ir.graph import Graph, Line
from pathc.ir.interp import forward
from pathc.ir.interp.junctions import junctions_of
from pathc.ir.types import Call
from pathc.ir.weights import expected_tensors
from pathc.support.diagnostics import PathcError

RELU = Call("relu")


def chain(*activations, last=()):
    sizes = (6, *(7 + i for i in range(len(activations))), 4)
    stations = [station("s0", "input", sizes[0])]
    stations += [
        station(f"s{i + 1}", "layer", n, BIAS, a) for i, (n, a) in enumerate(zip(sizes[1:], activations, strict=False))
    ]
    stations.append(station(f"s{len(sizes) - 1}", "output", 4, *last))
    lines = [Line(f"l{i}", "dense", visits(f"s{i}", f"s{i + 1}")) for i in range(len(sizes) - 2)]
    ends = [f"s{len(sizes) - 2}", f"s{len(sizes) - 1}"]
    return Graph("chain", tuple(stations), (*lines, Line("p", "paths", visits(*ends), 40)))


def drawn(graph, seed=0):
    rng = np.random.default_rng(seed)
    return {n: rng.normal(0, 2.0, s).astype(np.float32) for n, s in expected_tensors(graph).items()}


HOMOGENEOUS = [RELU, Call("abs"), Call("identity"), Call("leaky", (("slope", 0.3),)), Call("kwinners", (("k", 3),))]


@pytest.mark.parametrize("activation", HOMOGENEOUS, ids=str)
@pytest.mark.parametrize("last", [(), (Call("softmax"),), (Call("tanh"),)], ids=str)
def test_outputs_stay_and_norms_are_one(activation, last):
    graph = chain(activation, RELU, last=last)
    weights = drawn(graph)
    result = normalize(graph, weights)
    x = np.random.default_rng(1).normal(size=(9, 6))
    exact = forward(graph, weights, x)
    np.testing.assert_allclose(forward(graph, result.tensors, x), exact, rtol=1e-4, atol=1e-5 * np.abs(exact).max())
    norms = np.abs(result.tensors["l1.1"]).sum(axis=1)
    np.testing.assert_allclose(norms, 1.0, rtol=1e-5)


def test_outputs_are_normalized_on_demand():
    graph = chain(RELU, RELU)
    weights = drawn(graph)
    result = normalize(graph, weights, outputs=True)
    x = np.random.default_rng(1).normal(size=(9, 6))
    exact = forward(graph, weights, x)
    found = forward(graph, result.tensors, x) * result.factors["s3"]
    np.testing.assert_allclose(found, exact, rtol=1e-4, atol=1e-4)
    last = weighted_edges(result.tensors, junctions_of(graph)[-1])
    np.testing.assert_allclose(np.bincount(last.destination, np.abs(last.weights)), 1.0, rtol=1e-5)


def test_a_skip_hands_its_factors_on():
    stations = tuple(station(n, r, 6, *c) for n, r, c in (
        ("x", "input", ()), ("a", "layer", (RELU,)), ("b", "layer", (RELU,)), ("y", "output", ()),
    ))  # fmt: skip
    lines = (
        Line("l", "dense", visits("x", "a", "b", "y")),
        Line("r", "skip", visits("a", "b"), scale=0.5),
    )
    graph = Graph("res", stations, lines)
    weights = drawn(graph)
    x = np.random.default_rng(1).normal(size=(9, 6))
    np.testing.assert_allclose(
        forward(graph, normalize(graph, weights).tensors, x), forward(graph, weights, x), rtol=1e-4, atol=1e-3
    )


@pytest.mark.parametrize("name", ["tanh", "sigmoid", "hardtanh", "softmax"])
def test_where_homogeneity_fails_the_station_is_named(name):
    graph = chain(RELU, Call(name))
    with pytest.raises(PathcError, match=r"E1312: .*`s2`"):
        normalize(graph, drawn(graph))


def test_tied_weights_are_refused():
    graph = rich(RELU)
    with pytest.raises(PathcError, match="E1312"):
        normalize(graph, drawn(graph))


def test_paths_are_drawn_in_proportion(tmp_path):
    graph = chain(RELU, RELU)
    weights = drawn(graph)
    count = 4000
    (units,) = sample_paths(graph, weights, count, str(tmp_path / "u.npz"), seed=3).files.values()
    assert units.shape == (4, count)
    assert np.bincount(units[-1]).tolist() == [count // 4] * 4
    for number, junction in enumerate(junctions_of(graph), start=1):
        edges = weighted_edges(weights, junction)
        through = np.bincount(units[number], minlength=20)
        norm = np.bincount(edges.destination, np.abs(edges.weights), minlength=20)
        size = graph.station(junction.source).units
        wanted = np.zeros((20, size))
        np.add.at(
            wanted,
            (edges.destination, edges.source),
            through[edges.destination] * np.abs(edges.weights) / norm[edges.destination],
        )
        found = np.zeros((20, size))
        np.add.at(found, (units[number], units[number - 1]), 1)
        repeats = np.zeros((20, size))
        np.add.at(repeats, (edges.destination, edges.source), 1)
        assert (np.abs(found - wanted) < np.maximum(repeats, 1) + 1e-6).all()


def test_many_paths_compute_what_the_net_computes(tmp_path):
    graph = chain(RELU, RELU)
    weights = drawn(graph)
    x = np.abs(np.random.default_rng(2).normal(size=(20, 6)))
    exact = forward(graph, weights, x)
    errors = []
    for count in (100, 1000, 20000):
        result = sample_paths(graph, weights, count, str(tmp_path / f"{count}.npz"))
        write_units(result)
        found = forward(result.graph, result.tensors, x)
        errors.append(np.abs(found - exact).max() / np.abs(exact).max())
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 0.005
    assert result.share > 0.95


def test_what_no_path_can_reach_is_refused():
    graph = chain(RELU)
    with pytest.raises(PathcError, match="E1313"):
        sample_paths(graph, drawn(graph), 3, "u.npz")
    weights = drawn(graph)
    weights["l0.1"][:] = 0.0
    with pytest.raises(PathcError, match="E1313"):
        sample_paths(graph, weights, 100, "u.npz")


def test_branches_and_tied_lines_compute_what_the_net_computes(tmp_path):
    graph = rich(RELU)
    weights = drawn(graph)
    x = np.random.default_rng(2).normal(size=(20, 6))
    exact = forward(graph, weights, x)
    result = sample_paths(graph, weights, 100_000, str(tmp_path / "u.npz"))
    write_units(result)
    assert {line.name for line in result.graph.lines} == {"encode_1", "encode_2", "decode_1", "decode_2", "res", "up"}
    assert np.abs(forward(result.graph, result.tensors, x) - exact).max() < 0.01 * np.abs(exact).max()


def test_commands(tmp_path, capsys):
    digits = ["examples/digits.path", "--weights", "examples/digits.safetensors"]
    x, outputs = tmp_path / "x.npy", []
    np.save(x, np.random.default_rng(0).integers(0, 17, (5, 64)).astype(np.float32))
    assert main(["normalize", *digits, "-o", str(tmp_path / "n.safetensors")]) == 0
    assert main(["sample", *digits, "--count", "200000", "-o", str(tmp_path / "s.pir")]) == 0
    for model, weights in (
        (digits[0], digits[2]),
        (digits[0], tmp_path / "n.safetensors"),
        (tmp_path / "s.pir", tmp_path / "s.safetensors"),
    ):
        y = tmp_path / "y.npy"
        assert main(["run", str(model), "--weights", str(weights), "--input", str(x), "-o", str(y)]) == 0
        outputs.append(np.load(y))
    np.testing.assert_allclose(outputs[1], outputs[0], atol=1e-4)
    assert (outputs[2].argmax(axis=1) == outputs[0].argmax(axis=1)).all()
    capsys.readouterr()
