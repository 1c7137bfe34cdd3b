"""A net of sequences as an executable: feed-forward nets over all steps at once, and a time loop for every cell."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pathc.backends.llvm.call import as_floats
from pathc.backends.llvm.machine import Machine
from pathc.backends.llvm.pieces import Array, BoundSteps, Rows
from pathc.backends.llvm.recurrent.kernel import CellKernel
from pathc.backends.llvm.recurrent.steps import stepped
from pathc.backends.llvm.recurrent.taps import columns, taps
from pathc.ir.cells import cell_of
from pathc.ir.cut import Segment
from pathc.ir.cutcells import ends_in_cell, segments_of
from pathc.ir.graph import Graph
from pathc.ir.inputs import check_input, input_shape, output_shape
from pathc.ir.sequences import fixed_steps, takes_sequences
from pathc.support.diagnostics import Diagnostic, did_you_mean, error

_KEPT = 16
"""Shapes of inputs whose bound nets are kept between calls."""
_KEPT_ROWS = 1024
"""Steps of all sequences up to which they are: binding costs as much as some rows, and arrays of many take memory."""


@dataclass(frozen=True, eq=False)
class SequenceExecutable:
    """A net with cells, or with steps of its own, compiled for a processor.

    Inputs are float32 [batch, steps, units] or [steps, units], several stations side by side, any number of steps, with
    channels and extents in place of units where there are some; nets with `steps` take [batch, channels, *extents]. A
    cell with `stateful = true` begins where the last call ended, until `reset`.
    """

    graph: Graph
    machine: Machine
    weights: Mapping[str, NDArray[Any]]
    rows: Rows
    notes: tuple[Diagnostic, ...] = ()
    _states: dict[str, Array] = field(default_factory=dict[str, Array], init=False, repr=False)
    _kept: dict[tuple[int, ...], BoundSteps] = field(
        default_factory=dict[tuple[int, ...], BoundSteps], init=False, repr=False
    )

    @cached_property
    def segments(self) -> tuple[tuple[Segment, Any], ...]:
        """The feed-forward nets and their executables."""
        return tuple((s, self.rows(s.graph, s.weights)) for s in segments_of(self.graph, self.weights))

    @cached_property
    def kernels(self) -> dict[str, CellKernel]:
        """Time loops by station."""
        found: dict[str, CellKernel] = {}
        for segment, _ in self.segments:
            station = self.graph.station(segment.station) if segment.station else None
            cell = cell_of(station) if station is not None else None
            if station is not None and cell is not None:
                units = station.real_units
                found[station.name] = CellKernel(cell, self.machine, self.weights, pitch=units, highway=segment.highway)
        return found

    def reset(self) -> None:
        """Let stateful cells begin anew."""
        self._states.clear()
        self._kept.clear()

    def __call__(self, x: NDArray[Any], y: Array | None = None) -> Array:
        """Outputs [batch, steps, ...] of inputs [batch, ...], or without the batch axis.

        Raises E0512, E0513 and E0371 for inputs that do not fit, E0702 for a state of another batch.
        """
        sample, sequences, _ = self._shape
        check_input(x, sample, "input", sequences=sequences)
        several = x.ndim == self._axes
        made = self._made(as_floats(x if several else x[None]))
        result = made if several else made[0]
        if y is None:
            return result
        y[...] = result
        return y

    def _made(self, x: Array) -> Array:
        """Outputs [batch, steps, ...] of float32 inputs [batch, ...], in an array of their own.

        Binding takes memory and the address of every array: what few rows are bound to is kept for inputs of the same
        shape. A call takes it out and puts it back, so that another thread binds for itself meanwhile.
        """
        if len(x) * (self._shape[2] or x.shape[1]) > _KEPT_ROWS:
            return self.bind(np.ascontiguousarray(x)).call()
        bound = self._kept.pop(x.shape, None)
        if bound is None:
            bound = self.bind(np.array(x, order="C"))
        else:
            np.copyto(bound.x, x)
        made = bound.call().copy()
        if len(self._kept) >= _KEPT:
            self._kept.clear()
        self._kept[x.shape] = bound
        return made

    def bind(self, x: Array, y: Array | None = None) -> BoundSteps:
        """Tie the net to x [batch, ...] and, if given, y [batch, steps, ...], both float32 and contiguous."""
        if x.ndim != self._axes or x.dtype != np.float32 or not x.flags.c_contiguous:
            wanted = ", ".join(("batch", *(("steps",) if self._shape[1] else ()), "..."))
            raise error("E0703", f"the input is {list(x.shape)} {x.dtype}", help=f"bind [{wanted}] in float32")
        sample, sequences, fixed = self._shape
        batch, steps = len(x), fixed or x.shape[1]
        rows = x.reshape(batch * (steps if sequences else 1), math.prod(sample))
        known: dict[str, Array] = {}
        start = 0
        for station in self.graph.inputs:
            end = start + station.real_units * math.prod(station.shape[1:])
            known[station.name], start = rows[:, start:end], end
        todo: list[Callable[[], object]] = []
        last = rows
        for segment, executable in self.segments:
            made = self._fed(segment, executable, known, todo, rows)
            if segment.unrolled:
                known.update(self._unrolled(segment, made, steps, todo))
                continue
            if not segment.station:
                last = made
                continue
            kernel = self.kernels[segment.station]
            units = self.graph.station(segment.station).real_units
            last = np.empty((batch * steps, units), np.float32)
            sums = made.reshape(batch, steps, made.shape[1])
            if kernel.cell.window > 1:
                heard = np.empty((batch, steps, kernel.columns), np.float32)
                todo.append(partial(_taps, kernel, sums, heard))
                sums = heard
            state = self._state(kernel, batch)
            todo.append(kernel.bind(sums, last.reshape(batch, steps, units), state))
            known[segment.station] = last
        last = known[self.graph.outputs[0].name] if ends_in_cell(self.graph) else last
        result = last.reshape(batch, steps, *output_shape(self.graph))
        if y is not None:
            todo.append(partial(np.copyto, y, result))
        return BoundSteps(x, result if y is None else y, tuple(todo))

    def _fed(
        self,
        segment: Segment,
        executable: Any,
        known: Mapping[str, Array],
        todo: list[Callable[[], object]],
        rows: Array,
    ) -> Array:
        """The output rows of a segment, and what computes them."""
        names, sample = segment.reads, input_shape(segment.graph)
        parts = [known[n] for n in names]
        if names == tuple(s.name for s in self.graph.inputs) and all(p.base is rows.base for p in parts):
            given = rows
        elif len(names) == 1 and (len(sample) == 1 or parts[0].flags.c_contiguous):
            given = parts[0]
        else:
            given = np.empty((len(parts[0]), sum(part.shape[1] for part in parts)), np.float32)
            todo.append(partial(_side_by_side, parts, given))
        bound = executable.bind(given.reshape(len(given), *sample))
        todo.append(bound.call)
        return bound.y.reshape(len(given), math.prod(output_shape(segment.graph)))

    def _unrolled(
        self, segment: Segment, made: Array, steps: int, todo: list[Callable[[], object]]
    ) -> dict[str, Array]:
        """Rows of steps by station, made of the rows of samples that a segment gives."""
        found: dict[str, Array] = {}
        for name, part in stepped(segment, made, steps):
            rows = np.empty(part.shape, np.float32)
            todo.append(partial(np.copyto, rows, part))
            found[name] = rows.reshape(len(made) * steps, part.shape[2])
        return found

    def _state(self, kernel: CellKernel, batch: int) -> Array | None:
        cell = kernel.cell
        if not cell.stateful:
            return None
        state = self._states.get(cell.station)
        if state is None:
            state = self._states[cell.station] = np.zeros((batch, cell.states, cell.hidden), np.float32)
        elif len(state) != batch:
            text = f"the state of `{cell.station}` is that of {len(state)} sequences, the input has {batch}"
            raise error("E0702", text, cell.loc, help="call `reset()` between batches of different sizes")
        return state

    @cached_property
    def _shape(self) -> tuple[tuple[int, ...], bool, int]:
        """The shape of a sample or a step, whether the net takes sequences, and the steps it has itself, or 0."""
        return input_shape(self.graph), takes_sequences(self.graph), fixed_steps(self.graph)

    @property
    def _axes(self) -> int:
        """Axes of the input with that of the batch."""
        return 1 + self._shape[1] + len(self._shape[0])

    def emit(self, kind: str) -> str | bytes:
        """The time loops as LLVM IR (`ll`)."""
        if kind != "ll":
            help = did_you_mean(kind, ["ll"]) or "recurrent nets show `ll`"
            raise error("E0804", f"recurrent nets have no stage `{kind}`", self.graph.loc, help=help)
        return "\n".join(f"; {name}\n{kernel.ir()}" for name, kernel in self.kernels.items())


def _side_by_side(parts: list[Array], into: Array) -> None:
    np.concatenate(parts, axis=1, out=into)


def _taps(kernel: CellKernel, sums: Array, heard: Array) -> None:
    """Add up what the gates of a windowed cell hear: each tap some steps late."""
    cell, n = kernel.cell, kernel.pitch
    heard[...] = 0.0
    for tap in taps(cell, sums.shape[1], cell.inputs):
        from_, to = columns(sums, tap.copy * n, n), columns(heard, cell.bias_of(tap.side, tap.gate) * n, n)
        to[:, *tap.into] += from_[:, *tap.read]
