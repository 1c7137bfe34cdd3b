"""Junctions as lists of weighted edges, for what walks along single edges."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pathc.ir.interp.base import Junction
from pathc.ir.interp.filters import FilterJunction, GroupedJunction
from pathc.ir.interp.junctions import DenseJunction, PathJunction, junction_values
from pathc.ir.weights import Tensors

Units = NDArray[np.int64]


@dataclass(frozen=True)
class WeightedEdges:
    """Source and destination unit and weight of every element of a tensor, in its flat order; all of shape [edges]."""

    source: Units
    destination: Units
    weights: NDArray[np.float64]


def weighted_edges(weights: Tensors, junction: Junction) -> WeightedEdges:
    """The edges of a junction with weights; raises TypeError for a skip.

    Between stations with extents the units are channels, and every tap of a filter is an edge.
    """
    values = junction_values(weights, junction).reshape(-1)
    if isinstance(junction, FilterJunction):
        taps = len(junction.geometry.taps) if junction.filtered else 1
        each = weighted_edges(weights, junction.each)
        return WeightedEdges(np.repeat(each.source, taps), np.repeat(each.destination, taps), values)
    if isinstance(junction, GroupedJunction):
        rows, columns = junction.real[0], junction.real[1] // junction.groups
        destination = np.repeat(np.arange(rows), columns)
        first = destination // (rows // junction.groups) * columns
        return WeightedEdges(first + np.tile(np.arange(columns), rows), destination, values)
    if isinstance(junction, PathJunction):
        generator, number = junction.generator, junction.number
        source = generator.units(number - 1, 0, generator.count)
        return WeightedEdges(source, generator.units(number, 0, generator.count), values)
    if not isinstance(junction, DenseJunction):
        raise TypeError("a skip has no weights")
    rows, columns = junction.real
    destination, source = np.repeat(np.arange(rows), columns), np.tile(np.arange(columns), rows)
    if junction.transposed:
        destination, source = np.tile(np.arange(rows), columns), np.repeat(np.arange(columns), rows)
    return WeightedEdges(source, destination, values)
