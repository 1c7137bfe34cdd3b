"""Samples of other types than float32 on their way into a row buffer."""

from __future__ import annotations

from typing import Literal

from pathc.backends.llvm import vecmath
from pathc.backends.llvm.emit import I64, Function, vector
from pathc.backends.llvm.general.rows import clear_behind
from pathc.backends.llvm.machine import Machine
from pathc.ir.types import Call

Element = Literal["u8", "i8", "i16", "f32"]
_BITS: dict[str, int] = {"u8": 8, "i8": 8, "i16": 16}


def emit_convert(
    name: str, machine: Machine, element: Element, rows: int, real: int, size: int, activation: Call | None = None
) -> Function:
    """The kernel `void name(ptr src, ptr dst, i64 stride)`: `rows` samples, `stride` elements apart, to a row buffer.

    `real` elements of each become float32, exactly, with the activation applied; zeros stand behind them up to
    `size` floats a row. The source need not be aligned beyond its elements, nothing behind a sample is read.
    """
    f = Function(name, (("ptr", "src"), ("ptr", "dst"), (I64, "stride")))
    with f.loop(rows) as loop:
        offset = f.op("mul", I64, "%stride", loop.index)
        source = f.offset("%src", offset, _stored(element))
        target = f.offset("%dst", f.op("mul", I64, loop.index, str(size), "nuw nsw"))
        lanes = machine.width
        whole = real // lanes * lanes
        if whole:
            with f.loop(whole, step=lanes) as inner:
                _convert(f, machine, element, lanes, source, target, inner.index, activation)
        for at in range(whole, real):
            _convert(f, machine, element, 1, source, target, at, activation)
        clear_behind(f, lanes, target, real, size)
    return f


def _stored(element: Element) -> str:
    return "float" if element == "f32" else f"i{_BITS[element]}"


def _convert(
    f: Function,
    machine: Machine,
    element: Element,
    lanes: int,
    source: str,
    target: str,
    at: str | int,
    activation: Call | None,
) -> None:
    stored, kind = _stored(element), vector(lanes)
    from_kind, whole = vector(lanes, stored), vector(lanes, "i32")
    value = f.load(from_kind, f.offset(source, at, stored), 4 if element == "f32" else _BITS[element] // 8)
    if element != "f32":
        wider = "zext" if element == "u8" else "sext"
        value = f.assign(f"sitofp {whole} {f.assign(f'{wider} {from_kind} {value} to {whole}')} to {kind}")
    f.store(kind, vecmath.apply(f, lanes, value, activation, machine), f.offset(target, at))
