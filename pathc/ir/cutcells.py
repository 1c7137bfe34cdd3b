"""A recurrent net cut into feed-forward nets, one in front of every cell and one behind the last.

The net in front of a cell ends in one output station per input matrix of its gates: all gates, samples and steps are
one batch of an ordinary net, computed before the time loop begins.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from pathc.ir.cells import Cell, cell_of, plain
from pathc.ir.cut import Cutter, Segment, Weights
from pathc.ir.graph import Graph, Station
from pathc.ir.order import station_order


def segments_of(graph: Graph, weights: Weights) -> tuple[Segment, ...]:
    """The feed-forward nets of a recurrent one, in the order of computing; raises E0377 for lines that cannot be cut.

    There is none for the outputs where the output station is a cell without activations.
    """
    cutter = _Cutter(graph, weights, _given)
    found = [cutter.in_front_of(cell) for name in station_order(graph) if (cell := cell_of(graph.station(name)))]
    if not ends_in_cell(graph):
        found.append(cutter.outputs())
    return tuple(found)


def ends_in_cell(graph: Graph) -> bool:
    """Whether the only output is a cell's state as it is."""
    last = graph.outputs[0]
    return len(graph.outputs) == 1 and cell_of(last) is not None and plain(last).pipeline[-1:] == _cell_stage(last)


def _cell_stage(station: Station) -> tuple[Any, ...]:
    cell = cell_of(station)
    return tuple(stage for stage in plain(station).pipeline if cell is not None and stage.name == cell.name)


class _Cutter(Cutter):
    def in_front_of(self, cell: Cell) -> Segment:
        """The net whose outputs a cell takes."""
        station = self.graph.station(cell.station)
        stations, lines, tensors = self.needed([station.name])
        biased = station.stage("bias") is not None
        for k in range(cell.copies):
            side, tap = divmod(k // cell.inputs, cell.window)
            pipeline = tuple(s for s in station.pipeline if s.name == "bias" and tap == 0)
            name = self.free(f"{station.name}_{k}")
            stations.append(Station(name, "output", station.shape, pipeline=pipeline, declared=station.declared))
            if biased and tap == 0:
                bias = np.asarray(self.weights[f"{station.name}.bias"]).reshape(cell.bias_copies, station.real_units)
                tensors[f"{name}.bias"] = bias[side * cell.inputs + k % cell.inputs]
            for line, number in self.into(station.name):
                if line.kind == "skip" and (cell.name == "sru" or tap):
                    continue
                self.cut(line, number, name, k if cell.copies > 1 else -1, lines, tensors)
        highway = cell.name == "sru" and any(line.kind == "skip" for line, _ in self.into(station.name))
        if highway:
            name = self.free(f"{station.name}_highway")
            stations.append(Station(name, "output", station.shape, declared=station.declared))
            for line, number in self.into(station.name):
                if line.kind == "skip":
                    self.cut(line, number, name, -1, lines, tensors)
        return self.segment(stations, lines, tensors, station.name, highway)


def _given(station: Station) -> Station | None:
    """An input, or the output of a cell as it is read; None for other stations."""
    if station.role == "input":
        return station
    stages = plain(station).pipeline
    cell = cell_of(station)
    if cell is None:
        return None
    behind = next(i for i, s in enumerate(stages) if s.name == cell.name) + 1
    return replace(station, role="input", pipeline=stages[behind:])
