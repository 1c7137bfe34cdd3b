"""Floats as bytes, one sample in a row: divided by their scale, rounded to the nearest and ties to even, clamped."""

from __future__ import annotations

from math import frexp

from pathc.backends.bytewise import offset_of
from pathc.backends.llvm import vecmath
from pathc.backends.llvm.emit import F32, Function, constant, vector
from pathc.backends.llvm.general.rows import load_units
from pathc.backends.llvm.integer.vectors import I8, I32, cast, saturated, splat
from pathc.backends.llvm.machine import Machine
from pathc.ir.quantized import IntegerStation

_NAN = "0x7FF8000000000000"
_HALF = 0.5


def emit_enter(name: str, station: IntegerStation, machine: Machine) -> Function:
    """The kernel `void name(ptr x, ptr bytes, ptr poison)`: floats as integers of a format, in their own order.

    x / scale is divided exactly enough: what is nearest to it differs from a tie by more than the division is off,
    unless it is the tie. A NaN makes the float at `poison` one. Where instructions that narrow integers clamp as the
    format does, four vectors are taken at a time.
    """
    f = Function(name, (("ptr", "x"), ("ptr", "bytes"), ("ptr", "poison")))
    lanes, real, format = machine.width, station.station.real_units, station.format
    assert format is not None
    kind, whole, flags = vector(lanes), vector(lanes, I32), vector(lanes, "i1")
    offset, scale = offset_of(station), station.scale
    low, high = (constant(scale * bound, lanes) for bound in (format.low, format.high))

    def entered(at: str | int, unknown: str) -> str:
        first = int(at) if isinstance(at, int) else 0
        value = load_units(f, lanes, "%x", first, real) if isinstance(at, int) else f.load(kind, f.offset("%x", at))
        unknown = f.op("or", flags, unknown, f.assign(f"fcmp uno {kind} {value}, {value}"))
        for how, bound in (("ogt", low), ("olt", high)):
            inside = f.assign(f"fcmp {how} {kind} {value}, {bound}")
            value = f.assign(f"select {flags} {inside}, {kind} {value}, {kind} {bound}")
        value = _rounded(f, machine, value, scale, vecmath.ROUND + offset)
        bytes_ = vector(lanes, I8)
        f.store(bytes_, cast(f, cast(f, value, kind, whole), whole, bytes_, "trunc"), f.offset("%bytes", at, I8), 1)
        return unknown

    unknown = "zeroinitializer"
    last, fours = real // lanes * lanes, 0
    if machine.avx512 and lanes == 16 and (format.low + offset, format.high + offset) == (0, 255):
        fours = real // (4 * lanes) * (4 * lanes)
    if fours:
        with f.loop(fours, [(flags, unknown)], step=4 * lanes) as loop:
            loop.following = [_four(f, loop.index, loop.carried[0], high, scale, signed=offset > 0)]
        (unknown,) = loop.results
    if fours < last:
        with f.loop(last, [(flags, unknown)], step=lanes, start=fours) as loop:
            loop.following = [entered(loop.index, loop.carried[0])]
        (unknown,) = loop.results
    if last < real:
        unknown = entered(last, unknown)
    any_ = f.assign(f"icmp ne i{lanes} {cast(f, unknown, flags, f'i{lanes}')}, 0")
    old = f.load(F32, "%poison")
    f.store(F32, f.assign(f"select i1 {any_}, float {_NAN}, float {old}"), "%poison")
    return f


def _four(f: Function, at: str, unknown: str, high: str, scale: float, *, signed: bool) -> str:
    """Four vectors of 16 floats as bytes, and the lanes in which a NaN has been seen so far.

    What is too small, and infinities that a division made NaN, becomes the smallest integer and is clamped.
    """
    kind, whole, flags, bytes_ = vector(16), vector(16, I32), vector(16, "i1"), vector(64, I8)
    values = [f.load(kind, f.offset(f.offset("%x", at), 16 * k)) for k in range(4)]
    for a, b in (values[:2], values[2:]):
        unknown = f.op("or", flags, unknown, f.assign(f"fcmp uno {kind} {a}, {b}"))
    numbers = list[str]()
    for value in values:
        inside = f.assign(f"fcmp olt {kind} {value}, {high}")
        quotient = _quotient(f, 16, f.assign(f"select {flags} {inside}, {kind} {value}, {kind} {high}"), scale)
        given = [(kind, quotient), (whole, "zeroinitializer"), ("i16", "-1"), (I32, "4")]
        numbers.append(f.call(whole, "llvm.x86.avx512.mask.cvtps2dq.512", given))
    packed = saturated(f, 16, numbers, signed=signed)
    lanes = cast(f, packed, bytes_, whole)
    ordered = cast(f, f.shuffle(16, lanes, lanes, [4 * (i % 4) + i // 4 for i in range(16)], I32), whole, bytes_)
    moved = f.op("xor", bytes_, ordered, splat(-128, I8)) if signed else ordered
    f.store(bytes_, moved, f.offset("%bytes", at, I8), 1)
    return unknown


def _quotient(f: Function, lanes: int, value: str, scale: float) -> str:
    """value / scale, by fused operations, rounded as a division does."""
    kind, reciprocal = vector(lanes), constant(1.0 / scale, lanes)
    first = f.op("fmul", kind, value, reciprocal)
    if frexp(scale)[0] == _HALF:
        return first
    # Two steps from the reciprocal round as a division does.
    rest = f.fma(lanes, f.assign(f"fneg {kind} {first}"), constant(scale, lanes), value)
    return f.fma(lanes, rest, reciprocal, first)


def _rounded(f: Function, machine: Machine, value: str, scale: float, magic: float) -> str:
    """magic + value / scale, the quotient rounded first unless it needs no rounding."""
    lanes, kind, added = machine.width, vector(machine.width), constant(magic, machine.width)
    if not machine.fma:
        return f.op("fadd", kind, f.op("fdiv", kind, value, constant(scale, lanes)), added)
    if frexp(scale)[0] == _HALF:
        return f.fma(lanes, value, constant(1.0 / scale, lanes), added)
    return f.op("fadd", kind, _quotient(f, lanes, value, scale), added)
