"""Writing functions of whole nets: kernels made once, parameters as they are collected, room in scratch memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar, Concatenate, ParamSpec

import numpy as np
from numpy.typing import NDArray

from pathc.backends.llvm.column.common import round_up
from pathc.backends.llvm.emit import I64, Function
from pathc.backends.llvm.native import aligned

LINE = 64
POINTERS = (("ptr", "x"), ("ptr", "y"), ("ptr", "params"), ("ptr", "scratch"))
P = ParamSpec("P")


@dataclass
class Parameters:
    """Arrays one after the other, each at a multiple of 64 bytes."""

    parts: list[NDArray[np.uint8]] = field(default_factory=list[NDArray[np.uint8]])
    size: int = 0

    def put(self, values: NDArray[Any]) -> int:
        """Where an array lies from now on, in bytes."""
        at, flat = self.size, np.ascontiguousarray(values).reshape(-1).view(np.uint8)
        self.parts.append(flat)
        self.size += round_up(flat.nbytes, LINE)
        return at

    def packed(self) -> NDArray[np.uint8]:
        """All arrays."""
        whole = aligned(max(self.size, LINE))
        whole[:] = 0
        at = 0
        for part in self.parts:
            whole[at : at + part.nbytes] = part
            at += round_up(part.nbytes, LINE)
        return whole


@dataclass
class Room:
    """Scratch memory as it is handed out, in multiples of 64 bytes."""

    size: int = 0

    def take(self, size: int) -> int:
        """Where `size` bytes lie."""
        at = self.size
        self.size += round_up(size, LINE)
        return at


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

    name: str
    parameters: Parameters
    room: Room
    kernels: Kernels
    f: Function = field(init=False)
    numbers: ClassVar[tuple[str, ...]] = ("%samples",)
    """Values that are 64-bit numbers."""

    def call(self, kernel: str, *arguments: str | int) -> None:
        """Call a kernel with addresses and 64-bit numbers."""
        typed = [(I64, str(a)) if isinstance(a, int) or a in self.numbers else ("ptr", a) for a in arguments]
        self.f.call("void", kernel, typed, declare=False)

    def put(self, values: NDArray[np.generic]) -> str:
        """The address of parameters."""
        return self.f.offset("%params", self.parameters.put(values), "i8")

    def take(self, size: int) -> str:
        """The address of so many bytes of scratch memory."""
        return self.f.offset("%scratch", self.room.take(size), "i8")
