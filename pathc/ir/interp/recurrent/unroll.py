"""A cell over a sequence: forward, backward through time, and with error bounds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from pathc.ir.cells import Cell
from pathc.ir.interp.recurrent.formulas import Now, step
from pathc.ir.interp.recurrent.matrix import Matrix
from pathc.ir.interp.recurrent.terms import Node, Rough, Tape, Term
from pathc.ir.weights import Tensors, tensor_values

Values = NDArray[np.float64]
T = TypeVar("T", bound=Term)
Bounded = tuple[Values, Values]
"""Values and bounds on their errors."""
State = tuple[Values, ...]
"""The vectors a cell hands on, [batch, hidden] each."""


@dataclass(frozen=True, eq=False)
class CellTrace:
    """What a cell computed: output [batch, steps, units], the state after the last step, gates by direction and name.

    Gates are [batch, steps, hidden], after their functions.
    """

    output: Values
    state: tuple[State, ...]
    gates: tuple[Mapping[str, Values], ...]


@dataclass(frozen=True, eq=False)
class CellGradients:
    """Gradients of a cell: of its copies [copies, batch, steps, units], of the highway, of its tensors by name."""

    copies: Values
    highway: Values
    tensors: dict[str, Values]


@dataclass(eq=False)
class _Pass(Generic[T]):
    """One direction of a cell, unrolled: terms by step."""

    inputs: dict[tuple[int, int], T]
    highways: dict[int, T]
    outputs: dict[int, T]
    gates: dict[str, dict[int, T]]
    state: tuple[T, ...]


class Unrolled:
    """A cell with its weights, to be run over sequences."""

    def __init__(self, cell: Cell, weights: Tensors) -> None:
        self.cell = cell
        self._matrices = [
            [Matrix(cell, tensor_values(weights, cell.tensor(d, gate))) for gate in cell.recurrent_gates]
            for d in range(cell.directions)
        ]

    def forward(self, copies: Values, highway: Values, state: Sequence[State] | None = None) -> CellTrace:
        """Run over what the lines bring: `copies` [copies, batch, steps, units], `highway` [batch, steps, units]."""
        passes = self._passes(copies, highway, state, Node)
        gates = [{name: _stacked({t: n.value for t, n in steps.items()}) for name, steps in p.gates.items()}
                 for p in passes]  # fmt: skip
        outputs = [_stacked({t: node.value for t, node in p.outputs.items()}) for p in passes]
        states = tuple(tuple(node.value for node in p.state) for p in passes)
        return CellTrace(self._joined(outputs), states, tuple(gates))

    def backward(
        self, copies: Values, highway: Values, gradient: Values, state: Sequence[State] | None = None
    ) -> CellGradients:
        """Gradients, given that of the output, [batch, steps, units]."""
        for matrix in (m for side in self._matrices for m in side):
            matrix.gradient[...] = 0.0
        tape = Tape()
        passes = self._passes(copies, highway, state, lambda value: Node(value, tape))
        n = self.cell.hidden
        for d, each in enumerate(passes):
            part = gradient[..., d * n : (d + 1) * n] if self.cell.concatenated else gradient
            for t, node in each.outputs.items():
                node.gradient = part[:, t] if node.gradient is None else node.gradient + part[:, t]
        tape.backward()
        found = np.zeros_like(copies)
        over = np.zeros_like(highway)
        for d, each in enumerate(passes):
            self._collect(d, each, found, over)
        tensors = {
            self.cell.tensor(d, gate): matrix.shaped_gradient().copy()
            for d, side in enumerate(self._matrices)
            for gate, matrix in zip(self.cell.recurrent_gates, side, strict=True)
        }
        return CellGradients(found, over, tensors)

    def bounds(self, copies: Bounded, highway: Bounded, roundoff: float, weight_roundoff: float = 0.0) -> Values:
        """Bounds on the error of the output, [batch, steps, units], given values and bounds of what the lines bring."""

        def make(value: Values, bound: Values) -> Rough:
            return Rough(value, bound, roundoff, weight_roundoff)

        outputs: list[Values] = []
        for d in range(self.cell.directions):
            (values, bounds), (over, over_bound) = (
                (self._summed(d, copies[0]), self._summed(d, copies[1])),
                (self._side(d, highway[0]), self._side(d, highway[1])),
            )
            zero = np.zeros((values.shape[1], self.cell.hidden))
            made = self._run(
                d,
                values.shape[2],
                lambda g, t, values=values, bounds=bounds: make(values[g, :, t], bounds[g, :, t]),
                lambda t, over=over, over_bound=over_bound: make(over[:, t], over_bound[:, t]),
                tuple(make(zero, zero) for _ in range(self.cell.states)),
                make(zero + 1.0, zero),
            )
            outputs.append(_stacked({t: term.bound for t, term in made.outputs.items()}))
        return self._joined(outputs)

    def _passes(
        self, copies: Values, highway: Values, state: Sequence[State] | None, make: Callable[[Values], Node]
    ) -> list[_Pass[Node]]:
        found: list[_Pass[Node]] = []
        batch, steps = copies.shape[1:3]
        zero = np.zeros((batch, self.cell.hidden))
        for d in range(self.cell.directions):
            u, over = self._summed(d, copies), self._side(d, highway)
            start = state[d] if state else (zero,) * self.cell.states
            found.append(
                self._run(
                    d,
                    steps,
                    lambda g, t, u=u: make(u[g, :, t]),
                    lambda t, over=over: make(over[:, t]),
                    tuple(make(values) for values in start),
                    make(zero + 1.0),
                )
            )
        return found

    def _run(
        self,
        d: int,
        steps: int,
        feed: Callable[[int, int], T],
        over: Callable[[int], T],
        state: tuple[T, ...],
        one: T,
    ) -> _Pass[T]:
        cell = self.cell
        times = range(steps - 1, -1, -1) if d else range(steps)
        made: _Pass[T] = _Pass({}, {}, {}, {}, state)
        for t in times:
            u = [feed(g, t) for g in range(len(cell.gates))]
            highway = over(t)
            done = step(Now(cell, u, highway, made.state, self._matrices[d], one))
            made.inputs.update({(g, t): term for g, term in enumerate(u)})
            made.highways[t], made.outputs[t], made.state = highway, done.output, done.state
            for name, term in done.gates.items():
                made.gates.setdefault(name, {})[t] = term
        return made

    def _side(self, d: int, values: Values) -> Values:
        """The units of one direction."""
        n = self.cell.hidden
        return values[..., d * n : (d + 1) * n] if self.cell.concatenated else values

    def _summed(self, d: int, copies: Values) -> Values:
        """What a direction's gates hear, [gates, batch, steps, hidden]: the taps, each some steps late."""
        cell = self.cell
        sides = self._side(d, copies)
        found = np.zeros((len(cell.gates), *sides.shape[1:]))
        for g in range(len(cell.gates)):
            for tap in range(min(cell.window, sides.shape[2])):
                into, read = _shifted(tap, sides.shape[2], d)
                found[g][:, into] += sides[cell.copy_of(d, tap, g)][:, read]
        return found

    def _collect(self, d: int, made: _Pass[Node], copies: Values, highway: Values) -> None:
        """Add the gradients of a pass to those of the copies and of the highway."""
        cell, sides, over = self.cell, self._side(d, copies), self._side(d, highway)
        steps = sides.shape[2]
        at_gates = np.zeros((len(cell.gates), *sides.shape[1:]))
        for (g, t), node in made.inputs.items():
            if node.gradient is not None:
                at_gates[g, :, t] = node.gradient
        for t, node in made.highways.items():
            if node.gradient is not None:
                over[:, t] += node.gradient
        for g in range(len(cell.gates)):
            for tap in range(min(cell.window, steps)):
                into, read = _shifted(tap, steps, d)
                sides[cell.copy_of(d, tap, g)][:, read] += at_gates[g][:, into]

    def _joined(self, outputs: list[Values]) -> Values:
        if len(outputs) == 1:
            return outputs[0]
        return np.concatenate(outputs, axis=2) if self.cell.concatenated else outputs[0] + outputs[1]


def _shifted(tap: int, steps: int, direction: int) -> tuple[slice, slice]:
    """Steps that hear a tap, and the steps they hear."""
    late, early = slice(tap, steps), slice(0, steps - tap)
    return (early, late) if direction else (late, early)


def _stacked(by_step: Mapping[int, Values]) -> Values:
    return np.stack([by_step[t] for t in sorted(by_step)], axis=1)
