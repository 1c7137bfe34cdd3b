"""All instructions: opcode, unit, fields, cycles, meaning."""

from __future__ import annotations

from collections.abc import Mapping

from pathc.backends.engine.isa import meaning
from pathc.backends.engine.isa.state import ROW_BITS, SLOT_WORDS
from pathc.backends.engine.isa.word import Field, Operation, Timing, Unit
from pathc.backends.engine.machine import FORMATS, MAX_CURVES, Machine

ISA_VERSION = 2
"""Changes with every change of an encoding, a meaning or a number of cycles."""
DRAIN = 2
"""Cycles from the issue of a step until its sum is written: multiply, add."""

Fields = Mapping[str, int]


def _one(machine: Machine, fields: Fields) -> Timing:
    return Timing(1)


def _configure(machine: Machine, fields: Fields) -> Timing:
    return Timing(fields["words"])


def _load(machine: Machine, fields: Fields) -> Timing:
    return Timing(fields["rows"], machine.row_interval, lead=machine.memory_latency)


def _store(machine: Machine, fields: Fields) -> Timing:
    interval = machine.row_interval * (4 if fields["wide"] else 1)
    return Timing(fields["rows"], interval, tail=machine.memory_latency)


def _stream(machine: Machine, fields: Fields) -> Timing:
    interval = machine.weight_interval(tuple(FORMATS)[fields["format"]])
    return Timing(fields["rows"], interval, lead=machine.weight_latency, pushes=fields["rows"])


def _path(machine: Machine, fields: Fields) -> Timing:
    steps = fields["steps"]
    return Timing(steps * fields["hold"], tail=DRAIN, hold=fields["hold"], pops=steps)


def _table(machine: Machine, fields: Fields) -> Timing:
    steps = fields["steps"]
    return Timing(steps * fields["hold"], lead=1, tail=DRAIN, hold=fields["hold"], pops=steps)


def _dense(machine: Machine, fields: Fields) -> Timing:
    steps = fields["rows"] << fields["bits"]
    return Timing(steps * fields["hold"], tail=DRAIN, hold=fields["hold"], pops=steps)


def _band(machine: Machine, fields: Fields) -> Timing:
    steps = fields["rows"] * fields["diagonals"]
    return Timing(steps * fields["hold"], tail=DRAIN, hold=fields["hold"], pops=steps)


def _activate(machine: Machine, fields: Fields) -> Timing:
    return Timing(fields["rows"], 1 + fields["fold"], tail=2 + (fields["curve"] > 0))


def _row(name: str, what: str) -> Field:
    return Field(name, ROW_BITS, what)


def _count(name: str, bits: int, what: str) -> Field:
    return Field(name, bits, what, least=1)


_BUFFER = Field("buffer", 1, "activation buffer, before SWAP")
_ROWS = _count("rows", ROW_BITS + 1, "number of rows")
READ = (
    _BUFFER,
    Field("unsigned", 1, "1 if activations are 0 .. 255, 0 if they are -128 .. 127"),
    Field("rectify", 1, "1 to read negative activations as 0"),
    _row("source", "first activation row"),
    _row("sum", "first accumulator row"),
    _count("hold", 4, "samples that use each row of weights, one a step"),
    _row("source_stride", "activation rows from one sample to the next"),
    _row("sum_stride", "accumulator rows from one sample to the next"),
)
"""What all instructions of EX end with."""
_OUTSIDE = (
    Field("address", 24, "first row outside"),
    Field("stride", 20, "rows outside from one round of the loop to the next"),
)

OPERATIONS = (
    Operation("HALT", 1, Unit.CTL, "wait until all units are done, and end", (), _one, meaning.control),
    Operation("SYNC", 2, Unit.CTL, "wait until all units are done", (), _one, meaning.control),
    Operation("SWAP", 3, Unit.CTL, "exchange the two activation buffers for all that follows", (), _one,
              meaning.control),
    Operation("LOOP", 4, Unit.CTL, "repeat the instructions before it",
              (_count("length", 12, "how many instructions"), _count("count", 16, "rounds in all")), _one,
              meaning.control),
    Operation("CFG", 5, Unit.CTL, "fill a generator slot from the settings",
              (Field("slot", 4, "generator slot"), Field("address", 12, "first word of the settings"),
               Field("words", 5, "words; what is left of the slot is zero", 1, SLOT_WORDS)), _configure,
              meaning.configure),
    Operation("LDA", 8, Unit.LD, "load activations from outside",
              (_BUFFER, _row("row", "first activation row"), _ROWS, *_OUTSIDE), _load, meaning.load),
    Operation("STA", 9, Unit.ST, "store activations, or sums, outside",
              (_BUFFER, _row("row", "first row"), _ROWS, *_OUTSIDE,
               Field("wide", 1, "1 for accumulator rows, 32 bits a lane")), _store, meaning.store),
    Operation("LDW", 10, Unit.WS, "stream weights into the FIFO",
              (Field("address", 32, "first byte"), _count("rows", 24, "rows of one weight a lane"),
               Field("format", 2, "0 i8, 1 i4, 2 t2", 0, len(FORMATS) - 1)), _stream, meaning.stream),
    Operation("PATH", 12, Unit.EX, "paths whose addresses a generator slot makes",
              (Field("slot", 4, "generator slot"), Field("start", 24, "first step number"),
               _count("steps", 24, "number of steps"), *READ), _path, meaning.accumulate("PATH")),
    Operation("TPATH", 13, Unit.EX, "paths whose addresses stand in a table",
              (Field("table", 20, "first table row"), _count("steps", 24, "number of steps"), *READ), _table,
              meaning.accumulate("TPATH")),
    Operation("DENSE", 14, Unit.EX, "all activations of some rows into one row of sums",
              (Field("bits", 4, "each row is read 2^bits times, lane m from bank m ^ 0, 1, ...", 0, 8), _ROWS, *READ),
              _dense, meaning.accumulate("DENSE")),
    Operation("BAND", 15, Unit.EX, "diagonals of a square matrix, unit = lane * rows + row at both ends",
              (_ROWS, Field("first", 12, "first diagonal: unit that is read minus unit that is added to", signed=True),
               _count("diagonals", 12, "number of diagonals"), *READ), _band, meaning.accumulate("BAND")),
    Operation("ACT", 16, Unit.PP, "fold, bias, requantize, clamp, look up; clears the sums",
              (Field("slot", 4, "generator slot of the fold masks"), Field("fold", 4, "masks to fold by", 0, 8),
               _row("sum", "first accumulator row"), _ROWS,
               Field("wide", 1, "1 to put the sums back into their rows instead of requantizing"), _BUFFER,
               _row("row", "first activation row"), Field("parameters", 12, "first row of the parameters"),
               Field("low", 9, "least value", signed=True), Field("high", 9, "largest value", signed=True),
               Field("curve", 4, "table in which a value finds another one, from 1; 0 for none", 0, MAX_CURVES)),
              _activate, meaning.activate),
)  # fmt: skip
"""Every instruction, by opcode."""
BY_CODE = {operation.code: operation for operation in OPERATIONS}
BY_NAME = {operation.name: operation for operation in OPERATIONS}
