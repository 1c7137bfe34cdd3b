"""Where a row net meets the user's arrays: samples come in and go out in natural order."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from pathc.backends.llvm import vecmath
from pathc.backends.llvm.emit import I64, Function, vector
from pathc.backends.llvm.general.rows import clear_behind
from pathc.backends.llvm.machine import Machine
from pathc.ir.types import Call

_PARAMETERS = (("ptr", "src"), ("ptr", "dst"), (I64, "stride"))


def copy_in(name: str, machine: Machine, rows: int, real: int, size: int, activation: Call | None) -> Function:
    """The kernel `void name(ptr src, ptr dst, i64 stride)`: `rows` samples, `stride` floats apart, to a row buffer.

    `real` floats of each are taken, with the activation applied; zeros stand behind them up to `size`.
    """
    f = Function(name, _PARAMETERS)
    for row in range(rows):
        source = f.offset("%src", f.op("mul", I64, "%stride", str(row))) if row else "%src"
        target = f.offset("%dst", row * size)
        _copy(f, machine, source, target, real, activation)
        clear_behind(f, machine.width, target, real, size)
    return f


def copy_out(name: str, machine: Machine, rows: int, real: int, size: int) -> Function:
    """The kernel `void name(ptr src, ptr dst, i64 stride)` that brings `real` floats of each row to the user."""
    f = Function(name, _PARAMETERS)
    for row in range(rows):
        target = f.offset("%dst", f.op("mul", I64, "%stride", str(row))) if row else "%dst"
        _copy(f, machine, f.offset("%src", row * size), target, real, None)
    return f


def _copy(f: Function, machine: Machine, source: str, target: str, count: int, activation: Call | None) -> None:
    """Copy `count` floats: whole vectors in a loop, what is left one by one."""
    lanes = machine.width
    whole = count // lanes * lanes
    if whole:
        with f.loop(whole, step=lanes) as loop:
            value = f.load(vector(lanes), f.offset(source, loop.index))
            done = vecmath.apply(f, lanes, value, activation, machine)
            f.store(vector(lanes), done, f.offset(target, loop.index))
    for at in range(whole, count):
        value = vecmath.apply(f, 1, f.load("float", f.offset(source, at)), activation, machine)
        f.store("float", value, f.offset(target, at))


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
