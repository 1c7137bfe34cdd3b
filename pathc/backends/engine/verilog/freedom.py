"""Bank freedom as a Verilog property: in no cycle do two lanes ask the same bank, and all ask the same row."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

from pathc.ir.schedule.blocks import End
from pathc.support.diagnostics import error

MOST_LANES = 64
"""Most lanes of a property: it compares every pair of them."""


def bank_freedom(end: End, step_bits: int, name: str = "bank_freedom") -> str:
    """A module of input `step` [step_bits] and outputs `free` (all banks differ) and `one_row` (all rows are equal).

    Every unit is made from the columns of its generator, bit by bit, and nothing of the theorem is assumed: a solver
    that proves `free` for all steps proves it again. Errors: E0350 for more than 64 lanes; ValueError where banks or
    rows are not linear over GF(2).
    """
    lanes = 1 << end.lane_bits
    if lanes > MOST_LANES:
        message = f"bank freedom is stated for every pair of lanes: {lanes} are too many"
        raise error("E0350", message, help=f"use at most {MOST_LANES} lanes")
    linear = end.layout.linear
    if linear is None:
        raise ValueError("the banks are not linear over GF(2)")
    unit_bits = (end.layout.units - 1).bit_length()
    columns = end.units.columns[end.lane_bits : end.lane_bits + step_bits]
    lines = [f"module {name}(input wire [{step_bits - 1}:0] step, output wire free, output wire one_row);"]
    flips = "".join(f" ^ ({{{unit_bits}{{step[{k}]}}}} & {unit_bits}'d{c})" for k, c in enumerate(columns) if c)
    bank_bits, row_bits = _rows(linear[0]), _rows(linear[1])
    for lane in range(lanes):
        lines.append(f"  wire [{unit_bits - 1}:0] unit_{lane} = {unit_bits}'d{end.units(lane)}{flips};")
        lines.append(f"  wire [{len(bank_bits) - 1}:0] bank_{lane} = {_parities(bank_bits, f'unit_{lane}')};")
        lines.append(f"  wire [{max(len(row_bits), 1) - 1}:0] row_{lane} = {_parities(row_bits, f'unit_{lane}')};")
    distinct = [f"(bank_{a} != bank_{b})" for a, b in combinations(range(lanes), 2)]
    same = [f"(row_0 == row_{lane})" for lane in range(1, lanes)]
    lines += [f"  assign free = {_all(distinct)};", f"  assign one_row = {_all(same)};", "endmodule", ""]
    return "\n".join(lines)


def _rows(columns: Sequence[int]) -> list[int]:
    """Rows of a matrix over GF(2), least significant first, as masks of the bits they take."""
    height = max((column.bit_length() for column in columns), default=0)
    return [sum((column >> bit & 1) << k for k, column in enumerate(columns)) for bit in range(height)]


def _parities(masks: Sequence[int], word: str) -> str:
    """The bits that are the parities of a word under masks, most significant first."""
    return "{" + ", ".join(f"^({word} & {mask})" for mask in reversed(masks)) + "}" if masks else "1'b0"


def _all(terms: Sequence[str]) -> str:
    return " && ".join(terms) or "1'b1"
