"""Picks, and maxima of windows as ReLUs and skip links."""

from __future__ import annotations

import numpy as np
import pytest
from filter_nets import inputs_of, net, weights_of

import pathc
from pathc.ir.interp import agrees, backward, error_bound, evaluate, forward, unit_roundoff
from pathc.ir.passes.rectify import Rectify
from pathc.ir.text import parse_graph, print_graph
from pathc.ir.verify import violations
from pathc.support.diagnostics import PathcError
from pathc.support.source import Source

NETS = {
    "plain": "model n\ninput x[3, 8x6]\nlayer h[4] : conv(3x3, pad = same) | bias | maxpool(2x2) | relu\n"
    "output y[5] : bias\ndense a : x -> h\ndense b : h -> y",
    "overlapping": "model n\ninput x[2, 9x9]\nlayer h[4] : conv(1x1) | tanh | maxpool(3x2, stride = 2)\n"
    "output y[5] : bias\npaths a : x -> h { count = 8 }\ndense b : h -> y",
    "twice": "model n\ninput x[2, 12x12]\nlayer h[4] : conv(3x3) | batchnorm | maxpool(2x2) | abs | "
    "maxpool(2x2) | relu\n"
    "output y[5] : bias\ndense a : x -> h\ndense b : h -> y",
    "global": "model n\ninput x[2, 5x3]\nlayer h[4] : conv(3x3, pad = same) | maxpool(global)\noutput y[5] : bias\n"
    "dense a : x -> h\ndense b : h -> y",
    "one extent": "model n\ninput x[2, 17]\nlayer h[4] : conv(3) | maxpool(4, stride = 3)\noutput y[5] : bias\n"
    "dense a : x -> h\ndense b : h -> y",
    "bias behind": "model n\ninput x[2, 8x8]\nlayer h[4] : conv(3x3) | maxpool(2x2) | bias | relu\noutput y[5] : bias\n"
    "dense a : x -> h\ndense b : h -> y",
    "output": "model n\ninput x[2, 8x8]\noutput y[4] : conv(3x3, pad = same) | bias | maxpool(2x2) | leaky(0.1)\n"
    "dense a : x -> y",
    "input": "model n\ninput x[2, 8x8] : maxpool(2x2)\noutput y[4] : bias\ndense a : x -> y",
    "several readers": "model n\ninput x[2, 8x8]\nlayer h[4] : conv(3x3, pad = same) | maxpool(2x2)\n"
    "layer g[4] : conv(3x3, pad = same)\noutput y[4] : bias\ndense a : x -> h\npaths b : h -> g { count = 9 }\n"
    "skip s : h -> g { scale = 0.5 }\ndense c : g -> y\ndense d : h -> y",
}


@pytest.mark.parametrize("name", NETS)
def test_the_maximum_stays(name):
    graph = net(NETS[name])
    made = Rectify()(graph)
    assert not violations(made)
    assert all(station.stage("maxpool") is None for station in made.stations)
    weights = weights_of(graph)
    x = inputs_of(graph, 3)
    expected = forward(graph, weights, x)
    np.testing.assert_allclose(forward(made, weights, x), expected, rtol=1e-12, atol=1e-12)
    text = print_graph(made)
    assert print_graph(parse_graph(Source("n.pir", text))) == text
    net_ = pathc.compile(made, "llvm{threads=1}", weights=weights)
    single = x.astype(np.float32)
    bound = error_bound(made, weights, single, unit_roundoff("float32"), unit_roundoff("float32"))
    assert agrees(net_(single), forward(made, weights, single), bound).all()


@pytest.mark.parametrize("name", ["plain", "overlapping", "several readers"])
def test_gradients_stay(name):
    graph = net(NETS[name])
    made, weights, x = Rectify()(graph), weights_of(graph), inputs_of(graph, 2)
    found = []
    for each in (graph, made):
        outputs = evaluate(each, weights, x).outputs
        gradient = np.random.default_rng(5).normal(size=outputs.shape)
        found.append(backward(each, weights, x, gradient))
    np.testing.assert_allclose(found[1][0], found[0][0], atol=1e-10)
    for tensor, values in found[0][1].items():
        np.testing.assert_allclose(found[1][1][tensor], values, atol=1e-10)


@pytest.mark.parametrize("window", ["2x2", "3x2, stride = 1", "global"])
def test_a_pick_is_a_value_of_each_window(window):
    x = np.random.default_rng(0).normal(size=(2, 3, 6, 5))
    for tap in (0, 3):
        text = f"model n\ninput x[3, 6x5]\noutput y[3, 6x5] : pick({window}, tap = {tap})\nskip s : x -> y"
        rows, columns = {"2x2": (2, 2), "3x2, stride = 1": (1, 1), "global": (6, 5)}[window]
        wide = {"2x2": 2, "3x2, stride = 1": 2, "global": 5}[window]
        row, column = divmod(tap, wide)
        counts = {"2x2": (3, 2), "3x2, stride = 1": (4, 4), "global": (1, 1)}[window]
        expected = x[:, :, row::rows, column::columns][:, :, : counts[0], : counts[1]]
        found = forward(net(text), {}, x)
        np.testing.assert_array_equal(found, expected)
        made = pathc.compile(net(text), "llvm")(x.astype(np.float32))
        np.testing.assert_array_equal(made, expected.astype(np.float32))


def test_lines_that_pass_through_are_not_cut():
    text = (
        "model n\ninput x[4, 8x8]\nlayer h[4] : conv(1x1) | maxpool(2x2)\nlayer g[4] : conv(1x1)\noutput y[4] : bias\n"
    )
    graph = net(text + "paths a : x -> h -> g { count = 16 }\ndense b : g -> y")
    with pytest.raises(PathcError, match="E0380"):
        Rectify()(graph)


def test_a_normalization_behind_the_pool_keeps_its_name():
    text = "model n\ninput x[2, 8x8]\nlayer h[4] : conv(3x3) | maxpool(2x2) | batchnorm | relu\noutput y[4] : bias\n"
    with pytest.raises(PathcError, match="E0380"):
        Rectify()(net(text + "dense a : x -> h\ndense b : h -> y"))


def test_a_tap_outside_the_window():
    with pytest.raises(PathcError, match="E0231"):
        net("model n\ninput x[3, 6x6]\noutput y[3, 6x6] : pick(2x2, tap = 4)\nskip s : x -> y")


def test_names_that_are_taken():
    text = "model n\ninput x[2, 4x4]\nlayer h[2, 4x4] : maxpool(2x2)\nlayer h_max[2] : bias\noutput y[2] : bias\n"
    graph = net(text + "skip a : x -> h\ndense b : h -> h_max\ndense c : h_max -> y")
    made = Rectify()(graph)
    assert not violations(made)
    assert len({station.name for station in made.stations}) == len(made.stations)
    weights, x = weights_of(graph), inputs_of(graph, 2)
    np.testing.assert_allclose(forward(made, weights, x), forward(graph, weights, x), atol=1e-12)


@pytest.mark.parametrize(
    ("stages", "lines"),
    [
        ("maxpool(2x2) | shortcut | relu", "layer k[4, 8x8] : avgpool(2x2)\nskip s : x -> k\nskip t : k -> h"),
        ("maxpool(global) | gru", ""),
    ],
)
def test_shortcuts_and_cells_behind_the_pool_stay_where_they_are(stages, lines):
    text = f"input x[4, 8x8]\nlayer h[4] : conv(3x3, pad = same) | {stages}\noutput y[4]\ndense a : x -> h\n"
    with pytest.raises(PathcError, match="E0380"):
        Rectify()(net(f"{text}dense b : h -> y\n{lines}"))


def test_a_pool_in_front_of_steps_or_behind_a_shortcut_is_taken_apart():
    graph = net(
        "input x[4, 8x8]\nlayer h[4] : conv(3x3, pad = same) | shortcut | maxpool(2x2) | steps\noutput y[4] : rnn\n"
        "dense a : x -> h\nskip s : x -> h\ndense b : h -> y"
    )
    weights, x = weights_of(graph), inputs_of(graph, 2)
    np.testing.assert_allclose(forward(Rectify()(graph), weights, x), forward(graph, weights, x), atol=1e-12)
