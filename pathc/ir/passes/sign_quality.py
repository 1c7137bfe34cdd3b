"""How well a sign rule does its work: balance at the units, rank inside the dense blocks."""

from __future__ import annotations

import numpy as np

from pathc.ir.blocks import path_slots
from pathc.ir.facts import Blocks
from pathc.ir.generators import Generator
from pathc.ir.graph import Line
from pathc.ir.signs import sign_rule

_MAX_SIDE = 256


def imbalance(line: Line, junction: int, generator: Generator) -> tuple[float, float]:
    """Mean of |sum of signs| / paths over the source and the destination units of a junction that have 4 paths."""
    signs = 1.0 - 2.0 * sign_rule(line, junction, generator)(0, generator.count)
    shares: list[float] = []
    for visit in (junction - 1, junction):
        units = generator.units(visit, 0, generator.count)
        paths = np.bincount(units)
        sums = np.abs(np.bincount(units, weights=signs))
        enough = paths >= 4
        shares.append(float((sums[enough] / paths[enough]).mean()) if enough.any() else 0.0)
    return shares[0], shares[1]


def sign_rank(line: Line, blocks: Blocks, generator: Generator) -> int:
    """Rank of the matrix of signs of the first block, of its leading 256 x 256 entries if it is larger."""
    src, dst = generator.affine(blocks.junction - 1), generator.affine(blocks.junction)
    if src is None or dst is None:
        return min(blocks.fan_in, blocks.fan_out)
    minus = sign_rule(line, blocks.junction, generator)(blocks.start, blocks.start + blocks.length)
    slots = path_slots(blocks, src, dst)
    sums = np.bincount(slots, weights=1.0 - 2.0 * minus)
    block = sums[: blocks.fan_in * blocks.fan_out].reshape(blocks.fan_out, blocks.fan_in)
    return int(np.linalg.matrix_rank(block[:_MAX_SIDE, :_MAX_SIDE]))
