"""Schedules of operations on planes: how loops become threads and vectors, and what is kept in registers.

Every operation ends in a block `store`. On a GPU blocks of threads are samples (y) times tiles of channels and
positions (x); neighbouring threads hold neighbouring columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pathc.backends.tvm.facade import Block, Loop, Schedule
from pathc.backends.tvm.filters.plan import Across, Blocks, FilterPlan, Lists, Op, Pool
from pathc.backends.tvm.filters.tiles import THREADS, Tile, pitch_of, staged_floats
from pathc.backends.tvm.filters.tir import Tiles, unrolled

_WARP = 32


def schedule_filters(steps: Schedule, plan: FilterPlan, tiles: Tiles, gpu: bool) -> None:
    """Write the schedule of every operation."""
    for op in plan.ops:
        steps.work_on(op.name)
        _Scheduler(steps, op, tiles.get(op.name, Tile()), gpu).write()


@dataclass
class _Scheduler:
    steps: Schedule
    op: Op
    tile: Tile
    gpu: bool

    def write(self) -> None:
        """The schedule of the operation."""
        match self.op:
            case Blocks() if self.gpu:
                self._staged(self.op)
            case Blocks():
                self._vectors(self.op)
            case Lists():
                self._lists()
            case Across(call=call) if call.name == "softmax":
                self._per_position()
            case Across():
                self._reduced("ahead", 1)
            case Pool(window=window) if window != (1, 1):
                self._reduced("sum", 2)
            case _:
                if self.gpu:
                    sample, *loops = self.steps.loops(self._block("store"))
                    self._threads(sample, self.steps.fuse(*loops))

    def _block(self, name: str) -> Block:
        return self.steps.block(f"{self.op.name}_{name}")

    def _threads(self, sample: Loop, loop: Loop, most: int = THREADS) -> Loop:
        """Divide a loop over threads and blocks of them; gives the innermost."""
        steps = self.steps
        block, thread = steps.split(loop, [None, min(most, steps.extent(loop))])
        self._bind((sample, "blockIdx.y"), (block, "blockIdx.x"), (thread, "threadIdx.x"))
        return thread

    def _bind(self, *pairs: tuple[Loop, str]) -> None:
        for loop, axis in pairs:
            self.steps.bind(loop, axis)

    def _reduced(self, name: str, terms: int) -> None:
        """One sum or maximum a thread."""
        steps, sums = self.steps, self._block(name)
        sample, *loops = steps.loops(sums)
        inner = steps.fuse(*loops[:-terms])
        if self.gpu:
            inner = self._threads(sample, inner)
        steps.scope(sums, "local" if self.gpu else "global")
        steps.store_at(self._block("store"), inner)
        steps.split_start(sums, loops[-terms])

    def _per_position(self) -> None:
        """A thread for every position, which first finds the largest channel, then the sum."""
        steps = self.steps
        sample, channel, position = steps.loops(self._block("store"))
        steps.reorder(sample, position, channel)
        inner = self._threads(sample, position, 4 * _WARP) if self.gpu else position
        for name in ("total", "most"):
            block = self._block(name)
            if self.gpu:
                steps.scope(block, "local")
            steps.compute_at(block, inner)
            steps.split_start(block, steps.loops(block)[-1])

    def _lists(self) -> None:
        """Edges one after the other, for some rows and, on the processor, a vector of columns."""
        steps, tile, sums = self.steps, self.tile, self._block("sum")
        sample, channel, row, outer, *column = steps.loops(sums)
        inner = outer
        if self.gpu:
            row_out, row_thread = steps.split(row, [None, tile.high])
            steps.reorder(sample, channel, row_out, outer, row_thread, *column)
            block, inner = steps.fuse(channel, row_out, outer), column[0]
            self._bind((sample, "blockIdx.y"), (block, "blockIdx.x"))
            self._bind((row_thread, "threadIdx.y"), (inner, "threadIdx.x"))
        else:
            steps.compute_at(self._block("stage"), sample)
        steps.scope(sums, "local" if self.gpu else "global")
        steps.store_at(self._block("store"), inner)

    def _vectors(self, op: Blocks) -> None:
        """Some channels times a vector of columns in registers, from planes with zeros around them."""
        steps, tile, sums = self.steps, self.tile, self._block("sum")
        steps.inline(self._block("weights"))
        sample, block, channel, row, outer, across, column, source, *taps = steps.loops(sums)
        channel_out, channel_in = steps.split(channel, [None, tile.channels])
        steps.reorder(sample, block, channel_out, row, outer, across, source, *taps, channel_in, column)
        steps.compute_at(self._block("stage"), block)
        steps.store_at(self._block("store"), across)
        if tile.wide > 1:
            steps.vectorize(column)
        steps.unroll(channel_in)
        steps.split_start(sums, source)

    def _staged(self, op: Blocks) -> None:
        """Sources with what is around them and their weights staged in shared memory, sums in registers."""
        steps, tile, sums = self.steps, self.tile, self._block("sum")
        sample, block, channel, row, outer, across, column, source, *taps = steps.loops(sums)
        block_out, block_in = steps.split(block, [None, tile.several])
        channel_out, channel_thread, channel_in = steps.split(channel, [None, tile.deep, tile.channels])
        row_out, row_thread, row_in = steps.split(row, [None, tile.high, tile.rows])
        source_out, source_in = steps.split(source, [None, tile.sources])
        steps.reorder(
            sample, block_out, channel_out, row_out, outer, block_in, channel_thread, row_thread, column, source_out,
            source_in, *taps, channel_in, row_in, across,
        )  # fmt: skip
        self._bind((sample, "blockIdx.y"), (steps.fuse(block_out, channel_out, row_out, outer), "blockIdx.x"))
        self._bind((steps.fuse(block_in, channel_thread), "threadIdx.z"), (row_thread, "threadIdx.y"))
        self._bind((column, "threadIdx.x"))
        planes, weights = staged_floats(op, tile)
        if self._is_staged("stage", planes, source_out):
            steps.pad(self._block("stage"), 3, _WARP, pitch_of(op, tile) % _WARP)
            self._copied_planes()
        if self._is_staged("weights", weights, source_out):
            self._divided(steps.loops(self._block("weights"))[-5:])
        steps.scope(sums, "local")
        steps.store_at(self._block("store"), column)
        for loop, short in zip(taps, unrolled(op, tile), strict=True):
            if short:
                steps.unroll(loop)
        for loop in (channel_in, row_in, across):
            steps.unroll(loop)
        for loop in steps.loops(self._block("store"))[5:]:
            steps.unroll(loop)
        steps.split_start(sums, source_out)

    def _is_staged(self, name: str, size: int, loop: Loop) -> bool:
        """Stage so many numbers in shared memory; a single one is read where it is, as TVM has no room for it there."""
        block = self._block(name)
        if size == 1:
            self.steps.inline(block)
            return False
        self.steps.scope(block, "shared.dyn")
        self.steps.compute_at(block, loop)
        return True

    def _copied_planes(self) -> None:
        """Every thread copies some positions of all sources, so that where they are is computed once."""
        steps, tile = self.steps, self.tile
        block, source, row, column = steps.loops(self._block("stage"))[-4:]
        position = steps.fuse(row, column)
        turn, deep, high, wide = steps.split(position, [None, tile.deep, tile.high, tile.wide])
        steps.reorder(block, deep, high, wide, turn, source)
        self._bind((steps.fuse(block, deep), "threadIdx.z"), (high, "threadIdx.y"), (wide, "threadIdx.x"))

    def _divided(self, loops: Sequence[Loop]) -> None:
        """Every thread copies one number in turn."""
        steps, tile = self.steps, self.tile
        factors = [None, tile.several * tile.deep, tile.high, tile.wide]
        _, z, y, x = steps.split(steps.fuse(*loops), factors)
        self._bind((z, "threadIdx.z"), (y, "threadIdx.y"), (x, "threadIdx.x"))
