"""A net as an executable whose factors are bfloat16."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pathc.backends.llvm import aot
from pathc.backends.llvm.call import BY_ROWS, Bound, Kernel, as_floats
from pathc.backends.llvm.executable import CpuExecutable, orders_of
from pathc.backends.llvm.halves.net import Program, emit_halves
from pathc.backends.llvm.halves.plan import Plan, plan_halves, product_of
from pathc.backends.llvm.jit import compile_ir
from pathc.backends.llvm.net import net_functions
from pathc.backends.llvm.netplan import Orders
from pathc.backends.llvm.scratch import check_scratch
from pathc.backends.llvm.tiles.code import SAMPLES
from pathc.ir.interp.network import prepare
from pathc.support.diagnostics import Diagnostic

FASTER = 8
"""Products of bfloat16 that take as long as a multiply-add of float32, to tell what several threads are worth."""
_SURE = 0.8
"""Share of their estimate that float32 kernels were measured to take."""


@dataclass(frozen=True, eq=False)
class HalfExecutable:
    """A flat net compiled for a processor that multiplies bfloat16: weights and what is read are rounded, sums are not.

    Many samples go 64 at a time. `floats` has weights of bfloat16 and values of float32: it computes what costs less
    so, few samples, and nets with few paths a unit. Inputs and outputs are float32, [batch, units] or [units], or lie
    units first, as `x.T` does.
    """

    floats: CpuExecutable
    weights: Mapping[str, NDArray[Any]]
    notes: tuple[Diagnostic, ...] = ()
    _kernels: dict[Orders, Kernel] = field(default_factory=dict[Orders, Kernel], init=False, repr=False)

    @cached_property
    def plan(self) -> Plan:
        """Panels of weights, and where values lie."""
        floats = self.floats
        product = product_of(floats.machine)
        assert product is not None
        alone = floats.row_plan.cycles / floats.row_plan.samples
        return plan_halves(prepare(floats.graph, self.weights), self.weights, floats.machine, product, alone)

    def _program(self, orders: Orders) -> Program:
        floats, plan = self.floats, self.floats.row_plan
        few = net_functions(plan, floats.machine, f"{floats.name}.few", internal=True)
        made = emit_halves(self.plan, floats.name, few, floats.parameters(plan), 4 * plan.scratch, orders)
        check_scratch(floats.graph, floats.machine, made.scratch)
        return made

    def kernel(self, batch: int, orders: Orders) -> Kernel:
        """The kernel that serves a batch in arrays that lie so: the one that costs less by estimate."""
        floats, plan = self.floats.plan(batch, orders), self.plan
        each = 1 if floats.family == "row" else self.floats.machine.width
        other = floats.cycles * -(-batch // each) * each / floats.samples
        whole, rest = divmod(batch, SAMPLES)
        left = plan.clocks(orders)
        if orders == BY_ROWS:
            left = min(left, rest * plan.alone)
        own = whole * plan.clocks(orders) + (left if rest else 0.0)
        return self.floats.kernel(batch, orders) if _SURE * other <= own else self.tiled(orders)

    def tiled(self, orders: Orders) -> Kernel:
        """The kernel of tiles, compiled for arrays that lie so."""
        if orders not in self._kernels:
            made, floats = self._program(orders), self.floats
            plan = floats.row_plan
            self._kernels[orders] = Kernel(
                compile_ir(made.ir, floats.machine), floats.name, plan.inputs, plan.outputs, made.parameters,
                threads=floats.machine.workers, scratch=made.scratch, tile=SAMPLES,
                work=plan.work // FASTER, orders=orders,
            )  # fmt: skip
        return self._kernels[orders]

    def __call__(self, x: NDArray[Any], y: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
        """Outputs of inputs [batch, units] or [units]; raises E0701 to E0705 for arrays that do not fit."""
        batch = x.shape[0] if x.ndim == 2 else 1
        return self.kernel(batch, orders_of(x, y) if batch > 1 else BY_ROWS)(as_floats(x), y)

    def bind(
        self, x: NDArray[np.float32], y: NDArray[np.float32] | None = None, *, threads: int | None = None
    ) -> Bound:
        """Check the arrays once and tie the kernel to them."""
        return self.kernel(x.shape[0] if x.ndim == 2 else 1, orders_of(x, y)).bind(x, y, threads=threads)

    def program(self, batch: int = 0) -> aot.Program:
        """The net as a program of tiles for files, any batch; the machine may be another one."""
        floats = self.floats
        made, plan, orders = self._program(floats.orders), floats.row_plan, floats.orders
        ends = plan.inputs, plan.outputs
        return aot.Program(floats.name, made.ir, floats.machine, *ends, made.parameters, made.scratch, orders)

    def emit(self, kind: str) -> str | bytes:
        """A stage as text or bytes: `ll`, `asm`, `o`, `so`, `h`, `c`, `params`."""
        return aot.without_plan(self.program, kind, "nets of bfloat16", self.floats.graph.loc)
