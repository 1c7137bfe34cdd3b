"""A net as an executable whose factors are bfloat16."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pathc.backends.llvm import aot
from pathc.backends.llvm.call import Bound, Kernel, as_floats
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


@dataclass(frozen=True, eq=False)
class HalfExecutable:
    """A flat net compiled for a processor that multiplies bfloat16: weights and what is read are rounded, sums are not.

    Many samples go 64 at a time; `rows` computes few of them one by one, from weights of bfloat16 and values of
    float32. Inputs and outputs are float32, [batch, units] or [units], or lie units first, as `x.T` does.
    """

    rows: CpuExecutable
    weights: Mapping[str, NDArray[Any]]
    notes: tuple[Diagnostic, ...] = ()
    _kernels: dict[Orders, Kernel] = field(default_factory=dict[Orders, Kernel], init=False, repr=False)

    @cached_property
    def plan(self) -> Plan:
        """Panels of weights, and where values lie."""
        rows = self.rows
        product = product_of(rows.machine)
        assert product is not None
        alone = rows.row_plan.cycles / rows.row_plan.samples
        return plan_halves(prepare(rows.graph, self.weights), self.weights, rows.machine, product, alone)

    def _program(self, orders: Orders) -> Program:
        rows, plan = self.rows, self.rows.row_plan
        few = net_functions(plan, rows.machine, f"{rows.name}.few", internal=True)
        made = emit_halves(self.plan, rows.name, few, rows.parameters(plan), 4 * plan.scratch, orders)
        check_scratch(rows.graph, rows.machine, made.scratch)
        return made

    def kernel(self, orders: Orders) -> Kernel:
        """The net, compiled for arrays that lie so."""
        if orders not in self._kernels:
            made, rows = self._program(orders), self.rows
            plan = rows.row_plan
            self._kernels[orders] = Kernel(
                compile_ir(made.ir, rows.machine), rows.name, plan.inputs, plan.outputs, made.parameters,
                threads=rows.machine.workers, scratch=made.scratch, tile=SAMPLES, work=plan.work // 8, orders=orders,
            )  # fmt: skip
        return self._kernels[orders]

    def __call__(self, x: NDArray[Any], y: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
        """Outputs of inputs [batch, units] or [units]; raises E0701 to E0705 for arrays that do not fit."""
        return self.kernel(orders_of(x, y))(as_floats(x), y)

    def bind(
        self, x: NDArray[np.float32], y: NDArray[np.float32] | None = None, *, threads: int | None = None
    ) -> Bound:
        """Check the arrays once and tie the kernel to them."""
        return self.kernel(orders_of(x, y)).bind(x, y, threads=threads)

    def program(self, batch: int = 0) -> aot.Program:
        """The net as a program for files, any batch; the machine may be another one."""
        rows = self.rows
        made, plan, orders = self._program(rows.orders), rows.row_plan, rows.orders
        ends = plan.inputs, plan.outputs
        return aot.Program(rows.name, made.ir, rows.machine, *ends, made.parameters, made.scratch, orders)

    def emit(self, kind: str) -> str | bytes:
        """A stage as text or bytes: `ll`, `asm`, `o`, `so`, `h`, `c`, `params`."""
        return aot.without_plan(self.program, kind, "nets of bfloat16", self.rows.graph.loc)
