"""What stands between the sums at a cell's station and its gates: normalization, shortcut and pools.

    u_t(g) = P(B(sums_t(g)) + shortcut_t)

Source: Yang, Molchanov and Kautz, *Making Convolutional Networks Recurrent for Visual Sequence Learning* (2018).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from pathc.ir.cells import Cell, split_at_cell
from pathc.ir.graph import Station
from pathc.ir.interp.activations import Activation
from pathc.ir.interp.base import Values
from pathc.ir.interp.expand import split_at_shortcut
from pathc.ir.interp.network import functions_of
from pathc.ir.interp.stages import Norm
from pathc.ir.weights import Tensors


@dataclass(frozen=True)
class Front:
    """The functions that each copy goes through, in front of the shortcut and behind it; sums are [rows, values]."""

    before: Sequence[tuple[Activation, ...]]
    behind: Sequence[tuple[Activation, ...]]
    shortcut: bool

    @staticmethod
    def of(cell: Cell, station: Station, weights: Tensors, training: bool) -> Front:
        """The front of a station's cell; in `training`, normalization goes by the batch."""
        front, _ = split_at_cell(station)
        shortcut = front.stage("shortcut") is not None
        parts = split_at_shortcut(front) if shortcut else (front, replace(front, pipeline=()))
        numbers = range(cell.bias_copies) if cell.bias_copies > 1 else (-1,)
        before, behind = ([functions_of(p, weights, training=training, copy=k) for k in numbers] for p in parts)
        return Front(before, behind, shortcut)

    def forward(self, copy: int, sums: Values, shortcut: Values) -> Values:
        """What a copy's gate hears."""
        return self._run(copy, sums, shortcut)[-1]

    def backward(
        self, copy: int, sums: Values, shortcut: Values, gradient: Values
    ) -> tuple[Values, Values, dict[str, Values]]:
        """Gradients of the sums, of what the shortcut adds, and of the functions' tensors, given that of the gate."""
        functions, found = self._functions(copy), dict[str, Values]()
        made, at_shortcut = self._run(copy, sums, shortcut), np.zeros_like(shortcut)
        for function, argument in zip(reversed(functions), reversed(made[:-1]), strict=True):
            if function is None:
                at_shortcut = gradient
                continue
            found.update(function.tensors(argument, gradient))
            gradient = function.backward(argument, gradient)
        return gradient, at_shortcut, found

    def reach(self, copy: int, sums: tuple[Values, Values], shortcut: tuple[Values, Values], roundoff: float) -> Values:
        """Bound on the error of what a copy's gate hears; sums and shortcut come with their own bounds."""
        made = self._run(copy, sums[0], shortcut[0])
        bound = sums[1]
        for function, argument, result in zip(self._functions(copy), made[:-1], made[1:], strict=True):
            if function is None:
                bound = bound + shortcut[1]
                bound = bound + roundoff * (np.abs(result) + bound)
            else:
                bound = function.reach(argument, bound, roundoff)
        return bound

    def statistics(self, copy: int, sums: Values, shortcut: Values) -> tuple[Values, Values]:
        """Mean and variance of what a copy's normalization is given; StopIteration without one."""
        every = zip(self._functions(copy), self._run(copy, sums, shortcut), strict=False)
        return next(function.statistics(x) for function, x in every if isinstance(function, Norm))

    def _functions(self, copy: int) -> tuple[Activation | None, ...]:
        """The functions of a copy in order, None for the shortcut."""
        # Taps of a cell that looks back have nothing but sums in front of them and share their copies' functions.
        number = copy % len(self.before)
        return (*self.before[number], *((None,) if self.shortcut else ()), *self.behind[number])

    def _run(self, copy: int, sums: Values, shortcut: Values) -> list[Values]:
        """The sums, and what each function makes of them."""
        made = [sums]
        for function in self._functions(copy):
            made.append(made[-1] + shortcut if function is None else function.apply(made[-1]))
        return made
