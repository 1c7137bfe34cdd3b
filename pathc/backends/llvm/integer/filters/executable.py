"""A quantized net with extents as an executable: filters first, then the flat rest as an ordinary integer net."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pathc.backends.bytewise import functions_of
from pathc.backends.llvm import aot
from pathc.backends.llvm.call import Kernel
from pathc.backends.llvm.emit import I64, Function, module
from pathc.backends.llvm.ends import repeated
from pathc.backends.llvm.filters.chain import Chain
from pathc.backends.llvm.filters.executable import given, rounded
from pathc.backends.llvm.integer.executable import FUNCTIONS, IntegerExecutable
from pathc.backends.llvm.integer.filters.write import SLACK, FilterWriter
from pathc.backends.llvm.integer.net import emit_integers
from pathc.backends.llvm.jit import compile_ir
from pathc.backends.llvm.machine import Machine
from pathc.backends.llvm.net import SIGNATURE
from pathc.backends.llvm.pieces import Array, BoundSteps
from pathc.backends.llvm.scratch import check_scratch
from pathc.backends.llvm.vecmath import ELEMENTWISE
from pathc.backends.llvm.writer import Kernels, Parameters, Room
from pathc.ir.graph import Graph, Station
from pathc.ir.inputs import input_shape, output_shape
from pathc.ir.interp.filters import FilterJunction
from pathc.ir.quantized import IntegerJunction, IntegerNetwork, IntegerStation, integer_forward, reading
from pathc.support.diagnostics import Diagnostic, error


@dataclass(frozen=True)
class _Made:
    """The function of the filters with its kernels, its parameters, bytes of scratch memory, work for a sample."""

    functions: tuple[Function, ...]
    parameters: NDArray[np.uint8]
    scratch: int
    work: int


@dataclass(frozen=True, eq=False)
class IntegerFilterExecutable:
    """A quantized net with extents compiled for a processor: what is read is what the integer interpreter says.

    Inputs are float32 [batch, channels, *extents] or without the batch axis; several inputs lie side by side in rows.
    The bound form gives NaN for a sample with NaN.
    """

    network: IntegerNetwork
    machine: Machine
    name: str
    notes: tuple[Diagnostic, ...] = ()

    @cached_property
    def tail(self) -> IntegerExecutable | None:
        """The executable of the flat net, None if the outputs have extents."""
        if all(len(station.shape) > 1 for station in self.network.graph.outputs):
            return None
        return IntegerExecutable(_flat(self.network), self.machine, f"{self.name}_flat")

    @cached_property
    def results(self) -> tuple[str, ...]:
        """Stations whose numbers the filters hand over, side by side."""
        graph = self.network.graph if self.tail is None else self.tail.network.graph
        return tuple(station.name for station in (graph.outputs if self.tail is None else graph.inputs))

    @cached_property
    def _filters(self) -> _Made:
        parameters, kernels, room = Parameters(), Kernels(f"{self.name}.plane"), Room()
        one = f"{self.name}.planes"
        writer = FilterWriter(one, parameters, room, kernels, self.network, self.machine, self.results)
        body = writer.write()
        return _Made((*kernels.functions.values(), body), parameters.packed(), room.size + SLACK, writer.work)

    @cached_property
    def kernel(self) -> Kernel:
        """The filters, compiled."""
        made = self._filters
        check_scratch(self.network.graph, self.machine, made.scratch, "channels or smaller extents")
        inputs, outputs = self._ends()
        f = _batched(self.name, made.functions[-1].name)
        ir = module([*made.functions, f], self.machine.triple)
        return Kernel(
            compile_ir(ir, self.machine), self.name, inputs, outputs, made.parameters,
            threads=self.machine.workers, scratch=made.scratch, work=made.work // 4,
        )  # fmt: skip

    def _ends(self) -> tuple[int, int]:
        """Numbers that the filters take and hand over."""
        if self.tail is not None:
            handed = sum(station.real_units for station in self.tail.network.graph.inputs)
        else:
            handed = math.prod(output_shape(self.network.graph))
        return math.prod(input_shape(self.network.graph)), handed

    @cached_property
    def chain(self) -> Chain:
        """Filters and flat net as one."""
        graph = self.network.graph
        return Chain(input_shape(graph), output_shape(graph), self.kernel, self.tail)

    def __call__(self, x: NDArray[Any], y: Array | None = None) -> Array:
        """Outputs [batch, ...] of inputs [batch, ...], or of one alone; raises as `Chain`, and E1308 for NaN."""
        made = self.chain(x, y)
        if np.isnan(made).any() and np.isnan(x).any():
            raise error("E1308", "the input holds NaN", self.network.graph.loc)
        return made

    def bind(self, x: Array, y: Array | None = None, *, threads: int | None = None) -> BoundSteps:
        """Tie the net to x [batch, ...] and, if given, y, both float32 and contiguous."""
        return self.chain.bind(x, y, threads=threads)

    @property
    def roundoff(self) -> float:
        """That of float32 functions of sums; none where outputs are the integers times their scales."""
        if self.tail is not None:
            return self.tail.roundoff
        every = (functions_of(self.network.station(station.name)) for station in self.network.graph.outputs)
        return FUNCTIONS if any(every) else 0.0

    def integer_reference(self, x: NDArray[Any]) -> NDArray[np.float64]:
        """Outputs of the integer interpreter, rounded to float32 as the kernels give them."""
        return integer_forward(self.network, x).astype(np.float32).astype(np.float64)

    def program(self, batch: int = 0) -> aot.Program:
        """The net as a program for files, any batch, one sample after the other; the machine may be another one."""
        made, (inputs, outputs) = self._filters, self._ends()
        one = made.functions[-1].name
        if self.tail is None:
            ir = module([*made.functions, _batched(self.name, one)], self.machine.triple)
            return aot.Program(self.name, ir, self.machine, inputs, outputs, made.parameters, made.scratch)
        flat = emit_integers(self.tail.plan, self.tail.name, internal=True)
        values, scratch, params = (rounded(n) for n in (made.scratch, 4 * outputs, made.parameters.nbytes))
        f = Function(self.name, SIGNATURE, internal=False)
        total = sum(station.real_units for station in self.tail.network.graph.outputs)
        with repeated(f, "%batch") as index:
            x, y = (f.offset(f"%{end}", f.op("mul", I64, index, f"%{end}_stride")) for end in "xy")
            handed = f.offset("%scratch", values, "i8")
            f.call("void", one, [("ptr", x), ("ptr", handed), ("ptr", "%params"), ("ptr", "%scratch")], declare=False)
            given_ = [("ptr", handed), ("ptr", y), ("ptr", f.offset("%params", params, "i8")),
                      ("ptr", f.offset("%scratch", values + scratch, "i8"))]  # fmt: skip
            numbers = [(I64, "1"), (I64, str(outputs)), (I64, str(total))]
            f.call("void", self.tail.name, [*given_, *numbers], declare=False)
        ir = module([*made.functions, *flat.functions, f], self.machine.triple)
        packed = np.concatenate([np.pad(made.parameters, (0, params - made.parameters.nbytes)), flat.parameters])
        return aot.Program(self.name, ir, self.machine, inputs, total, packed, values + scratch + flat.scratch)

    def emit(self, kind: str) -> str | bytes:
        """A stage as text or bytes: `ll`, `asm`, `o`, `so`, `h`, `c`, `params`."""
        return aot.without_plan(self.program, kind, "integer nets", self.network.graph.loc)


def _batched(name: str, one: str) -> Function:
    """The function of a net that runs `one` for every sample."""
    f = Function(name, SIGNATURE, internal=False)
    with repeated(f, "%batch") as index:
        ends = [("ptr", f.offset(f"%{end}", f.op("mul", I64, index, f"%{end}_stride"))) for end in "xy"]
        f.call("void", one, [*ends, ("ptr", "%params"), ("ptr", "%scratch")], declare=False)
    return f


def _flat(network: IntegerNetwork) -> IntegerNetwork:
    """The flat stations behind those with extents, with inputs in place of what they read."""
    own = [each for each in network.stations if len(each.station.shape) == 1 and each.station.role != "input"]
    names = {each.station.name for each in own}
    into = {name: network.into[name] for name in names}
    heard = {one.junction.source for entering in into.values() for one in entering} - names
    inputs = [_entering(network.station(station.name)) for station in network.graph.stations if station.name in heard]
    stations = (*inputs, *own)
    graph = Graph(network.graph.name, tuple(each.station for each in stations), (), loc=network.graph.loc)
    entering: Mapping[str, tuple[IntegerJunction, ...]] = {**{each.station.name: () for each in inputs}, **into}
    return IntegerNetwork(graph, stations, entering)


def _entering(each: IntegerStation) -> IntegerStation:
    """What is read from a station as an input of as many units."""
    station = given(each.station) or each.station
    format = each.format
    assert format is not None
    real = station.real_units
    low, high = each.value_range()
    made = replace(station, role="input", pipeline=())
    return IntegerStation(
        made, np.zeros(station.units, np.int64), np.full(real, each.scale), low, high, format.bits + 1, format,
        each.scale, reading(made, np.full(real, each.scale), format, each.scale),
    )  # fmt: skip


def beyond_kernels(network: IntegerNetwork) -> list[Diagnostic]:
    """What of a quantized net has no kernels: E0379."""
    found: list[Diagnostic] = []
    graph, help = network.graph, "use `-t reference{integers=true}`"
    if len({len(station.shape) > 1 for station in graph.outputs}) > 1:
        text = "some outputs have extents and others have none, which has no integer kernels"
        found.append(Diagnostic("E0379", text, graph.loc, help=help))
    for each in network.stations:
        station = each.station
        if text := _problem(network, station, each):
            found.append(Diagnostic("E0379", f"{text}, which has no integer kernels", station.loc, help=help))
    return found


def _problem(network: IntegerNetwork, station: Station, each: IntegerStation) -> str:
    if len(station.shape) == 1:
        name = next((stage.name for stage in station.pipeline if stage.name in ("concat", "channelshuffle")), "")
        return f"`{station.name}` has no extents and the stage `{name}`" if name else ""
    into = network.into[station.name]
    if any(one.junction.tensor and not isinstance(one.junction, FilterJunction) for one in into):
        return f"a line leads from a flat station back to the extents of `{station.name}`"
    stages = [call.name for call in functions_of(each) if call.name not in ("conv", "concat", *ELEMENTWISE)]
    return f"`{station.name}` is given as sums and has the stage `{stages[0]}`" if stages else ""
