"""The interpreter as a target: float64, slow, and right by definition."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pathc.backends.base import Request, switch
from pathc.ir.graph import Graph
from pathc.ir.interp import forward, supports
from pathc.ir.quantized import IntegerNetwork, integer_forward, integer_network
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


@dataclass(frozen=True, kw_only=True)
class Integers(Interpreted):
    """A quantized net that the integer interpreter evaluates whenever it is called."""

    network: IntegerNetwork

    def __call__(self, x: NDArray[Any], /) -> NDArray[Any]:
        """Outputs as numbers in float64, [batch, units] or [units]; raises E0512, E0513, and E1308 for NaN."""
        return self.integer_reference(np.asarray(x))

    @property
    def roundoff(self) -> float:
        """Nothing: it is what others are held to."""
        return 0.0

    def integer_reference(self, x: NDArray[Any]) -> NDArray[np.float64]:
        """Outputs of the integer interpreter."""
        return integer_forward(self.network, x)


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
        """The net as it stands.

        Raises E0610 for what it cannot evaluate, E0603 for `integers` of another value, E0806 for other options and
        kernel forms.
        """
        options = dict(request.options)
        integers, unknown = switch(options, "integers"), next(iter(options), "")
        if unknown:
            text = f"the target `reference` has no option `{unknown}`"
            raise UsageError(Diagnostic("E0806", text, help="its option: integers=true, for quantized nets"))
        if request.forms:
            text = f"the target `reference` has no kernel form `{next(iter(request.forms.values()))}`"
            raise UsageError(Diagnostic("E0806", text, help="it has none"))
        refused = self.refusals(request.graph)
        if refused:
            raise PathcError(*refused)
        if integers:
            return Integers(request, network=integer_network(request.graph, request.stored))
        return Interpreted(request)


BACKEND = Reference()
