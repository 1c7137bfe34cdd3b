"""The copies of weights in bfloat16, made from their float32 masters."""

from __future__ import annotations

from collections.abc import Sequence

from pathc.backends.llvm.column.common import byte_offset, when_positive
from pathc.backends.llvm.column.transpose import square
from pathc.backends.llvm.emit import I64, Function, vector
from pathc.backends.llvm.tiles.code import I32, ROWS, number
from pathc.backends.llvm.training.halves.packing import VECTOR, spread, whole
from pathc.backends.llvm.training.halves.sheets import HEAD, SIZE
from pathc.backends.llvm.training.halves.uses import PartPlace
from pathc.backends.llvm.training.update import RANGE

_HALVES = vector(2 * ROWS, "bfloat")


def head(f: Function, held: PartPlace, sheet: str) -> list[str]:
    """The numbers of a sheet."""
    table = byte_offset(f, "%params", held.sheets)
    table = f.offset(table, f.op("mul", I64, sheet, str(HEAD)), I32)
    return [number(f, table, k) for k in range(HEAD)]


def masks_of(f: Function, held: PartPlace, cell: str) -> str:
    """Where the masks from a cell on lie."""
    return byte_offset(f, byte_offset(f, "%params", held.masks), f.op("lshr", I64, cell, "3"))


def write_renewal(name: str, held: PartPlace, working: int) -> Function:
    """The function `void name(ptr params, i64 sheet)` that renews both copies of the weights of a sheet."""
    f = Function(name, (("ptr", "params"), (I64, "sheet")))
    first, pieces, rounds, at, step, _, cell, _ = head(f, held, "%sheet")
    weights = f.offset(byte_offset(f, "%params", working + 4 * held.part.base), first)
    target = byte_offset(f, byte_offset(f, "%params", held.ahead), f.op("mul", I64, cell, str(SIZE)))
    back = byte_offset(f, byte_offset(f, "%params", held.back), at)
    size, depth = held.part.panels.per_round, held.part.reversed.depth
    start = [("ptr", weights), ("ptr", target), ("ptr", back), ("ptr", masks_of(f, held, cell)), (I64, pieces)]
    with f.loop(rounds, start) as loop:
        here, to, other, masks, left = loop.carried
        rows: list[str] = []
        for k in range(size):
            mask = f.load("i16", f.offset(masks, k, "i16"), 2) if held.part.packed else ""
            row, here = spread(f, mask, here) if mask else whole(f, here)
            rows.append(row)
        pairs = [_pair(f, *rows[k : k + 2]) for k in range(0, size, 2)]
        _ahead(f, pairs, to, size)
        _back(f, pairs[: ROWS // 2], other, depth)
        if size > ROWS:
            left = f.op("sub", I64, left, "1")
            other = byte_offset(f, other, step)
            with when_positive(f, left):
                _back(f, pairs[ROWS // 2 :], other, depth)
        loop.following = [
            here,
            byte_offset(f, to, SIZE * size * ROWS),
            byte_offset(f, other, step),
            f.offset(masks, size, "i16"),
            f.op("sub", I64, left, "1"),
        ]
    return f


def write_renewals(name: str, renew: str) -> Function:
    """The kernel that renews the copies of sheets `%start` .. `%stop` - 1 by the function `renew`."""
    f = Function(name, RANGE)
    with f.loop("%stop", start="%start") as loop:
        f.call("void", renew, [("ptr", "%params"), (I64, loop.index)], declare=False)
    return f


def _ahead(f: Function, pairs: Sequence[str], to: str, size: int) -> None:
    """Write a round forwards: rows of destinations, sources side by side."""
    words = [_interleaved(f, pair) for pair in pairs]
    kind = vector(size // 2)
    for k, row in enumerate(square(f, ROWS, [*words, *["poison"] * (ROWS - len(words))])):
        own = row
        if size < 2 * ROWS:
            mask = ", ".join(f"i32 {lane}" for lane in range(size // 2))
            own = f.assign(f"shufflevector {VECTOR} {row}, {VECTOR} poison, <{size // 2} x i32> <{mask}>")
        f.store(kind, own, byte_offset(f, to, k * SIZE * size), SIZE * size)


def _back(f: Function, pairs: Sequence[str], to: str, depth: int) -> None:
    """Write 16 sources backwards: rows of sources, destinations side by side."""
    for k, pair in enumerate(pairs):
        for row in range(2):
            mask = ", ".join(f"i32 {row * ROWS + lane}" for lane in range(ROWS))
            own = f.assign(f"shufflevector {_HALVES} {pair}, {_HALVES} poison, <{ROWS} x i32> <{mask}>")
            f.store(vector(ROWS, "bfloat"), own, byte_offset(f, to, (2 * k + row) * depth), SIZE * ROWS)


def _pair(f: Function, low: str, high: str) -> str:
    """Two vectors rounded, one behind the other."""
    return f.call(_HALVES, "llvm.x86.avx512bf16.cvtne2ps2bf16.512", [(VECTOR, high), (VECTOR, low)])


def _interleaved(f: Function, halves: str) -> str:
    """The lower and the upper half of a vector in turn, as words."""
    mask = ", ".join(f"i32 {lane + ROWS * k}" for lane in range(ROWS) for k in range(2))
    mixed = f.assign(f"shufflevector {_HALVES} {halves}, {_HALVES} poison, <{2 * ROWS} x i32> <{mask}>")
    return f.assign(f"bitcast {_HALVES} {mixed} to {VECTOR}")
