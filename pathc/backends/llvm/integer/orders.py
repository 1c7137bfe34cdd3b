"""In which order units lie for one sample, so that one permutation of bytes serves each vector of sources.

A producer writes a vector of bytes from four registers of sums: the lanes are blocks, the four are rows of them. A
consumer reads a vector whose lanes are other blocks, with four columns of each. Where blocks are cosets over GF(2),
both vectors can be cosets of one space W of units: W must meet the rows of a block in as many dimensions as its lanes
leave, and likewise the columns of a block of the consumer. Then the bytes of each vector are those of one other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

import numpy as np

from pathc.backends.groups import Group, Ids
from pathc.ir import gf2

_TRIALS = 300
_UNMET = 16
"""Vectors from which the bytes of one come, about, where those of no space do."""
Space = tuple[int, ...]
"""A space of unit numbers, by its echelon basis."""


@dataclass(frozen=True)
class Linear:
    """Blocks that are cosets: `src` and `dst` span the columns and rows of each, the others lead from block to block.

    Block b consists of the columns `src_shift ^ span(src_reps; b) ^ span(src)` and rows likewise.
    """

    src: Space
    dst: Space
    src_reps: tuple[int, ...]
    dst_reps: tuple[int, ...]
    dst_shift: int

    @classmethod
    def of(cls, groups: Sequence[Group], first: int) -> Linear | None:
        """What is linear in groups of one source, whose unit 0 is the id `first`; None if they are no cosets."""
        sizes = {(len(group.rows), len(group.columns)) for group in groups}
        if len(sizes) != 1 or len(groups) & (len(groups) - 1):
            return None
        columns = np.stack([group.columns for group in groups]) - first
        rows = np.stack([group.rows for group in groups])
        if columns.shape[1] == 0 or columns.min() < 0:
            return None
        src, dst = _span(columns), _span(rows)
        if src is None or dst is None:
            return None
        firsts = (gf2.reduce_array(units[:, 0], span).tolist() for units, span in ((columns, src), (rows, dst)))
        ends = list(zip(*firsts, strict=True))
        wide = max(d for _, d in ends).bit_length()
        joined = [s << wide | d for s, d in ends]
        reps = gf2.echelon(value ^ joined[0] for value in joined)
        if 1 << len(reps) != len(groups) or len(set(joined)) != len(groups):
            return None
        src_reps, dst_reps = tuple(r >> wide for r in reps), tuple(r & (1 << wide) - 1 for r in reps)
        if gf2.rank((*src, *src_reps)) < len(src) + len(reps) or gf2.rank((*dst, *dst_reps)) < len(dst) + len(reps):
            return None
        return cls(src, dst, src_reps, dst_reps, ends[0][1])

    def lanes(self, width: int) -> int:
        """Dimensions of the lanes of vectors of `width` lanes: blocks side by side."""
        return min(len(self.src_reps), width.bit_length() - 1)

    def images(self, space: Space, width: int) -> Space:
        """The blocks that share vectors if the sources lie in cosets of `space`, as a space of block numbers."""
        known = (*self.src, *self.src_reps)
        find, reach = gf2.coordinates(known), gf2.echelon(known)
        inside = [v for v in space if gf2.contains(reach, v)]
        return gf2.echelon(gf2.apply(find, v) >> len(self.src) for v in inside)[: self.lanes(width)]

    def reach(self, shared: Space) -> Space:
        """The units of blocks that share vectors, as a space."""
        return gf2.echelon((*self.dst, *(gf2.apply(self.dst_reps, block) for block in shared)))

    def shared(self, space: Space, read: Linear | None, width: int) -> Space:
        """The blocks that share vectors: all lanes, chosen so that few bytes move on the way in and on the way out.

        Lanes that are `images` of the space in which the sources lie find their bytes in one vector; each that is not
        doubles how many vectors they come from. So does a reader that finds too few columns together.
        """
        images, lanes = self.images(space, width), self.lanes(width)
        every = tuple(1 << k for k in range(len(self.src_reps)))
        random, best, found = Random(1), float("inf"), images
        inside = len(gf2.intersection(gf2.echelon(space), self.src))
        apart = 1 << max(0, (4 * width).bit_length() - 1 - lanes - inside)
        wanted = (4 * width).bit_length() - 1 - read.lanes(width) if read is not None else 0
        for kept in range(len(images), -1, -1):
            moved = apart << lanes - kept
            for _ in range(_TRIALS if kept < lanes else 1):
                if moved + 1 >= best:
                    return found
                chosen = images if kept == len(images) else gf2.echelon(_some(random, images, kept))
                while len(chosen) < lanes:
                    chosen = gf2.echelon((*chosen, *_some(random, every, 1)))
                cost = moved + (1 if _together(self, chosen, read, width) == wanted else _UNMET)
                if cost < best:
                    best, found = cost, chosen
        return found

    def blocks(self, groups: Sequence[Group]) -> list[int]:
        """The block number of each group."""
        find = gf2.coordinates((*self.dst, *self.dst_reps))
        return [gf2.apply(find, int(group.rows[0]) ^ self.dst_shift) >> len(self.dst) for group in groups]


def natural(units: int, width: int) -> Space | None:
    """The space of vectors of units in their own order; None where there are too few for one."""
    bits = (4 * width).bit_length() - 1
    return tuple(1 << k for k in range(bits)) if units > 1 << (bits - 1) else None


def meeting(made: Linear, shared: Space, read: Linear | None, then: Linear | None, width: int) -> Space | None:
    """The space W for units made by blocks whose lanes are `shared`, and read by others; None if none was found.

    Of several it is the one whose image in the lanes of the reader serves best those that read its units, `then`.
    """
    bits = (4 * width).bit_length() - 1
    reach = made.reach(shared)
    rows = bits - len(shared)
    columns = bits - read.lanes(width) if read is not None else 0
    common = gf2.intersection(reach, read.src) if read is not None else ()
    if len(reach) < bits or len(made.dst) < rows or len(common) < columns:
        return None
    random, best, found = Random(1), -1, None
    for _ in range(_TRIALS):
        basis = gf2.echelon(_some(random, common, columns))
        met = len(gf2.intersection(basis, made.dst))
        basis = gf2.echelon((*basis, *_some(random, made.dst, max(0, rows - met))))
        while len(basis) < bits:
            basis = gf2.echelon((*basis, *_some(random, reach, 1)))
        fits = len(basis) == bits and len(gf2.intersection(basis, made.dst)) == rows
        if not fits or (read is not None and len(gf2.intersection(basis, read.src)) != columns):
            continue
        score = 0 if read is None else _together(read, read.images(basis, width), then, width)
        if score > best:
            best, found = score, basis
        if read is None or then is None or score == bits - then.lanes(width):
            break
    return found


def _together(made: Linear, shared: Space, read: Linear | None, width: int) -> int:
    """Dimensions, of those wanted, in which the columns of a reader meet the units that share vectors."""
    if read is None:
        return 0
    wanted = (4 * width).bit_length() - 1 - read.lanes(width)
    return min(wanted, len(gf2.intersection(made.reach(shared), read.src)))


def _span(units: Ids) -> Space | None:
    """The space that every row [blocks, units] is a coset of, None if there is none."""
    basis = gf2.echelon((units[0] ^ units[0, 0]).tolist())
    same = 1 << len(basis) == units.shape[1] and bool((gf2.reduce_array(units ^ units[:, :1], basis) == 0).all())
    return basis if same and all(len(np.unique(row)) == len(row) for row in units) else None


def _some(random: Random, space: Sequence[int], count: int) -> list[int]:
    """`count` random vectors of a space, most often independent ones."""
    return [gf2.apply(space, random.randrange(1, 1 << len(space))) for _ in range(count)] if space else []
