"""`scale` is a factor of everything a line carries, whatever its kind, forward, backward and compiled."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from filter_nets import inputs_of, net, weights_of
from test_filter_kernels import assert_right, compiled
from test_filter_meaning import assert_gradients

from pathc.ir.compress.quantize import quantize
from pathc.ir.interp import forward
from pathc.support.diagnostics import PathcError

NETS = {
    "paths": "input x[8]\nlayer h[8] : tanh\noutput y[4]\npaths p : x -> h -> y { count = 32, scale = -2.5 }",
    "dense": "input x[8]\noutput y[4] : bias\ndense p : x -> y { scale = 0.25 }",
    "filters": "input x[4, 5x5]\noutput y[4] : conv(3x3) | bias\npaths p : x -> y { count = 8, scale = 3 }",
    "groups": "input x[4, 5x5]\noutput y[4] : conv(3x3, groups = 2)\ndense p : x -> y { scale = 3 }",
    "tied": (
        "input x[8]\nlayer h[4] : tanh\noutput y[8]\npaths p : x -> h { count = 16, scale = 2 }\n"
        "paths q : h -> y { mirror = p, weights = tied, scale = 2 }"
    ),
    "cell": "input x[4]\noutput y[4] : rnn(recur = diag)\ndense p : x -> y { scale = 0.5 }",
}


@pytest.mark.parametrize("name", NETS)
def test_scales(name) -> None:
    graph = net(NETS[name])
    weights, x = weights_of(graph), inputs_of(graph, 3)
    if name == "cell":
        x = np.random.default_rng(0).normal(size=(2, 3, 4))
    lines = tuple(replace(line, scale=1.0) for line in graph.lines)
    scaled = {n: w * graph.line("p").scale if n.startswith("p.") else w for n, w in weights.items()}
    np.testing.assert_allclose(forward(graph, weights, x), forward(replace(graph, lines=lines), scaled, x))
    assert_gradients(graph, weights, x, training=False)
    assert_right(graph, weights, x)


def test_a_scale_multiplies() -> None:
    graph = net(NETS["dense"])
    weights, x = weights_of(graph), inputs_of(graph, 3)
    np.testing.assert_allclose(forward(graph, weights, x), 0.25 * x @ weights["p.1"].T + weights["y.bias"])


def test_where_scales_are_refused() -> None:
    graph = net(NETS["tied"].replace("tied, scale = 2", "tied"))
    with pytest.raises(PathcError, match="another scale"):
        compiled(graph, {n: np.float32(w) for n, w in weights_of(graph).items()})
    graph = net(NETS["paths"])
    with pytest.raises(PathcError, match="scales what its weights carry"):
        quantize(graph, weights_of(graph))
