"""What Gemmini words do, as documented: configuration, moves, preload, compute and flush, weight-stationary.

The array computes C = A * B + D with B preloaded. Everything else that Gemmini has is refused, E1072.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pathc.backends.engine.array import gemmini as g
from pathc.support.diagnostics import PathcError, error

SCRATCHPAD_ROWS, ACCUMULATOR_ROWS = 16384, 1024
_MASK = (1 << 29) - 1


@dataclass(eq=False)
class Gemmini:
    """The state: scratchpad int8 [rows, dim], accumulators int32 [rows, dim], strides, what is preloaded."""

    dim: int
    memory: bytearray
    scratchpad: NDArray[np.int8] = field(init=False)
    accumulators: NDArray[np.int32] = field(init=False)
    strides: list[int] = field(default_factory=lambda: [0, 0, 0])
    out_stride: int = 0
    weights: NDArray[np.int32] | None = None
    target: int = g.NOWHERE
    target_rows: int = 0
    stationary: bool = False

    def __post_init__(self) -> None:
        self.scratchpad = np.zeros((SCRATCHPAD_ROWS, self.dim), np.int8)
        self.accumulators = np.zeros((ACCUMULATOR_ROWS, self.dim), np.int32)

    def run(self, words: Iterable[g.Word]) -> None:
        """Carry out words one after the other; raises PathcError E1072 that names the first that cannot be."""
        for number, word in enumerate(words):
            problem = self._one(word)
            if problem:
                raise _refused(number, word, problem)

    def _one(self, word: g.Word) -> str:
        match word.funct:
            case g.CONFIG:
                return self._configure(word)
            case g.MVIN | g.MVIN_2 | g.MVIN_3:
                return self._in(word, (g.MVIN, g.MVIN_2, g.MVIN_3).index(word.funct))
            case g.MVOUT:
                return self._out(word)
            case g.PRELOAD:
                return self._preload(word)
            case g.COMPUTE | g.COMPUTE_AGAIN:
                return self._compute(word)
            case g.FLUSH:
                return ""
            case _:
                return f"funct {word.funct} is not in the subset"

    def _configure(self, word: g.Word) -> str:
        scale = word.rs1 >> 32
        match word.rs1 & 3:
            case g.CONFIG_EX:
                self.stationary = bool(word.rs1 >> 2 & 1)
                plain = scale == g.ONE and word.rs1 >> 3 & 0x1FFF == 0 and word.rs2 & (1 << 48) - 1 == 0
                return "" if plain and self.stationary else "only weight-stationary, not scaled or transposed"
            case g.CONFIG_LD:
                number = word.rs1 >> 3 & 3
                if number > 2 or scale != g.ONE:
                    return "a load without scale, of kind 0, 1 or 2"
                self.strides[number] = word.rs2
                return ""
            case g.CONFIG_ST:
                self.out_stride = word.rs2 & (1 << 32) - 1
                return "" if word.rs2 >> 32 == g.ONE and word.rs1 == g.CONFIG_ST else "a store without scale or pooling"
            case _:
                return "a configuration of norms"

    def _in(self, word: g.Word, number: int) -> str:
        rows, columns, place = _parts(word.rs2)
        wide = bool(place & g.ACCUMULATOR)
        into = self.accumulators if wide else self.scratchpad
        first, width = place & _MASK, columns * (4 if wide else 1)
        last = word.rs1 + max(0, rows - 1) * self.strides[number] + width
        if columns > self.dim or first + rows > len(into) or last > len(self.memory):
            return f"{rows} x {columns} from {word.rs1} do not fit"
        for row in range(rows):
            start = word.rs1 + row * self.strides[number]
            data = np.frombuffer(self.memory, "<i4" if wide else np.int8, columns, start)
            if wide and place & g.ADD:
                into[first + row, :columns] += data
            else:
                into[first + row, :columns] = data
        return ""

    def _out(self, word: g.Word) -> str:
        rows, columns, place = _parts(word.rs2)
        last = word.rs1 + max(0, rows - 1) * self.out_stride + 4 * columns
        first = place & _MASK
        if not place & g.ACCUMULATOR or not place & g.FULL:
            return "only sums of 32 bits are moved out"
        if columns > self.dim or first + rows > ACCUMULATOR_ROWS or last > len(self.memory):
            return f"{rows} x {columns} to {word.rs1} do not fit"
        for row in range(rows):
            start = word.rs1 + row * self.out_stride
            self.memory[start : start + 4 * columns] = self.accumulators[first + row, :columns].astype("<i4").tobytes()
        return ""

    def _preload(self, word: g.Word) -> str:
        rows, columns, place = _parts(word.rs1)
        self.target_rows, target_columns, self.target = _parts(word.rs2)
        if not self.stationary or place & g.ACCUMULATOR or (rows, columns) != (self.dim, self.dim):
            return "weights are preloaded from the scratchpad, a whole tile at a time"
        if target_columns > self.dim or not self.target & g.ACCUMULATOR:
            return "products go to the accumulators"
        if place + rows > SCRATCHPAD_ROWS or (self.target & _MASK) + self.target_rows > ACCUMULATOR_ROWS:
            return "rows beyond the memories"
        self.weights = self.scratchpad[place : place + rows].astype(np.int32)
        return ""

    def _compute(self, word: g.Word) -> str:
        rows, columns, place = _parts(word.rs1)
        _, _, added = _parts(word.rs2)
        if self.weights is None or place & g.ACCUMULATOR or added != g.NOWHERE:
            return "activations come from the scratchpad, and nothing else is added"
        if columns > self.dim or place + rows > SCRATCHPAD_ROWS or rows > self.target_rows:
            return "rows beyond the memories"
        products = self.scratchpad[place : place + rows, :columns].astype(np.int32) @ self.weights[:columns]
        first = self.target & _MASK
        if self.target & g.ADD:
            self.accumulators[first : first + rows] += products
        else:
            self.accumulators[first : first + rows] = products
        return ""


def _parts(register: int) -> tuple[int, int, int]:
    """Rows, columns and local address."""
    return register >> 48 & 0xFFFF, register >> 32 & 0xFFFF, register & 0xFFFFFFFF


def _refused(number: int, word: g.Word, problem: str) -> PathcError:
    return error("E1072", f"word {number}, `{word}`: {problem}")
