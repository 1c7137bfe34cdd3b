"""How many columns go through all layers of a net at a time."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from pathc.backends.llvm.column.common import round_up
from pathc.backends.llvm.machine import Machine

_WIDEST = 64
_SCATTERED = 32


def tile_columns(machine: Machine, sizes: Sequence[int], samples: int = _WIDEST, scattered: bool = False) -> int:
    """Columns of a tile for stations of these sizes, in the order of the net, and a batch of `samples`.

    `scattered` says that paths without block structure read single units all over a station: narrower tiles then
    keep more of it in the first-level cache.

    A power of two of at least 16 columns, so that a unit is a whole cache line and its address a shift. Wide tiles
    reuse weights; they end where two neighbouring stations outgrow a quarter of the second-level
    cache: the user's arrays and the weights pass through it, too.
    """
    pair = 4 * max((a + b for a, b in pairwise(sizes)), default=max(sizes, default=1))
    smallest = max(16, machine.width)
    columns = smallest
    widest = max(smallest, _SCATTERED) if scattered else _WIDEST
    while columns < min(widest, round_up(samples, smallest)) and 2 * columns * pair <= machine.l2 // 4:
        columns *= 2
    return columns
