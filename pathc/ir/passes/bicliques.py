"""Find dense blocks in the edge lists of junctions that are not linear."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from pathc.ir import edges
from pathc.ir.bicliques import find_bicliques
from pathc.ir.facts import Bicliques as BicliquesFact
from pathc.ir.facts import Blocks
from pathc.ir.generators import resolve
from pathc.ir.graph import Graph, Line


@dataclass(frozen=True)
class Bicliques:
    """Find destinations with the same sources in junctions without `blocks`: dense blocks of at least `rows` rows.

    Adds a `bicliques` fact per junction. Edges are enumerated, which takes about 100 bytes a path; lines of more
    than `limit` paths get no fact.
    """

    name: ClassVar[str] = "bicliques"
    rows: int = 2
    limit: int = 1 << 22

    def __call__(self, graph: Graph) -> Graph:
        """The graph with its `Bicliques` facts renewed."""
        kept = tuple(f for f in graph.facts if not isinstance(f, BicliquesFact))
        linear = {(f.line, f.junction) for f in graph.facts_of(Blocks)}
        found = (f for line in graph.lines if line.kind == "paths" for f in self._line(line, graph, linear))
        return replace(graph, facts=(*kept, *found))

    def _line(self, line: Line, graph: Graph, linear: set[tuple[str, int]]) -> tuple[BicliquesFact, ...]:
        generator = resolve(line, graph)
        if not edges.enumerable(generator, self.limit):
            return ()
        found: list[BicliquesFact] = []
        for junction in line.junctions:
            if (line.name, junction) in linear:
                continue
            blocks = find_bicliques(edges.distinct_edges(generator, junction), self.rows)
            loc = line.visits[junction].loc or line.loc
            counts = (len(blocks), blocks.edges, len(blocks.src), self.rows)
            found.append(BicliquesFact(line.name, junction, *counts, loc=loc))
        return tuple(found)
