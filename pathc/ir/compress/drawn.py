"""What drawing paths from a trained net gives, however the net branches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pathc.ir.graph import Line, Station, Visit
from pathc.ir.types import Call
from pathc.support.diagnostics import error


@dataclass(frozen=True)
class Drawn:
    """Lines of paths, what the files that they name hold, their weights, and `hit` of the net's `total` weights."""

    lines: tuple[Line, ...]
    files: Mapping[str, NDArray[np.int64]]
    tensors: Mapping[str, NDArray[Any]]
    hit: int
    total: int


def explicit(name: str, visits: Sequence[str], count: int, file: str) -> Line:
    """A line of `count` paths whose units stand in a file."""
    places = tuple(Visit(station, number) for number, station in enumerate(visits))
    return Line(name, "paths", places, count, Call("explicit", (("file", file),)))


def no_weights(station: Station, through: NDArray[np.int64], norm: NDArray[np.float64]) -> None:
    """Raise E1313 if paths run through a unit that nothing leads into."""
    stuck = np.flatnonzero((through > 0) & (norm == 0))
    if len(stuck):
        text = f"unit {int(stuck[0])} of `{station.name}` has no weights, so that no path leads into it"
        raise error("E1313", text, station.loc, help="train the net further")
