"""From a quantized graph to a program: layouts, steps, places in the memories, instructions and their tokens.

Within a sample stations follow one another: EX adds up what leads into a station, PP makes activations of it, and EX
goes on. Inputs lie in buffer 0, twice if there are several samples, so that LD works ahead; all else lies in buffer 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pathc.backends.engine.isa import BY_NAME, Instruction, instruction
from pathc.backends.engine.isa.state import SLOT_WORDS, pack
from pathc.backends.engine.lower.layout import Int64, Layout
from pathc.backends.engine.lower.stations import Plan, plan_of
from pathc.backends.engine.lower.steps import Work
from pathc.backends.engine.machine import FORMATS, SLOTS, Machine
from pathc.backends.engine.program import Port, Program
from pathc.ir.quantized import TABLE, IntegerNetwork, IntegerStation
from pathc.support.diagnostics import PathcError, error

LOADED, SUMMED, ACTIVE, READY, FREE = (1 << kind for kind in range(5))
"""Tokens: LD to EX, EX to PP, PP to EX, PP to ST, EX to LD."""


def lower(network: IntegerNetwork, machine: Machine, samples: int = 1) -> Program:
    """The program for a quantized network.

    Raises PathcError: E1050 for what the engine cannot do, E1051 for what does not fit into the machine.
    """
    return _Writer(network, machine, samples).program()


@dataclass(frozen=True)
class _Held:
    """Where a station lies: buffer, row of activations, row of sums, and row of its parameters."""

    buffer: int
    row: int
    sums: int
    parameters: int


class _Writer:
    """Collects instructions and what they refer to."""

    def __init__(self, network: IntegerNetwork, machine: Machine, samples: int) -> None:
        self.network, self.machine, self.samples = network, machine, samples
        self.plans: dict[str, Plan] = plan_of(network, machine)
        self.code: list[Instruction] = []
        self.places: list[str] = []
        self.place_of: list[int] = []
        self.config: list[int] = []
        self.slots: dict[tuple[int, ...], int] = {}
        self.weights = bytearray()
        self.kept: dict[int, tuple[int, str]] = {}
        self.tables: list[Int64] = []
        self.table_rows = 0
        self.table_at: dict[int, int] = {}
        self.parameters: list[Int64] = []
        self.curves: list[bytes] = []
        self.used = {"buffer 0": 0, "buffer 1": 0, "accumulators": 0, "parameters": 0}
        self.output_rows = 0

    def program(self) -> Program:
        inputs = [each for each in self.network.stations if each.station.role == "input"]
        others = [each for each in self.network.stations if each.station.role != "input"]
        if not inputs or not others:
            raise error("E1050", "the engine needs an input and a station that is none", self.network.graph.loc)
        for each in others:
            for work in self._works(each):
                self._slot(work, self.plans[each.station.name].layout)
            if self.plans[each.station.name].layout.folds:
                self._slot(None, self.plans[each.station.name].layout)
        held = {each.station.name: self._held(each) for each in [*inputs, *others]}
        second = self._second_inputs(inputs)
        self._load(inputs, held, 0, second)
        for sample in range(self.samples):
            if sample + 1 < self.samples:
                self._load(inputs, held, sample + 1, second)
            self._sample(others, held, sample, second)
        self._put("HALT", "end")
        return self._finished(inputs, others)

    def _works(self, each: IntegerStation) -> list[Work]:
        return [work for junction in self.plans[each.station.name].junctions for work in junction.works]

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
        self.parameters.append(_parameters(each, plan.layout))
        return _Held(1, row, sums, parameters)

    def _second_inputs(self, inputs: list[IntegerStation]) -> int:
        """Rows from the first to the second set of inputs, 0 if there is only one."""
        if self.samples == 1:
            return 0
        rows = self.used["buffer 0"]
        self._take("buffer 0", rows, self.machine.activation_rows, inputs[0].station.name)
        return rows

    def _take(self, what: str, rows: int, limit: int, name: str) -> int:
        start = self.used[what]
        self.used[what] = start + rows
        if start + rows > limit:
            message = f"station `{name}` needs {rows} rows of {what}, where {limit - start} of {limit} are free"
            cure = "describe a larger machine, or compile for fewer samples"
            raise error("E1051", message, self.network.station(name).station.loc, help=cure)
        return start

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
                fields = dict(work.fields)
                fields["sum"] = fields.get("sum", 0) + held[each.station.name].sums + copy
                fields["source"] = source.row + (sample % 2 * second if not source.buffer else 0)
                if work.name != "DENSE" or junction.unsigned:
                    fields["unsigned"] = int(junction.unsigned)
                self._stream(work, junction.format, junction.name)
                if work.slot:
                    fields["slot"] = self._slot(work, self.plans[each.station.name].layout)
                if work.name == "TPATH":
                    fields["table"] = self._table(work)
                tokens = {"wait": wait, "post": post, "tag": number % 16}
                self._put(work.name, junction.name, buffer=source.buffer, **fields, **tokens)
            self._activate(each, held[each.station.name], copy, number + 1 < len(stations), number % 16, bool(works))

    def _reads_input(self, each: IntegerStation) -> bool:
        inputs = {station.name for station in self.network.graph.inputs}
        return any(junction.source in inputs for junction in self.plans[each.station.name].junctions)

    def _activate(self, each: IntegerStation, held: _Held, copy: int, more: bool, tag: int, summed: bool) -> None:
        layout, output, name = self.plans[each.station.name].layout, each.station.role == "output", each.station.name
        fields = {"sum": held.sums + copy, "rows": layout.rows, "parameters": held.parameters, "tag": tag}
        if layout.folds:
            fields.update(slot=self._slot(None, layout), fold=len(layout.folds))
        if each.reading is None:
            fields.update(wide=1)
        else:
            fields.update(buffer=1, row=held.row + copy, low=each.reading.low, high=each.reading.high)
            fields.update(curve=self._curve(each.reading.table))
        post = (ACTIVE if more else 0) | (READY if output else 0)
        self._put("ACT", name, wait=SUMMED if summed else 0, post=post, **fields)
        if output:
            wide = each.reading is None
            row = (held.sums if wide else held.row) + copy
            self._put("STA", name, buffer=0 if wide else 1, row=row, rows=layout.rows, address=self.output_rows,
                      wide=int(wide), wait=READY)  # fmt: skip
            self.output_rows += layout.rows

    def _stream(self, work: Work, format: str, name: str) -> None:
        if id(work) not in self.kept:
            self.kept[id(work)] = len(self.weights), format
            self.weights += pack(work.weights, format)
        address, format = self.kept[id(work)]
        self._put("LDW", name, address=address, rows=len(work.weights), format=list(FORMATS).index(format))

    def _table(self, work: Work) -> int:
        if id(work) not in self.table_at:
            self.table_at[id(work)] = self.table_rows
            self.tables.append(work.table)
            self.table_rows += len(work.table)
            if self.table_rows > self.machine.table_rows:
                message = (
                    f"{self.table_rows} rows of schedule tables are needed, the machine has {self.machine.table_rows}"
                )
                raise error("E1051", message, self.network.graph.loc, help="describe a machine with more `table_rows`")
        return self.table_at[id(work)]

    def _curve(self, table: Int64 | None) -> int:
        """The number of a table of an activation, 0 for none; byte b of it is for the value whose byte is b."""
        if table is None:
            return 0
        half = len(table) // 2
        curve = (np.concatenate([table[half:], table[:half]]) & 0xFF).astype(np.uint8).tobytes()
        if curve not in self.curves:
            self.curves.append(curve)
            if len(self.curves) > self.machine.curves:
                message = f"{len(self.curves)} tables of activations are needed, the machine has {self.machine.curves}"
                raise error("E1051", message, self.network.graph.loc, help="describe a machine with more `curves`")
        return self.curves.index(curve) + 1

    def _slot(self, work: Work | None, layout: Layout) -> int:
        """The slot of the constants of a PATH and of the folds behind it; the first use writes its CFG."""
        constants = work.slot if work is not None else ()
        if work is not None and not constants:
            return 0
        masks = sum(mask << 8 * k for k, mask in enumerate(layout.folds))
        words = ((constants or (0,))[0], masks & 0xFFFFFFFF, masks >> 32, *constants[1:])
        key = next((k for k in self.slots if k == words or (work is None and k[1:3] == words[1:3])), words)
        if key not in self.slots:
            number = self.slots[key] = len(self.slots)
            if number >= SLOTS or len(self.config) + len(key) > self.machine.config_words or len(key) > SLOT_WORDS:
                message = f"the net needs more than {number} generator slots or {len(self.config)} words of settings"
                raise error("E1051", message, self.network.graph.loc, help="compile the net in parts")
            self._put("CFG", "settings", slot=number, address=len(self.config), words=len(key))
            self.config += key
        return self.slots[key]

    def _put(self, name: str, place: str, **fields: int) -> None:
        text = self._where(place)
        if text not in self.places:
            self.places.append(text)
        try:
            self.code.append(instruction(BY_NAME[name], **fields))
        except PathcError as reason:
            said = f"{name} for {place}: {reason.diagnostics[0].message}"
            raise error("E1051", said, self.network.graph.loc, help="describe another machine") from None
        self.place_of.append(self.places.index(text))
        if len(self.code) > self.machine.program_words:
            message = f"the program has more than {self.machine.program_words} instructions"
            raise error("E1051", message, self.network.graph.loc, help="compile for fewer samples")

    def _where(self, place: str) -> str:
        graph = self.network.graph
        line = next((line for line in graph.lines if place.startswith(f"{line.name}.")), None)
        found = line or next((station for station in graph.stations if station.name == place), None)
        return f"{place} {found.loc}" if found is not None and found.loc is not None else place

    def _finished(self, inputs: list[IntegerStation], others: list[IntegerStation]) -> Program:
        lanes = self.machine.lanes
        images: list[NDArray[np.int32]] = []
        ports: list[Port] = []
        start = 0
        for each in inputs:
            cells = self.plans[each.station.name].layout.cells
            real = each.station.real_units
            images.append(np.where((cells >= 0) & (cells < real), cells + start, -1).astype(np.int32))
            assert each.format is not None
            ports.append(Port(each.station.name, real, float(each.scale), each.format.low, each.format.high))
            start += real
        at: dict[str, int] = {}
        rows = 0
        for each in others:
            if each.station.role == "output":
                at[each.station.name] = rows
                rows += self.plans[each.station.name].layout.rows
        outputs = [self.network.station(station.name) for station in self.network.graph.outputs]
        positions = [self.plans[o.station.name].layout.first[: o.station.real_units] + at[o.station.name] * lanes
                     for o in outputs]  # fmt: skip
        scales = [o.sum_scale if o.format is None else np.full(o.station.real_units, o.scale) for o in outputs]
        low_high = [(-(1 << 31), (1 << 31) - 1) if o.format is None else (o.format.low, o.format.high) for o in outputs]
        return Program(
            name=self.network.graph.name, machine=self.machine, code=tuple(self.code),
            config=np.array(self.config, np.uint32), weights=bytes(self.weights),
            tables=np.concatenate([np.zeros((0, lanes), np.int64), *self.tables]).astype(np.uint32),
            parameters=np.concatenate([np.zeros((0, lanes, 4), np.int64), *self.parameters]).astype(np.int32),
            curves=np.frombuffer(b"".join(self.curves), np.uint8).reshape(-1, TABLE),
            samples=self.samples, inputs=tuple(ports), input_map=np.concatenate(images),
            outputs=tuple(Port(o.station.name, o.station.real_units, 0.0, low, high, o.format is None)
                          for o, (low, high) in zip(outputs, low_high, strict=True)),
            output_map=np.concatenate(positions).astype(np.int32), output_scales=np.concatenate(scales),
            output_rows=rows, work=sum(plan.work for plan in self.plans.values()),
            places=tuple(self.places), place_of=tuple(self.place_of),
        )  # fmt: skip


def _parameters(each: IntegerStation, layout: Layout) -> Int64:
    """Bias, multipliers and shift where the units lie: int64 [rows, lanes, 4]; zeros at silent units."""
    real = each.station.real_units
    values = np.zeros((real, 4), np.int64)
    values[:, 0] = each.bias[:real]
    if each.reading is not None:
        values[:, 1], values[:, 2], values[:, 3] = each.reading.positive, each.reading.negative, each.reading.shift
    return layout.per_unit(values)
