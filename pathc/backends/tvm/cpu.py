"""`tvm-llvm`: the TIR of the GPU on the processor, through TVM's LLVM; one thread."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pathc.backends.base import Request
from pathc.backends.tvm import facade, tuner
from pathc.backends.tvm.backward import plan_gradients
from pathc.backends.tvm.compiled import Lowered, Tiles
from pathc.backends.tvm.filters.parts import Parts, check_gradients, parts_of, refusals
from pathc.backends.tvm.filters.plan import FilterPlan
from pathc.backends.tvm.library import artefact
from pathc.backends.tvm.lower import plan_net
from pathc.backends.tvm.pack import Packed, pack, unpack
from pathc.backends.tvm.plan import NetPlan
from pathc.backends.tvm.recurrent.cpu import SequenceExecutable
from pathc.backends.tvm.shipped import Measure, Shipped, for_processor
from pathc.backends.tvm.tir import Argument
from pathc.ir.cells import is_recurrent
from pathc.ir.graph import Graph
from pathc.ir.inputs import check_input, input_shape, output_shape
from pathc.ir.weights import check_weights
from pathc.support.diagnostics import Diagnostic, PathcError, UnavailableError, UsageError, error

Arrays = Mapping[str, NDArray[Any]]
Kernels = Sequence[tuple[facade.Kernel, tuple[Argument, ...]]]
LANES = 64
"""Samples of a tile where there are enough."""
OPTIONS = {"cpu": "the processor as LLVM calls it", "tune": "true or false: measure split factors"}
_WORKING_SET = 1 << 20
"""Bytes of buffers that the samples of a call may take, so that they stay in the cache."""


@dataclass(eq=False)
class Net:
    """Kernels for tiles of so many samples, with their weights and buffers."""

    lowered: Lowered
    parameters: Arrays
    cpu: str
    _held: dict[int, dict[str, facade.Tensor]] = field(default_factory=dict[int, "dict[str, facade.Tensor]"])
    _planes: dict[int, dict[str, NDArray[Any]]] = field(default_factory=dict[int, "dict[str, NDArray[Any]]"])

    @property
    def plan(self) -> NetPlan:
        """What is computed."""
        return self.lowered.net

    def tiled(self, lowered: Lowered) -> Net:
        """The net with the same plan and other split factors."""
        return Net(lowered, {**self.parameters, **lowered.filter_parameters}, self.cpu)

    @cached_property
    def _kernels(self) -> Kernels:
        functions = self.lowered.functions
        compiled = facade.compile_cpu(self.lowered.schedule.module, [f.name for f in functions], self.cpu)
        return tuple((compiled[f.name], f.arguments) for f in functions)

    @cached_property
    def _weights(self) -> dict[str, facade.Tensor]:
        return {name: facade.tensor(facade.aligned_copy(array)) for name, array in self.parameters.items()}

    def run(self, x: NDArray[np.float32], y: NDArray[np.float32]) -> None:
        """Compute outputs [batch, outputs] of inputs [batch, inputs], some tiles at a time."""
        lanes = self.plan.lanes
        most = max(1, _WORKING_SET // (4 * lanes * max(1, sum(self.plan.units.values()))))
        for start in range(0, len(x), most * lanes):
            stop = min(start + most * lanes, len(x))
            self._tiles({"x": x[start:stop], "y": y[start:stop]}, -(-(stop - start) // lanes))

    def gradients(
        self, x: NDArray[np.float32], dy: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], dict[str, NDArray[np.float32]]]:
        """Gradients at the inputs, and those of all weights by the array of the plan; float32, for a plan with them."""
        tiles = -(-len(x) // self.plan.lanes)
        found = {name: facade.aligned(shape) for name, shape in self.plan.gradients}
        dx, y = np.empty_like(x), np.empty_like(dy)
        self._tiles({"x": x, "dy": dy, "y": y, "dx": dx} | found, tiles)
        return dx, found

    def seconds(self) -> dict[str, float]:
        """How long every function takes for one tile, by name."""
        lanes, sizes = self.plan.lanes, {"x": self.plan.inputs, "y": self.plan.outputs}
        if self.plan.filters:
            sizes |= self.plan.filters.arrays
        arrays = {name: facade.aligned_copy(np.zeros((lanes, size), np.float32)) for name, size in sizes.items()}
        known = self._weights | self._buffers(1) | {name: facade.tensor(array) for name, array in arrays.items()}
        calls = [partial(kernel, *(known[a.key] for a in arguments)) for kernel, arguments in self._kernels]
        for call in calls:
            call()
        return {f.name: tuner.fastest(call) for f, call in zip(self.lowered.functions, calls, strict=True)}

    def shipped(self) -> Shipped:
        """What another machine is sent."""
        return for_processor(self.lowered, self.parameters, self.cpu)

    def _tiles(self, arrays: Arrays, tiles: int) -> None:
        first = len(self.plan.filters.ops) if self.plan.filters else 0
        if self.plan.filters:
            arrays = self._filtered(arrays, self.plan.filters, self._kernels[:first])
        known = self._weights | self._buffers(tiles) | {name: facade.tensor(a) for name, a in arrays.items()}
        for kernel, arguments in self._kernels[first:]:
            kernel(*(known[a.key] for a in arguments))

    def _filtered(self, arrays: Arrays, plan: FilterPlan, kernels: Kernels) -> Arrays:
        """The arrays with what filters leave for the flat net, some samples at a time."""
        batch, floats = len(arrays["x"]), plan.inputs + plan.outputs + sum(plan.arrays.values())
        step = max(1, min(batch, _WORKING_SET // (4 * floats)))
        whole = dict(arrays) | {name: facade.aligned((batch, plan.arrays[name])) for name in plan.arrays if name == "z"}
        if step not in self._planes:
            sizes = {name: size for name, size in plan.arrays.items() if name != "z"}
            self._planes = {step: {name: facade.aligned((step, size)) for name, size in sizes.items()}}
        for start in range(0, batch, step):
            stop = min(start + step, batch)
            parts = {name: a[start:stop] for name, a in whole.items()}
            parts |= {name: a[: stop - start] for name, a in self._planes[step].items()}
            known = self._weights | {name: facade.tensor(a) for name, a in parts.items()}
            for kernel, arguments in kernels:
                kernel(*(known[a.key] for a in arguments))
        return whole

    def _buffers(self, tiles: int) -> dict[str, facade.Tensor]:
        if tiles not in self._held:
            shapes = {name: (tiles, units, self.plan.lanes) for name, units in self.plan.buffers}
            self._held[tiles] = {k: facade.tensor(facade.aligned(shape)) for k, shape in shapes.items()}
        return self._held[tiles]


@dataclass(frozen=True, eq=False)
class TvmExecutable:
    """A net compiled by TVM for this processor, for single samples and for tiles of them, when first needed."""

    request: Request
    parts: Parts
    cpu: str = ""
    notes: tuple[Diagnostic, ...] = ()
    _nets: dict[int, Net] = field(default_factory=dict[int, Net], init=False, repr=False)

    def shipped(self, batch: int) -> Shipped:
        """The kernels that serve a batch, as another machine is sent them."""
        return self.net(batch).shipped()

    def tuned(self, batch: int, measure: Measure | None = None, device: str = "") -> TvmExecutable:
        """The net with the split factors that were fastest here, or on a device that measures, and a note (W0671).

        They are kept for all processors like that, whatever the `device` is called; W0683 says that there are none.
        """
        plain = self._net(lanes_for(batch))

        def seconds(tiles: Tiles) -> Mapping[str, float]:
            net = plain.tiled(replace(plain.lowered, tiles=tiles))
            return measure(net.shipped()) if measure else net.seconds()

        lowered, notes = tuner.tuned(plain.lowered, seconds, [tuner.processor(self.cpu)])
        made = replace(self, notes=notes)
        made._nets.update(self._nets | {lowered.plan.lanes: plain.tiled(lowered)})
        return made

    def net(self, batch: int) -> Net:
        """The kernels that serve a batch, with the split factors that were found for them."""
        return self._recalled(batch)[0]

    def recalled(self, batch: int) -> TvmExecutable:
        """The executable with notes on the split factors for a batch: W0671, W0682."""
        net, notes = self._recalled(batch)
        made = replace(self, notes=notes)
        made._nets[net.plan.lanes] = net
        return made

    def _recalled(self, batch: int) -> tuple[Net, tuple[Diagnostic, ...]]:
        lanes, notes = lanes_for(batch), ()
        if lanes not in self._nets:
            plain = self._net(lanes)
            lowered, notes = tuner.recalled(plain.lowered, [tuner.processor(self.cpu)])
            self._nets[lanes] = plain.tiled(lowered)
        return self._nets[lanes], notes

    def _net(self, lanes: int) -> Net:
        """The kernels for tiles of so many samples before they are tuned."""
        flat = self.parts.flat
        plan = plan_net(flat.graph, lanes, flat.forms) if flat else None
        lowered = Lowered(self.parts.joined(plan, lanes), gpu=False)
        return Net(lowered, packed(lowered, flat), self.cpu)

    def __call__(self, x: NDArray[Any], /) -> NDArray[np.float32]:
        """Outputs float32 [batch, ...] of inputs [batch, ...], or of one; E0512 and E0513 for those that do not fit."""
        rows, batch = input_rows(self.request.graph, x)
        sample = output_shape(self.request.graph)
        y = np.empty((len(rows), math.prod(sample)), np.float32)
        self.net(len(rows)).run(rows, y)
        return y.reshape(*batch, *sample)

    def gradients(
        self, x: NDArray[Any], output_gradient: NDArray[Any], /
    ) -> tuple[NDArray[np.float32], dict[str, NDArray[np.float32]]]:
        """Gradients with respect to inputs [batch, units] and weights, as `pathc.ir.interp.backward` gives them.

        Raises E0512 and E0513 for arrays that do not fit, E0379 for nets with extents and what belongs to them.
        """
        check_gradients(self.request.graph, "tvm-llvm")
        rows, given = gradient_inputs(self.request.graph, x, output_gradient)
        net = self._backward(len(rows))
        dx, found = net.gradients(rows, given)
        return dx.reshape(x.shape), unpack(net.plan, self.request.graph, found)

    def _backward(self, batch: int) -> Net:
        lanes = lanes_for(batch)
        if -lanes not in self._nets:
            graph = self.request.graph
            lowered = Lowered(plan_gradients(graph, lanes, self.request.forms), gpu=False)
            self._nets[-lanes] = Net(lowered, pack(lowered.net, graph, self.request.weights), self.cpu)
        return self._nets[-lanes]

    def emit(self, kind: str) -> str | bytes:
        """A stage as text, for the batch that was asked for: `plan`, `tir`, `schedule`, `scheduled`."""
        net = self.net(self.request.batch or LANES)
        return artefact(net.lowered, net.parameters, self.cpu, kind)

    def companions(self, kind: str) -> tuple[str, ...]:
        """What is written beside a library."""
        return ("json", "params") if kind == "so" else ()


def lanes_for(batch: int) -> int:
    """Samples of a tile for a batch."""
    return min(LANES, 1 << (max(1, batch) - 1).bit_length())


def packed(lowered: Lowered, flat: Request | None) -> Packed:
    """All parameters of a net by name."""
    own = pack(lowered.net, flat.graph, flat.weights) if flat else Packed()
    return own | lowered.filter_parameters


def input_rows(graph: Graph, x: NDArray[Any]) -> tuple[NDArray[np.float32], tuple[int, ...]]:
    """Inputs as rows [batch, floats], and the batch axis of `x`, () without; E0512 and E0513 as `check_input`."""
    sample = input_shape(graph)
    check_input(x, sample, "input")
    batch = x.shape[: x.ndim - len(sample)]
    return np.ascontiguousarray(x, np.float32).reshape(math.prod(batch), math.prod(sample)), batch


def gradient_inputs(
    graph: Graph, x: NDArray[Any], output_gradient: NDArray[Any]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Inputs and output gradients as rows; E0512 and E0513 for those that do not fit the graph or each other."""
    check_input(x, (sum(s.real_units for s in graph.inputs),), "input")
    expected = (*x.shape[:-1], sum(s.real_units for s in graph.outputs))
    if output_gradient.shape != expected:
        text = f"the output gradient has shape {list(output_gradient.shape)}, the output {list(expected)}"
        raise error("E0512", text, help="give one number per output")
    rows = (np.ascontiguousarray(np.atleast_2d(array), np.float32) for array in (x, output_gradient))
    return next(rows), next(rows)


def check_request(request: Request, name: str, known: Mapping[str, str]) -> None:
    """Raise what keeps a request from being compiled: UsageError E0806, UnavailableError E0811, and E0610, E05xx."""
    for option in request.options:
        if option not in known:
            listed = ", ".join(f"{key} ({what})" for key, what in known.items())
            text = f"the target `{name}` has no option `{option}`"
            raise UsageError(Diagnostic("E0806", text, help=f"options: {listed}"))
    if facade.missing():
        raise UnavailableError(Diagnostic("E0811", f"the target `{name}` needs TVM", help=facade.missing()))
    found = [*refusals(request.graph, name), *check_weights(request.graph, request.weights)]
    if found:
        raise PathcError(*found)


class TvmCpuBackend:
    """The target named `tvm-llvm`."""

    name = "tvm-llvm"
    summary = "the kernels of `cuda` on the processor, through TVM: to check and to compare"
    emits = ("plan", "tir", "schedule", "scheduled", "so", "json", "params")

    def unavailable(self) -> str:
        """How to install TVM, where it is missing."""
        return facade.missing()

    def refusals(self, graph: Graph) -> list[Diagnostic]:
        """What has no kernels: E0610, E0376, E0379."""
        return refusals(graph, self.name)

    def compile(self, request: Request) -> TvmExecutable | SequenceExecutable:
        """Check everything and plan; kernels are made when first called. Raises as `check_request`, E0611, E0612."""
        check_request(request, self.name, OPTIONS)
        cpu = str(request.options.get("cpu", ""))
        batch, tune = request.batch or LANES, request.options.get("tune", False)
        if not isinstance(tune, bool):
            raise error("E0667", f"`tune={tune}` is neither true nor false", request.graph.loc)
        if is_recurrent(request.graph):
            sequences = SequenceExecutable.of(request, cpu)
            return sequences.tuned(request.batch) if tune else sequences
        executable = TvmExecutable(request, parts_of(request), cpu)
        return executable.tuned(batch) if tune else executable.recalled(batch)


BACKEND = TvmCpuBackend()
