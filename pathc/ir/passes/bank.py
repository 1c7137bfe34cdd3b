"""Lay the units of every station out in memories."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, cast

from pathc.ir.facts import Bank as BankFact
from pathc.ir.facts import Order
from pathc.ir.graph import Graph
from pathc.ir.schedule.banks import MapName, check_banks
from pathc.ir.schedule.orders import ordered
from pathc.support.diagnostics import did_you_mean, error


@dataclass(frozen=True)
class Bank:
    """Lay the units of stations that paths visit out in `banks` memories: map = high, low, bank-major or custom.

    high takes the top bits of the unit (floor(u * banks / n)), low is u mod banks, bank-major is high with the
    layer numbered row by row. custom takes masks = 128+64+32+16, one a bit of the bank, which is the parity of the
    unit's bits under the mask. Only `station` is laid out if one is named. Adds a `bank` fact per station; `order`
    facts are counted anew.
    """

    name: ClassVar[str] = "bank"
    banks: int = 16
    map: str = "high"
    masks: str = ""
    station: str = ""

    def __call__(self, graph: Graph) -> Graph:
        """The graph with its `Bank` facts renewed. Errors: E0350, E0352, E0358."""
        masks = _masks(self.masks)
        check_banks(self.banks, self.map, masks)
        visited = [v.station for line in graph.lines if line.kind == "paths" for v in line.visits]
        if self.station and self.station not in visited:
            hint = did_you_mean(self.station, visited) or "banks are for stations that paths visit"
            raise error("E0358", f"no paths visit a station `{self.station}`", graph.loc, help=hint)
        chosen = {self.station} if self.station else set(visited)
        kept = tuple(f for f in graph.facts if not (isinstance(f, BankFact) and f.station in chosen))
        added = tuple(
            BankFact(s.name, self.banks, cast(MapName, self.map), masks, loc=s.loc)
            for s in graph.stations
            if s.name in chosen
        )
        graph = replace(graph, facts=(*kept, *added))
        return replace(graph, facts=tuple(ordered(f, graph) if isinstance(f, Order) else f for f in graph.facts))


def _masks(text: str) -> tuple[int, ...]:
    """The masks of `128+64`, highest bit of the bank first."""
    parts = [part.strip() for part in text.split("+")] if text else []
    if not all(part.isdecimal() and part.isascii() and len(part) <= 10 for part in parts):
        raise error("E0352", f"`{text}` is no list of masks", help="masks = 128+64+32+16")
    return tuple(int(part) for part in reversed(parts))
