"""A graph in PyTorch's own operations: for devices and types without compiled kernels, and for `compiled=False`."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch.nn import functional

from pathc.ir.catalogue import options_of
from pathc.ir.graph import Graph, Station
from pathc.ir.interp.junctions import DenseJunction, Junction, PathJunction, SkipJunction, junctions_of
from pathc.ir.order import station_order
from pathc.ir.types import Call


class FallbackWarning(UserWarning):
    """Something other than the compiled kernels is used; the text says what it costs."""


class PlainNet:
    """The meaning of a graph, for tensors of one device and one floating type.

    Every path's product is a number in memory, so a junction takes `n * paths` of them, and autograd keeps them.
    """

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._stations = tuple(graph.station(name) for name in station_order(graph))
        self._into: dict[str, list[Junction]] = {station.name: [] for station in graph.stations}
        for junction in junctions_of(graph):
            self._into[junction.destination].append(junction)
        self._edges: dict[tuple[str, int, torch.device], tuple[torch.Tensor, torch.Tensor]] = {}

    def __call__(self, x: torch.Tensor, weights: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Outputs [n, outputs] of inputs [n, inputs]."""
        inputs: dict[str, torch.Tensor] = {}
        widths = [station.real_units for station in self._graph.inputs]
        for station, part in zip(self._graph.inputs, x.split(widths, dim=1), strict=True):
            inputs[station.name] = _padded(part, station)
        values: dict[str, torch.Tensor] = {}
        for station in self._stations:
            total = inputs.get(station.name)
            if total is None:
                total = x.new_zeros(x.shape[0], station.units)
            if station.stage("bias") is not None:
                total = total + _padded(weights[f"{station.name}.bias"], station)
            for junction in self._into[station.name]:
                total = self._added(total, junction, values[junction.source], weights)
            result = total[:, : station.real_units]
            for stage in station.pipeline:
                result = applied(stage, result)
            values[station.name] = _padded(result, station)
        outputs = [values[s.name][:, : s.real_units] for s in self._graph.outputs]
        return torch.cat(outputs, dim=1)

    def _added(
        self, total: torch.Tensor, junction: Junction, values: torch.Tensor, weights: Mapping[str, torch.Tensor]
    ) -> torch.Tensor:
        """The sums of a station with what a junction brings."""
        if isinstance(junction, PathJunction):
            source, destination = self._paths(junction, total.device)
            return total.index_add(1, destination, values.index_select(1, source) * weights[junction.tensor])
        if isinstance(junction, DenseJunction):
            matrix = weights[junction.tensor].T if junction.transposed else weights[junction.tensor]
            more = functional.linear(values[:, : junction.real[1]], matrix)
            return total + functional.pad(more, (0, junction.padded[0] - junction.real[0]))
        if isinstance(junction, SkipJunction):
            return total + junction.scale * values
        raise TypeError(f"{type(junction).__name__} has no operations")

    def _paths(self, junction: PathJunction, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
        key = f"{junction.source} {junction.destination} {junction.tensor}", junction.number, device
        if key not in self._edges:
            generator, number = junction.generator, junction.number
            ends = (torch.from_numpy(generator.units(v, 0, generator.count)) for v in (number - 1, number))
            source, destination = (end.to(device) for end in ends)
            self._edges[key] = source, destination
        return self._edges[key]


def _padded(values: torch.Tensor, station: Station) -> torch.Tensor:
    """The values of the real units, then zeros at silent ones."""
    silent = station.units - station.real_units
    return functional.pad(values, (0, silent)) if silent else values


def applied(stage: Call, x: torch.Tensor) -> torch.Tensor:
    """An activation of real units [n, units, ...], kinks by the conventions of `pathc.ir.interp.activations`."""
    match stage.name:
        case "bias" | "identity":
            return x
        case "relu":
            return torch.relu(x)
        case "leaky":
            return torch.where(x > 0, x, _number(stage, "slope") * x)
        case "abs":
            return torch.abs(x)
        case "tanh":
            return torch.tanh(x)
        case "sigmoid":
            return torch.sigmoid(x)
        case "softmax":
            return torch.softmax(x, dim=1)
        case "hardtanh":
            return functional.hardtanh(x, _number(stage, "low"), _number(stage, "high"))
        case "kwinners":
            order = torch.sort(x, dim=1, descending=True, stable=True).indices[:, : int(_number(stage, "k"))]
            won = torch.zeros_like(x, dtype=torch.bool).scatter(1, order, True)
            return torch.where(won, x, 0.0)
        case _:
            raise ValueError(f"the stage `{stage.name}` has no operations")


def _number(stage: Call, option: str) -> float:
    value = options_of(stage)[option]
    if not isinstance(value, int | float):
        raise ValueError(f"{stage.name} takes a number as its {option}")
    return float(value)
