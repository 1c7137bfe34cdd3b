"""Small nets and data that the tests of training share."""

from __future__ import annotations

import numpy as np

import pathc
from pathc.ir.graph import Graph
from pathc.support.source import Source
from pathc.train import Dataset

NET = """pathc 1
let P = 256
model small
input  x[16]
layer  h[32] : bias | relu
output y[4]  : softmax
paths main : x@0 -> h@1 -> y@2 { count = P, sign = bit(4) }
"""
REPEAT = """pathc 1
model repeat
input  x[16]
layer  h[8] : relu
output y[16]
paths main : x@0 -> h@1 -> y@2 { count = 128 }
"""


def net(text: str = NET, **sets: object) -> Graph:
    return pathc.load(Source("small.path", text), sets)


def clusters(samples: int = 240, test: int = 60, seed: int = 0) -> Dataset:
    """Four classes around four points, hard enough that the loss falls for some epochs."""
    draw = np.random.default_rng(seed)
    centres = draw.random((4, 16))
    labels = draw.integers(0, 4, samples + test).astype(np.uint8)
    labels[:4] = np.arange(4)
    rows = (centres[labels] + 0.3 * draw.standard_normal((samples + test, 16))).astype(np.float32)
    return Dataset(
        "clusters",
        {
            "x_train": rows[:samples],
            "y_train": labels[:samples],
            "x_test": rows[samples:],
            "y_test": labels[samples:],
        },
    )


def changed(dataset: Dataset, **arrays: object) -> Dataset:
    """The data with some arrays replaced, or left out if None."""
    merged = {**dataset.arrays, **arrays}
    return Dataset(dataset.name, {name: np.asarray(a) for name, a in merged.items() if a is not None}, dataset.scale)
