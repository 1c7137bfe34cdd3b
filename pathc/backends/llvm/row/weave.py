"""How the dense blocks of a junction cross the vectors of two layouts.

Everything is linear over GF(2). A position is a vector of bits: the low ones are the lane, the others the number of
the vector. If the lanes of source and destination vectors run through matching blocks, every pair of vectors that
meet does so by permutations `lane i <- lane A(i) ^ constant`, all lanes busy: a vector of blocks is multiplied at
once and nothing is gathered.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import reduce as fold

from pathc.backends.llvm.plan import Layout
from pathc.ir import gf2
from pathc.ir.facts import Blocks

Pair = tuple[int, int]
"""A displacement of the source together with one of the destination."""


@dataclass(frozen=True)
class Weave:
    """One window of a junction in two layouts, as displacements of positions.

    Edges are `base` ^ span of all of: (lanes[j], 1 << j) for every lane bit j of the destination; (0, d) for d in
    `dst`; (x, 0) for x in `turns`, which stay inside a vector; (s, 0) for s in `src`; `groups`. Base and groups
    have destination lane 0; those groups whose source lane is not 0 come last.
    """

    lane_bits: int
    lanes: tuple[int, ...]
    turns: tuple[int, ...]
    src: tuple[int, ...]
    dst: tuple[int, ...]
    groups: tuple[Pair, ...]
    base: Pair

    @property
    def multiplications(self) -> int:
        """Vector multiply-adds for one sample."""
        return 1 << len(self.turns) + len(self.src) + len(self.dst) + len(self.groups)

    @property
    def turning_groups(self) -> int:
        """Bits of the group number that permute the lanes of the sources, and so must be constants of the code."""
        mask = (1 << self.lane_bits) - 1
        return sum(1 for s, _ in self.groups if s & mask)

    def lane(self, position: int) -> int:
        """The lane of a position."""
        return position & (1 << self.lane_bits) - 1

    def shuffles(self) -> tuple[int, int]:
        """Source vectors and destination vectors, over all groups, that need their lanes permuted."""
        groups = 1 << len(self.groups)
        straight = all(column == 1 << j for j, column in enumerate(self.lanes))
        turned = gf2.rank(self.lane(s) for s in (*self.turns, *self.src, *(g for g, _ in self.groups)))
        loads = groups << len(self.src) + len(self.turns)
        still = loads >> turned if straight and not self.lane(self.base[0]) else 0
        stores = groups << len(self.dst)
        return loads - still, stores - (stores >> gf2.rank(self.lane(d) for d in self.dst))


def weave(blocks: Blocks, src: Layout, dst: Layout, lane_bits: int) -> Weave | None:
    """The window on two layouts, or None where their lanes do not run through matching blocks."""
    place_s, place_d = _map(src, blocks.src_basis, blocks.src_reps), _map(dst, blocks.dst_basis, blocks.dst_reps)
    inner_s = [place_s(u) for u in blocks.src_basis]
    inner_d = [place_d(u) for u in blocks.dst_basis]
    reps = [(place_s(s), place_d(d)) for s, d in zip(blocks.src_reps, blocks.dst_reps, strict=True)]
    lanes = _lane_map(inner_s, inner_d, reps, lane_bits)
    if lanes is None:
        return None
    mask = (1 << lane_bits) - 1
    units = [1 << j for j in range(lane_bits)]
    turns = gf2.intersection(gf2.echelon(inner_s), units)
    still = gf2.intersection(gf2.echelon(inner_d), units)
    wide = max((p.bit_length() for p in (*inner_s, *inner_d, *(q for r in reps for q in r))), default=0)
    wide = max(wide, lane_bits, place_s(blocks.src_shift).bit_length(), place_d(blocks.dst_shift).bit_length())
    high = wide - lane_bits

    def turned(position: int) -> int:
        return (position & mask) << high | position >> lane_bits

    def back(key: int) -> int:
        return key >> high | (key & (1 << high) - 1) << lane_bits

    def inside(vectors: Sequence[int], lane_space: Sequence[int]) -> tuple[int, ...]:
        """Basis of the vectors modulo a space of lanes, those that stay in their lane first."""
        keys = gf2.echelon(turned(v) for v in gf2.complement(vectors, lane_space))
        keys = gf2.echelon(gf2.reduce(k >> high, lane_space) << high | k & (1 << high) - 1 for k in keys)
        return tuple(back(k) for k in keys)

    def settled(pair: Pair) -> Pair:
        """The pair moved along the lanes until its destination is in lane 0."""
        lane = pair[1] & mask
        return pair[0] ^ gf2.apply(lanes, lane), pair[1] ^ lane

    def key_of(pair: Pair) -> int:
        s, d = settled(pair)
        return turned(s) << high | d >> lane_bits

    def pair_of(key: int) -> Pair:
        return back(key >> high), (key & (1 << high) - 1) << lane_bits

    source_moves = gf2.echelon(key_of((s, 0)) for s in inner_s)
    moves = gf2.echelon((*source_moves, *(key_of((0, d)) for d in inner_d)))
    keys = gf2.echelon(gf2.reduce(key_of(pair), moves) for pair in reps)
    base = gf2.reduce(key_of((place_s(blocks.src_shift), place_d(blocks.dst_shift))), moves)
    return Weave(
        lane_bits=lane_bits,
        lanes=lanes,
        turns=turns,
        src=inside(inner_s, turns),
        dst=inside(inner_d, still),
        groups=tuple(pair_of(k) for k in keys),
        base=pair_of(base),
    )


def span(vectors: Iterable[int]) -> list[int]:
    """All XORs of the vectors: entry k is that of the vectors at the set bits of k."""
    result = [0]
    for vector in vectors:
        result += [vector ^ known for known in result]
    return result


def total(pairs: Iterable[Pair]) -> Pair:
    """The XOR of pairs."""
    return fold(lambda a, b: (a[0] ^ b[0], a[1] ^ b[1]), pairs, (0, 0))


def _map(layout: Layout, *spaces: Sequence[int]) -> Callable[[int], int]:
    bits = max((v.bit_length() for space in spaces for v in space), default=0)
    columns = layout.columns or tuple(1 << k for k in range(max(bits, layout.size.bit_length())))
    return lambda unit: gf2.apply(columns, unit)


def _lane_map(
    inner_s: Sequence[int], inner_d: Sequence[int], reps: Sequence[Pair], lane_bits: int
) -> tuple[int, ...] | None:
    """Columns of the map A from destination lanes to source lanes in matching blocks, or None if there is none."""
    units = [1 << j for j in range(lane_bits)]
    turns = gf2.intersection(gf2.echelon(inner_s), units)
    still = gf2.intersection(gf2.echelon(inner_d), units)
    if len(turns) != len(still):
        return None
    partners = [_partner(unit, inner_s, inner_d, reps, units) for unit in units]
    if any(partner is None for partner in partners):
        return None
    found = [partner for partner in partners if partner is not None]
    if gf2.rank(found) == lane_bits:
        return tuple(found)
    # The partners are known up to `turns`; send the lanes of a block to lanes of a block, the rest by any partner.
    basis = (*still, *gf2.complement(units, still))
    images = (*turns, *(gf2.apply(found, b) for b in basis[len(still) :]))
    if gf2.rank(images) < lane_bits:
        return None
    return gf2.compose(images, gf2.coordinates(basis))


def _partner(
    lane: int, inner_s: Sequence[int], inner_d: Sequence[int], reps: Sequence[Pair], units: Sequence[int]
) -> int | None:
    """A source lane in the block that matches a destination lane's; the lane itself where it is one."""
    reach = [*(d for _, d in reps), *inner_d]
    combination = gf2.solve(reach, lane)
    if combination is None:
        return None
    at = total(pair for k, pair in enumerate(reps) if combination >> k & 1)[0]
    if gf2.contains(gf2.echelon(inner_s), at ^ lane):
        return lane
    chosen = gf2.solve([*units, *inner_s], at)
    return None if chosen is None else chosen & (1 << len(units)) - 1
