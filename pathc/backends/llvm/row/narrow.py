"""Blocks of layers narrower than a vector: every edge is multiplied once, no edge is invented.

`Dot`: the lanes are sources, sums of lanes that belong to one destination are folded in the end. `Spread`: the
lanes are destinations, the few sources are permuted so that every lane sees its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from pathc.backends.llvm import vecmath
from pathc.backends.llvm.column.common import aligned, element_bytes, round_up
from pathc.backends.llvm.emit import Function, constant, indices, vector
from pathc.backends.llvm.machine import Machine
from pathc.backends.llvm.plan import Family, Junction, Step
from pathc.backends.llvm.row.interleaved import SIGNATURE
from pathc.backends.llvm.row.stream import Offset, Stream, multiply_add, packed_window, position_map
from pathc.backends.llvm.row.weave import Pair, span
from pathc.ir import gf2
from pathc.ir.facts import Blocks

_UNROLL = 6
"""Two to this many vectors of a loop are unrolled."""


@dataclass(frozen=True)
class _Narrow:
    """A window seen from its wide side, in positions.

    `lanes[j]` is the displacement on the narrow side that goes with lane j of the wide side, `classes` pairs of
    (wide, narrow) displacements of whole vectors, `still` the vectors for which nothing changes on the narrow
    side, `rows` the block's own displacements on the narrow side, `first` its position at wide position 0.
    """

    lanes: tuple[int, ...]
    rows: tuple[int, ...]
    classes: tuple[Pair, ...]
    still: tuple[int, ...]
    first: int


class Dot:
    """Few destinations: lanes are sources of dense blocks, folded in the end."""

    name: ClassVar[str] = "dot"
    family: ClassVar[Family] = "row"

    def refusal(self, junction: Junction, machine: Machine) -> str:
        """Why the form cannot compute this junction, or an empty string."""
        if reason := _refusal(junction):
            return reason
        if junction.n_dst >= machine.width or junction.n_src < machine.width:
            return "it is for many sources and fewer destinations than lanes"
        return ""

    def cycles(self, step: Step, machine: Machine, samples: int) -> float:
        """Estimated clock cycles for `samples` rows."""
        folds = 3.0 * step.junction.n_dst + 8.0
        return _cycles(step, machine, samples) + samples * (folds + vecmath.cycles(step.activation))

    def pack(self, step: Step, machine: Machine, weights: Mapping[str, NDArray[np.float32]]) -> NDArray[np.uint8]:
        """Weights by vector of sources, then by row of the block."""
        parts: list[NDArray[np.uint8]] = []
        for blocks in step.junction.blocks:
            seen = _seen(step, machine, blocks, from_src=True)
            order = [(1 << j, d) for j, d in enumerate(seen.lanes)]
            order += [(0, d) for d in seen.rows]
            order += [*seen.classes, *((s, 0) for s in seen.still)]
            parts.append(packed_window(step, machine, blocks, weights, order, (0, seen.first), paired=False))
        return aligned(*parts)

    def emit(self, step: Step, name: str, machine: Machine, samples: int) -> Sequence[Function]:
        """The kernel called `name` for `samples` rows."""
        f, lanes, units = Function(name, SIGNATURE), machine.width, step.junction.n_dst
        kind = vector(lanes)
        for row in range(samples):
            sums, behind = _start(f, step, lanes, row * step.dst_layout.size, 0), 0
            for blocks in step.junction.blocks:
                seen = _seen(step, machine, blocks, from_src=True)
                for value, shift in self._products(f, step, machine, seen, row, behind):
                    place = [seen.first ^ shift ^ gf2.apply(seen.lanes, lane) for lane in range(lanes)]
                    mask = [place.index(u) if u < units and u in place else lanes for u in range(lanes)]
                    part = _picked(f, kind, _folded(f, lanes, value, seen.lanes), mask)
                    sums = f.op("fadd", kind, sums, part)
                behind += _bytes(step, machine, seen)
            sums = vecmath.apply(f, lanes, sums, step.activation, machine)
            sums = _picked(f, kind, sums, [u if u < units else lanes for u in range(lanes)])
            f.store(kind, sums, f.offset("%dst", row * step.dst_layout.size), 4 * lanes)
        return [f]

    def _products(
        self, f: Function, step: Step, machine: Machine, seen: _Narrow, row: int, behind: int
    ) -> list[tuple[str, int]]:
        """Vectors of sums with the narrow displacement each belongs to."""
        lanes = machine.width
        kind = vector(lanes)
        shifts = [c ^ r for c in span(d for _, d in seen.classes) for r in span(seen.rows)]
        most = max(0, _UNROLL - len(seen.classes) - len(seen.rows))
        inner, outer = seen.still[:most], seen.still[most:]
        copies = max(1, min(1 << len(inner), 8 // len(shifts)))
        size = len(shifts) << len(inner)

        def block(index: str | None, sums: list[str]) -> list[str]:
            source = Offset(f, index, outer)
            weights = f.offset("%weights", behind, "i8")
            if index is not None:
                element = "i16" if step.weight_type == "bf16" else "float"
                weights = f.offset(weights, f.op("mul", "i64", index, str(size * lanes)), element)
            stream = Stream(f, lanes, weights, step.weight_type, paired=False)
            slot = 0
            for number, still in enumerate(span(inner)):
                for part, (place, _) in enumerate(_pairs(seen.classes)):
                    value = f.load(kind, source.address("%src", place ^ still, row * step.src_layout.size))
                    for r in range(1 << len(seen.rows)):
                        at = (number % copies) * len(shifts) + (part << len(seen.rows)) + r
                        sums[at] = multiply_add(f, lanes, stream.at(slot), value, sums[at])
                        slot += lanes
            return sums

        zeros = [constant(0.0, lanes)] * (copies * len(shifts))
        if outer:
            with f.loop(1 << len(outer), [(kind, zero) for zero in zeros]) as loop:
                loop.following = block(loop.index, list(loop.carried))
            sums = loop.results
        else:
            sums = block(None, zeros)
        while len(sums) > len(shifts):
            half = len(sums) // 2
            sums = [f.op("fadd", kind, a, b) for a, b in zip(sums[:half], sums[half:], strict=True)]
        return list(zip(sums, shifts, strict=True))


class Spread:
    """Few sources: lanes are destinations of dense blocks, sources are permuted in their one vector."""

    name: ClassVar[str] = "spread"
    family: ClassVar[Family] = "row"

    def refusal(self, junction: Junction, machine: Machine) -> str:
        """Why the form cannot compute this junction, or an empty string."""
        if reason := _refusal(junction):
            return reason
        return "" if junction.n_src < machine.width else "it is for fewer sources than lanes"

    def cycles(self, step: Step, machine: Machine, samples: int) -> float:
        """Estimated clock cycles for `samples` rows."""
        vectors = -(-step.junction.n_dst // machine.width)
        ends = step.junction.n_src + vectors * (1.5 + vecmath.cycles(step.activation))
        return _cycles(step, machine, samples) + samples * ends

    def pack(self, step: Step, machine: Machine, weights: Mapping[str, NDArray[np.float32]]) -> NDArray[np.uint8]:
        """Weights by vector of destinations, then by column of the block."""
        parts: list[NDArray[np.uint8]] = []
        for blocks in step.junction.blocks:
            seen = _seen(step, machine, blocks, from_src=False)
            order = [(s, 1 << j) for j, s in enumerate(seen.lanes)]
            order += [(s, 0) for s in seen.rows]
            order += [*((s, d) for d, s in seen.classes), *((0, d) for d in seen.still)]
            lane_bits = len(seen.lanes)
            parts.append(
                packed_window(step, machine, blocks, weights, order, (seen.first, 0), lane_bits=lane_bits, paired=False)
            )
        return aligned(*parts)

    def emit(self, step: Step, name: str, machine: Machine, samples: int) -> Sequence[Function]:
        """The kernel called `name` for `samples` rows."""
        f, lanes, junction = Function(name, SIGNATURE), machine.width, step.junction
        kind, few = vector(lanes), f"<{junction.n_src} x float>"
        for row in range(samples):
            loaded = f.load(few, f.offset("%src", row * step.src_layout.size))
            behind = 0
            for at, blocks in enumerate(junction.blocks):
                seen = _seen(step, machine, blocks, from_src=False)
                masks = [[gf2.apply(seen.lanes, lane) ^ c for lane in range(lanes)] for c in range(junction.n_src)]
                turned = [f.assign(f"shufflevector {few} {loaded}, {few} poison, {indices(mask)}") for mask in masks]
                init, last = step.init if at == 0 else "add", at == len(junction.blocks) - 1
                self._destinations(f, step, machine, seen, turned, (init, last), row, behind)
                behind += _bytes(step, machine, seen)
            if junction.n_dst < lanes:
                done = f.load(kind, f.offset("%dst", row * step.dst_layout.size), 4 * lanes)
                kept = _picked(f, kind, done, [u if u < junction.n_dst else lanes for u in range(lanes)])
                f.store(kind, kept, f.offset("%dst", row * step.dst_layout.size), 4 * lanes)
        return [f]

    def _destinations(
        self,
        f: Function,
        step: Step,
        machine: Machine,
        seen: _Narrow,
        turned: Sequence[str],
        ends: tuple[str, bool],
        row: int,
        behind: int,
    ) -> None:
        """All vectors of destinations, the sources permuted in every way they need."""
        lanes = machine.width
        kind, size = vector(lanes), lanes << len(seen.rows) + len(seen.classes)
        most = max(0, _UNROLL - len(seen.rows) - len(seen.classes))
        inner, outer = seen.still[:most], seen.still[most:]

        def block(index: str | None) -> None:
            target = Offset(f, index, outer)
            weights = f.offset("%weights", behind, "i8")
            if index is not None:
                element = "i16" if step.weight_type == "bf16" else "float"
                weights = f.offset(weights, f.op("mul", "i64", index, str(size << len(inner))), element)
            stream = Stream(f, lanes, weights, step.weight_type, paired=False)
            slot = 0
            for still in span(inner):
                for place, shift in _pairs(seen.classes):
                    pointer = target.address("%dst", place ^ still, row * step.dst_layout.size)
                    if ends[0] == "bias":
                        value = f.load(kind, target.address("%bias", place ^ still))
                    else:
                        value = f.load(kind, pointer, 4 * lanes) if ends[0] == "add" else constant(0.0, lanes)
                    for r in span(seen.rows):
                        value = multiply_add(f, lanes, stream.at(slot), turned[seen.first ^ shift ^ r], value)
                        slot += lanes
                    if ends[1]:
                        value = vecmath.apply(f, lanes, value, step.activation, machine)
                    f.store(kind, value, pointer, 4 * lanes)

        if outer:
            with f.loop(1 << len(outer)) as loop:
                block(loop.index)
        else:
            block(None)


def _refusal(junction: Junction) -> str:
    if junction.kind != "paths" or not junction.blocks:
        return "it has no dense blocks"
    if junction.n_src & (junction.n_src - 1) or junction.n_dst & (junction.n_dst - 1):
        return "its sizes are no powers of two"
    if any(b.count * b.fan_in < junction.n_src or b.count * b.fan_out < junction.n_dst for b in junction.blocks):
        return "a window of its paths misses units"
    return ""


def _cycles(step: Step, machine: Machine, samples: int) -> float:
    products = sum(1 << b.rank for b in step.junction.blocks) / machine.width
    narrow = 2.0 if step.weight_type == "bf16" else 1.0
    return 10.0 + samples * products * narrow * (1.05 if machine.avx512 else 0.6 if machine.fma else 1.1)


def _seen(step: Step, machine: Machine, blocks: Blocks, *, from_src: bool) -> _Narrow:
    """A window from its side of sources or of destinations."""
    junction, width = step.junction, machine.width
    src = position_map(step.src_layout, junction.n_src)
    dst = position_map(step.dst_layout, junction.n_dst)
    here, there = (src, dst) if from_src else (dst, src)
    sides = (
        (blocks.src_basis, blocks.src_reps, blocks.src_shift),
        (blocks.dst_basis, blocks.dst_reps, blocks.dst_shift),
    )
    (basis, reps, shift), (rows, partners, other) = sides if from_src else sides[::-1]
    known = gf2.coordinates([gf2.apply(here, u) for u in (*basis, *reps)])
    images = [gf2.apply(there, p) for p in partners]
    bits = len(here)
    follow = [gf2.apply(images, gf2.apply(known, 1 << k) >> len(basis)) for k in range(bits)]
    lane_bits = min(bits, width.bit_length() - 1)
    vectors = [1 << k for k in range(lane_bits, bits)]
    still = tuple(v << lane_bits for v in gf2.kernel(follow[lane_bits:]))
    classes = tuple((v, gf2.apply(follow, v)) for v in gf2.complement(vectors, still))
    first = gf2.apply(there, other) ^ gf2.apply(follow, gf2.apply(here, shift))
    return _Narrow(tuple(follow[:lane_bits]), tuple(gf2.apply(there, r) for r in rows), classes, still, first)


def _bytes(step: Step, machine: Machine, seen: _Narrow) -> int:
    vectors = 1 << len(seen.rows) + len(seen.classes) + len(seen.still)
    return round_up(vectors * machine.width * element_bytes(step.weight_type))


def _pairs(classes: Sequence[Pair]) -> list[Pair]:
    """The span of pairs, in the order of the bits."""
    return list(zip(span(v for v, _ in classes), span(s for _, s in classes), strict=True))


def _start(f: Function, step: Step, lanes: int, behind: int, place: int) -> str:
    if step.init == "zero":
        return constant(0.0, lanes)
    pointer = f.offset("%bias", place) if step.init == "bias" else f.offset("%dst", behind + place)
    return f.load(vector(lanes), pointer)


def _folded(f: Function, lanes: int, value: str, follow: Sequence[int]) -> str:
    """Sums over all lanes that follow to the same unit, in each of them."""
    kind = vector(lanes)
    for turn in gf2.kernel(follow):
        other = f.shuffle(lanes, value, "poison", [lane ^ turn for lane in range(lanes)])
        value = f.op("fadd", kind, value, other)
    return value


def _picked(f: Function, kind: str, value: str, mask: Sequence[int]) -> str:
    """Lanes of a value; entries that are the number of lanes give zero."""
    return f.assign(f"shufflevector {kind} {value}, {kind} zeroinitializer, {indices(mask)}")
