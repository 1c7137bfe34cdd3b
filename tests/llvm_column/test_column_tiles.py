"""Tiles to and from a user's array, and what happens to finished sums, against NumPy and the interpreter."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from column_support import MACHINES, aligned, like, run
from hypothesis import given, settings
from hypothesis import strategies as st

from pathc.backends.llvm.column.post import emit_post
from pathc.backends.llvm.column.tiling import tile_columns
from pathc.backends.llvm.column.transpose import emit_load, emit_save
from pathc.ir.interp.activations import KWinners, Softmax
from pathc.ir.types import Call

FEW = settings(max_examples=30, deadline=None, derandomize=True)
WIDTHS = st.sampled_from([16, 8, 4])
UNITS = st.one_of(st.integers(1, 40), st.sampled_from([64, 100, 300]))


def call_tile(name, function, width, user, tile, stride, count):
    run([function], name, MACHINES[width], (user, tile, stride, count))


@FEW
@given(UNITS, st.integers(0, 5), st.integers(0, 20), WIDTHS, st.booleans(), st.sampled_from([16, 32, 48]), st.data())
def test_loading_transposes_pads_and_repeats_the_last_sample(real, silent, more, width, other, columns, data):
    count = data.draw(st.integers(1, columns))
    units, stride = real + silent, real + more
    rng = np.random.default_rng(real)
    size = (count - 1) * stride + real
    user = aligned(rng.standard_normal(size + 1).astype(np.float32))[1:]
    tile = aligned(np.full((units + 1, columns), 7, np.float32))
    kernel = emit_load("kernel", like(MACHINES[width], other), columns, units, real, Call("abs"))
    call_tile("kernel", kernel, width, user, tile, stride, count)
    sample = np.minimum(np.arange(columns), count - 1)
    want = np.abs(user[sample[None] * stride + np.arange(real)[:, None]])
    assert np.array_equal(tile[:real], want)
    assert np.all(tile[real:units] == 0)
    assert np.all(tile[units] == 7)


@FEW
@given(UNITS, st.integers(0, 20), WIDTHS, st.sampled_from([16, 32, 48]), st.data())
def test_saving_writes_the_users_samples_and_nothing_else(real, more, width, columns, data):
    count = data.draw(st.integers(1, columns))
    stride = real + more
    tile = aligned(np.random.default_rng(real).standard_normal((real, columns)).astype(np.float32))
    user = np.full((count + 1, stride), 7, np.float32)
    call_tile("kernel", emit_save("kernel", MACHINES[width], columns, real), width, user, tile, stride, count)
    assert np.array_equal(user[:count, :real], tile[:, :count].T)
    assert np.all(user[:count, real:] == 7)
    assert np.all(user[count] == 7)


def odd_values(rng, units):
    """Values with many ties, both zeros, infinities and NaN."""
    values = rng.integers(-3, 4, (units, 32)).astype(np.float32)
    values[0, 3] = values[-1, 4] = np.nan
    values[0, 5], values[-1, 6] = np.inf, np.inf
    values[0, 7], values[-1, 8] = -np.inf, -0.0
    values[:, 9] = np.nan
    values[:, 10] = -np.inf
    values[:, 11] *= np.float32(1e-41)
    return values


@pytest.mark.parametrize("width", MACHINES)
@pytest.mark.parametrize("units", [1, 2, 5, 33])
def test_winners(width, units):
    values = odd_values(np.random.default_rng(units), units)
    for k in {1, 2, units - 1 or 1, units, units + 3}:
        tile = aligned(values)
        kernel = emit_post("kernel", MACHINES[width], 32, units, Call("kwinners", (("k", k),)))
        run([kernel], "kernel", MACHINES[width], (tile,))
        assert np.array_equal(tile, KWinners(k).apply(values.T.astype(np.float64)).T, equal_nan=True)


@pytest.mark.parametrize("width", MACHINES)
@pytest.mark.parametrize("units", [1, 2, 10, 300])
def test_softmax(width, units):
    values = odd_values(np.random.default_rng(units), units) * np.float32(20)
    tile = aligned(values)
    run([emit_post("kernel", MACHINES[width], 32, units, Call("softmax"))], "kernel", MACHINES[width], (tile,))
    with np.errstate(all="ignore"):
        want = Softmax().apply(values.T.astype(np.float64)).T
    assert np.allclose(tile, want, rtol=1e-6 + 1e-7 * units, atol=1e-37, equal_nan=True)


def test_a_second_elementwise_function():
    values = np.linspace(-3, 3, 7 * 16, dtype=np.float32).reshape(7, 16)
    tile = aligned(values)
    run([emit_post("kernel", MACHINES[8], 16, 7, Call("relu"))], "kernel", MACHINES[8], (tile,))
    assert np.array_equal(tile, np.maximum(values, 0))
    with pytest.raises(ValueError, match="positive"):
        emit_post("kernel", MACHINES[8], 16, 7, Call("kwinners"))


@pytest.mark.parametrize("width", MACHINES)
@pytest.mark.parametrize("sizes", [(1, 1), (784, 300, 300, 10), (1024, 1024), (65536, 65536), (1 << 20, 16)])
def test_a_tile_is_whole_vectors_and_layers_fit_the_cache_if_they_can(width, sizes):
    on = MACHINES[width]
    for samples in (1, 16, 17, 256, 5000):
        columns = tile_columns(on, sizes, samples)
        assert columns % on.width == 0
        assert columns < 2 * max(16, samples)
        pair = max(a + b for a, b in pairwise(sizes)) * 4
        assert columns <= 16 or pair * columns <= on.l2
