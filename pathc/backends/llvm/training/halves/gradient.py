"""Gradients of weights as products of tiles, the optimizer's step on them, and both copies in bfloat16 renewed."""

from __future__ import annotations

from collections.abc import Callable

from pathc.backends.llvm.column.common import byte_offset
from pathc.backends.llvm.column.transpose import square
from pathc.backends.llvm.emit import I64, Function, vector
from pathc.backends.llvm.halves.kernels import ROW
from pathc.backends.llvm.tiles import code
from pathc.backends.llvm.tiles.code import I32, LINE, ROWS, number
from pathc.backends.llvm.training.halves.sheets import HEAD, PIECE, SIZE
from pathc.backends.llvm.training.halves.uses import TURNED, PartPlace
from pathc.backends.llvm.training.update import RANGE

_VECTOR, _HALVES, _WORDS = vector(ROWS), vector(2 * ROWS, "bfloat"), vector(2 * ROWS, "i16")
_SUMS, _SOURCES, _GRADIENTS = (0, 1), 4, (5, 6)
_TILE = ROWS * LINE


def write_gradient(
    f: Function,
    held: PartPlace,
    values: int,
    shape: int,
    tile_bytes: int,
    sink: Callable[[Function, str, str], None],
    renew: str,
) -> None:
    """Write the gradients of the weights of sheets `%start` .. `%stop` - 1, summed over `%span` bytes of tiles.

    `values` are the rows of halves of the source in a tile, `shape` that of registers of 16 rows and 64 bytes. `sink`
    takes 16 gradients and their slot; then the function `renew` renews the copies of a sheet, if it is named.
    """
    local = f.assign(f"alloca [{ROWS * ROW} x i8], align 64", "p")
    sums = f.assign(f"alloca [{2 * _TILE} x i8], align 64", "p")
    code.configure(f, byte_offset(f, "%params", shape))
    with f.loop("%stop", start="%start") as sheets:
        first, pieces, _, _, _, heard = _head(f, held, sheets.index)
        sources = f.offset(byte_offset(f, "%params", held.sources), heard, I32)
        turned = byte_offset(f, "%acts", f.op("mul", I64, sheets.index, str(TURNED)))
        turned = byte_offset(f, turned, held.turned)
        with f.loop(pieces, [("ptr", sources), (I64, first)]) as piece:
            table, slot = piece.carried
            _products(f, (table, byte_offset(f, "%acts", values), turned), tile_bytes, local, sums)
            with f.loop(ROWS) as line:
                at = f.op("mul", I64, line.index, str(LINE))
                parts = [f.load(_VECTOR, byte_offset(f, byte_offset(f, sums, at), k * _TILE), LINE) for k in _SUMS]
                own = f.op("add", I64, slot, f.op("mul", I64, line.index, str(ROWS)))
                sink(f, f.op("fadd", _VECTOR, *parts), f.op("add", I64, own, str(held.part.base)))
            piece.following = [f.offset(table, ROWS, I32), f.op("add", I64, slot, str(PIECE))]
        if renew:
            f.call("void", renew, [("ptr", "%params"), (I64, sheets.index)], declare=False)
    code.release(f)


def _products(f: Function, ends: tuple[str, str, str], tile_bytes: int, local: str, sums: str) -> None:
    """Write the sums of 16 sources over all samples; those of the halves of each tile apart."""
    table, values, turned = ends
    offsets = [number(f, table, k) for k in range(ROWS)]
    for register in _SUMS:
        f.call("void", "llvm.x86.tilezero", [("i8", str(register))])
    with f.loop("%span", step=tile_bytes) as tiles:
        here, other = byte_offset(f, values, tiles.index), byte_offset(f, turned, tiles.index)
        for k, offset in enumerate(offsets):
            row = byte_offset(f, here, offset)
            for half in range(2):
                value = f.load(_VECTOR, byte_offset(f, row, half * LINE), LINE)
                f.store(_VECTOR, value, byte_offset(f, local, k * ROW + half * LINE), LINE)
        for half in range(2):
            code.load(f, _SOURCES, byte_offset(f, local, half * LINE), ROW)
            code.load(f, _GRADIENTS[half], byte_offset(f, other, half * _TILE), LINE)
            code.multiply_into(f, "tdpbf16ps", _SUMS[half], _SOURCES, _GRADIENTS[half])
    for half in range(2):
        given = [("i8", str(_SUMS[half])), ("ptr", byte_offset(f, sums, half * _TILE)), (I64, str(LINE))]
        f.call("void", "llvm.x86.tilestored64", given)


def write_renewal(name: str, held: PartPlace, working: int) -> Function:
    """The function `void name(ptr params, i64 sheet)` that renews both copies of the weights of a sheet."""
    f = Function(name, (("ptr", "params"), (I64, "sheet")))
    first, pieces, rounds, at, step, _ = _head(f, held, "%sheet")
    weights = byte_offset(f, "%params", working + 4 * held.part.base)
    weights = f.offset(weights, first)
    target = byte_offset(f, byte_offset(f, "%params", held.ahead), f.op("mul", I64, first, str(SIZE)))
    size = held.part.panels.per_round
    with f.loop(rounds, [("ptr", weights), ("ptr", target)]) as loop:
        here, to = loop.carried
        words = [_interleaved(f, _pair(f, here, k)) for k in range(size // 2)]
        kind = vector(size // 2)
        for k, row in enumerate(square(f, ROWS, [*words, *["poison"] * (ROWS - len(words))])):
            if size < 2 * ROWS:
                mask = ", ".join(f"i32 {lane}" for lane in range(size // 2))
                row = f.assign(f"shufflevector {_VECTOR} {row}, {_VECTOR} poison, <{size // 2} x i32> <{mask}>")
            f.store(kind, row, byte_offset(f, to, k * SIZE * size), SIZE * size)
        loop.following = [f.offset(here, size * ROWS), byte_offset(f, to, SIZE * size * ROWS)]
    depth = held.part.reversed.depth
    back = byte_offset(f, byte_offset(f, "%params", held.back), at)
    with f.loop(pieces, [("ptr", weights), ("ptr", back)]) as loop:
        here, to = loop.carried
        for k in range(ROWS // 2):
            both = _pair(f, here, k)
            for row in range(2):
                mask = ", ".join(f"i32 {row * ROWS + lane}" for lane in range(ROWS))
                own = f.assign(f"shufflevector {_HALVES} {both}, {_HALVES} poison, <{ROWS} x i32> <{mask}>")
                f.store(vector(ROWS, "bfloat"), own, byte_offset(f, to, (2 * k + row) * depth), SIZE * ROWS)
        loop.following = [f.offset(here, PIECE), byte_offset(f, to, step)]
    return f


def write_renewals(name: str, renew: str) -> Function:
    """The kernel that renews the copies of sheets `%start` .. `%stop` - 1 by the function `renew`."""
    f = Function(name, RANGE)
    with f.loop("%stop", start="%start") as loop:
        f.call("void", renew, [("ptr", "%params"), (I64, loop.index)], declare=False)
    return f


def _head(f: Function, held: PartPlace, sheet: str) -> list[str]:
    """The numbers of a sheet."""
    head = byte_offset(f, "%params", held.sheets)
    head = f.offset(head, f.op("mul", I64, sheet, str(HEAD)), I32)
    return [number(f, head, k) for k in range(HEAD)]


def _pair(f: Function, weights: str, number: int) -> str:
    """Two vectors of weights rounded, one behind the other."""
    low, high = (f.load(_VECTOR, f.offset(weights, (2 * number + k) * ROWS), LINE) for k in range(2))
    return f.call(_HALVES, "llvm.x86.avx512bf16.cvtne2ps2bf16.512", [(_VECTOR, high), (_VECTOR, low)])


def _interleaved(f: Function, halves: str) -> str:
    """The lower and the upper half of a vector in turn, as words."""
    mask = ", ".join(f"i32 {lane + ROWS * k}" for lane in range(ROWS) for k in range(2))
    mixed = f.assign(f"shufflevector {_HALVES} {halves}, {_HALVES} poison, <{2 * ROWS} x i32> <{mask}>")
    return f.assign(f"bitcast {_HALVES} {mixed} to {_VECTOR}")
