"""Gradients of weights as products of tiles, and what becomes of them."""

from __future__ import annotations

from collections.abc import Callable

from pathc.backends.llvm.column.common import byte_offset, when_positive
from pathc.backends.llvm.emit import I64, Function
from pathc.backends.llvm.halves.kernels import ROW
from pathc.backends.llvm.tiles import code
from pathc.backends.llvm.tiles.code import I32, LINE, ROWS, number
from pathc.backends.llvm.training.halves.packing import VECTOR, packed
from pathc.backends.llvm.training.halves.renewal import head, masks_of
from pathc.backends.llvm.training.halves.sheets import PIECE
from pathc.backends.llvm.training.halves.uses import TURNED, PartPlace

Take = Callable[[Function, str, str], None]
_SUMS, _SOURCES, _GRADIENTS = (0, 1), 4, (5, 6)
_TILE = ROWS * LINE


def write_gradient(
    f: Function,
    held: PartPlace,
    places: tuple[int, int, int],
    tile_bytes: int,
    sink: Take,
    renew: str,
) -> None:
    """Write the gradients of the weights of sheets `%start` .. `%stop` - 1, summed over `%span` bytes of tiles.

    `places` are the rows of halves of the source in a tile, the tensor's gradients, and the shape of registers of 16
    rows and 64 bytes. `sink` takes 16 gradients and their slot; then the function `renew` renews the copies of a sheet,
    if it is named.
    """
    values, gradients, shape = places
    local = f.assign(f"alloca [{ROWS * ROW} x i8], align 64", "p")
    sums = f.assign(f"alloca [{2 * _TILE} x i8], align 64", "p")
    code.configure(f, byte_offset(f, "%params", shape))
    with f.loop("%stop", start="%start") as sheets:
        first, pieces, _, _, _, heard, cell, vectors = head(f, held, sheets.index)
        sources = f.offset(byte_offset(f, "%params", held.sources), heard, I32)
        turned = byte_offset(f, "%acts", f.op("mul", I64, sheets.index, str(TURNED)))
        ends = byte_offset(f, "%acts", values), byte_offset(f, turned, held.turned)
        slot = f.op("add", I64, first, str(held.part.base))
        if held.part.packed:
            gathered = f.offset(byte_offset(f, "%params", gradients), slot)
            start = [("ptr", sources), ("ptr", masks_of(f, held, cell)), ("ptr", gathered)]
            with f.loop(pieces, start) as piece:
                table, masks, to = piece.carried
                _products(f, table, ends, tile_bytes, local, sums)
                for k in range(ROWS):
                    mask = f.load("i16", f.offset(masks, k, "i16"), 2)
                    to = packed(f, _line(f, sums, k * LINE), mask, to)
                piece.following = [f.offset(table, ROWS, I32), f.offset(masks, ROWS, "i16"), to]
            f.store(VECTOR, "zeroinitializer", piece.results[2])
            with when_positive(f, vectors), f.loop(vectors) as line:
                at = f.op("mul", I64, line.index, str(ROWS))
                sink(f, f.load(VECTOR, f.offset(gathered, at), LINE), f.op("add", I64, slot, at))
        else:
            with f.loop(pieces, [("ptr", sources), (I64, slot)]) as piece:
                table, here = piece.carried
                _products(f, table, ends, tile_bytes, local, sums)
                with f.loop(ROWS) as line:
                    value = _line(f, sums, f.op("mul", I64, line.index, str(LINE)))
                    sink(f, value, f.op("add", I64, here, f.op("mul", I64, line.index, str(ROWS))))
                piece.following = [f.offset(table, ROWS, I32), f.op("add", I64, here, str(PIECE))]
        if renew:
            f.call("void", renew, [("ptr", "%params"), (I64, sheets.index)], declare=False)
    code.release(f)


def _line(f: Function, sums: str, at: str | int) -> str:
    """The gradients of a source: both halves of the samples together."""
    parts = [f.load(VECTOR, byte_offset(f, byte_offset(f, sums, at), half * _TILE), LINE) for half in range(2)]
    return f.op("fadd", VECTOR, *parts)


def _products(f: Function, table: str, ends: tuple[str, str], tile_bytes: int, local: str, sums: str) -> None:
    """Write the sums of 16 sources over all samples, those of the halves of each tile apart."""
    values, turned = ends
    offsets = [number(f, table, k) for k in range(ROWS)]
    for register in _SUMS:
        f.call("void", "llvm.x86.tilezero", [("i8", str(register))])
    with f.loop("%span", step=tile_bytes) as tiles:
        here, other = byte_offset(f, values, tiles.index), byte_offset(f, turned, tiles.index)
        for k, offset in enumerate(offsets):
            row = byte_offset(f, here, offset)
            for half in range(2):
                value = f.load(VECTOR, byte_offset(f, row, half * LINE), LINE)
                f.store(VECTOR, value, byte_offset(f, local, k * ROW + half * LINE), LINE)
        for half in range(2):
            code.load(f, _SOURCES, byte_offset(f, local, half * LINE), ROW)
            code.load(f, _GRADIENTS[half], byte_offset(f, other, half * _TILE), LINE)
            code.multiply_into(f, "tdpbf16ps", _SUMS[half], _SOURCES, _GRADIENTS[half])
    for half in range(2):
        given = [("i8", str(_SUMS[half])), ("ptr", byte_offset(f, sums, half * _TILE)), (I64, str(LINE))]
        f.call("void", "llvm.x86.tilestored64", given)
