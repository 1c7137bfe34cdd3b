"""A skip: the source times a factor, unit by unit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from pathc.backends.llvm import vecmath
from pathc.backends.llvm.column.common import PARAMETERS, Bytes
from pathc.backends.llvm.emit import Function, constant, vector
from pathc.backends.llvm.general.rows import clear_behind, each_row, finish, load_units, store_sums
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
        lanes, kind = machine.width, vector(machine.width)
        units, factor = step.junction.n_dst, step.junction.scale
        many = units // (_AT_ONCE * lanes) * _AT_ONCE * lanes
        with each_row(f, step, samples) as (src, dst):
            if many:
                with f.loop(many, step=_AT_ONCE * lanes) as loop:
                    start, to, add = (f.offset(pointer, loop.index) for pointer in (src, dst, "%bias"))
                    for first in range(0, _AT_ONCE * lanes, lanes):
                        value = _scaled(f, lanes, f.load(kind, f.offset(start, first)), factor)
                        here = f.offset(to, first)
                        done = finish(f, step, machine, lanes, value, here, f.offset(add, first))
                        f.store(kind, done, here, 4 * lanes)
            for first in range(many, units, lanes):
                value = _scaled(f, lanes, load_units(f, lanes, src, first, step.src_layout.size), factor)
                store_sums(f, step, machine, lanes, value, first, dst)
            clear_behind(f, lanes, dst, -(-units // lanes) * lanes, step.dst_layout.size)
        return [f]


def _scaled(f: Function, lanes: int, value: str, factor: float) -> str:
    return value if factor == 1.0 else f.op("fmul", vector(lanes), value, constant(factor, lanes))
