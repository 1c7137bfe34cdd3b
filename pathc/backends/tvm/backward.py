"""The backward pass of a plan: gradients of inputs and weights, by operations on the same buffers.

The forward operations are walked backwards. Gradients at sums go to the sources through the transposed junction, a
matrix of the same form; gradients of weights are sums over samples of source times destination.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from pathc.backends.tvm.lower import fan_in, plan_net, table_form
from pathc.backends.tvm.plan import (
    Blocks,
    Edges,
    Fill,
    Finish,
    Junction,
    Load,
    NetPlan,
    Op,
    Outer,
    Post,
    Rows,
    Save,
    Skip,
    Slope,
    Total,
)
from pathc.ir.generators import resolve
from pathc.ir.graph import Graph


def plan_gradients(graph: Graph, lanes: int, forms: Mapping[str, str]) -> NetPlan:
    """The plan of a forward and a backward pass over tiles of `lanes` samples; raises as `plan_net`.

    It takes `x` and `dy`, the gradient at the outputs, and gives `y`, `dx` and the gradients of all weights. Samples
    that only fill a tile have gradient 0.
    """
    forward = plan_net(graph, lanes, forms, keep_sums=True)
    walk = _Walk(graph, forms, forward, list(forward.ops), dict(forward.buffers))
    for op in reversed(forward.ops):
        walk.back(op)
    return replace(forward, ops=tuple(walk.ops), buffers=tuple(walk.buffers.items()))


@dataclass
class _Walk:
    """Backward operations being written; `held` is the buffer of the gradient so far of every station."""

    graph: Graph
    forms: Mapping[str, str]
    forward: NetPlan
    ops: list[Op]
    buffers: dict[str, int]
    held: dict[str, str] = field(default_factory=dict[str, str])

    def back(self, op: Op) -> None:
        """What undoes one operation."""
        station = op.end.station
        match op:
            case Save():
                end = replace(op.end, init="zero")
                self.ops.append(Load(self._name(), self._new(station), op.outputs, op.first, end, "dy"))
                return
            case Post():
                end = Finish(station, op.end.units, op.end.real, activation=op.end.activation)
                before = self._gradient(station)
                self.ops.append(Slope(self._name(), before, op.src, op.dst, self._new(station), end))
                return
            case Blocks() | Rows() | Skip():
                self._junction(op)
            case _:
                pass
        if op.end.init == "bias":
            end = Finish(station, op.end.units, op.end.real)
            self.ops.append(Total(self._name(), self._gradient(station), end))
        if isinstance(op, Load):
            end = Finish(station, op.end.units, op.end.real)
            self.ops.append(Save(self._name(), self._gradient(station), op.inputs, op.first, end, "dx"))

    def _junction(self, op: Junction) -> None:
        gradient = self._gradient(op.end.station)
        own = Finish(op.end.station, op.end.units, op.end.real)
        source = self.graph.station(op.src.rpartition(".")[0])
        before = self.held.get(source.name, "")
        end = Finish(source.name, source.units, source.real_units, "add" if before else "zero", before)
        if isinstance(op, Blocks):
            self.ops.append(Outer(self._name(), op.src, gradient, op, own))
        elif isinstance(op, Rows):
            self.ops.append(Edges(self._name(), op.junction, op.src, gradient, op.windows, own))
        self.ops.append(self._transposed(op, gradient, end))

    def _transposed(self, op: Junction, gradient: str, end: Finish) -> Op:
        name, dst = self._name(), self._new(end.station)
        if isinstance(op, Skip):
            return Skip(name, op.junction, gradient, dst, op.scale, end)
        if isinstance(op, Blocks) and op.count * op.fan_in == end.units:
            return replace(
                op,
                name=name,
                src=gradient,
                dst=dst,
                units=op.end.units,
                fan_in=op.fan_out,
                fan_out=op.fan_in,
                sources=op.destinations,
                destinations=op.sources,
                end=end,
                transposed=True,
            )
        windows = ((op.start, op.length),) if isinstance(op, Blocks) else op.windows
        line = self.graph.line(op.junction.rpartition(".")[0])
        number = int(op.junction.rpartition(".")[2]) - 1
        width, edges = fan_in(resolve(line, self.graph), number, windows, line)
        form = table_form(self.forms.get(op.junction, self.forms.get("*", "")), width, end.units, edges)
        units = op.end.units
        return Rows(name, op.junction, form, gradient, dst, units, windows, width, edges, end, transposed=True)

    def _gradient(self, station: str) -> str:
        """The buffer of a station's gradient; zeros if nothing hears it."""
        if station not in self.held:
            found = self.graph.station(station)
            end = Finish(station, found.units, found.real_units)
            self.ops.append(Fill(self._name(), self._new(station), end))
        return self.held[station]

    def _new(self, station: str) -> str:
        name = f"d.{station}.{sum(held.startswith(f'd.{station}.') for held in self.buffers) + 1}"
        self.buffers[name] = self.graph.station(station).units
        self.held[station] = name
        return name

    def _name(self) -> str:
        return f"k{len(self.ops)}"
