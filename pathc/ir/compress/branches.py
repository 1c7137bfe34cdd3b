"""Paths through a net that branches: at every station they divide over all that leads into it.

Paths are counted by channel, from the outputs back. A skip takes its share of the paths of a channel on to its source
and stays as it is; the junctions with weights divide the rest, each with a line of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pathc.ir.compress.channels import FilterEdges, filter_edges, unsampled
from pathc.ir.compress.drawn import Drawn, explicit, no_weights
from pathc.ir.compress.montecarlo import sample_groups
from pathc.ir.filters import shuffle_order, taps_of
from pathc.ir.generators.hashing import hash64
from pathc.ir.graph import Graph, Station
from pathc.ir.interp.base import Junction
from pathc.ir.interp.filters import PartJunction
from pathc.ir.interp.junctions import SkipJunction, tensor_of
from pathc.ir.interp.network import Network
from pathc.ir.weights import Tensors

Counts = NDArray[np.int64]


def draw_branches(
    network: Network, weights: Tensors, stations: Mapping[str, tuple[Station, ...]], count: int, stem: str, seed: int
) -> Drawn:
    """A line for every junction with weights, of the paths that take it; skips as they are.

    The files are `<stem>.<line>.npz`.
    """
    graph = network.graph
    _check_skips(graph, stations)
    through = {station.name: np.zeros(station.units, np.int64) for station in graph.stations}
    for station, paths in _started(graph, count).items():
        through[station] += paths
    names = _names(graph)
    lines = {line.name: line for line in graph.lines if line.kind == "skip"}
    files: dict[str, Counts] = {}
    tensors: dict[str, NDArray[Any]] = {}
    hit = total = 0
    for number, station in enumerate(reversed(network.stations)):
        into = network.into[station.name]
        if not into:
            continue
        at = _summed(station, through[station.name])
        every = [_edges(graph, weights, junction) for junction in into]
        hits = _divided(every, at, station, hash64(seed, number))
        first = stations[station.name][0]
        for junction, edges, own in zip(into, every, hits, strict=True):
            through[junction.source] += np.bincount(
                edges.source, weights=own, minlength=len(through[junction.source])
            ).astype(np.int64)
            if not junction.tensor:
                continue
            name = names[junction.tensor, junction.source, junction.destination]
            units, carried = _carried(edges, own, station.units)
            files[f"{stem}.{name}.npz"] = units
            tensors[f"{name}.1"] = carried.reshape(len(carried), *taps_of(first))
            lines[name] = explicit(name, (junction.source, first.name), len(carried), f"{stem}.{name}.npz")
            hit += int(np.count_nonzero(own)) * edges.filters.shape[1]
            total += edges.filters.size
        if len(stations[station.name]) > 1:
            name = f"{station.name}_read"
            each = np.arange(station.real_units)
            files[f"{stem}.{name}.npz"] = np.stack([each, each])
            tensors[f"{name}.1"] = np.ones(len(each), np.float32)
            lines[name] = explicit(name, (first.name, station.name), len(each), f"{stem}.{name}.npz")
    return Drawn(tuple(lines.values()), files, tensors, hit, total)


def _started(graph: Graph, count: int) -> dict[str, Counts]:
    """Paths that start at every unit of every output, in turn."""
    sizes = [station.real_units for station in graph.outputs]
    each = np.bincount(np.arange(count) % sum(sizes), minlength=sum(sizes))
    parts = np.split(each, np.cumsum(sizes)[:-1])
    return {s.name: np.pad(part, (0, s.units - s.real_units)) for s, part in zip(graph.outputs, parts, strict=True)}


def _names(graph: Graph) -> dict[tuple[str, str, str], str]:
    """A name for the line of every junction with weights, by its tensor and its ends."""
    taken = {line.name for line in graph.lines if line.kind == "skip"}
    found: dict[tuple[str, str, str], str] = {}
    for line in graph.lines:
        if line.kind != "skip":
            for number in line.junctions:
                name = line.name if len(line.visits) == 2 else f"{line.name}_{number}"
                while name in taken:
                    name += "_"
                taken.add(name)
                ends = line.visits[number - 1].station, line.visits[number].station
                found[tensor_of(line, number), *ends] = name
    return found


def _summed(station: Station, read: Counts) -> Counts:
    """Paths through each channel as it is summed up, from those through the channels as they are read."""
    for stage in reversed(station.pipeline):
        if stage.name == "channelshuffle":
            order = shuffle_order(stage, station.real_units)
            before = read.copy()
            before[order] = read[: station.real_units]
            read = before
    return read


def _edges(graph: Graph, weights: Tensors, junction: Junction) -> FilterEdges:
    """The edges of a junction; those of a skip join channel by channel with its scale."""
    source = graph.station(junction.source)
    if not isinstance(junction, SkipJunction | PartJunction):
        return filter_edges(graph, weights, junction)
    first = 0
    if isinstance(junction, PartJunction):
        first = junction.first * source.real_units // max(junction.count, 1)
    each = np.arange(source.real_units)
    return FilterEdges(each, each + first, np.full((len(each), 1), junction.scale))


def _divided(every: list[FilterEdges], at: Counts, station: Station, seed: int) -> list[Counts]:
    """How many of the paths through each channel take each edge, by junction."""
    destination = np.concatenate([edges.destination for edges in every])
    sizes = np.concatenate([edges.sizes for edges in every])
    negative = np.concatenate([edges.negative for edges in every])
    norm = np.bincount(destination, sizes, station.units).astype(np.float64)
    no_weights(station, at, norm)
    expected = sizes * np.divide(at, norm, out=np.zeros(station.units), where=norm > 0)[destination]
    hits = sample_groups(expected, destination, "systematic", seed, negative)
    return np.split(hits, np.cumsum([len(edges.destination) for edges in every])[:-1])


def _carried(edges: FilterEdges, hits: Counts, units: int) -> tuple[Counts, NDArray[np.float32]]:
    """Units [2, paths] of the line of a junction, and what its paths carry, [paths, taps].

    A line has a path at least: the first edge, with zeros, where none was taken.
    """
    taken = np.repeat(np.arange(len(hits)), hits)
    if not len(taken):
        ends = np.stack([edges.source[:1], edges.destination[:1]])
        return ends, np.zeros((1, edges.filters.shape[1]), np.float32)
    norm = np.bincount(edges.destination, weights=edges.sizes, minlength=units)
    through = np.bincount(edges.destination[taken], minlength=units)
    scale = (norm / np.maximum(through, 1))[edges.destination[taken]]
    return np.stack([edges.source[taken], edges.destination[taken]]), (edges.parts(taken) * scale[:, None]).astype(
        np.float32
    )


def _check_skips(graph: Graph, stations: Mapping[str, tuple[Station, ...]]) -> None:
    """Raise E1313 if a skip leads from or into a station that paths give other extents."""
    for line in graph.lines:
        for visit in line.visits if line.kind == "skip" else ():
            station = graph.station(visit.station)
            if stations[visit.station][-1].shape != station.shape:
                raise unsampled(station, "a skip joins it, and a line from extents leads into it")
