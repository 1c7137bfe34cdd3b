"""Which operations of a plan have split factors to choose, and what is tried in place of those that they have."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from typing import Any

from pathc.backends.tvm import gpu_tiles, tensorcore
from pathc.backends.tvm.compiled import AnyTile, Lowered
from pathc.backends.tvm.filters.plan import Filters
from pathc.backends.tvm.filters.tiles import tiles_for as filter_tiles
from pathc.backends.tvm.plan import Blocks, NetPlan, Op
from pathc.backends.tvm.recurrent.plan import CellPlan, Feed
from pathc.backends.tvm.recurrent.tiles import CellTile, changes, tile_of, tiles_for
from pathc.backends.tvm.schedule import Tile, default_tile

Try = Callable[[Any], AnyTile | None]
"""From the best tile so far to the one that is tried in its place, if there is one."""
_REGISTERS = 256
"""Numbers that the vector registers of a processor hold, with room for what is multiplied."""


@dataclass(frozen=True)
class Knob:
    """An operation with split factors: what they are unless it is tuned, what is tried in turn, and what is right.

    `kernel` is the function that computes the operation, perhaps with others.
    """

    name: str
    kernel: str
    default: AnyTile
    tries: tuple[Try, ...]
    sound: Callable[[Any], bool]

    def tile(self, fields: Mapping[str, Any]) -> AnyTile | None:
        """The tile of these fields; None if it is none, or not right."""
        try:
            made = type(self.default)(**{name: int(value) for name, value in fields.items()})
        except (TypeError, ValueError, AttributeError):
            return None
        return made if self.sound(made) else None


def knobs_of(lowered: Lowered, limit: int = 0) -> tuple[Knob, ...]:
    """All of a plan, in its order; `limit` are the bytes of shared memory of a block of threads, 0 for any number."""
    if isinstance(lowered.plan, NetPlan):
        return (*_filters(lowered), *_flat(lowered, lowered.plan))
    found: list[Knob] = []
    for piece in lowered.plan.pieces:
        found += _flat(lowered, piece.plan) if isinstance(piece, Feed) else [_cell(piece, limit)]
    return tuple(found)


def cost(tile: Tile) -> float:
    """Loads for every multiply-add: a weight serves `lanes` samples, a value `rows` destinations; spills cost."""
    sums = tile.rows * tile.lanes
    return (1 / tile.rows + 1 / tile.lanes) * max(1.0, sums / _REGISTERS)


def candidates(plan: NetPlan, most: int = 8) -> list[Tile]:
    """The tiles for a processor that the cost model ranks first, at most so many."""
    lanes = [n for n in (1, 4, 8, 16, 32, 64) if plan.lanes % n == 0]
    return sorted((Tile(rows, wide) for rows, wide in product((1, 2, 4, 8, 16), lanes)), key=cost)[:most]


def fitting(tile: Tile, op: Op) -> Tile | None:
    """The tile if it divides the operation evenly."""
    rows = getattr(op, "fan_out", 1)
    return tile if rows % tile.rows == 0 else None


def _flat(lowered: Lowered, plan: NetPlan) -> Iterator[Knob]:
    """Operations of a flat plan but for those that tensor cores compute, whose tiles are the instruction's."""
    for op in plan.ops:
        if lowered.precision and isinstance(op, Blocks) and tensorcore.fits(plan, op, lowered.precision):
            continue
        if lowered.gpu:
            tries = [partial(gpu_tiles.changed, change, op=op, plan=plan) for change in gpu_tiles.changes()]
            sound = partial(gpu_tiles.sound, op=op, plan=plan)
        else:
            tries = [partial(_instead, fitting(tile, op)) for tile in candidates(plan)]
            sound = partial(_sound, op=op, plan=plan)
        kernel = plan.kernel if plan.fused else op.name
        yield Knob(op.name, kernel, default_tile(op, plan, lowered.gpu), tuple(tries), sound)


def _filters(lowered: Lowered) -> Iterator[Knob]:
    for op in lowered.filters.ops if lowered.filters else ():
        if isinstance(op, Filters):
            known = filter_tiles(op, lowered.gpu, lowered.plan.lanes == 1)
            tries = tuple(partial(_instead, tile) for tile in known)
            yield Knob(op.name, op.name, lowered.default_filter_tile(op), tries, known.__contains__)


def _cell(plan: CellPlan, limit: int) -> Knob:
    known = tiles_for(plan, limit)

    def changed(change: Mapping[str, int], tile: CellTile) -> CellTile | None:
        made = replace(tile, **change)
        return made if made in known else None

    tries = tuple(partial(changed, change) for change in changes(plan))
    return Knob(plan.name, plan.name, tile_of(plan), tries, known.__contains__)


def _instead(tile: AnyTile | None, _: AnyTile) -> AnyTile | None:
    return tile


def _sound(tile: Tile, op: Op, plan: NetPlan) -> bool:
    sizes = tile.rows, tile.lanes, tile.columns, tile.threads
    return all(0 < size <= 1024 for size in sizes) and plan.lanes % tile.lanes == 0 and fitting(tile, op) is not None
