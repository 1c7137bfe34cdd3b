"""Flat nets in what kernels know: normalizations folded into weights, equations in steps, shortcuts stations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pathc.ir.cut import Cutter, own_tensors
from pathc.ir.generators import resolve
from pathc.ir.graph import Graph, Line, Station, Visit
from pathc.ir.interp.expand import integrated, split_at_ode, split_at_shortcut
from pathc.ir.interp.junctions import tensor_of
from pathc.ir.interp.network import norm_of
from pathc.ir.types import Call
from pathc.ir.weights import GAIN, MEAN, SHIFT, VARIANCE, tensor_values

Weights = Mapping[str, NDArray[Any]]
Entering = list[tuple[Line, int]]


def simplified(graph: Graph, weights: Weights) -> tuple[Graph, Weights]:
    """The same net, equations unrolled, shortcuts parted, normalizations and scales of lines folded.

    Without these it is the graph as it is. Raises PathcError E0377 for lines that cannot be cut at an equation or a
    shortcut.
    """
    if any(_apart(station) for station in graph.stations):
        graph, weights = _Unroller(graph, weights).unrolled()
    if any(station.stage("batchnorm") is not None for station in graph.stations):
        graph, weights = _folded(graph, weights)
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


def unfoldable(graph: Graph) -> Iterator[tuple[Station, str]]:
    """Flat stations whose normalization can be folded neither into the weights in front nor into those behind, why."""
    for station in graph.stations:
        if len(station.shape) > 1 or station.stage("batchnorm") is None or _folds_forward(graph, station):
            continue
        if why := _stands(graph, station):
            yield station, why


def _stands(graph: Graph, station: Station) -> str:
    """Where a normalization stands that cannot be folded into the weights in front of it; "" if it can."""
    names = [stage.name for stage in station.pipeline if stage.name not in ("bias", "identity")]
    parted = "shortcut" in names
    entering = [(line, j) for line, j in _into(graph, station.name) if not parted or line.kind != "skip"]
    if names[0] != "batchnorm":
        return f"behind `{names[0]}`"
    if not entering:
        return "without weights in front of it"
    if any(line.kind == "skip" for line, _ in entering):
        return "behind a skip"
    if any(line.tied or _is_tied(graph, line) for line, _ in entering):
        return "behind weights that two lines share"
    return ""


def _folds_forward(graph: Graph, station: Station) -> bool:
    """Whether what reads a station are weights alone, which can take the normalization its pipeline ends in."""
    leaving = _from(graph, station.name)
    last = station.pipeline[-1].name
    return last == "batchnorm" and station.role == "layer" and bool(leaving) and not any(
        line.kind == "skip" or line.tied or _is_tied(graph, line)
        or len((into := graph.station(line.visits[number].station)).shape) > 1 or into.stage("ode") is not None
        for line, number in leaving
    )  # fmt: skip


def _from(graph: Graph, name: str) -> Entering:
    return [(line, j) for line in graph.lines for j in line.junctions if line.visits[j - 1].station == name]


def _into(graph: Graph, name: str) -> Entering:
    return [(line, j) for line in graph.lines for j in line.junctions if line.visits[j].station == name]


def _is_tied(graph: Graph, line: Line) -> bool:
    return any(other.tied and other.mirror == line.name for other in graph.lines)


def _folded(graph: Graph, weights: Weights) -> tuple[Graph, Weights]:
    """Every normalization in the weights and the bias in front of it, or where these cannot take it, behind it."""
    tensors = dict(weights)
    for station in graph.stations:
        stage = station.stage("batchnorm")
        if stage is not None and _stands(graph, station) and _folds_forward(graph, station):
            graph = _folded_forward(graph, station, stage, tensors)
    stations: list[Station] = []
    for station in graph.stations:
        stage = station.stage("batchnorm")
        if stage is None:
            stations.append(station)
            continue
        factor, shift = norm_of(station, stage, tensors).affine()
        for line, number in _into(graph, station.name):
            name = tensor_of(line, number)
            tensors[name] = _scaled(graph, line, number, np.asarray(tensors[name]), factor)
        biased = station.stage("bias") is not None
        bias = tensor_values(tensors, f"{station.name}.bias") if biased else np.zeros(len(factor))
        tensors[f"{station.name}.bias"] = (shift + bias * factor).astype(np.float32)
        _without_norm(station, tensors)
        rest = tuple(s for s in station.pipeline if s.name not in ("bias", "batchnorm"))
        stations.append(replace(station, pipeline=(Call("bias"), *rest)))
    return replace(graph, stations=tuple(stations)), tensors


def _folded_forward(graph: Graph, station: Station, stage: Call, tensors: dict[str, NDArray[Any]]) -> Graph:
    """A normalization in the weights that read it, and in biases behind these; `tensors` become those of the graph."""
    factor, shift = norm_of(station, stage, tensors).affine()
    changed = {station.name: replace(station, pipeline=station.pipeline[:-1])}
    for line, number in _from(graph, station.name):
        name, into = tensor_of(line, number), graph.station(line.visits[number].station)
        into = changed.get(into.name, into)
        values = np.asarray(tensors[name], np.float64)
        if line.kind == "dense":
            tensors[name], added = (values * factor).astype(np.float32), values @ shift
        else:
            generator = resolve(line, graph)
            read, told = (generator.units(number - back, 0, generator.count) for back in (1, 0))
            wide, moved = (np.pad(each, (0, station.units - len(each))) for each in (factor, shift))
            tensors[name] = (values * wide[read]).astype(np.float32)
            added = np.bincount(told, weights=values * moved[read], minlength=into.units)[: into.real_units]
        bias = f"{into.name}.bias"
        before = tensor_values(tensors, bias) if bias in tensors else 0.0
        tensors[bias] = (before + line.scale * added).astype(np.float32)
        if into.stage("bias") is None:
            changed[into.name] = replace(into, pipeline=(Call("bias"), *into.pipeline))
    _without_norm(station, tensors)
    return replace(graph, stations=tuple(changed.get(each.name, each) for each in graph.stations))


def _without_norm(station: Station, tensors: dict[str, NDArray[Any]]) -> None:
    for part in (GAIN, SHIFT, MEAN, VARIANCE):
        del tensors[f"{station.name}.{part}"]


def _scaled(
    graph: Graph, line: Line, number: int, values: NDArray[Any], factor: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Weights times the factor of the unit they lead to; silent units keep theirs, which nobody hears."""
    if line.kind == "dense":
        return (values * factor[:, None]).astype(np.float32)
    units = graph.station(line.visits[number].station).units
    generator = resolve(line, graph)
    wide = np.pad(factor, (0, units - len(factor)), constant_values=1.0)
    return (values * wide[generator.units(number, 0, generator.count)]).astype(np.float32)


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
        entering = _into(self.graph, station.name)
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
            for line, number in entering:
                self._copy(line, number, point, own)
            self.tensors.update({f"{own}.{n.partition('.')[2]}": w for n, w in owned.items()})
            return own

        line, number = entering[0]
        state = integrated(stage, line.visits[number - 1].station, place, slope)
        self.stations.append(behind)
        self._skip(state, station.name, 1.0)

    def _part(self, station: Station) -> None:
        front, behind = split_at_shortcut(station)
        own = f"{station.name}_sums"
        for name in own_tensors(front):
            self.tensors[f"{own}.{name.partition('.')[2]}"] = self.tensors.pop(name)
        for line, number in _into(self.graph, station.name):
            into = station.name if line.kind == "skip" else own
            self._copy(line, number, line.visits[number - 1].station, into)
        self.stations.extend((replace(front, name=own), behind))
        self._skip(own, station.name, 1.0)

    def _skip(self, source: str, into: str, scale: float) -> None:
        name = f"{into}_from_{source}"
        self.lines.append(Line(name, "skip", (Visit(source, 0), Visit(into, 1)), scale=scale))
