"""Which activation every lane reads and which sum it adds to, step by step: the address generators of EX.

Lane m adds to bank m of the accumulators, always. PATH and DENSE read one row of activations and hand lane m what
lies in bank m ^ x; BAND reads one row and hands it what lies in its own bank or in a neighbouring one; TPATH reads a
row per bank and picks a bank per lane.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from pathc.backends.engine.isa.state import ROW_BITS, Int64, State, within
from pathc.ir import gf2
from pathc.support.diagnostics import error

_ROW = (1 << ROW_BITS) - 1
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Steps:
    """Some steps in a row: int64 arrays of shape [steps, lanes], or [steps, 1] where all lanes agree.

    Row and bank that each lane reads, row it adds to, 1 where it adds anything; `clash` [steps] is 1 where the step
    exists only because a bank was asked twice.
    """

    source_row: Int64
    source_bank: Int64
    sum_row: Int64
    valid: Int64
    clash: Int64


def steps_of(state: State, name: str, fields: Mapping[str, int]) -> Iterator[Steps]:
    """The steps of an instruction of EX in pieces of whole holds; rows and diagonals are checked, E1011."""
    per_piece = max(1, _CHUNK // state.machine.lanes // fields["hold"])
    count = _count(name, fields)
    make = {"PATH": _path, "DENSE": _dense, "BAND": _band, "TPATH": _table}[name]
    for start in range(0, count, per_piece):
        yield _held(state, make(state, fields, start, min(per_piece, count - start)), fields)


def _count(name: str, fields: Mapping[str, int]) -> int:
    """Steps of an instruction for one sample."""
    match name:
        case "DENSE":
            return fields["rows"] << fields["bits"]
        case "BAND":
            return fields["rows"] * fields["diagonals"]
        case _:
            return fields["steps"]


def path_rows(state: State, fields: Mapping[str, int], start: int, count: int) -> tuple[Int64, Int64, Int64]:
    """Source row, constant XORed to the lane, and sum row of some steps of PATH, bases left out: int64 [count]."""
    slot = state.slots[fields["slot"]]
    numbers = fields["start"] + start + np.arange(count, dtype=np.int64)
    word = gf2.apply_array([int(column) for column in slot[3:]], numbers) ^ int(slot[0])
    return word & _ROW, word >> (2 * ROW_BITS) & (state.machine.lanes - 1), word >> ROW_BITS & _ROW


def fold_masks(slot: Int64, count: int) -> list[int]:
    """The first `count` of the eight fold masks of a slot."""
    both = int(slot[1]) | int(slot[2]) << 32
    return [both >> 8 * k & 0xFF for k in range(count)]


def _path(state: State, fields: Mapping[str, int], start: int, count: int) -> Steps:
    source, constant, target = path_rows(state, fields, start, count)
    return _wide(state, source, constant, target)


def _dense(state: State, fields: Mapping[str, int], start: int, count: int) -> Steps:
    numbers = start + np.arange(count, dtype=np.int64)
    constant = numbers & ((1 << fields["bits"]) - 1) & (state.machine.lanes - 1)
    return _wide(state, numbers >> fields["bits"], constant, np.zeros_like(numbers))


def _band(state: State, fields: Mapping[str, int], start: int, count: int) -> Steps:
    """One diagonal after the other: row r reads row r + d, which wraps into the bank beside it."""
    rows, first = fields["rows"], fields["first"]
    last = first + fields["diagonals"] - 1
    if first < -rows or last > rows:
        message = f"diagonals {first} .. {last} of {rows} rows are read, where a lane reads -{rows} .. {rows}"
        raise error("E1011", message, help="those of its own bank and of the two beside it")
    numbers = start + np.arange(count, dtype=np.int64)
    target, place = numbers % rows, numbers % rows + numbers // rows + first
    lanes = np.arange(state.machine.lanes, dtype=np.int64)
    bank = (lanes + (place // rows)[:, None]) & (state.machine.lanes - 1)
    one, none = np.ones((count, 1), np.int64), np.zeros(count, np.int64)
    return Steps((place % rows)[:, None], bank, target[:, None], one, none)


def _wide(state: State, source: Int64, constant: Int64, target: Int64) -> Steps:
    lanes = np.arange(state.machine.lanes, dtype=np.int64)
    one, none = np.ones((len(source), 1), np.int64), np.zeros(len(source), np.int64)
    return Steps(source[:, None], lanes ^ constant[:, None], target[:, None], one, none)


def _table(state: State, fields: Mapping[str, int], start: int, count: int) -> Steps:
    tables = state.outside.tables
    word = tables[within("tables", fields["table"] + start, count, len(tables))].astype(np.int64)
    bank = word >> (2 * ROW_BITS) & (state.machine.lanes - 1)
    row = np.take_along_axis(word & _ROW, bank, axis=1)
    return Steps(row, bank, word >> ROW_BITS & _ROW, word >> 30 & 1, (word >> 31 & 1).max(axis=1))


def _held(state: State, steps: Steps, fields: Mapping[str, int]) -> Steps:
    """The same with bases added, every step repeated for each of `hold` samples."""
    hold = fields["hold"]
    sample = np.tile(np.arange(hold, dtype=np.int64), len(steps.clash))[:, None]
    source = np.repeat(steps.source_row, hold, axis=0) + fields["source"] + sample * fields["source_stride"]
    target = np.repeat(steps.sum_row, hold, axis=0) + fields["sum"] + sample * fields["sum_stride"]
    valid = np.repeat(steps.valid, hold, axis=0)
    used = valid != 0
    for what, rows, limit in (
        ("activations", source, state.machine.activation_rows),
        ("accumulators", target, state.machine.accumulator_rows),
    ):
        within(what, int(rows.max(where=used, initial=0)), 1, limit)
    bank, clash = np.repeat(steps.source_bank, hold, axis=0), np.repeat(steps.clash, hold)
    return Steps(np.minimum(source, state.machine.activation_rows - 1), bank,
                 np.minimum(target, state.machine.accumulator_rows - 1), valid, clash)  # fmt: skip
