"""Flat nets in what kernels know: normalizations folded into weights, equations in steps, shortcuts stations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pathc.ir.cut import Cutter, own_tensors
from pathc.ir.folding import entering, folded
from pathc.ir.graph import Graph, Line, Station, Visit
from pathc.ir.interp.expand import integrated, split_at_ode, split_at_shortcut

Weights = Mapping[str, NDArray[Any]]


def simplified(graph: Graph, weights: Weights) -> tuple[Graph, Weights]:
    """The same net, equations unrolled, shortcuts parted, normalizations and scales of lines folded.

    Without these it is the graph as it is. Raises PathcError E0377 for lines that cannot be cut at an equation or a
    shortcut.
    """
    if any(_apart(station) for station in graph.stations):
        graph, weights = _Unroller(graph, weights).unrolled()
    if any(station.stage("batchnorm") is not None for station in graph.stations):
        graph, weights = folded(graph, weights)
    if any(line.kind != "skip" and line.scale != 1.0 for line in graph.lines):
        graph, weights = _unscaled(graph, weights)
    return graph, weights


def uneven(graph: Graph) -> Iterator[Line]:
    """Lines that share weights with another line at another scale."""
    return (line for line in graph.lines if line.tied and line.scale != graph.line(line.mirror).scale)


def _unscaled(graph: Graph, weights: Weights) -> tuple[Graph, Weights]:
    """The scales of lines in their weights; lines that share weights have the same."""
    tensors = dict(weights)
    for line in graph.lines:
        if line.kind != "skip" and line.scale != 1.0 and not line.tied:
            for number in line.junctions:
                name = f"{line.name}.{number}"
                tensors[name] = (np.asarray(tensors[name], np.float64) * line.scale).astype(np.float32)
    lines = tuple(line if line.kind == "skip" else replace(line, scale=1.0) for line in graph.lines)
    return replace(graph, lines=lines), tensors


def _apart(station: Station) -> bool:
    return station.stage("ode") is not None or station.stage("shortcut") is not None


@dataclass(eq=False)
class _Unroller:
    """Makes the steps of equations stations and their lines lines of their own, which share weights in memory.

    Stations with a shortcut become two.
    """

    graph: Graph
    weights: Weights
    stations: list[Station] = field(default_factory=list[Station])
    lines: list[Line] = field(default_factory=list[Line])
    tensors: dict[str, NDArray[Any]] = field(default_factory=dict[str, NDArray[Any]])

    def unrolled(self) -> tuple[Graph, Weights]:
        """The net without equations and shortcuts."""
        self.cutter = Cutter(self.graph, self.weights, lambda _: None)
        solved = {station.name for station in self.graph.stations if _apart(station)}
        cut = {line.name for line in self.graph.lines if solved.intersection(v.station for v in line.visits)}
        cut |= {line.name for line in self.graph.lines if line.mirror in cut}
        cut |= {line.mirror for line in self.graph.lines if line.name in cut and line.mirror}
        kept = {line.name for line in self.graph.lines} - cut
        away = {f"{line.name}.{j}" for line in self.graph.lines if line.name in cut for j in line.junctions}
        self.tensors.update({name: values for name, values in self.weights.items() if name not in away})
        for line in self.graph.lines:
            if line.name in kept:
                self.lines.append(line)
                continue
            for number in line.junctions:
                into = line.visits[number].station
                if into not in solved:
                    self._copy(line, number, line.visits[number - 1].station, into)
        for station in self.graph.stations:
            if station.stage("shortcut") is not None:
                self._part(station)
            elif station.name in solved:
                self._solve(station)
            else:
                self.stations.append(station)
        return replace(self.graph, stations=tuple(self.stations), lines=tuple(self.lines), facts=()), self.tensors

    def _copy(self, line: Line, number: int, source: str, into: str) -> None:
        """A junction as a line of its own between two stations."""
        lines, tensors = list[Line](), dict[str, NDArray[Any]]()
        self.cutter.cut(line, number, line.visits[number].station, -1, lines, tensors)
        name = f"{lines[0].name}_{len(self.lines)}"
        first, second = lines[0].visits
        visits = replace(first, station=source), replace(second, station=into)
        self.lines.append(replace(lines[0], name=name, visits=visits))
        self.tensors.update({f"{name}.1": values for values in tensors.values()})

    def _solve(self, station: Station) -> None:
        rule, stage, behind = split_at_ode(station)
        lines = entering(self.graph, station.name)
        owned = {name: self.tensors.pop(name) for name in own_tensors(rule)}

        def place(name: str, *sources: tuple[str, float]) -> str:
            own = f"{station.name}_{name}"
            self.stations.append(replace(rule, name=own, pipeline=()))
            for source, factor in sources:
                self._skip(source, own, factor)
            return own

        def slope(name: str, point: str) -> str:
            own = f"{station.name}_{name}"
            self.stations.append(replace(rule, name=own))
            for line, number in lines:
                self._copy(line, number, point, own)
            self.tensors.update({f"{own}.{n.partition('.')[2]}": w for n, w in owned.items()})
            return own

        line, number = lines[0]
        state = integrated(stage, line.visits[number - 1].station, place, slope)
        self.stations.append(behind)
        self._skip(state, station.name, 1.0)

    def _part(self, station: Station) -> None:
        front, behind = split_at_shortcut(station)
        own = f"{station.name}_sums"
        for name in own_tensors(front):
            self.tensors[f"{own}.{name.partition('.')[2]}"] = self.tensors.pop(name)
        for line, number in entering(self.graph, station.name):
            into = station.name if line.kind == "skip" else own
            self._copy(line, number, line.visits[number - 1].station, into)
        self.stations.extend((replace(front, name=own), behind))
        self._skip(own, station.name, 1.0)

    def _skip(self, source: str, into: str, scale: float) -> None:
        name = f"{into}_from_{source}"
        self.lines.append(Line(name, "skip", (Visit(source, 0), Visit(into, 1)), scale=scale))
