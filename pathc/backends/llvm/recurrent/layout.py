"""How a cell's hidden-to-hidden weights lie in memory, and which form of kernel reads them.

`diag`   [vector][gate][lane]: elementwise, nothing crosses lanes; state and weights stay in registers.
`band`   [vector][neighbour][gate][lane]: the state is shifted by a constant number of lanes for every neighbour.
`list`   [vector][source][gate][lane]: a broadcast of each unit between the first and the last one that the vector sees;
         each vector has its first source and number of sources in a table.
`gather` [vector][slot][gate][lane], with the numbers of sources beside it: for sparse matrices without any order.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pathc.ir.cells import Cell
from pathc.ir.recurrence import Index, band_reach, structure_edges

Form = Literal["none", "diag", "band", "list", "gather"]
_STRAIGHT = 512
"""Most multiply-adds of a band that are written out for one vector."""
_GATHER_CYCLES = 17.0
UNROLL = 4
"""Sources a list takes at a time: as many chains of additions run side by side."""


@dataclass(frozen=True, eq=False)
class Layout:
    """The form of a cell's kernel over vectors of `lanes`; `reach` are the neighbours of a band on each side.

    `into` and `seen` are the edges of one gate, `first` and `counts` the table of a list, or the slots of a gather.
    """

    cell: Cell
    lanes: int
    form: Form
    into: Index
    seen: Index
    reach: int = 0
    first: Index | None = None
    counts: Index | None = None

    @property
    def gates(self) -> tuple[str, ...]:
        """Gates whose hidden-to-hidden weights the kernel reads."""
        return () if self.form == "none" else self.cell.recurrent_gates

    @property
    def vectors(self) -> int:
        """Vectors that hold the units, the last one perhaps in part."""
        return -(-self.cell.hidden // self.lanes)

    @property
    def wrapped(self) -> bool:
        """Whether the band is a ring."""
        return self.form == "band" and self.cell.recur.name == "ring"

    @property
    def margin(self) -> int:
        """Units in front of and behind the state that shifts may read."""
        return -(-self.reach // self.lanes) * self.lanes + self.lanes

    @property
    def stride(self) -> int:
        """Floats of a state vector with its margins."""
        return self.vectors * self.lanes + 2 * self.margin

    def packed(self, weights: Mapping[str, NDArray[Any]], direction: int) -> NDArray[np.float32]:
        """The weights of a direction's gates in the order in which the kernel reads them."""
        gates = self.cell.recurrent_gates
        values = [np.asarray(weights[self.cell.tensor(direction, g)], np.float32).reshape(-1) for g in gates]
        if self.form == "none":
            return np.zeros(self.lanes, np.float32)
        out = np.zeros(self.rows * len(gates) * self.lanes, np.float32)
        places = self.places()
        for g, each in enumerate(values):
            np.add.at(out, places + g * self.lanes, each)
        return out

    @property
    def rows(self) -> int:
        """Rows of packed weights, each a vector for every gate."""
        return int(self.starts()[-1])

    def places(self) -> Index:
        """Where the packed weight of each edge lies, that of the first gate; the next gate's is one vector behind."""
        row = self.starts()[self.into // self.lanes] + self._slots()
        return row * len(self.cell.recurrent_gates) * self.lanes + self.into % self.lanes

    def table(self) -> NDArray[np.int32]:
        """First source and number of sources by vector, or for a gather number of slots and then the sources."""
        if self.form == "list" and self.first is not None and self.counts is not None:
            return np.stack((self.first, self.counts), axis=1).astype(np.int32).reshape(-1)
        if self.form == "gather" and self.counts is not None:
            starts = self.starts()
            sources = np.zeros((int(starts[-1]), self.lanes), np.int32)
            sources[starts[self.into // self.lanes] + self._slots(), self.into % self.lanes] = self.seen
            return np.concatenate((self.counts.astype(np.int32), sources.reshape(-1)))
        return np.zeros(1, np.int32)

    def starts(self) -> Index:
        """Rows of weights in front of each vector, and of all."""
        if self.counts is None:
            each = 2 * self.reach + 1
            return np.arange(self.vectors + 1, dtype=np.int64) * each
        return np.concatenate(([0], np.cumsum(self.counts)))

    def _slots(self) -> Index:
        """Row of each edge within its vector."""
        if self.form == "band":
            offset = self.seen - self.into
            if self.wrapped:
                offset = (offset + self.reach) % self.cell.hidden - self.reach
            return offset + self.reach
        if self.form == "list" and self.first is not None:
            return self.seen - self.first[self.into // self.lanes]
        if self.form == "gather":
            return _position(self.into)
        return np.zeros(len(self.into), np.int64)


def layout_of(
    cell: Cell, lanes: int, weights: Mapping[str, NDArray[Any]] | None = None, *, turned: bool = False
) -> Layout:
    """The form that reads a cell's matrices fastest, or, if `turned`, their transposes.

    With `weights` it is the form for these, none where all weights of an elementwise cell are zero: an sru without
    them is that of its first publication, whose gates hear nothing of the state.
    """
    nothing = np.zeros(0, np.int64)
    silent = weights is not None and cell.name == "sru" and not any(np.any(weights[name]) for name in cell.tensors)
    if not cell.recurrent_gates or silent:
        return Layout(cell, lanes, "none", nothing, nothing)
    into, seen = structure_edges(cell.recur, cell.hidden, cell.loc)
    into, seen = (seen, into) if turned else (into, seen)
    if cell.recur.name == "diag":
        return Layout(cell, lanes, "diag", into, seen)
    if cell.recur.name in ("band", "ring"):
        reach = band_reach(cell.recur, cell.hidden)
        odd = len(into) == cell.hidden * (2 * reach + 1) or cell.recur.name == "band"
        if odd and (2 * reach + 1) * len(cell.recurrent_gates) <= _STRAIGHT and reach < cell.hidden:
            return Layout(cell, lanes, "band", into, seen, reach)
    vectors = -(-cell.hidden // lanes)
    at = into // lanes
    first, last = np.full(vectors, cell.hidden), np.full(vectors, -1)
    np.minimum.at(first, at, seen)
    np.maximum.at(last, at, seen)
    first = np.minimum(first, np.maximum(last, 0))
    # A vector that sees no unit has rows of zeros all the same: the kernel takes at least one round.
    counts = -(-np.maximum(last - first + 1, 1) // UNROLL) * UNROLL
    per_unit = np.bincount(into, minlength=vectors * lanes).reshape(vectors, lanes)
    slots = per_unit.max(axis=1)
    if counts.sum() <= _GATHER_CYCLES * slots.sum():
        return Layout(cell, lanes, "list", into, seen, 0, first, counts)
    return Layout(cell, lanes, "gather", into, seen, 0, None, slots)


def _position(into: Index) -> Index:
    """How many edges of the same unit stand in front of each edge."""
    order = np.argsort(into, kind="stable")
    ranks = np.arange(len(into)) - np.searchsorted(into[order], into[order], side="left")
    found = np.empty(len(into), np.int64)
    found[order] = ranks
    return found
