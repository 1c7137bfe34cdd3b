"""`cuda`: kernels for NVIDIA's GPUs through TVM, written on any machine, run where there is a GPU."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pathc.backends.base import Request
from pathc.backends.tvm import driver, facade, gpu_tuning, nvrtc, tensorcore
from pathc.backends.tvm.backward import plan_gradients
from pathc.backends.tvm.compiled import Lowered, stage
from pathc.backends.tvm.cpu import check_request, gradient_inputs, input_rows, packed
from pathc.backends.tvm.filters.parts import Parts, check_gradients, parts_of, refusals
from pathc.backends.tvm.filters.plan import Filters
from pathc.backends.tvm.gpu_executable import WRITTEN, GpuExecutable
from pathc.backends.tvm.integer.executable import CudaIntegers
from pathc.backends.tvm.lower import fusable, plan_net
from pathc.backends.tvm.pack import Packed, unpack
from pathc.backends.tvm.plan import Blocks, NetPlan, Rows
from pathc.backends.tvm.program import Program, program
from pathc.backends.tvm.recurrent.lower import plan_sequences
from pathc.backends.tvm.recurrent.pack import parameters_of
from pathc.backends.tvm.recurrent.plan import no_backward
from pathc.backends.tvm.report import report
from pathc.backends.tvm.shipped import Measure, Shipped
from pathc.ir.cells import is_recurrent
from pathc.ir.graph import Graph
from pathc.ir.inputs import check_input, output_shape
from pathc.support.diagnostics import Diagnostic, Severity, error

LANES = (64, 32, 16)
"""Samples of a tile that are tried for one kernel, the most first."""
OPTIONS = {
    "arch": "sm_80, sm_90, ...",
    "lanes": "samples of a tile, a power of two up to 256",
    "fused": "true or false: one kernel for the whole net",
    "precision": "f32, tf32, bf16, fp16 or fp8: what tensor cores round factors to",
    "gradients": "true or false: a backward pass, too",
    "integers": "true or false: quantized nets with integers alone",
    "tune": "true or false: measure split factors on the GPU here",
}
_MOST_LANES = 256


@dataclass(frozen=True, eq=False)
class CudaExecutable(GpuExecutable):
    """A net as kernels for a GPU."""

    request: Request
    arch: str
    lowered: Lowered
    notes: tuple[Diagnostic, ...] = ()
    parts: Parts | None = None

    def write(self) -> Program:
        """CUDA text and launches."""
        return program(self.lowered, self.arch)

    def pack(self) -> Packed:
        """Packed weights by name."""
        if self.parts is None:
            return parameters_of(self.lowered.plan, self.request.graph, self.request.weights)
        return packed(self.lowered, self.parts.flat)

    def __call__(self, x: NDArray[Any], /) -> NDArray[np.float32]:
        """Outputs float32 [batch, ...] of inputs [batch, ...], or of one; E0512 and E0513 for those that do not fit.

        Nets with cells take and give sequences, [batch, steps, units] or [steps, units] (E0371 without steps, E0702 for
        states of another batch); stateful ones go on where the last call ended, until `reset`.
        """
        if not self.program.sequences:
            rows, batch = input_rows(self.request.graph, x)
            return self.loaded(rows).reshape(*batch, *output_shape(self.request.graph))
        check_input(x, (self.program.inputs,), "input", sequences=True)
        single = x.ndim == 2
        y = self.loaded(np.ascontiguousarray(x[None] if single else x, np.float32))
        return y[0] if single else y

    def reset(self) -> None:
        """Let stateful cells begin anew."""
        self.loaded.reset()

    def gradients(
        self, x: NDArray[Any], output_gradient: NDArray[Any], /
    ) -> tuple[NDArray[np.float32], dict[str, NDArray[np.float32]]]:
        """Gradients with respect to inputs [batch, units] and weights, as `pathc.ir.interp.backward` gives them.

        Raises E0512 and E0513 for arrays that do not fit, E0667 if it was compiled without `gradients=true`, E0376 for
        nets with cells.
        """
        graph = self.request.graph
        if self.program.sequences:
            raise no_backward(graph, "cuda", "use the interpreter, `pathc.ir.interp.backward`")
        if not self.program.gradients:
            raise error(
                "E0667", "this net was compiled without a backward pass", graph.loc, help="cuda{gradients=true}"
            )
        rows, given = gradient_inputs(graph, x, output_gradient)
        dx, found = self.loaded.gradients(rows, given)
        return dx.reshape(x.shape), unpack(self.lowered.net, graph, found)

    def shipped(self, batch: int) -> Shipped:
        """The kernels as another machine is sent them, whatever the batch."""
        return gpu_tuning.shipped(self.program, self.parameters, self.binary)

    def tuned(self, batch: int, measure: Measure | None = None, device: str = "") -> CudaExecutable:
        """The net with the split factors that were fastest on the GPU here, or on one that measures; E0664, E0667."""
        lowered, notes = gpu_tuning.tuned(self.lowered, self.arch, self.parameters, batch, measure, device)
        kept = tuple(note for note in self.notes if note.code not in ("W0671", "W0682"))
        return replace(self, lowered=lowered, notes=(*kept, *notes))

    def report(self) -> str:
        """Every kernel with what it takes, every junction with its operations a byte."""
        return report(self.program, self.lowered.tiled, self.binary)

    def stage(self, kind: str) -> str:
        """`plan`, `tir`, `schedule` or `scheduled`; E0804 for another."""
        return stage(self.lowered, kind)


class CudaBackend:
    """The target named `cuda`."""

    name = "cuda"
    summary = "NVIDIA GPUs through TVM: CUDA text, PTX and cubin on any machine, run where there is a GPU"
    emits = ("plan", "tir", "schedule", "scheduled", *WRITTEN)

    def unavailable(self) -> str:
        """How to install TVM, where it is missing; a GPU is needed only to run."""
        return facade.missing()

    def refusals(self, graph: Graph) -> list[Diagnostic]:
        """What has no kernels: E0610, E0376, E0379."""
        return refusals(graph, self.name)

    def compile(self, request: Request) -> CudaExecutable | CudaIntegers:
        """Check everything and choose a plan; raises as `check_request`, E0611, E0612, E0661, E0666, E0667, E13xx."""
        check_request(request, self.name, OPTIONS)
        arch = str(request.options.get("arch", _arch_here()))
        nvrtc.check_arch(arch)
        if _switch(request, "integers"):
            _refuse_beside_integers(request)
            _check_tensor_cores(request, arch, "integers=true", tensorcore.FROM)
            return CudaIntegers.of(request, arch)
        tune, parts = _switch(request, "tune"), None
        if is_recurrent(request.graph):
            lowered, notes = _sequences(request, arch)
        else:
            parts = parts_of(request)
            if _switch(request, "gradients"):
                check_gradients(request.graph, self.name)
            lowered, notes = _with_filters(parts, request, arch)
        lowered, more = gpu_tuning.recalled(lowered, arch)
        executable = CudaExecutable(request, arch, lowered, (*notes, *more), parts)
        return executable.tuned(request.batch) if tune else executable


def _refuse_beside_integers(request: Request) -> None:
    other = next((name for name in request.options if name not in ("arch", "integers")), "")
    if other or request.forms:
        what = f"no option `{other}`" if other else "no kernel forms to choose"
        raise error("E0667", f"integer nets have {what}", request.graph.loc, help="leave it out")


def _arch_here() -> str:
    return nvrtc.ARCHITECTURES[-1] if driver.missing() else driver.device().arch


def _sequences(request: Request, arch: str) -> tuple[Lowered, tuple[Diagnostic, ...]]:
    """Kernels in front of every cell, chosen as for any net, and time loops; raises E0376, E0377, E0666, E0667."""
    graph, precision = request.graph, _precision(request, arch)
    if _switch(request, "gradients"):
        raise no_backward(graph, "cuda", "leave out gradients=true; `pathc train` goes back through time")
    notes: list[Diagnostic] = []

    def planner(part: Request, what: str) -> NetPlan:
        lowered, said = choose(part, arch, what)
        notes.extend(said)
        return lowered.net

    plan = plan_sequences(request, planner, nvrtc.shared_of(arch), arch)
    return Lowered(plan, gpu=True, precision=precision), tuple(notes)


def _with_filters(parts: Parts, request: Request, arch: str) -> tuple[Lowered, tuple[Diagnostic, ...]]:
    """The filters, then what is chosen for the flat net behind them; raises as `choose`."""
    precision = _precision(request, arch)
    if parts.flat is None:
        _switch(request, "fused")
        lowered = Lowered(parts.joined(None, _lanes(request)[0]), True, precision=precision)
        return lowered, _in_float32(lowered)
    lowered, notes = choose(parts.flat, arch)
    lowered = replace(lowered, plan=parts.joined(lowered.net, lowered.net.lanes))
    return lowered, _in_float32(lowered) if precision else notes


def choose(request: Request, arch: str, what: str = "the whole net") -> tuple[Lowered, tuple[Diagnostic, ...]]:
    """One kernel for all if the layers of a tile fit shared memory, else one for each junction; raises E0666, E0667."""
    fused, lanes, precision = _switch(request, "fused"), _lanes(request), _precision(request, arch)
    if _switch(request, "gradients"):
        if fused:
            text = "a backward pass reads the layers of the forward pass, which one kernel does not keep"
            raise error("E0667", text, request.graph.loc, help="leave out fused=true")
        lowered = Lowered(plan_gradients(request.graph, lanes[0], request.forms), True, precision=precision)
        return lowered, _in_float32(lowered)
    if precision:
        if fused:
            text = "tensor cores are used where every junction has a kernel of its own"
            raise error("E0667", text, request.graph.loc, help="leave out fused=true")
        lowered = Lowered(plan_net(request.graph, lanes[0], request.forms), True, precision=precision)
        return lowered, _in_float32(lowered)
    if fused is not False:
        limit, least = nvrtc.shared_of(arch), 0
        for tried in lanes:
            plan = plan_net(request.graph, tried, request.forms, fused=True)
            lowered = Lowered(plan, gpu=True)
            if not fusable(plan) or _least_bytes(plan) > limit:
                least = _least_bytes(plan)
                continue
            least = program(lowered, arch).shared
            if least <= limit:
                return lowered, ()
        text = f"one kernel for {what} needs {least} bytes of shared memory, {arch} has {limit}"
        if fused is True:
            raise error("E0666", text, request.graph.loc, help="leave out fused=true, or use fewer lanes")
        cost = "every junction has a kernel of its own, and layers go through the GPU's main memory between them"
        notes = (Diagnostic("W0668", text, notes=(cost,), severity=Severity.NOTE),)
    else:
        notes = ()
    return Lowered(plan_net(request.graph, lanes[0], request.forms), gpu=True), notes


def _precision(request: Request, arch: str) -> tensorcore.Precision | None:
    given = str(request.options.get("precision", "f32"))
    for known in tensorcore.PRECISIONS:
        if given == known:
            first = tensorcore.FP8_FROM if known == "fp8" else tensorcore.FROM
            _check_tensor_cores(request, arch, f"precision={known}", first)
            return known
    if given == "f32":
        return None
    text = f"there is no precision `{given}`"
    raise error("E0667", text, request.graph.loc, help=f"f32, {', '.join(tensorcore.PRECISIONS)}")


def _check_tensor_cores(request: Request, arch: str, option: str, first: int) -> None:
    """Raise E0667 for an architecture in front of the first one that has the products an option needs."""
    if nvrtc.number_of(arch) < first:
        text = f"{arch} has no products on tensor cores for `{option}`"
        raise error("E0667", text, request.graph.loc, help=f"arch=sm_{first} or newer, or leave out {option}")


def _in_float32(lowered: Lowered) -> tuple[Diagnostic, ...]:
    """The note W0669 for junctions that tensor cores do not compute, though they were asked for."""
    if not lowered.precision:
        return ()
    left = [op for op in lowered.net.ops if isinstance(op, Blocks | Rows)]
    left = [op.junction for op in left if not tensorcore.fits(lowered.net, op, lowered.precision)]
    if lowered.filters:
        left = [op.junction for op in lowered.filters.ops if isinstance(op, Filters)] + left
    if not left:
        return ()
    text = f"not on tensor cores, but in float32: {', '.join(dict.fromkeys(left))}"
    sources = 32 if lowered.precision == "fp8" else 16
    why = f"that takes blocks of 16 n destinations and {sources} n sources, and tiles of 8 samples or more"
    return (Diagnostic("W0669", text, notes=(why,), severity=Severity.NOTE),)


def _switch(request: Request, option: str) -> bool | None:
    given = request.options.get(option)
    if not isinstance(given, bool | None):
        raise error("E0667", f"`{option}={given}` is neither true nor false", request.graph.loc)
    return given


def _lanes(request: Request) -> tuple[int, ...]:
    given = request.options.get("lanes", 0)
    if "lanes" in request.options:
        if not isinstance(given, int) or isinstance(given, bool) or given not in (1 << b for b in range(9)):
            text = f"`lanes={given}` is no power of two from 1 to {_MOST_LANES}"
            raise error("E0667", text, request.graph.loc, help="leave it out, or use 32 or 64")
        return (given,)
    return (1,) if request.batch == 1 else LANES


def _least_bytes(plan: NetPlan) -> int:
    """Bytes that neighbouring layers take at least: what an operation reads and what it writes."""
    sizes = [0]
    for op in plan.ops:
        names = {name for name in (getattr(op, "src", ""), getattr(op, "dst", "")) if name}
        sizes.append(4 * plan.lanes * sum(plan.units[name] for name in names))
    return max(sizes)


BACKEND = CudaBackend()
