"""Split factors of kernels for a GPU: measured on the one here or elsewhere, kept by its name, found again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TypeVar

from pathc.backends.tvm import driver, nvrtc, tuner
from pathc.backends.tvm.compiled import Lowered
from pathc.backends.tvm.driver import Arrays
from pathc.backends.tvm.gpu_library import extents, gpu_library, run_arguments
from pathc.backends.tvm.program import Program, program
from pathc.backends.tvm.schedule import Tiles
from pathc.backends.tvm.shipped import RUN, Call, Measure, Shipped
from pathc.ir.graph import Graph
from pathc.support.diagnostics import Diagnostic, PathcError, Severity, UnavailableError, error

T = TypeVar("T")
SAMPLES = 4096
"""Samples that kernels are measured with where no batch is asked for."""
_HERE = "measure on a machine that has one: pathc bench -t 'cuda{tune=true}' --rpc HOST:PORT --key K"


def recalled(lowered: Lowered, arch: str) -> tuple[Lowered, tuple[Diagnostic, ...]]:
    """The plan with the split factors found for it, and a note: those of the GPU here, else of any like it."""
    names = [_key(arch), *([_key(arch, driver.device().name)] if not driver.missing() else [])]
    notes = tuner.damage(lowered.net, names[-1], gpu=True)
    found = [tiles for name in reversed(names) if (tiles := tuner.recall(lowered.net, name, gpu=True))]
    if not found:
        return lowered, notes
    return replace(lowered, tiles=found[0]), (*notes, _note(found[0]))


def tuned(
    lowered: Lowered, arch: str, parameters: Arrays, batch: int, measure: Measure | None = None, name: str = ""
) -> tuple[Lowered, tuple[Diagnostic, ...]]:
    """The plan with the split factors that were fastest, and a note; they are kept for `name` and GPUs like it.

    Without `measure` the GPU here measures: UnavailableError E0664 if there is none, E0667 if `arch` is not its own.
    """
    if measure is None:
        name = _gpu_here(arch).name

    def seconds(tiles: Tiles) -> Mapping[str, float]:
        made = replace(lowered, tiles=tiles)
        kernels = program(made, arch)
        binary = nvrtc.compile_text(kernels.text, arch)
        if measure is not None:
            return measure(shipped(made, kernels, parameters, binary))
        loaded = driver.Loaded(kernels, binary.cubin, parameters, driver.device())
        return by_operation(made, loaded.seconds(batch or SAMPLES))

    found = tuner.tune(lowered.net, seconds, gpu=True)
    for kept in (_key(arch), _key(arch, name)):
        tuner.remember(lowered.net, kept, found)
    return replace(lowered, tiles=found), (_note(found),) if found else ()


def shipped(lowered: Lowered, kernels: Program, parameters: Arrays, binary: nvrtc.Binary) -> Shipped:
    """What another machine is sent."""
    sizes = ("batch", "steps") if kernels.sequences else ("batch",)
    known = {one.name for one in extents(kernels, parameters)}
    calls = {
        one.kernel.removesuffix("_kernel"): Call(one.kernel, tuple(a for a in one.arguments if a in known), sizes)
        for one in kernels.launches
    }
    library, run = gpu_library(kernels, parameters, binary), Call(RUN, run_arguments(kernels, parameters), sizes)
    ends, held = (kernels.lanes, kernels.inputs, kernels.outputs), (kernels.buffers, kernels.arrays, kernels.states)
    return Shipped("cuda", library, run, calls, *ends, parameters, *held, sequences=kernels.sequences)


def by_operation(lowered: Lowered, kernels: Mapping[str, T]) -> dict[str, T]:
    """What is known of kernels, by the operations of the plan; one kernel for all is every operation's."""
    plan = lowered.net
    return {op.name: kernels["net_kernel" if plan.fused else f"{op.name}_kernel"] for op in plan.ops}


def untuned(graph: Graph) -> PathcError:
    """E0667 for whoever asks for tuned kernels of a net with cells."""
    text = "split factors are tuned for nets without cells"
    return error("E0667", text, graph.loc, help="leave out tune=true")


def _gpu_here(arch: str) -> driver.Device:
    if driver.missing():
        text = f"`tune=true` measures on a GPU, and {driver.missing().partition(';')[0]}"
        raise UnavailableError(Diagnostic("E0664", text, help=_HERE))
    gpu = driver.device()
    if gpu.arch != arch:
        raise error("E0667", f"`tune=true` measures on {gpu.name}, which is {gpu.arch}, not {arch}", help=_HERE)
    return gpu


def _key(arch: str, name: str = "") -> str:
    return f"cuda {arch} {name}".rstrip()


def _note(tiles: Tiles) -> Diagnostic:
    listed = tuple(f"{name}: {tile}" for name, tile in tiles.items())
    text = "split factors are those that a tuner found for this plan on such a GPU"
    return Diagnostic("W0671", text, notes=listed, severity=Severity.NOTE)
