"""Stations in a tile where products take halves: what stays of values and gradients, and what only passes.

Float32 sums pass through one place, and gradients through another, unless somebody looks at them later. Few bytes of a
tile are then touched twice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pathc.backends.llvm.halves.kernels import ROW
from pathc.backends.llvm.lower import stages_of
from pathc.backends.llvm.tiles.code import LINE
from pathc.backends.llvm.training.frame import SPARE_ROWS
from pathc.backends.llvm.training.stages import number
from pathc.ir.graph import Station
from pathc.ir.interp.base import Junction


@dataclass(frozen=True)
class Halved:
    """Rows of halves of a station in a tile, values and gradients at its sums; behind the last are zeros.

    `partial` has 16 sums of gradients of every unit, which together are that of its bias. If `passes`, values in
    float32 are gone once the halves are there, and gradients if `gradient_passes`.
    """

    values: int
    deltas: int
    partial: int
    passes: bool
    gradient_passes: bool


def halved_rows(
    stations: Sequence[Station], leads: Sequence[Junction], take: Callable[[int], int]
) -> dict[str, Halved]:
    """Rows of all stations, which are in the order of evaluation; `take` gives places in a tile.

    Rows of gradients are as many as the largest station has units, and one of zeros. A place serves the next station as
    soon as the gradients at all sources of a station are known.
    """
    skipped = [lead for lead in leads if not lead.tensor]
    watched, added = {skip.source for skip in skipped}, {skip.destination for skip in skipped}
    waiting = {s.name: {lead.source for lead in leads if lead.destination == s.name} for s in stations}
    most = max(station.units for station in stations)
    places, free = dict[str, int](), list[int]()
    found: dict[str, Halved] = {}
    for station in reversed(stations):
        name = station.name
        places[name] = free.pop() if free else take((most + 1) * ROW)
        passes = station.role != "output" and name not in watched and _known_by_sign(station)
        gradient_passes = station.role != "input" and name not in added
        values, partial = take((station.units + 1) * ROW), take((station.units + SPARE_ROWS) * LINE)
        found[name] = Halved(values, places[name], partial, passes, gradient_passes)
        for other in {lead.destination for lead in leads if lead.source == name}:
            waiting[other].discard(name)
            if not waiting[other]:
                free.append(places[other])
    return found


def _known_by_sign(station: Station) -> bool:
    """Whether the derivative of a station's stages is known from the sign of its values."""
    stages = stages_of(station)
    if len(stages) > 1:
        return False
    return all(s.name == "relu" or (s.name == "leaky" and number(s, "slope") >= 0.0) for s in stages)
