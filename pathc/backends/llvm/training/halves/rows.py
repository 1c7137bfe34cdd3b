"""Stations in a tile where products take halves: what stays of values and gradients, and what only passes.

Float32 sums pass through one place, and gradients through another, unless somebody looks at them later. Few bytes of a
tile are then touched twice.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

from pathc.backends.llvm.halves.kernels import ROW
from pathc.backends.llvm.lower import stages_of
from pathc.backends.llvm.tiles.code import LINE
from pathc.backends.llvm.training.frame import SPARE_ROWS
from pathc.backends.llvm.training.stages import number
from pathc.ir.graph import Station


@dataclass(frozen=True)
class Halved:
    """Rows of halves of a station in a tile, each behind the last one of zeros: values and gradients at its sums.

    `partial` has 16 sums of gradients of every unit, which together are that of its bias. If `passes`, values in
    float32 are gone once the halves are there, and gradients if `gradient_passes`.
    """

    values: int
    deltas: int
    partial: int
    passes: bool
    gradient_passes: bool

    @classmethod
    def of(
        cls, station: Station, skipping: tuple[Collection[str], Collection[str]], take: Callable[[int], int]
    ) -> Halved:
        """Rows of a station; `skipping` are the sources of skips and their destinations."""
        rows = (station.units + 1) * ROW
        passes = station.role != "output" and station.name not in skipping[0] and _known_by_sign(station)
        gradient_passes = station.role != "input" and station.name not in skipping[1]
        partial = take((station.units + SPARE_ROWS) * LINE)
        return cls(take(rows), take(rows), partial, passes, gradient_passes)


def _known_by_sign(station: Station) -> bool:
    """Whether the derivative of a station's stages is known from the sign of its values."""
    stages = stages_of(station)
    if len(stages) > 1:
        return False
    return all(s.name == "relu" or (s.name == "leaky" and number(s, "slope") >= 0.0) for s in stages)
