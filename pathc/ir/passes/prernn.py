"""Make trained feed-forward layers recurrent."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from pathc.ir.cells import plain
from pathc.ir.graph import Graph


@dataclass(frozen=True)
class Prernn:
    """Write the cell that each `prernn` stage stands for: activation, normalization and pools move where they belong.

    A simple cell takes over the activation of the trained layer, gated cells have their own functions. The weights are
    those of the graph before the pass, tensor for tensor (Yang, Molchanov and Kautz, 2018).
    """

    name: ClassVar[str] = "prernn"

    def __call__(self, graph: Graph) -> Graph:
        """The graph without `prernn`; facts are kept."""
        return replace(graph, stations=tuple(plain(station) for station in graph.stations))
