"""A path graph sampled from a trained net: paths drawn backwards from the outputs by the importance of the weights.

A step back chooses an incoming edge in proportion to its magnitude, of an edge between channels the l1 norm of its
filter, which the path then carries.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pathc.ir.compress.branches import draw_branches
from pathc.ir.compress.chain import draw_chain
from pathc.ir.compress.channels import refuse_unsampled, stations_for_paths
from pathc.ir.graph import Graph
from pathc.ir.interp.base import Junction
from pathc.ir.interp.network import Network, prepare
from pathc.ir.weights import SCALE, Tensors
from pathc.support.diagnostics import error
from pathc.support.files import write_atomically


@dataclass(frozen=True)
class SampledPaths:
    """A graph with lines of explicit paths in place of the lines of a net.

    `files` holds what their generators read, int64 [visits, paths] by the name of the file: one for a chain, one for
    each junction of other nets. `tensors` holds weights and biases; `share` is that of the net's weights (all junctions
    together) on which a path runs.
    """

    graph: Graph
    files: Mapping[str, NDArray[np.int64]]
    tensors: dict[str, NDArray[Any]]
    share: float


def sample_paths(graph: Graph, weights: Tensors, count: int, file: str, seed: int = 0) -> SampledPaths:
    """Draw `count` paths backwards: outputs in turn, then incoming edges in proportion to their magnitudes.

    Paths that meet in a unit or channel divide its edges by systematic samples, so every edge of weight w is hit within
    one of c |w| / norm times, c being the paths through the unit. A hit counts sign(w) norm / c; of a filter it carries
    the filter by its own norm times norm / c. Linear in weights and paths. Units that no path visits fall silent.

    The paths of a chain run through from input to output. Where a net branches, every junction has a line of the paths
    that took it, and skips hand paths on without a weight of their own. `file` names the `.npz` of a chain; those of
    junctions stand beside it, `<file>.<line>.npz`. Raises PathcError E1313 for nets that lead from flat stations back
    to extents, for a count that reaches no output, and for units without weights; as `pathc.ir.interp.forward` for
    weights that do not fit.
    """
    refuse_unsampled(graph)
    network = prepare(graph, weights)
    outputs = sum(station.real_units for station in graph.outputs)
    if count < outputs or count > 1 << 28:
        text = f"{count} paths cannot start from the {outputs} outputs"
        raise error("E1313", text, graph.loc, help="draw some hundred paths for each output, at most 2^28 in all")
    stations = stations_for_paths(network)
    chain = _chain(network)
    if chain:
        drawn = draw_chain(graph, weights, chain, stations, count, file, seed)
    else:
        drawn = draw_branches(network, weights, stations, count, str(Path(file).with_suffix("")), seed)
    leading = {junction.tensor for into in network.into.values() for junction in into}
    kept = {name: np.asarray(tensor) for name, tensor in weights.items() if name.removesuffix(SCALE) not in leading}
    every = tuple(station for original in graph.stations for station in stations[original.name])
    made = Graph(graph.name, every, drawn.lines, graph.targets, (), graph.doc, graph.loc)
    return SampledPaths(made, drawn.files, {**kept, **drawn.tensors}, drawn.hit / drawn.total)


def _chain(network: Network) -> list[Junction]:
    """The junctions from the input to the output, if they form a chain of one channel after the other; empty if not."""
    graph = network.graph
    chain: list[Junction] = []
    station = graph.outputs[0]
    while network.into[station.name]:
        into = network.into[station.name]
        if len(into) != 1 or not into[0].tensor or station.stage("channelshuffle") is not None:
            return []
        chain.append(into[0])
        station = graph.station(into[0].source)
    whole = len(graph.inputs) == len(graph.outputs) == 1 and len(chain) == len(graph.stations) - 1
    return chain[::-1] if whole and station.stage("channelshuffle") is None else []


def write_units(result: SampledPaths, folder: str | Path = "") -> None:
    """Write the files that the generators of a sampled net name, those without a folder into `folder`; E0503."""
    for name, units in result.files.items():
        buffer = io.BytesIO()
        np.savez(buffer, allow_pickle=False, units=units.astype(np.int32))
        write_atomically(Path(folder) / name, buffer.getvalue())
