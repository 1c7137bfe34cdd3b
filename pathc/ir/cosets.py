"""Counting what all windows of a line do together, still without enumerating a path.

The linear parts of the windows of one map are nested, because they are spanned by prefixes of the same columns; so
of two windows the images are disjoint or the later one lies in the earlier one, and unions are sums.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from pathc.ir import gf2
from pathc.ir.generators.base import Affine


@dataclass(frozen=True)
class Spread:
    """How an affine map spreads indices over its values.

    `touched` distinct values occur; `least` and `most` are the fewest and most indices of one value among all
    2^bits possible ones, so `least` is 0 if a value is left out.
    """

    touched: int
    least: int
    most: int


@dataclass
class _Coset:
    shift: int
    basis: tuple[int, ...]
    hits: int
    bare: int


def spread(affine: Affine, count: int, bits: int) -> Spread:
    """How indices 0 .. count-1 spread over the 2^bits values that the map may take."""
    root = _Coset(0, tuple(1 << k for k in range(bits)), 0, 1 << bits)
    cosets = [root]
    for start, length in gf2.aligned_windows(count):
        width = length.bit_length() - 1
        basis = gf2.echelon(affine.columns[:width])
        shift = affine(start)
        parent = next(c for c in reversed(cosets) if gf2.contains(c.basis, shift ^ c.shift))
        size = 1 << len(basis)
        parent.bare -= size
        cosets.append(_Coset(shift, basis, parent.hits + (length >> len(basis)), size))
    counts = [c.hits for c in cosets if c.bare]
    return Spread((1 << bits) - root.bare, min(counts), max(c.hits for c in cosets))


def pairs(src: Affine, dst: Affine) -> tuple[Affine, int]:
    """The edge of a path as one affine map, source bits above destination bits, and its number of bits."""
    low = _width(dst)
    columns = tuple(s << low | d for s, d in zip(src.columns, dst.columns, strict=True))
    return Affine(columns, src.shift << low | dst.shift), low + _width(src)


def distinct_edges(src: Affine, dst: Affine, count: int) -> int:
    """Number of distinct edges that paths 0 .. count-1 draw between two affine visits."""
    edge, bits = pairs(src, dst)
    return spread(edge, count, bits).touched


def connected_pieces(visits: Sequence[Affine], bits: int) -> int:
    """Number of connected components that 2^bits paths form, two being joined where they share a unit."""
    joined = gf2.echelon(x for visit in visits for x in gf2.kernel(visit.columns[:bits]))
    return 1 << bits - len(joined)


def receptive_fields(visits: Sequence[Affine], bits: int) -> tuple[int, ...]:
    """Units of the first visit that a visited unit sees after each junction, for 2^bits paths.

    All visited units see equally many, because the relation between two visits is affine and stays so when
    relations are composed; and it is never empty, since path 0 lies in it.
    """
    seen = tuple(zip(visits[0].columns[:bits], visits[0].columns[:bits], strict=True))
    fields: list[int] = []
    for here, there in pairwise(visits):
        steps = tuple(zip(here.columns[:bits], there.columns[:bits], strict=True))
        meet = gf2.kernel((*(m for _, m in seen), *(m for m, _ in steps)))
        sources, targets = [s for s, _ in seen], [d for _, d in steps]
        reached = [(gf2.apply(sources, x), gf2.apply(targets, x >> len(seen))) for x in meet]
        seen = _independent(reached)
        null = gf2.kernel([d for _, d in seen])
        fields.append(1 << gf2.rank(gf2.apply([s for s, _ in seen], x) for x in null))
    return tuple(fields)


def _independent(vectors: Sequence[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    """A basis of the span of the pairs."""
    low = max((d.bit_length() for _, d in vectors), default=0)
    return tuple((v >> low, v & ((1 << low) - 1)) for v in gf2.echelon(s << low | d for s, d in vectors))


def _width(affine: Affine) -> int:
    return max((c.bit_length() for c in (*affine.columns, affine.shift)), default=0)
