"""The gradient of the matrices of a cell after its loop backwards, in the order of the packed weights.

    void gradient(ptr context, i64 task, i64 worker)

A task is a vector of units that receive. For every weight the product of the gradient at what the matrix made and the
unit seen is summed over steps and sequences in one order, some weights at a time in registers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pathc.backends.llvm.column.common import when_positive
from pathc.backends.llvm.emit import I64, Function, constant, vector
from pathc.backends.llvm.recurrent.layout import UNROLL
from pathc.backends.llvm.recurrent.sums import gathered
from pathc.backends.llvm.recurrent.training.loops import fields
from pathc.backends.llvm.recurrent.training.record import Plan
from pathc.backends.llvm.recurrent.units import Units, repeat
from pathc.backends.llvm.training.tasks import TASK

_Seen = Callable[[str, int], str]
_SUMS, _MOST = 20, 24
"""Vectors of sums that stay in registers: of a band, and the most of a list."""
_ROWS = 128
"""Steps that pass by between a load and a store of sums, about."""


class Gradient:
    """Writer of the gradient of a cell's matrices."""

    def __init__(self, plan: Plan) -> None:
        self.plan, self.lanes, self.kind = plan, plan.lanes, vector(plan.lanes)
        self.layout, self.units = plan.layout, Units(plan.layout)
        self.f = Function("gradient", TASK, internal=False)

    def text(self) -> Function:
        """The function."""
        f, plan, lanes = self.f, self.plan, self.lanes
        x, record, starts, gradient = fields(f, "x", "record", "starts", "gradient")
        batch, self.steps, self.x_step, self.x_sample = fields(f, "batch", "steps", "x_step", "x_sample")
        self.table = fields(f, "table")[0]
        self.record_sample = f.op("mul", I64, f.op("add", I64, self.steps, "1"), str(plan.row))
        first = f.load(I64, f.offset(starts, "%task", I64), 8)
        self.first = first
        self.count = f.op("sub", I64, f.load(I64, f.offset(f.offset(starts, "%task", I64), 1, I64), 8), first)
        size = plan.recurrent * lanes
        self.into = f.offset(gradient, f.op("mul", I64, first, str(size)))
        self.unit = f.op("mul", I64, "%task", str(lanes))
        self.there = self._existing()
        with repeat(f, self.count) as row:
            for g in range(plan.recurrent):
                f.store(self.kind, constant(0.0, lanes), self._weight(row, g), 4)
        # So many sequences at a time that what is read stays in the second-level cache, while sums stay in registers.
        block = f.op("udiv", I64, str(_ROWS), self.steps)
        block = f.call(I64, "llvm.umax.i64", [(I64, block), (I64, "1")])
        rounds = f.op("udiv", I64, f.op("add", I64, batch, f.op("sub", I64, block, "1")), block)
        with f.loop(rounds) as blocks:
            done = f.op("mul", I64, blocks.index, block)
            self.samples = f.call(I64, "llvm.umin.i64", [(I64, f.op("sub", I64, batch, done)), (I64, block)])
            self.x = f.offset(f.offset(x, f.op("mul", I64, done, self.x_sample)), self.unit)
            self.record = f.offset(record, f.op("mul", I64, done, self.record_sample))
            for gates, sees in self._groups():
                self._rows(gates, sees)
            blocks.following = []
        return f

    def _groups(self) -> list[tuple[tuple[int, ...], int]]:
        """Gates that see the same units, and where in a row of the record those lie."""
        found: dict[int, list[int]] = {}
        for g in range(self.plan.recurrent):
            found.setdefault(self.plan.source_of(g), []).append(g)
        return [(tuple(gates), sees) for sees, gates in found.items()]

    def _existing(self) -> str:
        """Which lanes are units."""
        f, whole = self.f, vector(self.lanes, "i32")
        left = f.op("sub", I64, str(self.plan.cell.hidden), self.unit)
        limit = f.broadcast(self.lanes, f.assign(f"trunc i64 {left} to i32"), "i32")
        lanes = "<" + ", ".join(f"i32 {k}" for k in range(self.lanes)) + ">"
        return f.assign(f"icmp slt {whole} {lanes}, {limit}")

    def _weight(self, row: str | int, gate: int) -> str:
        """The gradients of a row of packed weights."""
        f, size = self.f, self.plan.recurrent * self.lanes
        here = f.offset(self.into, row * size if isinstance(row, int) else f.op("mul", I64, row, str(size)))
        return f.offset(here, gate * self.lanes)

    def _rows(self, gates: Sequence[int], sees: int) -> None:
        """All weights of some gates, over the steps of a sample."""
        f = self.f
        form, reach = self.layout.form, self.layout.reach
        if form == "list":
            entry = f.offset(self.table, f.op("shl", I64, "%task", "1"), "i32")
            begin = f.assign(f"zext i32 {f.load('i32', entry)} to i64")
            base = f.offset(f.offset(self.record, sees), begin)
            wide = 2 * UNROLL if len(gates) * 2 * UNROLL <= _MOST else UNROLL
            whole = f.op("udiv", I64, self.count, str(wide))
            with repeat(f, whole) as chunk:
                row = f.op("mul", I64, chunk, str(wide))
                self._steps(gates, row, wide, f.offset(base, row), self._spread)
            if wide > UNROLL:
                row = f.op("mul", I64, whole, str(wide))
                with when_positive(f, f.op("sub", I64, self.count, row)):
                    self._steps(gates, row, UNROLL, f.offset(base, row), self._spread)
        elif form == "gather":
            with repeat(f, self.count) as row:
                place = f.op("mul", I64, f.op("add", I64, self.first, row), str(self.lanes))
                numbers = f.offset(f.offset(self.table, self.layout.vectors, "i32"), place, "i32")
                units = f.load(vector(self.lanes, "i32"), numbers)
                base = f.offset(self.record, sees)
                self._steps(gates, row, 1, base, lambda at, _: gathered(f, self.lanes, at, units))
        else:
            each = max(1, _SUMS // len(gates))
            base = f.offset(f.offset(self.record, sees), self.unit)
            for start in range(-reach, reach + 1, each):
                count = min(each, reach + 1 - start)
                here = f.offset(base, start)
                self._steps(gates, start + reach, count, here, lambda at, k: f.load(self.kind, f.offset(at, k)))

    def _spread(self, at: str, number: int) -> str:
        f = self.f
        return f.broadcast(self.lanes, f.load("float", f.offset(at, number)))

    def _steps(
        self, gates: Sequence[int], row: str | int, count: int, base: str, seen: Callable[[str, int], str]
    ) -> None:
        """`count` rows of weights from `row` on, over all steps; `seen(at, k)` loads what row k sees."""
        f, plan = self.f, self.plan
        here = self._weight(row, 0)
        size = plan.recurrent * self.lanes
        places = [f.offset(here, k * size + g * self.lanes) for k in range(count) for g in gates]
        sums = [(self.kind, f.load(self.kind, place)) for place in places]
        starts = [("ptr", self.x), ("ptr", f.offset(self.record, self.unit)), ("ptr", base)]
        with f.loop(self.samples, [*sums, *starts]) as samples:
            carried = [*((self.kind, v) for v in samples.carried[:-3]), *(("ptr", v) for v in samples.carried[-3:])]
            with f.loop(self.steps, carried) as loop:
                *before, x, record, at = loop.carried
                gradients = [self._gradient(g, x, record) for g in gates]
                following: list[str] = []
                for k in range(count):
                    source = seen(at, k)
                    for n, gradient in enumerate(gradients):
                        following.append(f.fma(self.lanes, gradient, source, before[k * len(gates) + n]))
                moved = f.offset(x, self.x_step), f.offset(record, plan.row), f.offset(at, plan.row)
                loop.following = [*following, *moved]
            strides = self.x_sample, self.record_sample, self.record_sample
            moved = [f.offset(p, stride) for p, stride in zip(samples.carried[-3:], strides, strict=True)]
            samples.following = [*loop.results[:-3], *moved]
        for place, value in zip(places, samples.results, strict=False):
            f.store(self.kind, value, place)

    def _gradient(self, gate: int, x: str, record: str) -> str:
        """The gradient at what the matrix of a gate made."""
        where, offset = self.plan.gradient_at(gate)
        if where == "record":
            return self.f.load(self.kind, self.f.offset(record, offset))
        return self.units.masked_load(self.f, self.f.offset(x, offset), self.there)
