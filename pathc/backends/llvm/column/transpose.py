"""Between a user's array, a sample in a row, and a tile of columns, a unit in a row.

Squares of as many units and samples as a vector has lanes are transposed in registers, so that a cache line of the
user's array is touched once, however its rows fall on the cache. Fewer units are brought across four at a time, or
one. Samples behind the last one of the user are taken to be that one again, so no address leaves the array.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pathc.backends.llvm import vecmath
from pathc.backends.llvm.column.common import byte_offset, column_groups, repeat, store_vectors, tile
from pathc.backends.llvm.emit import F32, I64, Function, constant, indices, vector
from pathc.backends.llvm.machine import Machine
from pathc.ir.types import Call

_PIECE = 4
"""Floats in 128 bits: what a vector instruction moves within, or as a whole."""

_ROWS = 8
"""Samples at a time: as many lines as a set of the first-level cache holds, for rows a power of two apart."""
_LINE = 16
"""Floats in a cache line: whole ones are read and written where registers hold the units of one."""
_BLOCK = 128
"""Units that are brought across for all samples before the next: few enough that their part of a tile stays near."""
TRANSPOSE_PARAMETERS = (("ptr", "rows"), ("ptr", "tile"), ("i64", "stride"), ("i64", "count"))


def emit_load(
    name: str, machine: Machine, columns: int, units: int, real: int, activation: Call | None = None
) -> Function:
    """The kernel `void name(ptr rows, ptr tile, i64 stride, i64 count)` that fills a tile from a user's array.

    `rows` points at the first value of the first of `count` samples, 1 <= count <= columns, `stride` floats apart,
    float32, aligned to 4 bytes. The tile is [units][columns]; units from `real` on become zero, columns from
    `count` on repeat the last sample.
    """
    f = Function(name, TRANSPOSE_PARAMETERS)
    lanes = machine.width if machine.dual else min(machine.width, _ROWS)
    whole = vector(lanes)
    for start, block in _blocks(f, real):
        with repeat(f, columns // lanes) as group:
            pointers = _row_pointers(f, lanes, group)
            to = byte_offset(f, "%tile", f.op("mul", I64, str(group), str(4 * lanes), "nuw nsw"))
            for first, step in _pieces(f, machine, lanes, start, block):
                here = byte_offset(f, to, f.op("mul", I64, first, str(4 * columns), "nuw nsw"))
                ahead = [f.offset(pointer, first) for pointer in pointers]
                for k, value in enumerate(_across(f, lanes, ahead, step)):
                    finished = vecmath.apply(f, lanes, value, activation, machine)
                    f.store(whole, finished, byte_offset(f, here, 4 * columns * k), 4 * lanes)
    if units > real:
        t = tile(machine, columns, 4)
        with repeat(f, units - real) as unit:
            row = f.op("add", I64, str(unit), str(real))
            at = byte_offset(f, "%tile", f.op("mul", I64, row, str(t.stride), "nuw nsw"))
            with column_groups(f, t) as column:
                store_vectors(f, t, [constant(0.0, t.lanes)] * t.vectors, byte_offset(f, at, column))
    return f


def emit_save(name: str, machine: Machine, columns: int, real: int) -> Function:
    """The kernel `void name(ptr rows, ptr tile, i64 stride, i64 count)` that writes `real` units to a user's array.

    The array is as for `emit_load`. Rows are written from the last to the first: a column behind the user's last
    sample goes where that sample is written afterwards.
    """
    f = Function(name, TRANSPOSE_PARAMETERS)
    lanes = min(machine.width, _ROWS)
    whole = vector(lanes)
    used = f.op("add", I64, "%count", str(lanes - 1), "nuw nsw")
    count = f.op("udiv", I64, used, str(lanes))
    for start, block in _blocks(f, real):
        with f.loop(count) as groups:
            pointers = _row_pointers(f, lanes, groups.index)
            source = byte_offset(f, "%tile", f.op("mul", I64, groups.index, str(4 * lanes), "nuw nsw"))
            for first, step in _pieces(f, machine, lanes, start, block):
                here = byte_offset(f, source, f.op("mul", I64, first, str(4 * columns), "nuw nsw"))
                ahead = [f.offset(pointer, first) for pointer in pointers]
                loaded = [f.load(whole, byte_offset(f, here, 4 * columns * k), 4 * lanes) for k in range(step)]
                _back(f, lanes, loaded, ahead)
    return f


def _blocks(f: Function, units: int) -> Iterator[tuple[str, int]]:
    """The units in blocks: first unit and how many; writes the loop over whole ones."""
    whole = units // _BLOCK
    if whole:
        with repeat(f, whole) as index:
            yield f.op("mul", I64, str(index), str(_BLOCK), "nuw nsw"), _BLOCK
    rest = units - whole * _BLOCK
    if rest:
        yield str(units - rest), rest


def _row_pointers(f: Function, lanes: int, group: str | int) -> list[str]:
    """Addresses of the samples of a group of columns, none behind the last sample."""
    last = f.op("sub", I64, "%count", "1")
    base = f.op("mul", I64, str(group), str(lanes), "nuw nsw")
    pointers = list[str]()
    for lane in range(lanes):
        row = f.op("add", I64, base, str(lane), "nuw nsw")
        row = f.call(I64, "llvm.umin.i64", [(I64, row), (I64, last)])
        pointers.append(f.offset("%rows", f.op("mul", I64, row, "%stride")))
    return pointers


def _pieces(f: Function, machine: Machine, lanes: int, start: str, units: int) -> Iterator[tuple[str, int]]:
    """`units` units from `start` on in pieces: first unit and how many, a line, a square, 4 or 1; writes the loops.

    The last piece of a size may overlap the one before it.
    """
    sizes = (lanes, _PIECE, 1) if machine.registers <= _LINE or lanes < _ROWS else (_LINE, _ROWS, _PIECE, 1)
    step = next(size for size in sizes if size <= units)
    whole = units // step
    with repeat(f, whole) as index:
        yield f.op("add", I64, start, f.op("mul", I64, str(index), str(step), "nuw nsw"), "nuw nsw"), step
    rest = units - whole * step
    if not rest:
        return
    step = next((size for size in reversed(sizes) if rest <= size > 1), step)
    yield f.op("add", I64, start, str(units - step), "nuw nsw"), step


def _across(f: Function, lanes: int, pointers: Sequence[str], step: int) -> list[str]:
    """The next `step` units of the samples at these addresses: a vector over the samples for each unit."""
    if lanes > _ROWS and step > 1:
        return [value for rows in _quartered(f, lanes, pointers, step) for value in _transposed(f, lanes, rows)]
    if step % lanes == 0:
        parts = range(0, step, lanes)
        rows = [[f.load(vector(lanes), f.offset(pointer, at)) for at in parts] for pointer in pointers]
        return [value for part in zip(*rows, strict=True) for value in square(f, lanes, part)]
    if step == 1:
        kind, value = vector(lanes), "poison"
        for lane, pointer in enumerate(pointers):
            value = f.assign(f"insertelement {kind} {value}, {F32} {f.load(F32, pointer)}, i64 {lane}")
        return [value]
    return _transposed(f, lanes, [_joined(f, pointers[i::_PIECE]) for i in range(_PIECE)])


def _back(f: Function, lanes: int, units: Sequence[str], pointers: Sequence[str]) -> None:
    """Store units, each a vector over samples, to the samples at these addresses, the last sample first."""
    kind = vector(lanes)
    if len(units) % lanes == 0:
        parts = range(0, len(units), lanes)
        rows = zip(*(square(f, lanes, units[at : at + lanes]) for at in parts), strict=True)
        for row, pointer in reversed(list(zip(rows, pointers, strict=True))):
            for at, value in zip(parts, row, strict=True):
                f.store(kind, value, f.offset(pointer, at))
        return
    across = _transposed(f, lanes, units) if len(units) == _PIECE else []
    for row in range(lanes - 1, -1, -1):
        if not across:
            f.store(F32, f.assign(f"extractelement {kind} {units[0]}, i64 {row}"), pointers[row])
            continue
        lane = row // _PIECE * _PIECE
        mask = ", ".join(f"i32 {k}" for k in range(lane, lane + _PIECE))
        piece = f"shufflevector {kind} {across[row % _PIECE]}, {kind} poison, <{_PIECE} x i32> <{mask}>"
        f.store(vector(_PIECE), f.assign(piece), pointers[row])


def _quartered(f: Function, lanes: int, pointers: Sequence[str], step: int) -> list[list[str]]:
    """Four vectors for every four of `step` units: 128 bits k of vector i come from sample `i + 4 k`.

    128 bits that come from memory are blended in and take no shuffle, which leaves half as many of these: that pays
    where only one shuffle starts in a clock. A sample's line is read at once, so that it does not matter if other
    samples drive it out of the first-level cache.
    """
    piece = vector(_PIECE)
    vectors = [["poison"] * _PIECE for _ in range(0, step, _PIECE)]
    for row, pointer in enumerate(pointers):
        low = row // _PIECE * _PIECE
        kept = [k + lanes - low if low <= k < low + _PIECE else k for k in range(lanes)]
        for number, group in enumerate(vectors):
            four = f.load(piece, f.offset(pointer, _PIECE * number))
            widened = indices([k % _PIECE for k in range(lanes)])
            wide = f.assign(f"shufflevector {piece} {four}, {piece} poison, {widened}")
            before = group[row % _PIECE]
            group[row % _PIECE] = wide if before == "poison" else f.shuffle(lanes, before, wide, kept)
    return vectors


def _joined(f: Function, pointers: Sequence[str]) -> str:
    """Four floats from each pointer, side by side."""
    pieces = [f.load(vector(_PIECE), pointer) for pointer in pointers]
    lanes = _PIECE
    while len(pieces) > 1:
        mask = range(2 * lanes)
        pieces = [f.shuffle(lanes, a, b, mask) for a, b in zip(pieces[::2], pieces[1::2], strict=True)]
        lanes *= 2
    return pieces[0]


def square(f: Function, lanes: int, rows: Sequence[str]) -> list[str]:
    """The transpose of as many vectors as each has lanes: within 128 bits, then whole 128 bits."""
    if lanes == 1:
        return list(rows)
    inner = [_transposed(f, lanes, rows[at : at + _PIECE]) for at in range(0, lanes, _PIECE)]
    result = [""] * lanes
    for i in range(_PIECE):
        for k, value in enumerate(quarters(f, lanes, [part[i] for part in inner])):
            result[_PIECE * k + i] = value
    return result


def quarters(f: Function, lanes: int, parts: Sequence[str]) -> list[str]:
    """The transpose of vectors whose elements are 128 bits: 1, 2 or 4 vectors of as many."""

    def picked(a: str, b: str, order: Sequence[int]) -> str:
        return f.shuffle(lanes, a, b, [_PIECE * q + k for q in order for k in range(_PIECE)])

    if len(parts) == 1:
        return list(parts)
    if len(parts) == 2:
        return [picked(parts[0], parts[1], (0, 2)), picked(parts[0], parts[1], (1, 3))]
    a, b, c, d = parts
    low, high = (0, 1, 4, 5), (2, 3, 6, 7)
    even, odd = (0, 2, 4, 6), (1, 3, 5, 7)
    result = list[str]()
    for half in (low, high):
        front, back = picked(a, b, half), picked(c, d, half)
        result += [picked(front, back, even), picked(front, back, odd)]
    return result


def _transposed(f: Function, lanes: int, rows: Sequence[str]) -> list[str]:
    """The 4 x 4 transposes of four vectors, every four lanes on their own."""

    def paired(a: str, b: str, order: Sequence[int]) -> str:
        mask = [at + k if k < _PIECE else lanes + at + k - _PIECE for at in range(0, lanes, _PIECE) for k in order]
        return f.shuffle(lanes, a, b, mask)

    low, high = [0, 4, 1, 5], [2, 6, 3, 7]
    near, far = [0, 1, 4, 5], [2, 3, 6, 7]
    even_low, even_high = paired(rows[0], rows[1], low), paired(rows[0], rows[1], high)
    odd_low, odd_high = paired(rows[2], rows[3], low), paired(rows[2], rows[3], high)
    return [
        paired(even_low, odd_low, near),
        paired(even_low, odd_low, far),
        paired(even_high, odd_high, near),
        paired(even_high, odd_high, far),
    ]
