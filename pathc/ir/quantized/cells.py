"""Recurrent cells in integers: those that need sums, requantization and tables alone.

    sum_t   = bias + weight * source_t + weight * state_t-1     products of inputs and of the state in the same sums
    state_t = clamp(round(sum_t * multiplier * 2^-shift))       or a table: the activation of the cell
    read_t  = behind(state_t)                                   activations behind the cell, at the scale of the state

A sequence begins with a state of zeros. Gates multiply states with each other, which no requantization of sums does.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from pathc.ir.cells import Cell, cell_of, cell_stage, plain
from pathc.ir.facts import Recurrent
from pathc.ir.graph import Graph, Station
from pathc.ir.interp.activations import activation
from pathc.ir.interp.recurrent.matrix import Matrix
from pathc.ir.quantized.activations import Reading, reading
from pathc.ir.quantized.formats import CALIBRATED, Format, format_of
from pathc.ir.quantized.rounding import Integers
from pathc.ir.types import Call
from pathc.ir.weights import Tensors
from pathc.support.diagnostics import Diagnostic, error

SUMS = ("rnn", "indrnn", "linear")
"""Cells whose next state is a function of one sum."""
_FARTHEST = 1 << 45
"""Beyond any sum; times a multiplier it still fits into 64 bits."""


@dataclass(frozen=True, eq=False)
class IntegerCell:
    """A cell with integer hidden-to-hidden weights, flat and in the order of `structure_edges`, by direction.

    `behind` is what activations behind the cell make of its states, None where they are read as they are.
    """

    cell: Cell
    weights: tuple[Integers, ...]
    format: Format
    behind: Reading | None

    def units(self, direction: int) -> slice:
        """The units of a direction."""
        return slice(direction * self.cell.hidden, (direction + 1) * self.cell.hidden)

    def reach(self, low: Integers, high: Integers) -> tuple[Integers, Integers]:
        """Least and largest partial sums, in any order, for states within [low, high] (0 lies within): [units]."""
        least, most = np.zeros_like(low), np.zeros_like(high)
        for direction, weights in enumerate(self.weights):
            own = self.units(direction)
            ends = np.stack([low[own], high[own]]).astype(np.float64)
            up, down = (self._matrix(part).push(ends) for part in (np.maximum(weights, 0), np.minimum(weights, 0)))
            least[own], most[own] = up[0] + down[1], up[1] + down[0]
        return least, most

    def run(
        self, sums: Integers, read: Reading, steps: int, start: Sequence[Integers] | None
    ) -> tuple[Integers, Integers, tuple[Integers, ...]]:
        """Sums, states and last states by direction, for what lines and bias bring, int64 [batch * steps, units].

        `start` are the first states, [batch, hidden] by direction, zeros if None.
        """
        total = sums.reshape(-1, steps, sums.shape[1]).copy()
        states, last = np.zeros_like(total), list[Integers]()
        for direction, weights in enumerate(self.weights):
            own, matrix = self.units(direction), self._matrix(weights)
            state = np.zeros((len(total), self.cell.hidden), np.int64) if start is None else start[direction]
            mine = read.part(own)
            for t in range(steps - 1, -1, -1) if direction else range(steps):
                total[:, t, own] += matrix.push(state.astype(np.float64)).astype(np.int64)
                states[:, t, own] = state = mine(total[:, t, own])
            last.append(state)
        return total.reshape(sums.shape), states.reshape(sums.shape), tuple(last)

    def _matrix(self, weights: Integers) -> Matrix:
        return Matrix(self.cell, weights.astype(np.float64))


def state_function(station: Station) -> Station:
    """The station with the activation of its cell as its only stage; one without a cell is returned as it is."""
    cell = cell_of(station)
    if cell is None:
        return station
    return replace(station, pipeline=(Call("identity" if cell.name == "linear" else cell.activation),))


def integer_cell(graph: Graph, weights: Tensors, station: Station, format: Format, scale: float) -> IntegerCell | None:
    """The cell of a station whose state has that format and scale; None for a station without.

    Raises PathcError: E1302 where the matrix is not quantized, E1306 for integers beyond its format, E1303 for
    activations behind it that integers cannot do.
    """
    cell = cell_of(station)
    if cell is None:
        return None
    fact = next((fact for fact in graph.facts_of(Recurrent) if fact.station == station.name), None)
    if fact is None or any(weights[name].dtype.kind not in "iu" for name in cell.tensors):
        text = f"the weights `{cell.tensors[0]}` are not quantized"
        raise error("E1302", text, station.loc, help=CALIBRATED)
    stored = format_of(fact.type, fact.loc or station.loc)
    matrices = tuple(weights[name].astype(np.int64).reshape(-1) for name in cell.tensors)
    for name, values in zip(cell.tensors, matrices, strict=True):
        if not stored.holds(values):
            text = f"tensor `{name}` holds integers outside {stored.low} .. {stored.high} of {fact.type}"
            raise error("E1306", text, station.loc, help="use the weights quantized with this graph")
    return IntegerCell(cell, matrices, stored, _behind(station, format, scale))


def _behind(station: Station, format: Format, scale: float) -> Reading | None:
    stages = plain(station).pipeline
    at = next(i for i, stage in enumerate(stages) if stage == cell_stage(plain(station)))
    functions = tuple(stage for stage in stages[at + 1 :] if stage.name != "identity")
    if not functions:
        return None
    return reading(replace(station, pipeline=functions), np.full(station.real_units, scale), format, scale)


def state_range(read: Reading) -> tuple[Integers, Integers]:
    """Least and largest state of each unit, whatever its sums, with 0 between them: int64 [units]."""
    far = np.full_like(read.shift, _FARTHEST)
    return read.range(-far, far)


def gated(graph: Graph) -> Iterator[Diagnostic]:
    """E1303 for every cell that multiplies or adds states."""
    for station in graph.stations:
        cell = cell_of(station)
        if cell is None:
            continue
        help = f"integers are sums, rounding and tables: {', '.join(SUMS)}, forwards or with `bidirectional = concat`"
        if cell.name not in SUMS:
            text = f"station `{station.name}` has the cell `{cell.name}`, whose gates multiply states"
            yield Diagnostic("E1303", text, station.loc, help=help)
        elif cell.bidirectional == "sum":
            text = f"station `{station.name}` adds the states of two directions, which integers cannot do"
            yield Diagnostic("E1303", text, station.loc, help=help)


def without_cell(station: Station) -> Station:
    """The station with bias and activations alone."""
    known = tuple(s for s in plain(station).pipeline if s.name == "bias" or activation(s) is not None)
    return replace(station, pipeline=known) if cell_stage(station) is not None else station
