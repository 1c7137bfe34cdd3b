"""From a quantized graph to a program: layouts, steps, places in the memories, instructions and their tokens.

Within a sample stations follow one another: EX adds up what leads into a station, PP makes activations of it, and EX
goes on. Inputs lie in buffer 0, twice if there are several samples, so that LD works ahead; all else lies in buffer 1.
"""

from __future__ import annotations

from dataclasses import dataclass

from pathc.backends.engine.lower.image import Image, parameters_of
from pathc.backends.engine.lower.sequence import lower_sequences
from pathc.backends.engine.machine import Machine
from pathc.backends.engine.program import Program
from pathc.ir.cells import is_recurrent
from pathc.ir.quantized import IntegerNetwork, IntegerStation

LOADED, SUMMED, ACTIVE, READY, FREE = (1 << kind for kind in range(5))
"""Tokens: LD to EX, EX to PP, PP to EX, PP to ST, EX to LD."""


def lower(network: IntegerNetwork, machine: Machine, samples: int = 1, steps: int = 1) -> Program:
    """The program for a quantized network; for sequences of `steps` steps if it has cells.

    Raises PathcError: E1050 for what the engine cannot do, E1051 for what does not fit into the machine.
    """
    if is_recurrent(network.graph):
        return lower_sequences(network, machine, samples, steps)
    return _Writer(network, machine, samples).program()


@dataclass(frozen=True)
class _Held:
    """Where a station lies: buffer, row of activations, row of sums, and row of its parameters."""

    buffer: int
    row: int
    sums: int
    parameters: int


class _Writer(Image):
    """A program for samples one after the other."""

    def program(self) -> Program:
        self._settings()
        held = {each.station.name: self._held(each) for each in [*self.inputs, *self.others]}
        second = self._second_inputs(self.inputs)
        self.output_rows = 0
        self._load(self.inputs, held, 0, second)
        for sample in range(self.samples):
            if sample + 1 < self.samples:
                self._load(self.inputs, held, sample + 1, second)
            self._sample(self.others, held, sample, second)
        self._put("HALT", "end")
        return self._finished()

    def _held(self, each: IntegerStation) -> _Held:
        plan, name = self.plans[each.station.name], each.station.name
        rows = plan.layout.rows
        if each.station.role == "input":
            return _Held(0, self._take("buffer 0", rows, self.machine.activation_rows, name), 0, 0)
        copies = self.samples if each.station.role == "output" else 1
        sums = self._take("accumulators", rows * copies, self.machine.accumulator_rows, name)
        row = 0
        if each.reading is not None:
            row = self._take("buffer 1", rows * copies, self.machine.activation_rows, name)
        parameters = self._take("parameters", rows, self.machine.parameter_rows, name)
        self.parameters.append(parameters_of(each, plan.layout))
        return _Held(1, row, sums, parameters)

    def _second_inputs(self, inputs: list[IntegerStation]) -> int:
        """Rows from the first to the second set of inputs, 0 if there is only one."""
        if self.samples == 1:
            return 0
        rows = self.used["buffer 0"]
        self._take("buffer 0", rows, self.machine.activation_rows, inputs[0].station.name)
        return rows

    def _load(self, inputs: list[IntegerStation], held: dict[str, _Held], sample: int, second: int) -> None:
        rows = sum(self.plans[each.station.name].layout.rows for each in inputs)
        first = held[inputs[0].station.name].row + (sample % 2) * second
        wait = FREE if sample >= 2 else 0
        self._put("LDA", inputs[0].station.name, row=first, rows=rows, address=sample * rows, wait=wait, post=LOADED)

    def _sample(self, stations: list[IntegerStation], held: dict[str, _Held], sample: int, second: int) -> None:
        readers = [k for k, each in enumerate(stations) if self._reads_input(each)]
        loaded = False
        for number, each in enumerate(stations):
            last_reader = readers and number == readers[-1] and sample + 2 < self.samples
            works = [
                (junction, work) for junction in self.plans[each.station.name].junctions for work in junction.works
            ]
            copy = sample * self.plans[each.station.name].layout.rows if each.station.role == "output" else 0
            for place, (junction, work) in enumerate(works):
                wait = (ACTIVE if number and not place else 0) | (LOADED if not loaded else 0)
                loaded = True
                post = (SUMMED if place == len(works) - 1 else 0) | (
                    FREE if last_reader and place == len(works) - 1 else 0
                )
                source = held[junction.source]
                fields = self._steps(junction, work, self.plans[each.station.name].layout)
                fields["sum"] = fields.get("sum", 0) + held[each.station.name].sums + copy
                fields["source"] = source.row + (sample % 2 * second if not source.buffer else 0)
                self._put("LDW", junction.name, **self._streamed(work, junction.format))
                tokens = {"wait": wait, "post": post, "tag": number % 16}
                self._put(work.name, junction.name, buffer=source.buffer, **fields, **tokens)
            self._activate(each, held[each.station.name], copy, number + 1 < len(stations), number % 16, bool(works))

    def _reads_input(self, each: IntegerStation) -> bool:
        inputs = {station.name for station in self.network.graph.inputs}
        return any(junction.source in inputs for junction in self.plans[each.station.name].junctions)

    def _activate(self, each: IntegerStation, held: _Held, copy: int, more: bool, tag: int, summed: bool) -> None:
        layout, output, name = self.plans[each.station.name].layout, each.station.role == "output", each.station.name
        fields = {"sum": held.sums + copy, "rows": layout.rows, "tag": tag, **self._activated(each, held.parameters)}
        if each.reading is not None:
            fields["row"] = held.row + copy
        post = (ACTIVE if more else 0) | (READY if output else 0)
        self._put("ACT", name, wait=SUMMED if summed else 0, post=post, **fields)
        if output:
            wide = each.reading is None
            row = (held.sums if wide else held.row) + copy
            self._put("STA", name, buffer=0 if wide else 1, row=row, rows=layout.rows, address=self.output_rows,
                      wide=int(wide), wait=READY)  # fmt: skip
            self.output_rows += layout.rows
