"""A tile's products of bfloat16: sums forwards, gradients backwards, and both as rows of halves."""

from __future__ import annotations

from collections.abc import Sequence

from pathc.backends.llvm.column.transpose import square
from pathc.backends.llvm.emit import I64, Function, vector
from pathc.backends.llvm.halves import kernels
from pathc.backends.llvm.tiles.code import I32, LINE, ROWS, number
from pathc.backends.llvm.tiles.kernel import emit_tiles
from pathc.backends.llvm.training.frame import Init
from pathc.backends.llvm.training.halves.sheets import Whole
from pathc.backends.llvm.training.halves.uses import TURNED, SheetUse, kernel_of, local_bytes
from pathc.backends.llvm.training.stations import Place
from pathc.backends.llvm.training.tile import Tile
from pathc.ir.types import Call


def sum_forward(
    tile: Tile, use: SheetUse, place: Place, begin: tuple[Init, int], stage: Call | None, *, rows: bool
) -> None:
    """Call what adds a junction up, from sums that begin as said, the second being where biases are.

    The finished sums go through a stage into their buffer, and with `rows` also into the station's rows of halves.
    """
    init, bias = begin
    calls = (stage,) if stage is not None else ()
    read = _reading(tile, calls, skipped=init == "add", rows=rows)
    target = tile.at(place.buffers[0])
    before = {"add": target, "zero": tile.param(tile.model.zeros), "bias": tile.param(bias)}[init]
    halved = tile.model.halved
    to = tile.at(halved[use.dst].values) if rows else target
    source = tile.at(halved[use.src].values)
    for held in use.parts:
        weights, tables = tile.param(held.ahead), (tile.param(held.shapes[0]), tile.param(held.tables[0]))
        _panels(tile, held.part.panels, held.part.alone, read, (source, weights, before, to, target, *tables))


def sum_backward(tile: Tile, use: SheetUse, place: Place) -> None:
    """Call what adds a junction's part to the gradient at the values of its source."""
    read = _reading(tile, (), skipped=True, rows=False)
    target = tile.at(place.delta)
    source = tile.at(tile.model.halved[use.dst].deltas)
    for held in use.parts:
        weights, tables = tile.param(held.back), (tile.param(held.shapes[1]), tile.param(held.tables[1]))
        _panels(tile, held.part.reversed, False, read, (source, weights, target, target, target, *tables))


def halve_values(tile: Tile, place: Place) -> None:
    """Call what rounds the values of a station."""
    _halve(tile, place.values, tile.model.halved[place.station.name].values, place.units(-1))


def halve_gradients(tile: Tile, place: Place) -> None:
    """Call what rounds the gradient at the sums of a station, and turns it for the gradients of weights."""
    model = tile.model
    rows = model.halved[place.station.name].deltas
    _halve(tile, place.deltas[0], rows, place.units(0))
    turn = tile.kernels.add("turn", emit_turn)
    for use in model.sheets:
        if use.dst == place.station.name and model.tensors[use.tensor].trained:
            for held in use.parts:
                given = tile.at(rows), tile.at(held.turned), tile.param(held.destinations)
                tile.invoke(turn, *given, more=[(I64, str(len(held.part.sheets)))])


def emit_turn(name: str) -> Function:
    """The kernel `void name(ptr rows, ptr turned, ptr table, i64 sheets)`: pairs of samples of 16 rows side by side.

    The table holds where the rows of a sheet lie, in bytes; of each half of them 16 vectors are written, one of all
    rows for every two samples.
    """
    f = Function(name, (*(("ptr", each) for each in ("rows", "turned", "table")), (I64, "sheets")))
    with f.loop("%sheets", [("ptr", "%table"), ("ptr", "%turned")]) as loop:
        table, target = loop.carried
        rows = [f.offset("%rows", number(f, table, k), "i8") for k in range(ROWS)]
        for half in range(2):
            words = [f.load(vector(ROWS), f.offset(row, half * LINE, "i8"), LINE) for row in rows]
            for k, value in enumerate(square(f, ROWS, words)):
                f.store(vector(ROWS), value, f.offset(target, (half * ROWS + k) * LINE, "i8"), LINE)
        loop.following = [f.offset(table, ROWS, I32), f.offset(target, TURNED, "i8")]
    return f


def _reading(tile: Tile, calls: tuple[Call, ...], *, skipped: bool, rows: bool) -> str:
    key = "read", calls, skipped, rows
    return tile.kernels.add(
        key, kernels.emit_reading, tile.frame.machine, calls, skipped=skipped, rows=rows, floats=True
    )


def _panels(tile: Tile, panels: Whole, alone: bool, read: str, ends: Sequence[str]) -> None:
    """Call the products of panels; `ends` are rows, weights, what `read` is given, shape and table."""
    if not panels.panels:
        return
    arrange = tile.kernels.add("pairs", kernels.emit_pairs)
    kernel = kernel_of(panels, arrange, read, alone=alone)
    name = tile.kernels.add(kernel, emit_tiles, kernel)
    rows, weights, *others = ends
    scratch = tile.at(tile.model.local), tile.at(tile.model.local + local_bytes(panels, alone))
    tile.invoke(name, rows, *scratch, weights, *others, more=[(I64, str(len(panels.panels)))])


def _halve(tile: Tile, buffer: int, rows: int, units: int) -> None:
    halve = tile.kernels.add("halve", kernels.emit_halve)
    tile.invoke(halve, tile.at(buffer), tile.at(rows), more=[(I64, str(units))])
