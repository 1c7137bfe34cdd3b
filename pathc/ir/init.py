"""Initial weights: constant magnitude, deterministic signs, no random number unless asked for."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pathc.ir.cells import cell_of
from pathc.ir.filters import dense_sides, taps_of
from pathc.ir.generators import Generator, resolve
from pathc.ir.graph import Graph, Line, Station
from pathc.ir.initcells import cell_weights, initial_bias, input_weights, trained_layers
from pathc.ir.signs import hadamard_bits, sign_rule
from pathc.ir.weights import GAIN, MEAN, SHIFT, VARIANCE, check_memory
from pathc.support.diagnostics import PathcError

Weights = dict[str, NDArray[np.float32]]

_CHUNK = 1 << 20


def initial_weights(graph: Graph, seed: int = 0) -> Weights:
    """Initial weights of every tensor of a graph, float32.

    `<line>.<junction>` of shape [paths] in natural path order ([paths, kh, kw] into a convolution), dense lines
    [units out, units in], `<station>.bias` of shape [units], zero; tied lines have none of their own. Paths carry
    the magnitude `magnitude` and the sign of their line's rule, dense lines rows of a Hadamard matrix; `seed`
    matters to random signs only. Cells begin as `pathc.ir.initcells` says. Raises PathcError E0502 if a tensor does not
    fit into the memory.
    """
    too_large = check_memory(graph)
    if too_large:
        raise PathcError(*too_large)
    weights: Weights = {}
    fans = fans_of(graph)
    for line in graph.lines:
        if line.kind == "skip" or line.tied:
            continue
        generator = resolve(line, graph) if line.kind == "paths" else None
        for junction in line.junctions:
            source, destination = ends(line, junction, graph)
            bound = magnitude(fans, source, destination)
            if generator is None:
                values = _filters(_dense(*dense_sides(source, destination), bound), destination)
            else:
                values = _filters(junction_weights(line, junction, generator, seed, bound), destination)
            cell = cell_of(destination)
            weights[f"{line.name}.{junction}"] = values if cell is None else input_weights(cell, values)
    for station in graph.stations:
        cell = cell_of(station)
        if station.stage("bias") is not None:
            weights[f"{station.name}.bias"] = np.zeros(station.real_units, np.float32)
        if station.stage("batchnorm") is not None:
            copies = (cell.bias_copies,) if cell is not None and cell.bias_copies > 1 else ()
            for name, value in ((GAIN, 1.0), (SHIFT, 0.0), (MEAN, 0.0), (VARIANCE, 1.0)):
                weights[f"{station.name}.{name}"] = np.full((*copies, station.real_units), value, np.float32)
        if cell is not None:
            weights.update(cell_weights(cell))
            if station.stage("bias") is not None:
                weights[f"{station.name}.bias"] = initial_bias(cell, station.real_units)
    return trained_layers(graph, weights)


@dataclass(frozen=True)
class Fans:
    """Weights per unit that lead to and away from stations, by name, summed over all lines of paths and dense lines."""

    inward: Mapping[str, float]
    outward: Mapping[str, float]


def fans_of(graph: Graph) -> Fans:
    """Fan-in and fan-out of every station a weight leads to or from, averaged over its units.

    Silent units of `pad` are not counted as inputs.
    """
    inward: dict[str, float] = {}
    outward: dict[str, float] = {}
    for line in graph.lines:
        if line.kind == "skip":
            continue
        count = resolve(line, graph).count if line.kind == "paths" else 0
        for junction in line.junctions:
            source, destination = ends(line, junction, graph)
            taps = math.prod(taps_of(destination))
            rows, heard = dense_sides(source, destination)
            heard, told = float(taps * heard), float(taps * rows)
            if count:
                heard = taps * (source.real_units / source.units) * count / destination.units
                told = taps * count / source.units
            inward[destination.name] = inward.get(destination.name, 0.0) + heard
            outward[source.name] = outward.get(source.name, 0.0) + told
    return Fans(inward, outward)


def magnitude(fans: Fans, source: Station, destination: Station) -> float:
    """The constant magnitude sqrt(2 / (fan_in + fan_out)) of weights between two stations.

    This is the standard deviation of the initialization of Glorot and Bengio (2010), with the fan-in of the
    destination and the fan-out of the source as in `fans_of`.
    """
    return math.sqrt(2 / (fans.inward[destination.name] + fans.outward[source.name]))


def junction_weights(line: Line, junction: int, generator: Generator, seed: int, bound: float) -> NDArray[np.float32]:
    """Initial weights of the paths of one junction: float32 of shape [paths] in natural path order.

    `generator` is that of the line.
    """
    rule, count = sign_rule(line, junction, generator, seed), generator.count
    signed = np.array((bound, -bound), np.float32)
    weights = np.empty(count, np.float32)
    for start in range(0, count, _CHUNK):
        stop = min(start + _CHUNK, count)
        weights[start:stop] = signed[rule(start, stop)]
    return weights


def ends(line: Line, junction: int, graph: Graph) -> tuple[Station, Station]:
    """Source and destination station of a junction."""
    return graph.station(line.visits[junction - 1].station), graph.station(line.visits[junction].station)


def _dense(fan_out: int, fan_in: int, bound: float) -> NDArray[np.float32]:
    """Rows of a Hadamard matrix times `bound`, cut to [fan_out, fan_in]; the row of pluses is left out if it can be."""
    wide = 1 << (fan_in - 1).bit_length()
    first = 1 if fan_out < wide else 0
    rows = np.arange(first, first + fan_out, dtype=np.int64)[:, None]
    columns = np.arange(fan_in, dtype=np.int64)[None, :]
    tall = max(wide, 1 << (fan_out - 1).bit_length())
    return np.array((bound, -bound), np.float32)[hadamard_bits(rows, columns, tall, wide)]


def _filters(values: NDArray[np.float32], destination: Station) -> NDArray[np.float32]:
    """The weights at all taps of their filters: the rows of a Hadamard matrix in turn.

    Filters of equal weights would all see nothing but means. The rows are scattered over the paths by the
    multiplicative hash of Knuth (section 6.4), since paths a power of two apart lead into one unit.
    """
    extents = taps_of(destination)
    if not extents:
        return values
    taps = math.prod(extents)
    wide = 1 << (taps - 1).bit_length()
    scattered = np.arange(values.size, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15) >> np.uint64(40)
    rows = (scattered % np.uint64(wide)).astype(np.int64)[:, None]
    signs = hadamard_bits(rows, np.arange(taps, dtype=np.int64)[None, :], wide, wide)
    filters = values.reshape(-1, 1) * np.array((1.0, -1.0), np.float32)[signs]
    return filters.reshape(*values.shape, *extents)
