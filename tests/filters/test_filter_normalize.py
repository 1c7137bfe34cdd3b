"""Norms of filters fed forward: every channel has the l1 norm 1, the outputs stay."""

from __future__ import annotations

import numpy as np
import pytest
from filter_nets import inputs_of, net, weights_of

from pathc.ir.compress.normalize import normalize
from pathc.ir.interp import forward
from pathc.support.diagnostics import PathcError

NET = """
input x[3, 8x8] : relu { pad = pow2 }
layer a[6] : conv(3x3, pad = same) | bias | relu | maxpool(2x2) { pad = pow2 }
layer b[8] : conv(3x3, groups = 2) | leaky(0.1) | channelshuffle(2)
layer c[8] : conv(1x1) | bias | avgpool(1)
layer d[16, 2x2] : concat | abs
layer h[12] : bias | relu
output y[4] : bias | softmax
paths p : x -> a { count = 64 }
dense g : a -> b
paths q : b -> c { count = 32 }
skip s : b -> d
skip t : c -> d { scale = 1 }
dense k : d -> h -> y
"""


def test_outputs_stay_and_norms_are_one() -> None:
    graph = net(NET)
    weights, x = weights_of(graph), inputs_of(graph, 3)
    found = normalize(graph, weights).tensors
    np.testing.assert_allclose(forward(graph, found, x), forward(graph, weights, x), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(np.abs(found["g.1"]).sum(axis=(1, 2, 3)), 1.0, rtol=1e-5)
    np.testing.assert_allclose(np.abs(found["k.1"]).sum(axis=1), 1.0, rtol=1e-5)
    assert not np.allclose(found["p.1"], weights["p.1"])


def test_outputs_with_extents_get_a_factor_for_each_channel() -> None:
    graph = net("input x[3, 6x6]\noutput y[4] : conv(3x3) | relu | channelshuffle(2)\npaths p : x -> y { count = 24 }")
    weights, x = weights_of(graph), inputs_of(graph, 3)
    made = normalize(graph, weights, outputs=True)
    factors = made.factors["y"].reshape(1, 4, 1, 1)
    assert len(set(factors.reshape(-1).tolist())) == 4
    expected = forward(graph, weights, x)
    np.testing.assert_allclose(forward(graph, made.tensors, x) * factors, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("input x[3, 6x6]\nlayer a[4] : conv(3x3) | batchnorm\noutput y[2]\ndense p : x -> a -> y", "batchnorm"),
        ("input x[4]\nlayer a[4] : relu | ode(step = 1)\noutput y[2]\ndense p : x -> a -> y", "equation"),
        ("input x[3, 6x6]\nlayer a[4] : conv(3x3) | tanh\noutput y[2]\ndense p : x -> a -> y", "tanh"),
    ],
)
def test_where_homogeneity_fails(text, why) -> None:
    graph = net(text)
    with pytest.raises(PathcError, match=why) as refused:
        normalize(graph, weights_of(graph))
    assert {d.code for d in refused.value.diagnostics} == {"E1312"}
