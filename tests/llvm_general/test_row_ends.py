"""Softmax, winners and copies on row buffers against NumPy."""

import general_support as support
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pathc.backends.llvm.ends import copy_in
from pathc.backends.llvm.general.post import emit_post
from pathc.ir.interp.activations import KWinners
from pathc.ir.types import Call

FEW = settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
VALUES = st.floats(-30, 30, width=32) | st.sampled_from([np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0])


def applied(call, x, to):
    size = -(-x.size // 16) * 16
    buffer = support.aligned(np.concatenate((x, np.zeros(size - x.size, np.float32))))
    library, run = support.compiled([emit_post("post", to, x.size, call)], "post", to)
    run(buffer)
    assert library.addresses
    assert not buffer[x.size :].any()
    return buffer[: x.size]


@FEW
@given(st.integers(1, 300), st.sampled_from(support.MACHINES), st.floats(0.1, 40))
def test_softmax_sums_to_one(units, name, scale):
    x = (np.random.default_rng(units).standard_normal(units) * scale).astype(np.float32)
    y = applied(Call("softmax"), x, support.machine_of(name))
    powers = np.exp(x.astype(np.float64) - x.max())
    assert np.abs(y - powers / powers.sum()).max() < 2e-6
    assert abs(float(y.astype(np.float64).sum()) - 1) < 1e-6


@pytest.mark.parametrize("name", support.MACHINES)
@pytest.mark.parametrize("units", [3, 10, 16, 200])
def test_softmax_of_what_is_not_finite(name, units):
    to = support.machine_of(name)
    x = np.zeros(units, np.float32)
    x[1] = -np.inf
    y = applied(Call("softmax"), x, to)
    assert y[1] == 0.0
    assert np.allclose(y[[0, 2]], 1 / (units - 1))
    for bad in (np.nan, np.inf):
        x[0] = bad
        assert np.isnan(applied(Call("softmax"), x, to)[0])
    x[:] = np.nan
    x[0] = 0
    assert np.isnan(applied(Call("softmax"), x, to)).all()
    x[:] = -np.inf
    assert np.isnan(applied(Call("softmax"), x, to)).all()


@FEW
@given(st.lists(VALUES, min_size=1, max_size=60), st.integers(1, 60), st.sampled_from(support.MACHINES))
def test_winners(values, k, name):
    x = np.array(values, np.float32)
    y = applied(Call("kwinners", (("k", k),)), x, support.machine_of(name))
    assert np.array_equal(y, KWinners(k).apply(x.astype(np.float64)), equal_nan=True)


def test_winners_among_equals_are_the_first():
    y = applied(Call("kwinners", (("k", 2),)), np.array([0, 1, 1, 1, -5], np.float32), support.host())
    assert y.tolist() == [0, 1, 1, 0, 0]


def test_elementwise_posts():
    x = np.random.default_rng(0).standard_normal(37).astype(np.float32)
    y = applied(Call("sigmoid"), x, support.host())
    assert np.abs(y - 1 / (1 + np.exp(-x.astype(np.float64)))).max() < 2e-7
    with pytest.raises(ValueError, match="gelu"):
        emit_post("post", support.host(), 4, Call("gelu"))


@pytest.mark.parametrize("name", support.MACHINES)
@pytest.mark.parametrize("real", [1, 15, 64, 83])
def test_samples_on_their_way_in(name, real):
    to = support.machine_of(name)
    x = np.random.default_rng(real).standard_normal((3, real + 5)).astype(np.float32)
    size = 96
    y = support.aligned(np.full((3, size), 7, np.float32))
    library, run = support.compiled([copy_in("load", to, 3, real, size, Call("relu"))], "load", to)
    run(x, y, real + 5)
    assert library.addresses
    assert np.array_equal(y[:, :real], np.maximum(x[:, :real], 0))
    assert not y[:, real:].any()
