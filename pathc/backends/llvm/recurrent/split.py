"""A recurrent net cut into feed-forward nets, one in front of every cell and one behind the last.

The net in front of a cell ends in one output station per input matrix of its gates: all gates, samples and steps are
one batch of an ordinary net, computed before the time loop begins.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pathc.ir.cells import Cell, cell_of, plain
from pathc.ir.generators import resolve
from pathc.ir.graph import Graph, Line, Station, Visit
from pathc.ir.interp.junctions import tensor_of
from pathc.ir.order import station_order
from pathc.support.diagnostics import PathcError, error

Weights = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, eq=False)
class Segment:
    """A feed-forward net with its weights; `reads` are stations whose rows it takes, side by side in that order.

    `station` is the cell that takes its outputs, "" for the outputs of the whole net. `highway` says whether the last
    output is the highway of an sru.
    """

    graph: Graph
    weights: dict[str, NDArray[Any]]
    reads: tuple[str, ...]
    station: str = ""
    highway: bool = False


def segments_of(graph: Graph, weights: Weights) -> tuple[Segment, ...]:
    """The feed-forward nets of a recurrent one, in the order of computing; raises E0377 for lines that cannot be cut.

    There is none for the outputs where the output station is a cell without activations.
    """
    cutter = _Cutter(graph, weights)
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


@dataclass(eq=False)
class _Cutter:
    graph: Graph
    weights: Weights

    def in_front_of(self, cell: Cell) -> Segment:
        """The net whose outputs a cell takes."""
        station = self.graph.station(cell.station)
        stations, lines, tensors = self._needed([station.name])
        biased = station.stage("bias") is not None
        for k in range(cell.copies):
            side, tap = divmod(k // cell.inputs, cell.window)
            pipeline = tuple(s for s in station.pipeline if s.name == "bias" and tap == 0)
            name = f"{station.name}_{k}"
            stations.append(Station(name, "output", station.shape, pipeline=pipeline, declared=station.declared))
            if biased and tap == 0:
                bias = np.asarray(self.weights[f"{station.name}.bias"]).reshape(cell.bias_copies, station.real_units)
                tensors[f"{name}.bias"] = bias[side * cell.inputs + k % cell.inputs]
            for line, number in self._into(station.name):
                if line.kind == "skip" and (cell.name == "sru" or tap):
                    continue
                self._cut(line, number, name, k if cell.copies > 1 else -1, lines, tensors)
        highway = cell.name == "sru" and any(line.kind == "skip" for line, _ in self._into(station.name))
        if highway:
            name = f"{station.name}_highway"
            stations.append(Station(name, "output", station.shape, declared=station.declared))
            for line, number in self._into(station.name):
                if line.kind == "skip":
                    self._cut(line, number, name, -1, lines, tensors)
        return self._segment(stations, lines, tensors, station.name, highway)

    def outputs(self) -> Segment:
        """The net that ends in the outputs."""
        names = [s.name for s in self.graph.outputs if cell_of(s) is None]
        stations, lines, tensors = self._needed(names)
        for station in self.graph.outputs:
            if cell_of(station) is None:
                stations.append(station)
                self._station(station, lines, tensors)
            else:
                copy = Station(f"{station.name}_out", "output", station.shape, declared=station.declared)
                stations.append(copy)
                here, there = Visit(station.name, 0), Visit(copy.name, 1)
                lines.append(Line(f"{station.name}_out", "skip", (here, there)))
                if station.name not in {s.name for s in stations}:
                    stations.insert(0, _as_input(station))
        return self._segment(stations, lines, tensors, "", False)

    def _segment(
        self, stations: list[Station], lines: list[Line], tensors: dict[str, NDArray[Any]], name: str, highway: bool
    ) -> Segment:
        order = {s.name: i for i, s in enumerate(self.graph.stations)}
        inputs = sorted((s for s in stations if s.role == "input"), key=lambda s: order[s.name])
        rest = [s for s in stations if s.role != "input"]
        title = f"{self.graph.name}_{name or 'outputs'}"
        graph = Graph(title, (*inputs, *rest), tuple(lines), loc=self.graph.loc)
        return Segment(graph, tensors, tuple(s.name for s in inputs), name, highway)

    def _needed(self, ends: list[str]) -> tuple[list[Station], list[Line], dict[str, NDArray[Any]]]:
        """Stations, lines and weights behind `ends`, back to inputs and cells, which become inputs."""
        stations: list[Station] = []
        lines: list[Line] = []
        tensors: dict[str, NDArray[Any]] = {}
        seen = set(ends)
        todo = list(ends)
        while todo:
            for line, number in self._into(todo.pop()):
                name = line.visits[number - 1].station
                if name in seen:
                    continue
                source = self.graph.station(name)
                if source.role == "input" or cell_of(source) is not None:
                    stations.append(_as_input(source))
                else:
                    stations.append(replace(source, role="layer"))
                    self._station(source, lines, tensors)
                    todo.append(name)
                seen.add(name)
        return stations, lines, tensors

    def _station(self, station: Station, lines: list[Line], tensors: dict[str, NDArray[Any]]) -> None:
        """Lines and bias of a feed-forward station."""
        if station.stage("bias") is not None:
            tensors[f"{station.name}.bias"] = np.asarray(self.weights[f"{station.name}.bias"])
        for line, number in self._into(station.name):
            self._cut(line, number, station.name, -1, lines, tensors)

    def _into(self, name: str) -> list[tuple[Line, int]]:
        return [(line, j) for line in self.graph.lines for j in line.junctions if line.visits[j].station == name]

    def _cut(
        self, line: Line, number: int, into: str, copy: int, lines: list[Line], tensors: dict[str, NDArray[Any]]
    ) -> None:
        """One junction as a line of its own that leads into station `into`, with the weights of a copy."""
        name = f"{line.name}_{number}" if copy < 0 else f"{line.name}_{number}_{copy}"
        source, destination = line.visits[number - 1], line.visits[number]
        if line.mirror:
            visits = self.graph.line(line.mirror).visits[::-1]
            source = replace(source, dim=visits[number - 1].dim)
            destination = replace(destination, dim=visits[number].dim)
        origin = self.graph.line(line.mirror) if line.mirror else line
        count = line.count or (origin.count if line.kind == "paths" else 0)
        cut = Line(name, line.kind, (source, replace(destination, station=into)), count, origin.generator, line.sign,
                   scale=line.scale, options=line.options, loc=line.loc)  # fmt: skip
        if line.kind == "paths":
            self._check(line, number, cut, destination)
        if line.kind != "skip":
            values = np.asarray(self.weights[tensor_of(line, number)])
            values = values if copy < 0 else values[copy]
            tensors[f"{name}.1"] = values.T if line.kind == "dense" and line.tied else values
        lines.append(cut)

    def _check(self, line: Line, number: int, cut: Line, destination: Visit) -> None:
        """E0377 unless the paths of the cut line are those of the junction."""
        try:
            whole = resolve(line, self.graph)
            visits = cut.visits[0], replace(destination, dim=cut.visits[1].dim)
            part, n = resolve(replace(cut, visits=visits), self.graph), whole.count
            same = all(np.array_equal(part.units(v, 0, n), whole.units(number - 1 + v, 0, n)) for v in (0, 1))
        except PathcError:
            same = False
        if not same:
            text = f"line `{line.name}` passes through a cell and cannot be cut there"
            help = "its generator knows whole lines only: end the line in the cell, or use Sobol' or random paths"
            raise error("E0377", text, line.loc, help=help)


def _as_input(station: Station) -> Station:
    """An input, or the output of a cell as it is read."""
    if station.role == "input":
        return station
    stages = plain(station).pipeline
    cell = cell_of(station)
    behind = next(i for i, s in enumerate(stages) if cell is not None and s.name == cell.name) + 1
    return replace(station, role="input", pipeline=stages[behind:])
