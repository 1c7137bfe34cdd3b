"""Find how far the paths of a line carry: receptive fields and connected pieces."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from pathc.ir import cosets, edges
from pathc.ir.facts import Mixing as MixingFact
from pathc.ir.generators import Generator, resolve
from pathc.ir.graph import Graph, Line

_WORK = 1 << 26


@dataclass(frozen=True)
class Mixing:
    """Find the receptive field after every junction of a line, and the connected pieces its paths form.

    Adds a `mixing` fact per line of paths. Symbolic where all visits are linear over GF(2) and the count is a
    power of two; up to `limit` paths the edges are enumerated, with inputs sampled evenly where there are many;
    above it, the largest aligned window stands for a linear line and others get no fact.
    """

    name: ClassVar[str] = "mixing"
    limit: int = 1 << 20

    def __call__(self, graph: Graph) -> Graph:
        """The graph with its `Mixing` facts renewed."""
        kept = tuple(f for f in graph.facts if not isinstance(f, MixingFact))
        found = (self._line(line, graph) for line in graph.lines if line.kind == "paths")
        return replace(graph, facts=(*kept, *(f for f in found if f is not None)))

    def _line(self, line: Line, graph: Graph) -> MixingFact | None:
        generator = resolve(line, graph)
        maps = [generator.affine(v) for v in range(len(line.visits))]
        linear = [m for m in maps if m is not None]
        bits = generator.count.bit_length() - 1
        power_of_two = generator.count == 1 << bits
        if len(linear) == len(maps) and (power_of_two or generator.count > self.limit):
            fields = cosets.receptive_fields(linear, bits)
            pieces = cosets.connected_pieces(linear, bits)
            return MixingFact(line.name, fields, fields, pieces, power_of_two, loc=line.loc)
        if not edges.enumerable(generator, self.limit):
            return None
        return replace(_enumerate(generator), line=line.name, loc=line.loc)


def _enumerate(generator: Generator) -> MixingFact:
    layers = [edges.distinct_edges(generator, j) for j in range(1, len(generator.sizes))]
    heaviest = max(*map(len, layers), *generator.sizes)
    n = generator.sizes[0]
    sample = min(n, max(64, _WORK // heaviest // len(layers) // 64 * 64))
    inputs = np.arange(sample) * n // sample
    least: list[int] = []
    most: list[int] = []
    per_visit = edges.receptive_counts(layers, generator.sizes, inputs)
    for layer, counts in zip(layers, per_visit, strict=True):
        visited = counts[layer.rows()[0]]
        least.append(int(visited.min()) * n // sample)
        most.append(int(visited.max()) * n // sample)
    return MixingFact("", tuple(least), tuple(most), _pieces(layers, generator.sizes), sample == n)


def _pieces(layers: list[edges.Edges], sizes: tuple[int, ...]) -> int:
    offsets = np.cumsum((0, *sizes))
    left = np.concatenate([e.src + offsets[k] for k, e in enumerate(layers)])
    right = np.concatenate([e.dst + offsets[k + 1] for k, e in enumerate(layers)])
    roots = edges.components(int(offsets[-1]), left, right)
    return len(np.unique(roots[left]))
