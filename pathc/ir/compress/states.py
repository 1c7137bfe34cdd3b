"""What quantization needs to know of recurrent cells: their tensors, what those read, and what is measured."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pathc.ir.cells import Cell, cell_of
from pathc.ir.facts import Recurrent
from pathc.ir.graph import Graph, Station
from pathc.ir.interp.evaluate import Trace
from pathc.ir.interp.junctions import Values
from pathc.ir.types import ScalarType
from pathc.ir.weights import SCALE, Tensors

_ROWS = ("full", "ring", "diag")


@dataclass(frozen=True)
class StateTensor:
    """Hidden-to-hidden weights as quantization sees a junction: a station's state leads into the station itself."""

    tensor: str
    source: str
    destination: str
    destinations: None = None


def state_tensors(station: Station) -> list[StateTensor]:
    """The hidden-to-hidden tensors of a station, none without a cell."""
    cell = cell_of(station)
    return [StateTensor(name, station.name, station.name) for name in cell.tensors] if cell is not None else []


def has_rows(cell: Cell | None) -> bool:
    """Whether the first axis of all tensors into a station is that of its units, so that each may have a scale."""
    return cell is None or (cell.directions == 1 and cell.recur.name in _ROWS)


def read_or_held(trace: Trace, name: str) -> Values:
    """What the integers of a station stand for: what is read from it, or the states of its cell, [rows, units]."""
    return trace.sums[name] if name in trace.cells else trace.values[name]


def recurrent_facts(graph: Graph, tensors: Tensors, kind: ScalarType) -> Iterator[Recurrent]:
    """The formats of the cells whose tensors hold integers of at most 8 bits."""
    for station in graph.stations:
        cell = cell_of(station)
        if cell is not None and all(tensors[name].dtype.name == "int8" for name in cell.tensors):
            per = "unit" if tensors[cell.tensors[0] + SCALE].size > 1 else "tensor"
            yield Recurrent(station.name, kind, per, loc=station.loc)
