"""Samples that become sequences: the last extent of what a segment makes, read as time."""

from __future__ import annotations

import math
from collections.abc import Iterator

from pathc.backends.llvm.pieces import Array
from pathc.ir.cut import Segment
from pathc.ir.extents import read_extents


def stepped(segment: Segment, made: Array, steps: int) -> Iterator[tuple[str, Array]]:
    """Every station of a segment that becomes steps, and its part of the rows as a view [samples, steps, units]."""
    start = 0
    for name, station in zip(segment.unrolled, segment.graph.outputs, strict=True):
        units = station.real_units * math.prod(read_extents(station)[:-1])
        whole = made[:, start : start + units * steps].reshape(len(made), units, steps)
        yield name, whole.transpose(0, 2, 1)
        start += units * steps
