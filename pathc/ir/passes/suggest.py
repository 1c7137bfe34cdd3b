"""Propose what would be better than what a line says."""

from __future__ import annotations

from dataclasses import replace

from pathc.ir.cosets import distinct_edges
from pathc.ir.generators import resolve
from pathc.ir.graph import SOBOL, Graph, Line
from pathc.ir.passes.coverage import spread

_TRIED = 64
_DOUBLED = 5


def other_dimension(line: Line, graph: Graph, visit: int) -> int | None:
    """The smallest Sobol' dimension unused by the line with which `visit` repeats no edge of its junctions."""
    if line.generator.name != "sobol" or line.mirror or line.visits[visit].axes:
        return None
    used = {dim for v in line.visits for dim in v.dims}
    for dim in range(_TRIED):
        visits = list(line.visits)
        visits[visit] = replace(visits[visit], dim=dim)
        if dim not in used and _draws_each_edge_once(replace(line, visits=tuple(visits)), graph, visit):
            return dim
    return None


def reaching_count(line: Line, graph: Graph, visit: int, limit: int) -> int | None:
    """How many Sobol' paths reach every unit of a visit, a power of two; None if it is none of the next few."""
    first = 1 << (graph.station(line.visits[visit].station).units - 1).bit_length()
    if line.mirror:
        return first
    if line.generator.name != "sobol":
        line = replace(line, generator=SOBOL)
    for doubled in range(_DOUBLED):
        count = first << doubled
        found = spread(resolve(replace(line, count=count), graph), visit, limit)
        if found is not None and found.least:
            return count
    return None


def _draws_each_edge_once(line: Line, graph: Graph, visit: int) -> bool:
    generator = resolve(line, graph)
    for junction in (visit, visit + 1):
        if junction not in line.junctions:
            continue
        src, dst = generator.affine(junction - 1), generator.affine(junction)
        if src is not None and dst is not None and distinct_edges(src, dst, generator.count) < generator.count:
            return False
    return True
