"""Vectors of bytes and of 32-bit integers as code: dot products of four, weights of few bits, bytes put together."""

from __future__ import annotations

from collections.abc import Sequence

from pathc.backends.llvm.emit import Function, indices, vector
from pathc.backends.llvm.machine import Machine

I8, I16, I32 = "i8", "i16", "i32"


def splat(value: int, element: str = I32) -> str:
    """A constant in every lane, of a vector of any length."""
    return f"splat ({element} {value})"


def cast(f: Function, value: str, source: str, target: str, how: str = "bitcast") -> str:
    """A value as another type."""
    return f.assign(f"{how} {source} {value} to {target}")


def repeated_lanes(f: Function, width: int, pointer: str, lanes: int) -> str:
    """`lanes` 32-bit integers at an address, again and again up to a vector."""
    kind = vector(width, I32)
    if lanes == width:
        return f.load(kind, pointer, 4)
    if lanes == 1:
        return f.broadcast(width, f.load(I32, pointer, 4), I32)
    few = vector(lanes, I32)
    mask = ", ".join(f"i32 {i % lanes}" for i in range(width))
    return f.assign(f"shufflevector {few} {f.load(few, pointer, 4)}, {few} poison, <{width} x i32> <{mask}>")


def dot(f: Function, machine: Machine, sums: str, sources: str, weights: str) -> str:
    """sums + the products of four u8 sources and four s8 weights in every lane; all vectors of 32-bit integers."""
    width = machine.width
    kind, bytes_ = vector(width, I32), vector(4 * width, I8)
    narrow = {"avx512vnni", "avx512vl"} <= machine.has or "avxvnni" in machine.has
    if machine.vnni if width == 16 else narrow:
        a, b = (cast(f, value, kind, bytes_) for value in (sources, weights))
        return f.call(kind, f"llvm.x86.avx512.vpdpbusd.{32 * width}", [(kind, sums), (bytes_, a), (bytes_, b)])
    halves = vector(2 * width, I16)
    a, b = (cast(f, value, kind, halves) for value in (sources, weights))
    even = f.op("and", halves, a, splat(255, I16)), _signed(f, halves, f.op("shl", halves, b, splat(8, I16)))
    odd = f.op("lshr", halves, a, splat(8, I16)), _signed(f, halves, b)
    for sources_, weights_ in (even, odd):
        sums = f.op("add", kind, sums, _pairs(f, machine, sources_, weights_))
    return sums


def _signed(f: Function, kind: str, value: str) -> str:
    return f.op("ashr", kind, value, splat(8, I16))


def _pairs(f: Function, machine: Machine, a: str, b: str) -> str:
    """Sums of the products of neighbours."""
    width = machine.width
    halves, kind = vector(2 * width, I16), vector(width, I32)
    if machine.arch == "x86_64":
        name = {4: "sse2.pmadd.wd", 8: "avx2.pmadd.wd", 16: "avx512.pmaddw.d.512"}[width]
        if width == 4 or (width == 8 and machine.avx2) or machine.avx512:
            return f.call(kind, f"llvm.x86.{name}", [(halves, a), (halves, b)])
    wide = vector(2 * width, I32)
    products = f.op("mul", wide, cast(f, a, halves, wide, "sext"), cast(f, b, halves, wide, "sext"))
    parts = [
        f.assign(
            f"shufflevector {wide} {products}, {wide} poison, <{width} x i32> <"
            + ", ".join(f"i32 {2 * i + k}" for i in range(width)) + ">"
        )
        for k in (0, 1)
    ]  # fmt: skip
    return f.op("add", kind, *parts)


def unpacked(f: Function, width: int, packed: str, field: int, number: int) -> str:
    """Weights `number` of bytes that hold several of `field` bits each, times 2^(8 - field)."""
    if field == 8:
        return packed
    kind = vector(width, I32)
    places = 8 - field * (number + 1)
    shifted = f.op("shl", kind, packed, splat(places)) if places else packed
    mask = 0x01010101 * (256 - (1 << (8 - field)))
    return f.op("and", kind, shifted, splat(mask - (1 << 32)))


def together(f: Function, width: int, values: Sequence[str]) -> str:
    """The low bytes of four vectors as one vector of bytes: byte 4 l + k is that of lane l of vector k."""
    kind = vector(width, I32)
    found = f.op("and", kind, values[0], splat(255))
    for number, value in enumerate(values[1:], 1):
        moved = f.op("shl", kind, value, splat(8 * number))
        if number < 3:
            moved = f.op("and", kind, moved, splat(255 << 8 * number))
        found = f.op("or", kind, found, moved)
    return found


def saturates(machine: Machine) -> bool:
    """Whether there are instructions that narrow integers and clamp them."""
    return machine.arch == "x86_64" and {4: True, 8: machine.avx2, 16: machine.avx512}[machine.width]


def saturated(f: Function, width: int, values: Sequence[str], *, signed: bool = False) -> str:
    """Four vectors of 32-bit integers clamped to bytes: byte 16 l + 4 k + i is lane 4 l + i of vector k."""
    kind, halves, bytes_ = vector(width, I32), vector(2 * width, I16), vector(4 * width, I8)
    words, narrow = {
        4: ("sse2.packssdw.128", "sse2.packuswb.128"),
        8: ("avx2.packssdw", "avx2.packuswb"),
        16: ("avx512.packssdw.512", "avx512.packuswb.512"),
    }[width]
    a, b = (f.call(halves, f"llvm.x86.{words}", [(kind, x), (kind, y)]) for x, y in (values[:2], values[2:]))
    narrow = narrow.replace("packuswb", "packsswb") if signed else narrow
    return f.call(bytes_, f"llvm.x86.{narrow}", [(halves, a), (halves, b)])


def in_order(width: int) -> list[int]:
    """Byte 4 (4 l + i) + k goes to byte 16 l + 4 k + i, and back: four vectors and the samples in a row of bytes."""
    return [16 * n + 4 * i + k for n in range(width // 4) for k in range(4) for i in range(4)]


def interleaved(f: Function, width: int, a: str, b: str, element: str, *, high: bool) -> str:
    """The lower or upper halves of each 16 bytes of two vectors, element by element in turn."""
    size = {I8: 1, I16: 2}[element]
    each, count = 16 // size, 4 * width // size
    half = each // 2 if high else 0
    mask = [first + half + i // 2 + count * (i % 2) for first in range(0, count, each) for i in range(each)]
    return f.shuffle(count, a, b, mask, element)


def joined(f: Function, parts: Sequence[str], lanes: int, element: str) -> str:
    """Vectors of so many lanes one after the other, as one; there is a power of two of them."""
    values = list(parts)
    while len(values) > 1:
        kind = vector(lanes, element)
        values = [
            f.assign(f"shufflevector {kind} {a}, {kind} {b}, {indices(range(2 * lanes))}")
            for a, b in zip(values[::2], values[1::2], strict=True)
        ]
        lanes *= 2
    return values[0]
