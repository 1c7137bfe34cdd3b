"""What every target offers: availability, what it refuses, and an executable or a set of artefacts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from pathc.ir.graph import Graph
from pathc.ir.types import Value
from pathc.support.diagnostics import Diagnostic, error
from pathc.support.source import Source

Weights = Mapping[str, NDArray[Any]]
Array = NDArray[np.float32]


@dataclass(frozen=True)
class Request:
    """What to compile: a structured graph, its weights, the target's options and the batch it is meant for.

    `batch` 0 leaves the batch open. `forms` forces a kernel form for a junction (`main.1`) or for all (`*`). `plan` is
    a text in which a target that emits `plan` finds its decisions made. `stored` holds the tensors as they came,
    integers with their scales; `weights` are these as floats.
    """

    graph: Graph
    weights: Weights
    options: Mapping[str, Value] = field(default_factory=dict[str, Value])
    batch: int = 0
    forms: Mapping[str, str] = field(default_factory=dict[str, str])
    plan: Source | None = None
    stored: Weights = field(default_factory=dict[str, NDArray[Any]])


class Executable(Protocol):
    """A compiled net."""

    notes: tuple[Diagnostic, ...]

    def __call__(self, x: NDArray[Any], /) -> NDArray[Any]:
        """Outputs [batch, units] (or [units]) of inputs [batch, units] (or [units])."""
        ...

    def emit(self, kind: str) -> str | bytes:
        """A stage of the compilation as text or bytes (`plan`, `ll`, `asm`, ...); PathcError if there is none."""
        ...


@runtime_checkable
class Integers(Protocol):
    """An executable that computes with integers: held to the integer interpreter, bit for bit.

    `roundoff` is the relative error of outputs that floating point makes of the integers, 0 if there are none.
    """

    @property
    def roundoff(self) -> float:
        """Largest relative error, absolute below 1, of outputs that are functions of the integers."""
        ...

    def integer_reference(self, x: NDArray[Any], /) -> NDArray[np.float64]:
        """Outputs of the integer interpreter."""
        ...


@runtime_checkable
class Sampled(Protocol):
    """An executable that samples activations: `sampled` says that its outputs differ from the net's by chance."""

    @property
    def sampled(self) -> bool:
        """Whether there is chance in the outputs."""
        ...


class Backend(Protocol):
    """A target."""

    name: str
    summary: str
    emits: tuple[str, ...]

    def unavailable(self) -> str:
        """Why it cannot be used on this machine, with the cure; empty when it can."""
        ...

    def refusals(self, graph: Graph) -> list[Diagnostic]:
        """What of this graph the target cannot do (yet)."""
        ...

    def compile(self, request: Request) -> Executable:
        """Compile; PathcError for what is refused, UnavailableError where the target is not available."""
        ...


def switch(options: dict[str, Value], name: str) -> bool:
    """Take a switch out of the options, false if it is not there; E0603 for what is neither true nor false."""
    value = options.pop(name, False)
    if not isinstance(value, bool):
        raise error("E0603", f"`{name}` cannot be `{value}`", help="it is true or false")
    return value
