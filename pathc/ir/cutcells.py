"""A net of sequences cut into feed-forward nets: one in front of `steps`, one in front of every cell, one at the end.

The net in front of a cell ends in one output station per input matrix of its gates: all gates, samples and steps are
one batch of an ordinary net, computed before the time loop begins.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from pathc.ir.cells import Cell, cell_of, split_at_cell
from pathc.ir.cut import Cutter, Segment, Weights, own_tensors
from pathc.ir.extents import pooled_extents, read_extents
from pathc.ir.graph import Graph, Line, Station, Visit
from pathc.ir.order import station_order
from pathc.ir.sequences import STEPS, unrolls


def segments_of(graph: Graph, weights: Weights) -> tuple[Segment, ...]:
    """The feed-forward nets of one with sequences, in the order of computing; E0377 for lines that cannot be cut.

    There is none for the outputs where the output station is a cell without activations.
    """
    cutter = _Cutter(graph, weights, _given)
    made = [station for station in graph.stations if unrolls(station)]
    found = [cutter.in_front_of_steps(made)] if made else []
    found += [cutter.in_front_of(cell) for name in station_order(graph) if (cell := cell_of(graph.station(name)))]
    if not ends_in_cell(graph):
        found.append(cutter.outputs())
    return tuple(found)


def ends_in_cell(graph: Graph) -> bool:
    """Whether the only output is a cell's state as it is."""
    last = graph.outputs[0]
    return len(graph.outputs) == 1 and cell_of(last) is not None and not split_at_cell(last)[1].pipeline


class _Cutter(Cutter):
    def in_front_of_steps(self, unrolled: Sequence[Station]) -> Segment:
        """The net whose outputs are whole samples that become steps."""
        ends = [station.name for station in unrolled if station.role != "input"]
        stations, lines, tensors = self.needed(ends)
        for station in unrolled:
            whole = replace(station, pipeline=tuple(stage for stage in station.pipeline if stage.name != STEPS))
            if station.role != "input":
                stations.append(replace(whole, role="output"))
                self.station(whole, lines, tensors)
                continue
            name = self.free(f"{station.name}_whole")
            stations = [whole, *(s for s in stations if s.name != whole.name)]
            tensors |= {tensor: np.asarray(self.weights[tensor]) for tensor in own_tensors(whole)}
            shape = (station.units, *pooled_extents(station))
            stations.append(Station(name, "output", shape, declared=station.declared))
            lines.append(Line(name, "skip", (Visit(station.name, 0), Visit(name, 1))))
        found = self.segment(stations, lines, tensors, "", False)
        return replace(found, unrolled=tuple(station.name for station in unrolled))

    def in_front_of(self, cell: Cell) -> Segment:
        """The net whose outputs a cell takes."""
        station = self.graph.station(cell.station)
        stations, lines, tensors = self.needed([station.name])
        front, _ = split_at_cell(station)
        for k in range(cell.copies):
            side, tap = divmod(k // cell.inputs, cell.window)
            pipeline = tuple(s for s in front.pipeline if s.name != "bias" or tap == 0)
            name = self.free(f"{station.name}_{k}")
            own = Station(name, "output", station.shape, pipeline=pipeline, declared=station.declared)
            stations.append(own)
            for tensor in own_tensors(own):
                kind = tensor.removeprefix(f"{name}.")
                each = np.asarray(self.weights[f"{station.name}.{kind}"]).reshape(cell.bias_copies, station.real_units)
                tensors[tensor] = each[side * cell.inputs + k % cell.inputs]
            for line, number in self.into(station.name):
                if line.kind == "skip" and (cell.name == "sru" or tap):
                    continue
                self.cut(line, number, name, k if cell.copies > 1 else -1, lines, tensors)
        highway = cell.name == "sru" and any(line.kind == "skip" for line, _ in self.into(station.name))
        if highway:
            name = self.free(f"{station.name}_highway")
            stations.append(Station(name, "output", station.shape[:1], declared=station.declared))
            for line, number in self.into(station.name):
                if line.kind == "skip":
                    self.cut(line, number, name, -1, lines, tensors)
        return self.segment(stations, lines, tensors, station.name, highway)


def _given(station: Station) -> Station | None:
    """An input, one step of a station that has become steps, or the output of a cell as it is read; None for others."""
    if unrolls(station):
        return Station(station.name, "input", (station.units, *read_extents(station)), declared=station.declared)
    if station.role == "input":
        return station
    return replace(split_at_cell(station)[1], role="input") if cell_of(station) is not None else None
