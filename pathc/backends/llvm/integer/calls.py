"""What functions of whole nets share: kernels made once, their parameters, and the memory they use."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Concatenate, ParamSpec

import numpy as np
from numpy.typing import NDArray

from pathc.backends.llvm.emit import I64, Function
from pathc.backends.llvm.integer.memory import Parameters, Room
from pathc.backends.llvm.integer.plan import Plan
from pathc.ir.quantized import IntegerStation
from pathc.ir.types import Call

POINTERS = (("ptr", "x"), ("ptr", "y"), ("ptr", "params"), ("ptr", "scratch"))
P = ParamSpec("P")


@dataclass
class Kernels:
    """Functions by what they are made from, so that equal ones are made once."""

    prefix: str
    functions: dict[object, Function] = field(default_factory=dict[object, Function])

    def add(
        self, key: object, make: Callable[Concatenate[str, P], Function], *arguments: P.args, **options: P.kwargs
    ) -> str:
        """The name of the kernel for a key; `make(name, *arguments, **options)` writes it the first time."""
        if key not in self.functions:
            self.functions[key] = make(f"{self.prefix}{len(self.functions)}", *arguments, **options)
        return self.functions[key].name


@dataclass
class Writer:
    """Writes a function that calls kernels."""

    plan: Plan
    name: str
    parameters: Parameters
    room: Room
    kernels: Kernels
    f: Function = field(init=False)

    def call(self, kernel: str, *arguments: str | int) -> None:
        """Call a kernel with addresses and 64-bit numbers."""
        typed = [(I64, str(a)) if isinstance(a, int) or a == "%samples" else ("ptr", a) for a in arguments]
        self.f.call("void", kernel, typed, declare=False)

    def put(self, values: NDArray[np.generic]) -> str:
        """The address of parameters."""
        return self.f.offset("%params", self.parameters.put(values), "i8")

    def take(self, size: int) -> str:
        """The address of so many bytes of scratch memory."""
        return self.f.offset("%scratch", self.room.take(size), "i8")

    def starts(self) -> dict[str, int]:
        """Where each output begins among the outputs, in floats."""
        found: dict[str, int] = {}
        at = 0
        for each in self.plan.outputs:
            found[each.station.name] = at
            at += each.station.real_units
        return found


def functions_of(station: IntegerStation) -> list[Call]:
    """The functions of an output that is given as sums; one with a format has none left."""
    if station.reading is not None:
        return []
    return [stage for stage in station.station.pipeline if stage.name not in ("bias", "identity")]
