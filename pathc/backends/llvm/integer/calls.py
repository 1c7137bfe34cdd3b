"""What the functions of integer nets share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pathc.backends.bytewise import offset_of
from pathc.backends.groups import Ids
from pathc.backends.llvm.integer.plan import Plan, Step
from pathc.backends.llvm.integer.reading import emit_translation, emit_winners, table_of
from pathc.backends.llvm.writer import Writer
from pathc.ir.quantized import IntegerStation


@dataclass
class PlanWriter(Writer):
    """Writes a function of a plan."""

    plan: Plan
    weights: Mapping[str, int]
    """Where the weights of each station lie among the parameters, in bytes."""

    def weights_of(self, step: Step) -> str:
        """The address of the weights of a station."""
        return self.f.offset("%params", self.weights[step.station.station.name], "i8")

    def run(self) -> None:
        """One step after the other, outputs from the sums where they are given so, the others in the end."""
        starts = self.starts()
        for step in self.plan.steps:
            self.step(step)
            if step.station.reading is None and step.station.station.name in starts:
                self.give(step.station, starts[step.station.station.name], step)
        for each in self.plan.outputs:
            if each.reading is not None:
                self.give(each, starts[each.station.name], None)

    def step(self, step: Step) -> None:
        """Sum up what leads into a station, and read it."""
        raise NotImplementedError

    def give(self, station: IntegerStation, start: int, step: Step | None) -> None:
        """An output from the sums of a step, or from its bytes; it begins `start` floats behind the first."""
        raise NotImplementedError

    def finish(self, station: IntegerStation, at: str, count: int, places: Ids, samples: int | str) -> None:
        """Look up what is read in a table of `count` bytes, and choose winners, where the station has such functions.

        Unit u of the first sample lies `places[u]` bytes behind `at`.
        """
        reading = station.reading
        if reading is None:
            return
        if reading.table is not None:
            kernel = self.kernels.add("translate", emit_translation, self.plan.machine)
            self.call(kernel, at, self.put(table_of(station, reading)), count)
        if reading.winners and reading.winners < len(places):
            arguments = len(places), reading.winners, offset_of(station)
            kernel = self.kernels.add(("winners", *arguments), emit_winners, *arguments)
            self.call(kernel, at, self.put(places), samples)

    def starts(self) -> dict[str, int]:
        """Where each output begins among the outputs, in floats."""
        found: dict[str, int] = {}
        at = 0
        for each in self.plan.outputs:
            found[each.station.name] = at
            at += each.station.real_units
        return found
