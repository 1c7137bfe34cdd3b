"""A quantized net as a program for GPUs that computes with integers alone."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pathc.backends.base import Request
from pathc.backends.bytewise import functions_of
from pathc.backends.tvm import nvrtc
from pathc.backends.tvm.gpu_executable import WRITTEN, GpuExecutable
from pathc.backends.tvm.integer.kernels import Packed, write
from pathc.backends.tvm.integer.plan import Plan, plan_integers
from pathc.backends.tvm.program import Program
from pathc.backends.tvm.report import launch_lines
from pathc.ir.inputs import check_input
from pathc.ir.misfits import plain_only
from pathc.ir.quantized import IntegerNetwork, check_bytes, integer_forward, integer_network
from pathc.support.diagnostics import Diagnostic, PathcError, error

_FUNCTIONS = 4e-6
STAGES = ("plan", *WRITTEN)


@dataclass(frozen=True, eq=False)
class CudaIntegers(GpuExecutable):
    """A quantized net for a GPU: what is read from its stations is what the integer interpreter says, bit for bit."""

    network: IntegerNetwork
    arch: str
    notes: tuple[Diagnostic, ...] = ()

    @classmethod
    def of(cls, request: Request, arch: str) -> CudaIntegers:
        """The executable of a request; raises as `integer_network`, E0376, E0379, E1309 for more than a byte."""
        if found := plain_only(request.graph, "integers on `cuda` have"):
            raise PathcError(*found)
        network = integer_network(request.graph, request.stored)
        check_bytes(network, "the kernels of `cuda` have")
        return cls(network, arch)

    @cached_property
    def plan(self) -> Plan:
        """Which kernels compute which stations."""
        return plan_integers(self.network)

    @cached_property
    def _written(self) -> tuple[Program, Packed]:
        return write(self.plan)

    def write(self) -> Program:
        """CUDA text and launches."""
        return self._written[0]

    def pack(self) -> Packed:
        """Packed weights by name."""
        return self._written[1]

    def __call__(self, x: NDArray[Any], /) -> NDArray[np.float32]:
        """Outputs float32 [batch, units] or [units]; raises E0512, E0513 for inputs that do not fit, E1308 for NaN."""
        check_input(x, (self.program.inputs,), "input")
        if np.isnan(x).any():
            raise error("E1308", "the input holds NaN", self.network.graph.loc)
        y = self.loaded(np.ascontiguousarray(np.atleast_2d(x), np.float32))
        return y[0] if x.ndim == 1 else y

    @property
    def roundoff(self) -> float:
        """That of float32 functions of sums; none where outputs are the integers times their scales."""
        return _FUNCTIONS if any(functions_of(each) for each in self.plan.outputs) else 0.0

    def integer_reference(self, x: NDArray[Any]) -> NDArray[np.float64]:
        """Outputs of the integer interpreter, rounded to float32 as the kernels give them."""
        return integer_forward(self.network, x).astype(np.float32).astype(np.float64)

    def report(self) -> str:
        """Every kernel with what it takes."""
        return nvrtc.report(self.binary) + launch_lines(self.program, self.binary)

    def stage(self, kind: str) -> str:
        """The plan; E0804 for anything else, as kernels are written as text."""
        if kind == "plan":
            return str(self.plan)
        help = f"integer nets show {', '.join(STAGES)}: their kernels are written as text"
        raise error("E0804", f"integer nets have no stage `{kind}` on `cuda`", self.network.graph.loc, help=help)
