"""Where things lie: the parameters of a net as they are collected, and the room its samples need."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pathc.backends.llvm.native import aligned

LINE = 64


@dataclass
class Parameters:
    """Arrays one after the other, each at a multiple of 64 bytes."""

    parts: list[NDArray[np.uint8]] = field(default_factory=list[NDArray[np.uint8]])
    size: int = 0

    def put(self, values: NDArray[Any]) -> int:
        """Where an array lies from now on, in bytes."""
        at, flat = self.size, np.ascontiguousarray(values).reshape(-1).view(np.uint8)
        self.parts.append(flat)
        self.size += -(-flat.nbytes // LINE) * LINE
        return at

    def packed(self) -> NDArray[np.uint8]:
        """All arrays."""
        whole = aligned(max(self.size, LINE))
        whole[:] = 0
        at = 0
        for part in self.parts:
            whole[at : at + part.nbytes] = part
            at += -(-part.nbytes // LINE) * LINE
        return whole


@dataclass
class Room:
    """Scratch memory as it is handed out, in multiples of 64 bytes."""

    size: int = 0

    def take(self, size: int) -> int:
        """Where `size` bytes lie."""
        at = self.size
        self.size += -(-size // LINE) * LINE
        return at
