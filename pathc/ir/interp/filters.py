"""Junctions between stations with extents: a filter is a few flat junctions between channels, one for each tap."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pathc.ir.filters import Geometry, Tap
from pathc.ir.interp.base import Junction, Values

_NEAR = 1 << 18
"""Numbers of patches that are computed at a time."""


@dataclass(frozen=True)
class GroupedJunction(Junction):
    """Every channel to every channel of its group, silent ones left out; weights [units out, units in of a group]."""

    tensor: str
    source: str
    destination: str
    real: tuple[int, int]
    padded: tuple[int, int]
    groups: int
    factor: float = 1.0

    def _matrix(self, weights: Values) -> Values:
        """The whole matrix, [units out, units in], zero between groups."""
        out, into = self.real[0] // self.groups, self.real[1] // self.groups
        whole = np.zeros((self.groups, out, self.groups, into))
        every = np.arange(self.groups)
        whole[every, :, every] = weights.reshape(self.groups, out, into)
        return whole.reshape(self.real)

    def push(self, values: Values, weights: Values) -> Values:
        """Sums at the destination, [rows, channels]."""
        out, into = self.real[0] // self.groups, self.real[1] // self.groups
        sums = np.zeros((len(values), self.padded[0]))
        for g in range(self.groups):
            own = slice(g * out, (g + 1) * out)
            sums[:, own] = values[:, g * into : (g + 1) * into] @ weights[own].T
        return sums

    def pull(self, gradient: Values, weights: Values) -> Values:
        """Gradient with respect to the source's values, [rows, channels]."""
        back = np.zeros((len(gradient), self.padded[1]))
        back[:, : self.real[1]] = gradient[:, : self.real[0]] @ self._matrix(weights)
        return back

    def weight_gradient(self, values: Values, gradient: Values) -> Values:
        """Gradient with respect to the weights, summed over the rows; shape of the tensor."""
        out, into = self.real[0] // self.groups, self.real[1] // self.groups
        whole = gradient[:, : self.real[0]].T @ values[:, : self.real[1]]
        every = np.arange(self.groups)
        return whole.reshape(self.groups, out, self.groups, into)[every, :, every].reshape(self.real[0], into)

    def fan_in(self) -> NDArray[np.int64]:
        """Channels of a group, for every real channel of the destination."""
        return np.where(np.arange(self.padded[0]) < self.real[0], self.real[1] // self.groups, 0)


@dataclass(frozen=True)
class FilterJunction(Junction):
    """A junction `each` between channels, at every tap of a filter and at every position.

    Values are [rows, channels * positions], channel by channel. Weights have the taps as their last axes, where the
    destination has a convolution.
    """

    tensor: str
    source: str
    destination: str
    each: Junction
    geometry: Geometry
    channels: tuple[int, int]
    filtered: bool
    factor: float = 1.0

    @property
    def destinations(self) -> Callable[[], NDArray[np.int64]] | None:
        """Gives the channel that each weight leads to, [paths]; None where the first axis is that of channels."""
        return self.each.destinations

    def push(self, values: Values, weights: Values) -> Values:
        """Sums at the destination, [rows, channels * positions]."""
        sums = np.zeros((len(values), self.channels[0], self.geometry.positions))
        if _finite(values, weights):
            matrix = self._matrix(weights)
            for part in self._parts(len(values)):
                np.matmul(matrix, self._patches(values[part]), out=sums[part])
        else:
            for tap, seen in self.geometry.views(self._spread(values)):
                pushed = self.each.push(_rows(seen), self._at(weights, tap))
                sums += _columns(pushed, sums.shape)
        return sums.reshape(len(values), self.channels[0] * self.geometry.positions)

    def pull(self, gradient: Values, weights: Values) -> Values:
        """Gradient with respect to the source's values, [rows, channels * positions]."""
        spread = gradient.reshape(len(gradient), self.channels[0], *self.geometry.result)
        padded = self.geometry.padded(np.zeros((len(gradient), self.channels[1], *self.geometry.source)))
        if _finite(gradient, weights):
            matrix = self._matrix(weights).T
            for part in self._parts(len(gradient)):
                back = matrix @ spread[part].reshape(-1, self.channels[0], self.geometry.positions)
                taps = back.reshape(len(back), self.channels[1], len(self.geometry.taps), *self.geometry.result)
                for number, tap in enumerate(self.geometry.taps):
                    view = self.geometry.view(padded[part], tap)
                    view += taps[:, :, number]
        else:
            for tap in self.geometry.taps:
                back = self.each.pull(_rows(spread), self._at(weights, tap))
                view = self.geometry.view(padded, tap)
                view += _columns(back, (len(gradient), self.channels[1], self.geometry.positions)).reshape(view.shape)
        inside = self.geometry.inside(padded)
        return inside.reshape(len(gradient), self.channels[1] * math.prod(self.geometry.source))

    def weight_gradient(self, values: Values, gradient: Values) -> Values:
        """Gradient with respect to the weights, summed over rows and positions; shape of the tensor."""
        spread = gradient.reshape(len(gradient), self.channels[0], *self.geometry.result)
        parts: list[Values]
        if _finite(values, gradient):
            outer = np.zeros((self.channels[0], self.channels[1] * len(self.geometry.taps)))
            for part in self._parts(len(values)):
                flat = spread[part].reshape(-1, self.channels[0], self.geometry.positions)
                outer += np.matmul(flat, self._patches(values[part]).swapaxes(1, 2)).sum(axis=0)
            # An edge's gradient is one entry of that matrix: what the junction picks from it as if it were rows.
            one = np.eye(self.channels[1])
            each = outer.reshape(self.channels[0], self.channels[1], len(self.geometry.taps))
            parts = [self.each.weight_gradient(one, each[:, :, t].T) for t in range(each.shape[2])]
        else:
            rows = _rows(spread)
            views = self.geometry.views(self._spread(values))
            parts = [self.each.weight_gradient(_rows(seen), rows) for _, seen in views]
        if not self.filtered:
            return parts[0]
        return np.stack(parts, axis=-1).reshape(*parts[0].shape, *self.geometry.kernel)

    def fan_in(self) -> NDArray[np.int64]:
        """Terms that each unit of the destination receives, zeros around the extents counted."""
        return np.repeat(self.each.fan_in() * len(self.geometry.taps), self.geometry.positions)

    def _spread(self, values: Values) -> Values:
        return values.reshape(len(values), self.channels[1], *self.geometry.source)

    def _at(self, weights: Values, tap: Tap) -> Values:
        return weights[(..., *tap)] if self.filtered else weights

    def _matrix(self, weights: Values) -> Values:
        """The weights as one matrix, zero where there is no edge: [channels out, channels in * taps]."""
        one = np.eye(self.channels[1])
        taps = [self.each.push(one, self._at(weights, tap)).T for tap in self.geometry.taps]
        return np.stack(taps, axis=-1).reshape(self.channels[0], self.channels[1] * len(taps))

    def _patches(self, values: Values) -> Values:
        """What all taps see: [rows, channels in * taps, positions]."""
        shape = len(values), self.channels[1], len(self.geometry.taps)
        patches = np.empty((*shape, *self.geometry.result))
        for number, (_, seen) in enumerate(self.geometry.views(self._spread(values))):
            patches[:, :, number] = seen
        return patches.reshape(shape[0], shape[1] * shape[2], self.geometry.positions)

    def _parts(self, rows: int) -> Iterator[slice]:
        """Rows whose patches stay near the processor."""
        one = self.channels[1] * len(self.geometry.taps) * self.geometry.positions
        step = max(1, _NEAR // max(one, 1))
        return (slice(first, first + step) for first in range(0, rows, step))


def _finite(values: Values, weights: Values) -> bool:
    """Whether a product of matrices has no infinity that the zero of an absent edge would make NaN."""
    return bool(np.isfinite(values).all() and np.isfinite(weights).all())


def _rows(values: Values) -> Values:
    """[rows, channels, *extents] as [rows * positions, channels]."""
    return np.moveaxis(values, 1, -1).reshape(values.size // values.shape[1], values.shape[1])


def _columns(rows: Values, shape: tuple[int, ...]) -> Values:
    """[batch * positions, channels] as `shape`, [batch, channels, positions]."""
    return np.moveaxis(rows.reshape(shape[0], shape[2], shape[1]), -1, 1)


@dataclass(frozen=True)
class PartJunction(Junction):
    """The values of a station, times a scale, as some of the channels of another: units `first` onwards."""

    source: str
    destination: str
    first: int
    count: int
    sizes: tuple[int, int]
    scale: float
    tensor: str = ""

    def push(self, values: Values, weights: Values) -> Values:
        """The units of the destination, zero outside the part."""
        sums = np.zeros((len(values), self.sizes[0]))
        sums[:, self.first : self.first + self.count] = self.scale * values[:, : self.count]
        return sums

    def pull(self, gradient: Values, weights: Values) -> Values:
        """Gradient with respect to the source's values."""
        back = np.zeros((len(gradient), self.sizes[1]))
        back[:, : self.count] = self.scale * gradient[:, self.first : self.first + self.count]
        return back

    def weight_gradient(self, values: Values, gradient: Values) -> Values:
        """Empty: there are no weights."""
        return np.zeros(0)

    def fan_in(self) -> NDArray[np.int64]:
        """One term for every unit of the part."""
        units = np.arange(self.sizes[0])
        return ((units >= self.first) & (units < self.first + self.count)).astype(np.int64)
