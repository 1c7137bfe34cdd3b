"""Which rows of which memories every instruction reads and writes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pathc.backends.engine.isa import Context, Instruction, State, Unit
from pathc.backends.engine.isa.hazards import Hazards, hazards
from pathc.backends.engine.isa.state import within
from pathc.backends.engine.machine import FORMATS
from pathc.backends.engine.program import Program
from pathc.backends.engine.unroll import unrolled


@dataclass(frozen=True)
class Access:
    """Rows low .. high of a memory, written or only read; `port` is what other units cannot use at the same time."""

    memory: str
    low: int
    high: int
    writes: bool
    port: str = ""

    def clashes(self, other: Access) -> bool:
        """Whether the two must not happen in any order."""
        if self.memory != other.memory:
            return False
        shared = self.low <= other.high and other.low <= self.high
        return (shared and (self.writes or other.writes)) or (self.port != "" and self.port == other.port)


def accesses(program: Program) -> list[tuple[Access, ...]]:
    """What every dispatched instruction touches, in the order of dispatch; E1011 for rows that are not there."""
    units = sum(port.units for port in program.inputs)
    state = State(program.machine, program.memories(np.zeros((program.rows, units), np.int64)))
    known: dict[tuple[Instruction, bytes], Hazards] = {}
    found: list[tuple[Access, ...]] = []
    for _, each, context in unrolled(program):
        if each.name == "CFG":
            each.operation.meaning(state, each.fields, context)
        if each.unit is Unit.EX:
            key = each, state.slots[each.fields.get("slot", 0)].tobytes()
            if key not in known:
                known[key] = hazards(state, each)
            found.append(_steps(each, known[key], context))
        else:
            found.append(_others(state, each, context))
    return found


def _buffer(each: Instruction, context: Context) -> str:
    return f"activations {each.fields['buffer'] ^ context.parity}"


def _steps(each: Instruction, found: Hazards, context: Context) -> tuple[Access, ...]:
    reads = Access(_buffer(each, context), *found.sources, False)
    slot = (_slot(each, False),) if each.name == "PATH" else ()
    return (reads, Access("sums", *found.sums, True), *slot)


def _slot(each: Instruction, writes: bool) -> Access:
    number = each.fields["slot"]
    return Access("generator slots", number, number, writes)


def _others(state: State, each: Instruction, context: Context) -> tuple[Access, ...]:
    fields, machine, outside = each.fields, state.machine, state.outside
    match each.name:
        case "CFG":
            return (_slot(each, True),)
        case "LDA":
            start = fields["address"] + context.iteration * fields["stride"]
            within("inputs", start, fields["rows"], len(outside.inputs))
            rows = within("activations", fields["row"], fields["rows"], machine.activation_rows)
            return (Access(_buffer(each, context), rows.start, rows.stop - 1, True, "write"),)
        case "STA":
            start = fields["address"] + context.iteration * fields["stride"]
            within("outputs", start, fields["rows"], outside.outputs)
            limit = machine.accumulator_rows if fields["wide"] else machine.activation_rows
            rows = within("accumulators" if fields["wide"] else "activations", fields["row"], fields["rows"], limit)
            memory = "sums" if fields["wide"] else _buffer(each, context)
            return (Access(memory, rows.start, rows.stop - 1, False),)
        case "LDW":
            size = fields["rows"] * machine.weight_row_bytes(tuple(FORMATS)[fields["format"]])
            within("weights", fields["address"], size, len(outside.weights), "byte")
            return ()
        case "ACT":
            within("parameters", fields["parameters"], fields["rows"], len(outside.parameters))
            within("curves", 0, fields["curve"], len(outside.curves))
            sums = within("accumulators", fields["sum"], fields["rows"], machine.accumulator_rows)
            found = [Access("sums", sums.start, sums.stop - 1, True)]
            if not fields["wide"]:
                rows = within("activations", fields["row"], fields["rows"], machine.activation_rows)
                found.append(Access(_buffer(each, context), rows.start, rows.stop - 1, True, "write"))
            return (*found, _slot(each, False)) if fields["fold"] else tuple(found)
        case _:
            return ()
