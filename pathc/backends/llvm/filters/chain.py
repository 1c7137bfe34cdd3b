"""Filters and the flat net behind them, called as one."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pathc.backends.llvm.call import Kernel, as_floats
from pathc.backends.llvm.pieces import Array, BoundSteps
from pathc.ir.inputs import check_input
from pathc.support.diagnostics import error


@dataclass(frozen=True, eq=False)
class Chain:
    """The kernel of the filters, and the executable `tail` of the flat net that reads what they hand over.

    `sample` and `result` are the shapes of one sample and of its outputs, which the filters hand over without a tail.
    """

    sample: tuple[int, ...]
    result: tuple[int, ...]
    kernel: Kernel
    tail: Any

    def __call__(self, x: NDArray[Any], y: Array | None = None) -> Array:
        """Outputs [batch, ...] of inputs [batch, ...], or of one sample without that axis; in `y`, if it is given.

        Raises E0512 and E0513 for inputs that do not fit, E0703 to E0705 for outputs.
        """
        check_input(x, self.sample, "input")
        single = x.ndim == len(self.sample)
        whole = np.ascontiguousarray(as_floats(x[None] if single else x))
        rows, made = self._tied(whole, y if y is None or not single else y[None])
        # Binding for a single call would take scratch memory and an address of each array anew every time.
        if self.tail is None:
            self.kernel(rows, self._flat(made))
        else:
            self.tail(self.kernel(rows), self._flat(made))
        if y is not None:
            return y
        return made[0] if single else made

    def bind(self, x: Array, y: Array | None = None, *, threads: int | None = None) -> BoundSteps:
        """Tie the net to x [batch, ...] and, if given, y; E0703 unless both are float32 and contiguous."""
        rows, y = self._tied(x, y)
        if self.tail is None:
            return BoundSteps(x, y, (self.kernel.bind(rows, self._flat(y), threads=threads).call,))
        filtered = self.kernel.bind(rows, threads=threads)
        behind = self.tail.bind(filtered.y, self._flat(y), threads=threads)
        return BoundSteps(x, y, (filtered.call, behind.call))

    def _tied(self, x: Array, y: Array | None) -> tuple[Array, Array]:
        """x as rows, and y, made if it is None; E0703 unless float32 and contiguous."""
        if x.dtype != np.float32 or not x.flags.c_contiguous or x.shape[1:] != self.sample:
            wanted = ", ".join(map(str, ("batch", *self.sample)))
            text = f"the input is {list(x.shape)} {x.dtype}"
            raise error("E0703", text, help=f"bind a contiguous array [{wanted}] in float32")
        shape = (len(x), *self.result)
        if y is None:
            y = np.empty(shape, np.float32)
        elif y.shape != shape or y.dtype != np.float32 or not y.flags.c_contiguous:
            text = f"the output is {list(y.shape)} {y.dtype}"
            raise error("E0703", text, help=f"pass a contiguous array {list(shape)} in float32")
        return x.reshape(len(x), math.prod(self.sample)), y

    def _flat(self, y: Array) -> Array:
        """Outputs as rows."""
        return y.reshape(len(y), math.prod(self.result))
