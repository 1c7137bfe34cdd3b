"""Dense matrices times a vector: dense junctions, and paths that fill their junction nearly.

Wide: lanes are destinations, every source goes to all lanes. Narrow: lanes are sources, and the sums
of a vector's worth of destinations are folded together in the end. A paths junction computed this way multiplies
edges it does not have by zero: a NaN or an infinity in a source then reaches every destination.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from pathc.backends.llvm import vecmath
from pathc.backends.llvm.column.common import PARAMETERS, Bytes, aligned, byte_offset, element_bytes, encode
from pathc.backends.llvm.emit import F32, I64, Function, vector
from pathc.backends.llvm.general.edges import Floats
from pathc.backends.llvm.general.rows import clear_behind, each_row, finish, load_units, row, store_sums
from pathc.backends.llvm.machine import Machine
from pathc.backends.llvm.plan import Family, Junction, Step

_CELLS = 1 << 26
_UNROLLED = 4
_FOLDED = 30.0


@dataclass(frozen=True)
class Dense:
    """A dense matrix times one to four vectors."""

    name: ClassVar[str] = "dense"
    family: ClassVar[Family] = "row"

    def refusal(self, junction: Junction, machine: Machine) -> str:
        """Why the form cannot compute this junction, or an empty string."""
        if junction.kind == "skip":
            return "it computes matrices, not a skip"
        if junction.kind == "paths" and junction.n_src * junction.n_dst > _CELLS:
            return f"the matrix would have more than {_CELLS} entries"
        return ""

    def cycles(self, step: Step, machine: Machine, samples: int) -> float:
        """Estimated clock cycles for `samples` rows."""
        junction = step.junction
        lanes = machine.width
        matrix = junction.n_src * junction.n_dst * element_bytes(step.weight_type)
        rate = 64.0 if matrix <= machine.l1 else 31.0 if matrix <= machine.l2 else 26.0
        streamed = matrix / (rate if matrix <= machine.l3 else 8.0)
        each = (1.05 if lanes == 16 else 0.6 if machine.fma else 1.1) * (1.3 if step.weight_type == "bf16" else 1.0)
        if is_narrow(junction, lanes):
            folds = -(-junction.n_dst // lanes)
            work = each * -(-junction.n_src // lanes) * junction.n_dst + _FOLDED * lanes / 16 * folds
            return samples * (20.0 + max(work, streamed))
        vectors = -(-junction.n_dst // lanes)
        work = each * vectors * junction.n_src * samples
        return 20.0 + max(work, streamed) + samples * vectors * (3.0 + vecmath.cycles(step.activation))

    def pack(self, step: Step, machine: Machine, weights: Mapping[str, NDArray[np.float32]]) -> Bytes:
        """Wide: [tile][source][destination of the tile]; narrow: [vector of sources][destination][source]."""
        junction, lanes = step.junction, machine.width
        matrix = matrix_of(junction, weights[junction.tensor])
        pairs = step.weight_type == "bf16"
        if is_narrow(junction, lanes):
            blocks, rows = -(-junction.n_src // lanes), junction.n_dst + (junction.n_dst % 2 if pairs else 0)
            padded = np.zeros((rows, blocks * lanes), np.float32)
            padded[: junction.n_dst, : junction.n_src] = matrix
            parts = [
                _paired(padded[first : first + lanes].reshape(-1, blocks, lanes).transpose(1, 0, 2), pairs)
                for first in range(0, rows, lanes)
            ]
            return aligned(*parts)
        vectors, sources = -(-junction.n_dst // lanes), junction.n_src + (junction.n_src % 2 if pairs else 0)
        padded = np.zeros((sources, vectors * lanes), np.float32)
        padded[: junction.n_src, : junction.n_dst] = matrix.T
        width = lanes * tile_vectors(vectors, _most(machine, 1))
        parts = [_paired(padded[:, first : first + width], pairs) for first in range(0, vectors * lanes, width)]
        return np.concatenate(parts)

    def emit(self, step: Step, name: str, machine: Machine, samples: int) -> Sequence[Function]:
        """The kernel called `name` for `samples` rows."""
        f = Function(name, PARAMETERS)
        if is_narrow(step.junction, machine.width):
            with each_row(f, step, samples) as (src, dst):
                _narrow(f, step, machine, src, dst)
            return [f]
        at_once = max(
            1, min(samples, machine.registers // 2 // tile_vectors(_vectors(step, machine), _most(machine, 1)))
        )
        for first in range(0, samples, at_once):
            _wide(f, step, machine, range(first, min(first + at_once, samples)))
        return [f]


def is_narrow(junction: Junction, lanes: int) -> bool:
    """Whether lanes over sources need fewer operations than lanes over destinations."""
    if junction.n_dst > 4 * lanes:
        return False
    folds = _FOLDED * lanes / 16 * -(-junction.n_dst // lanes)
    return junction.n_dst * -(-junction.n_src // lanes) + folds < -(-junction.n_dst // lanes) * junction.n_src


def matrix_of(junction: Junction, weights: Floats) -> Floats:
    """The weights as a matrix [n_dst, n_src]; those of repeated edges added in float64, rounded once."""
    if junction.kind == "dense":
        return np.asarray(weights, np.float32).reshape(junction.n_dst, junction.n_src)
    src, dst = junction.edges()
    flat = np.asarray(weights, np.float64).reshape(-1)
    cells = junction.n_src * junction.n_dst
    return np.bincount(dst * junction.n_src + src, flat, cells).astype(np.float32).reshape(junction.n_dst, -1)


def tile_vectors(vectors: int, most: int) -> int:
    """Vectors of destinations in a tile, so that tiles are about equal."""
    tiles = -(-vectors // most)
    return -(-vectors // tiles)


def _most(machine: Machine, rows: int) -> int:
    return max(1, (8 if machine.registers >= 32 else 6) // rows)


def _vectors(step: Step, machine: Machine) -> int:
    return -(-step.junction.n_dst // machine.width)


def _paired(values: Floats, pairs: bool) -> Bytes:
    """Bytes of weights; bf16 of two neighbours along the axis before the last share a word."""
    if not pairs:
        return np.ascontiguousarray(values).view(np.uint8).reshape(-1)
    halves = encode(values, "bf16").view(np.uint16).reshape(-1, 2, values.shape[-1])
    return np.ascontiguousarray(halves.transpose(0, 2, 1)).view(np.uint8).reshape(-1)


def _weight_rows(f: Function, step: Step, lanes: int, pointer: str, rows: int, vectors: int) -> list[list[str]]:
    """Weights [rows][vectors] from packed rows of `vectors` vectors; for bf16 from an even row on."""
    kind, whole = vector(lanes), vector(lanes, "i32")
    if step.weight_type == "f32":
        at = [[byte_offset(f, pointer, 4 * lanes * (r * vectors + v)) for v in range(vectors)] for r in range(rows)]
        return [[f.load(kind, p, 4 * lanes) for p in line] for line in at]
    result = list[list[str]]()
    for pair in range(0, rows, 2):
        words = [
            f.load(whole, byte_offset(f, pointer, 4 * lanes * (pair // 2 * vectors + v)), 4 * lanes)
            for v in range(vectors)
        ]
        low = [f.op("shl", whole, word, "splat (i32 16)") for word in words]
        high = [f.op("and", whole, word, "splat (i32 -65536)") for word in words]
        result += [[f.assign(f"bitcast {whole} {bits} to {kind}") for bits in half] for half in (low, high)]
    return result[:rows]


def _wide(f: Function, step: Step, machine: Machine, rows: range) -> None:
    """All tiles of destinations for some rows."""
    lanes, junction = machine.width, step.junction
    vectors = _vectors(step, machine)
    width = tile_vectors(vectors, _most(machine, 1))
    sources = junction.n_src + (junction.n_src % 2 if step.weight_type == "bf16" else 0)
    tile_bytes = sources * width * lanes * element_bytes(step.weight_type)
    src = [row(f, "%src", r, step.src_layout.size) for r in rows]
    dst = [row(f, "%dst", r, step.dst_layout.size) for r in rows]
    whole = (vectors - 1) // width
    if whole:
        with f.loop(whole) as loop:
            pointer = byte_offset(f, "%weights", f.op("mul", I64, loop.index, str(tile_bytes), "nuw nsw"))
            sums = _wide_tile(f, step, lanes, src, pointer, width)
            start = f.op("mul", I64, loop.index, str(width * lanes), "nuw nsw")
            for to, line in zip(dst, sums, strict=True):
                here, add = f.offset(to, start), f.offset("%bias", start)
                for v, value in enumerate(line):
                    place = f.offset(here, v * lanes)
                    done = finish(f, step, machine, lanes, value, place, f.offset(add, v * lanes))
                    f.store(vector(lanes), done, place, 4 * lanes)
    pointer = byte_offset(f, "%weights", whole * tile_bytes)
    sums = _wide_tile(f, step, lanes, src, pointer, vectors - whole * width)
    for to, line in zip(dst, sums, strict=True):
        for v, value in enumerate(line):
            store_sums(f, step, machine, lanes, value, (whole * width + v) * lanes, to)
        clear_behind(f, lanes, to, vectors * lanes, step.dst_layout.size)


def _wide_tile(f: Function, step: Step, lanes: int, src: list[str], pointer: str, width: int) -> list[list[str]]:
    """Sums [row][vector] of one tile; few sums are kept several times, so that additions overlap."""
    kind, n_src = vector(lanes), step.junction.n_src
    copies = 1 if len(src) * width >= 4 else 2 if len(src) * width >= 2 else 4
    source_bytes = width * lanes * element_bytes(step.weight_type)
    total = len(src) * copies * width

    def add(sums: list[str], first: str | int, count: int) -> list[str]:
        offset = first * source_bytes if isinstance(first, int) else f.op("mul", I64, first, str(source_bytes))
        weights = _weight_rows(f, step, lanes, byte_offset(f, pointer, offset), count, width)
        result = list(sums)
        for s in range(count):
            for r, line in enumerate(src):
                value = f.broadcast(lanes, f.load(F32, f.offset(f.offset(line, first), s)))
                for v in range(width):
                    k = (r * copies + s % copies) * width + v
                    result[k] = f.fma(lanes, value, weights[s][v], result[k])
        return result

    sums = ["zeroinitializer"] * total
    many = n_src // _UNROLLED * _UNROLLED
    if many:
        with f.loop(many, [(kind, value) for value in sums], step=_UNROLLED) as loop:
            loop.following = add(loop.carried, loop.index, _UNROLLED)
        sums = loop.results
    if many < n_src:
        sums = add(sums, many, n_src - many)
    result = list[list[str]]()
    for r in range(len(src)):
        line = sums[r * copies * width : (r * copies + 1) * width]
        for c in range(1, copies):
            other = sums[(r * copies + c) * width : (r * copies + c + 1) * width]
            line = [f.op("fadd", kind, a, b) for a, b in zip(line, other, strict=True)]
        result.append(line)
    return result


def _narrow(f: Function, step: Step, machine: Machine, src: str, dst: str) -> None:
    """Destinations a vector's worth at a time, lanes over sources."""
    lanes, junction = machine.width, step.junction
    kind = vector(lanes)
    whole, blocks = junction.n_src // lanes, -(-junction.n_src // lanes)
    pairs = step.weight_type == "bf16"
    start = 0
    for first in range(0, junction.n_dst, lanes):
        rows = min(lanes, junction.n_dst - first)
        block_bytes = (rows + (rows % 2 if pairs else 0)) * lanes * element_bytes(step.weight_type)
        pointer = byte_offset(f, "%weights", start)
        start += -(-blocks * block_bytes // 64) * 64
        sums = ["zeroinitializer"] * rows
        if whole:
            with f.loop(whole, [(kind, value) for value in sums]) as loop:
                at = byte_offset(f, pointer, f.op("mul", I64, loop.index, str(block_bytes), "nuw nsw"))
                offset = f.op("mul", I64, loop.index, str(lanes), "nuw nsw")
                value = f.load(kind, f.offset(src, offset))
                weights = _weight_rows(f, step, lanes, at, rows, 1)
                loop.following = [f.fma(lanes, value, w[0], a) for w, a in zip(weights, loop.carried, strict=True)]
            sums = loop.results
        if whole < blocks:
            value = load_units(f, lanes, src, whole * lanes, junction.n_src)
            weights = _weight_rows(f, step, lanes, byte_offset(f, pointer, whole * block_bytes), rows, 1)
            sums = [f.fma(lanes, value, w[0], a) for w, a in zip(weights, sums, strict=True)]
        store_sums(f, step, machine, lanes, folded(f, lanes, sums), first, dst)
    clear_behind(f, lanes, dst, -(-junction.n_dst // lanes) * lanes, step.dst_layout.size)


def folded(f: Function, lanes: int, vectors: Sequence[str]) -> str:
    """The vector whose lane k is the sum of the lanes of `vectors[k]`; zero where there is none.

    Every round adds the two halves of two vectors at a time: first within quarters of four lanes, which are the
    cheapest to shuffle, then quarters themselves.
    """
    values = list(vectors)
    for low, high in fold_masks(lanes):
        pairs = [
            (values[k], values[k + 1] if k + 1 < len(values) else "zeroinitializer") for k in range(0, len(values), 2)
        ]
        halves = [(f.shuffle(lanes, a, b, low), f.shuffle(lanes, a, b, high)) for a, b in pairs]
        values = [f.op("fadd", vector(lanes), a, b) for a, b in halves]
    return values[0]


def fold_masks(lanes: int) -> list[tuple[list[int], list[int]]]:
    """Shuffle masks of the rounds of `folded`: of two vectors, the lanes that are added to each other."""
    starts, other = range(0, lanes, 4), lanes
    inner = [
        ([q + i for q in starts for i in low], [q + i for q in starts for i in high])
        for low, high in (
            ((0, other, 1, other + 1), (2, other + 2, 3, other + 3)),
            ((0, 1, other, other + 1), (2, 3, other + 2, other + 3)),
        )
    ]
    if lanes == 4:
        return inner
    quarters = len(starts)
    if lanes == 8:
        return [*inner, (_quarters((0, 2)), _quarters((1, 3)))]
    return [
        *inner,
        (_quarters((0, 1, quarters, quarters + 1)), _quarters((2, 3, quarters + 2, quarters + 3))),
        (_quarters((0, 2, quarters, quarters + 2)), _quarters((1, 3, quarters + 1, quarters + 3))),
    ]


def _quarters(chosen: Sequence[int]) -> list[int]:
    return [4 * q + i for q in chosen for i in range(4)]
