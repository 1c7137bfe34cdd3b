"""What all kernels on natural row buffers share: loading up to the end of a buffer, finishing and storing sums."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from pathc.backends.llvm import vecmath
from pathc.backends.llvm.emit import F32, I64, Function, constant, vector
from pathc.backends.llvm.machine import Machine
from pathc.backends.llvm.plan import Step

BARRIER = 'fence syncscope("singlethread") acq_rel'
"""No instruction: a line that the code generator moves no load across, so that long code keeps its registers."""


@contextmanager
def each_row(f: Function, step: Step, rows: int) -> Generator[tuple[str, str]]:
    """The loop over rows, or just its body for one; yields the addresses of the source's and destination's row."""
    if rows == 1:
        yield "%src", "%dst"
        return
    with f.loop(rows) as loop:
        yield row(f, "%src", loop.index, step.src_layout.size), row(f, "%dst", loop.index, step.dst_layout.size)


def row(f: Function, pointer: str, index: str | int, size: int) -> str:
    """Address of a row of `size` floats."""
    if isinstance(index, int):
        return f.offset(pointer, index * size)
    return f.offset(pointer, f.op("mul", I64, index, str(size), "nuw nsw"))


def load_units(f: Function, lanes: int, pointer: str, first: int, size: int) -> str:
    """The vector of units from `first` on; nothing behind `size` floats is read, zeros stand there."""
    kind, rest = vector(lanes), size - first
    if rest >= lanes:
        return f.load(kind, f.offset(pointer, first))
    if size >= lanes:
        shifted = f.load(kind, f.offset(pointer, size - lanes))
        mask = [lanes - rest + i if i < rest else lanes for i in range(lanes)]
        return f.assign(shuffled(kind, shifted, "zeroinitializer", mask))
    value = "zeroinitializer"
    for i in range(rest):
        one = f.load(F32, f.offset(pointer, first + i))
        value = f.assign(f"insertelement {kind} {value}, float {one}, i64 {i}")
    return value


def shuffled(kind: str, a: str, b: str, mask: list[int]) -> str:
    """A shuffle of two vectors of a type, as an instruction; unlike `Function.shuffle` b may be a constant."""
    entries = ", ".join(f"i32 {entry}" for entry in mask)
    return f"shufflevector {kind} {a}, {kind} {b}, <{len(mask)} x i32> <{entries}>"


def finish(f: Function, step: Step, machine: Machine, lanes: int, value: str, to: str, bias: str) -> str:
    """The sums of `lanes` neighbouring units with what the step adds and the activation; addresses of the first."""
    kind = vector(lanes)
    if step.init == "bias":
        value = f.op("fadd", kind, value, f.load(kind, bias))
    if step.init == "add":
        value = f.op("fadd", kind, value, f.load(kind, to))
    return vecmath.apply(f, lanes, value, step.activation, machine)


def store_sums(f: Function, step: Step, machine: Machine, lanes: int, value: str, first: int, dst: str) -> None:
    """Finish and store the sums of the units from `first` on; zeros stand behind the last unit."""
    units = step.junction.n_dst
    to = f.offset(dst, first)
    done = finish(f, step, machine, lanes, value, to, f.offset("%bias", first))
    if first + lanes > units:
        keep = [i if first + i < units else lanes for i in range(lanes)]
        done = f.assign(shuffled(vector(lanes), done, "zeroinitializer", keep))
    f.store(vector(lanes), done, to, 4 * lanes)


def clear_behind(f: Function, lanes: int, dst: str, first: int, size: int) -> None:
    """Store zeros from float `first` up to `size`."""
    while first < size:
        wide = lanes if first % lanes == 0 and first + lanes <= size else 1
        f.store(vector(wide), constant(0.0) if wide == 1 else "zeroinitializer", f.offset(dst, first))
        first += wide
