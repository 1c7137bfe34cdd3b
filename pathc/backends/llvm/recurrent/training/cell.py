"""A cell in training: its compiled loops, its packed weights, and the memory of a batch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pathc.backends.llvm.emit import module
from pathc.backends.llvm.jit import compile_ir
from pathc.backends.llvm.machine import Machine
from pathc.backends.llvm.native import aligned
from pathc.backends.llvm.recurrent.layout import Layout
from pathc.backends.llvm.recurrent.training.gradient import Gradient
from pathc.backends.llvm.recurrent.training.loops import (
    FIELDS,
    BackwardTile,
    ForwardTile,
    scratch_floats,
    tasks_of,
    write_loop,
)
from pathc.backends.llvm.recurrent.training.moves import whole
from pathc.backends.llvm.recurrent.training.record import Plan
from pathc.backends.llvm.threads import pool
from pathc.ir.cells import Cell

Array = NDArray[np.float32]
Index = NDArray[np.int64]


class _Packing:
    """Weights of a direction's gates, side by side in natural order, to and from their packed order."""

    def __init__(self, layout: Layout) -> None:
        gates, edges = len(layout.cell.recurrent_gates), len(layout.into)
        step = np.arange(gates, dtype=np.int64)[:, None] * layout.lanes
        self.places: Index = (layout.places() + step).reshape(-1) if gates else np.zeros(0, np.int64)
        self.packed = whole(layout.rows * max(gates, 1) * layout.lanes)
        self.table = np.ascontiguousarray(layout.table())
        # Edges of paths may coincide, and a list has one place for all of them.
        self._alone = len(np.unique(self.places[:edges])) == edges

    def pack(self, values: Array) -> None:
        """Take weights."""
        if self._alone:
            self.packed[self.places] = values
        else:
            self.packed[:] = 0.0
            np.add.at(self.packed, self.places, values)


@dataclass(frozen=True, eq=False)
class Batch:
    """Memory of so many sequences of so many steps: what lines bring, a record for each direction, the output.

    `other` is the output of a second direction that is added.
    """

    x: Array
    records: tuple[NDArray[np.uint8], ...]
    y: Array
    other: Array


class TrainedCell:
    """A cell whose gates lie `pitch` floats apart in [batch, steps, columns], a highway behind them.

    Directions with inputs of their own have one such block after the other.
    """

    def __init__(self, cell: Cell, machine: Machine, pitch: int, *, highway: bool, threads: int) -> None:
        self.cell, self.pitch, self.highway, self.threads = cell, pitch, highway, threads
        self.sides = 2 if cell.bidirectional == "sum" else 1
        self.block = (len(cell.gates) + highway) * pitch
        self.columns = self.sides * self.block
        self.plan = plan = Plan.of(cell, machine, pitch, highway=highway)
        self._there = [_Packing(plan.layout) for _ in range(cell.directions)]
        self._back = [_Packing(plan.turned) for _ in range(cell.directions)]
        self._gradients = [whole(len(p.packed)) for p in self._there]
        self._starts = np.ascontiguousarray(plan.layout.starts(), np.int64)
        self._scratch = aligned(4 * scratch_floats(plan) * max(1, threads))
        functions = [tile(plan, n) for tile in (ForwardTile, BackwardTile) for n in plan.samples]
        tiles = [tile.text() for tile in functions]
        half = len(plan.samples)
        every = [*tiles, write_loop(plan, "forward", tiles[:half]), write_loop(plan, "backward", tiles[half:])]
        if plan.recurrent:
            every.append(Gradient(plan).text())
        self._library = compile_ir(module(every, machine.triple), machine)
        self._context = np.zeros(len(FIELDS), np.int64)

    def load(self, weights: Array) -> None:
        """Take the weights of all matrices, side by side in the order of the cell's tensors."""
        size = self.plan.recurrent * len(self.plan.layout.into)
        for d in range(self.cell.directions):
            for packing in (self._there[d], self._back[d]):
                packing.pack(weights[d * size : (d + 1) * size])

    def memory(self, batch: int, steps: int, x: Array) -> Batch:
        """Memory of a batch; x [batch, steps, columns] is the caller's."""
        size = 4 * batch * (steps + 1) * self.plan.row
        records = tuple(aligned(size) for _ in range(self.cell.directions))
        shape = batch, steps, self.cell.hidden * (2 if self.cell.concatenated else 1)
        return Batch(x, records, np.empty(shape, np.float32), np.empty(shape if self.sides > 1 else 0, np.float32))

    def forward(self, memory: Batch) -> None:
        """From what lines bring to the output; gates stay in place of what was brought."""
        for d in range(self.cell.directions):
            second = d > 0 and self.cell.bidirectional == "sum"
            target = memory.other if second else memory.y
            self._run("forward", d, memory, target)
            if second:
                np.add(memory.y, target, out=memory.y)

    def backward(self, memory: Batch, dy: Array, gradients: Array) -> None:
        """From gradients at the output [batch, steps, units] to those of what lines bring, which take its place.

        `gradients` takes those of all matrices, side by side as `load` has them.
        """
        size = self.plan.recurrent * len(self.plan.layout.into)
        for d in range(self.cell.directions):
            self._run("backward", d, memory, dy)
            if self.plan.recurrent:
                self._run("gradient", d, memory, dy)
                # Places are in range, and clipping them is what lets NumPy write without a buffer of its own.
                into = gradients[d * size : (d + 1) * size]
                np.take(self._gradients[d], self._there[d].places, out=into, mode="clip")

    def _run(self, name: str, direction: int, memory: Batch, outer: Array) -> None:
        n, batch, steps = self.cell.hidden, *memory.x.shape[:2]
        x = memory.x
        if self.cell.concatenated:
            x, outer = x[:, :, direction * n :], outer[:, :, direction * n :]
        if direction:
            x, outer = x[:, ::-1, (self.sides - 1) * self.block :], outer[:, ::-1]
        there, back = self._there[direction], self._back[direction]
        values: Mapping[str, int] = {
            "x": x.ctypes.data,
            "y": outer.ctypes.data,
            "record": memory.records[direction].ctypes.data,
            "weights": there.packed.ctypes.data,
            "table": there.table.ctypes.data,
            "turned": back.packed.ctypes.data,
            "turned_table": back.table.ctypes.data,
            "scratch": self._scratch.ctypes.data,
            "starts": self._starts.ctypes.data,
            "gradient": self._gradients[direction].ctypes.data,
            "batch": batch,
            "steps": steps,
            "x_step": x.strides[1] // 4,
            "x_sample": x.strides[0] // 4,
            "y_step": outer.strides[1] // 4,
            "y_sample": outer.strides[0] // 4,
        }
        self._context[:] = [values[field] for field in FIELDS]
        tasks = self.plan.layout.vectors if name == "gradient" else tasks_of(self.plan, batch)
        pool(self.threads).run(self._library.address(name), self._context.ctypes.data, tasks)
