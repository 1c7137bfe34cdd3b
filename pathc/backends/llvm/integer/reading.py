"""From sums to the bytes that are read from a station: rounding in floating point that is exact.

The product of a sum of at most 25 bits and a multiplier of 16 is added to 1.5 * 2^23 in one rounding, to the nearest
and ties to even: what stands in the low bits of the result is the integer wanted. Wider sums take float64.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pathc.backends.bytewise import offset_of
from pathc.backends.llvm import vecmath
from pathc.backends.llvm.emit import F32, I64, Function, constant, vector
from pathc.backends.llvm.integer.vectors import I8, I32, cast, in_order, saturated, saturates, splat, together
from pathc.backends.llvm.machine import Machine
from pathc.ir.quantized import TABLE, IntegerStation, Reading

F64 = "double"
_NARROW = 25
_EXACT = 2.0**22
"""Below it the sum with 1.5 * 2^23 is a whole number."""
_MAGIC = {F32: (vecmath.ROUND, vecmath.ROUND_BITS), F64: (1.5 * 2.0**52, 0x4338000000000000)}
"""1.5 times the power of two whose unit in the last place is one, and its bits."""


@dataclass(frozen=True)
class Reader:
    """How sums of a station become bytes; multipliers are float32, [real units].

    `packs` says that the instructions that narrow integers clamp as the station does.
    """

    wide: bool
    packs: bool
    positive: NDArray[np.float32]
    negative: NDArray[np.float32] | None
    low: int
    high: int
    offset: int

    @classmethod
    def of(cls, station: IntegerStation, reading: Reading, machine: Machine) -> Reader:
        """The reader of a station: without multipliers for negative sums where the clamp does what they would."""
        positive, negative = (
            np.ldexp(part.astype(np.float64), -reading.shift).astype(np.float32)
            for part in (reading.positive, reading.negative)
        )
        low = reading.low
        rising = bool((positive >= 0).all())
        single = bool((positive == negative).all()) or (rising and low >= 0 and bool((negative >= 0).all()))
        if not single and rising and not negative.any():
            single, low = True, max(low, 0)
        offset = TABLE // 2 if reading.table is not None else offset_of(station)
        wide = station.bits > _NARROW or not machine.fma
        real = station.station.real_units
        largest = np.maximum(-station.low, station.high)[:real] * np.maximum(abs(positive), abs(negative))
        full = (low + offset, reading.high + offset) == (0, 255)
        packs = full and not wide and saturates(machine) and float(largest.max(initial=0.0)) < _EXACT
        return cls(wide, packs, positive, None if single else negative, low + offset, reading.high + offset, offset)

    def bytes(
        self, f: Function, machine: Machine, sums: Sequence[str], positive: Sequence[str], negative: Sequence[str]
    ) -> str:
        """A vector of bytes, 16 l + 4 k + i from lane 4 l + i of the k-th of four vectors of sums.

        Multipliers are vectors of float32.
        """
        width = machine.width
        values = [self._value(f, width, *each) for each in zip(sums, positive, negative, strict=True)]
        if self.packs:
            return saturated(f, width, values)
        mixed = cast(f, together(f, width, values), vector(width, I32), vector(4 * width, I8))
        return f.shuffle(4 * width, mixed, mixed, in_order(width), I8)

    def _value(self, f: Function, width: int, sums: str, positive: str, negative: str) -> str:
        """32-bit integers whose low bytes are what is read, or, with `packs`, what would be without a clamp."""
        kind, floats = vector(width, I32), vector(width)
        factor = positive
        if self.negative is not None:
            below = f.assign(f"icmp slt {kind} {sums}, zeroinitializer")
            factor = f.assign(f"select {vector(width, 'i1')} {below}, {floats} {negative}, {floats} {positive}")
        element, whole = (F64, I64) if self.wide else (F32, I32)
        numbers, integers = vector(width, element), vector(width, whole)
        value = cast(f, sums, kind, numbers, "sitofp")
        magic, bits = _MAGIC[element]
        if self.wide:
            # 48 bits of the product fit into 53, so this is rounded once too, and needs no fused operation.
            text = f"splat (double 0x{bits + self.offset:016X})"
            product = f.op("fmul", numbers, value, cast(f, factor, floats, numbers, "fpext"))
            value = f.op("fadd", numbers, product, text)
        else:
            operands = [(numbers, value), (numbers, factor), (numbers, constant(magic + self.offset, width))]
            value = f.call(numbers, f"llvm.fma.v{width}f32", operands)
        found = cast(f, value, numbers, integers)
        if self.packs:
            return f.op("sub", kind, found, splat(bits))
        suffix = f"v{width}{whole}"
        for name, bound in (("smax", self.low), ("smin", self.high)):
            limit = splat(bits + bound, whole)
            found = f.call(integers, f"llvm.{name}.{suffix}", [(integers, found), (integers, limit)])
        return cast(f, found, integers, kind, "trunc") if self.wide else found


def emit_translation(name: str, machine: Machine) -> Function:
    """The kernel `void name(ptr bytes, ptr table, i64 count)`: bytes replaced by entries of a table of 256."""
    f = Function(name, (("ptr", "bytes"), ("ptr", "table"), (I64, "count")))
    if machine.vbmi and machine.width == 16:
        kind = vector(64, I8)
        parts = [f.load(kind, f.offset("%table", 64 * k, I8), 64) for k in range(4)]
        with f.loop("%count", step=64) as loop:
            at = f.offset("%bytes", loop.index, I8)
            places = f.load(kind, at, 1)
            halves = [
                f.call(kind, "llvm.x86.avx512.vpermi2var.qi.512", [(kind, a), (kind, places), (kind, b)])
                for a, b in (parts[:2], parts[2:])
            ]
            upper = f.assign(f"icmp slt {kind} {places}, zeroinitializer")
            found = f.assign(f"select <64 x i1> {upper}, {kind} {halves[1]}, {kind} {halves[0]}")
            f.store(kind, found, at, 1)
        return f
    with f.loop("%count") as loop:
        at = f.offset("%bytes", loop.index, I8)
        place = cast(f, f.load(I8, at, 1), I8, I64, "zext")
        f.store(I8, f.load(I8, f.offset("%table", place, I8), 1), at, 1)
    return f


def table_of(station: IntegerStation, reading: Reading) -> NDArray[np.uint8]:
    """The 256 bytes of a table as they lie in memory."""
    assert reading.table is not None
    return (reading.table + offset_of(station)).astype(np.uint8)


def emit_winners(name: str, units: int, k: int, silence: int) -> Function:
    """The kernel `void name(ptr bytes, ptr places, i64 samples)`: all but the `k` largest of `units` are silenced.

    The byte of unit u and sample s is `bytes[places[u] + s]`; of equal ones the lower unit wins. Bytes are in the order
    of what they stand for, `silence` stands for zero.
    """
    f = Function(name, (("ptr", "bytes"), ("ptr", "places"), (I64, "samples")))
    counts = f.assign("alloca [256 x i32], align 64", "p")
    with f.loop("%samples") as samples:
        own = f.offset("%bytes", samples.index, I8)
        f.call("void", "llvm.memset.p0.i64", [("ptr", counts), (I8, "0"), (I64, "1024"), ("i1", "false")])

        def unit(index: str) -> tuple[str, str]:
            place = f.load(I64, f.offset("%places", index, I64), 8)
            at = f.offset(own, place, I8)
            return at, f.load(I8, at, 1)

        with f.loop(units) as loop:
            at = f.offset(counts, cast(f, unit(loop.index)[1], I8, I64, "zext"), I32)
            f.store(I32, f.op("add", I32, f.load(I32, at), "1"), at)
        # From the largest byte down: the threshold is where the winners are all found, room what its equals have.
        with f.loop(256, [(I64, "255"), (I32, str(k))]) as loop:
            threshold, room = loop.carried
            here = f.load(I32, f.offset(counts, threshold, I32))
            on = f.assign(f"icmp ult {I32} {here}, {room}")
            lower = f.op("sub", I64, threshold, cast(f, on, "i1", I64, "zext"))
            taken = f.assign(f"select i1 {on}, {I32} {here}, {I32} 0")
            loop.following = [lower, f.op("sub", I32, room, taken)]
        threshold, room = loop.results
        limit = cast(f, threshold, I64, I8, "trunc")
        with f.loop(units, [(I32, room)]) as loop:
            at, value = unit(loop.index)
            tied = f.op("and", "i1", f.assign(f"icmp eq i8 {value}, {limit}"),
                        f.assign(f"icmp ne i32 {loop.carried[0]}, 0"))  # fmt: skip
            kept = f.op("or", "i1", tied, f.assign(f"icmp ugt i8 {value}, {limit}"))
            f.store(I8, f.assign(f"select i1 {kept}, i8 {value}, i8 {silence}"), at, 1)
            loop.following = [f.op("sub", I32, loop.carried[0], cast(f, tied, "i1", I32, "zext"))]
    return f
