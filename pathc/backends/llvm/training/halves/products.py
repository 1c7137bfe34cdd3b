"""A tile's products of bfloat16: sums forwards, gradients backwards, and both as rows of halves."""

from __future__ import annotations

from collections.abc import Sequence

from pathc.backends.llvm.column.transpose import square
from pathc.backends.llvm.emit import I64, Function, vector
from pathc.backends.llvm.halves import kernels
from pathc.backends.llvm.halves.entering import emit_enter
from pathc.backends.llvm.tiles.code import I32, LINE, PITCH, ROWS, number
from pathc.backends.llvm.tiles.kernel import emit_tiles
from pathc.backends.llvm.training import stages
from pathc.backends.llvm.training.frame import Frame, Init
from pathc.backends.llvm.training.halves.sheets import Whole
from pathc.backends.llvm.training.halves.uses import TURNED, SheetUse, kernel_of, local_bytes
from pathc.backends.llvm.training.stations import Place
from pathc.backends.llvm.training.tile import Tile
from pathc.ir.types import Call


def sum_forward(
    tile: Tile, use: SheetUse, place: Place, begin: tuple[Init, int], stage: Call | None, *, rows: bool
) -> None:
    """Call what adds a junction up, from sums that begin as said, the second being where biases are.

    Finished sums go through a stage into their buffer, with `rows` also, or only, into the station's rows of halves.
    """
    init, bias = begin
    calls = (stage,) if stage is not None else ()
    halved = tile.model.halved
    read = _reading(tile, calls, skipped=init == "add", rows=rows, floats=not (rows and halved[use.dst].passes))
    target = tile.at(place.buffers[0])
    before = {"add": target, "zero": tile.param(tile.model.zeros), "bias": tile.param(bias)}[init]
    to = tile.at(halved[use.dst].values) if rows else target
    source = tile.at(halved[use.src].values)
    for held in use.parts:
        weights, tables = tile.param(held.ahead), (tile.param(held.shapes[0]), tile.param(held.tables[0]))
        _panels(tile, held.part.panels, held.part.alone, read, (source, weights, before, to, target, *tables))


def sum_backward(tile: Tile, use: SheetUse, place: Place) -> None:
    """Call what adds a junction's part to the gradient at the values of its source."""
    read = _reading(tile, (), skipped=True, rows=False)
    target = tile.at(place.delta)
    _panels_back(tile, use, read, (target, target, target))


def goes_directly(tile: Tile, place: Place) -> bool:
    """Whether gradients at the values of a station are finished one by one: each is in one panel of one junction."""
    leaving = list(tile.model.leaving(place.station.name))
    own = tile.model.halved.get(place.station.name)
    if own is None or not (own.passes and own.gradient_passes) or place.real(0) < place.units(0):
        return False
    return len(leaving) == 1 and isinstance(leaving[0], SheetUse) and leaving[0].once


def settle_directly(tile: Tile, place: Place) -> None:
    """Call what computes the gradient at the sums of a station straight from those of the next."""
    own = tile.model.halved[place.station.name]
    use = next(use for use in tile.model.sheets if use.src == place.station.name)
    read = _settling(tile, place, place.stages[0] if place.stages else None, listed=True)
    _panels_back(tile, use, read, (tile.at(own.values), tile.at(own.deltas), tile.at(own.partial)))
    _turn(tile, place)


def settle(tile: Tile, place: Place, stage: Call | None) -> None:
    """Call what brings the gradient of a station through a stage, rounds it and sums it up for the bias."""
    own = tile.model.halved[place.station.name]
    name = _settling(tile, place, stage, listed=False)
    delta = tile.at(place.deltas[0])
    given = delta, tile.at(own.values), tile.at(own.deltas), tile.at(own.partial), delta
    tile.invoke(name, *given, more=[(I64, str(place.units(0)))])
    _turn(tile, place)


def enter(tile: Tile, place: Place) -> None:
    """Call what brings the user's rows into rows of halves."""
    real, machine = place.real(0), tile.frame.machine
    name = tile.kernels.add(("enter", real), emit_enter, machine, real, ())
    x, rows = tile.user(place, tile.model.halved[place.station.name].values, "x")
    tile.invoke(name, x, rows, tile.at(tile.model.local), more=tile.extent("x"))


def halve_values(tile: Tile, place: Place) -> None:
    """Call what rounds the values of a station."""
    halve = tile.kernels.add("halve", kernels.emit_halve)
    rows = tile.model.halved[place.station.name].values
    tile.invoke(halve, tile.at(place.values), tile.at(rows), more=[(I64, str(place.units(-1)))])


def emit_settling(
    name: str, frame: Frame, stage: Call | None, *, listed: bool, rows: bool, bias: bool, stays: bool
) -> Function:
    """The kernel `void name(ptr sums, ptr values, ptr to, ptr partial, ptr units, i64 count)` of gradients.

    Rows of float32 go through a stage backwards, whose values are rows of halves. They end as rows of halves if `rows`,
    with `bias` as 16 sums for each unit, and where they were if one `stays`. `listed`, `units` says which they are.
    """
    f = Function(name, (*(("ptr", each) for each in ("sums", "values", "to", "partial", "units")), (I64, "count")))
    with f.loop("%count", [("ptr", "%sums")]) as loop:
        (place,) = loop.carried
        unit = number(f, "%units", loop.index) if listed else loop.index
        at = f.op("mul", I64, unit, str(kernels.ROW))
        gradient = kernels.load_sums(f, place)
        if stage is not None:
            held = kernels.load_halves(f, f.offset("%values", at, "i8"))
            gradient = [stages.slope(f, frame, stage, g, v) for g, v in zip(gradient, held, strict=True)]
        if rows:
            kernels.store_halves(f, gradient, f.offset("%to", at, "i8"))
        if bias:
            pairs = [f.op("fadd", frame.kind, *gradient[k : k + 2]) for k in (0, 2)]
            total = f.op("fadd", frame.kind, *pairs)
            f.store(frame.kind, total, f.offset("%partial", f.op("mul", I64, unit, str(LINE)), "i8"), LINE)
        if stays:
            kernels.store_sums(f, gradient, place)
        loop.following = [f.offset(place, PITCH, "i8")]
    return f


def _settling(tile: Tile, place: Place, stage: Call | None, *, listed: bool) -> str:
    model, name = tile.model, place.station.name
    bias = f"{name}.bias" in model.tensors and model.tensors[f"{name}.bias"].trained
    stays = stage is not None and not model.halved[name].gradient_passes
    rows = any(True for _ in model.entering(name))
    return tile.kernels.add(
        ("settle", stage, listed, rows, bias, stays), emit_settling, tile.frame, stage,
        listed=listed, rows=rows, bias=bias, stays=stays,
    )  # fmt: skip


def _turn(tile: Tile, place: Place) -> None:
    """Call what turns the gradient of a station for the gradients of weights."""
    model = tile.model
    turn = tile.kernels.add("turn", emit_turn)
    for use in model.sheets:
        if use.dst == place.station.name and model.tensors[use.tensor].trained:
            for held in use.parts:
                given = tile.at(model.halved[use.dst].deltas), tile.at(held.turned), tile.param(held.destinations)
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


def _reading(tile: Tile, calls: tuple[Call, ...], *, skipped: bool, rows: bool, floats: bool = True) -> str:
    key = "read", calls, skipped, rows, floats
    return tile.kernels.add(
        key, kernels.emit_reading, tile.frame.machine, calls, skipped=skipped, rows=rows, floats=floats
    )


def _panels_back(tile: Tile, use: SheetUse, read: str, ends: tuple[str, str, str]) -> None:
    source = tile.at(tile.model.halved[use.dst].deltas)
    for held in use.parts:
        weights, tables = tile.param(held.back), (tile.param(held.shapes[1]), tile.param(held.tables[1]))
        _panels(tile, held.part.reversed, False, read, (source, weights, *ends, *tables))


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
