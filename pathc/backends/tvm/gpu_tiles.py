"""Split factors that can be tried on a GPU: changes of one step each, and which operations they suit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from pathc.backends.tvm.plan import Blocks, NetPlan, Op, Rows
from pathc.backends.tvm.schedule import WARP, Tile

Change = Mapping[str, int]
"""Fields of a tile with what they become."""
_SUMS = 64
"""Sums in registers of a thread at most."""
_STAGED_BYTES = 64 * 1024
_THREADS = 1024
_VECTORS = (1, 2, 4)


def changes() -> Iterator[Change]:
    """Sums of a thread first, which decide how often a value is loaded; then what is staged, and blocks of threads."""
    shapes = [(rows, lanes) for rows in (1, 2, 4, 8, 16, 32) for lanes in _VECTORS if rows * lanes <= _SUMS]
    for rows, lanes in sorted(shapes, key=lambda shape: (1 / shape[0] + 1 / shape[1], shape)):
        yield {"rows": rows, "lanes": lanes}
    for columns in (8, 16, 32, 64):
        yield {"columns": columns}
    for threads in (64, 128, 256, 512):
        yield {"threads": threads}


def changed(change: Change, tile: Tile, op: Op, plan: NetPlan) -> Tile | None:
    """The tile with a change, if the operation can be computed so and the change matters to it."""
    matters = {"threads"} if not plan.fused else set[str]()
    if isinstance(op, Blocks):
        matters |= {"rows", "lanes"} | ({"columns"} if _staged(plan) else set[str]())
    elif isinstance(op, Rows) and op.form == "ell":
        matters |= {"lanes"}
    made = replace(tile, **{key: value for key, value in change.items() if key in matters})
    return made if made != tile and sound(made, op, plan) else None


def sound(tile: Tile, op: Op, plan: NetPlan) -> bool:
    """Whether a kernel with this tile is right, and fits registers and shared memory of every GPU."""
    if min(tile.rows, tile.lanes, tile.columns, tile.threads) < 1 or tile.threads > _THREADS:
        return False
    if tile.lanes not in _VECTORS or plan.lanes % tile.lanes or tile.rows * tile.lanes > _SUMS:
        return False
    if not isinstance(op, Blocks):
        return tile.rows == 1
    if op.fan_out % tile.rows:
        return False
    if not _staged(plan):
        return True
    wide = plan.lanes // tile.lanes
    return (
        (wide >= WARP or tile.lanes == 1)
        and op.fan_in % tile.columns == 0
        and 4 * plan.lanes * tile.columns * max(1, tile.threads // wide) <= _STAGED_BYTES
    )


def _staged(plan: NetPlan) -> bool:
    """Whether sources of blocks are staged in shared memory."""
    return not plan.fused and plan.lanes >= WARP
