"""Plan to TIR: the TVMScript text of every operation, and of a whole net as one function.

Loops are those of the mathematics; what runs in parallel and what is kept where is decided by schedule.py. Loop
variables: t tile, k block, r row (destination), c column (source), b lane (sample), u unit, e edge.
"""

from __future__ import annotations

from collections.abc import Sequence

from pathc.backends.tvm.expressions import activated, number, precedes, slope, unit
from pathc.backends.tvm.plan import (
    Blocks,
    Edges,
    Fill,
    Finish,
    Load,
    NetPlan,
    Op,
    Outer,
    Post,
    Rows,
    Save,
    Skip,
    Slope,
    Total,
)
from pathc.backends.tvm.tir import Function, Loops, arguments, head, nest


def functions(plan: NetPlan) -> tuple[Function, ...]:
    """A function for every operation, or one for all."""
    if plan.fused:
        return (_whole(plan),)
    return tuple(_single(plan, op) for op in plan.ops)


def _single(plan: NetPlan, op: Op) -> Function:
    taken = arguments(plan, op)
    lines = [*head(op.name, taken, ()), *(f"    {line}" for line in _Body(plan, op).lines())]
    return Function(op.name, "\n".join(lines) + "\n", taken)


def _whole(plan: NetPlan) -> Function:
    """All operations of a tile inside one block, so that buffers can lie in shared memory.

    The block hides what it writes: TVM binds no loop around one in which several stores fill an array, as the stations
    of several outputs do.
    """
    every = {a.name: a for op in plan.ops for a in arguments(plan, op) if a.role != "buffer"}
    taken, lanes = tuple(every.values()), plan.lanes
    lines = head(plan.kernel, taken, ("tiles",))
    lines += [
        "    for t in range(tiles):",
        f'        with T.sblock("{plan.kernel}_tile"):',
        "            vt = T.axis.spatial(tiles, t)",
        "            T.reads()",
        "            T.writes()",
    ]
    for name, units in plan.buffers:
        alloc = f'T.sblock_alloc_buffer(({units}, {lanes}), scope="shared.dyn")'
        lines.append(f"            {plan.array(name)} = {alloc}")
    for op in plan.ops:
        lines += [f"            {line}" for line in _Body(plan, op).lines()]
    return Function(plan.kernel, "\n".join(lines) + "\n", taken, ("tiles",))


class _Body:
    """The blocks of one operation as lines of text."""

    def __init__(self, plan: NetPlan, op: Op) -> None:
        self.plan, self.op, self.end = plan, op, op.end
        self.tile = [] if plan.fused else [("t", "tiles", "S")]

    def lines(self) -> list[str]:
        """The whole body."""
        match self.op:
            case Blocks():
                return self._blocks(self.op)
            case Rows():
                return self._rows(self.op)
            case Post() if self._is("softmax"):
                return self._softmax(self.op)
            case Slope() if self._is("softmax"):
                return self._softmax_slope(self.op)
            case Post() if self._is("kwinners"):
                return self._winners(self.op, self.op.src, self.op.src)
            case Slope() if self._is("kwinners"):
                return self._winners(self.op, self.op.argument, self.op.src)
            case Outer():
                return self._outer(self.op)
            case Edges() | Total():
                return self._summed(self.op)
            case _:
                return self._elementwise(self.op)

    def _is(self, activation: str) -> bool:
        return self.end.activation is not None and self.end.activation.name == activation

    def _elementwise(self, op: Load | Fill | Skip | Post | Save | Slope) -> list[str]:
        lanes, plan, sample = self.plan.lanes, self.plan, f"vt * {self.plan.lanes} + vb"
        lines: list[str] = []
        samples: tuple[str, int, str] = ("b", lanes, "S")
        if isinstance(op, Save):
            value = self._at(op.src, "vu")
            if not plan.fused:
                lines = [self._alloc("in", f"{self.end.real}, {lanes}")]
                loops = [("u", self.end.real, "S"), samples]
                lines += self._nest("stage", loops, [f"{self._own('in', 'vu, vb')} = {value}"])
                value = self._own("in", "vu, vb")
            body = [f"if {sample} < batch:", f"    {op.array}[{sample}, vu + {op.first}] = {value}"]
            return lines + self._nest("store", [samples, ("u", self.end.real, "S")], body)
        match op:
            case Load():
                column = f"T.min(vu, {self.end.real - 1}) + {op.first}"
                value = f"T.if_then_else({sample} < batch, {op.array}[{sample}, {column}], T.float32(0))"
                if not plan.fused:
                    lines = [self._alloc("in", f"{lanes}, {self.end.units}")]
                    loops = [samples, ("u", self.end.units, "S")]
                    lines += self._nest("stage", loops, [f"{self._own('in', 'vb, vu')} = {value}"])
                    value = self._own("in", "vb, vu")
                if self.end.init == "bias":
                    value = f"({value} + {self.op.name}_b[vu])"
            case Fill():
                value = self._start(self.end, "vu")
            case Skip():
                value = f"({self._start(self.end, 'vu')} + {number(op.scale)} * {self._at(op.src, 'vu')})"
            case Post():
                value = self._at(op.src, "vu")
            case Slope():
                value = slope(self.end.activation, self._at(op.argument, "vu"), self._at(op.src, "vu"))
        body = [self._stored(op.dst, "vu", value, activate=not isinstance(op, Slope))]
        return lines + self._nest("store", [("u", self.end.units, "S"), samples], body)

    def _blocks(self, op: Blocks) -> list[str]:
        lanes, name, plan = self.plan.lanes, op.name, self.plan
        shape = f"{op.count}, {op.fan_out}, {lanes}"
        source, destination = unit(op.sources, "vk", "vc"), unit(op.destinations, "vk", "vr")
        weight = f"{name}_w[vc, vk, vr]" if lanes == 1 else f"{name}_w[vk, vc, vr]"
        lines = [self._alloc("acc", shape)]
        read = self._at(op.src, source)
        if not plan.fused:
            lines.append(self._alloc("in", f"{op.count}, {op.fan_in}, {lanes}"))
            loops = [("k", op.count, "S"), ("c", op.fan_in, "S"), ("b", lanes, "S")]
            lines += self._nest("stage", loops, [f"{self._own('in', 'vk, vc, vb')} = {read}"])
            read = self._own("in", "vk, vc, vb")
        sum_ = self._own("acc", "vk, vr, vb")
        loops = [("k", op.count, "S"), ("r", op.fan_out, "S"), ("b", lanes, "S"), ("c", op.fan_in, "R")]
        body = ["with T.init():", f"    {sum_} = {self._start(self.end, destination)}"]
        lines += self._nest("sum", loops, [*body, f"{sum_} = {sum_} + {weight} * {read}"])
        return lines + self._nest("store", loops[:3], [self._stored(op.dst, destination, sum_)])

    def _rows(self, op: Rows) -> list[str]:
        lanes, name, units = self.plan.lanes, op.name, self.end.units
        sum_ = self._own("acc", "vr, vb")
        lines = [self._alloc("acc", f"{units}, {lanes}")]
        loops: Loops = [("r", units, "S"), ("b", lanes, "S")]
        if op.form == "ell":
            slot = "ve, vr" if lanes == 1 else "vr, ve"
            product = f"{name}_w[{slot}] * {self._at(op.src, f'{name}_i[{slot}]')}"
            body = ["with T.init():", f"    {sum_} = {self._start(self.end, 'vr')}"]
            body.append(f"{sum_} = {sum_} + T.if_then_else({name}_i[{slot}] >= 0, {product}, T.float32(0))")
            lines += self._nest("sum", [*loops, ("e", op.width, "R")], body)
        else:
            body = [f"T.reads({', '.join(self._read_whole())})", f"T.writes({sum_})"]
            body += [f"{sum_} = {self._start(self.end, 'vr')}", f"for e in range({name}_p[vr + 1] - {name}_p[vr]):"]
            at = f"{name}_p[vr] + e"
            body.append(f"    {sum_} = {sum_} + {name}_w[{at}] * {self._at(op.src, f'{name}_i[{at}]')}")
            lines += self._nest("sum", loops, body)
        return lines + self._nest("store", loops, [self._stored(op.dst, "vr", sum_)])

    def _read_whole(self) -> list[str]:
        """Regions of everything the operation reads; without them TVM takes sums for something that is read, too."""
        found: list[str] = []
        for a in arguments(self.plan, self.op)[:-1]:
            held = a.role == "buffer"
            ahead = ["0:tiles"] if held and not self.plan.fused else []
            found.append(f"{a.name}[{', '.join([*ahead, *(f'0:{n}' for n in a.shape[held:])])}]")
        return found

    def _softmax(self, op: Post) -> list[str]:
        lanes, real = self.plan.lanes, self.end.real
        most, total = self._own("most", "vb"), self._own("total", "vb")
        value = self._at(op.src, "vu")
        lines = [self._alloc("most", str(lanes)), self._alloc("total", str(lanes))]
        loops: Loops = [("b", lanes, "S"), ("u", real, "R")]
        body = ["with T.init():", f"    {most} = T.min_value('float32')", f"{most} = T.max({most}, {value})"]
        lines += self._nest("most", loops, body)
        body = ["with T.init():", f"    {total} = T.float32(0)", f"{total} = {total} + T.exp({value} - {most})"]
        lines += self._nest("total", loops, body)
        shown = f"T.exp({value} - {most}) / {total}"
        loops = [("u", self.end.units, "S"), ("b", lanes, "S")]
        return lines + self._nest("store", loops, [self._stored(op.dst, "vu", shown, activate=False)])

    def _softmax_slope(self, op: Slope) -> list[str]:
        lanes, dot = self.plan.lanes, self._own("dot", "vb")
        value, gradient = self._at(op.value, "vu"), self._at(op.src, "vu")
        loops: Loops = [("b", lanes, "S"), ("u", self.end.real, "R")]
        body = ["with T.init():", f"    {dot} = T.float32(0)", f"{dot} = {dot} + {value} * {gradient}"]
        lines = [self._alloc("dot", str(lanes)), *self._nest("dot", loops, body)]
        loops = [("u", self.end.units, "S"), ("b", lanes, "S")]
        shown = f"{value} * ({gradient} - {dot})"
        return lines + self._nest("store", loops, [self._stored(op.dst, "vu", shown, activate=False)])

    def _outer(self, op: Outer) -> list[str]:
        """Sums over tiles and lanes; sources and destinations are staged block by block."""
        of, lanes = op.of, self.plan.lanes
        sides = ("in", "c", of.fan_in, op.src, unit(of.sources, "vk", "vc")), (
            "out", "r", of.fan_out, op.gradient, unit(of.destinations, "vk", "vr"))  # fmt: skip
        lines: list[str] = []
        for name, letter, fan, buffer, at in sides:
            lines.append(self._alloc(name, f"{of.count}, {fan}, {lanes}"))
            loops: Loops = [("k", of.count, "S"), (letter, fan, "S"), ("b", lanes, "S")]
            lines += self._nest(name, loops, [f"{self._own(name, f'vk, v{letter}, vb')} = {self._at(buffer, at)}"])
        loops = [("k", of.count, "S"), ("c", of.fan_in, "S"), ("r", of.fan_out, "S")]
        return lines + self._over_samples(
            "vk, vc, vr", loops, self._own("in", "vk, vc, vb"), self._own("out", "vk, vr, vb")
        )

    def _summed(self, op: Edges | Total) -> list[str]:
        if isinstance(op, Total):
            return self._over_samples("vu", [("u", op.end.units, "S")], "", self._at(op.gradient, "vu"))
        value, gradient = self._at(op.src, f"{op.name}_i[ve]"), self._at(op.gradient, f"{op.name}_j[ve]")
        return self._over_samples("ve", [("e", op.shape[0], "S")], value, gradient)

    def _over_samples(self, index: str, loops: Loops, value: str, gradient: str) -> list[str]:
        """Sums over all tiles and lanes of a value times a gradient, or of gradients alone."""
        name = self.op.name
        sum_, product = f"{name}_acc[{index}]", f"{value} * {gradient}" if value else gradient
        lines = [f'{name}_acc = T.sblock_alloc_buffer(({", ".join(str(n) for _, n, _ in loops)},), "float32")']
        self.tile = []
        body = ["with T.init():", f"    {sum_} = T.float32(0)", f"{sum_} = {sum_} + {product}"]
        lines += self._nest("sum", [*loops, ("t", "tiles", "R"), ("b", self.plan.lanes, "R")], body)
        return lines + self._nest("store", loops, [f"{name}_g[{index}] = {sum_}"])

    def _winners(self, op: Post | Slope, judged: str, passed: str) -> list[str]:
        """A unit wins if fewer than k come before it: larger ones, NaN the largest, and equal ones of lower number."""
        k = int(str(self.end.activation.get("k"))) if self.end.activation else 0
        lanes, units, real = self.plan.lanes, self.end.units, self.end.real
        ahead = self._own("ahead", "vu, vb")
        mine, other = self._at(judged, "vu"), self._at(judged, "vc")
        before = precedes(other, mine, "vc < vu")
        lines = [self._alloc("ahead", f"{units}, {lanes}", "int32")]
        loops: Loops = [("u", units, "S"), ("b", lanes, "S"), ("c", real, "R")]
        body = ["with T.init():", f"    {ahead} = 0", f"{ahead} = {ahead} + T.if_then_else({before}, 1, 0)"]
        lines += self._nest("ahead", loops, body)
        value = f"T.if_then_else({ahead} < {k}, {self._at(passed, 'vu')}, T.float32(0))"
        return lines + self._nest("store", loops[:2], [self._stored(op.dst, "vu", value, activate=False)])

    def _nest(self, name: str, loops: Sequence[tuple[str, int | str, str]], body: Sequence[str]) -> list[str]:
        """A block `OP_name` in its loops; the kind of a loop is S (spatial) or R (reduction)."""
        return nest(f"{self.op.name}_{name}", [*self.tile, *loops], body)

    def _alloc(self, what: str, shape: str, dtype: str = "float32") -> str:
        whole = shape if self.plan.fused else f"tiles, {shape}"
        return f'{self.op.name}_{what} = T.sblock_alloc_buffer(({whole},), "{dtype}")'

    def _own(self, what: str, index: str) -> str:
        """An element of a buffer of the operation's own."""
        return f"{self.op.name}_{what}[{index}]" if self.plan.fused else f"{self.op.name}_{what}[vt, {index}]"

    def _at(self, buffer: str, index: str) -> str:
        """The value of a unit for the sample of the lane."""
        name = self.plan.array(buffer)
        return f"{name}[{index}, vb]" if self.plan.fused else f"{name}[vt, {index}, vb]"

    def _start(self, end: Finish, index: str) -> str:
        """What a sum starts from."""
        if end.init == "bias":
            return f"{self.op.name}_b[{index}]"
        return self._at(end.before, index) if end.init == "add" else "T.float32(0)"

    def _stored(self, buffer: str, index: str, value: str, activate: bool = True) -> str:
        shown = activated(self.end.activation, value) if activate else value
        if self.end.real < self.end.units:
            shown = f"T.if_then_else(({index}) < {self.end.real}, {shown}, T.float32(0))"
        return f"{self._at(buffer, index)} = {shown}"
