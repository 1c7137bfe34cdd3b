"""Count the paths through the units of every visit."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from pathc.ir import cosets, edges
from pathc.ir.facts import Valence
from pathc.ir.generators import Generator, resolve
from pathc.ir.graph import Graph, Line


@dataclass(frozen=True)
class Coverage:
    """Count the paths through the units of every visit: units touched, fewest and most paths of a unit.

    Adds a `valence` fact per visit. Symbolic where paths are linear over GF(2); other visits are enumerated if
    the line has at most `limit` paths, and get no fact beyond that.
    """

    name: ClassVar[str] = "coverage"
    limit: int = 1 << 24

    def __call__(self, graph: Graph) -> Graph:
        """The graph with its `Valence` facts renewed."""
        kept = tuple(f for f in graph.facts if not isinstance(f, Valence))
        return replace(graph, facts=(*kept, *(f for line in graph.lines for f in self._line(line, graph))))

    def _line(self, line: Line, graph: Graph) -> tuple[Valence, ...]:
        if line.kind != "paths":
            return ()
        generator = resolve(line, graph)
        spreads = [spread(generator, v, self.limit) for v in range(len(line.visits))]
        return tuple(
            Valence(line.name, v, s.touched, s.least, s.most, loc=line.visits[v].loc or line.loc)
            for v, s in enumerate(spreads)
            if s is not None
        )


def spread(generator: Generator, visit: int, limit: int) -> cosets.Spread | None:
    """How the paths spread over the units of a visit, or None if only enumerating more than `limit` would tell."""
    affine, size = generator.affine(visit), generator.sizes[visit]
    if affine is not None and not size & (size - 1):
        return cosets.spread(affine, generator.count, size.bit_length() - 1)
    if not edges.enumerable(generator, limit):
        return None
    counts = edges.valence(generator, visit)
    return cosets.Spread(int((counts > 0).sum()), int(counts.min()), int(counts.max()))
