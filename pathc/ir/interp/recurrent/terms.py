"""What the formulas of cells are written over: values, values on a tape, and values with error bounds."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from pathc.ir.interp.recurrent.matrix import Matrix

Values = NDArray[np.float64]
_FUNCTION_ROUNDOFFS = 8.0
_SMALLEST = float(np.finfo(np.float32).tiny)


class Term(Protocol):
    """A [batch, units] array that cells compute with."""

    def __add__(self, other: Self) -> Self: ...

    def __sub__(self, other: Self) -> Self: ...

    def __mul__(self, other: Self) -> Self: ...

    def through(self, matrix: Matrix) -> Self:
        """The sums that a hidden-to-hidden matrix makes of it."""
        ...

    def gathered(self, state: Self, matrix: Matrix) -> Self:
        """It plus the sums that a matrix makes of a state."""
        ...

    def tanh(self) -> Self:
        """The hyperbolic tangent."""
        ...

    def sigmoid(self) -> Self:
        """1 / (1 + exp(-x))."""
        ...

    def relu(self) -> Self:
        """max(x, 0)."""
        ...


Vjp = Callable[[Values], Values]


class Node:
    """A value; on a tape, also how its gradient is handed on to what it was made of."""

    def __init__(self, value: Values, tape: Tape | None = None, parents: Iterable[tuple[Node, Vjp]] = ()) -> None:
        self.value = value
        self.gradient: Values | None = None
        self._tape = tape
        self._parents = tuple(parents) if tape is not None else ()
        if tape is not None:
            tape.nodes.append(self)

    def _made(self, value: Values, *parents: tuple[Node, Vjp]) -> Node:
        return Node(value, self._tape, parents)

    def __add__(self, other: Node) -> Node:
        return self._made(self.value + other.value, (self, lambda g: g), (other, lambda g: g))

    def __sub__(self, other: Node) -> Node:
        return self._made(self.value - other.value, (self, lambda g: g), (other, lambda g: -g))

    def __mul__(self, other: Node) -> Node:
        a, b = self.value, other.value
        return self._made(a * b, (self, lambda g: g * b), (other, lambda g: g * a))

    def through(self, matrix: Matrix) -> Node:
        """The sums of a matrix, whose gradient is gathered in the matrix."""

        def back(gradient: Values) -> Values:
            matrix.learn(self.value, gradient)
            return matrix.pull(gradient)

        return self._made(matrix.push(self.value), (self, back))

    def gathered(self, state: Node, matrix: Matrix) -> Node:
        """It plus the sums that a matrix makes of a state."""
        return self + state.through(matrix)

    def tanh(self) -> Node:
        """The hyperbolic tangent."""
        y = np.tanh(self.value)
        return self._made(y, (self, lambda g: g * (1.0 - y * y)))

    def sigmoid(self) -> Node:
        """1 / (1 + exp(-x)), through tanh so that nothing overflows."""
        y = 0.5 + 0.5 * np.tanh(0.5 * self.value)
        return self._made(y, (self, lambda g: g * y * (1.0 - y)))

    def relu(self) -> Node:
        """max(x, 0)."""
        x = self.value
        return self._made(np.maximum(x, 0.0), (self, lambda g: g * (x > 0.0)))

    def hand_on(self) -> None:
        """Add this node's gradient to those of its parents."""
        if self.gradient is not None:
            for parent, vjp in self._parents:
                part = vjp(self.gradient)
                parent.gradient = part if parent.gradient is None else parent.gradient + part


class Tape:
    """The nodes of a forward pass in the order in which they were made."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []

    def backward(self) -> None:
        """Hand gradients on, from the last node to the first."""
        for node in reversed(self.nodes):
            node.hand_on()


class Rough:
    """A value and a bound on how far a backend may be from it, in arithmetic of one unit roundoff."""

    def __init__(self, value: Values, bound: Values, roundoff: float, weight_roundoff: float = 0.0) -> None:
        self.value, self.bound = value, bound
        self._roundoff, self._weight_roundoff = roundoff, weight_roundoff

    def _made(self, value: Values, bound: Values) -> Rough:
        return Rough(value, bound, self._roundoff, self._weight_roundoff)

    def _rounded(self, value: Values, bound: Values) -> Rough:
        return self._made(value, bound + 2.0 * self._roundoff * (np.abs(value) + bound) + _SMALLEST)

    def __add__(self, other: Rough) -> Rough:
        return self._rounded(self.value + other.value, self.bound + other.bound)

    def __sub__(self, other: Rough) -> Rough:
        return self._rounded(self.value - other.value, self.bound + other.bound)

    def __mul__(self, other: Rough) -> Rough:
        carried = np.abs(self.value) * other.bound + np.abs(other.value) * self.bound + self.bound * other.bound
        return self._rounded(self.value * other.value, carried)

    def through(self, matrix: Matrix) -> Rough:
        """The sums of a matrix; in any order, with or without fused multiply-add."""
        return self._made(np.zeros_like(self.value), np.zeros_like(self.value)).gathered(self, matrix)

    def gathered(self, state: Rough, matrix: Matrix) -> Rough:
        """It plus the sums that a matrix makes of a state, added in any order."""
        steps = (matrix.fan_in() + 3) * self._roundoff + self._weight_roundoff
        gamma = np.where(steps < 0.5, steps / (1.0 - steps), np.inf)
        carried = matrix.push(state.bound, absolute=True)
        magnitude = matrix.push(np.abs(state.value), absolute=True) + carried + np.abs(self.value) + self.bound
        value = self.value + matrix.push(state.value)
        return self._made(value, self.bound + carried + gamma * magnitude + _SMALLEST)

    def tanh(self) -> Rough:
        """The hyperbolic tangent; the slope is the largest one within the bound."""
        slope = 1.0 - np.tanh(np.maximum(np.abs(self.value) - self.bound, 0.0)) ** 2
        carried = np.minimum(self.bound * slope, 2.0)
        return self._made(np.tanh(self.value), carried + _FUNCTION_ROUNDOFFS * self._roundoff)

    def sigmoid(self) -> Rough:
        """1 / (1 + exp(-x)); the slope is the largest one within the bound."""
        nearest = 0.5 + 0.5 * np.tanh(0.5 * np.maximum(np.abs(self.value) - self.bound, 0.0))
        carried = np.minimum(self.bound * nearest * (1.0 - nearest), 1.0)
        return self._made(0.5 + 0.5 * np.tanh(0.5 * self.value), carried + _FUNCTION_ROUNDOFFS * self._roundoff)

    def relu(self) -> Rough:
        """max(x, 0)."""
        return self._made(np.maximum(self.value, 0.0), np.where(self.value + self.bound <= 0.0, 0.0, self.bound))
