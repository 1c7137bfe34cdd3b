"""What a cell in training keeps of every step, and where.

x has a row for every sample and step with what lines bring: gates at multiples of `pitch`, then a highway if there is
one. The forward loop leaves the gates after their functions there, the backward loop the gradients at their sums. The
record has a row more than there are steps: row t holds the state before step t, and what else undoes step t:

    h   the state, between margins that neighbours beyond the ends read
    v   r h of a gru whose reset acts before the matrix, between margins
    c   the second state of an lstm
    q   U h of a gru whose reset acts after the matrix; then the gradient there

All rows are whole vectors. Row 0 is zero: sequences in training begin without a state.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from pathc.backends.llvm.machine import Machine
from pathc.backends.llvm.recurrent.layout import Layout, layout_of
from pathc.backends.llvm.recurrent.loop import SAMPLES
from pathc.ir.cells import Cell


@dataclass(frozen=True, eq=False)
class Plan:
    """A cell in training: its matrices as they are read forwards and, turned, backwards."""

    cell: Cell
    machine: Machine
    pitch: int
    layout: Layout
    turned: Layout
    highway: bool

    @staticmethod
    def of(cell: Cell, machine: Machine, pitch: int, *, highway: bool) -> Plan:
        """The plan of a cell whose gates lie `pitch` floats apart."""
        there, back = (layout_of(cell, machine.width, turned=turned) for turned in (False, True))
        return Plan(cell, machine, pitch, there, back, highway)

    @property
    def lanes(self) -> int:
        """Floats in a vector."""
        return self.machine.width

    @property
    def gates(self) -> int:
        """Gates with an input."""
        return len(self.cell.gates)

    @property
    def recurrent(self) -> int:
        """Gates with a matrix, the last ones."""
        return len(self.cell.recurrent_gates)

    @property
    def before(self) -> bool:
        """Whether the matrix of the candidate sees r h, which is a pass of its own."""
        return self.cell.name == "gru" and self.cell.reset == "before"

    @property
    def after(self) -> bool:
        """Whether the reset gate scales what the matrix of the candidate made."""
        return self.cell.name == "gru" and self.cell.reset == "after"

    @cached_property
    def samples(self) -> tuple[int, ...]:
        """Samples of tiles, the most first: more where weights would be fetched from beyond the second-level cache."""
        size = 4 * self.layout.rows * self.recurrent * self.lanes
        wide = self.layout.form == "list" and 2 * size > self.machine.l2
        return (2 * SAMPLES, SAMPLES, 1) if wide else (SAMPLES, 1)

    @property
    def most(self) -> int:
        """Samples of the largest tile."""
        return self.samples[0]

    @property
    def padded(self) -> int:
        """Units, whole vectors."""
        return self.layout.vectors * self.lanes

    @cached_property
    def places(self) -> dict[str, int]:
        """Where the first unit of each part of a row of the record lies, in floats; `row` is how long the row is."""
        found: dict[str, int] = {}
        at = 0
        for name, there in (("h", True), ("v", self.before), ("c", self.cell.name == "lstm"), ("q", self.after)):
            margin = self.layout.margin if name in "hv" else 0
            if there:
                found[name] = at + margin
                at += self.padded + 2 * margin
        found["row"] = spread(at)
        return found

    @property
    def row(self) -> int:
        """Floats of a row of the record."""
        return self.places["row"]

    def gradient_at(self, gate: int) -> tuple[str, int]:
        """Where the gradient at what the matrix of a gate made lies in the end: `x` or `record`, and the place."""
        if self.after and gate == 2:
            return "record", self.places["q"]
        return "x", (self.gates - self.recurrent + gate) * self.pitch

    def source_of(self, gate: int) -> int:
        """Where in a row of the record the units that the matrix of a gate sees lie."""
        return self.places["v" if self.before and gate == 2 else "h"]


def spread(floats: int) -> int:
    """A distance of rows, whole cache lines, an odd number of them: columns of many rows then share no cache set."""
    lines = -(-floats // 16)
    return 16 * (lines + 1 - lines % 2)
