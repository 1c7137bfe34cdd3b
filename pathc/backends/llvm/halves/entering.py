"""Samples of a user's array as rows of halves: rounded sample by sample, then turned so that a unit is a row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pathc.backends.llvm import vecmath
from pathc.backends.llvm.column.common import repeat
from pathc.backends.llvm.emit import I64, Function, constant, vector
from pathc.backends.llvm.halves.kernels import ROW
from pathc.backends.llvm.integer.vectors import I16, interleaved, joined
from pathc.backends.llvm.machine import Machine
from pathc.backends.llvm.tiles.code import SAMPLES
from pathc.ir.types import Call

_BLOCK = 128
"""Units that are rounded for all samples before they are turned: few enough to stay in the first-level cache."""
LOCAL = 2 * _BLOCK * SAMPLES
"""Bytes they take."""
_VECTORS, _HALVES, _WORDS, _PART = vector(16), vector(32, "bfloat"), vector(32, I16), vector(8, I16)


def emit_enter(name: str, machine: Machine, real: int, calls: Sequence[Call]) -> Function:
    """The kernel `void name(ptr x, ptr rows, ptr local, i64 stride, i64 count)` for `real` units.

    x points at the first of `count` samples, 1 <= count <= 64, `stride` floats apart; the others repeat the last one.
    `calls` are applied before values are rounded. `local` has room for `LOCAL` bytes.
    """
    f = Function(name, (*(("ptr", each) for each in ("x", "rows", "local")), (I64, "stride"), (I64, "count")))
    last = f.op("sub", I64, "%count", "1")
    for start, units in _blocks(f, real):
        with f.loop(SAMPLES) as sample:
            known = f.call(I64, "llvm.umin.i64", [(I64, sample.index), (I64, last)])
            at = f.op("mul", I64, known, "%stride")
            source = f.offset(f.offset("%x", at), start)
            target = f.offset("%local", f.op("mul", I64, sample.index, str(2 * _BLOCK)), "i8")
            for first in range(0, units, 32):
                low, high = (_values(f, machine, source, first + k, units, calls) for k in (0, 16))
                both = f.call(_HALVES, "llvm.x86.avx512bf16.cvtne2ps2bf16.512", [(_VECTORS, high), (_VECTORS, low)])
                f.store(_HALVES, both, f.offset(target, 2 * first, "i8"), 64)
        for eight in range(0, units, 8):
            for half in range(2):
                vectors = _turned(f, eight, half)
                for k, value in enumerate(vectors[: units - eight]):
                    unit = f.op("add", I64, start, str(eight + k))
                    place = f.offset("%rows", f.op("mul", I64, unit, str(ROW)), "i8")
                    f.store(_WORDS, value, f.offset(place, half * ROW // 2, "i8"), 64)
    return f


def _blocks(f: Function, real: int) -> Iterator[tuple[str, int]]:
    """First unit of each block and how many it has; writes the loop over whole ones."""
    whole, rest = divmod(real, _BLOCK)
    if whole:
        with repeat(f, whole) as index:
            yield f.op("mul", I64, str(index), str(_BLOCK)), _BLOCK
    if rest:
        yield str(whole * _BLOCK), rest


def _values(f: Function, machine: Machine, source: str, first: int, units: int, calls: Sequence[Call]) -> str:
    """16 units of a sample; behind the last unit nothing is read."""
    known = min(16, units - first)
    if known <= 0:
        return constant(0.0, 16)
    place = f.offset(source, first)
    if known == 16:
        value = f.load(_VECTORS, place)
    else:
        mask = "<" + ", ".join(f"i1 {int(k < known)}" for k in range(16)) + ">"
        given = [("ptr", place), ("i32", "4"), (vector(16, "i1"), mask), (_VECTORS, constant(0.0, 16))]
        value = f.call(_VECTORS, "llvm.masked.load.v16f32.p0", given)
    for call in calls:
        value = vecmath.apply(f, 16, value, call, machine)
    return value


def _turned(f: Function, eight: int, half: int) -> list[str]:
    """Eight units of 32 samples, a vector for each, in the order of rows."""
    vectors: list[str] = []
    for j in range(8):
        samples = [32 * half + 16 * (j // 4) + 4 * lane + j % 4 for lane in range(4)]
        parts = [f.load(_PART, f.offset("%local", 2 * (sample * _BLOCK + eight), "i8"), 16) for sample in samples]
        vectors.append(joined(f, parts, 8, I16))
    for _ in range(3):
        vectors = [
            interleaved(f, 16, vectors[i], vectors[i + 4], I16, high=high) for i in range(4) for high in (False, True)
        ]
    return vectors
