"""What Python programs use: `pathc.load`, `pathc.check` and `pathc.compile`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pathc import driver
from pathc.backends.base import Executable, Weights
from pathc.driver import DEFAULT_PIPELINE, Options
from pathc.frontend.builder import Model
from pathc.ir.graph import Graph
from pathc.support.diagnostics import Diagnostic
from pathc.support.source import Source

Input = str | Path | Source | Graph | Model
"""A model: the name of a `.path` or `.pir` file, a text in memory, a graph, or a model built in Python."""


def load(model: Input, overrides: Mapping[str, Any] | None = None) -> Graph:
    """The graph of a model; `overrides` gives `let`s other values (`{"P": 8192}`).

    Raises PathcError with all mistakes of the text.
    """
    return driver.load(model, _texts(overrides))


def check(model: str | Path | Source, overrides: Mapping[str, Any] | None = None) -> list[Diagnostic]:
    """Everything that is wrong with a model, or, where nothing is, what is odd about it; empty if it is fine."""
    return driver.check(model, _texts(overrides))


def compile(
    model: Input,
    target: str = "llvm",
    *,
    weights: str | Path | Weights | None = None,
    batch: int = 0,
    overrides: Mapping[str, Any] | None = None,
    pipeline: str = DEFAULT_PIPELINE,
    forms: Mapping[str, str] | None = None,
    plan: str | Path = "",
    seed: int = 0,
) -> Executable:
    """A net that can be called with NumPy arrays, [batch, units] or [units].

    `target` is what `-t` takes (`llvm{threads=1}`, the name of a target block); `weights` a `.safetensors` or
    `.npz` file, or tensors by name ([paths] per junction, `main.1`), initial ones if None; `batch` the number of
    samples there will be, 0 for any; `forms` forces kernel forms by junction, `plan` names a file of plans to follow.
    Raises PathcError.
    """
    options = Options(
        overrides=_texts(overrides) or {}, pipeline=pipeline, forms=dict(forms or {}), plan=plan, batch=batch, seed=seed
    )
    return driver.compile_model(model, target, weights, options).executable


def _texts(overrides: Mapping[str, Any] | None) -> dict[str, str] | None:
    return {name: str(value) for name, value in overrides.items()} if overrides else None
