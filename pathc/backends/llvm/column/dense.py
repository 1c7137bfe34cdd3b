"""Every source to every destination: dense junctions, and paths that are nearly all there are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import expm1
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from pathc.backends.llvm import vecmath
from pathc.backends.llvm.column.blocks import most_destinations, vectors_beside
from pathc.backends.llvm.column.common import (
    LATENCY,
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
    store_vectors,
    tile,
)
from pathc.backends.llvm.emit import I64, Function
from pathc.backends.llvm.general.edges import distinct_edges
from pathc.backends.llvm.machine import Machine
from pathc.backends.llvm.plan import Family, Junction, Step

_THINNEST = 0.4
_SOURCES = 16


class ColumnDense:
    """A dense matrix, lanes over samples. Paths become one when they fill most of it.

    What no path connects then has weight zero, so an infinite or undefined source makes every destination
    undefined, not only those it has a path to.
    """

    name: ClassVar[str] = "column-dense"
    family: ClassVar[Family] = "column"

    def refusal(self, junction: Junction, machine: Machine) -> str:
        """Why the form cannot compute this junction, or an empty string."""
        if junction.kind == "skip":
            return "a skip has no weights"
        if junction.kind == "paths" and expected_edges(junction) < _THINNEST * junction.n_src * junction.n_dst:
            return "the paths fill only a small part of the matrix"
        return ""

    def cycles(self, step: Step, machine: Machine, samples: int) -> float:
        """Estimated clock cycles for a tile of `samples` columns."""
        junction = step.junction
        rounds = samples / machine.width
        width, _, _ = tiles_of(junction.n_dst, machine)
        sums = width * tile(machine, samples, _vectors(machine, width)).vectors
        each = max(1.02, LATENCY / sums)
        return rounds * junction.n_dst * (each * junction.n_src + 5.0 + vecmath.cycles(step.activation))

    def pack(self, step: Step, machine: Machine, weights: Mapping[str, NDArray[np.float32]]) -> Bytes:
        """Weights as [tile of destinations][source][destination]; the last tile may be narrower."""
        junction, kind = step.junction, step.weight_type
        matrix = dense_matrix(junction, weights[junction.tensor])
        width, whole, rest = tiles_of(junction.n_dst, machine)
        full = matrix[: whole * width].reshape(whole, width, junction.n_src).transpose(0, 2, 1)
        last = matrix[whole * width :].T
        more = padded_row(width, kind) - width, padded_row(rest, kind) - rest
        full = np.pad(full, ((0, 0), (0, 0), (0, more[0])))
        last = np.pad(last, ((0, 0), (0, more[1])))
        return aligned(np.concatenate((encode(full, kind), encode(last, kind))))

    def emit(self, step: Step, name: str, machine: Machine, samples: int) -> Sequence[Function]:
        """The kernel called `name` for `samples` columns."""
        f = Function(name, parameters(step))
        width, whole, rest = tiles_of(step.junction.n_dst, machine)
        size = element_bytes(step.weight_type) * step.junction.n_src * padded_row(width, step.weight_type)
        t = tile(machine, samples, _vectors(machine, width))
        with repeat(f, whole) as number:
            packed = byte_offset(f, "%weights", f.op("mul", I64, str(number), str(size), "nuw nsw"))
            _write_tile(f, t, step, f.op("mul", I64, str(number), str(width), "nuw nsw"), width, packed)
        if rest:
            t = tile(machine, samples, _vectors(machine, rest))
            _write_tile(f, t, step, str(whole * width), rest, byte_offset(f, "%weights", whole * size))
        return [f]


def expected_edges(junction: Junction) -> float:
    """How many distinct edges paths have: exactly if they lie in blocks, else as if balanced at random."""
    cells = junction.n_src * junction.n_dst
    if junction.blocks:
        return float(sum(1 << window.rank for window in junction.blocks))
    return -cells * expm1(-junction.count / cells)


def dense_matrix(junction: Junction, weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """The weights as [destination, source], repeated edges added, zero where there is none."""
    if junction.kind == "dense":
        return np.asarray(weights, dtype=np.float32).reshape(junction.n_dst, junction.n_src)
    edges = distinct_edges(junction)
    matrix = np.zeros((junction.n_dst, junction.n_src), np.float32)
    matrix[edges.dst, edges.src] = edges.sums(weights)
    return matrix


def tiles_of(n_dst: int, machine: Machine) -> tuple[int, int, int]:
    """Destinations in a tile, how many such tiles there are, destinations in the narrower last one (or none)."""
    count = -(-n_dst // most_destinations(machine))
    width = -(-n_dst // count)
    return width, n_dst // width, n_dst % width


def _vectors(machine: Machine, width: int) -> int:
    """Vectors of columns beside so many destinations.

    Where two multiply-adds start in a clock, a load of its own for each would hold them up: weights serve several.
    """
    return max(vectors_beside(machine, width), min(4, 16 // width) if machine.dual else 1)


def _write_tile(f: Function, t: Tile, step: Step, first: str, width: int, packed: str) -> None:
    """Write `width` destinations from unit `first` on, all columns."""
    n_src, kind = step.junction.n_src, step.weight_type
    finish = Finish(step.init, step.activation)
    row = element_bytes(kind) * padded_row(width, kind)
    src, dst = ends(t, step)
    to_pitch, from_pitch = dst.pitch or str(t.stride), src.pitch or str(t.stride)
    start = byte_offset(f, "%dst", f.op("mul", I64, first, to_pitch, "nuw nsw"))
    targets = [byte_offset(f, start, _times(f, d, dst)) for d in range(width)]
    apart = [_times(f, s, src) for s in range(min(_SOURCES, n_src))]
    with column_groups(f, t) as column:
        addresses = [byte_offset(f, target, column) for target in targets]
        units = [f.op("add", I64, first, str(d), "nuw nsw") for d in range(width)]
        sums = [finish.start(f, dst, unit, address) for unit, address in zip(units, addresses, strict=True)]
        source = byte_offset(f, "%src", column)

        def some(at: str, data: str, count: int, before: list[list[str]]) -> list[list[str]]:
            return products(f, src, before, [byte_offset(f, at, offset) for offset in apart[:count]], (data, kind))

        whole, rest = divmod(n_src, _SOURCES)
        if whole:
            carried = [("ptr", source), ("ptr", packed), *((t.kind, value) for line in sums for value in line)]
            with f.loop(whole, carried) as loop:
                at, data, *values = loop.carried
                after = some(at, data, _SOURCES, _folded(values, t.vectors))
                onward = f.op("mul", I64, from_pitch, str(_SOURCES), "nuw nsw")
                ahead = byte_offset(f, at, onward), byte_offset(f, data, _SOURCES * row)
                loop.following = [*ahead, *(value for line in after for value in line)]
            source, packed, *values = loop.results
            sums = _folded(values, t.vectors)
        if rest:
            sums = some(source, packed, rest, sums)
        for values, address in zip(sums, addresses, strict=True):
            store_vectors(f, dst, finish.end(f, dst, values), address)


def _times(f: Function, units: int, t: Tile) -> str | int:
    """Bytes of so many units."""
    return f.op("mul", I64, t.pitch, str(units), "nuw nsw") if t.pitch and units else units * t.stride


def _folded(values: Sequence[str], vectors: int) -> list[list[str]]:
    return [list(values[at : at + vectors]) for at in range(0, len(values), vectors)]
