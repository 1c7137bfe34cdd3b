"""Calling nets with extents: arrays of every kind, outputs that are given, several threads."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from filter_nets import net, weights_of

from pathc.backends.base import Request
from pathc.backends.llvm.backend import BACKEND
from pathc.backends.llvm.call import Kernel
from pathc.backends.llvm.native import is_cpython
from pathc.support.diagnostics import PathcError

FILTERS = "input x[3, 9x9]\noutput y[5] : conv(3x3) | bias | relu\npaths p : x -> y { count = 15 }"
LAYERS = (
    "input x[3, 9x9]\nlayer h[5] : conv(3x3) | relu | avgpool(global)\noutput y[4] : bias\n"
    "paths p : x -> h -> y { count = 16 }"
)
NETS = pytest.mark.parametrize("text", [FILTERS, LAYERS], ids=["filters", "filters and flat"])


def compiled(text, threads="1"):
    graph = net(text)
    weights = {name: w.astype(np.float32) for name, w in weights_of(graph).items()}
    return BACKEND.compile(Request(graph, weights, {"threads": threads}))


def samples(batch, seed=0):
    return np.random.default_rng(seed).normal(size=(batch, 3, 9, 9)).astype(np.float32)


@NETS
@pytest.mark.parametrize("batch", [0, 1, 7])
def test_a_call_gives_what_the_bound_form_gives(text, batch) -> None:
    made, x = compiled(text), samples(batch)
    right = made.bind(x).call()
    np.testing.assert_array_equal(made(x), right)
    y = np.full_like(right, np.nan)
    assert made(x, y) is y
    np.testing.assert_array_equal(y, right)
    wide = np.zeros((batch, 3, 9, 18))
    wide[..., ::2] = x
    np.testing.assert_array_equal(made(wide[..., ::2]), right)
    whole = np.rint(x).astype(np.int8)
    np.testing.assert_array_equal(made(whole), made.bind(whole.astype(np.float32)).call())


@NETS
def test_one_sample(text) -> None:
    made, x = compiled(text), samples(1)
    right = made.bind(x).call()[0]
    found = made(x[0])
    assert found.shape == right.shape
    np.testing.assert_array_equal(found, right)
    y = np.full_like(right, np.nan)
    assert made(x[0], y) is y
    np.testing.assert_array_equal(y, right)


@NETS
def test_outputs_that_do_not_fit(text) -> None:
    made, x = compiled(text), samples(2)
    shape = made(x).shape
    wrong = [
        np.empty((3, *shape[1:]), np.float32),
        np.empty(shape),
        np.empty((*shape[:-1], 2 * shape[-1]), "f4")[..., ::2],
    ]
    for y in wrong:
        with pytest.raises(PathcError, match="E0703"):
            made(x, y)
    y = np.empty(shape, np.float32)
    y.flags.writeable = False
    with pytest.raises(PathcError, match="E0704"):
        made(x, y)


@pytest.mark.skipif(not is_cpython(), reason="only CPython has calls that bind nothing")
@NETS
def test_nothing_is_bound_for_one_call(text, monkeypatch) -> None:
    made, x = compiled(text), samples(3)
    right = made(x)

    def bind(*_: object, **__: object) -> None:
        raise AssertionError("a kernel was bound")

    monkeypatch.setattr(Kernel, "bind", bind)
    np.testing.assert_array_equal(made(x), right)


@NETS
def test_threads_call_at_once(text) -> None:
    """Calls share the scratch memory of a kernel only one after the other."""
    made = compiled(text)
    every = [samples(64, seed) for seed in range(4)]
    right = [made(x) for x in every]
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(made, every * 25))
    for number, y in enumerate(found):
        np.testing.assert_array_equal(y, right[number % 4])
