"""What ties nets that are computed piece by piece to their arrays."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pathc.ir.graph import Graph

Array = NDArray[np.float32]
Rows = Callable[[Graph, Mapping[str, NDArray[Any]]], Any]
"""Makes the executable of a flat feed-forward net."""


@dataclass(frozen=True, eq=False)
class BoundSteps:
    """The pieces of a net tied to its arrays: `call()` runs it on `x` and returns `y`. One thread at a time."""

    x: Array
    y: Array
    steps: tuple[Callable[[], object], ...]

    def call(self) -> Array:
        """Run."""
        for step in self.steps:
            step()
        return self.y

    def __call__(self) -> Array:
        """Run."""
        return self.call()
