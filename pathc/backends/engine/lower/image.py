"""What a program is collected in while a net is lowered: instructions, and all that they refer to."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pathc.backends.engine.isa import BY_NAME, Instruction, instruction
from pathc.backends.engine.isa.state import SLOT_WORDS, pack
from pathc.backends.engine.lower.layout import Int64, Layout
from pathc.backends.engine.lower.stations import Junction, Plan, plan_of
from pathc.backends.engine.lower.steps import Work
from pathc.backends.engine.machine import FORMATS, SLOTS, Machine
from pathc.backends.engine.program import Port, Program
from pathc.ir.quantized import TABLE, IntegerNetwork, IntegerStation
from pathc.support.diagnostics import PathcError, error


class Image:
    """Instructions with their places, and the memories they refer to; errors are E1050 and E1051 as of `lower`."""

    def __init__(self, network: IntegerNetwork, machine: Machine, samples: int) -> None:
        self.network, self.machine, self.samples = network, machine, samples
        self.plans: dict[str, Plan] = plan_of(network, machine)
        self.inputs = [each for each in network.stations if each.station.role == "input"]
        self.others = [each for each in network.stations if each.station.role != "input"]
        if not self.inputs or not self.others:
            raise error("E1050", "the engine needs an input and a station that is none", network.graph.loc)
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

    def _settings(self) -> None:
        """All generator slots, before anything else."""
        for each in self.others:
            plan = self.plans[each.station.name]
            for work in plan.works:
                self._slot(work, plan.layout)
            if plan.layout.folds:
                self._slot(None, plan.layout)

    def _take(self, what: str, rows: int, limit: int, name: str) -> int:
        start = self.used[what]
        self.used[what] = start + rows
        if start + rows > limit:
            message = f"station `{name}` needs {rows} rows of {what}, where {limit - start} of {limit} are free"
            cure = "describe a larger machine, or compile for fewer samples"
            raise error("E1051", message, self.network.station(name).station.loc, help=cure)
        return start

    def _streamed(self, work: Work, format: str) -> dict[str, int]:
        """The fields of the LDW that brings the weights of an instruction."""
        if id(work) not in self.kept:
            self.kept[id(work)] = len(self.weights), format
            self.weights += pack(work.weights, format)
        address, format = self.kept[id(work)]
        return {"address": address, "rows": len(work.weights), "format": list(FORMATS).index(format)}

    def _steps(self, junction: Junction, work: Work, layout: Layout) -> dict[str, int]:
        """The fields of an instruction of EX that do not depend on where stations lie."""
        fields = {**work.fields, "unsigned": int(junction.unsigned), "rectify": int(junction.rectify)}
        if work.slot:
            fields["slot"] = self._slot(work, layout)
        if work.name == "TPATH":
            fields["table"] = self._table(work)
        return fields

    def _activated(self, each: IntegerStation, parameters: int) -> dict[str, int]:
        """The fields of an ACT that do not depend on where its station lies; wide for a station given as sums."""
        layout = self.plans[each.station.name].layout
        fields = {"parameters": parameters}
        if layout.folds:
            fields.update(slot=self._slot(None, layout), fold=len(layout.folds))
        if each.reading is None:
            return {**fields, "wide": 1}
        curve = self._curve(each.reading.table)
        return {**fields, "buffer": 1, "low": each.reading.low, "high": each.reading.high, "curve": curve}

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
        self._append(*self._made(name, place, **fields))

    def _made(self, name: str, place: str, **fields: int) -> tuple[Instruction, int]:
        """An instruction, and the number of its place."""
        text = self._where(place)
        if text not in self.places:
            self.places.append(text)
        try:
            return instruction(BY_NAME[name], **fields), self.places.index(text)
        except PathcError as reason:
            said = f"{name} for {place}: {reason.diagnostics[0].message}"
            raise error("E1051", said, self.network.graph.loc, help="describe another machine") from None

    def _append(self, each: Instruction, place: int) -> None:
        self.code.append(each)
        self.place_of.append(place)
        if len(self.code) > self.machine.program_words:
            message = f"the program has more than {self.machine.program_words} instructions"
            raise error("E1051", message, self.network.graph.loc, help="compile for fewer samples")

    def _where(self, place: str) -> str:
        graph = self.network.graph
        line = next((line for line in graph.lines if place.startswith(f"{line.name}.")), None)
        stations = (s for s in graph.stations if place == s.name or place.startswith(f"{s.name}.recurrent."))
        found = line or next(stations, None)
        return f"{place} {found.loc}" if found is not None and found.loc is not None else place

    def _finished(self, steps: int = 0, lockstep: int = 1) -> Program:
        lanes = self.machine.lanes
        images: list[NDArray[np.int32]] = []
        ports: list[Port] = []
        start = 0
        for each in self.inputs:
            cells = self.plans[each.station.name].layout.cells
            real = each.station.real_units
            images.append(np.where((cells >= 0) & (cells < real), cells + start, -1).astype(np.int32))
            assert each.format is not None
            ports.append(Port(each.station.name, real, float(each.scale), each.format.low, each.format.high))
            start += real
        at: dict[str, int] = {}
        rows = 0
        for each in self.others:
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
            output_rows=rows, work=self._work(steps), steps=steps, lockstep=lockstep,
            places=tuple(self.places), place_of=tuple(self.place_of),
        )  # fmt: skip

    def _work(self, steps: int) -> int:
        """Multiplications of a sample; a sequence begins without a state."""
        plans = self.plans.values()
        return sum(plan.work * max(steps, 1) + plan.recurrent_work * max(steps - 1, 0) for plan in plans)


def parameters_of(each: IntegerStation, layout: Layout) -> Int64:
    """Bias, multipliers and shift where the units lie: int64 [rows, lanes, 4]; zeros at silent units."""
    real = each.station.real_units
    values = np.zeros((real, 4), np.int64)
    values[:, 0] = each.bias[:real]
    if each.reading is not None:
        values[:, 1], values[:, 2], values[:, 3] = each.reading.positive, each.reading.negative, each.reading.shift
    return layout.per_unit(values)
