"""What the tests of nets with extents through TVM share: weights as float32, the bound, nets with every kernel."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "filters"))

from filter_nets import inputs_of, net, weights_of
from tvm_support import FUNCTION_ERROR

from pathc.ir.interp import agrees, error_bound, forward

ROUNDOFF = max(2.0**-24, FUNCTION_ERROR / 8)
"""The bound allows functions eight roundoffs, which are less than TVM's tanh and exp are off by."""

SUMS = """
input x[5, 9x11] : bias | relu
layer a[12] : conv(3x3, pad = same) | bias | batchnorm(eps = 0.1) | leaky(0.1)
layer b[24] : conv(3x2, stride = 2x1, pad = 1, dilation = 1x2) | bias | abs | tanh | sigmoid
layer c[24] : conv(1x1) | batchnorm(eps = 0.1) | channelshuffle(4) | relu
layer d[24] : conv(3x3, pad = same, groups = 24) | bias | hardtanh(-1, 2)
output y[6] : conv(1x1) | bias { pad = pow2 }
dense image : x -> a
paths blocks : a -> b { count = 192 }
paths alone : b -> c { count = 100, sequence = random }
dense beside : b -> c
skip around : b -> c { scale = -0.5 }
dense each : c -> d
paths last : d -> y { count = 64 }
"""
"""Blocks and lists, two lines into a station beside a skip, groups, silent channels, activations, tiles not full."""

ACROSS = """
input x[4, 8x7]
layer a[8] : conv(3x3, pad = same) | maxpool(3x3, stride = 2) | softmax | channelshuffle(2)
layer b[8] : conv(2x2, pad = same) | bias | kwinners(3)
layer c[16, 3x3] : concat | avgpool(2x2, stride = 1) | bias
layer d[16] : conv(2x2) | pick(1, tap = 0) | relu
output y[6] : bias | softmax
paths p : x -> a -> b { count = 32 }
skip left : a -> c
skip right : b -> c { scale = 3 }
paths q : c -> d -> y { count = 64 }
"""
"""What looks at many values: pools, functions of all channels, concatenation; then flat layers."""

SOUND = """
input x[6, 40]
layer a[8] : conv(5, causal = true, dilation = 3) | relu | maxpool(3)
layer b[8] : conv(3, pad = same) | bias | tanh | ode(solver = rk2, step = 0.5, steps = 1) | relu
layer c[8] : conv(3, stride = 2, pad = 1) | avgpool(global)
layer d[8]
layer e[8] : tanh | ode(solver = euler, step = 0.5, steps = 1)
output y[3] : batchnorm(eps = 0.1) | relu
dense p : x -> a
paths q : a -> b -> c { count = 32 }
dense h : c -> d -> e -> y
"""
"""One extent, causal filters, equations with extents and without, normalization of a flat layer."""


def checked(graph, weights, x, y) -> None:
    """Outputs as the interpreter's, within its error bound."""
    right = forward(graph, weights, x)
    assert y.shape == right.shape
    assert y.dtype == np.float32
    bound = error_bound(graph, weights, x, ROUNDOFF)
    good = agrees(y, right, bound)
    assert good.all(), (y[~good][:4], right[~good][:4], bound[~good][:4])


def case(text: str, batch: int = 2):
    """A graph, its weights and inputs in float32."""
    graph = net(text)
    weights = {name: array.astype(np.float32) for name, array in weights_of(graph).items()}
    return graph, weights, inputs_of(graph, batch).astype(np.float32)
