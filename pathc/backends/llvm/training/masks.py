"""Windows of paths as masks over weights, in the order of the kernels."""

from __future__ import annotations

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from pathc.backends.llvm.native import aligned
from pathc.backends.llvm.training.model import Model

_KEPT = 1 << 26
"""Bytes of masks that are kept for later steps."""


class Masks:
    """The masks of a model's windows, made when they are first asked for."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._made: dict[tuple[int, int], NDArray[np.int32]] = {}

    @cached_property
    def _aside(self) -> NDArray[np.uint8]:
        return aligned(self._model.aside_bytes + 64)

    @property
    def aside(self) -> int:
        """Address of the memory for weights that are laid aside."""
        return self._aside.ctypes.data

    def address(self, window: tuple[int, int]) -> int:
        """Address of the mask of a window (a, b), wrapped around where b < a: int32, -1 inside and 0 outside."""
        mask = self._made.get(window)
        if mask is None:
            while self._made and (len(self._made) + 1) * self._model.aside_bytes > _KEPT:
                del self._made[next(iter(self._made))]
            mask = self._made[window] = self._make(window)
        return mask.ctypes.data

    def _make(self, window: tuple[int, int]) -> NDArray[np.int32]:
        mask = aligned(self._model.aside_bytes + 64).view(np.int32)
        for tensor in self._model.tensors.values():
            if tensor.aside >= 0:
                number = np.arange(tensor.slot.size) // (tensor.slot.size // tensor.shape[0])
                behind, ahead = number >= window[0], number < window[1]
                inside = behind & ahead if window[0] <= window[1] else behind | ahead
                mask[tensor.aside // 4 + tensor.places[inside]] = -1
        return mask
