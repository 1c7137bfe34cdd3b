"""Hidden-to-hidden matrices as instructions: diagonals, dense blocks, or a table, whatever takes the fewest cycles."""

from __future__ import annotations

import numpy as np

from pathc.backends.engine.isa.operations import DRAIN
from pathc.backends.engine.lower.layout import Int64, Layout
from pathc.backends.engine.lower.steps import Work, table_work

_MOST_BITS = 8


def cost(works: list[Work]) -> int:
    """Cycles of EX for one sample, in sixteenths, and one for every row of a table, which has to be kept somewhere."""
    cycles = sum(len(work.weights) + DRAIN + 1 + (work.name == "TPATH") for work in works)
    return 16 * cycles + sum(len(work.table) for work in works)


def matrix_works(into: Int64, seen: Int64, weights: Int64, layout: Layout) -> list[Work]:
    """The instructions that add weight * state of unit `seen` to unit `into`, int64 [weights] each."""
    found = [_diagonals(into, seen, weights, layout), _blocks(into, seen, weights, layout)]
    candidates = [works for works in found if works is not None]
    return min([*candidates, [table_work(seen, into, weights, layout, layout, False)]], key=cost)


def _diagonals(into: Int64, seen: Int64, weights: Int64, layout: Layout) -> list[Work] | None:
    """BAND for every run of diagonals next to each other, None if a lane would have to look beyond its neighbours."""
    rows, lanes = layout.cells.shape
    (row, lane), place = _ends(into, layout), _ends(seen, layout)
    whole = rows * lanes
    apart = (place[1] - lane) * rows + place[0] - row
    apart = (apart + whole // 2) % whole - whole // 2
    if int(np.abs(apart).max()) > rows:
        return None
    used = np.unique(apart)
    table = np.zeros((int(used[-1] - used[0]) + 1, rows, lanes), np.int64)
    if not _filled(table, (apart - used[0], row, lane), weights):
        return None
    runs = np.split(used, np.flatnonzero(np.diff(used) > 1) + 1)
    return [Work("BAND", {"rows": rows, "first": int(run[0]), "diagonals": len(run)},
                 table[run - used[0]].reshape(-1, lanes)) for run in runs]  # fmt: skip


def _blocks(into: Int64, seen: Int64, weights: Int64, layout: Layout) -> list[Work] | None:
    """DENSE for every row of sums, over the rows of activations and the exchanges of lanes that it needs."""
    lanes = layout.cells.shape[1]
    (row, lane), place = _ends(into, layout), _ends(seen, layout)
    works: list[Work] = []
    for target in np.unique(row):
        own = row == target
        exchange, source = lane[own] ^ place[1][own], place[0][own]
        bits, low, high = int(exchange.max()).bit_length(), int(source.min()), int(source.max())
        if bits > _MOST_BITS:
            return None
        table = np.zeros((high - low + 1, 1 << bits, lanes), np.int64)
        if not _filled(table, (source - low, exchange, lane[own]), weights[own]):
            return None
        fields = {"bits": bits, "rows": high - low + 1, "source": low, "sum": int(target)}
        works.append(Work("DENSE", fields, table.reshape(-1, lanes)))
    return works


def _ends(units: Int64, layout: Layout) -> tuple[Int64, Int64]:
    """Row and lane of each unit."""
    at = layout.first[units]
    return at // layout.cells.shape[1], at % layout.cells.shape[1]


def _filled(table: Int64, cells: tuple[Int64, ...], weights: Int64) -> bool:
    """Put weights into their cells; False if two share one, whose sum may need more bits."""
    flat = np.ravel_multi_index(cells, table.shape)
    table.reshape(-1)[flat] = weights
    return len(np.unique(flat)) == len(flat)
