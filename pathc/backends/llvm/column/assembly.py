"""Products of single edges as assembly of AVX-512, for one vector of samples and a set of destinations.

Sums are in the registers from 0 on, sources in the last four; addresses take one byte of displacement where they can,
as code has to come from the caches, too.
"""

from __future__ import annotations

import numpy as np

from pathc.backends.llvm.column.common import Init, Tile, byte_offset
from pathc.backends.llvm.emit import I64, Function
from pathc.backends.llvm.general.edges import Ints

SUMS = 28
"""Destinations at most: of 32 registers, the others hold sources."""
_REGISTERS = 32
_REACH = 1 << 14
"""Bytes of vectors around a base that one byte of displacement reaches: 128 before it and 127 behind."""
_WEIGHTS = 1 << 10
"""Bytes of weights around a base that one byte reaches."""
_BASES = 6
"""Bases of sources at most: general registers are few."""
_SCRATCH = ("rax", "rcx", "flags", "memory")


class Assembly:
    """The code of a set, from sums that start to sums that are stored.

    `pointers` are the first unit of the source and of the destination, at the columns computed, and the weights of the
    set. Call `start`, `products`, `store` once each, then `call`.
    """

    def __init__(self, f: Function, source: Tile, target: Tile, pointers: tuple[str, str, str]) -> None:
        self._f, self._source, self._target = f, source, target
        self._given = list[tuple[str, str]]()
        self._lines = list[str]()
        self._src = pointers[0]
        self._dst, self._weights, self._bias = (self._operand("ptr", p) for p in (*pointers[1:], "%bias"))
        self._src_pitch, self._dst_pitch = (self._operand(I64, t.pitch) if t.pitch else "" for t in (source, target))

    def start(self, init: Init, rows: Ints) -> None:
        """Give the sums of destinations `rows` their first values."""
        for register, row in enumerate(rows.tolist()):
            if init == "add":
                self._lines.append(f"vmovups {self._destination(row)}, %zmm{register}")
            elif init == "bias":
                self._lines.append(f"vbroadcastss {4 * row}({self._bias}), %zmm{register}")
            else:
                self._lines.append(f"vpxord %zmm{register}, %zmm{register}, %zmm{register}")

    def products(self, units: Ints, places: Ints) -> None:
        """Add the product of each source, equal ones side by side, and the next weight to the sum in `places`."""
        bases = self._bases(units)
        self._lines.append(f"leaq {_WEIGHTS // 2}({self._weights}), %rax")
        at, behind, held = -_WEIGHTS // 2, -1, SUMS - 1
        for unit, register in zip(units.tolist(), places.tolist(), strict=True):
            if unit != behind:
                held = held + 1 if held < _REGISTERS - 1 else SUMS
                self._lines.append(f"vmovups {self._address(unit, bases)}, %zmm{held}")
                behind = unit
            if at == _WEIGHTS // 2:
                self._lines.append(f"leaq {_WEIGHTS}(%rax), %rax")
                at = -at
            self._lines.append(f"vfmadd231ps {at}(%rax){{1to16}}, %zmm{held}, %zmm{register}")
            at += 4

    def store(self, rows: Ints, *, relu: bool) -> None:
        """Store the sums, or what is positive of them; NaN is kept, as the second operand of a maximum is."""
        if relu:
            self._lines.append(f"vpxord %zmm{SUMS}, %zmm{SUMS}, %zmm{SUMS}")
        for register, row in enumerate(rows.tolist()):
            if relu:
                self._lines.append(f"vmaxps %zmm{register}, %zmm{SUMS}, %zmm{register}")
            self._lines.append(f"vmovups %zmm{register}, {self._destination(row)}")

    def call(self) -> None:
        """Write the code into the function."""
        clobbers = (*(f"zmm{number}" for number in range(_REGISTERS)), *_SCRATCH)
        constraints = ",".join([*["r"] * len(self._given), *(f"~{{{name}}}" for name in clobbers)])
        arguments = ", ".join(f"{kind} {value}" for kind, value in self._given)
        text = "\\0A".join(self._lines)
        self._f.line(f'call void asm sideeffect "{text}", "{constraints}"({arguments})')

    def _operand(self, kind: str, value: str) -> str:
        """What names a value that is given to the code."""
        self._given.append((kind, value))
        return f"${len(self._given) - 1}"

    def _bases(self, units: Ints) -> dict[int, str]:
        """Bases by number, so many that all these sources are near one, if there are registers for them."""
        if self._src_pitch:
            return {0: self._operand("ptr", self._src)}
        numbers = np.unique(np.minimum(units * self._source.stride // _REACH, _BASES - 1)).tolist()
        return {k: self._operand("ptr", byte_offset(self._f, self._src, self._middle(k))) for k in numbers}

    @staticmethod
    def _middle(number: int) -> int:
        return number * _REACH + _REACH // 2

    def _address(self, unit: int, bases: dict[int, str]) -> str:
        """A source."""
        if self._src_pitch:
            return self._pitched(unit, self._src_pitch, bases[0])
        at = unit * self._source.stride
        number = min(at // _REACH, _BASES - 1)
        return f"{at - self._middle(number)}({bases[number]})"

    def _destination(self, row: int) -> str:
        if self._dst_pitch:
            return self._pitched(row, self._dst_pitch, self._dst)
        return f"{row * self._target.stride}({self._dst})"

    def _pitched(self, unit: int, pitch: str, first: str) -> str:
        """A unit of the user's array; its distance is written first."""
        self._lines.append(f"imulq $${unit}, {pitch}, %rcx")
        return f"({first},%rcx)"
