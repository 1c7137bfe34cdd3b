"""Layouts for a chain of junctions: which units lie side by side in a vector.

A lane bit is a displacement of units. If the displacements v_0, v_1, ..., v_L of the stations of a chain lead from
edge to edge in every junction, the lanes run through matching blocks everywhere. All such chains form a linear
space; any of them that are independent at every station will do, and those that start and end in the lowest bits
make the natural order of the units serve at the ends of the net.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import product

from pathc.backends.llvm.machine import Machine
from pathc.backends.llvm.plan import Edges, Junction, Layout
from pathc.backends.llvm.row.interleaved import common_edges, windows_in_order
from pathc.backends.llvm.row.relayout import relayout_cycles
from pathc.backends.llvm.row.tiling import LIMIT, tiling
from pathc.backends.llvm.row.weave import Pair, weave
from pathc.ir import gf2

Chain = tuple[int, ...]
"""One displacement a station."""

_LONGEST = 12
"""Junctions of a segment: the search takes cubic time, and a station in natural order rarely costs anything."""
_CANDIDATES = 12
_TRIES = 40
_WORK = 96
"""Junctions of candidates that are looked at in full, over a whole segment."""


@dataclass(frozen=True)
class Arrangement:
    """Layouts of a chain: junction k reads its source in `src[k]` and writes its destination in `dst[k]`.

    Where they differ from each other or from the natural order of a fixed station, a relayout belongs between.
    `cycles` estimates what permuting lanes and relayouts cost for one row.
    """

    src: tuple[Layout, ...]
    dst: tuple[Layout, ...]
    cycles: float


def natural(units: int, machine: Machine) -> Layout:
    """The natural order of `units` units, padded to whole vectors."""
    return Layout(-(-units // machine.width) * machine.width)


def choose(chain: Sequence[Junction], fixed: Sequence[bool], machine: Machine) -> Arrangement:
    """Layouts for junctions that follow each other, each accepted by `Interleaved.refusal`.

    `fixed[l]` tells whether station l (0 .. len(chain)) is to be in natural order because something else touches
    it; where no chain of lanes allows that, the layout next to it differs and the cost holds a relayout.
    Deterministic; takes some milliseconds a junction.
    """
    src: list[Layout] = []
    dst: list[Layout] = []
    cycles, first = 0.0, 0
    ends = [*fixed]
    for last in range(1, len(chain) + 1):
        if last == len(chain) or fixed[last] or last - first == _LONGEST:
            ends[last] |= last < len(chain)
            layouts, cost = _segment(tuple(map(_nameless, chain[first:last])), ends[first], ends[last], machine)
            src.extend(layouts[:-1])
            dst.extend(layouts[1:])
            cycles, first = cycles + cost, last
    return Arrangement(tuple(src), tuple(dst), cycles)


def _nameless(junction: Junction) -> Junction:
    """The junction without what layouts do not depend on, so that equal pieces are recognised."""
    blocks = tuple(replace(block, line="", junction=0) for block in junction.blocks)
    return replace(junction, line="", number=0, src="", dst="", tensor="", blocks=blocks, edges=_no_edges)


def _no_edges() -> Edges:
    raise NotImplementedError("layouts come from blocks alone")


@lru_cache(maxsize=256)
def _segment(
    chain: tuple[Junction, ...], first: bool, last: bool, machine: Machine
) -> tuple[tuple[Layout, ...], float]:
    """The cheapest layouts found for a piece of a chain whose inner stations are free."""
    edges = [common_edges(junction.blocks) for junction in chain]
    bits = machine.width.bit_length() - 1
    sizes = (chain[0].n_src, *(junction.n_dst for junction in chain))
    options = list(product((True, False) if first else (False,), (True, False) if last else (False,)))
    spaces = {ends: chains(edges, sizes, bits, *ends) for ends in options}
    best: tuple[float, tuple[Layout, ...]] | None = None
    generator = random.Random(1)
    for ends in options:
        pools = [spaces[e] for e in options if e[0] >= ends[0] and e[1] >= ends[1]]
        found = 0
        for _ in range(_TRIES):
            lanes = _draw(pools, bits, len(sizes), generator)
            if lanes is None:
                continue
            layouts = _layouts(chain, edges, sizes, lanes, bits, ends)
            cost = _cost(chain, layouts, first, last, machine)
            if cost is not None and (best is None or cost < best[0]):
                best = cost, layouts
            found += 1
            if found == max(2, min(_CANDIDATES, _WORK // len(chain))):
                break
        if best is not None and ends == (first, last):
            break
    if best is None:
        raise ValueError("no lanes run through the blocks of this chain")
    return best[1], best[0]


def chains(
    edges: Sequence[Sequence[Pair]], sizes: Sequence[int], bits: int, low_first: bool, low_last: bool
) -> tuple[Chain, ...]:
    """Basis of the chains of displacements that lead from edge to edge in every junction.

    With `low_first` or `low_last` only those that start or end among the lowest `bits` bits.
    """
    wide = _wide(sizes)
    known: list[int] = [1 << k for k in range(bits if low_first else sizes[0].bit_length() - 1)]
    for at, pairs in enumerate(edges):
        ends = [chain >> at * wide for chain in known]
        relations = gf2.kernel((*ends, *(s for s, _ in pairs)))
        steps = [*known, *(d << (at + 1) * wide for _, d in pairs)]
        known = [_combined(steps, relation) for relation in relations]
    if low_last:
        relations = gf2.kernel(tuple(chain >> len(edges) * wide + bits for chain in known))
        known = [_combined(known, relation) for relation in relations]
    mask = (1 << wide) - 1
    return tuple(tuple(chain >> at * wide & mask for at in range(len(sizes))) for chain in known)


def _wide(sizes: Sequence[int]) -> int:
    return max(size.bit_length() for size in sizes)


def _combined(chains: Sequence[int], relation: int) -> int:
    """The XOR of the chains at the set bits of `relation`; a chain is one number, so that this takes no time."""
    result = 0
    while relation:
        low = relation & -relation
        result ^= chains[low.bit_length() - 1]
        relation ^= low
    return result


def _draw(pools: Sequence[Sequence[Chain]], bits: int, stations: int, generator: random.Random) -> list[Chain] | None:
    """`bits` random chains that are independent at every station, from the earliest pools that have them."""
    chosen: list[Chain] = []
    bases: list[tuple[int, ...]] = [()] * stations
    wide = 1 + max((v.bit_length() for pool in pools for chain in pool for v in chain), default=0)
    mask = (1 << wide) - 1
    for pool in pools:
        if not pool:
            continue
        joined = [sum(v << at * wide for at, v in enumerate(chain)) for chain in pool]
        for _ in range(4 * bits):
            if len(chosen) == bits:
                return chosen
            drawn = _combined(joined, generator.getrandbits(len(pool)))
            candidate = tuple(drawn >> at * wide & mask for at in range(stations))
            if all(gf2.reduce(v, basis) for v, basis in zip(candidate, bases, strict=True)):
                chosen.append(candidate)
                bases = [gf2.echelon((*basis, v)) for v, basis in zip(candidate, bases, strict=True)]
    return chosen if len(chosen) == bits else None


def _layouts(
    chain: Sequence[Junction],
    edges: Sequence[Sequence[Pair]],
    sizes: Sequence[int],
    lanes: Sequence[Chain],
    bits: int,
    ends: tuple[bool, bool],
) -> tuple[Layout, ...]:
    """Layouts with these lanes; what else is free keeps blocks in few lanes and sources side by side."""
    result: list[Layout] = []
    width = 1 << bits
    for at, size in enumerate(sizes):
        if (at == 0 and ends[0]) or (at == len(sizes) - 1 and ends[1]):
            result.append(Layout(size))
            continue
        own = [c[at] for c in lanes]
        still: list[int] = []
        if at:
            columns = result[-1].columns or tuple(1 << k for k in range(sizes[at - 1].bit_length() - 1))
            still = _matching(edges[at - 1], columns, [c[at - 1] for c in lanes], own, width)
        else:
            still = [s for s, d in edges[0] if d == 0]
        units = [1 << k for k in range(size.bit_length() - 1)]
        still = list(gf2.complement((*still, *units), own))
        if at < len(chain):
            block = windows_in_order(chain[at])[0].src_basis
            place = gf2.coordinates((*own, *still))
            inner = [gf2.apply(still, gf2.apply(place, s) >> bits) for s in block]
            still = list(gf2.complement((*inner, *still), ()))
        result.append(Layout(size, gf2.coordinates((*own, *still))))
    return tuple(result)


def _matching(
    pairs: Sequence[Pair], columns: Sequence[int], lanes_s: Sequence[int], lanes_d: Sequence[int], width: int
) -> list[int]:
    """Displacements of a destination that should keep the lane, so that sources and destinations agree in lanes."""
    bits = width.bit_length() - 1
    inner_s = [s for s, d in pairs if d == 0]
    inner_d = [d for s, d in pairs if s == 0]
    still = list(gf2.complement(inner_d, lanes_d))
    wide = max(bits, *(c.bit_length() for c in columns))

    def turned(position: int) -> int:
        return (position & width - 1) << wide | position

    moves = gf2.echelon(turned(gf2.apply(columns, s)) for s in inner_s)
    back = gf2.coordinates([gf2.apply(columns, v) & width - 1 for v in lanes_s])
    for s, d in pairs:
        if s and d:
            lane = gf2.reduce(turned(gf2.apply(columns, s)), moves) >> wide
            still.append(d ^ gf2.apply(lanes_d, gf2.apply(back, lane)))
    return still


def _cost(
    chain: Sequence[Junction], layouts: Sequence[Layout], first: bool, last: bool, machine: Machine
) -> float | None:
    """Clock cycles of permuted lanes and of relayouts at fixed ends, or None where the code would be too long."""
    bits = machine.width.bit_length() - 1
    cost = 0.0
    for junction, src, dst in zip(chain, layouts, layouts[1:], strict=False):
        for blocks in junction.blocks:
            woven = weave(blocks, src, dst, bits)
            if woven is None or tiling(woven, machine.registers).unrolled > LIMIT:
                return None
            loads, stores = woven.shuffles()
            cost += 0.5 * loads + 1.0 * stores + 4.0 * (woven.turning_groups > 0)
    if first and not layouts[0].natural:
        cost += relayout_cycles(Layout(layouts[0].size), layouts[0], machine)
    if last and not layouts[-1].natural:
        cost += relayout_cycles(layouts[-1], Layout(layouts[-1].size), machine)
    return cost
