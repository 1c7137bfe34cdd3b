"""Activations in float64: value, derivative, and how far an error of the argument reaches.

A function acts on `[batch, units]`. Where it has a kink, the derivative is a convention: relu'(0) = 0,
leaky'(0) = slope, abs'(0) = 0, hardtanh'(low) = hardtanh'(high) = 0; kwinners passes the gradient to its winners
alone. NaN runs through every function by IEEE rules: max(NaN, 0) is NaN, softmax of a row with a NaN is NaN, and
for kwinners a NaN is the largest value of all.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pathc.ir.catalogue import options_of
from pathc.ir.types import Call

Values = NDArray[np.float64]

_FUNCTION_ROUNDOFFS = 8.0
"""Roundoffs allowed to a computed tanh, sigmoid or exp, in units of the result's largest magnitude (1)."""


class Activation(ABC):
    """A function of all units of a station."""

    @abstractmethod
    def apply(self, x: Values) -> Values:
        """The values, same shape as `x`."""

    @abstractmethod
    def backward(self, x: Values, gradient: Values) -> Values:
        """Gradient with respect to `x`, given the gradient with respect to the values."""

    @abstractmethod
    def reach(self, x: Values, bound: Values, roundoff: float) -> Values:
        """Bound on the error of the values, if `x` is known to `bound` and arithmetic rounds to `roundoff`."""

    def tensors(self, x: Values, gradient: Values) -> Mapping[str, Values]:
        """Gradients of the function's own tensors, given that of the values; most have none."""
        return {}


class Identity(Activation):
    """The value itself."""

    def apply(self, x: Values) -> Values:
        """The values, same shape as `x`."""
        return x

    def backward(self, x: Values, gradient: Values) -> Values:
        """Gradient with respect to `x`."""
        return gradient

    def reach(self, x: Values, bound: Values, roundoff: float) -> Values:
        """Bound on the error of the values."""
        return bound


@dataclass(frozen=True)
class Leaky(Activation):
    """x where positive, slope * x elsewhere; relu is slope 0, abs is slope -1."""

    slope: float

    def apply(self, x: Values) -> Values:
        """The values, same shape as `x`."""
        if self.slope == 0.0:
            return np.maximum(x, 0.0)
        if self.slope == -1.0:
            return np.abs(x)
        return np.where(x > 0.0, x, self.slope * x)

    def backward(self, x: Values, gradient: Values) -> Values:
        """Gradient with respect to `x`."""
        at_zero = 0.0 if self.slope == -1.0 else self.slope
        return gradient * np.where(x > 0.0, 1.0, np.where(x == 0.0, at_zero, self.slope))

    def reach(self, x: Values, bound: Values, roundoff: float) -> Values:
        """Bound on the error of the values."""
        if self.slope in (0.0, -1.0):
            return np.where((self.slope == 0.0) & (x + bound <= 0.0), 0.0, bound)
        return max(1.0, abs(self.slope)) * bound + 2.0 * roundoff * abs(self.slope) * (np.abs(x) + bound)


@dataclass(frozen=True)
class HardTanh(Activation):
    """x clamped to [low, high]."""

    low: float
    high: float

    def apply(self, x: Values) -> Values:
        """The values, same shape as `x`."""
        return np.minimum(np.maximum(x, self.low), self.high)

    def backward(self, x: Values, gradient: Values) -> Values:
        """Gradient with respect to `x`."""
        return gradient * ((x > self.low) & (x < self.high))

    def reach(self, x: Values, bound: Values, roundoff: float) -> Values:
        """Bound on the error of the values."""
        limits = roundoff * max(abs(self.low), abs(self.high))
        return np.minimum(bound, self.high - self.low) + limits


class Tanh(Activation):
    """Hyperbolic tangent."""

    def apply(self, x: Values) -> Values:
        """The values, same shape as `x`."""
        return np.tanh(x)

    def backward(self, x: Values, gradient: Values) -> Values:
        """Gradient with respect to `x`."""
        return gradient * (1.0 - np.tanh(x) ** 2)

    def reach(self, x: Values, bound: Values, roundoff: float) -> Values:
        """Bound on the error of the values."""
        return np.minimum(bound, 2.0) + _FUNCTION_ROUNDOFFS * roundoff


class Sigmoid(Activation):
    """1 / (1 + exp(-x)), through tanh so that nothing overflows."""

    def apply(self, x: Values) -> Values:
        """The values, same shape as `x`."""
        return 0.5 + 0.5 * np.tanh(0.5 * x)

    def backward(self, x: Values, gradient: Values) -> Values:
        """Gradient with respect to `x`."""
        y = self.apply(x)
        return gradient * y * (1.0 - y)

    def reach(self, x: Values, bound: Values, roundoff: float) -> Values:
        """Bound on the error of the values."""
        return np.minimum(0.25 * bound, 1.0) + _FUNCTION_ROUNDOFFS * roundoff


class Softmax(Activation):
    """Exponentials that sum to one over the units, after the largest value is subtracted."""

    def apply(self, x: Values) -> Values:
        """The values, same shape as `x`."""
        exponentials = np.exp(x - np.max(x, axis=-1, keepdims=True))
        return exponentials / exponentials.sum(axis=-1, keepdims=True)

    def backward(self, x: Values, gradient: Values) -> Values:
        """Gradient with respect to `x`."""
        y = self.apply(x)
        return y * (gradient - (gradient * y).sum(axis=-1, keepdims=True))

    def reach(self, x: Values, bound: Values, roundoff: float) -> Values:
        """Bound on the error of the values."""
        depth = np.max(x, axis=-1, keepdims=True) - x
        worst = np.max(bound + roundoff * np.where(np.isfinite(depth), depth, 0.0), axis=-1, keepdims=True)
        rounding = (x.shape[-1] + 2.0 * _FUNCTION_ROUNDOFFS) * roundoff
        relative = np.expm1(2.0 * worst) + rounding * np.exp(2.0 * worst)
        return np.minimum(self.apply(x) * relative + np.finfo(np.float32).tiny, 1.0)


@dataclass(frozen=True)
class KWinners(Activation):
    """The k largest values are kept, the others become zero; among equals the lower unit wins."""

    k: int

    def _winners(self, x: Values) -> NDArray[np.bool_]:
        keys = np.where(np.isnan(x), -np.inf, -x)
        order = np.lexsort((~np.isnan(x), keys), axis=-1)
        mask = np.zeros(x.shape, dtype=np.bool_)
        np.put_along_axis(mask, order[..., : self.k], True, axis=-1)
        return mask

    def apply(self, x: Values) -> Values:
        """The values, same shape as `x`."""
        return np.where(self._winners(x), x, 0.0)

    def backward(self, x: Values, gradient: Values) -> Values:
        """Gradient with respect to `x`."""
        return np.where(self._winners(x), gradient, 0.0)

    def reach(self, x: Values, bound: Values, roundoff: float) -> Values:
        """Bound on the error of the values; where it is open who wins, the value itself."""
        if self.k >= x.shape[-1]:
            return bound
        low, high = np.sort(x - bound, axis=-1), np.sort(x + bound, axis=-1)
        exact = bound == 0.0
        kept = x - bound > high[..., [-self.k - 1]]
        lost = x + bound < low[..., [-self.k]]
        sure = np.where(self._winners(x), bound, 0.0)
        settled = kept | lost | (exact & np.all(exact, axis=-1, keepdims=True))
        return np.where(settled, sure, np.abs(x) + bound)


_IDENTITY = Identity()


def activation(stage: Call) -> Activation | None:
    """The activation that a pipeline stage names, or None if the stage is no activation."""
    match stage.name:
        case "identity":
            return _IDENTITY
        case "relu":
            return Leaky(0.0)
        case "abs":
            return Leaky(-1.0)
        case "leaky":
            return Leaky(_number(stage, "slope"))
        case "tanh":
            return Tanh()
        case "sigmoid":
            return Sigmoid()
        case "softmax":
            return Softmax()
        case "hardtanh":
            return HardTanh(_number(stage, "low"), _number(stage, "high"))
        case "kwinners":
            return KWinners(int(_number(stage, "k")))
        case _:
            return None


def _number(stage: Call, option: str) -> float:
    value = options_of(stage)[option]
    if not isinstance(value, int | float):
        raise TypeError(f"{stage.name} takes a number as {option}, not {value}")
    return float(value)
