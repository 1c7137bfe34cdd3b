"""Nets for the tests of `pathc.torch`; this folder cannot be called `torch`, or `import torch` would find it."""

from __future__ import annotations

import numpy as np
import pytest

import pathc
from pathc import driver
from pathc.ir import interp

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'pathc[torch]'")

TWO_LAYERS = """pathc 1
model two
input x[24] { pad = pow2 }
layer h[16] : bias | tanh
output y[10] : bias
paths main : x -> h -> y { count = 128 }
"""
EVERYTHING = """pathc 1
model all
input x[12]
input u[7] : f32 | bias | leaky(0.25)
layer train[16] : bias | relu | hardtanh(-0.5, 2.0)
layer h[9] : sigmoid | abs { pad = pow2 }
output y[12] : bias | softmax
output z[8] : kwinners(3)
paths main : x@0 -> train@1 -> h@2 -> y@3 { count = 96, sequence = random(seed = 3) }
paths eval : u@0 -> h@1 { count = 50 }
dense full : h -> z
skip  id   : x -> y { scale = -0.5 }
"""
TIED = """pathc 1
model tied
input x[20]
layer h[8] : bias | tanh
layer k[5] : sigmoid
output y[20] : bias
paths main : x -> h { count = 64 }
dense in : h -> k
dense out : k -> h2 { mirror = in, weights = tied }
layer h2[8] : abs
paths back : h2 -> y { mirror = main, weights = tied }
"""
TEXTS = {"two": TWO_LAYERS, "all": EVERYTHING, "tied": TIED}


def graph(name: str):
    return driver.transform(pathc.load(pathc.Source(f"{name}.path", TEXTS[name])))


def drawn(net, seed: int = 1) -> dict[str, np.ndarray]:
    """Weights of unequal magnitude, so that a permutation of them is noticed."""
    rng = np.random.default_rng(seed)
    return {name: rng.normal(0, 0.5, w.shape).astype(np.float32) for name, w in driver.weights_of(net, None).items()}


def rows(module, batch: int, seed: int = 2):
    return torch.randn(batch, module.inputs, generator=torch.Generator().manual_seed(seed))


def pair(make):
    """The same module, compiled and in PyTorch's operations."""
    first, second = make(compiled=True), make(compiled=False)
    second.load_state_dict(first.state_dict())
    return first, second


def by_interpreter(module, x, dy):
    """Outputs, gradients at inputs and tensors, and the bound of the outputs."""
    weights = {name: t.detach().numpy() for name, t in module.tensors().items()}
    x, net = x.detach().numpy(), module.graph
    bound = interp.error_bound(net, weights, x, interp.unit_roundoff("float32"))
    return interp.forward(net, weights, x), *interp.backward(net, weights, x, dy.numpy()), bound


def close(actual, expected) -> None:
    """Within float32's reach of the largest value."""
    actual, expected = actual.detach(), torch.as_tensor(expected).detach()
    size = max(1e-3, float(expected.abs().max())) if expected.numel() else 1.0
    torch.testing.assert_close(actual.double(), expected.double(), rtol=2e-4, atol=1e-4 * size)
