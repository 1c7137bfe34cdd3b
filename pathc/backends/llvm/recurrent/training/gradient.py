"""The gradient of the matrices of a cell after its loop backwards, in the order of the packed weights.

    void gradient(ptr context, i64 task, i64 worker)

A task is a vector of units that receive. For every weight the product of the gradient at what the matrix made and the
unit seen is summed over steps and sequences in one order, some weights at a time in registers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pathc.backends.llvm.emit import I64, Function, constant, vector
from pathc.backends.llvm.recurrent.layout import UNROLL
from pathc.backends.llvm.recurrent.sums import gathered
from pathc.backends.llvm.recurrent.training.loops import fields
from pathc.backends.llvm.recurrent.training.record import Plan
from pathc.backends.llvm.recurrent.units import Units, repeat
from pathc.backends.llvm.training.phases import TASK

_Seen = Callable[[str, int], str]
_SUMS = 20
"""Vectors of sums that stay in registers."""


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
        batch, self.steps, self.x_step, x_sample = fields(f, "batch", "steps", "x_step", "x_sample")
        self.table = fields(f, "table")[0]
        record_sample = f.op("mul", I64, f.op("add", I64, self.steps, "1"), str(plan.row))
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
        with f.loop(batch) as samples:
            self.x = f.offset(x, f.op("mul", I64, samples.index, x_sample))
            self.record = f.offset(record, f.op("mul", I64, samples.index, record_sample))
            for gates, sees in self._groups():
                self._rows(gates, sees)
            samples.following = []
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
            with f.loop(self.count, step=UNROLL) as rows:
                at = f.op("add", I64, begin, rows.index)
                base = f.offset(f.offset(self.record, sees), at)
                self._steps(gates, rows.index, UNROLL, base, self._spread)
                rows.following = []
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
        x, record = f.offset(self.x, self.unit), f.offset(self.record, self.unit)
        with f.loop(self.steps, [*sums, ("ptr", x), ("ptr", record), ("ptr", base)]) as loop:
            *before, x, record, at = loop.carried
            gradients = [self._gradient(g, x, record) for g in gates]
            following: list[str] = []
            for k in range(count):
                source = seen(at, k)
                for n, gradient in enumerate(gradients):
                    following.append(f.fma(self.lanes, gradient, source, before[k * len(gates) + n]))
            moved = f.offset(x, self.x_step), f.offset(record, plan.row), f.offset(at, plan.row)
            loop.following = [*following, *moved]
        for place, value in zip(places, loop.results, strict=False):
            f.store(self.kind, value, place)

    def _gradient(self, gate: int, x: str, record: str) -> str:
        """The gradient at what the matrix of a gate made."""
        where, offset = self.plan.gradient_at(gate)
        if where == "record":
            return self.f.load(self.kind, self.f.offset(record, offset))
        return self.units.masked_load(self.f, self.f.offset(x, offset), self.there)
