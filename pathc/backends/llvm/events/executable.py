"""A net as an executable in which only units send that are not zero, or that samples of their activations hit."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pathc.backends.llvm import aot
from pathc.backends.llvm.call import Bound, Kernel, as_floats
from pathc.backends.llvm.events.net import EventProgram, emit_events
from pathc.backends.llvm.events.plan import Step, plan_events
from pathc.backends.llvm.jit import compile_ir
from pathc.backends.llvm.machine import Machine
from pathc.backends.llvm.scratch import check_scratch
from pathc.ir.compress.online import Activity, check_rates, samples_of
from pathc.ir.graph import Graph
from pathc.ir.inputs import input_shape, output_shape
from pathc.ir.interp.network import Network, prepare
from pathc.support.diagnostics import Diagnostic


@dataclass(frozen=True, eq=False)
class EventExecutable:
    """A flat net compiled for a processor, one sample after the other on one thread.

    What a unit of zero would send is left out; so is what is not finite times zero. `rates` sample the activations of
    stations as `pathc.ir.compress.online.sparse_forward` does, row i of a call with the numbers of row i there.
    """

    graph: Graph
    machine: Machine
    weights: Mapping[str, NDArray[Any]]
    name: str
    rates: Mapping[str, float] = field(default_factory=dict[str, float])
    seed: int = 0
    notes: tuple[Diagnostic, ...] = ()

    @property
    def sampled(self) -> bool:
        """Whether outputs differ from those of the net by chance."""
        return bool(self.rates)

    @cached_property
    def network(self) -> Network:
        """The stations in an order of evaluation."""
        check_rates(self.graph, self.rates)
        return prepare(self.graph, self.weights)

    @cached_property
    def steps(self) -> tuple[Step, ...]:
        """What every station sends."""
        return plan_events(self.network, self.weights, self.machine)

    @cached_property
    def _program(self) -> EventProgram:
        return self._made(counted=True)

    def _made(self, *, counted: bool) -> EventProgram:
        samples = {name: samples_of(self.graph.station(name), rate) for name, rate in self.rates.items()}
        made = emit_events(self.network, self.steps, self.machine, self.name, samples, self.seed, counted=counted)
        check_scratch(self.graph, replace(self.machine, threads=1), made.scratch)
        return made

    @cached_property
    def kernel(self) -> Kernel:
        """The net, compiled."""
        made = self._program
        work = sum(push.work for step in self.steps for push in step.pushes)
        return Kernel(
            compile_ir(made.ir, self.machine), self.name, *self._ends(), made.parameters, threads=1,
            scratch=made.scratch, work=work,
        )  # fmt: skip

    def _ends(self) -> tuple[int, int]:
        return math.prod(input_shape(self.graph)), math.prod(output_shape(self.graph))

    def __call__(self, x: NDArray[Any], y: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
        """Outputs of inputs [batch, units] or [units]; raises E0701 to E0705 for arrays that do not fit."""
        return self.kernel(as_floats(x), y)

    def bind(
        self, x: NDArray[np.float32], y: NDArray[np.float32] | None = None, *, threads: int | None = None
    ) -> Bound:
        """Check the arrays once and tie the kernel to them; there is one thread, whatever `threads` says."""
        return self.kernel.bind(x, y, threads=1)

    def activity(self, samples: int) -> dict[str, Activity]:
        """Shares of the units of every station that sent, and that were not zero, since this was asked last.

        `samples` is how many there were; the counters start anew.
        """
        found: dict[str, Activity] = {}
        for name, at in self._program.counters.items():
            counters = self._program.parameters[at : at + 16].view(np.int64)
            units = self.graph.station(name).real_units * max(samples, 1)
            found[name] = Activity(*(counters / units).tolist())
            counters[:] = 0
        return found

    def program(self, batch: int = 0) -> aot.Program:
        """The net as a program for files, any batch, without counters."""
        made = self._made(counted=False)
        return aot.Program(self.name, made.ir, self.machine, *self._ends(), made.parameters, made.scratch)

    def emit(self, kind: str) -> str | bytes:
        """A stage as text or bytes: `ll`, `asm`, `o`, `so`, `h`, `c`, `params`."""
        return aot.without_plan(self.program, kind, "nets of events", self.graph.loc)
