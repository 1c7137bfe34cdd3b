"""Whether facts are true: kernels take their addresses from `Blocks`, so a false one would give wrong outputs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pathc.ir.blocks import find_blocks
from pathc.ir.facts import Blocks, Fact, Recurrent, Scale, Sums, Weights
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


_LARGEST_MULTIPLIER, _LARGEST_SHIFT, _WIDEST_SUM = (1 << 16) - 1, 62, 64
_READABLE, _WEIGHTS = ("u8", "i8", "i4", "t2", "fix"), ("i8", "i4", "t2", "fix")


def false_formats(graph: Graph) -> Iterator[tuple[Fact, str]]:
    """Every fact about number formats that cannot hold, and what is wrong with it."""
    seen: set[tuple[str, str]] = set()
    for fact in graph.facts:
        match fact:
            case Scale():
                key = ("scale", fact.station)
                if fact.type.name not in _READABLE or fact.type.bits > 8:
                    yield fact, f"cannot hold {fact.type}, which is no integer of at most 8 bits"
                elif not (1 <= fact.multiplier <= _LARGEST_MULTIPLIER and 0 <= fact.shift <= _LARGEST_SHIFT):
                    yield fact, f"has the scale {fact.multiplier} * 2^-{fact.shift}, beyond 65535 or 2^-62"
                elif fact.type.frac is not None and (fact.multiplier, fact.shift) != (1, fact.type.frac):
                    yield fact, f"has a scale other than the 2^-{fact.type.frac} of {fact.type}"
            case Weights() | Recurrent():
                subject = fact.station if isinstance(fact, Recurrent) else f"{fact.line}.{fact.junction}"
                key = (type(fact).__name__, subject)
                if fact.type.name not in _WEIGHTS or fact.type.bits > 8:
                    yield fact, f"cannot hold {fact.type}, weights are i8, i4 or t2"
            case Sums():
                key = ("sums", fact.station)
                if not 1 <= fact.bits <= _WIDEST_SUM:
                    yield fact, f"has {fact.bits} bits"
            case _:
                continue
        if key in seen:
            yield fact, f"is the second one of `{key[1]}`"
        seen.add(key)
