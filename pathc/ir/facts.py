"""Facts that passes add to a graph; each prints as one line of `.pir` and reads back the same."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from pathc.ir.types import ScalarType
from pathc.support.source import Loc


@dataclass(frozen=True)
class Fact:
    """Base of all facts: something a pass found out or decided about a station, a line or a junction."""

    loc: Loc | None = field(default=None, compare=False, kw_only=True)

    @property
    def summary(self) -> str:
        """The fact in a few words for a reader of its text, empty if the fields say it all."""
        return ""


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

    @property
    def summary(self) -> str:
        """`16 of 16x16, rank 12`, fan-out x fan-in."""
        shared = f", every edge {self.repeat} times" if self.repeat > 1 else ""
        return f"{self.count} of {self.fan_out}x{self.fan_in}, rank {self.rank}{shared}"


@dataclass(frozen=True)
class Distinct(Fact):
    """The paths of a junction run along `edges` distinct edges; repeated ones may be stored once."""

    line: str
    junction: int
    edges: int


@dataclass(frozen=True)
class Bicliques(Fact):
    """A junction without `Blocks` consists of `blocks` dense blocks holding `edges` edges, and `remainder` others.

    A dense block joins all destinations with the same set of sources; only blocks of at least `rows`
    destinations count. `ir.bicliques.find_bicliques` gives the units.
    """

    line: str
    junction: int
    blocks: int
    edges: int
    remainder: int
    rows: int


@dataclass(frozen=True)
class Mixing(Fact):
    """How far the paths of a line carry: units of the first visit that a unit sees, and connected pieces.

    `least[j-1]` and `most[j-1]` bound the receptive field of the visited units after junction j; `pieces` is
    the number of connected components the paths of the line form. Bounds and pieces are estimates from a
    sample unless `exact`.
    """

    line: str
    least: tuple[int, ...]
    most: tuple[int, ...]
    pieces: int
    exact: bool = True


@dataclass(frozen=True)
class Valence(Fact):
    """Paths through the units of a visit (from 0): how many units are touched, fewest and most paths of a unit.

    `least` is 0 if a unit is left out.
    """

    line: str
    visit: int
    touched: int
    least: int
    most: int


@dataclass(frozen=True)
class Bank(Fact):
    """The units of a station lie in `banks` memories, picked by `map`; `masks` are those of a custom map.

    `ir.schedule.Banks` gives bank and row of every unit.
    """

    station: str
    banks: int
    map: Literal["high", "low", "bank-major", "custom"]
    masks: tuple[int, ...] = ()


@dataclass(frozen=True)
class Order(Fact):
    """The paths of a junction are processed `z` at a time, in the order of the interleaver `kind`.

    They take `cycles` cycles if no bank is asked twice in one, and `stalls` more as the banks are: 0 is
    clash-free, -1 not counted. `proof` is algebra, count or none. With `writes` the banks of the destinations are
    held to the same as those of the sources. `ir.schedule.schedule_of` gives the cycles.
    """

    line: str
    junction: int
    kind: str
    z: int
    cycles: int
    stalls: int
    proof: Literal["algebra", "count", "none"]
    writes: bool = True

    @property
    def summary(self) -> str:
        """`clash-free, proved`."""
        if self.proof == "none":
            return "clashes not counted"
        found = "clash-free" if self.stalls == 0 else f"{self.stalls} stalls"
        return f"{found}, {'proved' if self.proof == 'algebra' else 'counted'}"


@dataclass(frozen=True)
class Scale(Fact):
    """The values read from a station are integers of `type` times `multiplier` * 2^-`shift`."""

    station: str
    type: ScalarType
    multiplier: int = 1
    shift: int = 0

    @property
    def value(self) -> float:
        """What the integer 1 stands for."""
        return math.ldexp(self.multiplier, -self.shift)

    @property
    def summary(self) -> str:
        """`i8 * 2^-5`."""
        factor = "" if self.multiplier == 1 else f"{self.multiplier} * "
        return f"{self.type} * {factor}2^{-self.shift}"


@dataclass(frozen=True)
class Weights(Fact):
    """The weights of a junction are integers of `type`, with one scale for the `tensor` or one a destination `unit`.

    The scales stand beside the weights, as `<line>.<junction>.scale`.
    """

    line: str
    junction: int
    type: ScalarType
    per: Literal["tensor", "unit"] = "tensor"


@dataclass(frozen=True)
class Recurrent(Fact):
    """The hidden-to-hidden weights of a station's cell are integers of `type`, with one scale for the `tensor` or one
    a `unit` that receives.

    The scales stand beside the weights, as `<station>.recurrent.<gate>.scale`.
    """

    station: str
    type: ScalarType
    per: Literal["tensor", "unit"] = "tensor"


@dataclass(frozen=True)
class Sums(Fact):
    """No sum of a station needs more than `bits` bits, sign included, whatever the input."""

    station: str
    bits: int
