"""One step of an optimizer on all weights of a net, side by side in one array."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pathc.backends.llvm.emit import I64, Function, module, vector
from pathc.backends.llvm.jit import compile_ir
from pathc.backends.llvm.machine import Machine
from pathc.backends.llvm.native import aligned
from pathc.backends.llvm.training.optimizers import NUMBERS, Optimizer

Array = NDArray[np.float32]
_NAME = "pathc_move"
_PARAMETERS = (("ptr", "weights"), ("ptr", "gradients"), ("ptr", "moments"), ("ptr", "numbers"), (I64, "count"))


def whole(floats: int) -> Array:
    """Memory for so many floats and what is missing to whole vectors, zero."""
    return aligned(4 * (-(-floats // 16) * 16)).view(np.float32)


class Mover:
    """Moves weights along their gradients; `moments` [moments, floats] are what the optimizer remembers."""

    def __init__(self, optimizer: Optimizer, machine: Machine, weights: Array, gradients: Array) -> None:
        self.optimizer = optimizer
        self.moments = whole(len(weights) * len(optimizer.moments)).reshape(len(optimizer.moments), len(weights))
        self._numbers = whole(NUMBERS)
        library = compile_ir(self._ir(machine, len(weights)), machine)
        kinds: list[Any] = [ctypes.c_int64 if kind == I64 else ctypes.c_void_p for kind, _ in _PARAMETERS]
        self._function = library.function(_NAME, None, *kinds)
        self._weights, self._gradients = weights, gradients

    def step(self, lr: float | None, number: int) -> None:
        """Step `number` (from 1)."""
        numbers = self.optimizer.numbers(self.optimizer.lr if lr is None else lr, number)
        self._numbers[: len(numbers)] = numbers
        arrays = self._weights, self._gradients, self.moments, self._numbers
        self._function(*(array.ctypes.data for array in arrays), len(self._weights))

    def _ir(self, machine: Machine, count: int) -> str:
        f = Function(_NAME, _PARAMETERS, internal=False)
        lanes, kind = machine.width, vector(machine.width)
        numbers = [f.broadcast(lanes, f.load("float", f.offset("%numbers", k))) for k in range(NUMBERS)]
        moments = [f.offset("%moments", k * count) for k in range(len(self.optimizer.moments))]
        with f.loop("%count", step=lanes) as loop:
            places = [f.offset(base, loop.index) for base in ("%weights", "%gradients", *moments)]
            weight, gradient, *held = (f.load(kind, place) for place in places)
            new, after = self.optimizer.write(f, lanes, numbers, weight, gradient, held)
            for place, value in zip((places[0], *places[2:]), (new, *after), strict=True):
                f.store(kind, value, place)
            loop.following = []
        return module([f], machine.triple)
