"""Cells of a sheet and the slots of those with an edge: vectors packed together and spread again."""

from __future__ import annotations

from pathc.backends.llvm.emit import I64, Function, vector
from pathc.backends.llvm.tiles.code import LINE, ROWS

VECTOR = vector(ROWS)
_MASK = vector(ROWS, "i1")


def packed(f: Function, values: str, mask: str, to: str) -> str:
    """Write the values at the bits of a mask one behind the other, and zeros up to 16; gives where they end."""
    given = [(VECTOR, values), (VECTOR, "zeroinitializer"), (_MASK, _lanes(f, mask))]
    f.store(VECTOR, f.call(VECTOR, "llvm.x86.avx512.mask.compress.v16f32", given), to)
    return _behind(f, to, mask)


def spread(f: Function, mask: str, at: str) -> tuple[str, str]:
    """The values at an address in the lanes of a mask, zeros elsewhere, and where they end."""
    given = [(VECTOR, f.load(VECTOR, at)), (VECTOR, "zeroinitializer"), (_MASK, _lanes(f, mask))]
    return f.call(VECTOR, "llvm.x86.avx512.mask.expand.v16f32", given), _behind(f, at, mask)


def whole(f: Function, at: str) -> tuple[str, str]:
    """The vector at an aligned address, and where it ends."""
    return f.load(VECTOR, at, LINE), f.offset(at, ROWS)


def _lanes(f: Function, mask: str) -> str:
    return f.assign(f"bitcast i16 {mask} to {_MASK}")


def _behind(f: Function, at: str, mask: str) -> str:
    count = f.call("i16", "llvm.ctpop.i16", [("i16", mask)])
    return f.offset(at, f.assign(f"zext i16 {count} to {I64}"))
