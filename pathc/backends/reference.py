"""The interpreter as a target: float64, slow, and right by definition."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pathc.backends.base import Request
from pathc.ir.graph import Graph
from pathc.ir.interp import forward, supports
from pathc.ir.text import print_graph
from pathc.support.diagnostics import Diagnostic, PathcError, UsageError, did_you_mean, error


@dataclass(frozen=True)
class Interpreted:
    """A net that the interpreter evaluates whenever it is called."""

    request: Request
    notes: tuple[Diagnostic, ...] = ()

    def __call__(self, x: NDArray[Any], /) -> NDArray[Any]:
        """Outputs in float64, [batch, units] or [units]; raises E0512 and E0513 for inputs that do not fit."""
        return forward(self.request.graph, self.request.weights, np.asarray(x))

    def emit(self, kind: str) -> str | bytes:
        """The graph that is interpreted, as `pir`."""
        if kind not in Reference.emits:
            hint = did_you_mean(kind, Reference.emits) or f"it shows {', '.join(Reference.emits)}"
            raise error("E0804", f"the target `reference` has no stage `{kind}`", help=hint)
        return print_graph(self.request.graph)


class Reference:
    """The target named `reference`."""

    name = "reference"
    summary = "the float64 interpreter that every other target is held to"
    emits = ("pir",)

    def unavailable(self) -> str:
        """Empty: NumPy is always there."""
        return ""

    def refusals(self, graph: Graph) -> list[Diagnostic]:
        """Stages the interpreter cannot evaluate yet (E0610)."""
        return supports(graph)

    def compile(self, request: Request) -> Interpreted:
        """The net as it stands; raises E0610 for what it cannot evaluate, E0806 for options and kernel forms."""
        if request.options:
            text = f"the target `reference` has no option `{next(iter(request.options))}`"
            raise UsageError(Diagnostic("E0806", text, help="it has none"))
        if request.forms:
            text = f"the target `reference` has no kernel form `{next(iter(request.forms.values()))}`"
            raise UsageError(Diagnostic("E0806", text, help="it has none"))
        refused = self.refusals(request.graph)
        if refused:
            raise PathcError(*refused)
        return Interpreted(request)


BACKEND = Reference()
