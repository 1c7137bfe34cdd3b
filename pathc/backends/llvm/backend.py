"""The CPU as a target: plans, kernels and parameters behind one executable."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pathc.backends.base import Request, switch
from pathc.backends.llvm.call import BY_ROWS
from pathc.backends.llvm.events.executable import EventExecutable
from pathc.backends.llvm.events.plan import sampled_stations
from pathc.backends.llvm.executable import CpuExecutable, c_name
from pathc.backends.llvm.filters.executable import FilterExecutable, beyond
from pathc.backends.llvm.forms import Choices, check_forms
from pathc.backends.llvm.halves.executable import HalfExecutable
from pathc.backends.llvm.halves.plan import product_of
from pathc.backends.llvm.integer.executable import IntegerExecutable
from pathc.backends.llvm.integer.filters.executable import IntegerFilterExecutable, beyond_kernels
from pathc.backends.llvm.junctions import TRANSPOSE, junctions_of
from pathc.backends.llvm.lower import cycles_of
from pathc.backends.llvm.machine import Machine, machine
from pathc.backends.llvm.netplan import Orders, Run
from pathc.backends.llvm.plan import Family, WeightType
from pathc.backends.llvm.plantext import PlanText, parse_plans
from pathc.backends.llvm.recurrent.executable import SequenceExecutable
from pathc.backends.llvm.separate import separated
from pathc.backends.llvm.simplify import simplified
from pathc.backends.llvm.verify import verify_plan
from pathc.ir.graph import Graph
from pathc.ir.interp import supports
from pathc.ir.misfits import flat_only, plain_only, unscaled_only
from pathc.ir.passes import parse_pipeline
from pathc.ir.pipeline import run_passes
from pathc.ir.quantized import check_bytes, integer_network
from pathc.ir.sequences import gives_sequences, takes_sequences
from pathc.ir.types import Value
from pathc.ir.weights import check_weights
from pathc.support.diagnostics import Diagnostic, PathcError, Severity, UsageError, error

WEIGHT_TYPES = ("f32", "bf16")
ARRAYS: Mapping[str, Orders] = {"rows": BY_ROWS, "units": ("units", "units")}
"""Values of the option `arrays`."""
Compiled = (
    CpuExecutable
    | SequenceExecutable
    | FilterExecutable
    | IntegerExecutable
    | IntegerFilterExecutable
    | EventExecutable
    | HalfExecutable
)


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

    def compile(self, request: Request) -> Compiled:
        """Check everything that can be checked now; kernels are made when first called."""
        options = dict(request.options)
        if switch(options, "integers"):
            return _integers(request, options)
        if switch(options, "events"):
            return _events(request, options)
        alone = next((name for name in ("rate", "from") if name in options), "")
        if alone:
            help = f"write llvm{{events=true, {alone}={options[alone]}}}"
            raise error("E0603", f"the option `{alone}` is for nets of events", help=help)
        precision = str(options.pop("precision", "f32"))
        if precision not in WEIGHT_TYPES:
            raise error("E0603", f"there is no precision `{precision}`", help=" or ".join(WEIGHT_TYPES))
        kind = str(options.pop("weights", precision))
        if kind not in WEIGHT_TYPES:
            raise error("E0603", f"weights of type `{kind}` have no kernels", help=" or ".join(WEIGHT_TYPES))
        if precision == "bf16" and kind != precision:
            raise error("E0603", "products of bfloat16 have no weights of f32", help="leave `weights` out")
        arrays = str(options.pop("arrays", "rows"))
        if arrays not in ARRAYS:
            raise error("E0603", f"arrays cannot have `{arrays}` first", help=" or ".join(ARRAYS))
        chosen = machine(options)
        found = [*self.refusals(request.graph), *check_weights(request.graph, request.weights)]
        if found:
            raise PathcError(*found)
        weight_type: WeightType = "bf16" if kind == "bf16" else "f32"
        if precision == "bf16":
            return _halves(request, chosen, arrays)
        if gives_sequences(request.graph):
            return _sequences(request, chosen, weight_type)
        if any(len(station.shape) > 1 for station in request.graph.stations):
            return _filters(request, chosen, weight_type)
        request = _simple(request)
        check_forms(request.forms, junctions_of(request.graph))
        choices = Choices(weight_type, request.forms)
        given, notes = plans_of(request, chosen, weight_type, ARRAYS[arrays])
        weights = audible(request.graph, request.weights)
        return CpuExecutable(request.graph, chosen, choices, weights, request.batch, notes, given, ARRAYS[arrays])


def _simple(request: Request) -> Request:
    """The same flat net in what kernels know."""
    simple, weights = simplified(request.graph, request.weights)
    if simple is not request.graph:
        simple = run_passes(simple, parse_pipeline("canonical,structure"))
    return replace(request, graph=separated(simple), weights=weights)


def _halves(request: Request, machine: Machine, arrays: str) -> HalfExecutable | CpuExecutable:
    """The executable of a net of bfloat16; E0806 for plans and forms, E0376, E0379 for what is not flat."""
    _refuse_choices(request, "nets of bfloat16")
    help = "`llvm{weights=bf16}` rounds the weights alone"
    if found := plain_only(request.graph, "products of bfloat16 know"):
        raise PathcError(*(replace(each, help=help) for each in found))
    if product_of(machine) is None:
        raise error("E0603", f"{machine} has no products of bfloat16", help=help)
    request = _simple(request)
    weights = audible(request.graph, request.weights)
    floats = CpuExecutable(request.graph, machine, Choices("bf16", {}), weights, request.batch, orders=ARRAYS[arrays])
    return floats if request.batch == 1 else HalfExecutable(floats, request.weights)


def _sequences(request: Request, machine: Machine, weight_type: WeightType) -> SequenceExecutable:
    """The executable of a net of sequences; raises E0806 for plans and kernel forms, E0377 for lines it cannot cut."""
    _refuse_choices(request, "recurrent nets")
    notes: tuple[Diagnostic, ...] = ()
    if machine.threads > 1:
        text, help = "time loops run on one thread", "run several sequences in threads of your own"
        notes = (Diagnostic("W0661", text, help=help, severity=Severity.NOTE),)

    made = SequenceExecutable(request.graph, machine, request.weights, _nets(machine, weight_type), notes)
    len(made.segments)
    return made


def _nets(
    machine: Machine, weight_type: WeightType
) -> Callable[[Graph, Mapping[str, NDArray[Any]]], CpuExecutable | FilterExecutable]:
    """Makes executables of the feed-forward nets of one with sequences."""
    flat = _flat(machine, weight_type)

    def rows(graph: Graph, weights: Mapping[str, NDArray[Any]]) -> CpuExecutable | FilterExecutable:
        if all(len(station.shape) == 1 for station in graph.stations):
            return flat(graph, weights)
        made = FilterExecutable(graph, machine, weights, c_name(graph.name), flat)
        made.tail  # noqa: B018
        return made

    return rows


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


def _events(request: Request, options: dict[str, Value]) -> EventExecutable:
    """The executable of a net driven by events; raises E0806 for plans and forms, E0379 for nets that are not flat."""
    _refuse_choices(request, "nets of events")
    _refuse_options(options, "nets of events")
    rate, start = _rate(options.pop("rate", 0)), str(options.pop("from", ""))
    graph = request.graph
    chosen = machine(options)
    found = plain_only(graph, "events know") or flat_only(graph, "events know") or unscaled_only(graph, "events know")
    found = [*supports(graph), *found, *check_weights(graph, request.weights)]
    if found:
        raise PathcError(*found)
    if start and start not in {station.name for station in graph.stations}:
        raise error("E0302", f"there is no station `{start}`", graph.loc, help="`from` names the first that is sampled")
    rates = sampled_stations(graph, rate, start) if rate else dict[str, float]()
    made = EventExecutable(graph, chosen, request.weights, c_name(graph.name), rates)
    made.network  # noqa: B018
    return made


def _rate(value: Value) -> float:
    """Samples a unit; 0 for none."""
    try:
        return float(str(value))
    except ValueError:
        raise error("E0603", f"`rate` cannot be `{value}`", help="samples a unit: 0.2 is a fifth") from None


def _refuse_options(options: dict[str, Value], who: str) -> None:
    other = next((name for name in ("weights", "precision", "arrays") if name in options), "")
    if other:
        text = f"{who} have no option `{other}`"
        raise UsageError(Diagnostic("E0806", text, help="leave it out"))


def _integers(request: Request, options: dict[str, Value]) -> IntegerExecutable | IntegerFilterExecutable:
    """The executable of a quantized net; E0806 for plans and forms, E0376, E0379, E13xx for what has no integers."""
    _refuse_choices(request, "integer nets")
    _refuse_options(options, "integer nets")
    if takes_sequences(request.graph):
        raise PathcError(*plain_only(request.graph, "integers on the processor have"))
    chosen, name = machine(options), c_name(request.graph.name)
    network = integer_network(request.graph, request.stored)
    check_bytes(network, "the kernels of `llvm` have")
    if found := beyond_kernels(network):
        raise PathcError(*found)
    if any(len(station.shape) > 1 for station in request.graph.stations):
        return IntegerFilterExecutable(network, chosen, name)
    return IntegerExecutable(network, chosen, name)


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
