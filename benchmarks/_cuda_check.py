"""The comparison of `cuda.py`: nets on the GPU beside the interpreter, and the same under compute-sanitizer."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from _cuda_nets import fitting, load

from pathc.backends.tvm import driver
from pathc.support.diagnostics import PathcError

GRADIENT_ERROR = 1e-3
"""Of the norm: more than roundings, less than one wrong junction, and room for sums next to a kink."""
TOOLS = ("memcheck", "racecheck")
SANITIZED = ("pyramid", "mnist", "odd", "borders", "turns")
"""Nets that compute-sanitizer watches: every kind of kernel, and sizes that it gets through."""
_FAULT = 77
"""What compute-sanitizer exits with for a fault that it found, apart from a wrong output."""


def conforms(folder: Path, stem: str, gpu: driver.Device) -> dict[str, Any]:
    """Outputs at odd batches, and gradients, beside the interpreter's: largest error as a share of its bound."""
    loaded = load(folder, stem, gpu)
    found: dict[str, Any] = {"net": stem, "good": True}
    with np.load(folder / f"{stem}.npz", allow_pickle=False) as expected:
        samples = len(expected["x"])
        batches = 1, max(2, samples // 9), samples
        shares = [_share(loaded(expected["x"][:batch]), expected, batch) for batch in batches]
        found["share"] = max(shares)
        if "dy" in expected:
            dx, _ = loaded.gradients(expected["x"], expected["dy"])
            found["gradients"] = float(np.linalg.norm(dx - expected["dx"]) / np.linalg.norm(expected["dx"]))
            found["good"] = found["gradients"] <= GRADIENT_ERROR
        again = _through_library(folder / f"{stem}-{fitting(gpu)}.so", expected["x"])
        if isinstance(again, str):
            found["library"] = again
        else:
            found["library_share"] = _share(again, expected, samples)
            shares.append(found["library_share"])
    found["good"] = found["good"] and max(shares) <= 1
    words = [f"{key} {value:.2g}" for key, value in found.items() if isinstance(value, float)]
    print(
        f"{stem:14} {'right' if found['good'] else 'WRONG'}: {', '.join(words)} {found.get('library', '')}", flush=True
    )
    return found


def _share(y: Any, expected: Any, batch: int) -> float:
    off = np.abs(y - expected["right"][:batch])
    share = float(np.max(off / np.maximum(expected["bound"][:batch], 1e-30)))
    return share if np.isfinite(y).all() else float("inf")


def _through_library(path: Path, x: Any) -> Any:
    """Outputs of the shared library on a tensor of PyTorch that lies on the GPU; why not, as text."""
    try:
        import torch

        from pathc.backends.tvm.library import GpuLibrary
    except ModuleNotFoundError as reason:
        return f"library not tried: {reason}"
    if not path.exists() or not torch.cuda.is_available():
        return "library not tried: " + ("PyTorch sees no GPU" if path.exists() else "it was not built")
    try:
        there = torch.from_numpy(np.ascontiguousarray(x)).cuda()
        return GpuLibrary(path)(there).cpu().numpy()
    except (PathcError, RuntimeError) as reason:
        print(f"{path.name}: {reason}", file=sys.stderr)
        return np.full((*x.shape[:-1], 1), np.nan, np.float32)


def sanitizer() -> str | None:
    """Where compute-sanitizer is; it comes with the CUDA toolkit."""
    return shutil.which("compute-sanitizer") or shutil.which("compute-sanitizer", path="/usr/local/cuda/bin")


def sanitize(folder: Path, script: Path, names: tuple[str, ...]) -> dict[str, str]:
    """The comparison under memcheck and racecheck: `clean`, or what is wrong, by tool; empty without the tool."""
    tool = sanitizer()
    if tool is None:
        print("compute-sanitizer is not installed; it is part of the CUDA toolkit", file=sys.stderr)
        return {}
    watched = [name for name in names if name in SANITIZED] or list(names)
    again = [sys.executable, str(script), "run", str(folder), "--check", "--nets", ",".join(watched)]
    found: dict[str, str] = {}
    for kind in TOOLS:
        code = subprocess.run([tool, "--tool", kind, "--error-exitcode", str(_FAULT), *again], check=False).returncode
        found[kind] = {0: "clean", _FAULT: "faults found"}.get(code, f"exit code {code}")
    return found
