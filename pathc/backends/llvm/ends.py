"""Small pieces of a whole net: samples on their way in and out, and the loop over a batch."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from pathc.backends.llvm import vecmath
from pathc.backends.llvm.emit import F32, I64, Function, vector
from pathc.backends.llvm.general.rows import clear_behind
from pathc.backends.llvm.machine import Machine
from pathc.ir.types import Call


def copy_in(name: str, machine: Machine, rows: int, real: int, size: int, activation: Call | None = None) -> Function:
    """The kernel `void name(ptr src, ptr dst, i64 stride)`: `rows` samples, `stride` floats apart, to a row buffer.

    `real` floats of each row are copied with the activation applied; zeros stand behind them up to `size` floats a
    row. Nothing behind a sample is read.
    """
    f = Function(name, (("ptr", "src"), ("ptr", "dst"), (I64, "stride")))
    lanes = machine.width
    with f.loop(rows) as loop:
        source = f.offset("%src", f.op("mul", I64, "%stride", loop.index))
        target = f.offset("%dst", f.op("mul", I64, loop.index, str(size), "nuw nsw"))

        def copied(wide: int, at: str | int, source: str = source, target: str = target) -> None:
            value = f.load(vector(wide), f.offset(source, at))
            f.store(vector(wide), vecmath.apply(f, wide, value, activation, machine), f.offset(target, at))

        whole = real // lanes * lanes
        if whole:
            with f.loop(whole, step=lanes) as inner:
                copied(lanes, inner.index)
        for at in range(whole, real):
            copied(1, at)
        clear_behind(f, lanes, target, real, size)
    return f


def copy_out(name: str, machine: Machine, rows: int, real: int, size: int) -> Function:
    """The kernel `void name(ptr src, ptr dst, i64 stride)`: a row buffer to `rows` samples, `stride` floats apart.

    `real` floats of each row are copied; rows of the buffer are `size` floats apart.
    """
    f = Function(name, (("ptr", "src"), ("ptr", "dst"), (I64, "stride")))
    lanes = machine.width
    whole = real // lanes * lanes
    for row in range(rows):
        source = f.offset("%src", row * size)
        target = f.offset("%dst", f.op("mul", I64, "%stride", str(row))) if row else "%dst"
        if whole:
            with f.loop(whole, step=lanes) as loop:
                value = f.load(vector(lanes), f.offset(source, loop.index))
                f.store(vector(lanes), value, f.offset(target, loop.index))
        for at in range(whole, real):
            f.store(F32, f.load(F32, f.offset(source, at)), f.offset(target, at))
    return f


@contextmanager
def repeated(f: Function, count: str) -> Generator[str]:
    """A loop over 0 .. count - 1 that may have no round at all; yields the index; no value may leave it."""
    number = f.fresh("if")[1:]
    some = f.assign(f"icmp ne i64 {count}, 0")
    f.line(f"br i1 {some}, label %{number}.some, label %{number}.none")
    f.label(f"{number}.some")
    with f.loop(count) as loop:
        yield loop.index
    f.line(f"br label %{number}.none")
    f.label(f"{number}.none")


def at_most(f: Function, value: str, bound: int) -> str:
    """The smaller of an i64 and a constant."""
    return f.call(I64, "llvm.umin.i64", [(I64, value), (I64, str(bound))])
