"""Paths in which every unit of a layer has the same valence, chained from one permutation per junction."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
from numpy.typing import NDArray

from pathc.ir.generators.base import Affine, UnitArray
from pathc.ir.generators.checks import check_line, check_regular, check_stored, check_window
from pathc.support.diagnostics import Place

Permutation = NDArray[np.int64]


class RegularPaths(ABC):
    """Paths through slots: each visit has `count` slots, and unit u owns count / size of them, from
    u * count / size on, so the unit of a path is slot // (count / size).

    Junction j (from 1) is a permutation pi_j of the slots: slot w on its right is joined to slot pi_j(w) on its
    left. Path i has slot i at visit 1, so the first junction's edges come in the order of its right slots:

        slot_1(i) = i,   slot_0(i) = pi_1(i),   slot_v(i) = pi_v^-1(slot_{v-1}(i))  for v = 2, 3, ...

    Slots of all visits asked for are kept in memory. Errors: E0341, E0343.
    """

    def __init__(
        self, name: str, dims: tuple[int, ...], sizes: tuple[int, ...], count: int, seed: int, place: Place
    ) -> None:
        check_line(sizes, count, place)
        check_stored(count, name, place)
        check_regular(sizes, count, name, place)
        self.dims, self.sizes, self.count, self.seed = dims, sizes, count, seed
        self._slots: dict[int, Permutation] = {}

    @abstractmethod
    def junction(self, number: int) -> Permutation:
        """Left slot of every right slot of junction `number` (from 1): a permutation, int64 of shape [count]."""

    def affine(self, visit: int) -> Affine | None:
        """None: these paths are not linear."""
        return None

    def units(self, visit: int, start: int, stop: int) -> UnitArray:
        """Units visited by paths start .. stop-1 at `visit`: int64 of shape [stop - start]."""
        check_window(start, stop, self.count)
        return self.slots(visit)[start:stop] // (self.count // self.sizes[visit])

    def slots(self, visit: int) -> Permutation:
        """Slot of every path at a visit: a permutation, int64 of shape [count]."""
        if visit not in self._slots:
            self._slots[visit] = self._chain(visit)
        return self._slots[visit]

    def _chain(self, visit: int) -> Permutation:
        if visit == 1 or len(self.sizes) == 1:
            return np.arange(self.count, dtype=np.int64)
        if visit == 0:
            return self.junction(1)
        return inverse(self.junction(visit))[self.slots(visit - 1)]


def inverse(permutation: Permutation) -> Permutation:
    """The inverse permutation."""
    result = np.empty_like(permutation)
    result[permutation] = np.arange(len(permutation), dtype=np.int64)
    return result
