"""Elementwise activations and the exponential as straight-line vector code: no call leaves the kernel.

Every function is exact about the values that are no numbers: a NaN comes out as a NaN, infinities go to the limit.
Minimum and maximum are comparisons with the value as the second choice, which x86 has as one instruction and which
lets a NaN through.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

from pathc.backends.llvm.emit import Function, constant, suffix, vector
from pathc.backends.llvm.machine import Machine
from pathc.ir.catalogue import options_of
from pathc.ir.types import Call

ELEMENTWISE = frozenset({"identity", "relu", "leaky", "abs", "tanh", "sigmoid", "hardtanh"})
"""Names of the activations that `apply` knows."""

# x P(x^2) / Q(x^2), a relative minimax fit of the hyperbolic tangent on |x| <= 8, where it is within 3e-7 of 1.
_TANH_RANGE = 8.0
_TANH_P = (1.0, 0.1344449669142206, 0.003571596504851408, 2.189463733051019e-05, 1.523038436695482e-08)
_TANH_Q = (1.0, 0.4677782401005893, 0.026164437128854592, 0.00034112895492574785, 8.5224328041756e-07)

# exp(r) = 1 + r + r^2 E(r), a relative minimax fit on |r| <= log(2) / 2.
_EXP_E = (0.4999999343215156, 0.16666520398949644, 0.04166839077800105, 0.008368745117520419, 0.0013814540492280373)
_LOG2_E = 1.4426950408889634
_LOG_2_HIGH = 0.693359375  # nine bits, so a small integer times it is exact
_LOG_2_LOW = -2.12194440054690e-4
ROUND = 12582912.0  # 1.5 * 2^23: adding it leaves the nearest integer in the low bits of the mantissa
ROUND_BITS = 0x4B400000


def apply(function: Function, lanes: int, value: str, activation: Call | None, machine: Machine) -> str:
    """Write an elementwise activation of `value`, a float or a vector of `lanes` floats; the name of the result.

    None is the identity. Largest absolute errors with fused multiply-adds: tanh 3e-7, sigmoid 1e-7; the others are
    exact. ValueError if the activation is not one of ELEMENTWISE.
    """
    name = "identity" if activation is None else activation.name
    if activation is None or name == "identity":
        return value
    if name == "relu":
        return at_least(function, lanes, 0.0, value)
    if name == "leaky":
        return _leaky(function, lanes, value, _option(activation, "slope"))
    if name == "abs":
        kind = vector(lanes)
        return function.call(kind, f"llvm.fabs.{suffix(lanes)}", [(kind, value)])
    if name == "tanh":
        return tanh(function, lanes, value)
    if name == "sigmoid":
        return sigmoid(function, lanes, value)
    if name == "hardtanh":
        low, high = _option(activation, "low"), _option(activation, "high")
        return clamp(function, lanes, low, high, value)
    raise ValueError(f"no elementwise activation is called {name}")


def cycles(activation: Call | None) -> float:
    """Estimated clock cycles of `apply` for one vector."""
    costs = {"relu": 0.5, "leaky": 1.0, "abs": 0.5, "tanh": 12.5, "sigmoid": 14.0, "hardtanh": 1.0}
    return 0.0 if activation is None else costs.get(activation.name, 0.0)


def at_least(function: Function, lanes: int, low: float, value: str) -> str:
    """max(low, value); a NaN stays."""
    return _choose(function, lanes, "ogt", low, value)


def at_most(function: Function, lanes: int, high: float, value: str) -> str:
    """min(high, value); a NaN stays."""
    return _choose(function, lanes, "olt", high, value)


def clamp(function: Function, lanes: int, low: float, high: float, value: str) -> str:
    """min(high, max(low, value)); a NaN stays."""
    return at_most(function, lanes, high, at_least(function, lanes, low, value))


def tanh(function: Function, lanes: int, value: str) -> str:
    """The hyperbolic tangent as a rational function, within 3e-7; it never leaves [-1, 1]."""
    above, below = tanh_parts(function, lanes, value)
    return function.op("fdiv", vector(lanes), above, below)


def tanh_parts(function: Function, lanes: int, value: str) -> tuple[str, str]:
    """Numerator and denominator of the rational function `tanh` is; the denominator lies between 1 and 250."""
    kind = vector(lanes)
    x = clamp(function, lanes, -_TANH_RANGE, _TANH_RANGE, value)
    square = function.op("fmul", kind, x, x)
    above = function.op("fmul", kind, x, polynomial(function, lanes, square, _TANH_P))
    return above, polynomial(function, lanes, square, _TANH_Q)


def sigmoid_parts(function: Function, lanes: int, value: str) -> tuple[str, str]:
    """Numerator and denominator of 1/2 + tanh(value / 2) / 2, within 2e-7 of the logistic function.

    Halving the argument is a change of the coefficients by powers of two, which is exact.
    """
    kind = vector(lanes)
    x = clamp(function, lanes, -2 * _TANH_RANGE, 2 * _TANH_RANGE, value)
    square = function.op("fmul", kind, x, x)
    above = polynomial(function, lanes, square, [c / 4 ** (k + 1) for k, c in enumerate(_TANH_P)])
    below = polynomial(function, lanes, square, [c / 4**k for k, c in enumerate(_TANH_Q)])
    half = function.op("fmul", kind, below, constant(0.5, lanes))
    return function.fma(lanes, x, above, half), below


def sigmoid(function: Function, lanes: int, value: str) -> str:
    """1 / (1 + exp(-value)), within 1e-7; 0 and 1 at the infinities."""
    kind, one = vector(lanes), constant(1.0, lanes)
    negated = function.assign(f"fneg {kind} {value}")
    # Above log(2^128) one scale factor of 2^128 is infinite, as it should be; below log(2^-126) nothing is added to 1.
    x = clamp(function, lanes, -87.3, 88.9, negated)
    mantissa, exponent = _reduced(function, lanes, x)
    power = function.op("fmul", kind, mantissa, _power_of_two(function, lanes, exponent))
    return function.op("fdiv", kind, one, function.op("fadd", kind, one, power))


def exp(function: Function, lanes: int, value: str) -> str:
    """The exponential, within 2 units in the last place; 0 and infinity beyond the range, denormals included."""
    kind, whole = vector(lanes), vector(lanes, "i32")
    x = clamp(function, lanes, -110.0, 95.0, value)
    mantissa, exponent = _reduced(function, lanes, x)
    # One scale factor cannot reach 2^128 nor the denormals, two halves of the exponent can.
    half = function.op("ashr", whole, exponent, _whole(1, lanes))
    rest = function.op("sub", whole, exponent, half)
    first = function.op("fmul", kind, mantissa, _power_of_two(function, lanes, half))
    return function.op("fmul", kind, first, _power_of_two(function, lanes, rest))


def polynomial(function: Function, lanes: int, x: str, coefficients: Sequence[float]) -> str:
    """The polynomial with these coefficients, constant term first, by Horner's rule."""
    result = constant(coefficients[-1], lanes)
    for coefficient in coefficients[-2::-1]:
        result = function.fma(lanes, result, x, constant(coefficient, lanes))
    return result


def _reduced(function: Function, lanes: int, x: str) -> tuple[str, str]:
    """exp(x) as a float in [0.7, 1.42] and an integer power of two."""
    kind, whole = vector(lanes), vector(lanes, "i32")
    shifted = function.fma(lanes, x, constant(_LOG2_E, lanes), constant(ROUND, lanes))
    bits = function.assign(f"bitcast {kind} {shifted} to {whole}")
    exponent = function.op("sub", whole, bits, _whole(ROUND_BITS, lanes))
    count = function.op("fsub", kind, shifted, constant(ROUND, lanes))
    rest = function.fma(lanes, count, constant(-_LOG_2_HIGH, lanes), x)
    rest = function.fma(lanes, count, constant(-_LOG_2_LOW, lanes), rest)
    square = function.op("fmul", kind, rest, rest)
    tail = function.fma(lanes, polynomial(function, lanes, rest, _EXP_E), square, rest)
    return function.op("fadd", kind, tail, constant(1.0, lanes)), exponent


def _power_of_two(function: Function, lanes: int, exponent: str) -> str:
    """2^exponent for exponents from -126 to 127; infinity at 128."""
    kind, whole = vector(lanes), vector(lanes, "i32")
    biased = function.op("add", whole, exponent, _whole(127, lanes))
    bits = function.op("shl", whole, biased, _whole(23, lanes))
    return function.assign(f"bitcast {whole} {bits} to {kind}")


def _leaky(function: Function, lanes: int, value: str, slope: float) -> str:
    kind = vector(lanes)
    scaled = function.op("fmul", kind, value, constant(slope, lanes))
    if 0 < slope < 1:
        return _select(function, lanes, "ogt", scaled, value, scaled, value)
    return _select(function, lanes, "ogt", value, constant(0.0, lanes), value, scaled)


def _choose(function: Function, lanes: int, comparison: str, bound: float, value: str) -> str:
    if bound in (inf, -inf) and (bound > 0) == (comparison == "olt"):
        return value
    limit = constant(bound, lanes)
    return _select(function, lanes, comparison, limit, value, limit, value)


def _select(function: Function, lanes: int, comparison: str, a: str, b: str, yes: str, no: str) -> str:
    kind = vector(lanes)
    condition = function.assign(f"fcmp {comparison} {kind} {a}, {b}")
    return function.assign(f"select {vector(lanes, 'i1')} {condition}, {kind} {yes}, {kind} {no}")


def _option(activation: Call, name: str) -> float:
    value = options_of(activation)[name]
    if not isinstance(value, (int, float)):
        raise ValueError(f"{activation.name} takes a number as its {name}")
    return float(value)


def _whole(value: int, lanes: int) -> str:
    return str(value) if lanes == 1 else f"splat (i32 {value})"
