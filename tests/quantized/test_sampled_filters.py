"""Paths drawn through nets with extents: hits in proportion to the norms of filters, outputs right on average."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

import pathc
from pathc.cli import main
from pathc.ir.compress.channels import filter_edges
from pathc.ir.compress.paths import sample_paths, write_units
from pathc.ir.interp import forward
from pathc.ir.interp.junctions import junctions_of
from pathc.ir.text import parse_graph, print_graph
from pathc.ir.verify import violations
from pathc.ir.weights import check_weights, expected_tensors, save_weights
from pathc.support.diagnostics import PathcError
from pathc.support.source import Source

sys.path.insert(0, str(Path(__file__).parent.parent / "filters"))

from filter_nets import inputs_of, net, weights_of

LENET = """
input x[2, 8x8]
layer a[4] : conv(3x3, pad = same) | bias | relu | maxpool(2x2)
layer b[8] : conv(3x3, groups = 2, pad = same) | batchnorm | relu
layer h[6] : bias | relu
output y[5] : bias | softmax
dense p : x -> a -> b -> h -> y
"""
RESIDUAL = """
input x[2, 8x8]
layer a[4] : conv(3x3, pad = same) | bias | relu | channelshuffle(2)
layer b[4] : conv(3x3, pad = same) | bias | relu
layer c[8, 8x8] : concat | relu | maxpool(2x2)
layer d[6] : conv(1x1) | bias | relu | avgpool(global)
output y[5] : bias
dense p : x -> a
dense q : a -> b
skip s : a -> b { scale = 0.5 }
skip t : b -> c
skip u : a -> c
paths r : c -> d { count = 40 }
dense head : d -> y
"""
NETS = {
    "chain": LENET,
    "branches": RESIDUAL,
    "output behind extents": "input x[3, 9]\nlayer a[6] : conv(3) | bias | relu\noutput y[4] : bias\n"
    "dense p : x -> a -> y",
    "extents to the end": "input x[2, 6x6]\nlayer a[4] : conv(3x3) | relu\noutput y[3] : conv(1x1)\n"
    "dense p : x -> a -> y",
    "branches and an output behind extents": "input x[3, 6x6]\nlayer a[4] : conv(3x3, pad = 1) | relu\n"
    "layer b[4] : conv(3x3, pad = same)\noutput y[4]\ndense p : x -> a -> b\nskip s : a -> b\ndense q : b -> y",
}


def drawn(text, count, tmp_path, seed=0):
    graph = net(text)
    weights = {name: w.astype(np.float32) for name, w in weights_of(graph).items()}
    result = sample_paths(graph, weights, count, str(tmp_path / "u.npz"), seed)
    write_units(result)
    return graph, weights, result


@pytest.mark.parametrize("name", NETS)
def test_many_paths_compute_what_the_net_computes(name, tmp_path) -> None:
    errors = []
    for count in (60, 1000, 30_000):
        graph, weights, result = drawn(NETS[name], count, tmp_path)
        assert violations(result.graph) == []
        assert check_weights(result.graph, result.tensors) == []
        assert parse_graph(Source("g.pir", print_graph(result.graph))) == result.graph
        x = np.abs(inputs_of(graph, 6))
        exact, found = forward(graph, weights, x), forward(result.graph, result.tensors, x)
        assert found.shape == exact.shape
        errors.append(np.abs(found - exact).max() / np.abs(exact).max())
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 0.01
    assert result.share > 0.99


@pytest.mark.parametrize("name", NETS)
def test_kernels_run_what_was_drawn(name, tmp_path) -> None:
    graph, _, result = drawn(NETS[name], 300, tmp_path)
    x = inputs_of(graph, 3).astype(np.float32)
    compiled = pathc.compile(result.graph, "llvm", weights=result.tensors)
    np.testing.assert_allclose(compiled(x), forward(result.graph, result.tensors, x), rtol=1e-4, atol=1e-4)


def test_filters_are_hit_in_proportion_to_their_norms(tmp_path) -> None:
    count = 2000
    graph, weights, result = drawn(LENET, count, tmp_path, 3)
    (units,) = result.files.values()
    assert units.shape == (5, count)
    assert np.bincount(units[-1]).tolist() == [count // 5] * 5
    for number, junction in enumerate(junctions_of(graph), start=1):
        edges = filter_edges(graph, weights, junction)
        through = np.bincount(units[number], minlength=8)
        norm = np.bincount(edges.destination, edges.sizes, minlength=8)
        wanted = through[edges.destination] * edges.sizes / norm[edges.destination]
        pairs = edges.destination * 8 + edges.source
        found = np.bincount(units[number] * 8 + units[number - 1], minlength=64)[pairs]
        assert (np.abs(found - wanted) < 1 + 1e-6).all()
        carried = result.tensors[f"sampled.{number}"].reshape(count, -1)
        for edge in range(0, len(pairs), 7):
            own = carried[(units[number] * 8 + units[number - 1]) == pairs[edge]]
            share = edges.filters[edge] / edges.sizes[edge] * norm[edges.destination[edge]]
            expected = np.broadcast_to(share / max(through[edges.destination[edge]], 1), own.shape)
            np.testing.assert_allclose(own, expected, rtol=1e-5)


@pytest.mark.parametrize("text", [LENET, RESIDUAL], ids=["chain", "branches"])
def test_weights_are_right_on_average(text, tmp_path) -> None:
    """The sum of what paths of one channel carry along an edge, over seeds, is the filter of the edge."""
    graph = net(text)
    weights = {name: w.astype(np.float32) for name, w in weights_of(graph).items()}
    junction = junctions_of(graph)[0]
    edges = filter_edges(graph, weights, junction)
    total = np.zeros((4, 2, 9))
    seeds = 200
    for seed in range(seeds):
        result = sample_paths(graph, weights, 25, str(tmp_path / "u.npz"), seed)
        name, tensor = ("u.npz", "sampled.1") if text is LENET else ("u.p.npz", "p.1")
        units = result.files[str(tmp_path / name)]
        np.add.at(total, (units[1], units[0]), result.tensors[tensor].reshape(-1, 9))
    for edge, (out, into) in enumerate(zip(edges.destination, edges.source, strict=True)):
        # A channel that no path visits at a seed is silent then, so that the mean may only fall short of the filter.
        share = (total[out, into] / seeds) @ edges.filters[edge] / (edges.filters[edge] @ edges.filters[edge])
        assert 0.85 < share < 1.15


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("input x[3]\nlayer a[2, 2x2] : relu\noutput y[1]\ndense p : x -> a -> y", "back to its extents"),
        ("input x[2, 3x3]\nlayer a[4] : relu\nlayer b[4] : relu\noutput y[1]\ndense p : x -> a -> b -> y\n"
         "skip s : a -> b", "a skip joins it"),
        ("input x[2, 3x3]\ninput z[3]\nlayer a[4] : relu\noutput y[1]\ndense p : x -> a -> y\ndense q : z -> a",
         "several extents"),
        ("input x[2, 3x3]\nlayer a[2, 3x3] : conv(1x1) | ode(solver = euler, step = 0.5, steps = 1)\noutput y[1]\n"
         "dense p : x -> a -> y", "share their weights"),
    ],
)  # fmt: skip
def test_what_paths_cannot_be_drawn_through_is_named(text, why) -> None:
    graph = net(text)
    weights = {name: np.ones(shape, np.float32) for name, shape in expected_tensors(graph).items()}
    with pytest.raises(PathcError, match=f"E1313: .*{why}"):
        sample_paths(graph, weights, 100, "u.npz")


@pytest.mark.parametrize("text", [LENET, RESIDUAL], ids=["chain", "branches"])
def test_the_command_writes_and_measures(text, tmp_path, capsys) -> None:
    graph = net(text)
    weights = {name: w.astype(np.float32) for name, w in weights_of(graph).items()}
    save_weights(tmp_path / "w.safetensors", weights)
    (tmp_path / "n.path").write_text("pathc 1\n" + text)
    x = np.abs(inputs_of(graph, 50)).astype(np.float32)
    rows, labels = x.reshape(50, -1), forward(graph, weights, x).argmax(axis=1)
    np.savez(tmp_path / "d.npz", x_train=rows[:1], y_train=labels[:1], x_test=rows, y_test=labels)
    given = ["sample", str(tmp_path / "n.path"), "--weights", str(tmp_path / "w.safetensors")]
    assert main([*given, "--count", "100,20000", "--data", str(tmp_path / "d.npz"), "--json"]) == 0
    few, many, whole = map(json.loads, capsys.readouterr().out.splitlines())
    assert few["share"] < many["share"] <= whole["share"] == 1.0
    assert few["accuracy"] <= many["accuracy"] <= whole["accuracy"] == 100.0
    target = tmp_path / "s.pir"
    assert main([*given, "--count", "500", "-o", str(target)]) == 0
    np.save(tmp_path / "x.npy", x[:2])
    run = ["run", str(target), "--weights", str(target.with_suffix(".safetensors")), "--input", str(tmp_path / "x.npy")]
    assert main([*run, "--against", "reference"]) == 0
