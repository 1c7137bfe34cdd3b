"""What a junction does to values and gradients, one class per kind of line.

Sums over paths run in the order of the path index, window by window; within a window each unit's sum starts at
zero and takes one path after the other. Everything is float64, values are [batch, units].
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pathc.ir.extents import read_extents, skip_extents
from pathc.ir.filters import dense_sides, filter_of, groups_of
from pathc.ir.generators import Generator, resolve
from pathc.ir.graph import Graph, Line, Station
from pathc.ir.interp.base import Junction, Values
from pathc.ir.interp.filters import FilterJunction, GroupedJunction, PartJunction
from pathc.ir.weights import SCALE, Tensors, tensor_values

_WINDOW = 1 << 16


@dataclass(frozen=True)
class PathJunction(Junction):
    """Junction `number` of a line of paths: one weight per path."""

    tensor: str
    source: str
    destination: str
    generator: Generator
    number: int
    factor: float = 1.0

    def _windows(self) -> Iterator[tuple[slice, NDArray[np.int64], NDArray[np.int64]]]:
        width = max(_WINDOW, *self.generator.sizes[self.number - 1 : self.number + 1])
        for start in range(0, self.generator.count, width):
            stop = min(start + width, self.generator.count)
            source = self.generator.units(self.number - 1, start, stop)
            yield slice(start, stop), source, self.generator.units(self.number, start, stop)

    def push(self, values: Values, weights: Values) -> Values:
        """Sums at the destination, [batch, units of the destination]."""
        sums = np.zeros((len(values), self.generator.sizes[self.number]))
        for paths, source, destination in self._windows():
            _scatter(sums, destination, weights[paths], values, source)
        return sums

    @property
    def destinations(self) -> Callable[[], NDArray[np.int64]]:
        """Gives the unit that each weight leads to, [paths]."""
        return lambda: self.generator.units(self.number, 0, self.generator.count)

    def pull(self, gradient: Values, weights: Values) -> Values:
        """Gradient with respect to the source's values, [batch, units of the source]."""
        sums = np.zeros((len(gradient), self.generator.sizes[self.number - 1]))
        for paths, source, destination in self._windows():
            _scatter(sums, source, weights[paths], gradient, destination)
        return sums

    def weight_gradient(self, values: Values, gradient: Values) -> Values:
        """Gradient with respect to the weights, summed over the batch; [paths]."""
        result = np.zeros(self.generator.count)
        for paths, source, destination in self._windows():
            part = result[paths]
            for row, row_gradient in zip(values, gradient, strict=True):
                part += row[source] * row_gradient[destination]
        return result

    def fan_in(self) -> NDArray[np.int64]:
        """Paths that enter each unit of the destination."""
        units = self.generator.sizes[self.number]
        counts = np.zeros(units, dtype=np.int64)
        for _, _, destination in self._windows():
            counts += np.bincount(destination, minlength=units)
        return counts


def _scatter(sums: Values, into: NDArray[np.int64], weights: Values, values: Values, read: NDArray[np.int64]) -> None:
    """sums[b, into[i]] += weights[i] * values[b, read[i]] for every row b and path i."""
    units = sums.shape[1]
    for total, row in zip(sums, values, strict=True):
        total += np.bincount(into, weights=weights * row[read], minlength=units)


@dataclass(frozen=True)
class DenseJunction(Junction):
    """Every unit to every unit, silent ones left out; `transposed` if it mirrors a dense line with its weights."""

    tensor: str
    source: str
    destination: str
    real: tuple[int, int]
    padded: tuple[int, int]
    transposed: bool = False
    factor: float = 1.0

    def _matrix(self, weights: Values) -> Values:
        return weights.T if self.transposed else weights

    def push(self, values: Values, weights: Values) -> Values:
        """Sums at the destination, [batch, units of the destination]."""
        return widen(values[:, : self.real[1]] @ self._matrix(weights).T, self.padded[0])

    def pull(self, gradient: Values, weights: Values) -> Values:
        """Gradient with respect to the source's values, [batch, units of the source]."""
        return widen(gradient[:, : self.real[0]] @ self._matrix(weights), self.padded[1])

    def weight_gradient(self, values: Values, gradient: Values) -> Values:
        """Gradient with respect to the weights, summed over the batch; shape of the tensor."""
        outer = gradient[:, : self.real[0]].T @ values[:, : self.real[1]]
        return outer.T if self.transposed else outer

    def fan_in(self) -> NDArray[np.int64]:
        """Units of the source, for every real unit of the destination."""
        return np.where(np.arange(self.padded[0]) < self.real[0], self.real[1], 0)


@dataclass(frozen=True)
class SkipJunction(Junction):
    """The values themselves, times a scale."""

    source: str
    destination: str
    units: int
    scale: float
    tensor: str = ""

    def push(self, values: Values, weights: Values) -> Values:
        """Sums at the destination, [batch, units]."""
        return self.scale * values

    def pull(self, gradient: Values, weights: Values) -> Values:
        """Gradient with respect to the source's values, [batch, units]."""
        return self.scale * gradient

    def weight_gradient(self, values: Values, gradient: Values) -> Values:
        """Empty: a skip has no weights."""
        return np.zeros(0)

    def fan_in(self) -> NDArray[np.int64]:
        """One term for every unit."""
        return np.ones(self.units, dtype=np.int64)


def widen(values: Values, units: int) -> Values:
    """The same values [batch, ...] with zeros for silent units behind them, [batch, units]."""
    return values if values.shape[1] == units else np.pad(values, ((0, 0), (0, units - values.shape[1])))


def junctions_of(graph: Graph) -> tuple[Junction, ...]:
    """All junctions of a graph, in the order of its lines.

    Raises PathcError as `pathc.ir.generators.resolve`.
    """
    filled: dict[str, int] = {}
    return tuple(junction for line in graph.lines for junction in _of_line(graph, line, filled))


def junction_values(weights: Tensors, junction: Junction) -> Values:
    """The weights of a junction in float64, times the scale of its line; empty for a skip."""
    if not junction.tensor:
        return np.zeros(0)
    values = tensor_values(weights, junction.tensor, junction.destinations)
    return values if junction.factor == 1.0 else values * junction.factor


def float_tensors(graph: Graph, weights: Tensors) -> dict[str, NDArray[Any]]:
    """The tensors of a graph without scales: integers times their scale as float32, all others as they are."""
    readers = {junction.tensor: junction for junction in junctions_of(graph) if junction.tensor}
    plain = {name: tensor for name, tensor in weights.items() if not name.endswith(SCALE)}
    for name in [name for name in plain if name + SCALE in weights]:
        reader = readers.get(name)
        values = tensor_values(weights, name, None if reader is None else reader.destinations)
        plain[name] = values.astype(np.float32)
    return plain


def tensor_of(line: Line, number: int) -> str:
    """Name of the tensor of junction `number`; a tied line reads that of the junction it mirrors."""
    return f"{line.mirror}.{len(line.visits) - number}" if line.tied else f"{line.name}.{number}"


def size_of(station: Station) -> int:
    """Units that a station sums up, over all positions, silent ones included."""
    return math.prod(station.shape)


def real_size(station: Station) -> int:
    """Units that a station sums up, over all positions, silent ones left out."""
    return station.real_units * math.prod(station.shape[1:])


def real_read_size(station: Station) -> int:
    """Units that are read from a station, over all positions, silent ones left out."""
    return station.real_units * math.prod(read_extents(station))


def read_size(station: Station) -> int:
    """Units that are read from a station, over all positions, silent ones included."""
    return station.units * math.prod(read_extents(station))


def _of_line(graph: Graph, line: Line, filled: dict[str, int]) -> Iterator[Junction]:
    """Junctions of a line; `filled` counts the channels that concatenating stations have been given."""
    names = [visit.station for visit in line.visits]
    generator = resolve(line, graph) if line.kind == "paths" else None
    for number in line.junctions:
        source, destination = graph.station(names[number - 1]), graph.station(names[number])
        if line.kind == "skip":
            yield _skip(line, source, destination, filled)
            continue
        tensor = tensor_of(line, number)
        geometry = filter_of(source, destination)
        channels = destination.units, source.units
        real = destination.real_units, source.real_units
        if generator is not None:
            each: Junction = PathJunction(tensor, source.name, destination.name, generator, number, line.scale)
        elif geometry is not None:
            groups = groups_of(destination)
            each = GroupedJunction(tensor, source.name, destination.name, real, channels, groups, line.scale)
        else:
            sizes = size_of(destination), read_size(source)
            sides = dense_sides(source, destination)
            each = DenseJunction(tensor, source.name, destination.name, sides, sizes, line.tied, line.scale)
        if geometry is None:
            yield each
        else:
            filtered = destination.stage("conv") is not None
            ends = source.name, destination.name
            yield FilterJunction(tensor, *ends, each, geometry, channels, filtered, line.scale)


def _skip(line: Line, source: Station, destination: Station, filled: dict[str, int]) -> Junction:
    if destination.stage("concat") is None:
        size = destination.units * math.prod(skip_extents(destination))
        return SkipJunction(source.name, destination.name, size, line.scale)
    positions = math.prod(destination.shape[1:])
    first = filled.get(destination.name, 0)
    filled[destination.name] = first + source.real_units
    sizes = size_of(destination), read_size(source)
    return PartJunction(
        source.name, destination.name, first * positions, source.real_units * positions, sizes, line.scale
    )
