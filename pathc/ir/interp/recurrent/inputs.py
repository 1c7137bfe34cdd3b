"""What the lines bring to a cell: one sum per copy of their weights, and the gradients that go back."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from pathc.ir.cells import Cell
from pathc.ir.extents import skip_extents
from pathc.ir.graph import Station
from pathc.ir.interp.junctions import Junction, SkipJunction, Values, junction_values, real_size, size_of, widen
from pathc.ir.interp.network import Layout, Network
from pathc.ir.interp.recurrent.front import Front
from pathc.ir.interp.recurrent.unroll import Bounded, CellTrace, State, Unrolled
from pathc.ir.weights import Tensors

_EXTRA_ROUNDINGS = 3
_HIGHWAY, _SHORTCUT = -1, -2
"""What skips bring where it is no part of the sums."""


@dataclass(frozen=True, eq=False)
class CellInputs:
    """What lines bring to a cell's station, rows by batch and step.

    `sums` [copies, rows, values] have the extents of the station; `shortcut` [rows, values] is what skips bring to the
    stage of that name, `highway` [batch, steps, units] what they bring to an sru. Other skips add to every gate.
    """

    cell: Cell
    station: Station
    junctions: tuple[Junction, ...]
    layout: Layout
    sums: Values
    shortcut: Values
    highway: Values
    front: Front

    @staticmethod
    def of(
        network: Network,
        weights: Tensors,
        cell: Cell,
        station: Station,
        values: Mapping[str, Values],
        layout: Layout,
        *,
        absolute: bool = False,
        training: bool = False,
    ) -> CellInputs:
        """The sums of a forward pass; with the magnitudes of all terms if `absolute`."""
        n, rows, positions = station.real_units, layout.rows, math.prod(station.shape[1:])
        sums = np.zeros((cell.copies, rows, n * positions))
        aside = {_SHORTCUT: np.zeros((rows, n * math.prod(skip_extents(station)))), _HIGHWAY: np.zeros((rows, n))}
        junctions = network.into[station.name]
        for junction in junctions:
            read = values[junction.source]
            for k, matrix in _by_copy(cell, station, weights, junction):
                push = junction.push(np.abs(read), np.abs(matrix)) if absolute else junction.push(read, matrix)
                target = aside[k] if k < 0 else sums[k]
                target += (np.abs(push) if absolute else push)[:, : target.shape[1]]
        if station.stage("bias") is not None:
            bias = network.bias(weights, station)
            for number, k in _biased(cell):
                row = np.repeat(bias[number], positions)
                sums[k] += np.abs(row) if absolute else row
        highway = aside[_HIGHWAY].reshape(layout.batch, max(layout.steps, 1), n)
        front = Front.of(cell, station, weights, training)
        return CellInputs(cell, station, junctions, layout, sums, aside[_SHORTCUT], highway, front)

    @cached_property
    def copies(self) -> Values:
        """What the gates hear of each copy, [copies, batch, steps, units]."""
        heard = [self.front.forward(k, total, self.shortcut) for k, total in enumerate(self.sums)]
        return np.stack(heard).reshape(len(heard), *self.highway.shape)

    def statistics(self) -> tuple[Values, Values]:
        """Mean and variance of what is normalized in front of the cell, [copies, units], or [units] of a single one."""
        found = [self.front.statistics(k, total, self.shortcut) for k, total in enumerate(self.sums)]
        mean, variance = (np.stack(part) for part in zip(*found, strict=True))
        return (mean, variance) if self.cell.bias_copies > 1 else (mean[0], variance[0])

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
        cell, n, rows = self.cell, self.station.real_units, len(gradient)
        at_output = gradient[:, :n].reshape(self.highway.shape)
        found = Unrolled(cell, weights).backward(self.copies, self.highway, at_output, state)
        yield from found.tensors.items()
        at_sums = np.empty_like(self.sums)
        aside = {_SHORTCUT: np.zeros_like(self.shortcut), _HIGHWAY: found.highway.reshape(rows, n)}
        own: dict[str, list[Values]] = {}
        for k, at_gate in enumerate(found.copies):
            at_sums[k], part, tensors = self.front.backward(k, self.sums[k], self.shortcut, at_gate.reshape(rows, n))
            aside[_SHORTCUT] += part
            for name, values_of in tensors.items():
                own.setdefault(name, []).append(values_of)
        yield from ((name, np.stack(parts) if cell.bias_copies > 1 else parts[0]) for name, parts in own.items())
        for junction in self.junctions:
            source = sources[junction.source]
            parts: dict[int, Values] = {}
            for k, matrix in _by_copy(cell, self.station, weights, junction):
                at = widen(aside[k] if k < 0 else at_sums[k], self._width(k))
                source += junction.pull(at, matrix)
                if junction.tensor:
                    parts[k] = junction.factor * junction.weight_gradient(values[junction.source], at)
            if parts:
                yield junction.tensor, np.stack(list(parts.values())) if cell.copies > 1 else parts[0]
        if self.station.stage("bias") is not None:
            shares = np.zeros((cell.bias_copies, n))
            for number, k in _biased(cell):
                shares[number] = at_sums[k].reshape(rows, n, self.sums.shape[2] // n).sum(axis=(0, 2))
            yield f"{self.station.name}.bias", shares if cell.bias_copies > 1 else shares[0]

    def bounds(
        self,
        weights: Tensors,
        off: Mapping[str, Values],
        magnitude: CellInputs,
        roundoff: float,
        weight_roundoff: float,
    ) -> Values:
        """Bounds on the error of the cell's output, [rows, units], given those of what is read from the sources."""
        cell, n, real = self.cell, self.station.real_units, real_size(self.station)
        carried = np.zeros_like(self.sums)
        aside = {_SHORTCUT: np.zeros_like(self.shortcut), _HIGHWAY: np.zeros((len(self.shortcut), n))}
        terms = np.full(size_of(self.station), _EXTRA_ROUNDINGS + (self.station.stage("bias") is not None))
        skips = _EXTRA_ROUNDINGS
        for junction in self.junctions:
            for k, matrix in _by_copy(cell, self.station, weights, junction):
                push = np.abs(junction.push(off[junction.source], np.abs(matrix) * (1.0 + weight_roundoff)))
                target = aside[k] if k < 0 else carried[k]
                target += push[:, : target.shape[1]]
            if isinstance(junction, SkipJunction) and (self.front.shortcut or cell.name == "sru"):
                skips += 2
            else:
                terms = terms + junction.fan_in() + 1
        gamma = terms[:real] * roundoff / (1.0 - terms[:real] * roundoff) + weight_roundoff
        sums = carried + gamma * (magnitude.sums + carried)
        gamma_of_skips = skips * roundoff / (1.0 - skips * roundoff)
        shortcut = aside[_SHORTCUT] + gamma_of_skips * (magnitude.shortcut + aside[_SHORTCUT])
        over = aside[_HIGHWAY].reshape(self.highway.shape)
        highway: Bounded = (self.highway, over + gamma_of_skips * (magnitude.highway + over))
        reached = [
            self.front.reach(k, (self.sums[k], bound), (self.shortcut, shortcut), roundoff)
            for k, bound in enumerate(sums)
        ]
        copies: Bounded = (self.copies, np.stack(reached).reshape(self.copies.shape))
        return Unrolled(cell, weights).bounds(copies, highway, roundoff, weight_roundoff).reshape(-1, n)

    def _width(self, copy: int) -> int:
        """Values that lines bring to a copy, or skips beside the copies, silent units included."""
        extents = {_SHORTCUT: skip_extents(self.station), _HIGHWAY: ()}.get(copy, self.station.shape[1:])
        return self.station.units * math.prod(extents)


def _biased(cell: Cell) -> Iterator[tuple[int, int]]:
    """Number of every bias and the copy it adds to."""
    for d in range(2 if cell.bidirectional == "sum" else 1):
        for gate in range(cell.inputs):
            yield cell.bias_of(d, gate), cell.copy_of(d, 0, gate)


def _by_copy(cell: Cell, station: Station, weights: Tensors, junction: Junction) -> Iterator[tuple[int, Values]]:
    """Number and weights of every copy of a junction; skips may lead beside the copies."""
    if isinstance(junction, SkipJunction):
        nothing = np.zeros(0)
        if cell.name == "sru":
            yield _HIGHWAY, nothing
        elif station.stage("shortcut") is not None:
            yield _SHORTCUT, nothing
        else:
            for _, k in _biased(cell):
                yield k, nothing
        return
    values = junction_values(weights, junction)
    for k in range(cell.copies):
        yield k, values if cell.copies == 1 else values[k]
