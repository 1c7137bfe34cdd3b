"""Pieces that row kernels share: XOR addresses, streamed weights, multiply-adds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from pathc.backends.llvm.column.common import encode
from pathc.backends.llvm.emit import I64, Function, suffix, vector
from pathc.backends.llvm.machine import Machine
from pathc.backends.llvm.plan import Layout, Step, WeightType
from pathc.backends.llvm.row.weave import Pair
from pathc.ir import gf2
from pathc.ir.facts import Blocks
from pathc.ir.generators.base import Affine


class Offset:
    """An offset in floats that is linear over GF(2) in the counters of loops."""

    def __init__(
        self, function: Function, index: str | None, columns: Sequence[int], base: str = "0", varying: int = 0
    ) -> None:
        self.function, self.value, self.varying = function, base, varying
        self._pointers: dict[tuple[str, str], str] = {}
        if index is not None:
            self._add(index, columns)

    def also(self, index: str, columns: Sequence[int]) -> Offset:
        """The same offset with another counter in it."""
        return Offset(self.function, index, columns, self.value, self.varying)

    def address(self, pointer: str, place: int, behind: int = 0) -> str:
        """Address of float `behind` + (offset ^ `place`)."""
        if self.value == "0":
            return self.function.offset(pointer, place + behind)
        if place & self.varying:
            mixed = self.function.op("xor", I64, self.value, str(place))
            return self.function.offset(self.function.offset(pointer, mixed), behind)
        key = pointer, self.function.block
        if key not in self._pointers:
            self._pointers[key] = self.function.offset(pointer, self.value)
        return self.function.offset(self._pointers[key], place + behind)

    def _add(self, index: str, columns: Sequence[int]) -> None:
        """Bits of the counter that move up together are taken in one piece."""
        function, at = self.function, 0
        for column in columns:
            self.varying |= column
        while at < len(columns):
            column, length = columns[at], 1
            single = column & (column - 1) == 0 and column
            while single and at + length < len(columns) and columns[at + length] == column << length:
                length += 1
            piece = index if at == 0 else function.op("lshr", I64, index, str(at))
            if at + length < len(columns):
                piece = function.op("and", I64, piece, str((1 << length) - 1))
            if single:
                piece = function.op("shl", I64, piece, str(column.bit_length() - 1))
            elif column:
                filled = function.op("sub", I64, "0", piece)
                piece = function.op("and", I64, filled, str(column))
            if column:
                self.value = piece if self.value == "0" else function.op("xor", I64, self.value, piece)
            at += length


def multiply_add(function: Function, lanes: int, a: str, b: str, c: str) -> str:
    """a * b + c, fused where the machine can."""
    kind = vector(lanes)
    return function.call(kind, f"llvm.fmuladd.{suffix(lanes)}", [(kind, a), (kind, b), (kind, c)])


class Stream:
    """Weights of one basic block, read by their place in the stream.

    Of bfloat16 weights, two neighbouring vectors share a vector of words if `paired`, the first in the low halves:
    one load and a shift or a mask for each make floats of them.
    """

    def __init__(self, function: Function, lanes: int, weights: str, weight_type: WeightType, *, paired: bool) -> None:
        self.function, self.lanes, self.weights = function, lanes, weights
        self.narrow, self.paired = weight_type == "bf16", paired
        self._words: dict[int, str] = {}

    def at(self, slot: int) -> str:
        """The vector of weights that starts at `slot`, as floats."""
        function, lanes = self.function, self.lanes
        if not self.narrow:
            return function.load(vector(lanes), function.offset(self.weights, slot), 4 * lanes)
        whole, odd = vector(lanes, "i32"), bool(self.paired and slot // lanes % 2)
        if self.paired:
            words = self._pair(slot - lanes * odd)
        else:
            half = vector(lanes, "i16")
            loaded = function.load(half, function.offset(self.weights, slot, "i16"), 2 * lanes)
            words = function.assign(f"zext {half} {loaded} to {whole}")
        bits = function.op("and" if odd else "shl", whole, words, f"splat (i32 {-65536 if odd else 16})")
        return function.assign(f"bitcast {whole} {bits} to {vector(lanes)}")

    def _pair(self, slot: int) -> str:
        if slot not in self._words:
            pointer = self.function.offset(self.weights, slot, "i16")
            self._words[slot] = self.function.load(vector(self.lanes, "i32"), pointer, 4 * self.lanes)
        return self._words[slot]


def packed_window(
    step: Step,
    machine: Machine,
    blocks: Blocks,
    weights: Mapping[str, NDArray[np.float32]],
    order: Sequence[Pair],
    base: Pair,
    *,
    lane_bits: int | None = None,
    paired: bool,
) -> NDArray[np.uint8]:
    """The weights of one window as `Stream` reads them, those of repeated edges added in float64.

    Bit k of a place in the stream stands for the displacement `order[k]` of positions from `base`; the first
    `lane_bits` are the lanes (all of a vector's, if None), and lanes a vector has beyond them hold zeros.
    """
    width = machine.width
    source, target = (units[blocks.start : blocks.start + blocks.length] for units in step.junction.edges())
    slots = _slots(order, base, step, _affine(source), _affine(target))
    gap = 0 if lane_bits is None else width.bit_length() - 1 - lane_bits
    if gap and lane_bits is not None:
        low = (1 << lane_bits) - 1
        moved = tuple(c & low | c >> lane_bits << lane_bits + gap for c in (*slots.columns, slots.shift))
        slots = Affine(moved[:-1], moved[-1])
    places = gf2.span_array(slots.columns, slots.shift)
    values = weights[step.junction.tensor].reshape(-1)[blocks.start : blocks.start + blocks.length]
    size = 1 << len(order) + gap
    if blocks.repeat == 1:
        part = np.zeros(size, np.float32)
        part[places] = values
    else:
        part = np.bincount(places, values, size).astype(np.float32)
    if step.weight_type == "f32":
        return part.view(np.uint8)
    halves = encode(part, "bf16")
    if paired:
        halves = halves.view(np.uint16).reshape(-1, 2, width).transpose(0, 2, 1)
    return np.ascontiguousarray(halves).reshape(-1).view(np.uint8)


def position_map(layout: Layout, units: int) -> tuple[int, ...]:
    """Columns of the map from a unit, of a power of two of them, to its position."""
    return layout.columns or tuple(1 << k for k in range(units.bit_length() - 1))


def _slots(order: Sequence[Pair], base: Pair, step: Step, source: Affine, target: Affine) -> Affine:
    """Place in the stream of path i of a window, from its visits as affine maps of i."""
    src = position_map(step.src_layout, step.junction.n_src)
    dst = position_map(step.dst_layout, step.junction.n_dst)
    wide = max(step.src_layout.size, step.dst_layout.size).bit_length()

    def join(pair: Pair) -> int:
        return pair[0] << wide | pair[1]

    def place(s: int, d: int) -> int:
        return join((gf2.apply(src, s), gf2.apply(dst, d)))

    columns = gf2.coordinates([join(pair) for pair in order])
    steps = (place(s, d) for s, d in zip(source.columns, target.columns, strict=True))
    first = place(source.shift, target.shift) ^ join(base)
    return Affine(gf2.compose(columns, tuple(steps)), gf2.apply(columns, first))


def _affine(units: NDArray[np.int64]) -> Affine:
    """The affine map whose table is `units`; ValueError if there is none."""
    shift = int(units[0])
    columns = tuple(int(units[1 << k]) ^ shift for k in range(len(units).bit_length() - 1))
    if not np.array_equal(gf2.span_array(columns, shift), units):
        raise ValueError("the paths of a window of blocks are not linear over GF(2)")
    return Affine(columns, shift)
