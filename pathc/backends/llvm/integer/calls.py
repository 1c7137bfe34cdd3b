"""What the functions of integer nets share."""

from __future__ import annotations

from dataclasses import dataclass

from pathc.backends.llvm.integer.plan import Plan
from pathc.backends.llvm.writer import Writer
from pathc.ir.quantized import IntegerStation
from pathc.ir.types import Call


@dataclass
class PlanWriter(Writer):
    """Writes a function of a plan."""

    plan: Plan

    def starts(self) -> dict[str, int]:
        """Where each output begins among the outputs, in floats."""
        found: dict[str, int] = {}
        at = 0
        for each in self.plan.outputs:
            found[each.station.name] = at
            at += each.station.real_units
        return found


def functions_of(station: IntegerStation) -> list[Call]:
    """The functions of an output that is given as sums; one with a format has none left."""
    if station.reading is not None:
        return []
    return [stage for stage in station.station.pipeline if stage.name not in ("bias", "identity")]
