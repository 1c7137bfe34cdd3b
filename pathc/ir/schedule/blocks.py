"""Schedules of paths that are linear over GF(2): a lane permutation and a constant per cycle, never written out.

In a block of z = 2^k paths from a multiple of z on, only the low k bits of the path index differ from lane to lane.
Unit, bank and row are affine over GF(2), so what lane m does in cycle c is what it does in cycle 0 XOR a constant
of the cycle. Source: the theorem in docs/theorem.md.
"""

from __future__ import annotations

from dataclasses import dataclass

from pathc.ir import gf2
from pathc.ir.generators.base import Affine
from pathc.ir.gf2 import IndexArray
from pathc.ir.schedule.banks import Banks
from pathc.ir.schedule.check import Verdict
from pathc.ir.schedule.table import MAX_CELLS, Schedule
from pathc.support.diagnostics import error


@dataclass(frozen=True)
class End:
    """One end of a block schedule: the units of path i are `units(i)`, laid out in `banks` memories."""

    units: Affine
    layout: Banks
    lane_bits: int

    @property
    def lane_banks(self) -> tuple[int, ...]:
        """Columns of the map from lanes to banks, the constant of the cycle left out."""
        return gf2.compose(self._linear[0], self.units.columns[: self.lane_bits])

    @property
    def lane_rows(self) -> tuple[int, ...]:
        """Columns of the map from lanes to rows, the constant of the cycle left out; all 0 for a common row."""
        return gf2.compose(self._linear[1], self.units.columns[: self.lane_bits])

    @property
    def common_row(self) -> bool:
        """All lanes of a cycle use the same row: one address serves all banks."""
        return not any(self.lane_rows)

    @property
    def load(self) -> int:
        """Lanes that ask each bank that is asked, the same in every cycle; 1 is clash-free."""
        return 1 << (self.lane_bits - gf2.rank(self.lane_banks))

    def cycle(self, number: int) -> tuple[int, int]:
        """(bank, row) of lane 0 in a cycle: what is XORed to those of all lanes."""
        unit = self.units(number << self.lane_bits)
        return gf2.apply(self._linear[0], unit), gf2.apply(self._linear[1], unit)

    def banks(self, number: int) -> IndexArray:
        """Bank of every lane in a cycle: int64 of shape [z]."""
        return gf2.span_array(self.lane_banks, self.cycle(number)[0])

    def rows(self, number: int) -> IndexArray:
        """Row of every lane in a cycle: int64 of shape [z]."""
        return gf2.span_array(self.lane_rows, self.cycle(number)[1])

    @property
    def _linear(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        linear = self.layout.linear
        if linear is None:
            raise ValueError("the banks are not linear over GF(2)")
        return linear


@dataclass(frozen=True)
class BlockSchedule:
    """`paths` paths, z = 2^lane_bits a cycle in the order of their index, both ends affine; paths a multiple of z."""

    paths: int
    source: End
    destination: End

    @property
    def lane_bits(self) -> int:
        """log2 of the number of lanes."""
        return self.source.lane_bits

    @property
    def z(self) -> int:
        """Number of lanes."""
        return 1 << self.lane_bits

    @property
    def cycles(self) -> int:
        """Number of cycles, before any stall."""
        return self.paths >> self.lane_bits

    def verdict(self, *, writes: bool = True) -> Verdict:
        """What `check` finds in the schedule written out, by linear algebra."""
        source, destination = self.source.load, self.destination.load
        worst = max(source, destination) if writes else source
        return Verdict(
            paths=self.paths,
            z=self.z,
            cycles=self.cycles,
            ideal=self.cycles,
            missing=0,
            repeated=0,
            source_clashes=self.cycles * (self.z - self.z // source),
            destination_clashes=self.cycles * (self.z - self.z // destination),
            stalls=self.cycles * (worst - 1),
            rmw_distance=self._rmw_distance(),
            writes=writes,
        )

    def write_out(self) -> Schedule:
        """The same schedule cycle by cycle; E0356 if that takes too much memory."""
        if self.paths > MAX_CELLS:
            message = f"a schedule of {self.paths} paths is too long to be written out"
            raise error("E0356", message, help="`source` and `destination` give banks and rows of single cycles")
        index_bits = (self.paths - 1).bit_length()

        def units(end: End) -> IndexArray:
            columns = (*end.units.columns, *(0,) * index_bits)[:index_bits]
            return gf2.span_array(columns, end.units.shift)[: self.paths]

        paths = gf2.span_array([1 << k for k in range(index_bits)])[: self.paths]
        return Schedule(
            paths.reshape(-1, self.z),
            units(self.source),
            units(self.destination),
            self.source.layout,
            self.destination.layout,
        )

    def _rmw_distance(self) -> int:
        """Cycles c and c' share a destination iff c ^ c' lies in a linear space; the smallest |c - c'| over it.

        With x = c ^ c' and b its leading bit, |c - c'| is at least 2^(b+1) - x, reached by c = 2^b.
        """
        columns, low = self.destination.units.columns, self.lane_bits
        cycle_bits = (self.cycles - 1).bit_length()
        combined = (*columns[:low], *columns[low : low + cycle_bits])
        shared = gf2.echelon(relation >> low for relation in gf2.kernel(combined))
        best = 0
        for position, element in enumerate(shared):
            lead = element.bit_length()
            distance = (1 << lead) - _largest(element, shared[:position])
            best = min(best, distance) if best else distance
        return best


def block_schedule(
    source: Affine, destination: Affine, paths: int, z: int, source_banks: Banks, destination_banks: Banks
) -> BlockSchedule | None:
    """Blocks of z paths in the order of their index, or None unless z, layers and banks are powers of two, and z
    divides the number of paths.
    """
    if z & z - 1 or paths % z or source_banks.linear is None or destination_banks.linear is None:
        return None
    bits = z.bit_length() - 1
    return BlockSchedule(paths, End(source, source_banks, bits), End(destination, destination_banks, bits))


def _largest(vector: int, basis: tuple[int, ...]) -> int:
    """The largest vector of the coset of `vector`; the basis is in echelon form, below the leading bit of `vector`."""
    for element in reversed(basis):
        vector = max(vector, vector ^ element)
    return vector
