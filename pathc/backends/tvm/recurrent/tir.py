"""Time loops as TIR: one block of TVMScript for so many sequences, within it a loop over the steps.

No axis of a block may be time, as no schedule may move what runs in it: threads are loops of opaque blocks inside of
the loop over steps. Where units see each other the state lies twice in shared memory, one half read and the other one
written, and a barrier ends each step. TVM cannot tell the halves apart: barriers are written here, for a GPU alone.
What lines bring is read ahead, as it need not wait for the state: some steps at a time, or during the step before.

Variables: g block of sequences, d direction, c chunk of units, i thread, j turn of a thread, s step since the start of
a direction, r round of steps that are read at a time, k source.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from pathc.backends.tvm.recurrent.plan import CellPlan
from pathc.backends.tvm.recurrent.step import reset, step
from pathc.backends.tvm.tir import Argument, Function, head

_ZERO = "T.float32(0)"
_AHEAD = 4
"""Steps whose inputs are read at a time where everything is in registers."""
_NUMBERS = ("groups", "batch", "steps")
"""Integers that a time loop takes: blocks of sequences, sequences, steps."""


def cell_functions(plan: CellPlan, gpu: bool) -> tuple[Function, ...]:
    """The time loop, and what adds the two directions if they are added."""
    taken = arguments(plan)
    lines = [*head(plan.name, taken, _NUMBERS), *(f"    {line}" for line in _Loop(plan, gpu).lines())]
    groups = (("groups", f"batch/{plan.sequences}" if plan.sequences > 1 else "batch"),)
    loop = Function(plan.name, "\n".join(lines) + "\n", taken, _NUMBERS, groups)
    return (loop, _added(plan)) if plan.added else (loop,)


def arguments(plan: CellPlan) -> tuple[Argument, ...]:
    """What the time loop reads and writes."""
    cell, name = plan.cell, plan.name
    both, gates, hidden = str(cell.directions), str(len(cell.recurrent_gates)), str(cell.hidden)
    found = [Argument(plan.sums, "input", plan.sums, ("rows", str(plan.columns)))]

    def parameter(letter: str, shape: tuple[str, ...], dtype: str = "float32") -> None:
        found.append(Argument(f"{name}_{letter}", "parameter", f"{name}_{letter}", shape, dtype))

    if cell.recurrent_gates:
        match plan.form:
            case "own":
                parameter("w", (both, gates, hidden))
            case "csr":
                parameter("w", (both, str(plan.edges), gates))
                parameter("i", (str(plan.edges),), "int32")
                parameter("p", (str(cell.hidden + 1),), "int32")
            case _:
                parameter("w", (both, str(plan.width), gates, hidden))
        if plan.form == "ell":
            parameter("i", (str(plan.width), hidden), "int32")
    if plan.state:
        found.append(Argument(plan.state, "state", plan.state, ("batch", str(cell.states * cell.hidden))))
    columns = cell.directions * cell.hidden
    return (*found, Argument(plan.made, "output", plan.made, ("rows", str(columns))))


def _added(plan: CellPlan) -> Function:
    """The two directions of a cell, added."""
    name, n = f"{plan.name}_add", plan.units
    taken = (
        Argument(plan.made, "input", plan.made, ("rows", str(2 * n))),
        Argument(plan.out, "output", plan.out, ("rows", str(n))),
    )
    lines = [
        *head(name, taken, ()),
        f"    for r, u in T.grid(rows, {n}):",
        f'        with T.sblock("{name}_store"):',
        '            vr, vu = T.axis.remap("SS", [r, u])',
        f"            {plan.out}[vr, vu] = {plan.made}[vr, vu] + {plan.made}[vr, vu + {n}]",
    ]
    return Function(name, "\n".join(lines) + "\n", taken)


class _Loop:
    """The body of a time loop as lines of text."""

    def __init__(self, plan: CellPlan, gpu: bool) -> None:
        self.plan, self.cell, self.gpu = plan, plan.cell, gpu
        self.gates = len(plan.cell.recurrent_gates)
        self.after = plan.cell.name == "gru" and plan.cell.reset == "after"
        self.sums = len(plan.cell.gates) + self.after

    def lines(self) -> list[str]:
        """The whole body; its block hides what it reads and writes, as states are both."""
        plan, name = self.plan, self.plan.name
        inside = self._alone() if plan.form == "own" else self._seeing()
        return [
            f"for g, d, c in T.grid(groups, {self.cell.directions}, {plan.chunks}):",
            f'    with T.sblock("{name}_loop"):',
            '        vg, vd, vc = T.axis.remap("SSS", [g, d, c])',
            "        T.reads()",
            "        T.writes()",
            *(f"        {line}" for line in inside),
        ]

    # ---- units that see themselves at most: everything in registers

    def _alone(self) -> list[str]:
        """A thread runs through all steps of a unit."""
        cell, name = self.cell, self.plan.name
        held = [f"{name}_h[{k}]" for k in range(cell.states)]
        u, (b, inside) = [f"{name}_u[{g}]" for g in range(self.sums)], self._sequence(0)
        body = [f"{held[k]} = {self._start(b, k)}" for k in range(cell.states)]
        body += [f"{name}_v[{g}] = {name}_w[vd, {g}, {self._unit}]" for g in range(self.gates)]
        reads = [partial(self._brought, b, g) for g in range(len(cell.gates))]
        if self.plan.highway:
            reads.append(partial(self._highway, b))
        body.append(f"for r in range((steps + {_AHEAD - 1}) // {_AHEAD}):")
        for at in range(_AHEAD):
            when = f"T.min(r * {_AHEAD} + {at}, steps - 1)"
            body += [f"    {name}_n[{at * len(reads) + k}] = {read(when)}" for k, read in enumerate(reads)]
        for at in range(_AHEAD):
            given = [f"{name}_n[{at * len(reads) + k}]" for k in range(len(reads))]
            steps = self._step_alone(given, u, held, f"r * {_AHEAD} + {at}", b, inside)
            body += [f"    if r * {_AHEAD} + {at} < steps:", *(f"        {line}" for line in steps)]
        body += self._kept(b, inside, held)
        sizes = {"u": self.sums, "h": cell.states, "v": self.gates, "n": _AHEAD * len(reads)}
        return self._nest("step", body, [(key, str(size)) for key, size in sizes.items() if size])

    def _step_alone(
        self, given: Sequence[str], u: Sequence[str], held: Sequence[str], s: str, b: str, inside: str
    ) -> list[str]:
        """A step over what was read for it: the gates, then the highway if there is one."""
        cell, name = self.cell, self.plan.name
        steps = [f"{u[g]} = {given[g]}" for g in range(len(cell.gates))]
        into = [len(cell.gates) - self.gates + g for g in range(self.gates)]
        before = cell.name == "gru" and cell.reset == "before"
        if self.after:
            into[2] = 3
            steps.append(f"{u[3]} = {_ZERO}")
        for g, at in enumerate(into):
            read = f"({reset(u[0], held[0])})" if before and g == 2 else held[0]
            steps.append(f"{u[at]} = {u[at]} + {name}_v[{g}] * {read}")
        highway = given[-1] if self.plan.highway else ""
        made = step(cell, u[: len(cell.gates)], held, u[3] if self.after else "", highway)
        steps += [*made.lines, *self._written(b, inside, made.output, s)]
        return [*steps, *(f"{place} = {value}" for place, value in zip(held, made.state, strict=True))]

    # ---- units that see each other: the state in shared memory

    def _seeing(self) -> list[str]:
        """Threads run through all steps together."""
        plan, cell, name = self.plan, self.cell, self.plan.name
        shared = [f'{name}_h = T.sblock_alloc_buffer((2, {plan.sequences}, {cell.hidden}), scope="shared.dyn")']
        more = [*(["c"] if cell.states > 1 else []), *(["r"] if plan.twice else [])]
        shared += [
            f'{name}_{what} = T.sblock_alloc_buffer(({plan.sequences}, {cell.hidden}), scope="shared.dyn")'
            for what in more
        ]
        sizes = {"v": plan.width * self.gates if plan.held else 0, "n": self._inputs * plan.samples}
        shared += [
            f'{name}_{key} = T.sblock_alloc_buffer(({plan.threads}, {plan.turns}, {size}), scope="local")'
            for key, size in sizes.items()
            if size
        ]
        inside = self._nest("start", self._starts())
        inside += [*self._barrier(), "for s in range(steps):"]
        if plan.twice:
            inside += [f"    {line}" for line in [*self._nest("reset", self._resets(), self._locals), *self._barrier()]]
        inside += [f"    {line}" for line in [*self._nest("step", self._steps(), self._locals), *self._barrier()]]
        if plan.state:
            inside += self._nest("end", self._ends())
        if self.gpu:
            inside = ['with T.attr(0, "hand_threaded", 1):', *(f"    {line}" for line in inside)]
        return [*shared, *inside]

    def _barrier(self) -> list[str]:
        return ['T.evaluate(T.tvm_storage_sync("shared.dyn"))'] if self.gpu else []

    @property
    def _inputs(self) -> int:
        """Inputs that are read a step ahead: those of all gates, none where a thread cannot keep those of its units."""
        return len(self.cell.gates) if self.plan.turns == 1 or self.plan.held else 0

    def _next(self, gate: int, q: int) -> str:
        """What lines bring to a gate in the next step."""
        return f"{self.plan.name}_n[i, {self._turn}, {gate * self.plan.samples + q}]"

    @property
    def _locals(self) -> list[tuple[str, str]]:
        return [("u", str(self.sums * self.plan.samples))]

    def _starts(self) -> list[str]:
        """The states that the sequences begin with, and the weights that stay in registers."""
        plan, name = self.plan, self.plan.name
        body: list[str] = []
        for q in range(plan.samples):
            (b, _), at = self._sequence(q), self._place(q)
            body.append(f"{name}_h[0, {at}, {self._unit}] = {self._start(b, 0)}")
            if self.cell.states > 1:
                body.append(f"{name}_c[{at}, {self._unit}] = {self._start(b, 1)}")
            body += [f"{self._next(g, q)} = {self._brought(b, g, '0')}" for g in range(self._inputs)]
        if plan.held:
            body.append(f"for k in T.unroll({plan.width}):")
            body += [
                f"    {name}_v[i, {self._turn}, k * {self.gates} + {g}] = {name}_w[vd, k, {g}, {self._unit}]"
                for g in range(self.gates)
            ]
        return body

    def _resets(self) -> list[str]:
        """What the matrix of the candidate reads."""
        plan, name = self.plan, self.plan.name
        body = self._summed([0], {0: 0})
        for q in range(plan.samples):
            at = f"{self._place(q)}, {self._unit}"
            body.append(f"{name}_r[{at}] = {reset(self._u(0, q), f'{name}_h[s % 2, {at}]')}")
        return body

    def _steps(self) -> list[str]:
        """A step of all gates, or of those behind the reset gate."""
        plan, cell, name = self.plan, self.cell, self.plan.name
        first = 1 if plan.twice else 0
        into = {g: g for g in range(first, self.gates)}
        if self.after:
            into[2] = 3
        body = self._summed(list(range(first, len(cell.gates))), into)
        for q in range(plan.samples):
            (b, inside), at = self._sequence(q), f"{self._place(q)}, {self._unit}"
            state = [f"{name}_h[s % 2, {at}]", f"{name}_c[{at}]"][: cell.states]
            u = [self._u(g, q) for g in range(self.sums)]
            made = step(cell, u[: len(cell.gates)], state, u[3] if self.after else "")
            body += [*made.lines, f"{name}_h[(s + 1) % 2, {at}] = {made.state[0]}"]
            body += [f"{place} = {value}" for place, value in zip(state[1:], made.state[1:], strict=True)]
            body += self._written(b, inside, made.output)
        return body

    def _ends(self) -> list[str]:
        """The states that the next call begins with."""
        body: list[str] = []
        for q in range(self.plan.samples):
            (b, inside), at = self._sequence(q), f"{self._place(q)}, {self._unit}"
            places = [f"{self.plan.name}_h[steps % 2, {at}]", f"{self.plan.name}_c[{at}]"]
            body += self._kept(b, inside, places[: self.cell.states])
        return body

    def _summed(self, gates: Sequence[int], into: dict[int, int]) -> list[str]:
        """Sums of some gates; `into` says which sum the matrix of a recurrent gate adds to."""
        plan, name = self.plan, self.plan.name
        body: list[str] = []
        for q in range(plan.samples):
            b, _ = self._sequence(q)
            for g in gates:
                if self._inputs:
                    ahead = self._brought(b, g, "T.min(s + 1, steps - 1)")
                    body += [f"{self._u(g, q)} = {self._next(g, q)}", f"{self._next(g, q)} = {ahead}"]
                else:
                    body.append(f"{self._u(g, q)} = {self._brought(b, g, 's')}")
            body += [f"{self._u(at, q)} = {_ZERO}" for at in into.values() if at not in gates]
        source, there = self._source()
        terms: list[str] = []
        for q in range(plan.samples):
            for g, at in into.items():
                second = plan.twice and g == 2
                state = f"{name}_r[" if second else f"{name}_h[s % 2, "
                read = f"{state}{self._place(q)}, {source}]"
                if there and plan.form == "band":
                    read = f"T.if_then_else({there}, {read}, {_ZERO})"
                terms.append(f"{self._u(at, q)} = {self._u(at, q)} + {self._weight(g)} * {read}")
        if plan.form == "ell":
            terms = [f"if {there}:", *(f"    {line}" for line in terms)]
        if plan.form == "csr":
            count = f"range({name}_p[{self._unit} + 1] - {name}_p[{self._unit}])"
        else:
            count = f"T.unroll({plan.width})" if plan.held else f"range({plan.width})"
        return [*body, f"for k in {count}:", *(f"    {line}" for line in terms)]

    def _source(self) -> tuple[str, str]:
        """The source k of a unit, and when there is one, empty for always."""
        plan, unit, n = self.plan, self._unit, self.cell.hidden
        match plan.form:
            case "band":
                below, above = f"{unit} + k >= {plan.reach}", f"{unit} + k < {n + plan.reach}"
                return f"{unit} + k - {plan.reach}", f"T.And({below}, {above})"
            case "ring":
                return f"({unit} + k + {n - plan.reach}) % {n}", ""
            case "dense":
                return f"{unit} // {plan.width} * {plan.width} + k", ""
            case "csr":
                return f"{plan.name}_i[{plan.name}_p[{unit}] + k]", ""
            case _:
                return f"{plan.name}_i[k, {unit}]", f"{plan.name}_i[k, {unit}] >= 0"

    def _weight(self, gate: int) -> str:
        plan, name = self.plan, self.plan.name
        if plan.held:
            return f"{name}_v[i, {self._turn}, k * {self.gates} + {gate}]"
        if plan.form == "csr":
            return f"{name}_w[vd, {name}_p[{self._unit}] + k, {gate}]"
        return f"{name}_w[vd, k, {gate}, {self._unit}]"

    # ---- what both kinds have in common

    def _nest(self, what: str, body: Sequence[str], locals_: Sequence[tuple[str, str]] = ()) -> list[str]:
        """Statements for the units of every thread, with arrays of its own."""
        plan, name = self.plan, self.plan.name
        inner = list(body)
        if plan.across * plan.turns * plan.chunks > self.cell.hidden:
            inner = [f"if {self._unit} < {self.cell.hidden}:", *(f"    {line}" for line in inner)]
        if plan.turns > 1:
            turns = f"T.unroll({plan.turns})" if plan.held else f"range({plan.turns})"
            inner = [f"for j in {turns}:", *(f"    {line}" for line in inner)]
        allocated = [f'{name}_{key} = T.sblock_alloc_buffer(({size},), scope="local")' for key, size in locals_]
        return [
            f"for i in range({plan.threads}):",
            f'    with T.sblock("{name}_{what}"):',
            *(f"        {line}" for line in ["T.reads()", "T.writes()", *allocated, *inner]),
        ]

    @property
    def _turn(self) -> str:
        return "j" if self.plan.turns > 1 else "0"

    @property
    def _unit(self) -> str:
        plan = self.plan
        terms = [f"i % {plan.across}" if plan.slots > 1 else "i"]
        if plan.turns > 1:
            terms.append(f"j * {plan.across}")
        if plan.chunks > 1:
            terms.append(f"vc * {plan.across}")
        return f"({' + '.join(terms)})"

    def _place(self, q: int) -> str:
        """Which of the sequences of the block."""
        slot = f"i // {self.plan.across}" if self.plan.slots > 1 else "0"
        return f"({slot} * {self.plan.samples} + {q})"

    def _sequence(self, q: int) -> tuple[str, str]:
        """A sequence to read, and when there is one, empty for always."""
        number = f"(vg * {self.plan.sequences} + {self._place(q)})"
        return ("vg", "") if self.plan.sequences == 1 else (f"T.min({number}, batch - 1)", f"{number} < batch")

    def _u(self, gate: int, q: int) -> str:
        return f"{self.plan.name}_u[{gate * self.plan.samples + q}]"

    def _row(self, b: str, since: str) -> str:
        """The row of a sequence's step, `since` steps after the start of the direction."""
        step = since if self.cell.directions == 1 else f"{since} + vd * (steps - 1 - 2 * ({since}))"
        return f"{b} * steps + {step}"

    def _brought(self, b: str, gate: int, s: str) -> str:
        """What lines bring to a gate in a step: all taps of the window, each some steps late."""
        cell, n, sums = self.cell, self.plan.units, self.plan.sums
        terms: list[str] = []
        for tap in range(cell.window):
            column = (
                f"{cell.copy_of(0, tap, gate) * n} + vd * {self._side(cell.window * cell.inputs * n)} + {self._unit}"
            )
            since = f"{s} - {tap}" if tap else s
            read = f"{sums}[{self._row(b, since)}, {column}]"
            terms.append(f"T.if_then_else({s} >= {tap}, {read}, {_ZERO})" if tap else read)
        return " + ".join(terms)

    def _side(self, copies: int) -> int:
        """Columns from one direction to the other."""
        return self.cell.hidden if self.cell.concatenated else copies

    def _highway(self, b: str, s: str) -> str:
        column = f"{self.cell.copies * self.plan.units} + vd * {self._side(0)} + {self._unit}"
        return f"{self.plan.sums}[{self._row(b, s)}, {column}]"

    def _written(self, b: str, inside: str, value: str, s: str = "s") -> list[str]:
        column = f"vd * {self.cell.hidden} + {self._unit}"
        return _if(inside, [f"{self.plan.made}[{self._row(b, s)}, {column}] = {value}"])

    def _start(self, b: str, number: int) -> str:
        return self._handed(b, number) if self.plan.state else _ZERO

    def _handed(self, b: str, number: int) -> str:
        return f"{self.plan.state}[{b}, {number * self.cell.hidden} + {self._unit}]"

    def _kept(self, b: str, inside: str, places: Sequence[str]) -> list[str]:
        if not self.plan.state:
            return []
        return _if(inside, [f"{self._handed(b, k)} = {v}" for k, v in enumerate(places)])


def _if(condition: str, lines: list[str]) -> list[str]:
    return [f"if {condition}:", *(f"    {line}" for line in lines)] if condition else lines
