"""The CPU as a target: plans, kernels and parameters behind one executable."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pathc.backends.base import Request
from pathc.backends.llvm import aot
from pathc.backends.llvm.call import BY_ROWS, Bound, Kernel, order_of
from pathc.backends.llvm.column.tiling import tile_columns
from pathc.backends.llvm.filters.executable import FilterExecutable, beyond
from pathc.backends.llvm.forms import Choices, check_forms
from pathc.backends.llvm.integer.executable import IntegerExecutable
from pathc.backends.llvm.jit import compile_ir
from pathc.backends.llvm.junctions import TRANSPOSE, junctions_of
from pathc.backends.llvm.lower import cycles_of, plan_net
from pathc.backends.llvm.machine import Machine, machine
from pathc.backends.llvm.net import emit_net, pack, sizes_of
from pathc.backends.llvm.netplan import NetPlan, Orders, Run
from pathc.backends.llvm.plan import Family, Junction, Tiles, WeightType
from pathc.backends.llvm.plantext import PlanText, parse_plans, print_plans
from pathc.backends.llvm.recurrent.executable import SequenceExecutable
from pathc.backends.llvm.separate import separated
from pathc.backends.llvm.simplify import simplified
from pathc.backends.llvm.verify import verify_plan
from pathc.ir.cells import is_recurrent
from pathc.ir.graph import Graph
from pathc.ir.interp import supports
from pathc.ir.order import station_order
from pathc.ir.passes import parse_pipeline
from pathc.ir.pipeline import run_passes
from pathc.ir.quantized import integer_network
from pathc.ir.types import Value
from pathc.ir.weights import check_weights
from pathc.support.diagnostics import Diagnostic, PathcError, Severity, UsageError, error
from pathc.support.files import memory_limit

Arrays = Mapping[str, NDArray[np.float32]]
Steps = tuple[tuple[str, Tiles, str], ...]
"""Forms, tiles and types of all kernels of a plan: what the order of packed weights depends on, in one family."""
Key = tuple[str, tuple[int, ...], Orders]
"""Family and sizes of a kernel, and how the arrays lie it is called with."""
_F32 = np.dtype(np.float32)
ROWS = 4
"""Samples a row kernel takes at a time where the batch has them."""
_FEW_WEIGHTS = 4
"""Multiply-adds for each input and output up to which bringing samples in and out costs more than the weights."""
WEIGHT_TYPES = ("f32", "bf16")
ARRAYS: Mapping[str, Orders] = {"rows": BY_ROWS, "units": ("units", "units")}
"""Values of the option `arrays`."""


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
            self._columns[orders] = plan_net(
                self.graph, self.machine, "column", columns, self.choices, orders, self.junctions
            )
        return self._columns[orders]

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
            self._kernels[key] = Kernel(
                compile_ir(ir, self.machine),
                self.name,
                plan.inputs,
                plan.outputs,
                self.parameters(plan),
                threads=self.machine.threads or self.machine.cores,
                scratch=plan.scratch * 4,
                tile=sizes[0],
                work=plan.work,
                orders=orders,
            )
        return self._kernels[key]

    def _code(self, plan: NetPlan, sizes: Sequence[int]) -> str:
        """The IR of a plan that has been checked: none is ever made of another."""
        needed, most = plan.scratch * 4 * (self.machine.threads or self.machine.cores), memory_limit()
        if needed > most:
            text = f"`{self.graph.name}` needs {needed} bytes for its units, the memory can take {most}"
            raise error("E0502", text, self.graph.loc, help="use layers of fewer units, or fewer threads")
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
        kernel = self.kernel(batch, _orders(x, y) if batch > 1 else BY_ROWS)
        if x.dtype != _F32:
            if x.dtype.kind not in "uifb":
                raise error("E0701", f"the input is {x.dtype}", help="give floats or integers")
            x = x.astype(np.float32)
        return kernel(x, y)

    def bind(
        self, x: NDArray[np.float32], y: NDArray[np.float32] | None = None, *, threads: int | None = None
    ) -> Bound:
        """Check the arrays once and tie the kernel to them: the way to call it when nanoseconds count."""
        return self.kernel(x.shape[0] if x.ndim == 2 else 1, _orders(x, y)).bind(x, y, threads=threads)

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


def _orders(x: NDArray[Any], y: NDArray[Any] | None) -> Orders:
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


class CpuBackend:
    """LLVM code for processors: dense blocks in vector registers, weights streamed, no gathers."""

    name = "llvm"
    summary = "CPU kernels through LLVM: AVX-512, AVX2, generic vectors; AArch64 as object code"
    emits = ("plan", "ll", "asm", "o", "so", "h", "c", "params")

    def unavailable(self) -> str:
        """Empty: llvmlite is always there."""
        return ""

    def refusals(self, graph: Graph) -> list[Diagnostic]:
        """What the kernels cannot compute yet: everything the interpreter lacks, too."""
        return supports(graph) or beyond(graph)

    def compile(self, request: Request) -> CpuExecutable | SequenceExecutable | FilterExecutable | IntegerExecutable:
        """Check everything that can be checked now; kernels are made when first called."""
        options = dict(request.options)
        integers = options.pop("integers", False)
        if not isinstance(integers, bool):
            raise error("E0603", f"`integers` cannot be `{integers}`", help="it is true or false")
        if integers:
            return _integers(request, options)
        kind = str(options.pop("weights", "f32"))
        if kind not in WEIGHT_TYPES:
            raise error("E0603", f"weights of type `{kind}` have no kernels", help=" or ".join(WEIGHT_TYPES))
        arrays = str(options.pop("arrays", "rows"))
        if arrays not in ARRAYS:
            raise error("E0603", f"arrays cannot have `{arrays}` first", help=" or ".join(ARRAYS))
        chosen = machine(options)
        found = [*self.refusals(request.graph), *check_weights(request.graph, request.weights)]
        if found:
            raise PathcError(*found)
        weight_type: WeightType = "bf16" if kind == "bf16" else "f32"
        if is_recurrent(request.graph):
            return _sequences(request, chosen, weight_type)
        if any(len(station.shape) > 1 for station in request.graph.stations):
            return _filters(request, chosen, weight_type)
        simple, weights = simplified(request.graph, request.weights)
        if simple is not request.graph:
            simple = run_passes(simple, parse_pipeline("canonical,structure"))
        request = replace(request, graph=separated(simple), weights=weights)
        check_forms(request.forms, junctions_of(request.graph))
        choices = Choices(weight_type, request.forms)
        given, notes = plans_of(request, chosen, weight_type, ARRAYS[arrays])
        weights = audible(request.graph, request.weights)
        return CpuExecutable(request.graph, chosen, choices, weights, request.batch, notes, given, ARRAYS[arrays])


def _sequences(request: Request, machine: Machine, weight_type: WeightType) -> SequenceExecutable:
    """The executable of a net with cells; raises E0806 for plans and kernel forms, E0377 for lines it cannot cut."""
    _refuse_choices(request, "recurrent nets")
    notes: tuple[Diagnostic, ...] = ()
    if machine.threads > 1:
        text, help = "time loops run on one thread", "run several sequences in threads of your own"
        notes = (Diagnostic("W0661", text, help=help, severity=Severity.NOTE),)

    made = SequenceExecutable(request.graph, machine, request.weights, _flat(machine, weight_type), notes)
    len(made.segments)
    return made


def _filters(request: Request, machine: Machine, weight_type: WeightType) -> FilterExecutable:
    """The executable of a net with extents; raises E0806 for plans and forms, E0377 for lines it cannot cut."""
    _refuse_choices(request, "nets with extents")
    notes: tuple[Diagnostic, ...] = ()
    if weight_type != "f32":
        text, help = "filters are computed with f32 weights", "bf16 weights are those of the flat layers behind them"
        notes = (Diagnostic("W0662", text, help=help, severity=Severity.NOTE),)
    name, flat = c_name(request.graph.name), _flat(machine, weight_type)
    made = FilterExecutable(request.graph, machine, request.weights, name, flat, notes)
    made.tail  # noqa: B018
    return made


def _integers(request: Request, options: dict[str, Value]) -> IntegerExecutable:
    """The executable of a quantized net; raises E0806 for plans and forms, E13xx for what is not in integers."""
    _refuse_choices(request, "integer nets")
    other = next((name for name in ("weights", "arrays") if name in options), "")
    if other:
        text = f"integer nets have no option `{other}`"
        raise UsageError(Diagnostic("E0806", text, help="weights have the types of the graph, samples come first"))
    chosen = machine(options)
    return IntegerExecutable(integer_network(request.graph, request.stored), chosen, c_name(request.graph.name))


def _refuse_choices(request: Request, who: str) -> None:
    if request.plan is not None or request.forms:
        what = "follow no plan" if request.plan is not None else "have no kernel forms to choose"
        raise UsageError(Diagnostic("E0806", f"{who} {what}", help="leave it out"))


def _flat(machine: Machine, weight_type: WeightType) -> Callable[[Graph, Mapping[str, NDArray[Any]]], CpuExecutable]:
    """Makes executables of the flat nets between other kernels."""

    def rows(graph: Graph, weights: Mapping[str, NDArray[Any]]) -> CpuExecutable:
        simple, tensors = simplified(graph, weights)
        structured = run_passes(separated(simple), parse_pipeline("canonical,structure"))
        return CpuExecutable(structured, machine, Choices(weight_type, {}), audible(structured, tensors))

    return rows


def plans_of(
    request: Request, machine: Machine, weight_type: WeightType, orders: Orders
) -> tuple[dict[Family, PlanText], tuple[Diagnostic, ...]]:
    """The plans a request brings along, checked, their cost estimated anew.

    A note says where they are another machine's, or for arrays that lie otherwise than `orders`.

    Raises PathcError: E0640 to E0658, E0611, E0612; E0603 for bf16 weights in a plan where the target has f32.
    """
    given: dict[Family, PlanText] = {}
    notes: list[Diagnostic] = []
    for text in parse_plans(request.plan, request.graph) if request.plan else ():
        plan, places = text.plan, text.places
        verify_plan(plan, request.graph, machine, places)
        for at, op in enumerate(plan.ops):
            if isinstance(op, Run) and weight_type == "f32" and op.step.weight_type != "f32":
                help = "compile for `llvm{weights=bf16}`"
                raise error("E0603", "the target has weights of type f32, the plan bf16", places.get(at), help=help)
        if plan.cpu != machine.cpu:
            slow = f"the plan was made for {plan.cpu}, its forms and tiles may be slow on {machine.cpu}"
            notes.append(Diagnostic("W0647", slow, places.get(""), severity=Severity.NOTE))
        if plan.family == "column" and plan.orders != orders:
            first = "samples" if orders == BY_ROWS else "units"
            other = f"the plan is not for arrays with {first} first, such arrays follow a plan that is made for them"
            help = "compile for `llvm{arrays=units}`" if first == "samples" else "compile for `llvm`"
            notes.append(Diagnostic("W0648", other, places.get(""), help=help, severity=Severity.NOTE))
        cycles = cycles_of(plan.ops, plan.family, machine, plan.samples)
        given[plan.family] = replace(text, plan=replace(plan, cycles=cycles))
    return given, tuple(notes)


def audible(graph: Graph, weights: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[np.float32]]:
    """Weights as float32 under the names junctions use: transposes of tied dense lines, silence for silent units.

    Silent units read as zero, whatever reaches them: the weights of paths through them are zeroed.
    """
    ready = {name: np.asarray(tensor, np.float32) for name, tensor in weights.items()}
    for junction in junctions_of(graph):
        tensor = junction.tensor
        if tensor.endswith(TRANSPOSE):
            ready[tensor] = np.ascontiguousarray(ready[tensor.removesuffix(TRANSPOSE)].T)
        source, destination = (graph.station(name) for name in (junction.src, junction.dst))
        if junction.kind == "dense":
            silent = (0, destination.units - destination.real_units), (0, source.units - source.real_units)
            ready[tensor] = np.pad(ready[tensor], silent)
        elif junction.kind == "paths" and any(s.real_units < s.units for s in (source, destination)):
            src, dst = junction.edges()
            heard = (src < source.real_units) & (dst < destination.real_units)
            ready[tensor] = np.where(heard, ready[tensor], np.float32(0))
    return ready


BACKEND = CpuBackend()
