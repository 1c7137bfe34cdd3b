"""Batch normalizations folded into the weights and the bias in front of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pathc.ir.generators import resolve
from pathc.ir.graph import Graph, Line, Station
from pathc.ir.interp.junctions import tensor_of
from pathc.ir.interp.network import norm_of
from pathc.ir.types import Call
from pathc.ir.weights import GAIN, MEAN, SHIFT, VARIANCE, tensor_values

Weights = Mapping[str, NDArray[Any]]
Entering = list[tuple[Line, int]]


def entering(graph: Graph, name: str) -> Entering:
    """The lines into a station, each with the number of its junction there."""
    return [(line, j) for line in graph.lines for j in line.junctions if line.visits[j].station == name]


def unfoldable(graph: Graph) -> Iterator[tuple[Station, str]]:
    """Stations whose normalization can be folded neither into the weights in front nor into those behind, and why."""
    for station in graph.stations:
        if station.stage("batchnorm") is None or _folds_forward(graph, station):
            continue
        if why := _stands(graph, station):
            yield station, why


def _stands(graph: Graph, station: Station) -> str:
    """Where a normalization stands that cannot be folded into the weights in front of it; "" if it can."""
    names = [stage.name for stage in station.pipeline if stage.name not in ("conv", "bias", "identity")]
    parted = "shortcut" in names
    lines = [(line, j) for line, j in entering(graph, station.name) if not parted or line.kind != "skip"]
    if names[0] != "batchnorm":
        return f"behind `{names[0]}`"
    if not lines:
        return "without weights in front of it"
    if any(line.kind == "skip" for line, _ in lines):
        return "behind a skip"
    if any(line.tied or _is_tied(graph, line) for line, _ in lines):
        return "behind weights that two lines share"
    return ""


def _folds_forward(graph: Graph, station: Station) -> bool:
    """Whether what reads a flat station are weights alone, which can take the normalization its pipeline ends in."""
    leaving, last = _leaving(graph, station.name), station.pipeline[-1].name
    plain = len(station.shape) == 1 and station.role != "output"
    return plain and last == "batchnorm" and bool(leaving) and not any(
        line.kind == "skip" or line.tied or _is_tied(graph, line)
        or len((into := graph.station(line.visits[number].station)).shape) > 1 or into.stage("ode") is not None
        for line, number in leaving
    )  # fmt: skip


def _leaving(graph: Graph, name: str) -> Entering:
    return [(line, j) for line in graph.lines for j in line.junctions if line.visits[j - 1].station == name]


def _is_tied(graph: Graph, line: Line) -> bool:
    return any(other.tied and other.mirror == line.name for other in graph.lines)


def folded(graph: Graph, weights: Weights, kept: Iterable[str] = ()) -> tuple[Graph, dict[str, NDArray[Any]]]:
    """The same net with every normalization in the weights and the bias in front of it, or else behind it, float32.

    Normalizations of the stations `kept` stay; all others must be foldable.
    """
    tensors = dict(weights)
    stations: list[Station] = []
    left = set(kept)
    for station in graph.stations:
        stage = station.stage("batchnorm")
        if stage is not None and station.name not in left and _stands(graph, station):
            graph = _folded_forward(graph, station, stage, tensors)
    for station in graph.stations:
        stage = station.stage("batchnorm")
        if stage is None or station.name in left:
            stations.append(station)
            continue
        factor, shift = norm_of(station, stage, tensors).affine()
        for line, number in entering(graph, station.name):
            if line.kind == "skip":
                continue
            name = tensor_of(line, number)
            tensors[name] = _scaled(graph, line, number, np.asarray(tensors[name]), factor)
        biased = station.stage("bias") is not None
        bias = tensor_values(tensors, f"{station.name}.bias") if biased else np.zeros(len(factor))
        tensors[f"{station.name}.bias"] = (shift + bias * factor).astype(np.float32)
        _without_norm(station, tensors)
        conv = tuple(s for s in station.pipeline if s.name == "conv")
        rest = tuple(s for s in station.pipeline if s.name not in ("conv", "bias", "batchnorm"))
        stations.append(replace(station, pipeline=(*conv, Call("bias"), *rest)))
    return replace(graph, stations=tuple(stations)), tensors


def _folded_forward(graph: Graph, station: Station, stage: Call, tensors: dict[str, NDArray[Any]]) -> Graph:
    """A normalization in the weights that read it, and in biases behind these; `tensors` become those of the graph."""
    factor, shift = norm_of(station, stage, tensors).affine()
    changed = {station.name: replace(station, pipeline=station.pipeline[:-1])}
    for line, number in _leaving(graph, station.name):
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
        each = np.repeat(factor, len(values) // len(factor))
    else:
        units = graph.station(line.visits[number].station).units
        generator = resolve(line, graph)
        wide = np.pad(factor, (0, units - len(factor)), constant_values=1.0)
        each = wide[generator.units(number, 0, generator.count)]
    return (values * each.reshape(-1, *(1,) * (values.ndim - 1))).astype(np.float32)
