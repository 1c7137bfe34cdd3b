"""Count the distinct edges of every junction."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from pathc.ir import cosets, edges
from pathc.ir.facts import Distinct
from pathc.ir.generators import Generator, resolve
from pathc.ir.graph import Graph, Line


@dataclass(frozen=True)
class Coalesce:
    """Count the distinct edges of every junction; paths that share an edge may store one weight.

    Adds a `distinct` fact per junction. Symbolic where paths are linear over GF(2); other junctions are
    enumerated if they have at most `limit` paths, and get no fact beyond that.
    """

    name: ClassVar[str] = "coalesce"
    limit: int = 1 << 24

    def __call__(self, graph: Graph) -> Graph:
        """The graph with its `Distinct` facts renewed."""
        kept = tuple(f for f in graph.facts if not isinstance(f, Distinct))
        return replace(graph, facts=(*kept, *(f for line in graph.lines for f in self._line(line, graph))))

    def _line(self, line: Line, graph: Graph) -> tuple[Distinct, ...]:
        if line.kind != "paths":
            return ()
        generator = resolve(line, graph)
        counts = {junction: distinct(generator, junction, self.limit) for junction in line.junctions}
        return tuple(
            Distinct(line.name, j, n, loc=line.visits[j].loc or line.loc) for j, n in counts.items() if n is not None
        )


def distinct(generator: Generator, junction: int, limit: int) -> int | None:
    """Number of distinct edges of a junction, or None if only enumerating more than `limit` paths would tell."""
    src, dst = generator.affine(junction - 1), generator.affine(junction)
    if src is not None and dst is not None:
        return cosets.distinct_edges(src, dst, generator.count)
    return len(edges.distinct_edges(generator, junction)) if edges.enumerable(generator, limit) else None
