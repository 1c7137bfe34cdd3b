"""Any edges, any sizes: rows of equal length, several in lockstep, walk through their sources.

Edges that repeat are added up. Rows (destinations) are sorted by length and taken `LOCKSTEP` at a time; a row that
is shorter than the longest of its set is filled up by cutting one of its own weights into pieces, so that no
product appears that the junction does not have: infinities and NaN stay where they belong.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from pathc.backends.llvm import vecmath
from pathc.backends.llvm.column.common import (
    Bytes,
    Finish,
    Tile,
    aligned,
    broadcast_weights,
    byte_offset,
    column_groups,
    element_bytes,
    encode,
    ends,
    load_vectors,
    outgrown,
    parameters,
    place,
    round_up,
    store_vectors,
    table_entry,
    tile,
    unit_address,
    when_positive,
)
from pathc.backends.llvm.column.dense import expected_edges
from pathc.backends.llvm.emit import I64, Function
from pathc.backends.llvm.general.edges import Distinct, distinct_edges
from pathc.backends.llvm.machine import Machine
from pathc.backends.llvm.plan import Family, Junction, Step, TileOption, Tiles
from pathc.ir.gf2 import IndexArray

LOCKSTEP = 4
VECTORS = 2
"""Vectors of columns in a register tile: eight sums in flight, and every weight and index is used twice."""

_HEADER = 4
_MOST_PIECES = 16
_AGAIN = 4.0
"""Clock cycles to store a vector of sums and to load it for the next piece."""


@dataclass(frozen=True)
class Sliced:
    """Rows in lockstep: sets of LOCKSTEP rows, those without any edge first, then by length.

    `rows` [sets, LOCKSTEP]; `empty` sets have no edge; `runs` [n, 2] are lengths and how many sets have them;
    `index` and `weights` [steps, LOCKSTEP] are sources and weights, set after set. A set that rows do not fill
    repeats its last row.
    """

    rows: IndexArray
    empty: int
    runs: IndexArray
    index: IndexArray
    weights: NDArray[np.float32]


def sliced(edges: Distinct, weights: NDArray[np.float32]) -> Sliced:
    """Distinct edges with a weight each, as rows in lockstep."""
    lengths = edges.lengths
    order = np.argsort(lengths, kind="stable")
    without = _filled(order[lengths[order] == 0])
    rows = _filled(order[lengths[order] > 0])
    longest = lengths[rows].max(axis=1, initial=0)
    first = np.concatenate(([0], np.cumsum(longest)[:-1])).astype(np.int64)[: len(rows)]
    flat, lane = rows.reshape(-1), np.tile(np.arange(LOCKSTEP), len(rows))
    own: IndexArray = lengths[flat]
    target: IndexArray = np.repeat(longest, LOCKSTEP)
    step: IndexArray = np.arange(int(target.sum())) - np.repeat(np.cumsum(target) - target, target)
    last: IndexArray = np.repeat(own - 1, target)
    edge = np.repeat(edges.start[flat], target) + np.minimum(step, last)
    pieces: IndexArray = np.repeat(target - own + 1, target)
    parts = 1 << np.ceil(np.log2(pieces)).astype(np.int64)
    double = step - last < parts - pieces
    scale = np.where(step < last, 1.0, np.where(double, 2.0, 1.0) / parts)
    steps = int(longest.sum())
    index = np.zeros((steps, LOCKSTEP), np.int64)
    values = np.zeros((steps, LOCKSTEP), np.float32)
    at = np.repeat(np.repeat(first, LOCKSTEP), target) + step, np.repeat(lane, target)
    index[at] = edges.src[edge]
    values[at] = weights[edge] * scale.astype(np.float32)
    kinds, counts = np.unique(longest, return_counts=True)
    return Sliced(np.concatenate((without, rows)), len(without), np.stack((kinds, counts), axis=1), index, values)


def _filled(rows: IndexArray) -> IndexArray:
    """Rows as sets of LOCKSTEP, the last one repeated where the last set is not full."""
    more = -len(rows) % LOCKSTEP
    return np.concatenate((rows, np.repeat(rows[-1:], more))).reshape(-1, LOCKSTEP)


@dataclass(frozen=True)
class ColumnEll:
    """Rows of equal length in lockstep through any edges, lanes over samples."""

    name: ClassVar[str] = "column-ell"
    family: ClassVar[Family] = "column"
    tiles: ClassVar[tuple[TileOption, ...]] = (
        TileOption("vectors", 8, False, "vectors of columns in a register tile, at most"),
        TileOption("pieces", _MOST_PIECES, False, "pieces of the sources, one after another"),
    )

    def tile(self, step: Step, machine: Machine) -> Tiles:
        """Eight sums in flight; as many pieces as make the junction cheapest."""
        array = bool(step.src_layout.array)
        costs = [_cost(step.junction, machine, VECTORS, pieces, array) for pieces in range(1, _MOST_PIECES + 1)]
        pieces = costs.index(min(costs)) + 1
        return (("vectors", VECTORS), *((("pieces", pieces),) if pieces > 1 else ()))

    def refusal(self, junction: Junction, machine: Machine) -> str:
        """Why the form cannot compute this junction, or an empty string."""
        return "" if junction.kind == "paths" else f"it computes paths, not a {junction.kind} junction"

    def cycles(self, step: Step, machine: Machine, samples: int) -> float:
        """Estimated clock cycles for a tile of `samples` columns."""
        junction, array = step.junction, bool(step.src_layout.array)
        vectors = min(samples // machine.width, step.option("vectors", VECTORS))
        chosen = step if step.tile else replace(step, tile=self.tile(step, machine))
        pieces = chosen.option("pieces", 1)
        each = _cost(junction, machine, vectors, pieces, array) + vecmath.cycles(step.activation) * junction.n_dst
        return samples / machine.width * each

    def pack(self, step: Step, machine: Machine, weights: Mapping[str, NDArray[np.float32]]) -> Bytes:
        """Header, runs, rows, then steps of LOCKSTEP indices and weights; indices of 16 bits where they suffice."""
        edges = distinct_edges(step.junction)
        values = edges.sums(weights[step.junction.tensor])
        parts = [self._packed(step, *_within(edges, values, units)) for units in _pieces(step)]
        sizes = [round_up(8 * len(parts)), *(part.size for part in parts)]
        starts = np.cumsum(sizes[:-1]).astype(np.uint64)
        return aligned(starts.view(np.uint8), *parts)

    def _packed(self, step: Step, edges: Distinct, values: NDArray[np.float32]) -> Bytes:
        junction = step.junction
        rows = sliced(edges, values)
        dtype = np.uint16 if index_bits(junction) == 16 else np.uint32
        runs = rows.runs.astype(np.uint32).view(np.uint8).reshape(-1)
        listed = rows.rows.astype(dtype).view(np.uint8).reshape(-1)
        count = len(rows.index)
        index = rows.index.astype(dtype).view(np.uint8).reshape(count, LOCKSTEP * dtype().itemsize)
        coded = encode(rows.weights, step.weight_type).reshape(count, LOCKSTEP * element_bytes(step.weight_type))
        steps = np.concatenate((index, coded), axis=1).reshape(-1)
        header = np.zeros(_HEADER, np.uint32)
        at_rows = aligned(header.view(np.uint8), runs).size
        at_steps = at_rows + aligned(listed).size
        header[:] = rows.empty, len(rows.runs), at_rows, at_steps
        return aligned(header.view(np.uint8), runs, listed, steps)

    def emit(self, step: Step, name: str, machine: Machine, samples: int) -> Sequence[Function]:
        """The kernel called `name` for `samples` columns."""
        f = Function(name, parameters(step))
        tiles = ends(tile(machine, samples, step.option("vectors", VECTORS)), step)
        pieces = len(_pieces(step))
        for number in range(pieces):
            start = f.load(I64, byte_offset(f, "%weights", 8 * number), 8)
            init = "add" if number else step.init
            finish = Finish(init, step.activation if number == pieces - 1 else None)
            _piece(f, tiles, step, byte_offset(f, "%weights", start), finish)
        return [f]


def _cost(junction: Junction, machine: Machine, vectors: int, pieces: int, array: bool) -> float:
    """Estimated clock cycles for a vector of samples without activation.

    Units of the user's array lie too far apart, and often a power of two, to stay in the first-level cache.
    """
    held = 4 * -(-junction.n_src // pieces) * machine.width * vectors
    far = 1.0 if array else outgrown(machine, held)
    again = (pieces - 1) * _AGAIN
    rows = -(-junction.n_dst // LOCKSTEP) * LOCKSTEP
    edges = expected_edges(junction) * rows / junction.n_dst
    return (1.3 + 1.25 * far) * edges + (2.2 + again) * junction.n_dst


def _pieces(step: Step) -> list[tuple[int, int]]:
    """First source of every piece and the one behind its last."""
    count, units = min(step.option("pieces", 1), step.junction.n_src), step.junction.n_src
    return [(units * k // count, units * (k + 1) // count) for k in range(count)]


def _within(
    edges: Distinct, values: NDArray[np.float32], units: tuple[int, int]
) -> tuple[Distinct, NDArray[np.float32]]:
    """The edges from some units, with their weights."""
    kept = (edges.src >= units[0]) & (edges.src < units[1])
    if kept.all():
        return edges, values
    before = np.concatenate(([0], np.cumsum(kept)))
    return replace(edges, src=edges.src[kept], start=before[edges.start]), values[kept]


def _piece(f: Function, tiles: tuple[Tile, Tile], step: Step, data: str, finish: Finish) -> None:
    """Write the sums over one piece of the sources."""
    bits = index_bits(step.junction)
    empty, runs, at_rows, at_steps = (table_entry(f, data, k) for k in range(_HEADER))
    rows, steps = byte_offset(f, data, at_rows), byte_offset(f, data, at_steps)
    set_bytes = LOCKSTEP * bits // 8
    if (finish.init, finish.activation) != ("add", None):
        with when_positive(f, empty), f.loop(empty) as loop:
            here = byte_offset(f, rows, f.op("mul", I64, loop.index, str(set_bytes), "nuw nsw"))
            _rows(f, tiles, here, bits, finish, None)
    skipped = f.op("mul", I64, empty, str(set_bytes), "nuw nsw")
    rows = byte_offset(f, rows, skipped)
    step_bytes = LOCKSTEP * (bits // 8 + element_bytes(step.weight_type))
    with when_positive(f, runs), f.loop(runs, [("ptr", rows), ("ptr", steps)]) as outer:
        run = byte_offset(f, data, f.op("add", I64, f.op("shl", I64, outer.index, "3"), "64"))
        length, sets = table_entry(f, run, 0), table_entry(f, run, 1)
        size = f.op("mul", I64, length, str(step_bytes), "nuw nsw")
        with f.loop(sets, [("ptr", name) for name in outer.carried]) as loop:
            here, row = loop.carried
            _rows(f, tiles, here, bits, finish, (row, size, step_bytes, step))
            loop.following = [byte_offset(f, here, set_bytes), byte_offset(f, row, size)]
        outer.following = loop.results


def index_bits(junction: Junction) -> int:
    """Bits of a packed unit number."""
    return 16 if max(junction.n_src, junction.n_dst) <= 1 << 16 else 32


def _rows(
    f: Function, tiles: tuple[Tile, Tile], rows: str, bits: int, finish: Finish, data: tuple[str, str, int, Step] | None
) -> None:
    """Write one set of rows: start, steps through the sources if there are any, end."""
    source, t = tiles
    units = [table_entry(f, rows, lane, bits) for lane in range(LOCKSTEP)]
    with column_groups(f, t) as column:
        addresses = [unit_address(f, t, "%dst", place(f, t, unit, column), 0) for unit in units]
        sums = [finish.start(f, t, unit, to) for unit, to in zip(units, addresses, strict=True)]
        if data is not None:
            sums = _steps(f, source, column, bits, sums, data)
        for values, to in zip(sums, addresses, strict=True):
            store_vectors(f, t, finish.end(f, t, values), to)


def _steps(
    f: Function,
    t: Tile,
    column: str | int,
    bits: int,
    sums: list[list[str]],
    data: tuple[str, str, int, Step],
) -> list[list[str]]:
    """Write the loop over the sources of a set of rows."""
    start, size, step_bytes, step = data
    shape = range(0, LOCKSTEP * t.vectors, t.vectors)
    source = byte_offset(f, "%src", column)
    with f.loop(size, [(t.kind, value) for line in sums for value in line], step=step_bytes) as loop:
        at = byte_offset(f, start, loop.index)
        factors = broadcast_weights(f, t, step.weight_type, byte_offset(f, at, LOCKSTEP * bits // 8), 0, LOCKSTEP)
        following = list[str]()
        for unit, first in zip(_units(f, at, bits), shape, strict=True):
            values = load_vectors(f, t, unit_address(f, t, source, place(f, t, unit, 0), 0))
            before = loop.carried[first : first + t.vectors]
            factor = factors[first // t.vectors]
            following += [f.fma(t.lanes, x, factor, a) for x, a in zip(values, before, strict=True)]
        loop.following = following
    return [loop.results[first : first + t.vectors] for first in shape]


def _units(f: Function, at: str, bits: int) -> list[str]:
    """The unit numbers of a step. Four of 16 bits come in one load, as loads are what the kernel is short of."""
    if bits != 16:
        return [table_entry(f, at, lane, bits) for lane in range(LOCKSTEP)]
    word = f.load(I64, at, 8)
    moved = [word, *(f.op("lshr", I64, word, str(bits * lane)) for lane in range(1, LOCKSTEP))]
    return [*(f.op("and", I64, value, "65535") for value in moved[:-1]), moved[-1]]
