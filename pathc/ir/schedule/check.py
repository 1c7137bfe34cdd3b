"""The checker of schedules: it looks at cycles, lanes and banks alone and knows nothing of how they were made."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from pathc.ir.gf2 import IndexArray
from pathc.ir.schedule.table import IDLE, Schedule

_COUNTERS = 1 << 22


@dataclass(frozen=True)
class Verdict:
    """What a schedule is worth.

    `missing` paths are in no cycle, `repeated` counts further visits of paths that are. A clash is a lane that
    finds its bank taken by another lane of the cycle; it `stalls` until the fullest bank of the cycle has
    been served. Destinations count towards `stalls` if `writes`. `ideal` is the number of cycles with all lanes
    busy and no stall. `rmw_distance` is the smallest number of cycles from one visit of a destination to the
    next, 0 if no destination is visited in two cycles.
    """

    paths: int
    z: int
    cycles: int
    ideal: int
    missing: int
    repeated: int
    source_clashes: int
    destination_clashes: int
    stalls: int
    rmw_distance: int
    writes: bool

    @property
    def complete(self) -> bool:
        """Every path is processed exactly once."""
        return self.missing == self.repeated == 0

    @property
    def clash_free(self) -> bool:
        """No bank that counts is asked twice in a cycle."""
        return self.source_clashes == 0 and (self.destination_clashes == 0 or not self.writes)

    @property
    def time(self) -> int:
        """Cycles with stalls."""
        return self.cycles + self.stalls

    @property
    def utilisation(self) -> float:
        """Share of lanes and cycles that process a path, stalls included."""
        return self.paths / (self.z * self.time)


def check(schedule: Schedule, *, writes: bool = True) -> Verdict:
    """The verdict on a schedule; with `writes` destinations need banks of their own as sources do."""
    visits = np.bincount(schedule.issued(), minlength=schedule.paths)
    sources = destinations = stalls = 0
    for source_loads, destination_loads in _loads(schedule):
        sources += int(np.maximum(source_loads - 1, 0).sum())
        destinations += int(np.maximum(destination_loads - 1, 0).sum())
        worst = source_loads.max(axis=1)
        if writes:
            worst = np.maximum(worst, destination_loads.max(axis=1))
        stalls += int(np.maximum(worst - 1, 0).sum())
    return Verdict(
        paths=schedule.paths,
        z=schedule.z,
        cycles=schedule.cycles,
        ideal=-(-schedule.paths // schedule.z),
        missing=int(np.count_nonzero(visits == 0)),
        repeated=int(np.maximum(visits - 1, 0).sum()),
        source_clashes=sources,
        destination_clashes=destinations,
        stalls=stalls,
        rmw_distance=_rmw_distance(schedule),
        writes=writes,
    )


def _loads(schedule: Schedule) -> Iterator[tuple[IndexArray, IndexArray]]:
    """Lanes per source bank and per destination bank, some cycles at a time: int64 [cycles, banks] each."""
    ends = (
        (schedule.source_bank(), schedule.source_banks.banks),
        (schedule.destination_bank(), schedule.destination_banks.banks),
    )
    step = max(1, _COUNTERS // max(schedule.source_banks.banks, schedule.destination_banks.banks))
    for start in range(0, schedule.cycles, step):
        first, second = (_count(banks[start : start + step], number) for banks, number in ends)
        yield first, second


def _count(banks: IndexArray, number: int) -> IndexArray:
    """How often each of `number` banks stands in each row; idle lanes are counted in a column cut off again."""
    keys = banks + 1 + np.arange(len(banks), dtype=np.int64)[:, None] * (number + 1)
    counts = np.bincount(keys.reshape(-1), minlength=len(banks) * (number + 1))
    return counts.reshape(len(banks), number + 1)[:, 1:]


def _rmw_distance(schedule: Schedule) -> int:
    units = schedule.destination_units()
    cycle, lane = np.nonzero(units != IDLE)
    unit = units[cycle, lane]
    order = np.argsort(unit, kind="stable")
    gaps = np.diff(cycle[order])[np.diff(unit[order]) == 0]
    gaps = gaps[gaps > 0]
    return int(gaps.min()) if len(gaps) else 0
