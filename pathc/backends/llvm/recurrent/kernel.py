"""The compiled time loop of one cell, and calls that are tied to their arrays."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping
from functools import cached_property, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pathc.backends.llvm.emit import I64
from pathc.backends.llvm.jit import Library, compile_ir
from pathc.backends.llvm.machine import Machine
from pathc.backends.llvm.native import aligned
from pathc.backends.llvm.recurrent.layout import Layout, layout_of
from pathc.backends.llvm.recurrent.loop import PARAMETERS, TimeLoop
from pathc.backends.llvm.recurrent.scan import scans
from pathc.ir.cells import Cell

Array = NDArray[np.float32]
NAME = "pathc_time_loop"


class CellKernel:
    """A cell's time loop, compiled for a machine, with its packed weights.

    A row of its input holds what lines bring to each gate, `columns` floats in all: gates at multiples of `pitch`, a
    highway behind them where there is one. `pitch` is the units of the station.
    """

    def __init__(
        self,
        cell: Cell,
        machine: Machine,
        weights: Mapping[str, NDArray[Any]],
        *,
        pitch: int = 0,
        highway: bool = False,
    ) -> None:
        self.cell, self.machine = cell, machine
        self.pitch = pitch or cell.hidden
        self.inputs = cell.inputs * (2 if cell.bidirectional == "sum" else 1)
        self.highway = highway
        self.columns = (self.inputs + highway) * self.pitch
        self.layout: Layout = layout_of(cell, machine.width, weights)
        self._scans = [scans(cell, weights, d) for d in range(cell.directions)]
        self._weights = [_aligned(self.layout.packed(weights, d)) for d in range(cell.directions)]
        self._table = np.ascontiguousarray(self.layout.table())

    def _loop(self, direction: int) -> TimeLoop:
        side = direction * self.cell.hidden if self.cell.concatenated else 0
        offsets = [self.cell.bias_of(direction, g) * self.pitch + side for g in range(len(self.cell.gates))]
        if self.highway:
            offsets.append(self.inputs * self.pitch + side)
        return TimeLoop(self.layout, self.machine, NAME, offsets, scans=self._scans[direction])

    @cached_property
    def libraries(self) -> list[Library]:
        """The compiled loops, one per direction."""
        return [compile_ir(self._loop(d).text(), self.machine) for d in range(self.cell.directions)]

    def ir(self) -> str:
        """LLVM IR text of the loops."""
        return "\n".join(self._loop(d).text() for d in range(self.cell.directions))

    def bind(self, x: Array, y: Array, state: Array | None = None) -> Callable[[], None]:
        """A call on x [batch, steps, columns] and y [batch, steps, units], both contiguous along the last axis.

        `state` [batch, vectors of the state, hidden] is where sequences begin and is overwritten by where they end.
        The call has no arguments; it keeps the arrays alive and runs on one thread at a time.
        """
        calls: list[Callable[[], None]] = []
        batch, steps = x.shape[:2]
        outputs = [y]
        if self.cell.bidirectional == "sum":
            outputs.append(np.empty_like(y))
        for d in range(self.cell.directions):
            target = outputs[-1] if d else y
            if self.cell.concatenated:
                target = y[:, :, d * self.cell.hidden : (d + 1) * self.cell.hidden]
            read, written = (x[:, ::-1], target[:, ::-1]) if d else (x, target)
            calls.append(self._tied(d, read, written, state, batch, steps))
        if self.cell.bidirectional == "sum":
            calls.append(partial(_add, y, outputs[-1]))
        if len(calls) == 1:
            return calls[0]

        def every() -> None:
            for call in calls:
                call()

        return every

    def _tied(
        self, direction: int, x: Array, y: Array, state: Array | None, batch: int, steps: int
    ) -> Callable[[], None]:
        library = self.libraries[direction]
        types = [ctypes.c_void_p if kind == "ptr" else ctypes.c_int64 for kind, _ in PARAMETERS]
        function = library.function(NAME, None, *types)
        scratch = aligned(self._loop(direction).scratch())
        weights, table = self._weights[direction], self._table
        values: dict[str, int | None] = {
            "x": x.ctypes.data,
            "y": y.ctypes.data,
            "w": weights.ctypes.data,
            "table": table.ctypes.data,
            "state": None if state is None else state.ctypes.data,
            "scratch": scratch.ctypes.data,
            "batch": batch if steps else 0,
            "steps": steps,
            "x_step": x.strides[1] // 4,
            "y_step": y.strides[1] // 4,
            "x_sample": x.strides[0] // 4,
            "y_sample": y.strides[0] // 4,
        }
        given = [ctypes.c_int64(values[name] or 0) if kind == I64 else ctypes.c_void_p(values[name])
                 for kind, name in PARAMETERS]  # fmt: skip
        kept = (x, y, weights, table, state, scratch, library)
        return _Held(partial(function, *given), kept)


class _Held:
    """A call and what must live as long as it."""

    __slots__ = ("_kept", "call")

    def __init__(self, call: Callable[[], None], kept: tuple[object, ...]) -> None:
        self.call, self._kept = call, kept

    def __call__(self) -> None:
        self.call()


def _add(into: Array, other: Array) -> None:
    into += other


def _aligned(values: Array) -> Array:
    memory = aligned(values.nbytes).view(np.float32)
    memory[:] = values
    return memory
