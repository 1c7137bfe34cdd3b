"""A hidden-to-hidden matrix at work: sums forward, gradients backward."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pathc.ir.cells import Cell
from pathc.ir.recurrence import structure_edges

Values = NDArray[np.float64]
_DENSE_UNITS = 2048


class Matrix:
    """One gate's hidden-to-hidden weights, `values` in the shape of their tensor; `gradient` gathers theirs."""

    def __init__(self, cell: Cell, values: Values) -> None:
        self._units = cell.hidden
        self._into, self._seen = structure_edges(cell.recur, cell.hidden, cell.loc)
        self._values = values.reshape(-1)
        self._diagonal = cell.recur.name == "diag"
        self._shape = values.shape
        self.gradient: Values = np.zeros(len(self._values))
        self._dense = self._matrix() if self._units <= _DENSE_UNITS and not self._diagonal else None
        self._absolute: Matrix | None = None
        self._cell = cell

    def _matrix(self) -> Values:
        matrix = np.zeros((self._units, self._units))
        np.add.at(matrix, (self._into, self._seen), self._values)
        return matrix

    def push(self, values: Values, absolute: bool = False) -> Values:
        """Sums [batch, units] of states [batch, units]; with the weights' magnitudes if `absolute`."""
        if absolute:
            if self._absolute is None:
                self._absolute = Matrix(self._cell, np.abs(self._values).reshape(self._shape))
            return self._absolute.push(values)
        if self._diagonal:
            return values * self._values
        if self._dense is not None:
            return _multiplied(values, self._dense.T)
        return self._scattered(values, self._seen, self._into)

    def pull(self, gradient: Values) -> Values:
        """Gradient with respect to the states."""
        if self._diagonal:
            return gradient * self._values
        if self._dense is not None:
            return _multiplied(gradient, self._dense)
        return self._scattered(gradient, self._into, self._seen)

    def learn(self, values: Values, gradient: Values) -> None:
        """Add the gradient with respect to the weights."""
        if self._diagonal:
            self.gradient += (values * gradient).sum(axis=0)
        elif self._dense is not None:
            self.gradient += (gradient.T @ values)[self._into, self._seen]
        else:
            for row, row_gradient in zip(values, gradient, strict=True):
                self.gradient += row[self._seen] * row_gradient[self._into]

    def shaped_gradient(self) -> Values:
        """The gradient in the shape of the tensor."""
        return self.gradient.reshape(self._shape)

    def fan_in(self) -> NDArray[np.int64]:
        """Units that each unit sees."""
        return np.bincount(self._into, minlength=self._units)

    def _scattered(self, values: Values, read: NDArray[np.int64], into: NDArray[np.int64]) -> Values:
        sums = np.zeros((len(values), self._units))
        for total, row in zip(sums, values, strict=True):
            total += np.bincount(into, weights=self._values * row[read], minlength=self._units)
        return sums


def _multiplied(values: Values, matrix: Values) -> Values:
    """values @ matrix, where a unit that is not finite is heard only by those that see it."""
    if np.isfinite(values).all():
        return values @ matrix
    seen = matrix != 0.0
    with np.errstate(all="ignore"):
        terms = values[:, :, None] * matrix
    return np.where(seen, terms, 0.0).sum(axis=1, dtype=np.float64)
