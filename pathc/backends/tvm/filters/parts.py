"""A net as kernels take it: filters first, then a flat net without normalizations and equations."""

from __future__ import annotations

from dataclasses import dataclass, replace

from pathc.backends.base import Request, Weights
from pathc.backends.llvm.filters.executable import beyond, given
from pathc.backends.llvm.simplify import simplified
from pathc.backends.tvm.filters.lower import plan_filters
from pathc.backends.tvm.filters.plan import FilterPlan
from pathc.backends.tvm.plan import Load, NetPlan
from pathc.ir.cells import is_recurrent
from pathc.ir.cut import Cutter
from pathc.ir.graph import Graph
from pathc.ir.interp import supports
from pathc.ir.misfits import flat_only, without_steps
from pathc.ir.passes import parse_pipeline
from pathc.ir.pipeline import run_passes
from pathc.support.diagnostics import Diagnostic, PathcError, UsageError


@dataclass(frozen=True, eq=False)
class Parts:
    """`flat` is the request for the flat net, None if the outputs have extents; `filters` is None for flat nets."""

    name: str
    filters: FilterPlan | None
    flat: Request | None

    def joined(self, flat: NetPlan | None, lanes: int) -> NetPlan:
        """The plan of the whole net from that of the flat one, which then reads what the filters leave."""
        if self.filters is None:
            assert flat is not None
            return flat
        inputs = self.filters.inputs
        if flat is None:
            return NetPlan(self.name, lanes, (), (), inputs, self.filters.outputs, filters=self.filters)
        ops = tuple(replace(op, array="z") if isinstance(op, Load) else op for op in flat.ops)
        return replace(flat, name=self.name, ops=ops, inputs=inputs, filters=self.filters)


def parts_of(request: Request) -> Parts:
    """The parts of a checked request; E0377 for lines that cannot be cut, E0806 for forms of nets with extents."""
    graph, weights = request.graph, request.weights
    if all(len(station.shape) == 1 for station in graph.stations):
        return Parts(graph.name, None, _simple(request, graph, weights))
    if request.forms:
        text = "nets with extents have no kernel forms to choose"
        raise UsageError(Diagnostic("E0806", text, help="leave it out"))
    if all(len(station.shape) > 1 for station in graph.outputs):
        results = [station.name for station in graph.outputs]
        return Parts(graph.name, plan_filters(graph, weights, results, "y"), None)
    segment = Cutter(graph, weights, given).outputs()
    filters = plan_filters(graph, weights, segment.reads, "z")
    return Parts(graph.name, filters, _simple(request, segment.graph, segment.weights))


def _simple(request: Request, graph: Graph, weights: Weights) -> Request:
    """The request for a flat graph, normalizations folded, equations unrolled, dense blocks found."""
    simple, tensors = simplified(graph, weights)
    if simple is request.graph:
        return request
    return replace(request, graph=run_passes(simple, parse_pipeline("canonical,structure")), weights=tensors)


def refusals(graph: Graph, target: str) -> list[Diagnostic]:
    """What has no kernels: E0610 as the interpreter; E0379 for extents beside cells, and for some nets of extents."""
    if is_recurrent(graph):
        return supports(graph) or flat_only(graph, f"a net with cells on `{target}` has")
    return supports(graph) or without_steps(graph, f"`{target}` has") or beyond(graph, frozenset({"shortcut"}))


def check_gradients(graph: Graph, target: str) -> None:
    """Raise E0379 for nets whose backward pass has no kernels: those with extents and what belongs to them."""
    found = flat_only(graph, f"a backward pass of `{target}` has")
    if found:
        raise PathcError(*found)
