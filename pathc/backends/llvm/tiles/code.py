"""Products of tiles as code: the shape of the registers, loads, products, stores.

Tile registers 0 to 3 hold sums [rows][16 samples] of 32 bits, 4 holds weights [rows][depth], 5 to 7 hold sources
[depth / 4][16 samples] of four bytes: as many sources of one sample side by side as fit. Sums of 64 samples are four
tiles side by side, so a row of sums, and a row of sources, is 256 bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pathc.backends.llvm.emit import I64, Function
from pathc.backends.llvm.machine import Machine

ROWS = 16
"""Rows of a tile register."""
LINE = 64
"""Bytes of a row of a tile register."""
SAMPLES = 64
"""Samples whose sums are computed at once."""
PITCH = 4 * SAMPLES
"""Bytes from row to row of sums and of sources."""
I32 = "i32"
_WEIGHTS, _SOURCES = 4, (5, 6, 7)
Product = Literal["tdpbsud", "tdpbf16ps", "vdpbf16ps"]
"""s8 weights times u8 sources in 32-bit integers, or bfloat16 ones in float32; the last one in vector registers."""


def in_tiles(product: Product) -> bool:
    """Whether a product adds to tile registers."""
    return product != "vdpbf16ps"


def tiled(machine: Machine, product: Product) -> bool:
    """Whether a processor has tile registers and this product of them."""
    wanted = {"tdpbsud": "amx-int8", "tdpbf16ps": "amx-bf16"}.get(product, "")
    return wanted in machine.has and machine.avx512 and machine.width == ROWS


@dataclass(frozen=True)
class TileShape:
    """Rows of weights in a register, and bytes of each: a multiple of 4, at most 64."""

    rows: int
    depth: int

    @property
    def size(self) -> int:
        """Bytes of a tile of weights."""
        return self.rows * self.depth

    @property
    def clocks(self) -> int:
        """Clock cycles of one product, as measured."""
        return max(self.rows, ROWS // 2 + 2)

    def packed(self) -> NDArray[np.uint8]:
        """What `ldtilecfg` reads."""
        made = np.zeros(64, np.uint8)
        made[0] = 1
        shapes = [(self.rows, LINE)] * 4 + [(self.rows, self.depth)] + [(self.depth // 4, LINE)] * 3
        for register, (rows, size) in enumerate(shapes):
            made[16 + 2 * register] = size
            made[48 + register] = rows
        return made


def configure(f: Function, shape: str) -> None:
    """Give the registers the shapes that lie at an address."""
    f.call("void", "llvm.x86.ldtilecfg", [("ptr", shape)])


def release(f: Function) -> None:
    """Leave the registers empty, so that the system need not save them."""
    f.call("void", "llvm.x86.tilerelease", [])


def products(f: Function, shape: TileShape, product: Product, weights: str, sources: str, rounds: str) -> str:
    """Sums of 64 samples in registers 0 to 3, of tiles of weights one after the other; gives where these end.

    `sources` has [rounds * depth / 4] rows of 256 bytes, a vector of 16 samples after the other.
    """
    clear(f)
    with f.loop(rounds, [("ptr", weights), ("ptr", sources)]) as loop:
        left, right = loop.carried
        round_of(f, shape, product, left, right)
        loop.following = [f.offset(left, shape.size, "i8"), f.offset(right, shape.depth // 4 * PITCH, "i8")]
    return loop.results[0]


def clear(f: Function) -> None:
    """Zero in registers 0 to 3."""
    for number in range(4):
        f.call("void", "llvm.x86.tilezero", [("i8", str(number))])


def round_of(f: Function, shape: TileShape, product: Product, weights: str, sources: str) -> None:
    """One product for each of the four tiles of sums."""
    load(f, _WEIGHTS, weights, shape.depth)
    for number in range(4):
        register = _SOURCES[number % len(_SOURCES)]
        load(f, register, f.offset(sources, number * LINE, "i8"), PITCH)
        multiply_into(f, product, number, _WEIGHTS, register)


def multiply(f: Function, product: Product) -> None:
    """Four products of what the registers hold, for measuring."""
    for number in range(4):
        multiply_into(f, product, number, _WEIGHTS, _SOURCES[number % len(_SOURCES)])


def store(f: Function, sums: str) -> None:
    """Registers 0 to 3 to memory, [rows][64 samples] of 32 bits."""
    for number in range(4):
        place = f.offset(sums, number * LINE, "i8")
        f.call("void", "llvm.x86.tilestored64", [("i8", str(number)), ("ptr", place), (I64, str(PITCH))])


def multiply_into(f: Function, product: Product, sums: int, left: int, right: int) -> None:
    """Add the product of two registers to a third."""
    operands = (sums, left, right)
    f.call("void", f"llvm.x86.{product}", [("i8", str(operand)) for operand in operands])


def load(f: Function, register: int, place: str, pitch: int) -> None:
    """A register from rows that many bytes apart."""
    f.call("void", "llvm.x86.tileloadd64", [("i8", str(register)), ("ptr", place), (I64, str(pitch))])


def number(f: Function, table: str, at: str | int) -> str:
    """A 32-bit number of a table as one of 64 bits."""
    return f.assign(f"zext i32 {f.load(I32, f.offset(table, at, I32))} to i64")
