"""Paths through a chain of stations, each from the input to the output."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pathc.ir.compress.channels import FilterEdges, filter_edges
from pathc.ir.compress.drawn import Drawn, explicit, no_weights
from pathc.ir.compress.montecarlo import sample_groups
from pathc.ir.filters import taps_of
from pathc.ir.generators.hashing import hash64
from pathc.ir.graph import Graph, Station
from pathc.ir.interp.base import Junction
from pathc.ir.weights import Tensors

LINE = "sampled"


def draw_chain(
    graph: Graph,
    weights: Tensors,
    chain: Sequence[Junction],
    stations: Mapping[str, tuple[Station, ...]],
    count: int,
    file: str,
    seed: int,
) -> Drawn:
    """One line of `count` paths through `stations` in place of those of a chain."""
    last = graph.station(chain[-1].destination)
    at = np.arange(count) % last.real_units
    visits, visited, carried = [last.name], [at], list[NDArray[np.float32]]()
    if len(stations[last.name]) > 1:
        # All paths of an output together hand on what stands in front of it.
        visits.append(stations[last.name][0].name)
        visited.append(at)
        carried.append((1.0 / np.bincount(at)[at]).astype(np.float32))
    hit = total = 0
    for number in range(len(chain), 0, -1):
        junction = chain[number - 1]
        station, edges = graph.station(junction.destination), filter_edges(graph, weights, junction)
        at, values, used = _step(edges, at, station, hash64(seed, number))
        visits.append(junction.source)
        visited.append(at)
        carried.append(values.reshape(count, *taps_of(stations[station.name][0])))
        hit, total = hit + used * edges.filters.shape[1], total + edges.filters.size
    line = explicit(LINE, visits[::-1], count, file)
    tensors: dict[str, NDArray[Any]] = {f"{LINE}.{n}": values for n, values in enumerate(carried[::-1], 1)}
    return Drawn((line,), {file: np.stack(visited[::-1])}, tensors, hit, total)


def _step(
    edges: FilterEdges, at: NDArray[np.int64], station: Station, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.float32], int]:
    """Where paths that are `at` units [paths] come from, what they carry [paths, taps], and how many edges they use."""
    through, sizes = np.bincount(at, minlength=station.units), edges.sizes
    norm = np.bincount(edges.destination, sizes, station.units).astype(np.float64)
    no_weights(station, through, norm)
    expected = sizes * np.divide(through, norm, out=np.zeros(station.units), where=norm > 0)[edges.destination]
    hits = sample_groups(expected, edges.destination, "systematic", seed, edges.negative)
    order = np.argsort(edges.destination, kind="stable")
    taken = np.repeat(order, hits[order])
    paths = np.argsort(at, kind="stable")
    source, carried = np.empty_like(at), np.empty((len(at), edges.filters.shape[1]), dtype=np.float32)
    source[paths] = edges.source[taken]
    carried[paths] = edges.parts(taken) * (norm / np.maximum(through, 1))[at[paths], None]
    return source, carried, int(np.count_nonzero(hits))
