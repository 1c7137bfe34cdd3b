"""Stages of a pipeline that know about extents or have weights: pools, normalization, channels in another order."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce

import numpy as np
from numpy.typing import NDArray

from pathc.ir.filters import Geometry, Tap
from pathc.ir.interp.activations import Activation
from pathc.ir.weights import GAIN, SHIFT

Values = NDArray[np.float64]


@dataclass(frozen=True)
class PerPosition(Activation):
    """A function of all channels, at every position for itself."""

    function: Activation
    channels: int

    def _rows(self, x: Values) -> Values:
        spread = x.reshape(len(x), self.channels, x.shape[1] // self.channels)
        return np.moveaxis(spread, 1, -1).reshape(spread.size // self.channels, self.channels)

    def _back(self, rows: Values, x: Values) -> Values:
        spread = rows.reshape(len(x), x.shape[1] // self.channels, self.channels)
        return np.moveaxis(spread, -1, 1).reshape(x.shape)

    def apply(self, x: Values) -> Values:
        """The values, same shape as `x`."""
        return self._back(self.function.apply(self._rows(x)), x)

    def backward(self, x: Values, gradient: Values) -> Values:
        """Gradient with respect to `x`."""
        return self._back(self.function.backward(self._rows(x), self._rows(gradient)), x)

    def reach(self, x: Values, bound: Values, roundoff: float) -> Values:
        """Bound on the error of the values."""
        return self._back(self.function.reach(self._rows(x), self._rows(bound), roundoff), x)


@dataclass(frozen=True)
class Pool(Activation):
    """The largest value or the mean of each window. NaN is the largest of all; among equals the first one counts."""

    geometry: Geometry
    channels: int
    largest: bool

    def apply(self, x: Values) -> Values:
        """The values, [rows, channels * positions]."""
        return self._pooled(x, self.largest)

    def _pooled(self, x: Values, largest: bool) -> Values:
        views = (seen for _, seen in self.geometry.views(self._spread(x)))
        found = reduce(np.maximum if largest else np.add, views)
        pooled = found if largest else found / len(self.geometry.taps)
        return pooled.reshape(len(x), self.channels * self.geometry.positions)

    def backward(self, x: Values, gradient: Values) -> Values:
        """Gradient with respect to `x`; all of it goes to the first of the largest values."""
        spread = self._spread(x)
        back = np.zeros_like(spread)
        arriving = gradient.reshape(len(x), self.channels, *self.geometry.result)
        if not self.largest:
            for tap in self.geometry.taps:
                self.geometry.view(back, tap)[...] += arriving / len(self.geometry.taps)
            return back.reshape(x.shape)
        seen = np.stack([view for _, view in self.geometry.views(spread)])
        winner = seen.argmax(axis=0)
        for number, tap in enumerate(self.geometry.taps):
            self.geometry.view(back, tap)[...] += np.where(winner == number, arriving, 0.0)
        return back.reshape(x.shape)

    def reach(self, x: Values, bound: Values, roundoff: float) -> Values:
        """Bound on the error of the values."""
        carried = self._pooled(bound, self.largest)
        if self.largest:
            return carried
        return carried + (len(self.geometry.taps) + 1) * roundoff * self._pooled(np.abs(x) + bound, False)

    def _spread(self, x: Values) -> Values:
        return x.reshape(len(x), self.channels, *self.geometry.source)


@dataclass(frozen=True, eq=False)
class Pick(Activation):
    """One value of each window."""

    geometry: Geometry
    channels: int
    tap: Tap

    def apply(self, x: Values) -> Values:
        """The values, [rows, channels * positions]."""
        spread = x.reshape(len(x), self.channels, *self.geometry.source)
        return self.geometry.view(spread, self.tap).reshape(len(x), self.channels * self.geometry.positions)

    def backward(self, x: Values, gradient: Values) -> Values:
        """Gradient with respect to `x`, zero where nothing was picked."""
        back = np.zeros((len(x), self.channels, *self.geometry.source))
        self.geometry.view(back, self.tap)[...] += gradient.reshape(len(x), self.channels, *self.geometry.result)
        return back.reshape(x.shape)

    def reach(self, x: Values, bound: Values, roundoff: float) -> Values:
        """Bound on the error of the values."""
        return self.apply(bound)


@dataclass(frozen=True, eq=False)
class Norm(Activation):
    """gain * (x - mean) / sqrt(variance + eps) + shift, channel by channel.

    In `training` mean and variance are those of the batch over samples and positions (the variance divided by their
    number), and gradients flow through them (Ioffe and Szegedy, 2015); otherwise they are the stored ones.
    """

    station: str
    gain: Values
    shift: Values
    mean: Values
    variance: Values
    eps: float
    training: bool = False

    def _spread(self, x: Values) -> Values:
        return x.reshape(len(x), len(self.gain), x.shape[1] // len(self.gain))

    def statistics(self, x: Values) -> tuple[Values, Values]:
        """Mean and variance of every channel over samples and positions."""
        spread = self._spread(x)
        return spread.mean(axis=(0, 2)), spread.var(axis=(0, 2))

    def _normal(self, x: Values) -> tuple[Values, Values]:
        """The normalized values [rows, channels, positions] and 1 / sqrt(variance + eps) [channels, 1]."""
        mean, variance = self.statistics(x) if self.training else (self.mean, self.variance)
        inverse = 1.0 / np.sqrt(variance + self.eps)[:, None]
        return (self._spread(x) - mean[:, None]) * inverse, inverse

    def affine(self) -> tuple[Values, Values]:
        """Factor and shift of every channel by the stored statistics: factor * x + shift."""
        factor = self.gain / np.sqrt(self.variance + self.eps)
        return factor, self.shift - self.mean * factor

    def apply(self, x: Values) -> Values:
        """The values, same shape as `x`."""
        return (self._normal(x)[0] * self.gain[:, None] + self.shift[:, None]).reshape(x.shape)

    def backward(self, x: Values, gradient: Values) -> Values:
        """Gradient with respect to `x`."""
        normal, inverse = self._normal(x)
        arriving = self._spread(gradient) * self.gain[:, None]
        if self.training:
            arriving = arriving - arriving.mean(axis=(0, 2), keepdims=True)
            arriving = arriving - normal * (normal * self._spread(gradient) * self.gain[:, None]).mean(
                axis=(0, 2), keepdims=True
            )
        return (arriving * inverse).reshape(x.shape)

    def tensors(self, x: Values, gradient: Values) -> Mapping[str, Values]:
        """Gradients of gain and shift."""
        arriving = self._spread(gradient)
        return {
            f"{self.station}.{GAIN}": (arriving * self._normal(x)[0]).sum(axis=(0, 2)),
            f"{self.station}.{SHIFT}": arriving.sum(axis=(0, 2)),
        }

    def reach(self, x: Values, bound: Values, roundoff: float) -> Values:
        """Bound on the error of the values, however the constants are folded; the statistics are the stored ones."""
        factor = np.abs(self.gain / np.sqrt(self.variance + self.eps))[:, None]
        size = factor * (np.abs(self._spread(x)) + np.abs(self.mean)[:, None]) + np.abs(self.shift)[:, None]
        return (factor * self._spread(bound) * (1.0 + 8.0 * roundoff) + 8.0 * roundoff * size).reshape(x.shape)


@dataclass(frozen=True)
class Shuffle(Activation):
    """Channels of the groups interleaved: channel i of group g becomes channel i * groups + g (Zhang et al., 2018)."""

    groups: int
    channels: int

    def apply(self, x: Values) -> Values:
        """The values in their new order."""
        return self._turned(x, self.groups)

    def backward(self, x: Values, gradient: Values) -> Values:
        """Gradient with respect to `x`: the order undone."""
        return self._turned(gradient, self.channels // self.groups)

    def reach(self, x: Values, bound: Values, roundoff: float) -> Values:
        """The bounds in their new order."""
        return self._turned(bound, self.groups)

    def _turned(self, x: Values, groups: int) -> Values:
        apart = x.reshape(len(x), groups, self.channels // groups, x.shape[1] // self.channels)
        return np.swapaxes(apart, 1, 2).reshape(x.shape)


@dataclass(frozen=True)
class Steps(Activation):
    """The last extent as rows of their own: [rows, channels * positions] become [rows * steps, channels * the rest]."""

    extents: tuple[int, ...]
    channels: int

    def apply(self, x: Values) -> Values:
        """The values, a row for every step."""
        spread = x.reshape(len(x), self._units, self.extents[-1])
        return np.swapaxes(spread, 1, 2).reshape(len(x) * self.extents[-1], self._units)

    def backward(self, x: Values, gradient: Values) -> Values:
        """Gradient with respect to `x`: the steps of a sample side by side again."""
        return np.swapaxes(gradient.reshape(len(x), self.extents[-1], self._units), 1, 2).reshape(x.shape)

    def reach(self, x: Values, bound: Values, roundoff: float) -> Values:
        """The bounds, a row for every step."""
        return self.apply(bound)

    @property
    def _units(self) -> int:
        return self.channels * math.prod(self.extents[:-1])
