"""A trained net as paths see it: edges between channels that carry filters, and stations that paths can lead into.

A dense line from a station with extents into a flat one joins every unit with all positions. To paths it is a filter as
large as the extents: the flat station becomes one of extents 1, in front of which such a convolution stands.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pathc.ir.catalogue import canonical
from pathc.ir.cells import without_cells
from pathc.ir.compress.edges import Units, weighted_edges
from pathc.ir.extents import read_extents
from pathc.ir.graph import Graph, Station
from pathc.ir.interp.base import Junction
from pathc.ir.interp.filters import FilterJunction
from pathc.ir.interp.network import Network
from pathc.ir.misfits import unscaled_only
from pathc.ir.types import Call, Size, Word
from pathc.ir.weights import Tensors
from pathc.support.diagnostics import PathcError, error


@dataclass(frozen=True)
class FilterEdges:
    """Source and destination channel of every edge, [edges], and its filter, float64 [edges, taps]."""

    source: Units
    destination: Units
    filters: NDArray[np.float64]

    @property
    def sizes(self) -> NDArray[np.float64]:
        """The l1 norm of every filter, [edges]."""
        return np.sum(np.abs(self.filters), axis=1)

    @property
    def negative(self) -> NDArray[np.bool_]:
        """Whether the sum of a filter is negative, [edges]."""
        return self.filters.sum(axis=1) < 0

    def parts(self, taken: Units) -> NDArray[np.float64]:
        """Filters of the norm 1, [taken, taps]; no filter that is taken is zero."""
        return self.filters[taken] / self.sizes[taken, None]


def filter_edges(graph: Graph, weights: Tensors, junction: Junction) -> FilterEdges:
    """The edges of a junction with weights."""
    edges = weighted_edges(weights, junction)
    source, destination = (graph.station(name) for name in (junction.source, junction.destination))
    if isinstance(junction, FilterJunction):
        taps, positions = len(junction.geometry.taps) if junction.filtered else 1, 1
    else:
        taps = positions = math.prod(read_extents(source)) if len(destination.shape) == 1 else 1
    filters = edges.weights.reshape(-1, taps)
    return FilterEdges(edges.source[::taps] // positions, edges.destination[::taps], filters)


def refuse_unsampled(graph: Graph) -> None:
    """Raise what paths cannot be drawn through: cells (E0376), scaled lines (E0379), equations, shortcuts (E1313)."""
    found = without_cells(graph, "sampling knows") or unscaled_only(graph, "sampling has")
    if found:
        raise PathcError(*found)
    for station in graph.stations:
        if station.stage("ode") is not None:
            raise unsampled(station, "the steps of an equation share their weights")
        if station.stage("shortcut") is not None:
            raise unsampled(station, "its shortcut is added inside of it")
    if all(line.kind == "skip" for line in graph.lines):
        text = f"`{graph.name}` has no weights that paths could be drawn by"
        raise error("E1313", text, graph.loc, help="sample a net with dense lines, filters or paths")


def unsampled(station: Station, why: str) -> PathcError:
    """E1313 for a station that paths cannot be drawn through."""
    text = f"paths cannot be drawn through station `{station.name}`: {why}"
    return error("E1313", text, station.loc, help="lead dense lines, filters, paths and skips forward to flat outputs")


def stations_for_paths(network: Network) -> dict[str, tuple[Station, ...]]:
    """By name of every station what paths lead into in its place; the last one is what is read.

    An output that is led to from extents keeps its shape behind a station `<name>_taps`.
    """
    return {station.name: tuple(_made(network, station)) for station in network.stations}


def _made(network: Network, station: Station) -> Iterable[Station]:
    # Groups are edges that are not there.
    pipeline = tuple(canonical(_without_groups(stage)) if stage.name == "conv" else stage for stage in station.pipeline)
    into = [(network.graph.station(j.source), j) for j in network.into[station.name]]
    lines = [source for source, junction in into if junction.tensor]
    if len(station.shape) > 1 and any(len(source.shape) == 1 for source in lines):
        raise unsampled(station, "a line leads from a flat station back to its extents")
    windows = {read_extents(source) for source in lines if math.prod(read_extents(source)) > 1}
    if len(station.shape) > 1 or not windows:
        yield replace(station, pipeline=pipeline)
        return
    if len(windows) > 1 or len(into) > len(lines) or any(read_extents(source) not in windows for source in lines):
        raise unsampled(station, "lines of several extents, or skips, lead into it")
    (window,) = windows
    conv = canonical(Call("conv", (("kernel", Size(window)), ("pad", Word("valid")))))
    shape = (station.units, *(1,) * len(window))
    if station.role == "output":
        yield replace(station, name=f"{station.name}_taps", role="layer", shape=shape, pipeline=(conv,))
        yield station
    else:
        yield replace(station, shape=shape, pipeline=(conv, *pipeline))


def _without_groups(conv: Call) -> Call:
    return replace(conv, options=tuple((name, 1 if name == "groups" else value) for name, value in conv.options))
