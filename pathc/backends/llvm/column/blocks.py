"""Dense blocks at XOR addresses: a junction whose windows are permuted block-diagonal matrices.

A kernel walks over the blocks of a window; a register tile holds a few destinations of a block for some vectors of
columns and runs through the block's sources, weights broadcast from memory. The number of every unit is a base,
read from a small table, XORed with constants of the code.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from pathc.backends.llvm import vecmath
from pathc.backends.llvm.column.common import (
    LATENCY,
    UNROLLED,
    Bytes,
    Finish,
    Tile,
    aligned,
    byte_offset,
    column_groups,
    element_bytes,
    encode,
    ends,
    padded_row,
    parameters,
    products,
    repeat,
    round_up,
    store_vectors,
    table_entry,
    tile,
    unit_addresses,
)
from pathc.backends.llvm.emit import I64, Function
from pathc.backends.llvm.machine import Machine
from pathc.backends.llvm.plan import Family, Junction, Step, TileOption, Tiles, WeightType
from pathc.ir.facts import Blocks
from pathc.ir.gf2 import IndexArray, apply, apply_array, coordinates, span_array

_PATHS = 1 << 16
"""Paths that are looked at together when weights are packed: so many that they stay in the cache."""


def block_weights(blocks: Blocks, junction: Junction, weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """The weights of a window as [block, destination, source] in the order of reps and bases, repeats added."""
    sources, destinations = junction.edges()
    to_src = coordinates((*blocks.src_basis, *blocks.src_reps))
    to_dst = coordinates((*blocks.dst_basis, *blocks.dst_reps))
    values = np.asarray(weights, dtype=np.float32).reshape(-1)
    result = np.zeros(1 << blocks.rank, np.float32 if blocks.repeat == 1 else np.float64)
    end = blocks.start + blocks.length
    for first in range(blocks.start, end, _PATHS):
        some = slice(first, min(first + _PATHS, end))
        src = _coordinates(to_src, sources[some], blocks.src_shift)
        dst = _coordinates(to_dst, destinations[some], blocks.dst_shift)
        position = dst << len(blocks.src_basis) | src & (blocks.fan_in - 1)
        if blocks.repeat == 1:
            result[position] = values[some]
        else:
            np.add.at(result, position, values[some].astype(np.float64))
    return result.astype(np.float32, copy=False).reshape(blocks.count, blocks.fan_out, blocks.fan_in)


def _coordinates(columns: Sequence[int], units: IndexArray, shift: int) -> IndexArray:
    """`apply_array(columns, units ^ shift)`, faster where units follow their own number linearly over GF(2)."""
    bits = (len(units) - 1).bit_length()
    corners = units[[0, *(1 << k for k in range(bits))]] if len(units) == 1 << bits else units[:0]
    moves = corners[1:] ^ corners[:1]
    if corners.size and np.array_equal(span_array(moves.tolist(), int(corners[0])), units):
        return span_array(apply_array(columns, moves).tolist(), apply(columns, int(corners[0]) ^ shift))
    return apply_array(columns, units ^ shift)


@dataclass(frozen=True)
class Shape:
    """How one window is cut: `destinations` of a block in a register tile, `sources` in a basic block.

    Tables and weights lie one after another, each aligned: first units of the blocks' sources and destinations,
    XOR differences of the pieces of sources and of the tiles of destinations, weights [block][tile][source][d].
    """

    blocks: Blocks
    destinations: int
    sources: int
    kind: WeightType

    @property
    def pieces(self) -> int:
        """Pieces the sources of a block are cut into."""
        return self.blocks.fan_in // self.sources

    @property
    def tiles(self) -> int:
        """Register tiles over the destinations of a block."""
        return self.blocks.fan_out // self.destinations

    @property
    def tile_bytes(self) -> int:
        """Bytes of the weights of one register tile."""
        return element_bytes(self.kind) * padded_row(self.destinations, self.kind) * self.blocks.fan_in

    @property
    def offsets(self) -> tuple[int, ...]:
        """Where the four tables and the weights start, and where all ends."""
        sizes = (self.blocks.count, self.blocks.count, self.pieces, self.tiles)
        starts = [0]
        for size in sizes:
            starts.append(starts[-1] + round_up(4 * size))
        return (*starts, starts[-1] + round_up(self.tile_bytes * self.tiles * self.blocks.count))


def shapes_of(step: Step, machine: Machine) -> list[Shape]:
    """The shape of every window of a step."""
    most = most_destinations(machine)
    shapes = list[Shape]()
    for window in step.junction.blocks:
        destinations = min(window.fan_out, step.option("destinations", most))
        sources = min(window.fan_in, step.option("sources", UNROLLED // (2 * destinations)))
        shapes.append(Shape(window, destinations, sources, step.weight_type))
    return shapes


def most_destinations(machine: Machine) -> int:
    """Destinations in a register tile at most."""
    return 8 if machine.registers >= 32 else 4


def covers(blocks: Blocks, n_dst: int) -> bool:
    """Whether every destination has a block in this window."""
    return blocks.count * blocks.fan_out == n_dst


@dataclass(frozen=True)
class ColumnBlocks:
    """Dense blocks at XOR addresses, lanes over samples."""

    name: ClassVar[str] = "column-blocks"
    family: ClassVar[Family] = "column"
    tiles: ClassVar[tuple[TileOption, ...]] = (
        TileOption("destinations", 16, True, "destinations of a block in a register tile"),
        TileOption("sources", 128, True, "sources of a block unrolled in a loop"),
    )

    def tile(self, step: Step, machine: Machine) -> Tiles:
        """As many destinations as registers hold beside their sources, and sources for a body of moderate length."""
        windows = step.junction.blocks
        destinations = min(most_destinations(machine), max(window.fan_out for window in windows))
        sources = min(UNROLLED // (2 * destinations), max(window.fan_in for window in windows))
        return ("destinations", destinations), ("sources", sources)

    def refusal(self, junction: Junction, machine: Machine) -> str:
        """Why the form cannot compute this junction, or an empty string."""
        if junction.kind != "paths":
            return f"it computes paths, not a {junction.kind} junction"
        if not junction.blocks:
            return "the paths form no dense blocks: the generator is not linear or a size is no power of two"
        return ""

    def cycles(self, step: Step, machine: Machine, samples: int) -> float:
        """Estimated clock cycles for a tile of `samples` columns."""
        total = vecmath.cycles(step.activation) * step.junction.n_dst * samples / machine.width
        for shape in shapes_of(step, machine):
            total += window_cycles(shape, tile(machine, samples, vectors_beside(machine, shape.destinations)))
        return total

    def pack(self, step: Step, machine: Machine, weights: Mapping[str, NDArray[np.float32]]) -> Bytes:
        """Tables and weights of every window; see `Shape`."""
        junction = step.junction
        parts = list[Bytes]()
        for shape in shapes_of(step, machine):
            blocks = shape.blocks
            dense = block_weights(blocks, junction, weights[junction.tensor])
            tables = (
                span_array(blocks.src_reps, blocks.src_shift),
                span_array(blocks.dst_reps, blocks.dst_shift),
                span_array(blocks.src_basis)[:: shape.sources],
                span_array(blocks.dst_basis)[:: shape.destinations],
            )
            parts.extend(table.astype(np.uint32).view(np.uint8) for table in tables)
            parts.append(encode(packed_tiles(dense, shape.destinations, shape.kind), shape.kind))
        return aligned(*parts)

    def emit(self, step: Step, name: str, machine: Machine, samples: int) -> Sequence[Function]:
        """The kernel called `name` for `samples` columns."""
        f = Function(name, parameters(step))
        shapes = shapes_of(step, machine)
        n_dst = step.junction.n_dst
        first, last = covers(shapes[0].blocks, n_dst), covers(shapes[-1].blocks, n_dst)
        if not first and step.init != "add":
            every_unit(f, ends(tile(machine, samples, 4), step)[1], n_dst, Finish(step.init, None))
        at = 0
        for number, shape in enumerate(shapes):
            finish = Finish(
                step.init if number == 0 and first else "add",
                step.activation if number == len(shapes) - 1 and last else None,
            )
            t = tile(machine, samples, vectors_beside(machine, shape.destinations))
            write_window(f, ends(t, step), shape, byte_offset(f, "%weights", at), finish)
            at += shape.offsets[-1]
        if not last and step.activation is not None:
            every_unit(f, ends(tile(machine, samples, 4), step)[1], n_dst, Finish("add", step.activation))
        return [f]


def vectors_beside(machine: Machine, destinations: int) -> int:
    """Vectors of columns in a register tile of so many destinations.

    With 32 registers one vector is best from four destinations on: every product then takes its weight straight
    from memory as a broadcast operand, and no register holds it. With 16 the source is what gets reused.
    """
    return max(1, min(4, (4 if machine.registers >= 32 else 8) // destinations))


def packed_tiles(dense: NDArray[np.float32], destinations: int, kind: WeightType) -> NDArray[np.float32]:
    """[block, destination, source] as [block][tile][source][destination of the tile], rows padded as bf16 wants."""
    blocks, fan_out, fan_in = dense.shape
    tiled = dense.reshape(blocks, fan_out // destinations, destinations, fan_in).transpose(0, 1, 3, 2)
    more = padded_row(destinations, kind) - destinations
    return np.pad(tiled, ((0, 0), (0, 0), (0, 0), (0, more))) if more else tiled


def every_unit(f: Function, t: Tile, units: int, finish: Finish) -> None:
    """Write a loop that starts, or finishes, every unit of the destination without any product."""
    with repeat(f, units) as unit:
        number = f.op("add", I64, str(unit), "0")
        addresses = unit_addresses(f, t, "%dst", number, [0])
        with column_groups(f, t) as column:
            (address,) = addresses(column)
            store_vectors(f, t, finish.end(f, t, finish.start(f, t, number, address)), address)


def write_window(f: Function, tiles: tuple[Tile, Tile], shape: Shape, data: str, finish: Finish) -> None:
    """Write the loops over blocks, tiles of destinations, groups of columns and pieces of sources."""
    blocks, (_, t) = shape.blocks, tiles
    first_src, first_dst, pieces, parts, weights, _ = (byte_offset(f, data, at) for at in shape.offsets)
    steps = [int(d) for d in span_array(blocks.dst_basis[: shape.destinations.bit_length() - 1])]
    with repeat(f, blocks.count) as block:
        src = table_entry(f, first_src, block)
        dst = table_entry(f, first_dst, block)
        with repeat(f, shape.tiles) as number:
            unit = dst
            if shape.tiles > 1:
                unit = f.op("xor", I64, dst, table_entry(f, parts, number))
            packed = weights
            if blocks.count * shape.tiles > 1:
                row = f.op("mul", I64, str(block), str(shape.tiles), "nuw nsw")
                row = f.op("add", I64, row, str(number), "nuw nsw")
                packed = byte_offset(f, weights, f.op("mul", I64, row, str(shape.tile_bytes), "nuw nsw"))
            targets = unit_addresses(f, t, "%dst", unit, steps)
            through = _through_sources(f, tiles[0], shape, src, (pieces, packed))
            with column_groups(f, t) as column:
                units = [f.op("xor", I64, unit, str(d)) if finish.init == "bias" else "" for d in steps]
                addresses = targets(column)
                sums = [finish.start(f, t, u, address) for u, address in zip(units, addresses, strict=True)]
                for values, address in zip(through(column, sums), addresses, strict=True):
                    store_vectors(f, t, finish.end(f, t, values), address)


def _through_sources(
    f: Function, t: Tile, shape: Shape, src: str, data: tuple[str, str]
) -> Callable[[str | int, list[list[str]]], list[list[str]]]:
    """What writes the sums over all sources of a block, at a column: a loop over pieces if there is more than one."""
    steps = [int(s) for s in span_array(shape.blocks.src_basis[: shape.sources.bit_length() - 1])]
    pieces, packed = data
    if shape.pieces == 1:
        sources = unit_addresses(f, t, "%src", src, steps)
        return lambda column, sums: products(f, t, sums, sources(column), (packed, shape.kind))
    size = shape.tile_bytes // shape.pieces

    def through(column: str | int, sums: list[list[str]]) -> list[list[str]]:
        carried = [(t.kind, value) for line in sums for value in line]
        with f.loop(shape.pieces, carried) as loop:
            unit = f.op("xor", I64, src, table_entry(f, pieces, loop.index))
            row = byte_offset(f, packed, f.op("mul", I64, loop.index, str(size), "nuw nsw"))
            before = [loop.carried[d * t.vectors : (d + 1) * t.vectors] for d in range(shape.destinations)]
            after = products(f, t, before, unit_addresses(f, t, "%src", unit, steps)(column), (row, shape.kind))
            loop.following = [value for line in after for value in line]
        return [loop.results[d * t.vectors : (d + 1) * t.vectors] for d in range(shape.destinations)]

    return through


def window_cycles(shape: Shape, t: Tile) -> float:
    """Estimated clock cycles of one window for a tile of columns.

    A multiply-add takes one; sums that are too few wait for each other, and loads of sources that meet few
    destinations take more than the products.
    """
    blocks, width = shape.blocks, shape.destinations
    each = max(1.0, LATENCY / (width * t.vectors), 0.5 + 1.0 / width)
    per_round = each * blocks.fan_in * width + 1.0 * width
    return blocks.count * shape.tiles * (per_round * t.vectors * t.groups + 2.0)
