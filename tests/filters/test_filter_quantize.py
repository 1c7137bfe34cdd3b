"""Weights of filters as integers with scales: totals and errors as for flat nets, the same on every target."""

from __future__ import annotations

import numpy as np
import pytest
from filter_nets import inputs_of, net, weights_of

from pathc.backends.base import Request
from pathc.backends.llvm.backend import BACKEND
from pathc.ir.compress.quantize import quantize
from pathc.ir.compress.tensors import Settings
from pathc.ir.interp import forward
from pathc.ir.interp.junctions import float_tensors
from pathc.ir.weights import SCALE, check_weights

NET = """
input x[4, 8x8]
layer a[16] : conv(3x3, pad = same) | batchnorm | relu | maxpool(2x2)
layer b[16] : conv(3x3, groups = 4) | bias | relu
output y[5] : bias | softmax
paths p : x -> a { count = 64 }
dense q : a -> b -> y
"""


@pytest.mark.parametrize("per", ["tensor", "unit"])
@pytest.mark.parametrize("method", ["mc", "int8", "int4", "ternary", "bf16"])
def test_filters_become_integers(method, per) -> None:
    graph = net(NET)
    weights = {name: w.astype(np.float32) for name, w in weights_of(graph).items()}
    found = quantize(graph, weights, Settings(method, 4.0, per=per)).tensors
    assert check_weights(graph, found) == []
    if method == "bf16":
        assert all(np.abs(found[n] - weights[n]).max() <= np.abs(weights[n]).max() / 256 for n in weights)
        return
    integers = {name for name in found if name + SCALE in found}
    assert integers == {"p.1", "q.1", "q.2"}
    units = {"p.1": 16, "q.1": 16, "q.2": 5}
    for name in integers:
        assert found[name].shape == weights[name].shape
        assert found[name + SCALE].shape == ((units[name],) if per == "unit" else ())
    plain = float_tensors(graph, found)
    if method == "mc" and per == "tensor":
        for name in integers:
            step = float(found[name + SCALE])
            assert np.abs(found[name]).sum() == 4 * found[name].size
            assert np.abs(plain[name] - weights[name]).max() < step * 1.001
    if method == "int8":
        assert np.abs(plain["p.1"] - weights["p.1"]).max() <= np.abs(weights["p.1"]).max() / 254 * 1.001
    x = inputs_of(graph, 2).astype(np.float32)
    run = BACKEND.compile(Request(graph, plain))(x)
    np.testing.assert_allclose(run, forward(graph, found, x), rtol=1e-4, atol=1e-5)
