"""What moves planes: places them for a filter, adds them up, pools them, and takes the softmax over channels."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from pathc.backends.llvm import vecmath
from pathc.backends.llvm.emit import F32, I64, Function, constant, suffix, vector
from pathc.backends.llvm.filters.plan import Across, Add, Affine, Op, Place, Planes, PoolOp
from pathc.backends.llvm.machine import Machine

PARAMETERS = (("ptr", "src"), ("ptr", "dst"), ("ptr", "table"), ("ptr", "weights"))
_UNROLLED = 9


def emit_move(name: str, op: Op, machine: Machine) -> tuple[Function, list[str]]:
    """The kernel of an operation, and the constants it refers to."""
    f = Function(name, PARAMETERS)
    writer = _Writer(f, machine)
    constants: list[str] = []
    match op:
        case Place():
            if op.order:
                numbers = ", ".join(f"i64 {channel}" for channel in op.order)
                constants.append(f"@{name}_order = internal constant [{len(op.order)} x i64] [{numbers}]")
            writer.place(op, f"@{name}_order")
        case Add():
            writer.add(op)
        case PoolOp():
            writer.pool(op)
        case Across():
            writer.softmax(op.planes)
        case _:
            raise TypeError(f"{type(op).__name__} moves nothing")
    return f, constants


def constants_of(op: Op) -> NDArray[np.float32]:
    """The numbers of each channel that the functions of an operation need, function by function."""
    functions = op.functions if isinstance(op, Place) else ()
    parts = [part for f in functions if isinstance(f, Affine) for part in (f.shift, f.scale) if part is not None]
    return np.concatenate(parts) if parts else np.zeros(0, np.float32)


class _Writer:
    def __init__(self, f: Function, machine: Machine) -> None:
        self.f, self.machine = f, machine
        self.lanes, self.kind = machine.width, vector(machine.width)

    def place(self, op: Place, order: str) -> None:
        """Every phase of every channel, row by row."""
        f, src, dst = self.f, op.src, op.dst
        count = len(op.order) or src.channels
        with f.loop(count) as channels:
            own = f.load(I64, f.offset(order, channels.index, I64), 8) if op.order else channels.index
            source = f.offset("%src", f.op("mul", I64, own, str(src.plane)))
            number = f.op("add", I64, channels.index, str(op.first)) if op.first else channels.index
            target = f.offset("%dst", f.op("mul", I64, number, str(dst.plane)))
            if dst.padded:
                f.call("void", "llvm.memset.p0.i64",
                       [("ptr", target), ("i8", "0"), (I64, str(4 * dst.plane)), ("i1", "false")])  # fmt: skip
            functions = self._functions(op, own)
            for py in range(dst.phases[0]):
                for px in range(dst.phases[1]):
                    self._phase(src, dst, (py, px), source, target, functions)
            channels.following = []

    def _phase(
        self,
        src: Planes,
        dst: Planes,
        phase: tuple[int, int],
        source: str,
        target: str,
        functions: Callable[[str], str],
    ) -> None:
        firsts = [(p - front) % s for p, front, s in zip(phase, dst.front, dst.phases, strict=True)]
        counts = [-(-(n - a) // s) for n, a, s in zip(src.extents, firsts, dst.phases, strict=True)]
        if min(counts) < 1:
            return
        at = [(a + front) // s for a, front, s in zip(firsts, dst.front, dst.phases, strict=True)]
        start = (phase[0] * dst.phases[1] + phase[1]) * dst.phase + at[0] * dst.pitch + at[1]
        read = self.f.offset(source, firsts[0] * src.pitch + firsts[1])
        written = self.f.offset(target, start)
        pitches = src.pitch * dst.phases[0], dst.pitch
        self._rows(read, written, counts, pitches, dst.phases[1], lambda value, _: functions(value))

    def _rows(
        self,
        read: str,
        written: str,
        counts: Sequence[int],
        pitches: tuple[int, int],
        stride: int,
        body: Callable[[str, tuple[str, int]], str],
    ) -> None:
        """Rows of `counts[1]` values each; `body` makes what is written of what is read and where that goes."""
        f = self.f
        if stride == 1 and pitches == (counts[1], counts[1]):
            counts = 1, counts[0] * counts[1]
        with f.loop(counts[0]) as rows:
            source = f.offset(read, f.op("mul", I64, rows.index, str(pitches[0])))
            target = f.offset(written, f.op("mul", I64, rows.index, str(pitches[1])))

            def vector_at(index: str, tail: int) -> None:
                at = f.offset(target, index)
                from_ = f.offset(source, f.op("mul", I64, index, str(stride)) if stride > 1 else index)
                self._store(body(self._load(from_, stride, tail), (at, tail)), at, tail)

            self._vectors(counts[1], vector_at)
            rows.following = []

    def _vectors(self, count: int, body: Callable[[str, int], None]) -> None:
        """`body` at the index of every vector; its second argument counts the values of the last, 0 for a whole one."""
        whole = count // self.lanes * self.lanes
        if whole:
            with self.f.loop(whole, step=self.lanes) as loop:
                body(loop.index, 0)
                loop.following = []
        if whole < count:
            body(str(whole), count - whole)

    def _mask(self, tail: int) -> str:
        return f"<{', '.join(f'i1 {str(i < tail).lower()}' for i in range(self.lanes))}>"

    def _load(self, at: str, stride: int = 1, tail: int = 0, rest: float = 0.0) -> str:
        """Values `stride` floats apart; nothing behind the last one is touched."""
        f, lanes, kind = self.f, self.lanes, self.kind
        flags = vector(lanes, "i1")
        if stride > 1:
            steps = ", ".join(f"i64 {stride * min(i, (tail or lanes) - 1)}" for i in range(lanes))
            places = f.assign(f"getelementptr float, ptr {at}, <{lanes} x i64> <{steps}>")
            mask = self._mask(tail or lanes)
            given = [(f"<{lanes} x ptr>", places), ("i32", "4"), (flags, mask), (kind, constant(rest, lanes))]
            return f.call(kind, f"llvm.masked.gather.{suffix(lanes)}.v{lanes}p0", given)
        if not tail:
            return f.load(kind, at)
        given = [("ptr", at), ("i32", "4"), (flags, self._mask(tail)), (kind, constant(rest, lanes))]
        return f.call(kind, f"llvm.masked.load.{suffix(lanes)}.p0", given)

    def _store(self, value: str, at: str, tail: int = 0) -> None:
        if not tail:
            self.f.store(self.kind, value, at)
            return
        given = [(self.kind, value), ("ptr", at), ("i32", "4"), (vector(self.lanes, "i1"), self._mask(tail))]
        self.f.call("void", f"llvm.masked.store.{suffix(self.lanes)}.p0", given)

    def _functions(self, op: Place, channel: str) -> Callable[[str], str]:
        """What the functions make of a vector of a channel."""
        f, at = self.f, 0
        steps: list[Callable[[str], str]] = []
        for function in op.functions:
            if not isinstance(function, Affine):
                steps.append(lambda value, call=function: vecmath.apply(f, self.lanes, value, call, self.machine))
                continue
            own = f.offset("%weights", f.op("add", I64, channel, str(at)))
            shift = f.broadcast(self.lanes, f.load(F32, own))
            at += op.src.channels
            if function.scale is None:
                steps.append(lambda value, shift=shift: f.op("fadd", self.kind, value, shift))
                continue
            own = f.offset("%weights", f.op("add", I64, channel, str(at)))
            scale = f.broadcast(self.lanes, f.load(F32, own))
            at += op.src.channels
            steps.append(lambda value, scale=scale, shift=shift: f.fma(self.lanes, scale, value, shift))

        def every(value: str) -> str:
            for step in steps:
                value = step(value)
            return value

        return every

    def add(self, op: Add) -> None:
        """scale * src, added to dst."""
        f, src, dst = self.f, op.src, op.dst
        scale = constant(op.scale, self.lanes)

        def body(value: str, where: tuple[str, int]) -> str:
            if op.fresh:
                return value if op.scale == 1.0 else f.op("fmul", self.kind, value, scale)
            before = self._load(where[0], 1, where[1])
            return (
                f.op("fadd", self.kind, value, before) if op.scale == 1.0 else f.fma(self.lanes, value, scale, before)
            )

        with f.loop(src.channels) as channels:
            source = f.offset("%src", f.op("mul", I64, channels.index, str(src.plane)))
            number = f.op("add", I64, channels.index, str(op.first)) if op.first else channels.index
            target = f.offset("%dst", f.op("mul", I64, number, str(dst.plane)))
            self._rows(source, target, dst.extents, (src.pitch, dst.pitch), 1, body)
            channels.following = []

    def pool(self, op: PoolOp) -> None:
        """Every window of every channel."""
        f, src, dst = self.f, op.src, op.dst
        with f.loop(src.channels) as channels:
            source = f.offset("%src", f.op("mul", I64, channels.index, str(src.plane)))
            target = f.offset("%dst", f.op("mul", I64, channels.index, str(dst.plane)))
            if dst.extents == (1, 1):
                self._reduced(op, source, target)
            else:
                with f.loop(dst.extents[0]) as rows:
                    top = f.offset(source, f.op("mul", I64, rows.index, str(op.stride[0] * src.pitch)))
                    row = f.offset(target, f.op("mul", I64, rows.index, str(dst.pitch)))
                    self._vectors(dst.extents[1], lambda index, tail: self._windows(op, top, row, index, tail))
                    rows.following = []
            channels.following = []

    def _windows(self, op: PoolOp, top: str, row: str, index: str, tail: int) -> None:
        """A vector of windows in a row."""
        f, (height, width), stride = self.f, op.window, op.stride[1]
        left = f.offset(top, f.op("mul", I64, index, str(stride)) if stride > 1 else index)
        start = constant(float("-inf") if op.largest else 0.0, self.lanes)
        if height * width <= _UNROLLED:
            value = ""
            for r in range(height):
                for c in range(width):
                    seen = self._load(f.offset(left, r * op.src.pitch + c), stride, tail)
                    value = self._combined(op, value, seen) if value else seen
        else:
            with f.loop(height, [(self.kind, start)]) as lines:
                line = f.offset(left, f.op("mul", I64, lines.index, str(op.src.pitch)))
                with f.loop(width, [(self.kind, lines.carried[0])]) as columns:
                    seen = self._load(f.offset(line, columns.index), stride, tail)
                    columns.following = [self._combined(op, columns.carried[0], seen)]
                lines.following = columns.results
            (value,) = lines.results
        self._store(self._mean(op, value), f.offset(row, index), tail)

    def _combined(self, op: PoolOp, a: str, b: str) -> str:
        if not op.largest:
            return self.f.op("fadd", self.kind, a, b)
        return self.f.call(self.kind, f"llvm.maximum.{suffix(self.lanes)}", [(self.kind, a), (self.kind, b)])

    def _mean(self, op: PoolOp, value: str) -> str:
        if op.largest:
            return value
        return self.f.op("fmul", self.kind, value, constant(1.0 / (op.window[0] * op.window[1]), self.lanes))

    def _reduced(self, op: PoolOp, source: str, target: str) -> None:
        """One window: vectors along its rows, their lanes combined in the end."""
        f, (height, width) = self.f, op.window
        rest = float("-inf") if op.largest else 0.0
        counts, pitch = (height, width), op.src.pitch
        if pitch == width:
            counts = 1, height * width
        whole = counts[1] // self.lanes * self.lanes
        with f.loop(counts[0], [(self.kind, constant(rest, self.lanes))]) as rows:
            row = f.offset(source, f.op("mul", I64, rows.index, str(pitch)))
            value = rows.carried[0]
            if whole:
                with f.loop(whole, [(self.kind, value)], step=self.lanes) as loop:
                    loop.following = [self._combined(op, loop.carried[0], self._load(f.offset(row, loop.index)))]
                (value,) = loop.results
            if whole < counts[1]:
                tail = self._load(f.offset(row, whole), 1, counts[1] - whole, rest)
                value = self._combined(op, value, tail)
            rows.following = [value]
        (value,) = rows.results
        width = self.lanes // 2
        while width:
            turned = f.shuffle(self.lanes, value, value, [i ^ width for i in range(self.lanes)])
            value = self._combined(op, value, turned)
            width //= 2
        first = f.assign(f"extractelement {self.kind} {self._mean(op, value)}, i64 0")
        f.store(F32, first, target)

    def softmax(self, planes: Planes) -> None:
        """Over the channels, a vector of positions at a time, in place."""
        f, lanes, kind = self.f, self.lanes, self.kind

        def at_positions(index: str, tail: int) -> None:
            first = f.offset("%dst", index)

            def place(channel: str) -> str:
                return f.offset(first, f.op("mul", I64, channel, str(planes.plane)))

            with f.loop(planes.channels, [(kind, constant(float("-inf"), lanes))]) as most:
                seen = self._load(place(most.index), 1, tail)
                above = f.call(kind, f"llvm.maximum.{suffix(lanes)}", [(kind, most.carried[0]), (kind, seen)])
                most.following = [above]
            with f.loop(planes.channels, [(kind, constant(0.0, lanes))]) as total:
                where = place(total.index)
                power = vecmath.exp(f, lanes, f.op("fsub", kind, self._load(where, 1, tail), most.results[0]))
                self._store(power, where, tail)
                total.following = [f.op("fadd", kind, total.carried[0], power)]
            with f.loop(planes.channels) as each:
                where = place(each.index)
                self._store(f.op("fdiv", kind, self._load(where, 1, tail), total.results[0]), where, tail)
                each.following = []

        self._vectors((planes.extents[0] - 1) * planes.pitch + planes.extents[1], at_positions)
