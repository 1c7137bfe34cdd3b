"""Nets with cells on `tvm-llvm`: feed-forward functions over rows and time loops, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from pathc.backends.base import Request
from pathc.backends.tvm import facade, tuner
from pathc.backends.tvm.compiled import Lowered, Tiles
from pathc.backends.tvm.library import artefact
from pathc.backends.tvm.lower import plan_net
from pathc.backends.tvm.plan import NetPlan
from pathc.backends.tvm.program import extent
from pathc.backends.tvm.recurrent.lower import plan_sequences
from pathc.backends.tvm.recurrent.pack import parameters_of
from pathc.backends.tvm.recurrent.plan import SequencePlan, check_states, no_backward
from pathc.backends.tvm.shipped import Measure, Shipped, for_processor
from pathc.backends.tvm.tir import Function
from pathc.ir.inputs import check_input
from pathc.support.diagnostics import Diagnostic

Arrays = dict[str, NDArray[Any]]
_LANES = 64
_SEQUENCES = 16
"""Sequences that functions are measured with where no batch is asked for."""
_WORKING_SET = 1 << 20
"""Bytes of arrays and buffers that the sequences of a call may take, so that they stay in the cache."""


@dataclass(frozen=True, eq=False)
class SequenceExecutable:
    """A net with cells compiled by TVM for this processor, when it is first called.

    Inputs are [batch, steps, units] or [steps, units]. A cell with `stateful = true` begins where the last call ended,
    until `reset`.
    """

    request: Request
    plan: SequencePlan
    lowered: Lowered
    cpu: str = ""
    notes: tuple[Diagnostic, ...] = ()
    _states: Arrays = field(default_factory=Arrays, init=False, repr=False)

    @classmethod
    def of(cls, request: Request, cpu: str) -> SequenceExecutable:
        """The executable with the split factors that were found for it; raises E0377, E0611 and E0612."""
        plan = plan_sequences(request, _planned)
        plain = cls(request, plan, Lowered(plan, gpu=False), cpu)
        lowered, notes = tuner.recalled(plain.lowered, [tuner.processor(cpu)])
        return replace(plain, lowered=lowered, notes=notes)

    @cached_property
    def _kernels(self) -> tuple[tuple[facade.Kernel, Function], ...]:
        functions = self.lowered.functions
        compiled = facade.compile_cpu(self.lowered.schedule.module, [f.name for f in functions], self.cpu)
        return tuple((compiled[f.name], f) for f in functions)

    @cached_property
    def parameters(self) -> Arrays:
        """Packed weights by name."""
        return parameters_of(self.plan, self.request.graph, self.request.weights)

    @cached_property
    def _weights(self) -> dict[str, facade.Tensor]:
        return {name: facade.tensor(facade.aligned_copy(array)) for name, array in self.parameters.items()}

    def reset(self) -> None:
        """Let stateful cells begin anew."""
        self._states.clear()

    def __call__(self, x: NDArray[Any], /) -> NDArray[np.float32]:
        """Outputs float32 [batch, steps, units] or [steps, units].

        Raises E0512, E0513 and E0371 for inputs that do not fit, E0702 for states of another batch.
        """
        plan = self.plan
        check_input(x, (plan.inputs,), "input", sequences=True)
        given = np.ascontiguousarray(x if x.ndim == 3 else x[None], np.float32)
        y = np.empty((*given.shape[:2], plan.outputs), np.float32)
        states = self._states_of(len(given))
        widths = [*(units for _, units in plan.kept), *(columns for _, columns in plan.arrays)]
        most = max(1, _WORKING_SET // (4 * given.shape[1] * sum(widths)))
        for start in range(0, len(given), most):
            part = slice(start, start + most)
            self._run({"x": given[part], "y": y[part]} | {name: state[part] for name, state in states.items()})
        return y if x.ndim == 3 else y[0]

    def _states_of(self, batch: int) -> Arrays:
        for name, size in self.plan.states:
            if name in self._states:
                check_states(len(self._states[name]), batch)
            else:
                self._states[name] = np.zeros((batch, size), np.float32)
        return self._states

    def _run(self, arrays: Arrays) -> None:
        """All functions on some sequences."""
        for call in self._calls(arrays):
            call()

    def _calls(self, arrays: Arrays) -> list[Callable[[], object]]:
        """The functions on some sequences, whose steps are rows, in order."""
        batch, steps = arrays["x"].shape[:2]
        rows, lanes = batch * steps, self.plan.lanes
        numbers = {"batch": batch, "steps": steps, "rows": rows}
        held = {name: array.reshape(-1, array.shape[-1]) for name, array in arrays.items()}
        for name, columns in self.plan.arrays:
            held[name] = np.empty((rows, columns), np.float32)
        for name, units in self.plan.kept:
            held[name] = facade.aligned((-(-rows // lanes), units, lanes))
        known = self._weights | {name: facade.tensor(array) for name, array in held.items()}
        return [
            partial(
                kernel,
                *(known[a.key] for a in function.arguments),
                *(extent(function.called(name), numbers) for name in function.scalars),
            )
            for kernel, function in self._kernels
        ]

    def seconds(self, batch: int, steps: int) -> dict[str, float]:
        """How long every function takes for so many sequences of so many steps, by name."""
        ends = {"x": self.plan.inputs, "y": self.plan.outputs}
        arrays = {name: np.zeros((batch, steps, columns), np.float32) for name, columns in ends.items()}
        calls = self._calls(arrays | {name: np.zeros((batch, size), np.float32) for name, size in self.plan.states})
        for call in calls:
            call()
        return {f.name: tuner.fastest(call) for (_, f), call in zip(self._kernels, calls, strict=True)}

    def tuned(self, batch: int, measure: Measure | None = None, device: str = "") -> SequenceExecutable:
        """The net with the split factors that were fastest here, or on a device that measures, and a note (W0671).

        They are kept for all processors like that, whatever the `device` is called.
        """

        def seconds(tiles: Tiles) -> Mapping[str, float]:
            made = replace(self, lowered=replace(self.lowered, tiles=tiles))
            return measure(made.shipped(batch)) if measure else made.seconds(batch or _SEQUENCES, tuner.STEPS)

        lowered, notes = tuner.tuned(self.lowered, seconds, [tuner.processor(self.cpu)])
        return replace(self, lowered=lowered, notes=notes)

    def gradients(self, x: NDArray[Any], output_gradient: NDArray[Any], /) -> NoReturn:
        """There is no backward pass through cells: E0376."""
        raise no_backward(self.request.graph, "tvm-llvm", "use the interpreter, `pathc.ir.interp.backward`")

    def shipped(self, batch: int) -> Shipped:
        """The functions as another machine is sent them, whatever the batch."""
        return for_processor(self.lowered, self.parameters, self.cpu)

    def emit(self, kind: str) -> str | bytes:
        """A stage: `plan`, `tir`, `schedule`, `scheduled`, `so`, `json` or `params`."""
        return artefact(self.lowered, self.parameters, self.cpu, kind)

    def companions(self, kind: str) -> tuple[str, ...]:
        """What is written beside a library."""
        return ("json", "params") if kind == "so" else ()


def _planned(part: Request, _: str) -> NetPlan:
    """One function where all buffers of a tile fit the cache, else one for every operation."""
    plan = plan_net(part.graph, _LANES, part.forms)
    return replace(plan, fused=4 * _LANES * sum(plan.units.values()) <= _WORKING_SET)
