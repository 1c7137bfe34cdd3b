"""The plan of a net with cells: feed-forward plans over all steps of all sequences, and a time loop for every cell.

Between them lie arrays [rows, columns], where rows are the steps of a sequence after each other, then those of the
next. What a feed-forward plan brings to a cell stands side by side, copy by copy of the cell's input matrices, then the
highway of an sru. The two directions of a cell write side by side as well, and where they are added a further kernel
does it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pathc.backends.tvm.plan import NetPlan
from pathc.ir.cells import Cell, cell_stage
from pathc.ir.cut import Weights
from pathc.ir.graph import Graph
from pathc.support.diagnostics import PathcError, error

Form = Literal["own", "band", "ring", "dense", "ell", "csr"]
"""Which units a unit sees: itself at most, neighbours, neighbours around the ends, a group, those of a table."""


@dataclass(frozen=True)
class CellPlan:
    """The time loop of a cell.

    A unit sees `width` others: from `reach` below on in a band, of its group if `dense`, by a table of `ell`; `csr` has
    `edges` in all. `sums` [rows, columns] is what lines bring, the last columns the highway if there is one.

    A block of threads computes one direction of `slots` times `samples` sequences: `slots` side by side in its threads,
    `samples` by the same thread. `across` threads share the units of a sequence, `turns` for each, one after the other;
    if units see themselves alone, several blocks share them. `held` says that weights stay in registers over all steps.
    """

    name: str
    cell: Cell
    units: int
    form: Form
    width: int
    reach: int
    edges: int
    sums: str
    columns: int
    highway: bool
    out: str
    across: int
    turns: int
    slots: int
    samples: int
    held: bool

    @property
    def threads(self) -> int:
        """Threads of a block."""
        return self.across * self.slots

    @property
    def sequences(self) -> int:
        """Sequences of a block."""
        return self.slots * self.samples

    @property
    def chunks(self) -> int:
        """Blocks that share the units of a direction."""
        return -(-self.cell.hidden // (self.across * self.turns))

    @property
    def made(self) -> str:
        """The array that the time loop writes, both directions side by side."""
        return f"{self.name}_sides" if self.added else self.out

    @property
    def added(self) -> bool:
        """Whether two directions are added."""
        return self.cell.bidirectional == "sum"

    @property
    def state(self) -> str:
        """The array [batch, states * hidden] of a stateful cell, empty for others."""
        return f"{self.name}_state" if self.cell.stateful else ""

    @property
    def twice(self) -> bool:
        """Whether what the matrix of a gate reads is made in the same step: a reset gate in front of it."""
        return self.cell.name == "gru" and self.cell.reset == "before" and self.form != "own"

    def __str__(self) -> str:
        seen = {
            "own": "itself" if self.cell.recurrent_gates else "none",
            "band": f"{self.reach} on each side",
            "ring": f"{self.width} around",
            "dense": f"{self.width} in a group",
            "ell": f"at most {self.width} by a table",
            "csr": f"{self.edges / max(1, self.cell.hidden):.1f} on average by a table",
        }[self.form]
        weights = ", weights in registers" if self.held else ""
        how = f"{self.sequences} sequence{'s' * (self.sequences > 1)} in {self.threads} threads" + (
            f", {self.turns} units each" * (self.turns > 1)
        )
        sides = {"none": "", "concat": ", two directions", "sum": ", two directions added"}[self.cell.bidirectional]
        what = f"{self.sums} -> {self.out} {self.cell.station}, {self.cell.hidden} units, each sees {seen}{sides}"
        return f"{self.name}: {self.cell.name} {what} | {how}{weights}"


@dataclass(frozen=True, eq=False)
class Feed:
    """What is computed in front of a cell, or behind the last: a feed-forward plan with its net and its weights."""

    plan: NetPlan
    graph: Graph
    weights: Weights


@dataclass(frozen=True, eq=False)
class SequencePlan:
    """Feed-forward plans and time loops in order; `arrays` lie between them, [rows, columns]."""

    name: str
    pieces: tuple[Feed | CellPlan, ...]
    inputs: int
    outputs: int
    arrays: tuple[tuple[str, int], ...]

    @property
    def cells(self) -> tuple[CellPlan, ...]:
        """The time loops."""
        return tuple(piece for piece in self.pieces if isinstance(piece, CellPlan))

    @property
    def nets(self) -> tuple[NetPlan, ...]:
        """The feed-forward plans."""
        return tuple(piece.plan for piece in self.pieces if isinstance(piece, Feed))

    @property
    def lanes(self) -> int:
        """Steps of a tile, the most that a feed-forward plan has."""
        return max((net.lanes for net in self.nets), default=1)

    @property
    def buffers(self) -> tuple[tuple[str, int], ...]:
        """All buffers, those of one kernel included."""
        return tuple({name: units for net in self.nets for name, units in net.buffers}.items())

    @property
    def kept(self) -> tuple[tuple[str, int], ...]:
        """Buffers in main memory with their units; stations that several plans compute share one."""
        return tuple({name: units for net in self.nets for name, units in net.kept}.items())

    @property
    def states(self) -> tuple[tuple[str, int], ...]:
        """Arrays of stateful cells with their numbers for a sequence."""
        return tuple((c.state, c.cell.states * c.cell.hidden) for c in self.cells if c.state)

    @property
    def gradients(self) -> tuple[tuple[str, tuple[int, ...]], ...]:
        """None: there is no backward pass."""
        return ()

    def __str__(self) -> str:
        lines = [f"plan {self.name}: sequences, {len(self.cells)} time loops"]
        lines += [f"  {name}: [batch, steps, {columns}]" for name, columns in self.arrays]
        for piece in self.pieces:
            text = str(piece.plan) if isinstance(piece, Feed) else f"{piece}\n"
            lines += [f"  {line}" for line in text.rstrip("\n").splitlines()]
        return "\n".join(lines) + "\n"


def no_backward(graph: Graph, target: str, help: str) -> PathcError:
    """E0376 for whoever asks for gradients through a cell."""
    at = next(station for station in graph.stations if cell_stage(station))
    text = f"the backward pass of `{target}` has no recurrent cell such as that of `{at.name}`"
    return error("E0376", text, at.loc, help=help)


def check_states(remembered: int, batch: int) -> None:
    """Raise E0702 if states are not those of so many sequences."""
    if remembered != batch:
        text = f"the states are those of {remembered} sequences, the input has {batch}"
        raise error("E0702", text, help="call `reset()` between batches of different sizes")
