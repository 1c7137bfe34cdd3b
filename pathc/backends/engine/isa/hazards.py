"""What can be said of the steps of EX before they run."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pathc.backends.engine.isa.addresses import Steps, steps_of
from pathc.backends.engine.isa.state import State
from pathc.backends.engine.isa.word import Instruction


@dataclass(frozen=True)
class Hazards:
    """Of one instruction: steps that exist for a clash, whether each step adds to a row that the step right before it
    adds to as well (bool [steps]), and the rows it reads and adds to, ends included.
    """

    clashes: int
    late: NDArray[np.bool_]
    sources: tuple[int, int]
    sums: tuple[int, int]


def hazards(state: State, each: Instruction) -> Hazards:
    """The hazards of an instruction with the slots as they are; E1011 for rows that are not there."""
    fields = each.fields
    clashes = 0
    late: list[NDArray[np.bool_]] = []
    before: Steps | None = None
    ends: list[tuple[int, int, int, int]] = []
    for steps in steps_of(state, each.name, fields):
        clashes += int(steps.clash.sum())
        used = np.broadcast_to(steps.valid != 0, (len(steps.clash), steps.valid.shape[1]))
        first = _same(before, steps, slice(-1, None), slice(0, 1)) if before is not None else np.zeros(1, bool)
        late += [first, _same(steps, steps, slice(0, -1), slice(1, None))]
        before = steps
        if used.any():
            ends.append((*_ends(steps.source_row, used), *_ends(steps.sum_row, used)))
    low_in, high_in, low_sum, high_sum = zip(*ends, strict=True) if ends else ((0,), (-1,), (0,), (-1,))
    rows = (min(low_in), max(high_in)), (min(low_sum), max(high_sum))
    return Hazards(clashes, np.concatenate(late), *rows)


def _same(a: Steps, b: Steps, of_a: slice, of_b: slice) -> NDArray[np.bool_]:
    both = (a.valid[of_a] != 0) & (b.valid[of_b] != 0)
    return ((a.sum_row[of_a] == b.sum_row[of_b]) & both).any(axis=1)


def _ends(rows: NDArray[np.int64], used: NDArray[np.bool_]) -> tuple[int, int]:
    low = rows.min(where=used, initial=1 << 30)
    return int(low), int(rows.max(where=used, initial=-1))
