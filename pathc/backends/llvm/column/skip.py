"""The identity times a scale."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from pathc.backends.llvm import vecmath
from pathc.backends.llvm.column.common import (
    Bytes,
    Finish,
    column_groups,
    ends,
    load_vectors,
    parameters,
    repeat,
    store_vectors,
    tile,
    unit_addresses,
)
from pathc.backends.llvm.emit import I64, Function, constant
from pathc.backends.llvm.machine import Machine
from pathc.backends.llvm.plan import Family, Junction, Step


class ColumnSkip:
    """A skip between two stations of one size, lanes over samples."""

    name: ClassVar[str] = "column-skip"
    family: ClassVar[Family] = "column"

    def refusal(self, junction: Junction, machine: Machine) -> str:
        """Why the form cannot compute this junction, or an empty string."""
        if junction.kind != "skip":
            return f"it computes skips, not a {junction.kind} junction"
        return "" if junction.n_src == junction.n_dst else "the stations differ in size"

    def cycles(self, step: Step, machine: Machine, samples: int) -> float:
        """Estimated clock cycles for a tile of `samples` columns."""
        return samples / machine.width * step.junction.n_dst * (4.0 + vecmath.cycles(step.activation))

    def pack(self, step: Step, machine: Machine, weights: Mapping[str, NDArray[np.float32]]) -> Bytes:
        """Nothing: a skip has no weights."""
        return np.zeros(0, np.uint8)

    def emit(self, step: Step, name: str, machine: Machine, samples: int) -> Sequence[Function]:
        """The kernel called `name` for `samples` columns."""
        f = Function(name, parameters(step))
        t = tile(machine, samples, 4)
        source, target = ends(t, step)
        finish = Finish(step.init, step.activation)
        scale = constant(step.junction.scale, t.lanes)
        heard, units = step.junction.count, step.junction.n_dst
        for first, count in ((0, heard), (heard, units - heard)):
            if not count:
                continue
            with repeat(f, count) as index:
                unit = f.op("add", I64, str(index), str(first))
                sources = unit_addresses(f, source, "%src", unit, [0])
                targets = unit_addresses(f, target, "%dst", unit, [0])
                with column_groups(f, t) as column:
                    (at,), (to,) = sources(column), targets(column)
                    sums = finish.start(f, target, unit, to)
                    if first < heard:
                        sums = [
                            f.fma(t.lanes, x, scale, a) for x, a in zip(load_vectors(f, source, at), sums, strict=True)
                        ]
                    store_vectors(f, target, finish.end(f, target, sums), to)
        return [f]
