"""What the lines bring to a cell: one sum per copy of their weights, and the gradients that go back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pathc.ir.cells import Cell
from pathc.ir.graph import Station
from pathc.ir.interp.junctions import Junction, SkipJunction, Values, junction_values, widen
from pathc.ir.interp.network import Layout, Network
from pathc.ir.interp.recurrent.unroll import Bounded, CellTrace, State, Unrolled
from pathc.ir.weights import Tensors

_EXTRA_ROUNDINGS = 3


@dataclass(frozen=True, eq=False)
class CellInputs:
    """Sums at a cell: `copies` [copies, batch, steps, units] and what skips bring as a highway [batch, steps, units].

    Skips into an sru are its highway, into other cells they add to every gate.
    """

    cell: Cell
    station: Station
    junctions: tuple[Junction, ...]
    layout: Layout
    copies: Values
    highway: Values
    biased: bool

    @staticmethod
    def of(
        network: Network,
        weights: Tensors,
        cell: Cell,
        station: Station,
        values: Mapping[str, Values],
        layout: Layout,
        absolute: bool = False,
    ) -> CellInputs:
        """The sums of a forward pass; with the magnitudes of all terms if `absolute`."""
        n, biased = station.real_units, station.stage("bias") is not None
        shape = (layout.batch, max(layout.steps, 1), n)
        copies, highway = np.zeros((cell.copies, *shape)), np.zeros(shape)
        junctions = network.into[station.name]
        for junction in junctions:
            read = values[junction.source]
            for k, matrix in _by_copy(cell, weights, junction):
                push = junction.push(np.abs(read), np.abs(matrix)) if absolute else junction.push(read, matrix)
                part = (np.abs(push) if absolute else push)[:, :n].reshape(shape)
                if k < 0:
                    highway += part
                else:
                    copies[k] += part
        if biased:
            bias = network.bias(weights, station)
            for d in range(2 if cell.bidirectional == "sum" else 1):
                for gate in range(cell.inputs):
                    row = bias[cell.bias_of(d, gate)]
                    copies[cell.copy_of(d, 0, gate)] += np.abs(row) if absolute else row
        return CellInputs(cell, station, junctions, layout, copies, highway, biased)

    def forward(self, weights: Tensors, state: Sequence[State] | None) -> CellTrace:
        """Run the cell."""
        return Unrolled(self.cell, weights).forward(self.copies, self.highway, state)

    def backward(
        self,
        weights: Tensors,
        values: Mapping[str, Values],
        gradient: Values,
        state: Sequence[State] | None,
        sources: Mapping[str, Values],
    ) -> Iterator[tuple[str, Values]]:
        """Gradients of tensors by name, given that of the cell's output [rows, units]; adds those of `sources`."""
        cell, n = self.cell, self.station.real_units
        at_output = gradient[:, :n].reshape(self.highway.shape)
        found = Unrolled(cell, weights).backward(self.copies, self.highway, at_output, state)
        yield from found.tensors.items()
        for junction in self.junctions:
            source = sources[junction.source]
            parts: dict[int, Values] = {}
            for k, matrix in _by_copy(cell, weights, junction):
                at = widen((found.highway if k < 0 else found.copies[k]).reshape(len(gradient), n), self.station.units)
                source += junction.pull(at, matrix)
                if junction.tensor:
                    parts[k] = junction.factor * junction.weight_gradient(values[junction.source], at)
            if parts:
                yield junction.tensor, np.stack(list(parts.values())) if cell.copies > 1 else parts[0]
        if self.biased:
            rows = np.zeros((cell.bias_copies, n))
            for d in range(2 if cell.bidirectional == "sum" else 1):
                for gate in range(cell.inputs):
                    rows[cell.bias_of(d, gate)] = found.copies[cell.copy_of(d, 0, gate)].sum(axis=(0, 1))
            yield f"{self.station.name}.bias", rows if cell.bias_copies > 1 else rows[0]

    def bounds(
        self,
        weights: Tensors,
        off: Mapping[str, Values],
        magnitude: CellInputs,
        roundoff: float,
        weight_roundoff: float,
    ) -> Values:
        """Bounds on the error of the cell's output, [rows, units], given those of what is read from the sources."""
        cell, n = self.cell, self.station.real_units
        carried, over = np.zeros_like(self.copies), np.zeros_like(self.highway)
        terms = np.full(self.station.units, _EXTRA_ROUNDINGS + self.biased)
        for junction in self.junctions:
            for k, matrix in _by_copy(cell, weights, junction):
                push = np.abs(junction.push(off[junction.source], np.abs(matrix) * (1.0 + weight_roundoff)))
                part = push[:, :n].reshape(self.highway.shape)
                if k < 0:
                    over += part
                else:
                    carried[k] += part
            terms = terms + junction.fan_in() + 1
        gamma = terms[:n] * roundoff / (1.0 - terms[:n] * roundoff) + weight_roundoff
        copies: Bounded = (self.copies, carried + gamma * (magnitude.copies + carried))
        highway: Bounded = (self.highway, over + gamma * (magnitude.highway + over))
        return Unrolled(cell, weights).bounds(copies, highway, roundoff, weight_roundoff).reshape(-1, n)


def _by_copy(cell: Cell, weights: Tensors, junction: Junction) -> Iterator[tuple[int, Values]]:
    """Number and weights of every copy of a junction; -1 for the highway."""
    if isinstance(junction, SkipJunction):
        nothing = np.zeros(0)
        if cell.name == "sru":
            yield -1, nothing
        else:
            for side in range(cell.copies // (cell.window * cell.inputs)):
                for gate in range(cell.inputs):
                    yield (side * cell.window) * cell.inputs + gate, nothing
        return
    values = junction_values(weights, junction)
    for k in range(cell.copies):
        yield k, values if cell.copies == 1 else values[k]
