"""Facts that passes add to a graph; each prints as one line of `.pir` and reads back the same."""

from __future__ import annotations

from dataclasses import dataclass, field

from pathc.support.source import Loc


@dataclass(frozen=True)
class Fact:
    """Base of all facts: something a pass found out or decided about a station, a line or a junction."""

    loc: Loc | None = field(default=None, compare=False, kw_only=True)


@dataclass(frozen=True)
class Blocks(Fact):
    """One aligned window of paths of a junction is exactly `count` dense blocks of fan_out x fan_in.

    All unit numbers are vectors over GF(2), the integer's bits. Block k consists of the destinations
    `dst_shift ^ span(dst_reps; k) ^ span(dst_basis)` and the sources `src_shift ^ span(src_reps; k) ^
    span(src_basis)`, where span(reps; k) is the XOR of those `reps[b]` for which bit b of k is set. Every
    (destination, source) pair of a block is an edge, carried by `repeat` paths of the window.
    `rank` is the dimension of the space of edges. Source: the theorem in docs/theorem.md.
    """

    line: str
    junction: int
    start: int
    length: int
    src_basis: tuple[int, ...]
    dst_basis: tuple[int, ...]
    src_reps: tuple[int, ...]
    dst_reps: tuple[int, ...]
    src_shift: int = 0
    dst_shift: int = 0

    @property
    def count(self) -> int:
        """Number of blocks."""
        return 1 << len(self.src_reps)

    @property
    def fan_in(self) -> int:
        """Sources in a block."""
        return 1 << len(self.src_basis)

    @property
    def fan_out(self) -> int:
        """Destinations in a block."""
        return 1 << len(self.dst_basis)

    @property
    def rank(self) -> int:
        """Dimension of the space of edges."""
        return len(self.src_basis) + len(self.dst_basis) + len(self.src_reps)

    @property
    def repeat(self) -> int:
        """Paths that share each edge."""
        return self.length >> self.rank
