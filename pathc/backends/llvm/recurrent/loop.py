"""The time loop of a cell as one function.

    void NAME(ptr x, ptr y, ptr w, ptr table, ptr state, ptr scratch, i64 batch, i64 steps,
              i64 x_step, i64 y_step, i64 x_sample, i64 y_sample)

x holds what lines bring to the gates of a sample and step, y takes the output; distances are in floats and may be
negative, which is how a direction runs backwards. `state` [batch, vectors of the state, units] is where sequences begin
and takes where they end; null means zero and nothing kept. Scratch is aligned to 64 bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from pathc.backends.llvm.emit import I64, Function, constant, module, vector
from pathc.backends.llvm.machine import Machine
from pathc.backends.llvm.recurrent.layout import Layout
from pathc.backends.llvm.recurrent.scan import Scan, steps_ahead
from pathc.backends.llvm.recurrent.step import Maths, Stepped, gru, ligru, lstm, qrnn, simple, sru
from pathc.backends.llvm.recurrent.sums import At, add_recurrent
from pathc.backends.llvm.recurrent.units import Units, clear, mask, repeat

PARAMETERS = (
    *(("ptr", name) for name in ("x", "y", "w", "table", "state", "scratch")),
    *((I64, name) for name in ("batch", "steps", "x_step", "y_step", "x_sample", "y_sample")),
)
SAMPLES = 4
"""Samples that share the loads of weights where weights are more than the diagonal."""


class TimeLoop:
    """Writer of the time loop of one cell; `offsets` are those of the gates in a row of x, then the highway's.

    With `scans` the cell is a linear recurrence that may be computed some steps ahead.
    """

    def __init__(
        self, layout: Layout, machine: Machine, name: str, offsets: Sequence[int], *, scans: bool = False
    ) -> None:
        self.scans = scans
        self.layout, self.machine, self.name = layout, machine, name
        self.cell, self.lanes, self.kind = layout.cell, layout.lanes, vector(layout.lanes)
        self.offsets = tuple(offsets)
        self.units = Units(layout)
        self.full, self.rest = self.units.full, self.units.rest
        self.twice = self.cell.name == "gru" and self.cell.reset == "before" and layout.form != "diag"

    def text(self) -> str:
        """The module."""
        sizes = self._side_by_side() if self.layout.form in ("diag", "none") else (SAMPLES, 1)
        tiles = [self._tile(samples) for samples in sizes]
        return module([*tiles, self._driver(sizes)], self.machine.triple)

    def scratch(self) -> int:
        """Bytes of scratch."""
        return 4 * SAMPLES * self.layout.stride * 4 + 64

    def _driver(self, sizes: Sequence[int]) -> Function:
        """All samples: tiles while they are whole, then one after the other."""
        f = Function(self.name, PARAMETERS, internal=False)
        done = "0"
        for samples in sizes:
            left = f.op("sub", I64, "%batch", done)
            rounds = f.op("udiv", I64, left, str(samples))
            begin = done
            with repeat(f, rounds) as index:
                at = f.op("add", I64, begin, f.op("mul", I64, index, str(samples)))
                given = self._arguments(f, at)
                f.call("void", f"tile{samples}", given, declare=False)
            done = f.op("add", I64, begin, f.op("mul", I64, rounds, str(samples)))
        return f

    def _arguments(self, f: Function, sample: str) -> list[tuple[str, str]]:
        x = f.offset("%x", f.op("mul", I64, sample, "%x_sample"))
        y = f.offset("%y", f.op("mul", I64, sample, "%y_sample"))
        size = self.cell.states * self.cell.hidden
        there = f.offset("%state", f.op("mul", I64, sample, str(size)))
        null = f.assign("icmp eq ptr %state, null")
        state = f.assign(f"select i1 {null}, ptr null, ptr {there}")
        own = {"x": x, "y": y, "state": state}
        return [(kind, own.get(name, f"%{name}")) for kind, name in PARAMETERS]

    def _tile(self, samples: int) -> Function:
        f = Function(f"tile{samples}", PARAMETERS)
        return self._in_registers(f, samples) if self.layout.form in ("diag", "none") else self._in_memory(f, samples)

    # ---- the state in registers: nothing crosses lanes

    @property
    def _chains(self) -> int:
        """Vectors whose steps run side by side, so that one need not wait for the other's latencies."""
        return max(1, 8 // len(self.cell.gates))

    def _side_by_side(self) -> tuple[int, ...]:
        """Samples of the tiles: as many as make up for the vectors that a sample has too few, and halves of that.

        One where nothing waits long: where gates hear nothing of the state, or a step is a multiply-add and rows fill
        a vector.
        """
        multiplied = len(self.cell.gates) == 1 and self._activation in ("identity", "relu")
        short = not self.layout.gates or (multiplied and self.full > 0)
        most = 1 if short else self._chains // max(self.full, 1)
        return (*(most >> k for k in range(most.bit_length() - 1)), 1)

    def _in_registers(self, f: Function, samples: int) -> Function:
        several = max(1, min(self._chains, self.full))
        blocks, single = divmod(self.full, several)
        if blocks:
            with f.loop(blocks) as loop:
                unit = f.op("mul", I64, loop.index, str(several * self.lanes))
                self._block(f, unit, several, 0, samples)
                loop.following = []
        for k in range(single):
            self._block(f, str((blocks * several + k) * self.lanes), 1, 0, samples)
        if self.rest:
            self._block(f, str(self.full * self.lanes), 1, self.rest, samples)
        return f

    def _block(self, f: Function, unit: str, vectors: int, rest: int, samples: int) -> None:
        """Some vectors of units of some samples over all steps."""
        cell, lanes = self.cell, self.lanes
        every = [(s, v) for s in range(samples) for v in range(vectors)]
        away = [[f.op("mul", I64, f"%{name}_sample", str(s)) for s in range(samples)] for name in "xy"]
        total = len(self.layout.gates)
        base = f.offset("%w", f.op("mul", I64, unit, str(total))) if total else "%w"
        weights = [[f.load(self.kind, f.offset(base, (v * total + g) * lanes), 4 * lanes) for g in range(total)]
                   for v in range(vectors)]  # fmt: skip
        states = [[self._state(f, f.op("add", I64, unit, str(v * lanes)), k, rest, s) for s, v in every]
                  for k in range(cell.states)]  # fmt: skip
        flat, steps = [value for vector_ in states for value in vector_], "%steps"
        first, last = f.offset("%x", unit), f.offset("%y", unit)
        ahead = steps_ahead(rest or lanes, len(every)) if self.scans else 1
        if ahead > 1:
            load, store = partial(self.units.load, f, rest=rest), partial(self.units.store, f, rest=rest)
            scan = Scan(f, lanes, ahead, load, store)
            done = scan.groups(weights[0][0], flat[0], f.offset(first, self.offsets[0]), last)
            flat, first, last, steps = [done.state], f.offset(done.x, -self.offsets[0]), done.y, done.left
        with f.loop(steps, [*((self.kind, value) for value in flat), ("ptr", first), ("ptr", last)]) as loop:
            values, (x, y) = loop.carried[:-2], loop.carried[-2:]
            following: list[list[str]] = [[] for _ in range(cell.states)]
            rows, outs = ([f.offset(p, by) for by in each] for p, each in zip((x, y), away, strict=True))
            for n, (s, v) in enumerate(every):
                state = [values[k * len(every) + n] for k in range(cell.states)]
                sums = [self.units.load(f, f.offset(rows[s], o + v * lanes), rest) for o in self.offsets]
                through = [f.op("fmul", self.kind, weights[v][g], state[0]) for g in range(total)]
                made = self._diagonal_step(f, sums, weights[v], through, state)
                self.units.store(f, made.output, f.offset(outs[s], v * lanes), rest)
                new = made.state if cell.name != "lstm" else (made.output, *made.state)
                for k, value in enumerate(new):
                    following[k].append(value)
            ends = f.offset(x, "%x_step"), f.offset(y, "%y_step")
            loop.following = [*(value for each in following for value in each), *ends]
        for k in range(cell.states):
            for n, (s, v) in enumerate(every):
                self._keep(f, loop.results[k * len(every) + n], f.op("add", I64, unit, str(v * lanes)), k, rest, s)

    def _diagonal_step(
        self, f: Function, sums: list[str], weights: Sequence[str], through: Sequence[str], state: Sequence[str]
    ) -> Stepped:
        m, cell = Maths(f, self.lanes), self.cell
        held = state[0]

        def gate(number: int, recurrent: int) -> str:
            return m.fma(weights[recurrent], held, sums[number])

        match cell.name:
            case "lstm":
                return lstm(m, [gate(g, g) for g in range(4)], state[1])
            case "gru":
                r = m.div(*m.sigmoid(gate(0, 0)))
                return gru(m, gate(1, 1), m.fma(r, through[2], sums[2]), held)
            case "ligru":
                return ligru(m, gate(0, 0), gate(1, 1), held)
            case "qrnn":
                return qrnn(m, sums, held)
            case "sru":
                heard = sums if not weights else [sums[0], gate(1, 0), gate(2, 1)]
                return sru(m, heard[:3], sums[3] if len(sums) > 3 else "", held)
            case _:
                return simple(m, self._activation, gate(0, 0))

    # ---- the state in memory: units see each other

    def _in_memory(self, f: Function, samples: int) -> Function:
        layout, cell = self.layout, self.cell

        def buffer(number: int, sample: int) -> str:
            return f.offset("%scratch", (number * SAMPLES + sample) * layout.stride + layout.margin)

        clear(f, "%scratch", 4 * SAMPLES * layout.stride, self.lanes)
        now, after = ([buffer(n, s) for s in range(samples)] for n in (0, 1))
        cells = [buffer(2, s) for s in range(samples)]
        resets = [buffer(3, s) for s in range(samples)]
        for s in range(samples):
            for k, target in enumerate((now[s], cells[s])[: cell.states]):
                self.units.every(f, lambda unit, rest, s=s, k=k, t=target: f.store(
                    self.kind, self._state(f, unit, k, rest, s), f.offset(t, unit), 4))  # fmt: skip
            self.units.wrap(f, now[s])
        carried = [("ptr", p) for p in (*now, *after, "%x", "%y")]
        with f.loop("%steps", carried) as loop:
            old, new = loop.carried[:samples], loop.carried[samples : 2 * samples]
            x, y = loop.carried[-2:]
            if self.twice:
                self._pass(f, "reset", x, y, old, new, cells, resets)
                for s in range(samples):
                    self.units.wrap(f, resets[s])
            self._pass(f, "rest" if self.twice else "all", x, y, old, new, cells, resets)
            for s in range(samples):
                self.units.wrap(f, new[s])
            loop.following = [*new, *old, f.offset(x, "%x_step"), f.offset(y, "%y_step")]
        for s in range(samples):
            for k, target in enumerate((loop.results[s], cells[s])[: cell.states]):
                self.units.every(f, lambda unit, rest, s=s, k=k, t=target: self._keep(
                    f, f.load(self.kind, f.offset(t, unit)), unit, k, rest, s))  # fmt: skip
        return f

    def _pass(
        self,
        f: Function,
        what: str,
        x: str,
        y: str,
        old: Sequence[str],
        new: Sequence[str],
        cells: Sequence[str],
        resets: Sequence[str],
    ) -> None:
        """All units of one step."""

        def write(unit: str, rest: int, weights: str) -> str:
            return self._unit(f, what, unit, rest, weights, x, y, old, new, cells, resets)

        self.units.walk(f, "%w", write)

    def _unit(
        self,
        f: Function,
        what: str,
        unit: str,
        rest: int,
        weights: str,
        x: str,
        y: str,
        old: Sequence[str],
        new: Sequence[str],
        cells: Sequence[str],
        resets: Sequence[str],
    ) -> str:
        """One vector of units of one step; where the next weights are."""
        cell, m, samples = self.cell, Maths(f, self.lanes), len(old)
        number = f.op("udiv", I64, unit, str(self.lanes))
        zero = constant(0.0, self.lanes)
        rows = [f.offset(x, f.op("mul", I64, "%x_sample", str(s))) for s in range(samples)]
        columns = [f.op("add", I64, unit, str(o)) for o in self.offsets]
        inputs = [[self.units.load(f, f.offset(row, column), rest) for row in rows] for column in columns]
        sums = [list(each) for each in inputs]
        after = cell.name == "gru" and not self.twice
        if after:
            sums[2] = [zero] * samples
        at = At(unit, number, weights, "%table", old)
        if what == "reset":
            behind = add_recurrent(f, self.layout, at, (0,), sums)
            for s in range(samples):
                h = f.load(self.kind, f.offset(old[s], unit))
                r, below = m.sigmoid(sums[0][s])
                f.store(self.kind, m.div(m.mul(r, h), below), f.offset(resets[s], unit))
            return behind
        if what == "rest":
            add_recurrent(f, self.layout, at, (1,), sums)
            at.states = resets
            behind = add_recurrent(f, self.layout, at, (2,), sums)
        else:
            behind = add_recurrent(f, self.layout, at, range(len(cell.recurrent_gates)), sums)
        for s in range(samples):
            own = [each[s] for each in sums]
            h = f.load(self.kind, f.offset(old[s], unit)) if cell.name in ("gru", "ligru") else ""
            if cell.name == "lstm":
                made = lstm(m, own, f.load(self.kind, f.offset(cells[s], unit)))
                f.store(self.kind, made.state[0], f.offset(cells[s], unit))
            elif cell.name == "gru":
                n = m.fma(m.div(*m.sigmoid(own[0])), own[2], inputs[2][s]) if after else own[2]
                made = gru(m, own[1], n, h)
            elif cell.name == "ligru":
                made = ligru(m, own[0], own[1], h)
            else:
                made = simple(m, self._activation, own[0])
            f.store(self.kind, made.output, f.offset(new[s], unit))
            out = f.offset(f.offset(y, f.op("mul", I64, "%y_sample", str(s))), unit)
            self.units.store(f, made.output, out, rest)
        return behind

    # ---- vectors that are perhaps not whole

    @property
    def _activation(self) -> str:
        return "identity" if self.cell.name == "linear" else self.cell.activation

    def _state_at(self, f: Function, unit: str, number: int, rest: int, sample: int) -> tuple[str, str]:
        """Address of a vector of a state, and the mask of what is there: nothing behind a null pointer."""
        n = self.cell.hidden
        place = f.offset(f.offset("%state", (sample * self.cell.states + number) * n), unit)
        given = f.assign("icmp ne ptr %state, null")
        flags = vector(self.lanes, "i1")
        first = f.assign(f"insertelement {flags} poison, i1 {given}, i64 0")
        every = f.assign(f"shufflevector {flags} {first}, {flags} poison, <{self.lanes} x i32> zeroinitializer")
        return place, f.op("and", flags, every, mask(self.lanes, rest)) if rest else every

    def _state(self, f: Function, unit: str, number: int, rest: int, sample: int = 0) -> str:
        place, mask = self._state_at(f, unit, number, rest, sample)
        return self.units.masked_load(f, place, mask)

    def _keep(self, f: Function, value: str, unit: str, number: int, rest: int, sample: int = 0) -> None:
        place, mask = self._state_at(f, unit, number, rest, sample)
        self.units.masked_store(f, value, place, mask)
