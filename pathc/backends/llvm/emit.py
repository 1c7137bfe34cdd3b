"""A small writer of LLVM IR text: straight-line vectors, counted loops, intrinsics.

Text plus `parse_assembly` is an order of magnitude faster than building IR objects from Python, and what is
written is what `--emit ll` shows.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

I64 = "i64"
F32 = "float"


def vector(lanes: int, element: str = F32) -> str:
    """The type of a vector, or of a scalar when `lanes` is 1."""
    return element if lanes == 1 else f"<{lanes} x {element}>"


def constant(value: float, lanes: int = 1) -> str:
    """A float constant, splat over the lanes; written in hexadecimal, so nothing is rounded twice."""
    import struct

    import numpy as np

    with np.errstate(over="ignore"):
        single = float(np.float32(value))
    text = f"0x{struct.unpack('<Q', struct.pack('<d', single))[0]:016X}"
    return text if lanes == 1 else f"splat (float {text})"


def indices(values: Sequence[int]) -> str:
    """A shuffle mask."""
    return f"<{len(values)} x i32> <" + ", ".join(f"i32 {v}" for v in values) + ">"


@dataclass
class Loop:
    """A counted loop being written: its index, the values it carries, and what they become."""

    index: str
    carried: list[str]
    following: list[str] = field(default_factory=list[str])
    results: list[str] = field(default_factory=list[str])


class Function:
    """Writer of one function; every method appends instructions and returns the name of the value."""

    def __init__(self, name: str, parameters: Sequence[tuple[str, str]], *, internal: bool = True) -> None:
        self.name = name
        self.parameters = tuple(parameters)
        self.internal = internal
        self.lines: list[str] = []
        self.declared: dict[str, str] = {}
        self._count = 0
        self._label = "entry"

    def fresh(self, hint: str = "v") -> str:
        """A value name nobody uses yet."""
        self._count += 1
        return f"%{hint}{self._count}"

    def line(self, text: str) -> None:
        """Append one instruction."""
        self.lines.append(f"  {text}")

    def assign(self, text: str, hint: str = "v") -> str:
        """Append `%new = text` and return the name."""
        name = self.fresh(hint)
        self.line(f"{name} = {text}")
        return name

    def label(self, name: str) -> None:
        """Start a basic block."""
        self.lines.append(f"{name}:")
        self._label = name

    @property
    def block(self) -> str:
        """Label of the basic block being written."""
        return self._label

    def op(self, opcode: str, kind: str, a: str, b: str, flags: str = "") -> str:
        """A binary instruction on two values of one type."""
        return self.assign(f"{opcode} {flags + ' ' if flags else ''}{kind} {a}, {b}")

    def offset(self, pointer: str, index: str | int, element: str = F32) -> str:
        """Address of element `index` behind `pointer`."""
        if index == 0:
            return pointer
        return self.assign(f"getelementptr inbounds {element}, ptr {pointer}, i64 {index}", "p")

    def load(self, kind: str, pointer: str, align: int = 4) -> str:
        """Load a value; `align` 4 for user arrays, 64 only inside buffers of our own."""
        return self.assign(f"load {kind}, ptr {pointer}, align {align}")

    def store(self, kind: str, value: str, pointer: str, align: int = 4) -> None:
        """Store a value."""
        self.line(f"store {kind} {value}, ptr {pointer}, align {align}")

    def call(self, kind: str, name: str, arguments: Sequence[tuple[str, str]], declare: bool = True) -> str:
        """Call a function or intrinsic, declared once for the module when `declare` is set."""
        if declare:
            types = ", ".join(t for t, _ in arguments)
            self.declared[name] = f"declare {kind} @{name}({types})"
        inner = ", ".join(f"{t} {v}" for t, v in arguments)
        if kind == "void":
            self.line(f"call void @{name}({inner})")
            return ""
        return self.assign(f"call {kind} @{name}({inner})")

    def fma(self, lanes: int, a: str, b: str, c: str) -> str:
        """a * b + c, fused wherever the machine can (`llvm.fma` would call a library where it cannot)."""
        kind = vector(lanes)
        return self.call(kind, f"llvm.fmuladd.{suffix(lanes)}", [(kind, a), (kind, b), (kind, c)])

    def broadcast(self, lanes: int, scalar: str, element: str = F32) -> str:
        """A scalar in every lane."""
        if lanes == 1:
            return scalar
        kind = vector(lanes, element)
        one = self.assign(f"insertelement {kind} poison, {element} {scalar}, i64 0")
        return self.assign(f"shufflevector {kind} {one}, {kind} poison, <{lanes} x i32> zeroinitializer")

    def shuffle(self, lanes: int, a: str, b: str, mask: Sequence[int], element: str = F32) -> str:
        """Lanes picked from two vectors of `lanes` lanes; mask entries from 0 to 2 * lanes - 1."""
        kind = vector(lanes, element)
        return self.assign(f"shufflevector {kind} {a}, {kind} {b}, {indices(mask)}")

    @contextmanager
    def loop(
        self, count: str | int, carried: Sequence[tuple[str, str]] = (), *, step: int = 1, start: str | int = 0
    ) -> Generator[Loop]:
        """Write a loop over start, start + step, ... below `count`, at least one round.

        `carried` lists (type, initial value); set `loop.following` to the values of the next round before the
        block ends; afterwards `loop.results` are the values after the last round.
        """
        number = self.fresh("loop")[1:]
        head, before = f"{number}.head", self._label
        self.line(f"br label %{head}")
        self.label(head)
        index = self.fresh("i")
        names = [self.fresh("c") for _ in carried]
        at = len(self.lines)
        loop = Loop(index, list(names))
        yield loop
        latch = self._label
        following = loop.following
        if len(following) != len(names):
            raise ValueError("a loop must say what every carried value becomes")
        advanced = self.op("add", I64, index, str(step), "nuw nsw")
        again = self.assign(f"icmp ult i64 {advanced}, {count}")
        self.line(f"br i1 {again}, label %{head}, label %{number}.done")
        self.label(f"{number}.done")
        heads = [f"  {index} = phi i64 [ {start}, %{before} ], [ {advanced}, %{latch} ]"]
        for (kind, initial), name, value in zip(carried, names, following, strict=True):
            heads.append(f"  {name} = phi {kind} [ {initial}, %{before} ], [ {value}, %{latch} ]")
        self.lines[at:at] = heads
        loop.results = list(following)

    def text(self) -> str:
        """The finished definition; a missing final `ret void` is added."""
        linkage = "internal " if self.internal else ""
        inner = ", ".join(f"{kind} %{name}" for kind, name in self.parameters)
        body = list(self.lines)
        if not body or not body[-1].lstrip().startswith(("ret", "br ")):
            body.append("  ret void")
        return "\n".join([f"define {linkage}void @{self.name}({inner}) #0 {{", "entry:", *body, "}"])


def suffix(lanes: int, element: str = "f32") -> str:
    """The overload suffix of an intrinsic: `f32`, `v16f32`."""
    return element if lanes == 1 else f"v{lanes}{element}"


def module(functions: Sequence[Function], triple: str, globals_: Sequence[str] = ()) -> str:
    """A module of these functions with the declarations they need."""
    defined = {function.name for function in functions}
    declared: dict[str, str] = {}
    for function in functions:
        declared.update(function.declared)
    lines = [f'target triple = "{triple}"', *globals_]
    lines.extend(function.text() for function in functions)
    lines.extend(text for name, text in declared.items() if name not in defined)
    lines.append('attributes #0 = { nounwind "no-trapping-math"="true" }')
    return "\n".join(lines) + "\n"
