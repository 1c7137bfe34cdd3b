"""Targets: what a path graph is compiled to. Each is imported only when it is asked for."""

from __future__ import annotations

from importlib import import_module

from pathc.backends.base import Backend
from pathc.support.diagnostics import Diagnostic, UsageError, did_you_mean

_BACKENDS = {
    "reference": "pathc.backends.reference",
    "llvm": "pathc.backends.llvm.backend",
    "engine": "pathc.backends.engine.backend",
    "tvm-llvm": "pathc.backends.tvm.cpu",
    "cuda": "pathc.backends.tvm.cuda",
}


def backend_names() -> tuple[str, ...]:
    """Names that `-t` takes."""
    return tuple(_BACKENDS)


def backend(name: str) -> Backend:
    """The target of that name; UsageError if there is none."""
    if name not in _BACKENDS:
        known = ", ".join(_BACKENDS)
        hint = did_you_mean(name, _BACKENDS) or f"targets: {known}"
        raise UsageError(Diagnostic("E0810", f"there is no target `{name}`", help=hint))
    return import_module(_BACKENDS[name]).BACKEND
