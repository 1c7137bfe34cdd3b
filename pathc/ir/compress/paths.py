"""A path graph sampled from a trained net: paths drawn backwards from the outputs by the importance of the weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pathc.ir.compress.edges import WeightedEdges, weighted_edges
from pathc.ir.compress.montecarlo import sample_groups
from pathc.ir.generators.hashing import hash64
from pathc.ir.graph import Graph, Line, Visit
from pathc.ir.interp.junctions import Junction, SkipJunction
from pathc.ir.interp.network import prepare
from pathc.ir.quantized.network import refuse_cells
from pathc.ir.types import Call
from pathc.ir.weights import Tensors
from pathc.support.diagnostics import error

LINE = "sampled"


@dataclass(frozen=True)
class SampledPaths:
    """A graph with one line of explicit paths in place of the lines of a chain.

    `units` int64 [visits, paths] is what its generator reads from the file it names; `tensors` holds weights and
    biases; `share` is that of the net's weights (all junctions together) on which a path runs.
    """

    graph: Graph
    units: NDArray[np.int64]
    tensors: dict[str, NDArray[Any]]
    share: float


def sample_paths(graph: Graph, weights: Tensors, count: int, file: str, seed: int = 0) -> SampledPaths:
    """Draw `count` paths backwards: outputs in turn, then incoming edges in proportion to their magnitudes.

    Paths that meet in a unit divide its edges by systematic samples, so every edge of weight w is hit within one of
    c |w| / norm times, c being the paths through the unit. A hit counts sign(w) norm / c. Linear in weights and paths.
    Units that no path visits fall silent. Raises PathcError E1313 for nets that are no chain from one input to one
    output, or a count that reaches no output; as `pathc.ir.interp.forward` for weights that do not fit.
    """
    chain = _chain(graph, weights)
    last = graph.station(chain[-1].destination)
    if count < last.real_units or count > 1 << 28:
        text = f"{count} paths cannot start from the {last.real_units} outputs"
        raise error("E1313", text, graph.loc, help="draw some hundred paths for each output, at most 2^28 in all")
    at = np.arange(count) % last.real_units
    visited = [at]
    tensors = {f"{s.name}.bias": np.asarray(weights[f"{s.name}.bias"]) for s in graph.stations if s.stage("bias")}
    hit = total = 0
    for number in range(len(chain), 0, -1):
        edges = weighted_edges(weights, chain[number - 1])
        at, values, used = _step(edges, at, graph.station(chain[number - 1].destination).units, hash64(seed, number))
        visited.append(at)
        tensors[f"{LINE}.{number}"] = values
        hit, total = hit + used, total + len(edges.weights)
    names = [chain[0].source, *(junction.destination for junction in chain)]
    visits = tuple(Visit(name, i) for i, name in enumerate(names))
    line = Line(LINE, "paths", visits, count, Call("explicit", (("file", file),)))
    made = Graph(graph.name, graph.stations, (line,), graph.targets, (), graph.doc, graph.loc)
    return SampledPaths(made, np.stack(visited[::-1]), tensors, hit / total)


def _step(
    edges: WeightedEdges, at: NDArray[np.int64], units: int, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.float32], int]:
    """Where paths that are `at` units [paths] come from, the weight of each, and how many edges they use."""
    through = np.bincount(at, minlength=units)
    sizes = np.abs(edges.weights)
    norm = np.bincount(edges.destination, weights=sizes, minlength=units)
    reached = through > 0
    if (reached & (norm == 0)).any():
        unit = int(np.flatnonzero(reached & (norm == 0))[0])
        raise error("E1313", f"unit {unit} has no weights, so that no path leads into it", help="train the net further")
    expected = sizes * np.divide(through, norm, out=np.zeros(units), where=norm > 0)[edges.destination]
    hits = sample_groups(expected, edges.destination, "systematic", seed)
    order = np.argsort(edges.destination, kind="stable")
    taken = np.repeat(order, hits[order])
    paths = np.argsort(at, kind="stable")
    source, weight = np.empty_like(at), np.empty(len(at), dtype=np.float32)
    source[paths] = edges.source[taken]
    weight[paths] = np.sign(edges.weights[taken]) * (norm / np.maximum(through, 1))[at[paths]]
    return source, weight, int(np.count_nonzero(hits))


def _chain(graph: Graph, weights: Tensors) -> list[Junction]:
    """The junctions from the input to the output, if they form a chain; E1313 if not."""
    refuse_cells(graph)
    network = prepare(graph, weights)
    chain: list[Junction] = []
    station = graph.outputs[0]
    while network.into[station.name]:
        into = network.into[station.name]
        if len(into) != 1 or isinstance(into[0], SkipJunction):
            text = f"more than one line, or a skip, leads into station `{station.name}`"
            raise error("E1313", text, station.loc, help="paths are drawn through chains of dense lines and paths")
        chain.append(into[0])
        station = graph.station(into[0].source)
    if len(graph.inputs) != 1 or len(graph.outputs) != 1 or len(chain) != len(graph.stations) - 1:
        raise error("E1313", "the net is no chain from one input to one output", graph.loc)
    return chain[::-1]
