"""A feed-forward net as an executable: plans, kernels and parameters behind one call."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pathc.backends.llvm import aot
from pathc.backends.llvm.call import BY_ROWS, Bound, Kernel, as_floats, order_of
from pathc.backends.llvm.column.stretch import stretch_of
from pathc.backends.llvm.column.tiling import tile_columns
from pathc.backends.llvm.forms import UNROLLED, Choices
from pathc.backends.llvm.jit import compile_ir
from pathc.backends.llvm.junctions import junctions_of
from pathc.backends.llvm.lower import plan_net
from pathc.backends.llvm.machine import Machine
from pathc.backends.llvm.net import emit_net, pack, sizes_of
from pathc.backends.llvm.netplan import NetPlan, Orders
from pathc.backends.llvm.plan import Family, Junction, Tiles
from pathc.backends.llvm.plantext import PlanText, print_plans
from pathc.backends.llvm.scratch import check_scratch
from pathc.backends.llvm.verify import verify_plan
from pathc.ir.graph import Graph
from pathc.ir.order import station_order
from pathc.support.diagnostics import Diagnostic

Arrays = Mapping[str, NDArray[np.float32]]
Steps = tuple[tuple[str, Tiles, str], ...]
"""Forms, tiles and types of all kernels of a plan: what the order of packed weights depends on, in one family."""
Key = tuple[str, tuple[int, ...], Orders]
"""Family and sizes of a kernel, and how the arrays lie it is called with."""
ROWS = 4
"""Samples a row kernel takes at a time where the batch has them."""
_FEW_WEIGHTS = 4
"""Multiply-adds for each input and output up to which bringing samples in and out costs more than the weights."""


@dataclass(frozen=True, eq=False)
class CpuExecutable:
    """A net compiled for a processor.

    Kernels are made when first needed: rows for one sample, rows for a few, columns for many; `batch` 1 says there
    will never be more than one. Inputs and outputs are float32, [batch, units] or [units], several stations side
    by side in the order of declaration. They may also lie units first, as `x.T` of an array [units, batch] does: that
    is seen from their strides, and nothing is transposed then. `given` holds plans that were read from a text, by
    family; the others are made here. `orders` is how arrays lie for what `emit` and `program` write.
    """

    graph: Graph
    machine: Machine
    choices: Choices
    weights: Arrays
    batch: int = 0
    notes: tuple[Diagnostic, ...] = ()
    given: Mapping[Family, PlanText] = field(default_factory=dict[Family, PlanText])
    orders: Orders = BY_ROWS
    _kernels: dict[Key, Kernel] = field(default_factory=dict[Key, Kernel], init=False, repr=False)
    _serving: dict[tuple[int, Orders], Kernel] = field(
        default_factory=dict[tuple[int, Orders], Kernel], init=False, repr=False
    )
    _columns: dict[Orders, NetPlan] = field(default_factory=dict[Orders, NetPlan], init=False, repr=False)
    _packed: dict[Steps, NDArray[np.uint8]] = field(
        default_factory=dict[Steps, NDArray[np.uint8]], init=False, repr=False
    )

    @cached_property
    def junctions(self) -> tuple[Junction, ...]:
        """The junctions of the graph, shared by all plans."""
        return junctions_of(self.graph)

    @cached_property
    def row_plan(self) -> NetPlan:
        """The plan for few samples."""
        if "row" in self.given:
            return self.given["row"].plan
        one = plan_net(self.graph, self.machine, "row", 1, self.choices, junctions=self.junctions)
        if self.batch == 1 or _stays_near(one, self.machine):
            return one
        return plan_net(self.graph, self.machine, "row", ROWS, self.choices, junctions=self.junctions)

    @property
    def column_plan(self) -> NetPlan:
        """The plan for many samples that `emit` shows."""
        return self.columns(self.orders)

    def columns(self, orders: Orders) -> NetPlan:
        """The plan for many samples in arrays that lie so."""
        if orders not in self._columns:
            given = self.given.get("column")
            if given is not None and given.plan.orders == orders:
                return given.plan
            scattered = any(j.kind == "paths" and not j.blocks for j in self.junctions)
            sizes = [self.graph.station(name).units for name in station_order(self.graph)]
            columns = tile_columns(self.machine, sizes, scattered=scattered)
            self._columns[orders] = self._tiled(columns, orders)
        return self._columns[orders]

    def _tiled(self, columns: int, orders: Orders) -> NetPlan:
        """The plan for tiles of so many columns, or of a vector where that is cheaper.

        Of edges as instructions wide tiles share the fetching, but sources of narrow ones stay nearer.
        """

        def planned(samples: int) -> NetPlan:
            return plan_net(self.graph, self.machine, "column", samples, self.choices, orders, self.junctions)

        wide = planned(columns)
        if columns == self.machine.width or all(run.step.form != UNROLLED for run in wide.runs):
            return wide
        return min(planned(self.machine.width), wide, key=lambda plan: plan.cycles / plan.samples)

    def plan(self, batch: int, orders: Orders = BY_ROWS) -> NetPlan:
        """The plan that serves a batch: the one the cost model finds cheaper.

        Arrays with units first are always served by columns.
        """
        if orders != BY_ROWS:
            return self.columns(orders)
        if batch == 1 or self.batch == 1:
            return self.row_plan
        few, many = self.row_plan, self.columns(orders)
        width = self.machine.width
        columns = -(-batch // width) * width
        return few if few.cycles * batch / few.samples <= many.cycles * columns / many.samples else many

    def kernel(self, batch: int, orders: Orders = BY_ROWS) -> Kernel:
        """The kernel that serves a batch, compiled now or before."""
        found = self._serving.get((batch, orders))
        if found is None:
            found = self._serving[batch, orders] = self._made(batch, orders)
        return found

    def _made(self, batch: int, orders: Orders) -> Kernel:
        plan = self.plan(batch, orders)
        sizes = sizes_of(plan, self.machine, batch)
        key = plan.family, sizes, orders
        if key not in self._kernels:
            ir = self._code(plan, sizes)
            stretch = stretch_of(plan, self.machine)
            self._kernels[key] = Kernel(
                compile_ir(ir, self.machine),
                self.name,
                plan.inputs,
                plan.outputs,
                self.parameters(plan),
                threads=self.machine.workers,
                scratch=plan.scratch * 4,
                tile=max(stretch.unit, plan.samples) if stretch else sizes[0],
                work=plan.work,
                orders=orders,
            )
        return self._kernels[key]

    def _code(self, plan: NetPlan, sizes: Sequence[int]) -> str:
        """The IR of a plan that has been checked: none is ever made of another."""
        check_scratch(self.graph, self.machine, 4 * plan.scratch)
        given = self.given.get(plan.family)
        verify_plan(plan, self.graph, self.machine, given.places if given else None)
        return emit_net(plan, self.machine, self.name, sizes)

    def parameters(self, plan: NetPlan) -> NDArray[np.uint8]:
        """The packed weights of a plan, shared by all plans with the same kernels."""
        key: Steps = tuple((run.step.form, run.step.tile, run.step.weight_type) for run in plan.runs)
        if key not in self._packed:
            self._packed[key] = pack(plan, self.machine, self.weights)
        return self._packed[key]

    @property
    def name(self) -> str:
        """The symbol the kernels export."""
        return c_name(self.graph.name)

    def __call__(self, x: NDArray[Any], y: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
        """Outputs of inputs [batch, units] or [units]; values of other types are converted to float32 first.

        With `y` the outputs are written there; an array made here lies in memory as the input does. Raises E0701 to
        E0705 for arrays that do not fit.
        """
        batch = x.shape[0] if x.ndim == 2 else 1
        kernel = self.kernel(batch, orders_of(x, y) if batch > 1 else BY_ROWS)
        return kernel(as_floats(x), y)

    def bind(
        self, x: NDArray[np.float32], y: NDArray[np.float32] | None = None, *, threads: int | None = None
    ) -> Bound:
        """Check the arrays once and tie the kernel to them: the way to call it when nanoseconds count."""
        return self.kernel(x.shape[0] if x.ndim == 2 else 1, orders_of(x, y)).bind(x, y, threads=threads)

    def program(self, batch: int = 0) -> aot.Program:
        """The net as a program for files: rows for batch 1, columns otherwise; the machine may be another one."""
        plan = self.row_plan if batch == 1 else self.column_plan
        ir = self._code(plan, sizes_of(plan, self.machine, 1 if batch == 1 else 0))
        packed, scratch = self.parameters(plan), plan.scratch * 4
        return aot.Program(self.name, ir, self.machine, plan.inputs, plan.outputs, packed, scratch, plan.orders)

    def emit(self, kind: str) -> str | bytes:
        """A stage as text or bytes: `plan`, `ll`, `asm`, `o`, `so`, `h`, `c`, `params`."""
        if kind == "plan":
            plans = [self.row_plan] if self.batch == 1 else [self.row_plan, self.column_plan]
            return print_plans(plans, self.machine)
        return aot.text(self.program(self.batch), {"asm": "s"}.get(kind, kind))


def orders_of(x: NDArray[Any], y: NDArray[Any] | None) -> Orders:
    """How the arrays of a call lie; an output that has to be made lies as the input does."""
    order = order_of(x)
    return order, order if y is None else order_of(y)


def _stays_near(plan: NetPlan, machine: Machine) -> bool:
    """Whether a plan for one sample serves several best, one after another.

    Several rows at a time share the loads of weights. That does not pay where there are few weights a unit, and all
    of them and one sample lie in the first-level cache, which several samples would outgrow.
    """
    ends = plan.inputs + plan.outputs
    return plan.work <= _FEW_WEIGHTS * ends and 4 * (plan.work + plan.scratch + ends) <= machine.l1


def c_name(name: str) -> str:
    """A name C can spell: letters, digits and underscores, made from any other."""
    spelt = re.sub(r"[^A-Za-z0-9_]", "_", name) or "net"
    return f"pathc_{spelt}"
