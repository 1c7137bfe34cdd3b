"""Pieces that row kernels share: XOR addresses, streamed weights, multiply-adds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pathc.backends.llvm.emit import I64, Function, suffix, vector


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


def weights_at(function: Function, lanes: int, weights: str, slot: int, element: str) -> str:
    """A vector of float weights, widened from bfloat16 if `element` is i16."""
    pointer = function.offset(weights, slot, element)
    if element == "float":
        return function.load(vector(lanes), pointer, 4 * lanes)
    narrow = function.load(vector(lanes, "i16"), pointer, 2 * lanes)
    wide = function.assign(f"zext {vector(lanes, 'i16')} {narrow} to {vector(lanes, 'i32')}")
    moved = function.op("shl", vector(lanes, "i32"), wide, "16" if lanes == 1 else "splat (i32 16)")
    return function.assign(f"bitcast {vector(lanes, 'i32')} {moved} to {vector(lanes)}")


def bf16_of(values: NDArray[np.float32]) -> NDArray[np.uint16]:
    """The nearest bfloat16, ties to even, as their bits; a NaN stays one."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    rounded = (bits + 0x7FFF + (bits >> 16 & 1)) >> 16
    quiet = bits >> 16 | 0x40
    return np.where(np.isnan(values), quiet, rounded).astype(np.uint16)
