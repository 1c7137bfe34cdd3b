"""The time loops of a cell in training: forwards with a record of every step, and backwards through it.

    void forward(ptr context, i64 task, i64 worker)
    void backward(ptr context, i64 task, i64 worker)

A task is a tile of sequences that share the loads of weights; sequences do not depend on each other. `context` points
at the numbers of FIELDS, distances in floats; a direction that runs backwards in time has negative ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pathc.backends.llvm.emit import I64, Function, constant, vector
from pathc.backends.llvm.recurrent.layout import Layout
from pathc.backends.llvm.recurrent.sums import At, add_recurrent
from pathc.backends.llvm.recurrent.training.gates import Gates, Held
from pathc.backends.llvm.recurrent.training.record import Plan
from pathc.backends.llvm.recurrent.units import Units, at_sample, clear
from pathc.backends.llvm.training.tasks import TASK

POINTERS = ("x", "y", "record", "weights", "table", "turned", "turned_table", "scratch", "starts", "gradient")
NUMBERS = ("batch", "steps", "x_step", "x_sample", "y_step", "y_sample")
FIELDS = (*POINTERS, *NUMBERS)
"""x [batch, steps, columns] and the record as in `record`; y the output or the gradient there; `weights` and `turned`
packed, with their tables; scratch by worker; `starts` are the first rows of packed weights by vector, `gradient` takes
theirs."""
_TILE = (("ptr", "context"), (I64, "sample"), ("ptr", "scratch"))


def fields(f: Function, *names: str) -> list[str]:
    """Fields of the context."""
    found: list[str] = []
    for name in names:
        kind = "ptr" if name in POINTERS else I64
        found.append(f.load(kind, f.offset("%context", FIELDS.index(name), I64), 8))
    return found


class _Tile:
    """Writer of the loop over a tile of samples."""

    def __init__(self, plan: Plan, samples: int, name: str, layout: Layout) -> None:
        self.plan, self.cell, self.samples = plan, plan.cell, range(samples)
        self.lanes, self.kind = plan.lanes, vector(plan.lanes)
        self.units, self.layout = Units(layout), layout
        self.f = f = Function(f"{name}{samples}", _TILE)
        x, y, record, self.steps = fields(f, "x", "y", "record", "steps")
        self.x_step, self.y_step, x_sample, y_sample = fields(f, "x_step", "y_step", "x_sample", "y_sample")
        record_sample = f.op("mul", I64, f.op("add", I64, self.steps, "1"), str(plan.row))
        self.strides = {"x": x_sample, "y": y_sample, "record": record_sample}
        starts = {"x": x, "y": y, "record": record}
        self.begin = {name: at_sample(f, at, "%sample", self.strides[name]) for name, at in starts.items()}
        self.every = tuple(self.begin)

    def steps_of(self, name: str) -> str:
        """Distance of two steps."""
        return {"x": self.x_step, "y": self.y_step}.get(name, str(self.plan.row))

    def place(self, name: str, at: str, unit: str, sample: int) -> str:
        """A vector of a sample: of x, of y, or of a part of the record."""
        base, inner = (name, 0) if name in "xy" else ("record", self.plan.places[name])
        here = at_sample(self.f, at, sample, self.strides[base])
        return self.f.offset(self.f.offset(here, inner), unit)

    def gate(self, now: dict[str, str], unit: str, sample: int, gate: int) -> str:
        """Where a gate lies in x, or behind the last one the highway."""
        return self.f.offset(self.place("x", now["x"], unit, sample), gate * self.plan.pitch)

    def kept(self, name: str, at: str, unit: str, sample: int) -> str:
        """A vector of a part of the record."""
        return self.f.load(self.kind, self.place(name, at, unit, sample))


class ForwardTile(_Tile):
    """A tile forwards."""

    def __init__(self, plan: Plan, samples: int) -> None:
        super().__init__(plan, samples, "forward", plan.layout)
        self.weights, self.table = fields(self.f, "weights", "table")

    def text(self) -> Function:
        """The function."""
        f, plan = self.f, self.plan
        with f.loop(self.steps, [("ptr", self.begin[name]) for name in self.every]) as loop:
            now = dict(zip(self.every, loop.carried, strict=True))
            after = f.offset(now["record"], plan.row)
            if plan.before:
                self.units.walk(f, self.weights, lambda unit, rest, w: self._reset(now, unit, rest, w))
                self._wrap("v", now["record"])
            self.units.walk(f, self.weights, lambda unit, rest, w: self._unit(now, after, unit, rest, w))
            self._wrap("h", after)
            loop.following = [f.offset(now[name], self.steps_of(name)) for name in self.every]
        return f

    def _wrap(self, name: str, at: str) -> None:
        for s in self.samples:
            self.units.wrap(self.f, self.place(name, at, "0", s))

    def _at(self, now: dict[str, str], unit: str, weights: str, sees: str) -> At:
        states = [self.place(sees, now["record"], "0", s) for s in self.samples]
        number = self.f.op("udiv", I64, unit, str(self.lanes))
        return At(unit, number, weights, self.table, states, self.weights)

    def _sums(self, now: dict[str, str], unit: str, rest: int) -> list[list[str]]:
        """What lines bring, by gate and sample."""
        f, gates = self.f, range(self.plan.gates)
        return [[self.units.load(f, self.gate(now, unit, s, g), rest) for s in self.samples] for g in gates]

    def _reset(self, now: dict[str, str], unit: str, rest: int, weights: str) -> str:
        """The reset gate and r h, which every unit's candidate sees."""
        f, m = self.f, Gates(self.f, self.lanes)
        sums = self._sums(now, unit, rest)
        behind = add_recurrent(f, self.layout, self._at(now, unit, weights, "h"), (0,), sums)
        for s in self.samples:
            r = m.div(*m.sigmoid(sums[0][s]))
            self.units.store(f, r, self.gate(now, unit, s, 0), rest)
            rh = m.mul(r, self.kept("h", now["record"], unit, s))
            f.store(self.kind, rh, self.place("v", now["record"], unit, s))
        return behind

    def _unit(self, now: dict[str, str], after: str, unit: str, rest: int, weights: str) -> str:
        f, plan = self.f, self.plan
        sums = self._sums(now, unit, rest)
        inputs = list(sums)
        if plan.after:
            inputs[2], sums[2] = sums[2], [constant(0.0, self.lanes)] * len(self.samples)
        at = self._at(now, unit, weights, "h")
        own = sums[plan.gates - plan.recurrent :]
        if plan.before:
            add_recurrent(f, self.layout, at, (1,), own)
            behind = add_recurrent(f, self.layout, self._at(now, unit, weights, "v"), (2,), own)
        else:
            behind = add_recurrent(f, self.layout, at, range(plan.recurrent), own)
        for s in self.samples:
            heard = [each[s] for each in sums]
            product = ""
            if plan.after:
                product, heard[2] = heard[2], inputs[2][s]
                f.store(self.kind, product, self.place("q", now["record"], unit, s))
            h = self.kept("h", now["record"], unit, s)
            c = self.kept("c", now["record"], unit, s) if self.cell.name == "lstm" else ""
            over = self.units.load(f, self.gate(now, unit, s, plan.gates), rest) if plan.highway else ""
            made = Gates(f, self.lanes).step(self.cell, heard, h, c, product, over)
            for g, value in enumerate(made.gates):
                if not (self.cell.name == "sru" and g == 0) and not (plan.before and g == 0):
                    self.units.store(f, value, self.gate(now, unit, s, g), rest)
            self.units.store(f, made.output, self.place("y", now["y"], unit, s), rest)
            for name, value in zip("hc", made.state, strict=False):
                f.store(self.kind, value, self.place(name, after, unit, s))
        return behind


class BackwardTile(_Tile):
    """A tile backwards. Scratch holds gradients at products of two steps, and what is carried on."""

    def __init__(self, plan: Plan, samples: int) -> None:
        super().__init__(plan, samples, "backward", plan.turned)
        self.weights, self.table = fields(self.f, "turned", "turned_table")
        self.m = Gates(self.f, self.lanes)
        self.carries = plan.cell.name in ("lstm", "gru", "ligru", "qrnn", "sru")

    def text(self) -> Function:
        """The function."""
        f, plan = self.f, self.plan
        clear(f, "%scratch", scratch_floats(plan), self.lanes)
        last = f.op("sub", I64, self.steps, "1")
        begin = [f.offset(self.begin[n], f.op("mul", I64, last, self.steps_of(n))) for n in self.every]
        one = plan.recurrent * plan.most * plan.turned.stride
        buffers = [("ptr", "%scratch"), ("ptr", f.offset("%scratch", one))]
        with f.loop(self.steps, [*(("ptr", p) for p in begin), *buffers]) as loop:
            now = dict(zip(self.every, loop.carried, strict=False))
            old, new = loop.carried[-2:]
            self.units.walk(f, self.weights, lambda unit, rest, w: self._unit(now, old, new, unit, rest, w))
            if plan.before:
                self._wrap(new, (2,))
                self.units.walk(f, self.weights, lambda unit, rest, w: self._reset(now, new, unit, rest, w))
                self._wrap(new, (0, 1))
            else:
                self._wrap(new, range(plan.recurrent))
            back = [f.offset(now[n], f.op("sub", I64, "0", self.steps_of(n))) for n in self.every]
            loop.following = [*back, new, old]
        return f

    def _wrap(self, products: str, gates: Sequence[int]) -> None:
        for g in gates:
            for s in self.samples:
                self.units.wrap(self.f, self._product(products, "0", g, s))

    def _product(self, products: str, unit: str, gate: int, sample: int) -> str:
        """Where the gradient at what a matrix made lies."""
        at = (gate * self.plan.most + sample) * self.layout.stride + self.layout.margin
        return self.f.offset(self.f.offset(products, at), unit)

    def _carried(self, unit: str, sample: int) -> str:
        at = 2 * self.plan.recurrent * self.plan.most * self.layout.stride + sample * self.plan.padded
        return self.f.offset(self.f.offset("%scratch", at), unit)

    def _through(self, products: str, unit: str, weights: str, gates: Sequence[int], totals: list[str]) -> str:
        """Add to the gradients of samples what comes through the matrices of gates; where the next weights are."""
        f, behind = self.f, weights
        sums = [totals] * self.plan.recurrent
        number = f.op("udiv", I64, unit, str(self.lanes))
        for g in gates:
            states = [self._product(products, "0", g, s) for s in self.samples]
            at = At(unit, number, weights, self.table, states, self.weights)
            behind = add_recurrent(f, self.layout, at, (g,), sums)
        return behind

    def _held(self, now: dict[str, str], unit: str, rest: int, sample: int) -> Held:
        f, plan, name = self.f, self.plan, self.cell.name
        gates = [self.units.load(f, self.gate(now, unit, sample, g), rest) for g in range(plan.gates)]
        after = f.offset(now["record"], plan.row)

        def kept(part: str, at: str, *cells: str) -> str:
            return self.kept(part, at, unit, sample) if name in cells else ""

        return Held(
            gates,
            kept("h", now["record"], "gru", "ligru", "qrnn", "sru"),
            kept("h", after, "qrnn", "sru"),
            kept("c", now["record"], "lstm"),
            kept("c", after, "lstm"),
            self.kept("q", now["record"], unit, sample) if plan.after else "",
            self.units.load(f, self.gate(now, unit, sample, plan.gates), rest) if plan.highway else "",
            f.load(self.kind, self._carried(unit, sample)) if self.carries else "",
        )

    def _unit(self, now: dict[str, str], old: str, new: str, unit: str, rest: int, weights: str) -> str:
        f, plan, m = self.f, self.plan, self.m
        d = [self.units.load(f, self.place("y", now["y"], unit, s), rest) for s in self.samples]
        held = [self._held(now, unit, rest, s) for s in self.samples]
        seen = range(2) if plan.before else range(plan.recurrent)
        if self.cell.name == "sru":
            through = [each.carried for each in held]
            behind = self._through(old, unit, weights, seen, through)
            held = [replace(each, carried=t) for each, t in zip(held, through, strict=True)]
        else:
            behind = self._through(old, unit, weights, seen, d)
        for s in self.samples:
            at_output = d[s]
            if self.cell.name in ("gru", "ligru"):
                at_output = m.add(at_output, held[s].carried)
            made = m.undo(self.cell, held[s], at_output)
            for g, value in enumerate(made.gates):
                if value:
                    self.units.store(f, value, self.gate(now, unit, s, g), rest)
            for g, value in enumerate(made.products):
                if value:
                    f.store(self.kind, value, self._product(new, unit, g, s))
            if plan.after:
                f.store(self.kind, made.products[2], self.place("q", now["record"], unit, s))
            if made.carried:
                f.store(self.kind, made.carried, self._carried(unit, s))
            if made.highway:
                self.units.store(f, made.highway, self.gate(now, unit, s, plan.gates), rest)
        return behind if plan.recurrent else weights

    def _reset(self, now: dict[str, str], new: str, unit: str, rest: int, weights: str) -> str:
        """The reset gate of a gru that acts before the matrix, once the gradient at every candidate is known."""
        f, m = self.f, self.m
        d = [constant(0.0, self.lanes) for _ in self.samples]
        behind = self._through(new, unit, weights, (2,), d)
        for s in self.samples:
            r = self.units.load(f, self.gate(now, unit, s, 0), rest)
            h = self.kept("h", now["record"], unit, s)
            carried = f.load(self.kind, self._carried(unit, s))
            at_r, carried = m.undo_reset(r, h, d[s], carried)
            self.units.store(f, at_r, self.gate(now, unit, s, 0), rest)
            f.store(self.kind, at_r, self._product(new, unit, 0, s))
            f.store(self.kind, carried, self._carried(unit, s))
        return behind


def scratch_floats(plan: Plan) -> int:
    """Floats of scratch of a worker."""
    return plan.most * (2 * plan.recurrent * plan.turned.stride + plan.padded)


def write_loop(plan: Plan, name: str, tiles: Sequence[Function]) -> Function:
    """The exported function that runs the tile of a task: those of the most samples come first."""
    f = Function(name, TASK, internal=False)
    left, scratch = fields(f, "batch", "scratch")
    own = at_sample(f, scratch, "%worker", str(scratch_floats(plan)))
    task, first = "%task", "0"
    for size, tile in zip(plan.samples, tiles, strict=True):
        count = f.op("udiv", I64, left, str(size))
        inside = f.assign(f"icmp ult i64 {task}, {count}")
        f.line(f"br i1 {inside}, label %run{size}, label %behind{size}")
        f.label(f"run{size}")
        sample = f.op("add", I64, first, f.op("mul", I64, task, str(size)))
        f.call("void", tile.name, [("ptr", "%context"), (I64, sample), ("ptr", own)], declare=False)
        f.line("ret void")
        f.label(f"behind{size}")
        task = f.op("sub", I64, task, count)
        done = f.op("mul", I64, count, str(size))
        left, first = f.op("sub", I64, left, done), f.op("add", I64, first, done)
    return f


def tasks_of(plan: Plan, batch: int) -> int:
    """Tasks of a batch."""
    tasks = 0
    for size in plan.samples:
        tasks, batch = tasks + batch // size, batch % size
    return tasks
