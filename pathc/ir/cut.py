"""A net cut where kernels of another kind take over: feed-forward nets with inputs in place of what others compute."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pathc.ir.generators import resolve
from pathc.ir.graph import Graph, Line, Station, Visit
from pathc.ir.interp.junctions import tensor_of
from pathc.ir.weights import GAIN, MEAN, SHIFT, VARIANCE
from pathc.support.diagnostics import PathcError, error

Weights = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, eq=False)
class Segment:
    """A feed-forward net with its weights; `reads` are stations whose rows it takes, side by side in that order.

    `station` is the cell that takes its outputs, "" for the outputs of the whole net. `highway` says whether the last
    output is the highway of an sru. `unrolled` are stations of the net whose last extent becomes steps, one for each
    output in order; rows are samples in front of them and steps behind.
    """

    graph: Graph
    weights: dict[str, NDArray[Any]]
    reads: tuple[str, ...]
    station: str = ""
    highway: bool = False
    unrolled: tuple[str, ...] = ()


def own_tensors(station: Station) -> tuple[str, ...]:
    """Names of the tensors of a feed-forward station itself: its bias, and those of its normalization."""
    bias = ("bias",) if station.stage("bias") is not None else ()
    norm = (GAIN, SHIFT, MEAN, VARIANCE) if station.stage("batchnorm") is not None else ()
    return tuple(f"{station.name}.{name}" for name in (*bias, *norm))


@dataclass(eq=False)
class Cutter:
    """Cuts a net at stations that are `given`: those for which it makes an input to put in their place."""

    graph: Graph
    weights: Weights
    given: Callable[[Station], Station | None]

    def outputs(self) -> Segment:
        """The net that ends in the outputs."""
        names = [s.name for s in self.graph.outputs if self.given(s) is None]
        stations, lines, tensors = self.needed(names)
        for station in self.graph.outputs:
            put = self.given(station)
            if put is None:
                stations.append(station)
                self.station(station, lines, tensors)
            else:
                copy = Station(self.free(f"{station.name}_out"), "output", put.shape, declared=put.declared)
                stations.append(copy)
                here, there = Visit(station.name, 0), Visit(copy.name, 1)
                lines.append(Line(f"{station.name}_out", "skip", (here, there)))
                if station.name not in {s.name for s in stations}:
                    stations.insert(0, put)
        return self.segment(stations, lines, tensors, "", False)

    def free(self, name: str) -> str:
        """The name, made longer until no station of the net has it."""
        taken = {station.name for station in self.graph.stations}
        while name in taken:
            name += "_"
        return name

    def segment(
        self, stations: list[Station], lines: list[Line], tensors: dict[str, NDArray[Any]], name: str, highway: bool
    ) -> Segment:
        """The net of these stations and lines; inputs first, as they are declared."""
        order = {s.name: i for i, s in enumerate(self.graph.stations)}
        inputs = sorted((s for s in stations if s.role == "input"), key=lambda s: order[s.name])
        rest = [s for s in stations if s.role != "input"]
        title = f"{self.graph.name}_{name or 'outputs'}"
        graph = Graph(title, (*inputs, *rest), tuple(lines), loc=self.graph.loc)
        return Segment(graph, tensors, tuple(s.name for s in inputs), name, highway)

    def needed(self, ends: list[str]) -> tuple[list[Station], list[Line], dict[str, NDArray[Any]]]:
        """Stations, lines and weights behind `ends`, back to inputs and cells, which become inputs."""
        stations: list[Station] = []
        lines: list[Line] = []
        tensors: dict[str, NDArray[Any]] = {}
        seen = set(ends)
        todo = list(ends)
        while todo:
            for line, number in self.into(todo.pop()):
                name = line.visits[number - 1].station
                if name in seen:
                    continue
                source = self.graph.station(name)
                if (put := self.given(source)) is not None:
                    stations.append(put)
                    tensors |= {tensor: np.asarray(self.weights[tensor]) for tensor in own_tensors(put)}
                else:
                    stations.append(replace(source, role="layer"))
                    self.station(source, lines, tensors)
                    todo.append(name)
                seen.add(name)
        return stations, lines, tensors

    def station(self, station: Station, lines: list[Line], tensors: dict[str, NDArray[Any]]) -> None:
        """Lines, bias and normalization of a feed-forward station."""
        for name in own_tensors(station):
            tensors[name] = np.asarray(self.weights[name])
        for line, number in self.into(station.name):
            self.cut(line, number, station.name, -1, lines, tensors)

    def into(self, name: str) -> list[tuple[Line, int]]:
        """Lines that lead into a station, and the number of the junction."""
        return [(line, j) for line in self.graph.lines for j in line.junctions if line.visits[j].station == name]

    def cut(
        self, line: Line, number: int, into: str, copy: int, lines: list[Line], tensors: dict[str, NDArray[Any]]
    ) -> None:
        """One junction as a line of its own that leads into station `into`, with the weights of a copy."""
        name = f"{line.name}_{number}" if copy < 0 else f"{line.name}_{number}x{copy}"
        source, destination = line.visits[number - 1], line.visits[number]
        if line.mirror:
            visits = self.graph.line(line.mirror).visits[::-1]
            source = _drawn_as(source, visits[number - 1])
            destination = _drawn_as(destination, visits[number])
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
            visits = cut.visits[0], _drawn_as(destination, cut.visits[1])
            part, n = resolve(replace(cut, visits=visits), self.graph), whole.count
            same = all(np.array_equal(part.units(v, 0, n), whole.units(number - 1 + v, 0, n)) for v in (0, 1))
        except PathcError:
            same = False
        if not same:
            text = f"line `{line.name}` passes through `{destination.station}` and cannot be cut there"
            help = "its generator knows whole lines only: end the line there, or use Sobol' or random paths"
            raise error("E0377", text, line.loc, help=help)


def _drawn_as(visit: Visit, other: Visit) -> Visit:
    """A visit of the same station by the dimensions of another one."""
    return replace(visit, dim=other.dim, axes=other.axes)
