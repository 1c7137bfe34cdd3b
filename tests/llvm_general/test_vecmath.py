"""Elementwise functions over all exponents and the values that are no numbers."""

import general_support as support
import numpy as np
import pytest

from pathc.backends.llvm import vecmath
from pathc.backends.llvm.emit import Function, module, vector
from pathc.backends.llvm.jit import emit_assembly
from pathc.ir.types import Call, Word

SPECIAL = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-45, -1e-45, 1e-38, -1e-38, 3.4e38, -3.4e38], np.float32)


def every_exponent(step):
    """Floats of every exponent and both signs, `step` apart as integers, and the special ones."""
    positive = np.arange(0, 0x7F800000, step, dtype=np.uint32).view(np.float32)
    small = np.linspace(-12, 12, 40001, dtype=np.float32)
    both = np.concatenate((positive, -positive, small, np.linspace(-104, 104, 40001, dtype=np.float32), SPECIAL))
    return (
        both[: both.size // 16 * 16] if both.size % 16 == 0 else np.append(both, np.zeros(-both.size % 16, np.float32))
    )


def mapped(write, x, lanes, to):
    f = Function("apply", (("ptr", "src"), ("ptr", "dst"), ("i64", "count")))
    with f.loop("%count", step=lanes) as loop:
        value = f.load(vector(lanes), f.offset("%src", loop.index))
        f.store(vector(lanes), write(f, lanes, value), f.offset("%dst", loop.index))
    library, call = support.compiled([f], "apply", to)
    result = np.zeros_like(x)
    call(np.ascontiguousarray(x), result, x.size)
    assert library.addresses
    return result


def activation(call, x, lanes=0, name="native"):
    to = support.machine_of(name)
    lanes = lanes or to.width
    return mapped(lambda f, n, v: vecmath.apply(f, n, v, call, to), x, lanes, to)


WIDTHS = [("native", 0), ("native", 1), ("avx2", 8), ("sse", 4)]


@pytest.mark.parametrize(("name", "lanes"), WIDTHS)
def test_tanh_everywhere(name, lanes):
    x = every_exponent(40009)
    y = activation(Call("tanh"), x, lanes, name)
    known = ~np.isnan(x)
    error = np.abs(y[known] - np.tanh(x[known].astype(np.float64)))
    assert error.max() < (3e-7 if support.machine_of(name).fma else 4e-7)
    assert np.isnan(y[~known]).all()
    assert np.abs(y[known]).max() <= 1.0
    tiny = np.abs(x) < 1e-4
    assert np.array_equal(y[tiny], x[tiny])
    assert np.array_equal(np.signbit(y[known]), np.signbit(x[known]))


@pytest.mark.parametrize(("name", "lanes"), WIDTHS)
def test_sigmoid_everywhere(name, lanes):
    x = every_exponent(40009)
    y = activation(Call("sigmoid"), x, lanes, name)
    known = ~np.isnan(x)
    error = np.abs(y[known] - 0.5 * (1 + np.tanh(0.5 * x[known].astype(np.float64))))
    assert error.max() < 1.3e-7
    assert np.isnan(y[~known]).all()
    assert (y[x == np.inf] == 1.0).all()
    assert (y[x == -np.inf] == 0.0).all()


@pytest.mark.parametrize(("name", "lanes"), WIDTHS)
def test_exp_everywhere(name, lanes):
    x = every_exponent(40009)
    y = mapped(vecmath.exp, x, lanes or support.machine_of(name).width, support.machine_of(name))
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        right = np.exp(x.astype(np.float64))
        rounded = right.astype(np.float32)
    known = ~np.isnan(x)
    normal = known & (rounded > 1.2e-38) & np.isfinite(rounded)
    assert np.abs(y[normal] / right[normal] - 1).max() < 2.5e-7
    assert np.isnan(y[~known]).all()
    assert np.isinf(y[known & (x > 88.73)]).all()
    low = known & (rounded <= 1.2e-38)
    assert np.abs(y[low] - right[low]).max() < 3e-45
    assert (y[x == -np.inf] == 0.0).all()


@pytest.mark.parametrize(("name", "lanes"), WIDTHS)
def test_exact_functions(name, lanes):
    x = every_exponent(1000003)
    with np.errstate(over="ignore"):
        steep = np.where(x > 0, x, x * np.float32(1.5))
    cases = {
        Call("relu"): np.maximum(x, 0),
        Call("abs"): np.abs(x),
        Call("leaky"): np.where(x > 0, x, np.float32(0.01) * x),
        Call("leaky", (("slope", 1.5),)): steep,
        Call("leaky", (("slope", -0.5),)): np.where(x > 0, x, np.float32(-0.5) * x),
        Call("hardtanh"): np.clip(x, -1, 1),
        Call("hardtanh", (("low", -0.25), ("high", 3.0))): np.clip(x, np.float32(-0.25), np.float32(3.0)),
        Call("identity"): x,
    }
    for call, right in cases.items():
        y = activation(call, x, lanes, name)
        assert np.array_equal(y, right, equal_nan=True), call


def test_nothing_is_the_identity():
    x = every_exponent(1 << 22)
    assert np.array_equal(activation(None, x), x, equal_nan=True)


def test_relu_is_one_instruction():
    to = support.host()
    f = Function("apply", (("ptr", "src"), ("ptr", "dst")), internal=False)
    value = f.load(vector(to.width), "%src")
    f.store(vector(to.width), vecmath.apply(f, to.width, value, Call("relu"), to), "%dst")
    text = emit_assembly(module([f], to.triple), to)
    if to.arch == "x86_64":
        assert text.count("vmaxps") == 1
        assert "vcmp" not in text


def test_nothing_is_called():
    to = support.machine_of("sse")
    f = Function("apply", (("ptr", "src"),), internal=False)
    value = f.load(vector(4), "%src")
    for name in ("tanh", "sigmoid"):
        value = vecmath.apply(f, 4, value, Call(name), to)
    f.store(vector(4), vecmath.exp(f, 4, value), "%src")
    assert "call" not in emit_assembly(module([f], to.triple), to)


def test_unknown_and_wrong_options():
    to = support.host()
    f = Function("apply", ())
    with pytest.raises(ValueError, match="gelu"):
        vecmath.apply(f, 4, "%x", Call("gelu"), to)
    with pytest.raises(ValueError, match="slope"):
        vecmath.apply(f, 4, "%x", Call("leaky", (("slope", Word("steep")),)), to)
    assert "relu" in vecmath.ELEMENTWISE
