"""Which sums of lines the gates of a cell hear, of windows and shared gates, and how late."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pathc.ir.cells import Cell


class Tap(NamedTuple):
    """What one gate hears of one copy: steps and units within the copy, and the same number within the gate."""

    side: int
    gate: int
    copy: int
    read: tuple[slice, slice]
    into: tuple[slice, slice]


def taps(cell: Cell, steps: int, gates: int) -> Iterator[Tap]:
    """All of them, for `gates` gates of each direction.

    A direction that runs backwards in time hears what comes some steps later.
    """
    units = cell.hidden * (2 if cell.concatenated else 1)
    for side in range(2 if cell.bidirectional == "sum" else 1):
        for tap in range(min(cell.window, steps)):
            late, early = slice(tap, steps), slice(0, steps - tap)
            first = cell.hidden if cell.concatenated else 0 if side else units
            for gate in range(gates):
                copy = cell.copy_of(side, tap, gate)
                for part, read, into in ((slice(0, first), early, late), (slice(first, units), late, early)):
                    if part.start < part.stop:
                        yield Tap(side, gate, copy, (read, part), (into, part))


def columns(rows: NDArray[np.float32], first: int, count: int) -> NDArray[np.float32]:
    """Some columns of [batch, steps, columns]."""
    return rows[:, :, first : first + count]
