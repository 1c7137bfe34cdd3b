"""Split factors of kernels for a GPU: measured on the one here or elsewhere, kept by its name, found again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from pathc.backends.tvm import driver, nvrtc, tuner
from pathc.backends.tvm.compiled import Lowered, Tiles
from pathc.backends.tvm.driver import Arrays
from pathc.backends.tvm.gpu_library import extents, gpu_library, run_arguments
from pathc.backends.tvm.knobs import knobs_of
from pathc.backends.tvm.program import Program, program
from pathc.backends.tvm.shipped import RUN, Call, Measure, Shipped
from pathc.support.diagnostics import Diagnostic, UnavailableError, error

SAMPLES = 4096
"""Samples, or steps of all sequences, that kernels are measured with where no batch is asked for."""
_HERE = "measure on a machine that has one: pathc bench -t 'cuda{tune=true}' --rpc HOST:PORT --key K"


def recalled(lowered: Lowered, arch: str) -> tuple[Lowered, tuple[Diagnostic, ...]]:
    """The plan with the split factors found for it, and notes: those of the GPU here, else of any like it."""
    here = [] if driver.missing() else [_key(arch, driver.device().name)]
    return tuner.recalled(lowered, [*here, _key(arch)], nvrtc.shared_of(arch))


def tuned(
    lowered: Lowered, arch: str, parameters: Arrays, batch: int, measure: Measure | None = None, name: str = ""
) -> tuple[Lowered, tuple[Diagnostic, ...]]:
    """The plan with the split factors that were fastest, and a note; they are kept for `name` and GPUs like it.

    Without `measure` the GPU here measures: UnavailableError E0664 if there is none, E0667 if `arch` is not its own.
    """
    limit = nvrtc.shared_of(arch)
    if measure is None and knobs_of(lowered, limit):
        name = _gpu_here(arch).name

    def seconds(tiles: Tiles) -> Mapping[str, float]:
        made = replace(lowered, tiles=tiles)
        kernels, held = program(made, arch), {**parameters, **made.filter_parameters}
        binary = nvrtc.compile_text(kernels.text, arch)
        if measure is not None:
            return measure(shipped(kernels, held, binary))
        loaded = driver.Loaded(kernels, binary.cubin, held, driver.device())
        steps = tuner.STEPS if kernels.sequences else 1
        spent = loaded.seconds(batch or SAMPLES // steps, steps)
        return {kernel.removesuffix("_kernel"): one for kernel, one in spent.items()}

    return tuner.tuned(lowered, seconds, [_key(arch, name), _key(arch)], limit)


def shipped(kernels: Program, parameters: Arrays, binary: nvrtc.Binary) -> Shipped:
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
