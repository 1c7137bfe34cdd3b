"""The comparison of `cuda.py`: nets on the GPU beside the interpreter, and the same under compute-sanitizer."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from _cuda_nets import bound_of, fitting, load

from pathc.backends.tvm import driver
from pathc.support.diagnostics import PathcError

GRADIENT_ERROR = 1e-3
"""Of the norm: more than roundings, less than one wrong junction, and room for sums next to a kink."""
TOOLS = ("memcheck", "racecheck")
SANITIZED = ("pyramid", "mnist", "odd", "borders", "turns")
"""Nets that compute-sanitizer watches: every kind of kernel, and sizes that it gets through."""
FAULT = 77
"""What compute-sanitizer exits with for a fault that it found, apart from a wrong output."""
_PLACES = (None, "/usr/local/cuda/bin", "/usr/local/cuda/compute-sanitizer")


def conforms(folder: Path, name: str, kind: str, gpu: driver.Device, plain: bool = False) -> dict[str, Any]:
    """Outputs at odd batches, and gradients, beside the interpreter's: largest error as a share of its bound.

    If it is not `plain`, the library for apache-tvm-ffi is compared, too, launched and replayed from a graph.
    """
    stem = f"{name}-{kind}"
    loaded = load(folder, stem, gpu)
    found: dict[str, Any] = {"net": stem, "good": True}
    with np.load(folder / f"{name}.npz", allow_pickle=False) as expected:
        x, right, bound = (expected[key] for key in ("x", "right", bound_of(kind)))
        batches = 1, max(2, len(x) // 9), len(x)
        found["share"] = max(_share(loaded(x[:batch]), right[:batch], bound) for batch in batches)
        found["good"] = found["share"] <= 1
        if kind == "back":
            dx, _ = loaded.gradients(x, expected["dy"])
            found["gradients"] = float(np.linalg.norm(dx - expected["dx"]) / np.linalg.norm(expected["dx"]))
            found["good"] = found["good"] and found["gradients"] <= GRADIENT_ERROR
    if not plain:
        found |= _through_library(folder / f"{stem}-{fitting(gpu)}.so", x, right, bound)
    return found


def said_of(found: Mapping[str, Any]) -> str:
    """A line for a comparison."""
    words = [f"{key} {value:.2g}" for key, value in found.items() if isinstance(value, float)]
    verdict = "right" if found["good"] and found.get("library_share", 0) <= 1 else "WRONG"
    return f"{found['net']:14} {verdict}: {', '.join(words)} {found.get('library', '')}".rstrip()


def _share(y: Any, right: Any, bound: Any) -> float:
    """Largest error as a share of its bound, of an output, or of the norm of a sample or a unit if that is one number.

    Samples and units that are small are held to what they all are on average, as they may be differences.
    """
    if not np.isfinite(y).all():
        return float("inf")
    if bound.ndim:
        return float(np.max(np.abs(y - right) / np.maximum(bound[: len(y)], 1e-30)))
    found = 0.0
    for axis in (0, 1):
        off, size = np.linalg.norm(y - right, axis=axis), np.linalg.norm(right, axis=axis)
        found = max(found, float(np.max(off / np.maximum(size, np.sqrt(np.mean(size**2)) + 1e-30))))
    return found / float(bound)


def _through_library(path: Path, x: Any, right: Any, bound: Any) -> dict[str, Any]:
    """How far the shared library is off on a tensor of PyTorch that lies on the GPU; why it was not tried, as text."""
    try:
        import torch

        from pathc.backends.tvm.library import GpuLibrary

        net = GpuLibrary(path)
    except (ImportError, OSError, PathcError) as reason:
        return {"library": f"library not tried: {' '.join(str(reason).split())[:120]}"}
    if not torch.cuda.is_available():
        return {"library": "library not tried: PyTorch sees no GPU"}
    try:
        there = torch.from_numpy(np.ascontiguousarray(x)).cuda()
        launched = net(there).cpu().numpy()
        return {"library_share": max(_share(y, right, bound) for y in (launched, _replayed(torch, net, there)))}
    except (PathcError, RuntimeError) as reason:
        return {"library_share": float("inf"), "library": " ".join(str(reason).split())[:200]}


def _replayed(torch: Any, net: Any, x: Any) -> Any:
    """The outputs of a graph that was captured with other inputs."""
    given = torch.zeros_like(x)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        y = net(given)
    given.copy_(x)
    graph.replay()
    return y.cpu().numpy()


def sanitizer() -> str | None:
    """Where compute-sanitizer is; it comes with the CUDA toolkit."""
    return next(filter(None, (shutil.which("compute-sanitizer", path=place) for place in _PLACES)), None)


def watched(names: tuple[str, ...]) -> tuple[str, ...]:
    """The nets that compute-sanitizer watches of those that were asked for."""
    return tuple(name for name in names if name in SANITIZED) or names


def watching(tool: str, kind: str) -> list[str]:
    """What is written in front of a command so that compute-sanitizer watches it."""
    return [tool, "--tool", kind, "--error-exitcode", str(FAULT)]
