"""Find the dense blocks of every junction whose paths are linear over GF(2)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from pathc.ir.blocks import find_blocks
from pathc.ir.facts import Blocks
from pathc.ir.generators import Generator, resolve
from pathc.ir.gf2 import aligned_windows
from pathc.ir.graph import Graph, Line


@dataclass(frozen=True)
class Structure:
    """Find the dense blocks of junctions whose paths are linear over GF(2).

    Adds a `blocks` fact per junction and maximal aligned window of paths (12288 = 8192 + 4096). Symbolic: takes
    no longer for 2^30 paths than for 2^12. Junctions without the structure get no fact.
    """

    name: ClassVar[str] = "structure"

    def __call__(self, graph: Graph) -> Graph:
        """The graph with its `Blocks` facts renewed."""
        kept = tuple(f for f in graph.facts if not isinstance(f, Blocks))
        found = tuple(f for line in graph.lines if line.kind == "paths" for f in line_blocks(line, graph))
        return replace(graph, facts=(*kept, *found))


def line_blocks(line: Line, graph: Graph) -> tuple[Blocks, ...]:
    """The `Blocks` facts of one line of paths, by junction and window."""
    generator = resolve(line, graph)
    return tuple(block for junction in line.junctions for block in junction_blocks(line, junction, generator))


def junction_blocks(line: Line, junction: int, generator: Generator) -> tuple[Blocks, ...]:
    """The `Blocks` facts of one junction by window, from the generator of its line; none if it is not linear."""
    src, dst = generator.affine(junction - 1), generator.affine(junction)
    if src is None or dst is None:
        return ()
    place = line.visits[junction].loc or line.loc
    return tuple(
        replace(find_blocks(src, dst, start, length, line.name, junction), loc=place)
        for start, length in aligned_windows(generator.count)
    )
