"""Vectors whose lanes are units anywhere in a row: picked one by one, and stored one by one."""

from __future__ import annotations

from pathc.backends.llvm import vecmath
from pathc.backends.llvm.emit import F32, I64, Function, vector
from pathc.backends.llvm.machine import Machine
from pathc.backends.llvm.plan import Junction, Step


def unit_bits(junction: Junction) -> int:
    """Bits of a packed unit number."""
    return 16 if max(junction.n_src, junction.n_dst) <= 1 << 16 else 32


def _units(f: Function, lanes: int, table: str, bits: int) -> list[str]:
    """Unit numbers as i64, several read at a time."""
    units = list[str]()
    together = 64 // bits
    for first in range(0, lanes, together):
        word = f.load(I64, f.offset(table, first // together, I64), 4)
        for k in range(together):
            moved = f.op("lshr", I64, word, str(bits * k)) if k else word
            units.append(f.op("and", I64, moved, str((1 << bits) - 1)) if k < together - 1 else moved)
    return units


def picked(f: Function, lanes: int, buffer: str, table: str, bits: int) -> str:
    """The units a table names, as a vector; built of fours, which is what one insertion reaches."""
    values = [f.load(F32, f.offset(buffer, unit)) for unit in _units(f, lanes, table, bits)]
    parts = list[str]()
    for first in range(0, lanes, 4):
        part = "poison"
        for k in range(4):
            part = f.assign(f"insertelement <4 x float> {part}, float {values[first + k]}, i64 {k}")
        parts.append(part)
    width = 4
    while len(parts) > 1:
        mask = ", ".join(f"i32 {i}" for i in range(2 * width))
        kind = vector(width)
        parts = [
            f.assign(f"shufflevector {kind} {a}, {kind} {b}, <{2 * width} x i32> <{mask}>")
            for a, b in zip(parts[::2], parts[1::2], strict=True)
        ]
        width *= 2
    return parts[0]


def scatter(f: Function, step: Step, machine: Machine, dst: str, rows: str, bits: int, value: str) -> None:
    """Finish the sums of a slice and store each where its destination lies."""
    lanes = machine.width
    kind = vector(lanes)
    if step.init != "zero":
        value = f.op("fadd", kind, value, picked(f, lanes, "%bias" if step.init == "bias" else dst, rows, bits))
    value = vecmath.apply(f, lanes, value, step.activation, machine)
    for lane, unit in enumerate(_units(f, lanes, rows, bits)):
        f.store(F32, f.assign(f"extractelement {kind} {value}, i64 {lane}"), f.offset(dst, unit))
