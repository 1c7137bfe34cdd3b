"""A net with extents as an executable: filters first, then the flat rest as an ordinary net."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pathc.backends.llvm import aot
from pathc.backends.llvm.call import Kernel
from pathc.backends.llvm.filters.chain import Chain
from pathc.backends.llvm.filters.lower import plan_filters
from pathc.backends.llvm.filters.net import Behind, emit_filters, emit_whole, pack_filters
from pathc.backends.llvm.filters.plan import FilterPlan
from pathc.backends.llvm.jit import compile_ir
from pathc.backends.llvm.machine import Machine
from pathc.backends.llvm.pieces import Array, BoundSteps, Rows
from pathc.backends.llvm.scratch import check_scratch
from pathc.backends.llvm.simplify import uneven
from pathc.ir.cells import cell_of
from pathc.ir.cut import Cutter, Segment
from pathc.ir.extents import read_extents
from pathc.ir.folding import unfoldable
from pathc.ir.graph import Graph, Station
from pathc.ir.inputs import input_shape, output_shape
from pathc.ir.sequences import unrolls
from pathc.support.diagnostics import Diagnostic


@dataclass(frozen=True, eq=False)
class FilterExecutable:
    """A net with extents compiled for a processor.

    Inputs are float32 [batch, channels, *extents] or without the batch axis; several inputs lie side by side in rows.
    """

    graph: Graph
    machine: Machine
    weights: Mapping[str, NDArray[Any]]
    name: str
    rows: Rows
    notes: tuple[Diagnostic, ...] = ()

    @cached_property
    def flat(self) -> Segment | None:
        """The flat net behind the filters, None if the outputs have extents."""
        if all(len(station.shape) > 1 for station in self.graph.outputs):
            return None
        return Cutter(self.graph, self.weights, given).outputs()

    @cached_property
    def plan(self) -> FilterPlan:
        """What is computed for each sample up to the flat net."""
        results = self.flat.reads if self.flat is not None else tuple(s.name for s in self.graph.outputs)
        return plan_filters(self.graph, self.weights, self.machine, results)

    @cached_property
    def kernel(self) -> Kernel:
        """The filters, compiled."""
        plan = self.plan
        check_scratch(self.graph, self.machine, 4 * plan.scratch, "channels or smaller extents")
        return Kernel(
            compile_ir(self.ir(), self.machine), self.name, plan.inputs, plan.outputs, pack_filters(plan),
            threads=self.machine.workers, scratch=4 * plan.scratch, work=plan.work,
        )  # fmt: skip

    @cached_property
    def tail(self) -> Any:
        """The executable of the flat net, None without."""
        return None if self.flat is None else self.rows(self.flat.graph, self.flat.weights)

    def ir(self) -> str:
        """The filters as LLVM IR."""
        return emit_filters(self.plan, self.machine, self.name)

    @cached_property
    def chain(self) -> Chain:
        """Filters and flat net as one."""
        return Chain(input_shape(self.graph), output_shape(self.graph), self.kernel, self.tail)

    def __call__(self, x: NDArray[Any], y: Array | None = None) -> Array:
        """Outputs [batch, ...] of inputs [batch, ...], or of one without the batch axis; raises as `Chain`."""
        return self.chain(x, y)

    def bind(self, x: Array, y: Array | None = None, *, threads: int | None = None) -> BoundSteps:
        """Tie the net to x [batch, ...] and, if given, y, both float32 and contiguous."""
        return self.chain.bind(x, y, threads=threads)

    def program(self, batch: int = 0) -> aot.Program:
        """The net as a program for files, any batch, one sample after the other; the machine may be another one."""
        plan, packed = self.plan, pack_filters(self.plan)
        if self.tail is None:
            ir, params, scratch = self.ir(), packed, 4 * plan.scratch
            return aot.Program(self.name, ir, self.machine, plan.inputs, plan.outputs, params, scratch)
        # For one sample even where the machine runs several: the filters hand over one at a time.
        tail = replace(self.tail, batch=1)
        flat = tail.row_plan
        values = rounded(4 * plan.scratch)
        behind = Behind(flat, values, values + rounded(4 * plan.outputs), rounded(packed.nbytes))
        params = np.concatenate([np.pad(packed, (0, behind.params - packed.nbytes)), tail.parameters(flat)])
        ir = emit_whole(plan, behind, self.machine, self.name)
        scratch = behind.scratch + 4 * flat.scratch
        return aot.Program(self.name, ir, self.machine, plan.inputs, flat.outputs, params, scratch)

    def emit(self, kind: str) -> str | bytes:
        """A stage as text or bytes: `ll`, `asm`, `o`, `so`, `h`, `c`, `params`."""
        return aot.without_plan(self.program, kind, "nets with extents", self.graph.loc)


def rounded(size: int) -> int:
    """Bytes up to the next cache line."""
    return -(-size // 64) * 64


def given(station: Station) -> Station | None:
    """What the flat net is given of a station: an input, or all positions of one with extents; None for flat ones."""
    if station.role != "input" and len(station.shape) == 1:
        return None
    positions = math.prod(read_extents(station)) if len(station.shape) > 1 else 1
    declared = station.real_units * positions if station.declared else 0
    return Station(station.name, "input", (station.units * positions,), declared=declared, loc=station.loc)


def _spread(station: Station) -> bool:
    """Whether what is read from a station has extents, be they of one position."""
    if unrolls(station) or cell_of(station) is not None:
        return bool(read_extents(station))
    return len(station.shape) > 1


def beyond(graph: Graph, lacking: frozenset[str] = frozenset({"kwinners"})) -> list[Diagnostic]:
    """What of a net with extents has no kernels: E0379; `lacking` are functions of channels that have none."""
    found: list[Diagnostic] = []
    into: dict[str, list[Station]] = {station.name: [] for station in graph.stations}
    for line in graph.lines:
        for number in line.junctions:
            source = graph.station(line.visits[number - 1].station)
            into[line.visits[number].station].append(source)
    sizes = {_spread(station) for station in graph.outputs}
    if len(sizes) > 1:
        text = "some outputs have extents and others have none, which has no kernels"
        found.append(Diagnostic("E0379", text, graph.loc, help="use `-t reference`, or two models"))
    help = "use `-t reference`"
    for line in uneven(graph):
        text = f"`{line.name}` shares the weights of `{line.mirror}` at another scale, which has no kernels"
        found.append(Diagnostic("E0379", text, line.loc, help=help))
    for station, why in unfoldable(graph):
        if len(station.shape) == 1:
            text = f"the normalization of `{station.name}` stands {why}, where it cannot be folded into weights"
            found.append(Diagnostic("E0379", text, station.loc, help=help))
    for station in graph.stations:
        if len(station.shape) == 1:
            names = ("concat", "channelshuffle")
            for stage in station.pipeline:
                if stage.name in names:
                    text = f"`{station.name}` has no extents and the stage `{stage.name}`, which has no kernels"
                    found.append(Diagnostic("E0379", text, station.loc, help=help))
            continue
        for stage in station.pipeline:
            if stage.name in lacking:
                text = f"`{station.name}` has extents and the stage `{stage.name}`, which has no kernels"
                found.append(Diagnostic("E0379", text, station.loc, help=help))
        for source in into[station.name]:
            if not _spread(source):
                text = f"a line leads from `{source.name}` back to the extents of `{station.name}`"
                found.append(Diagnostic("E0379", f"{text}, which has no kernels", station.loc, help=help))
    return found
