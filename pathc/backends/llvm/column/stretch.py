"""One junction, or a fused pair, from a user's array to a user's array, block by block along all samples.

A net of one kernel keeps nothing in tiles. Tiles of columns would take a few cache lines of every unit at a time, whole
pages apart: the prefetcher sees no run, every page is looked up once a tile, and the lines fall into few sets of a
cache. So a block goes through a long stretch of samples before the next one is begun, and every unit is read and
written once, from front to back.
"""

from __future__ import annotations

from dataclasses import dataclass

from pathc.backends.llvm.column import blocks, fused
from pathc.backends.llvm.column.common import Finish, Tile, ends, parameters
from pathc.backends.llvm.emit import I64, Function
from pathc.backends.llvm.machine import Machine
from pathc.backends.llvm.netplan import Load, NetPlan, Save
from pathc.backends.llvm.plan import Step

_LONGEST = 2048
"""Samples from which nothing is gained any more: two pages of each unit."""
_LEAST = 4
"""Tiles in a stretch that pays."""


@dataclass(frozen=True)
class Stretch:
    """How many samples the kernel takes at a time: any multiple of `unit` up to `most`, itself a multiple."""

    unit: int
    most: int


def stretch_of(plan: NetPlan, machine: Machine) -> Stretch | None:
    """How a plan is computed in stretches, or None where it is taken in tiles.

    One kernel of dense blocks has to lead from x to y. Blocks share no source, so only those of one block are read
    again: they stay in a quarter of the second-level cache, or the stretch is too short to pay.
    """
    here = all(op.layout.array for op in plan.ops if isinstance(op, Load | Save))
    if plan.family != "column" or len(plan.runs) != 1 or len(plan.ops) != 3 or not here:
        return None
    step = plan.runs[0].step
    if step.fused is not None:
        group = fused.group_of(step.junction, step.fused)
        heard, vectors = len(group.first_blocks) * group.first.fan_in, 1
    elif step.form == blocks.ColumnBlocks.name and len(step.junction.blocks) == 1:
        (shape,) = blocks.shapes_of(step, machine)
        if step.init == "add" or not blocks.covers(shape.blocks, step.junction.n_dst):
            return None
        heard, vectors = shape.blocks.fan_in, blocks.vectors_beside(machine, shape.destinations)
    else:
        return None
    most = _LONGEST
    while 4 * heard * most > machine.l2 // 4:
        most //= 2
    return Stretch(vectors * machine.width, most) if most >= _LEAST * plan.samples else None


def emit_stretch(step: Step, name: str, machine: Machine, stretch: Stretch) -> Function:
    """The kernel of a step for a stretch of samples; behind the pitches it takes the bytes of a unit's samples, i64."""
    f = Function(name, (*parameters(step), (I64, "bytes")))
    tiles = ends(Tile(machine, stretch.unit, stretch.unit // machine.width, length="%bytes"), step)
    if step.fused is not None:
        fused.write_pair(f, tiles, step)
    else:
        (shape,) = blocks.shapes_of(step, machine)
        blocks.write_window(f, tiles, shape, "%weights", Finish(step.init, step.activation))
    return f
