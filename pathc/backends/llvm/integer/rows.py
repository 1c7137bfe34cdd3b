"""Kernels for one sample: the lanes of a vector are units."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pathc.backends.llvm.emit import F32, I64, Function, vector
from pathc.backends.llvm.integer.plan import CHAINS
from pathc.backends.llvm.integer.reading import F64, Reader
from pathc.backends.llvm.integer.vectors import I8, I32, cast, dot, repeated_lanes, splat, unpacked
from pathc.backends.llvm.machine import Machine

_UNROLLED = 4


def emit_gather(name: str) -> Function:
    """The kernel `void name(ptr bytes, ptr arranged, ptr places, i64 count)`: arranged[i] = bytes[places[i]]."""
    f = Function(name, (("ptr", "bytes"), ("ptr", "arranged"), ("ptr", "places"), (I64, "count")))
    with f.loop("%count") as loop:
        place = cast(f, f.load(I32, f.offset("%places", loop.index, I32)), I32, I64, "zext")
        f.store(I8, f.load(I8, f.offset("%bytes", place, I8), 1), f.offset("%arranged", loop.index, I8), 1)
    return f


def emit_permute(name: str, sources: int) -> Function:
    """The kernel `void name(ptr bytes, ptr arranged, ptr table, ptr orders, i64 count)` of vectors of 64 bytes.

    An entry of the table says where a vector goes and where the `sources` vectors lie that its bytes come from, 64-bit
    numbers. Each of these has 64 bytes of orders: which byte comes to which place, and the sign says that it does.
    """
    parameters = (("ptr", "bytes"), ("ptr", "arranged"), ("ptr", "table"), ("ptr", "orders"), (I64, "count"))
    f = Function(name, parameters)
    kind = vector(64, I8)
    with f.loop("%count", [("ptr", "%table"), ("ptr", "%orders")]) as loop:
        table, orders = loop.carried
        target, *starts = (f.load(I64, f.offset(table, k, I64), 8) for k in range(sources + 1))
        found = ""
        for number, start in enumerate(starts):
            order = f.load(kind, f.offset(orders, 64 * number, I8), 64)
            value = f.load(kind, f.offset("%bytes", start, I8), 1)
            moved = f.call(kind, "llvm.x86.avx512.permvar.qi.512", [(kind, value), (kind, order)])
            if found:
                chosen = f.assign(f"icmp slt {kind} {order}, zeroinitializer")
                moved = f.assign(f"select <64 x i1> {chosen}, {kind} {moved}, {kind} {found}")
            found = moved
        f.store(kind, found, f.offset("%arranged", target, I8), 1)
        loop.following = [f.offset(table, sources + 1, I64), f.offset(orders, 64 * sources, I8)]
    return f


@dataclass(frozen=True)
class Read:
    """How the sums of a station become bytes: the reader, and the registers they fill, a multiple of four."""

    reader: Reader
    registers: int

    @property
    def key(self) -> tuple[object, ...]:
        """What code depends on."""
        reader, registers = self.reader, self.registers
        behind = registers if reader.negative is not None else 0
        return reader.wide, reader.packs, reader.low, reader.high, reader.offset, behind


def emit_dot(name: str, machine: Machine, registers: int, lanes: int, field: int, then: Read | None = None) -> Function:
    """The kernel `void name(ptr arranged, ptr weights, ptr before, ptr sums, ptr table, i64 count)` of like tiles.

    An entry of the table holds, in 64-bit numbers, the rounds of a tile, and where its sources, its weights and its
    sums lie in bytes; sums begin with what stands at the same place behind `before`. With `then` sums are read at once,
    four registers at a time, and the kernel is `void name(ptr arranged, ptr weights, ptr before, ptr bytes, ptr table,
    i64 count, ptr factors)`; see `emit_read`.
    """
    names = ("arranged", "weights", "before", "bytes" if then else "sums", "table")
    more = [("ptr", "factors")] if then else []
    f = Function(name, (*(("ptr", each) for each in names), (I64, "count"), *more))
    width, kind = machine.width, vector(machine.width, I32)
    pack = 8 // field
    chains = max(1, CHAINS // registers)
    with f.loop("%count", [("ptr", "%table")]) as tiles:
        table = tiles.carried[0]
        rounds, source, weight, place = (f.load(I64, f.offset(table, k, I64), 8) for k in range(4))
        before = f.offset("%before", place, I8)
        started = [f.load(kind, f.offset(before, 4 * width * r, I8), 4 * width) for r in range(registers)]
        started += ["zeroinitializer"] * (registers * (chains - 1))
        ends = [("ptr", f.offset("%arranged", source, I8)), ("ptr", f.offset("%weights", weight, I8))]
        with f.loop(rounds, [*((kind, value) for value in started), *ends]) as loop:
            found, (sources, weights) = loop.carried[:-2], loop.carried[-2:]
            for chain in range(chains):
                seen = [
                    repeated_lanes(f, width, f.offset(sources, 4 * lanes * (chain * pack + k), I8), lanes)
                    for k in range(pack)
                ]
                for r in range(registers):
                    at = f.offset(weights, 4 * width * (chain * registers + r), I8)
                    packed = f.load(kind, at, 4 * width)
                    for k in range(pack):
                        own = chain * registers + r
                        found[own] = dot(f, machine, found[own], seen[k], unpacked(f, width, packed, field, k))
            step = 4 * width * registers * chains
            loop.following = [*found, f.offset(sources, 4 * lanes * pack * chains, I8), f.offset(weights, step, I8)]
        totals = list[str]()
        for r in range(registers):
            total = loop.results[r]
            for chain in range(1, chains):
                total = f.op("add", kind, total, loop.results[chain * registers + r])
            totals.append(total)
        if then is None:
            sums = f.offset("%sums", place, I8)
            for r, total in enumerate(totals):
                f.store(kind, total, f.offset(sums, 4 * width * r, I8), 4 * width)
        else:
            lane = f.op("lshr", I64, place, "2")
            for first in range(0, registers, 4):
                at = f.op("add", I64, lane, str(first * width)) if first else lane
                _read(f, machine, then, field, totals[first : first + 4], at)
        tiles.following = [f.offset(table, 4, I64)]
    return f


def _read(f: Function, machine: Machine, then: Read, field: int, sums: Sequence[str], first: str) -> None:
    """Bytes from four registers of sums, whose lanes are those from `first` on of all the station's."""
    width, kind, floats = machine.width, vector(machine.width, I32), vector(machine.width)
    if field < 8:
        sums = [f.op("ashr", kind, value, splat(8 - field)) for value in sums]

    def factors(base: str) -> list[str]:
        at = f.offset(base, first)
        return [f.load(floats, f.offset(at, k * width), 4 * width) for k in range(4)]

    positive = negative = factors("%factors")
    if then.reader.negative is not None:
        negative = factors(f.offset("%factors", then.registers * width))
    read = then.reader.bytes(f, machine, sums, positive, negative)
    f.store(vector(4 * width, I8), read, f.offset("%bytes", first, I8), 4 * width)


def emit_skip(name: str) -> Function:
    """The kernel `void name(ptr bytes, ptr before, ptr after, ptr places, ptr factors, i64 count)`.

    after[i] = before[i] + factors[i] * bytes[places[i]], 32-bit integers.
    """
    names = ("bytes", "before", "after", "places", "factors")
    f = Function(name, (*(("ptr", each) for each in names), (I64, "count")))
    with f.loop("%count") as loop:
        place = cast(f, f.load(I32, f.offset("%places", loop.index, I32)), I32, I64, "zext")
        value = cast(f, f.load(I8, f.offset("%bytes", place, I8), 1), I8, I32, "zext")
        product = f.op("mul", I32, value, f.load(I32, f.offset("%factors", loop.index, I32)))
        total = f.op("add", I32, product, f.load(I32, f.offset("%before", loop.index, I32)))
        f.store(I32, total, f.offset("%after", loop.index, I32))
    return f


def emit_read(name: str, machine: Machine, then: Read, field: int) -> Function:
    """The kernel `void name(ptr sums, ptr bytes, ptr factors)`: bytes from all registers of sums.

    Byte 16 l + 4 k + i of a vector is that of lane 4 l + i of the k-th of four registers. Behind the float32
    multipliers of all lanes stand those for negative sums, if the reader has any.
    """
    f = Function(name, (("ptr", "sums"), ("ptr", "bytes"), ("ptr", "factors")))
    width, kind = machine.width, vector(machine.width, I32)
    with f.loop(then.registers * width, step=4 * width) as loop:
        at = f.offset("%sums", loop.index, I32)
        sums = [f.load(kind, f.offset(at, k * width, I32), 4 * width) for k in range(4)]
        _read(f, machine, then, field, sums, loop.index)
    return f


def emit_floats(name: str, machine: Machine, registers: int, shift: int) -> Function:
    """The kernel `void name(ptr sums, ptr scales, ptr floats)`: (sums >> shift) * scales in every lane.

    Scales are float64, the product is rounded to float32.
    """
    f = Function(name, (("ptr", "sums"), ("ptr", "scales"), ("ptr", "floats")))
    width, kind, wide = machine.width, vector(machine.width, I32), vector(machine.width, F64)
    with f.loop(registers * width, step=width) as loop:
        total = f.load(kind, f.offset("%sums", loop.index, I32), 4 * width)
        total = f.op("ashr", kind, total, splat(shift)) if shift else total
        scales = f.load(wide, f.offset("%scales", loop.index, F64), 8 * min(width, 8))
        value = f.op("fmul", wide, cast(f, total, kind, wide, "sitofp"), scales)
        f.store(
            vector(width), cast(f, value, wide, vector(width), "fptrunc"), f.offset("%floats", loop.index), 4 * width
        )
    return f


def emit_give_bytes(name: str, units: int, offset: int) -> Function:
    """The kernel `void name(ptr bytes, ptr places, ptr scale, ptr row)`: bytes less an offset, times a float32."""
    f = Function(name, (("ptr", "bytes"), ("ptr", "places"), ("ptr", "scale"), ("ptr", "row")))
    scale = f.load(F32, "%scale")
    with f.loop(units) as loop:
        place = f.load(I64, f.offset("%places", loop.index, I64), 8)
        value = cast(f, f.load(I8, f.offset("%bytes", place, I8), 1), I8, I32, "zext")
        number = cast(f, f.op("sub", I32, value, str(offset)), I32, F32, "sitofp")
        f.store(F32, f.op("fmul", F32, number, scale), f.offset("%row", loop.index))
    return f


def emit_pick(name: str, units: int) -> Function:
    """The kernel `void name(ptr floats, ptr places, ptr row, float poison)`: row[u] = floats[places[u]] + poison."""
    f = Function(name, (("ptr", "floats"), ("ptr", "places"), ("ptr", "row"), (F32, "poison")))

    def one(index: str | int) -> None:
        place = cast(f, f.load(I32, f.offset("%places", index, I32)), I32, I64, "zext")
        f.store(F32, f.op("fadd", F32, f.load(F32, f.offset("%floats", place)), "%poison"), f.offset("%row", index))

    whole = units // _UNROLLED * _UNROLLED
    if whole:
        with f.loop(whole, step=_UNROLLED) as loop:
            for k in range(_UNROLLED):
                one(f.op("add", I64, loop.index, str(k)))
    for index in range(whole, units):
        one(index)
    return f
