"""Whether facts are true: kernels take their addresses from `Blocks`, so a false one would give wrong outputs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pathc.ir.blocks import find_blocks
from pathc.ir.facts import Blocks
from pathc.ir.generators import resolve
from pathc.ir.graph import Graph, Line


def false_blocks(line: Line, graph: Graph, claims: Sequence[Blocks]) -> Iterator[tuple[Blocks, str]]:
    """Every claim about a line that its paths do not bear out, and what is wrong with it.

    A claim is found again from the generator, which takes microseconds whatever the count; it must be the very fact
    that `structure` states. The windows of a claim must be aligned and lie within the line. Raises as `resolve`.
    """
    generator = resolve(line, graph)
    visits = [generator.affine(visit) for visit in range(len(line.visits))]
    ends: dict[int, int] = {}
    for claim in sorted(claims, key=lambda c: (c.junction, c.start)):
        source, destination = visits[claim.junction - 1], visits[claim.junction]
        if source is None or destination is None:
            yield claim, "speaks of dense blocks, but its paths are not linear over GF(2)"
        elif claim.start < ends.get(claim.junction, 0):
            yield claim, f"has a window at {claim.start} that overlaps another one"
        elif claim != find_blocks(source, destination, claim.start, claim.length, line.name, claim.junction):
            yield claim, "names other blocks than the paths form"
        ends[claim.junction] = claim.start + claim.length
