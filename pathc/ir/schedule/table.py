"""Schedules written out: which path every lane processes in every cycle."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pathc.ir.gf2 import IndexArray
from pathc.ir.schedule.banks import Banks
from pathc.support.diagnostics import error

IDLE = -1
"""What an idle lane holds instead of a path."""
MAX_CELLS = 1 << 26
"""Most cycles times lanes of a schedule that is written out (512 MiB)."""


@dataclass(frozen=True, eq=False)
class Schedule:
    """The paths of one junction, cycle by cycle.

    `lanes[c, m]` is the path that lane m processes in cycle c, or -1 if the lane is idle: int64 of shape
    [cycles, z]. `sources[i]` and `destinations[i]` are the units that path i joins: int64 of shape [paths].
    `source_banks` and `destination_banks` lay these units out in memories. The arrays cannot be written to.
    Nothing is promised about the order; `check` says what it is worth. Errors: E0357.
    """

    lanes: IndexArray
    sources: IndexArray
    destinations: IndexArray
    source_banks: Banks
    destination_banks: Banks

    def __post_init__(self) -> None:
        if self.lanes.ndim != 2 or not 1 <= self.lanes.size <= MAX_CELLS:
            raise error("E0357", f"a schedule is no array of shape {list(self.lanes.shape)}, but [cycles, lanes]")
        if self.sources.shape != self.destinations.shape or self.sources.ndim != 1 or not len(self.sources):
            message = f"{list(self.sources.shape)} sources and {list(self.destinations.shape)} destinations"
            raise error("E0357", f"a schedule with {message} has no paths", help="one of each for every path")
        for name, values, low, high in (
            ("lanes", self.lanes, IDLE, len(self.sources)),
            ("sources", self.sources, 0, self.source_banks.units),
            ("destinations", self.destinations, 0, self.destination_banks.units),
        ):
            if values.dtype.kind not in "iu" or not low <= values.min() <= values.max() < high:
                raise error("E0357", f"`{name}` of a schedule holds something else than {low} .. {high - 1}")
            own = values.astype(np.int64)
            own.setflags(write=False)
            object.__setattr__(self, name, own)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Schedule)
            and (self.source_banks, self.destination_banks) == (other.source_banks, other.destination_banks)
            and np.array_equal(self.lanes, other.lanes)
            and np.array_equal(self.sources, other.sources)
            and np.array_equal(self.destinations, other.destinations)
        )

    def __hash__(self) -> int:
        return hash((self.lanes.shape, self.source_banks, self.destination_banks))

    @property
    def z(self) -> int:
        """Number of lanes."""
        return self.lanes.shape[1]

    @property
    def cycles(self) -> int:
        """Number of cycles, before any stall."""
        return self.lanes.shape[0]

    @property
    def paths(self) -> int:
        """Number of paths."""
        return len(self.sources)

    def source_units(self) -> IndexArray:
        """Unit that every lane reads, -1 if idle: int64 of shape [cycles, z]."""
        return self._by_lane(self.sources)

    def source_bank(self) -> IndexArray:
        """Bank that every lane reads, -1 if idle: int64 of shape [cycles, z]."""
        return self._by_lane(self.source_banks.bank(self.sources))

    def source_row(self) -> IndexArray:
        """Row that every lane reads, -1 if idle: int64 of shape [cycles, z]."""
        return self._by_lane(self.source_banks.row(self.sources))

    def destination_units(self) -> IndexArray:
        """Unit that every lane adds to, -1 if idle: int64 of shape [cycles, z]."""
        return self._by_lane(self.destinations)

    def destination_bank(self) -> IndexArray:
        """Bank that every lane adds to, -1 if idle: int64 of shape [cycles, z]."""
        return self._by_lane(self.destination_banks.bank(self.destinations))

    def destination_row(self) -> IndexArray:
        """Row that every lane adds to, -1 if idle: int64 of shape [cycles, z]."""
        return self._by_lane(self.destination_banks.row(self.destinations))

    def issued(self) -> IndexArray:
        """The paths in the order in which they are processed, idle lanes left out: int64 [paths issued]."""
        flat = self.lanes.reshape(-1)
        return flat[flat != IDLE]

    def _by_lane(self, of_path: IndexArray) -> IndexArray:
        return np.append(of_path, IDLE)[self.lanes]
