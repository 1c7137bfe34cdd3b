"""A quantized net as an executable that computes with integers alone."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pathc.backends.bytewise import functions_of
from pathc.backends.llvm import aot
from pathc.backends.llvm.call import Bound, Kernel, as_floats
from pathc.backends.llvm.integer.net import Program, emit_integers
from pathc.backends.llvm.integer.plan import Plan, plan_integers
from pathc.backends.llvm.jit import compile_ir
from pathc.backends.llvm.machine import Machine
from pathc.backends.llvm.scratch import check_scratch
from pathc.ir.inputs import input_shape, output_shape
from pathc.ir.quantized import IntegerNetwork, integer_forward
from pathc.support.diagnostics import Diagnostic, error

FUNCTIONS = 4e-6
"""Error of float32 functions of sums."""


@dataclass(frozen=True, eq=False)
class IntegerExecutable:
    """A quantized net compiled for a processor: what is read from its stations is what the integer interpreter says.

    Inputs and outputs are float32, [batch, units] or [units]. The bound form gives NaN for a sample with NaN.
    """

    network: IntegerNetwork
    machine: Machine
    name: str
    notes: tuple[Diagnostic, ...] = ()

    @cached_property
    def plan(self) -> Plan:
        """Tiles of weights, and how values lie."""
        return plan_integers(self.network, self.machine)

    @cached_property
    def _program(self) -> Program:
        made = emit_integers(self.plan, self.name)
        check_scratch(self.network.graph, self.machine, made.scratch)
        return made

    @cached_property
    def kernel(self) -> Kernel:
        """The net, compiled."""
        made, plan = self._program, self.plan
        return Kernel(
            compile_ir(made.ir, self.machine), self.name, *self._ends(), made.parameters,
            threads=self.machine.workers, scratch=made.scratch, tile=plan.tile,
            work=plan.work // 4,
        )  # fmt: skip

    def _ends(self) -> tuple[int, int]:
        return math.prod(input_shape(self.network.graph)), math.prod(output_shape(self.network.graph))

    def __call__(self, x: NDArray[Any], y: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
        """Outputs of inputs [batch, units] or [units]; raises E0701 to E0705 as every net, and E1308 for NaN."""
        made = self.kernel(as_floats(x), y)
        if np.isnan(made).any() and np.isnan(x).any():
            raise error("E1308", "the input holds NaN", self.network.graph.loc)
        return made

    def bind(
        self, x: NDArray[np.float32], y: NDArray[np.float32] | None = None, *, threads: int | None = None
    ) -> Bound:
        """Check the arrays once and tie the kernel to them."""
        return self.kernel.bind(x, y, threads=threads)

    @property
    def roundoff(self) -> float:
        """That of float32 functions of sums; none where outputs are the integers times their scales."""
        return FUNCTIONS if any(functions_of(each) for each in self.plan.outputs) else 0.0

    @property
    def weight_bytes(self) -> int:
        """Bytes of all weights as they are streamed."""
        return sum(tile.weights.size for step in self.plan.steps for tile in step.tiles)

    def integer_reference(self, x: NDArray[Any]) -> NDArray[np.float64]:
        """Outputs of the integer interpreter, rounded to float32 as the kernels give them."""
        return integer_forward(self.network, x).astype(np.float32).astype(np.float64)

    def program(self, batch: int = 0) -> aot.Program:
        """The net as a program for files, any batch; the machine may be another one."""
        made = self._program
        return aot.Program(self.name, made.ir, self.machine, *self._ends(), made.parameters, made.scratch)

    def emit(self, kind: str) -> str | bytes:
        """A stage as text or bytes: `ll`, `asm`, `o`, `so`, `h`, `c`, `params`."""
        return aot.without_plan(self.program, kind, "integer nets", self.network.graph.loc)
