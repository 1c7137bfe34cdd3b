"""From the structured graph to junctions as kernels see them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache

from pathc.backends.llvm.plan import Edges, Junction
from pathc.ir.facts import Blocks
from pathc.ir.generators import Generator, resolve
from pathc.ir.graph import Graph, Line

TRANSPOSE = ".T"
"""Behind the name of a tensor: its transpose."""


def junctions_of(graph: Graph) -> tuple[Junction, ...]:
    """Every junction of the graph, in the order of lines."""
    return tuple(junction for line in graph.lines for junction in _of_line(graph, line))


def tensor_of(graph: Graph, line: Line, number: int) -> tuple[str, bool]:
    """Name of the tensor that holds a junction's weights, and whether it is the junction's transpose.

    A tied mirror uses the mirrored line's; that matters for dense weights, paths have one order in both directions.
    """
    if not line.tied or not line.mirror:
        return f"{line.name}.{number}", False
    mirrored = graph.line(line.mirror)
    name, turned = tensor_of(graph, mirrored, len(mirrored.visits) - number)
    return name, turned != (line.kind == "dense")


def _of_line(graph: Graph, line: Line) -> Iterator[Junction]:
    generator = cache(lambda: resolve(line, graph))
    return (_junction(graph, line, number, generator) for number in line.junctions)


def _junction(graph: Graph, line: Line, number: int, generator: Callable[[], Generator]) -> Junction:
    src, dst = (graph.station(line.visits[v].station) for v in (number - 1, number))
    blocks = tuple(graph.facts_about(Blocks, line.name, number))
    if sum(b.length for b in blocks) != line.count:
        blocks = ()

    @cache
    def edges() -> Edges:
        paths = generator()
        return paths.units(number - 1, 0, line.count), paths.units(number, 0, line.count)

    tensor, turned = tensor_of(graph, line, number)
    counts = {"paths": line.count, "dense": src.units * dst.units, "skip": src.real_units}
    return Junction(
        line=line.name,
        number=number,
        kind=line.kind,
        src=src.name,
        dst=dst.name,
        n_src=src.units,
        n_dst=dst.units,
        count=counts[line.kind],
        blocks=blocks,
        tensor=f"{tensor}{TRANSPOSE}" if turned else tensor,
        scale=line.scale,
        edges=edges,
    )
