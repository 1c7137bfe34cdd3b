"""Schedules: how loops become vectors, threads and blocks of threads, and what is kept in registers.

Every operation ends in a block `store`; sums have a block `sum` before it. On a GPU neighbouring threads hold
neighbouring samples, so that whatever rows are read, they are read whole; for single samples they hold neighbouring
destinations.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from pathc.backends.tvm.facade import Block, Loop, Schedule
from pathc.backends.tvm.plan import Blocks, Edges, Load, NetPlan, Op, Outer, Post, Rows, Save, Slope, Total

WARP = 32
_REGISTERS = 32
"""Sums a thread holds at most."""
_STAGED = 32
"""Sources of a block that are staged in shared memory at a time."""
_WHOLE_BYTES = 32 * 1024
"""Bytes of shared memory that all sources of a dense line may take where they do not divide into equal parts."""
_OUTER = 16
"""Rows and columns of weights whose gradients a block of threads sums at most."""
_OUTER_STAGED = 40 * 1024
"""Bytes of shared memory it may take for what it multiplies."""
_VECTOR = 16
"""Samples the processor's kernels take at a time."""


@dataclass(frozen=True)
class Tile:
    """Split factors of an operation.

    A thread holds `rows` destinations of `lanes` samples; `columns` sources are staged at a time; a block of threads
    has at most `threads` of them.
    """

    rows: int = 1
    lanes: int = 1
    columns: int = _STAGED
    threads: int = 256

    def __str__(self) -> str:
        return f"{self.rows}x{self.lanes}, {self.columns} staged, {self.threads} threads"


Tiles = Mapping[str, Tile]
"""Tiles by the name of the operation."""


def default_tile(op: Op, plan: NetPlan, gpu: bool) -> Tile:
    """Registers filled with destinations first, then with samples, as weights are shared by all samples of a warp."""
    if not gpu:
        lanes = _divisor(plan.lanes, _VECTOR)
        rows = _divisor(op.fan_out, 4 if plan.lanes > 1 else _VECTOR) if isinstance(op, Blocks) else 1
        return Tile(rows, lanes)
    if not isinstance(op, Blocks):
        return Tile(1, _divisor(plan.lanes, 4 if plan.lanes >= 4 * WARP else 1))
    lanes = next((v for v in (4, 2, 1) if plan.lanes % v == 0 and plan.lanes // v >= WARP), 1)
    rows = _divisor(op.fan_out, _REGISTERS // lanes if plan.lanes > 1 else 1)
    return Tile(rows, lanes, _columns(op, plan))


def _columns(op: Blocks, plan: NetPlan) -> int:
    """Sources that are staged at a time; all of a dense line where a divisor would stage few (37 sources)."""
    columns = _divisor(op.fan_in, _STAGED)
    few = 4 * columns < min(op.fan_in, _STAGED)
    return op.fan_in if few and op.count == 1 and 4 * plan.lanes * op.fan_in <= _WHOLE_BYTES else columns


def schedule(steps: Schedule, plan: NetPlan, gpu: bool, tiles: Tiles) -> None:
    """Write the schedule of every operation of a plan, each in its function or all in one."""
    if plan.fused:
        steps.work_on(plan.kernel)
        if gpu:
            steps.bind(steps.loops(steps.block(f"{plan.kernel}_tile"))[0], "blockIdx.x")
    for op in plan.ops:
        if not plan.fused:
            steps.work_on(op.name)
        tile = tiles.get(op.name) or default_tile(op, plan, gpu)
        _Scheduler(steps, plan, op, tile, gpu).write()


@dataclass
class _Scheduler:
    steps: Schedule
    plan: NetPlan
    op: Op
    tile: Tile
    gpu: bool

    def write(self) -> None:
        """The schedule of the operation."""
        activation = self.op.end.activation.name if self.op.end.activation else ""
        match self.op:
            case Blocks() if self.gpu and not self.plan.fused and self.plan.lanes >= WARP:
                self._blocks(self.op)
            case Blocks():
                if not self.plan.fused:
                    self.steps.inline(self._block("stage"))
                self._sums(2, True)
            case Rows():
                self._sums(1, self.op.form == "ell")
            case Post() if activation == "softmax":
                self._per_sample("total", "most")
            case Slope() if activation == "softmax":
                self._per_sample("dot")
            case Outer():
                self._outer(self.op)
            case Edges() | Total():
                self._over_samples(self._block("sum"))
            case Post() | Slope() if activation == "kwinners":
                self._flat_sums("ahead")
            case Load() | Save() if self.gpu and not self.plan.fused and self.plan.lanes >= WARP:
                self._transposed(self.op)
            case _:
                self._elementwise()

    def _block(self, name: str) -> Block:
        return self.steps.block(f"{self.op.name}_{name}")

    def _elementwise(self) -> None:
        if isinstance(self.op, Load | Save) and not self.plan.fused:
            self.steps.inline(self._block("stage"))
        tile, rest = self._loops("store")
        if self.gpu:
            self._threads(tile, self.steps.fuse(*rest))
        elif self.plan.lanes > 1 and not isinstance(self.op, Load | Save):
            self.steps.vectorize(self.steps.split(rest[-1], [None, self.tile.lanes])[1])

    def _loops(self, name: str) -> tuple[list[Loop], list[Loop]]:
        """The loop over tiles, if the function has one of its own, and those of the operation."""
        loops = self.steps.loops(self._block(name))
        return ([], loops) if self.plan.fused else (loops[:1], loops[1:])

    def _threads(self, tile: list[Loop], loop: Loop) -> Loop:
        """Divide a loop over threads, and blocks of them where the kernel has several; gives the innermost."""
        if self.plan.fused:
            _, thread = self.steps.split(loop, [None, self.tile.threads])
        else:
            threads = min(self.tile.threads, self.steps.extent(loop))
            block, thread = self.steps.split(loop, [None, threads])
            self.steps.bind(tile[0], "blockIdx.y")
            self.steps.bind(block, "blockIdx.x")
        self.steps.bind(thread, "threadIdx.x")
        return thread

    def _sums(self, rows: int, reduces: bool) -> None:
        """Sums in registers, `rows` counting the loops up to that over destinations, behind which lanes come."""
        steps, tile = self.steps, self.tile
        sums = self._block("sum")
        outer, loops = self._loops("sum")
        ahead, row, lane, terms = loops[: rows - 1], loops[rows - 1], loops[rows], loops[rows + 1 :]
        row_out, row_in = steps.split(row, [None, tile.rows])
        lane_out, lane_in = steps.split(lane, [None, tile.lanes if reduces else 1])
        steps.reorder(*ahead, row_out, lane_out, *terms, row_in, lane_in)
        inner = steps.fuse(*ahead, row_out, lane_out)
        self._finish(sums, outer, inner)
        vector = lane_in if tile.lanes > 1 else row_in if tile.rows > 1 else None
        if not reduces:
            return
        if not self.gpu and vector is not None:
            steps.vectorize(vector)
            if vector is lane_in and tile.rows > 1:
                steps.unroll(row_in)
        elif self.gpu:
            steps.unroll(row_in)
            steps.unroll(lane_in)
        steps.split_start(sums, terms[0])

    def _finish(self, sums: Block, outer: list[Loop], loop: Loop) -> None:
        """Divide the loop of sums over threads, which store what they have summed."""
        if self.gpu:
            loop = self._threads(outer, loop)
        self.steps.scope(sums, "local" if self.gpu else "global")
        self.steps.store_at(self._block("store"), loop)

    def _flat_sums(self, name: str) -> None:
        """A thread for every sum, as far as they go, which it makes as it stores what depends on it."""
        steps, sums = self.steps, self._block(name)
        outer, loops = self._loops("store")
        inner = steps.fuse(*loops)
        if self.gpu:
            inner = self._threads(outer, inner)
        steps.scope(sums, "local" if self.gpu else "global")
        steps.compute_at(sums, inner)
        steps.split_start(sums, steps.loops(sums)[-1])

    def _per_sample(self, *names: str) -> None:
        """A thread for every sample, which first makes the sums `names`, the last one first."""
        steps = self.steps
        outer, (unit, lane) = self._loops("store")
        steps.reorder(lane, unit)
        inner = lane
        if self.gpu:
            self.tile = self.tile if self.plan.fused else replace(self.tile, threads=WARP)
            inner = self._threads(outer, lane)
        for name in names:
            block = self._block(name)
            if self.gpu:
                steps.scope(block, "local")
            steps.compute_at(block, inner)
            steps.split_start(block, steps.loops(block)[-1])

    def _over_samples(self, sums: Block) -> None:
        """A thread for every sum over samples."""
        steps = self.steps
        *loops, tile, _ = steps.loops(sums)
        thread = steps.fuse(*loops)
        if self.gpu:
            block, thread = steps.split(thread, [None, min(self.tile.threads, steps.extent(thread))])
            steps.bind(block, "blockIdx.x")
            steps.bind(thread, "threadIdx.x")
        steps.scope(sums, "local" if self.gpu else "global")
        steps.store_at(self._block("store"), thread)
        steps.split_start(sums, tile)

    def _outer(self, op: Outer) -> None:
        """A thread for every weight of some blocks; what they multiply is staged in shared memory, tile by tile."""
        steps, sums = self.steps, self._block("sum")
        sides = self._block("in"), self._block("out")
        if not self.gpu:
            for side in sides:
                steps.inline(side)
            self._over_samples(sums)
            return
        lanes = _divisor(self.plan.lanes, WARP)
        columns, rows = _divisor(op.of.fan_in, _OUTER), _divisor(op.of.fan_out, _OUTER)
        several = _divisor(op.of.count, max(1, _OUTER * _OUTER // (columns * rows)))
        several = _divisor(several, max(1, _OUTER_STAGED // (4 * (lanes + 1) * (columns + rows))))
        block, column, row, tile, lane = steps.loops(sums)
        block, block_in = steps.split(block, [None, several])
        column, column_in = steps.split(column, [None, columns])
        row, row_in = steps.split(row, [None, rows])
        lane, lane_in = steps.split(lane, [None, lanes])
        steps.reorder(block, column, row, block_in, column_in, row_in, tile, lane, lane_in)
        steps.bind(steps.fuse(block, column, row), "blockIdx.x")
        thread = steps.fuse(block_in, column_in, row_in)
        threads = steps.extent(thread)
        steps.bind(thread, "threadIdx.x")
        for side, fan in zip(sides, (columns, rows), strict=True):
            if several * fan * lanes == 1:  # TVM loses shared memory that holds one number.
                steps.inline(side)
                continue
            steps.scope(side, "shared.dyn")
            steps.compute_at(side, lane)
            _, mine = steps.split(steps.fuse(*steps.loops(side)[-3:]), [None, threads])
            steps.bind(mine, "threadIdx.x")
            steps.pad(side, 2, WARP, 1)
        steps.scope(sums, "local")
        steps.store_at(self._block("store"), thread)
        steps.split_start(sums, tile)

    def _transposed(self, op: Load | Save) -> None:
        """Samples come and go as rows: squares of a warp's width turn through shared memory."""
        steps = self.steps
        stage = self._block("stage")
        (tile,), (first, second) = self._loops("store")
        outer, inner = steps.split(first, [None, WARP])
        wide, lane = steps.split(second, [None, WARP])
        steps.reorder(outer, wide, inner, lane)
        block = steps.fuse(outer, wide)
        _, thread = steps.split(inner, [None, 8])
        steps.bind(tile, "blockIdx.y")
        steps.bind(block, "blockIdx.x")
        steps.bind(thread, "threadIdx.y")
        steps.bind(lane, "threadIdx.x")
        steps.scope(stage, "shared.dyn")
        steps.compute_at(stage, block)
        rows, columns = steps.loops(stage)[-2:]
        _, other = steps.split(rows, [None, 8])
        _, across = steps.split(columns, [None, WARP])
        steps.bind(other, "threadIdx.y")
        steps.bind(across, "threadIdx.x")
        steps.pad(stage, 1, WARP, 1)

    def _blocks(self, op: Blocks) -> None:
        """Sources of some blocks staged in shared memory, destinations in registers, samples across a warp."""
        steps, tile, lanes = self.steps, self.tile, self.plan.lanes
        sums, stage = self._block("sum"), self._block("stage")
        (outer,), (block, row, lane, column) = self._loops("sum")
        wide = lanes // tile.lanes
        deep = min(-(-op.fan_out // tile.rows), max(1, tile.threads // wide))
        several = _divisor(op.count, max(1, tile.threads // (wide * deep)))
        block_out, block_in = steps.split(block, [None, several])
        row_out, row_thread, row_in = steps.split(row, [None, deep, tile.rows])
        lane_thread, lane_in = steps.split(lane, [wide, tile.lanes])
        column_out, column_in = steps.split(column, [None, tile.columns])
        steps.reorder(
            outer, block_out, row_out, block_in, row_thread, lane_thread, column_out, column_in, row_in, lane_in
        )
        steps.bind(outer, "blockIdx.y")
        steps.bind(steps.fuse(block_out, row_out), "blockIdx.x")
        for loop, axis in ((block_in, "z"), (row_thread, "y"), (lane_thread, "x")):
            steps.bind(loop, f"threadIdx.{axis}")
        if tile.columns == 1:
            # One source is used once a thread. TVM would set no barrier either: a thread reads the number of the thread
            # that copied it, and which other threads do so is not looked at.
            steps.inline(stage)
        else:
            steps.scope(stage, "shared.dyn")
            steps.compute_at(stage, column_out)
            staged = steps.fuse(*steps.loops(stage)[-3:])
            _, z, y, x, vector = steps.split(staged, [None, several, deep, wide, tile.lanes])
            for loop, axis in ((z, "z"), (y, "y"), (x, "x")):
                steps.bind(loop, f"threadIdx.{axis}")
            if tile.lanes > 1:
                steps.vectorize(vector)
        steps.scope(sums, "local")
        steps.store_at(self._block("store"), lane_thread)
        if tile.lanes > 1:
            steps.vectorize(steps.loops(self._block("store"))[-1])
            steps.vectorize(lane_in)
        steps.unroll(row_in)
        steps.split_start(sums, column_out)


def _divisor(number: int, most: int) -> int:
    """The largest divisor of `number` that is at most `most`."""
    return next(d for d in range(min(number, max(1, most)), 0, -1) if number % d == 0)
