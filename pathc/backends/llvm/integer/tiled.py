"""Sums of many samples as products of tiles, bit for bit those of `columns.emit_mix`."""

from __future__ import annotations

from collections.abc import Sequence

from pathc.backends.llvm.emit import I64, Function, vector
from pathc.backends.llvm.integer.columns import emit_store
from pathc.backends.llvm.integer.plan import Step
from pathc.backends.llvm.integer.reading import Reader
from pathc.backends.llvm.integer.vectors import I8, I32, splat
from pathc.backends.llvm.machine import Machine
from pathc.backends.llvm.tiles import code
from pathc.backends.llvm.tiles.code import PITCH
from pathc.backends.llvm.tiles.panels import Panels, panels_of

_DOT = 2
"""Clock cycles of four sources of a unit as dot products of 64 samples."""
_ARRANGE = 8
"""Clock cycles of bringing four rows of 64 samples into fours."""


def panels_for(step: Step, machine: Machine) -> Panels | None:
    """Panels of a station, where products of tiles cost less than dot products."""
    if not code.tiled(machine, "tdpbsud") or not step.blocks:
        return None
    groups = [group for block in step.blocks for group in block.members]
    panels = panels_of(groups, 1)
    dots = sum(_quads(len(g.columns)) * (_DOT * len(g.rows) + _ARRANGE) for g in groups)
    arranged = sum(_quads(len(panel.columns)) * _ARRANGE for panel in panels.panels)
    return panels if panels.clocks + arranged < dots else None


def _quads(columns: int) -> int:
    return -(-columns // 4)


def emit_reading(name: str, machine: Machine, field: int, reader: Reader | None, *, skipped: bool) -> Function:
    """The kernel `void name(ptr sums, ptr before, ptr to, ptr factors, ptr units, i64 count)`: rows of sums are read.

    `sums` has 64 samples of 32 bits a row, `units` the 32-bit numbers of the units whose rows these are. The rest is
    that of `columns.emit_mix`.
    """
    names = ("sums", "before", "to", "factors", "units")
    f = Function(name, (*(("ptr", each) for each in names), (I64, "count")))
    with f.loop("%count", [("ptr", "%sums")]) as row:
        unit = code.number(f, "%units", row.index)
        totals = _totals(f, machine, row.carried[0], unit, field, skipped=skipped)
        emit_store(f, machine, reader, unit, totals)
        row.following = [f.offset(row.carried[0], PITCH, I8)]
    return f


def _totals(f: Function, machine: Machine, sums: str, unit: str, field: int, *, skipped: bool) -> Sequence[str]:
    """The sums of a unit with what was there before, four vectors."""
    width = machine.width
    size, kind = 4 * width, vector(width, I32)
    if skipped:
        at = f.offset("%before", f.op("mul", I64, unit, str(4 * size)), I8)
        before = [f.load(kind, f.offset(at, size * v, I8), size) for v in range(4)]
    else:
        before = [f.broadcast(width, f.load(I32, f.offset("%before", unit, I32)), I32)] * 4
    found = [f.op("add", kind, f.load(kind, f.offset(sums, size * v, I8), size), before[v]) for v in range(4)]
    return [f.op("ashr", kind, total, splat(8 - field)) for total in found] if field < 8 else found
