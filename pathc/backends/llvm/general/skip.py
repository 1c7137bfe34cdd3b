"""A skip: the source times a factor, unit by unit."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from pathc.backends.llvm import vecmath
from pathc.backends.llvm.column.common import PARAMETERS, Bytes
from pathc.backends.llvm.emit import I64, Function, constant, vector
from pathc.backends.llvm.general.rows import clear_behind, each_row, finish, load_units, shuffled, store_sums
from pathc.backends.llvm.machine import Machine
from pathc.backends.llvm.plan import Family, Junction, Step

_AT_ONCE = 4


@dataclass(frozen=True)
class Skip:
    """The identity times a factor."""

    name: ClassVar[str] = "skip"
    family: ClassVar[Family] = "row"

    def refusal(self, junction: Junction, machine: Machine) -> str:
        """Why the form cannot compute this junction, or an empty string."""
        return "" if junction.kind == "skip" else f"it computes skips, not a {junction.kind} junction"

    def cycles(self, step: Step, machine: Machine, samples: int) -> float:
        """Estimated clock cycles for `samples` rows."""
        vectors = -(-step.junction.n_dst // machine.width)
        return samples * (10.0 + vectors * (2.0 + vecmath.cycles(step.activation)))

    def pack(self, step: Step, machine: Machine, weights: Mapping[str, NDArray[np.float32]]) -> Bytes:
        """Nothing: the factor stands in the code."""
        return np.zeros(0, np.uint8)

    def emit(self, step: Step, name: str, machine: Machine, samples: int) -> Sequence[Function]:
        """The kernel called `name` for `samples` rows."""
        f = Function(name, PARAMETERS)
        lanes, junction = machine.width, step.junction
        units, size = junction.n_dst, step.src_layout.size
        with each_row(f, step, samples) as (src, dst):

            def store(first: int, offset: str | int, behind: str) -> None:
                """The vector `offset` units behind `first`, whose values are `behind` or come from the source."""
                start, to, add = (f.offset(f.offset(p, first), offset) for p in (src, dst, "%bias"))
                value = behind or _scaled(f, lanes, f.load(vector(lanes), start), junction.scale)
                f.store(vector(lanes), finish(f, step, machine, lanes, value, to, add), to, 4 * lanes)

            whole = junction.count // lanes
            _vectors(f, lanes, whole, lambda offset: store(0, offset, ""))
            if junction.count % lanes:
                value = _scaled(f, lanes, load_units(f, lanes, src, whole * lanes, size), junction.scale)
                heard = [i if i < junction.count % lanes else lanes for i in range(lanes)]
                value = f.assign(shuffled(vector(lanes), value, "zeroinitializer", heard))
                store_sums(f, step, machine, lanes, value, whole * lanes, dst)
            first = -(-junction.count // lanes) * lanes
            _vectors(f, lanes, max(units - first, 0) // lanes, lambda offset: store(first, offset, "zeroinitializer"))
            last = units // lanes * lanes
            if first <= last < units:
                store_sums(f, step, machine, lanes, "zeroinitializer", last, dst)
            clear_behind(f, lanes, dst, -(-units // lanes) * lanes, step.dst_layout.size)
        return [f]


def _vectors(f: Function, lanes: int, count: int, write: Callable[[str | int], None]) -> None:
    """Write `count` vectors, in a loop where there are many; `write` is given the first unit of one."""
    many = count // _AT_ONCE * _AT_ONCE
    if many:
        with f.loop(many * lanes, step=_AT_ONCE * lanes) as loop:
            for number in range(_AT_ONCE):
                write(f.op("add", I64, loop.index, str(number * lanes)))
    for number in range(many, count):
        write(number * lanes)


def _scaled(f: Function, lanes: int, value: str, factor: float) -> str:
    return value if factor == 1.0 else f.op("fmul", vector(lanes), value, constant(factor, lanes))
