"""A net in the hands of another library: matrices for its junctions, without silent units, and what lies between."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pathc.driver import Compiled
from pathc.ir.edges import coalesce
from pathc.ir.generators import resolve
from pathc.ir.graph import Graph, Line, Station
from pathc.ir.interp.junctions import tensor_of
from pathc.ir.interp.network import activations_of
from pathc.ir.order import station_order

Values = NDArray[np.float32]
Step = Callable[[Any], Any]


@dataclass(frozen=True)
class Edges:
    """A junction as a list of distinct edges with one weight each; `shape` is (units out, units in), real ones."""

    src: NDArray[np.int64]
    dst: NDArray[np.int64]
    weight: Values
    shape: tuple[int, int]

    def rows(self) -> tuple[NDArray[np.int64], NDArray[np.int64], Values]:
        """As CSR: where the row of each unit out begins, one entry more; units in, in order; weights."""
        order = np.lexsort((self.src, self.dst))
        starts = np.concatenate(([0], np.cumsum(np.bincount(self.dst, minlength=self.shape[0]))))
        return starts.astype(np.int64), self.src[order], self.weight[order]


class Library(Protocol):
    """What a net needs of a library. Activations lie as it likes them: [units, batch], [units] or [batch, units]."""

    def step(self, edges: Edges) -> Step:
        """What multiplies activations by a junction."""
        ...

    def given(self, x: Values) -> Any:
        """Inputs [batch, units] as the library likes them."""
        ...

    def taken(self, values: Any) -> Values:
        """The library's values as [batch, units]."""
        ...

    def bias(self, values: Values, batch: int) -> Any:
        """A bias [units] that adds to the library's values."""
        ...

    def relu(self, values: Any) -> Any:
        """max(0, x), in place if the library can."""
        ...


@dataclass(frozen=True)
class _Stop:
    """A station on the way: what leads into it, its bias, and what happens when it is read."""

    station: Station
    entering: tuple[tuple[str, Step], ...]
    bias: Any
    read: Step


@dataclass(frozen=True)
class Net:
    """A whole net, its inputs and matrices ready."""

    library: Library
    inputs: Mapping[str, Any]
    stops: tuple[_Stop, ...]
    outputs: tuple[str, ...]

    def run(self) -> list[Any]:
        """The outputs, one for each output station, as the library likes them."""
        values: dict[str, Any] = dict(self.inputs)
        for stop in self.stops:
            total: Any = None
            for source, step in stop.entering:
                part = step(values[source])
                total = part if total is None else total + part
            if stop.bias is not None:
                total += stop.bias
            values[stop.station.name] = stop.read(total)
        return [values[name] for name in self.outputs]

    def result(self) -> Values:
        """The outputs as [batch, units], output stations side by side."""
        return np.concatenate([self.library.taken(part) for part in self.run()], axis=1)


def prepare(compiled: Compiled, x: Values, library: Library) -> Net:
    """The net on these inputs [batch, units]; weights of paths that share an edge are added up here."""
    graph = compiled.graph
    inputs: dict[str, Any] = {}
    start = 0
    for station in graph.inputs:
        part = np.ascontiguousarray(x[:, start : start + station.real_units])
        for function in activations_of(station):
            part = np.asarray(function.apply(part.astype(np.float64)), np.float32)
        inputs[station.name] = library.given(part)
        start += station.real_units
    names = [name for name in station_order(graph) if name not in inputs]
    stops = tuple(_stop(compiled, graph.station(name), len(x), library) for name in names)
    return Net(library, inputs, stops, tuple(station.name for station in graph.outputs))


def _stop(compiled: Compiled, station: Station, batch: int, library: Library) -> _Stop:
    graph = compiled.graph
    entering = tuple(
        (line.visits[number - 1].station, _step(compiled, line, number, library))
        for line in graph.lines
        for number in line.junctions
        if line.visits[number].station == station.name
    )
    values = compiled.weights[f"{station.name}.bias"] if station.stage("bias") is not None else None
    bias = None if values is None else library.bias(np.asarray(values, np.float32), batch)
    return _Stop(station, entering, bias, _read(station, library))


def _step(compiled: Compiled, line: Line, number: int, library: Library) -> Step:
    if line.kind == "skip":
        return lambda values: values * line.scale
    return library.step(edges_of(compiled.graph, line, number, compiled.weights))


def _read(station: Station, library: Library) -> Step:
    stages = [stage.name for stage in station.pipeline if stage.name not in ("bias", "identity")]
    if stages == ["relu"]:
        return library.relu
    if not stages:
        return lambda values: values
    functions = activations_of(station)

    def read(total: Any) -> Any:
        values: Any = library.taken(total)
        for function in functions:
            values = function.apply(values)
        return library.given(np.asarray(values, np.float32))

    return read


def edges_of(graph: Graph, line: Line, number: int, weights: Mapping[str, NDArray[Any]]) -> Edges:
    """The distinct edges between real units, with the sums of the weights of their paths."""
    source, destination = (graph.station(visit.station) for visit in line.visits[number - 1 : number + 1])
    values = np.asarray(weights[tensor_of(line, number)], np.float32)
    shape = destination.real_units, source.real_units
    if line.kind == "dense":
        matrix = values.T if line.tied else values
        dst, src = np.indices(shape).reshape(2, -1)
        return Edges(src, dst, np.ascontiguousarray(matrix).reshape(-1), shape)
    edges, place = coalesce(resolve(line, graph), number)
    summed = np.bincount(place, weights=values, minlength=len(edges)).astype(np.float32)
    real = (edges.dst < shape[0]) & (edges.src < shape[1])
    return Edges(edges.src[real], edges.dst[real], summed[real], shape)
