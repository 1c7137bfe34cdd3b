"""Checkpoints: everything a run needs to go on as if it had never stopped, in one `.safetensors` file.

Weights have the prefix `weights.`, what the optimizer remembers `state.`, the best weights so far `best.`; the
metadata names the model, the data and the settings, and where in which epoch the run stands. Files are written whole
or not at all.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, cast

from numpy.typing import NDArray

from pathc.support.diagnostics import Diagnostic, PathcError, error
from pathc.support.files import write_atomically
from pathc.support.tensors import read_safetensors, safetensors_bytes, safetensors_metadata
from pathc.train.provenance import FORMAT

_WEIGHTS, _STATE, _BEST = "weights.", "state.", "best."
_SUFFIX = ".checkpoint.safetensors"
_CURE = "continue with the same model, data and settings, or begin anew without --resume"


@dataclass
class Progress:
    """Where a run stands: `step` steps into `epoch` (both from 0), what these steps gave, and the epochs before.

    `loss` and `correct` are sums over the samples seen in the epoch, `seconds` what it took so far. `best` is the
    least validation loss, reached in epoch `best_epoch`.
    """

    epoch: int = 0
    step: int = 0
    loss: float = 0.0
    correct: int = 0
    seconds: float = 0.0
    best: float | None = None
    best_epoch: int = 0
    finished: bool = False
    history: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])


@dataclass(frozen=True)
class Checkpoint:
    """Weights, state of the stepper, best weights (empty without validation), and where the run stands."""

    weights: Mapping[str, NDArray[Any]]
    state: Mapping[str, NDArray[Any]]
    best: Mapping[str, NDArray[Any]]
    progress: Progress


def checkpoint_beside(output: str | Path) -> Path:
    """Where the checkpoint of a run lies that writes `output`: `w.safetensors` has `w.checkpoint.safetensors`."""
    path = Path(output)
    return path.with_name(path.stem + _SUFFIX)


def save_checkpoint(path: str | Path, checkpoint: Checkpoint, origin: Mapping[str, str]) -> None:
    """Write a checkpoint, or leave the last one as it is; raises PathcError E0503."""
    parts = {_WEIGHTS: checkpoint.weights, _STATE: checkpoint.state, _BEST: checkpoint.best}
    stored = {f"{k}{name}": (array.dtype.name, array) for k, part in parts.items() for name, array in part.items()}
    metadata = {**origin, "format": FORMAT, "progress": json.dumps(asdict(checkpoint.progress))}
    try:
        write_atomically(path, safetensors_bytes(stored, metadata))
    except PathcError as mistake:
        kept = "the checkpoint before it is as it was" if os.path.exists(path) else "there is none before it"
        raise PathcError(*(d.note(kept) for d in mistake.diagnostics)) from mistake


def load_checkpoint(path: str | Path, origin: Mapping[str, str]) -> Checkpoint:
    """The checkpoint of a run of that origin.

    Raises PathcError: E0501, E0502 and E0504 for files that cannot be read, E0908 for one of another run.
    """
    metadata = safetensors_metadata(path)
    if metadata.get("format") != FORMAT:
        raise error("E0908", f"`{path}` is no checkpoint of this version of pathc", help=_CURE)
    mistakes = _differences(str(path), metadata, origin)
    if mistakes:
        raise PathcError(*mistakes)
    tensors = read_safetensors(path)
    try:
        progress = _progress(json.loads(metadata["progress"]))
    except (KeyError, TypeError, ValueError, RecursionError) as reason:
        raise error("E0504", f"the progress noted in `{path}` is damaged: {reason}", help=_CURE) from reason
    return Checkpoint(_part(tensors, _WEIGHTS), _part(tensors, _STATE), _part(tensors, _BEST), progress)


def restore_mistake(path: str | Path, reason: Exception) -> PathcError:
    """E0504 for a checkpoint whose tensors do not fit although its metadata does."""
    return error("E0504", f"the tensors of `{path}` do not fit its model: {reason}", help=_CURE)


def _part(tensors: Mapping[str, NDArray[Any]], prefix: str) -> dict[str, NDArray[Any]]:
    return {name.removeprefix(prefix): array for name, array in tensors.items() if name.startswith(prefix)}


def _differences(path: str, found: Mapping[str, str], origin: Mapping[str, str]) -> list[Diagnostic]:
    """E0908 for every way in which a checkpoint is of another run."""
    texts: list[str] = []
    if found.get("model_sha256") != origin["model_sha256"]:
        texts.append(f"`{path}` belongs to another model, `{found.get('model', '?')}`")
    if found.get("data_sha256") != origin["data_sha256"]:
        texts.append(f"`{path}` belongs to other data, `{found.get('data', '?')}`")
    old, new = _settings(found.get("settings", "")), _settings(origin["settings"])
    for name in sorted(old.keys() | new.keys()):
        if old.get(name) != new.get(name) and not _may_change(name, old, new):
            texts.append(f"`{path}` was trained with {name} = {old.get(name)}, not {new.get(name)}")
    return [Diagnostic("E0908", text, help=_CURE) for text in texts]


def _may_change(name: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """More epochs may be asked for where the learning rate does not depend on their number."""
    return name == "epochs" and str(new.get("schedule")).startswith(("constant", "step"))


def _settings(text: str) -> dict[str, Any]:
    try:
        record: object = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return cast("dict[str, Any]", record) if isinstance(record, dict) else {}


def _progress(record: dict[str, Any]) -> Progress:
    progress = Progress(**record)
    if min(progress.epoch, progress.step, progress.correct) < 0 or not math.isfinite(progress.loss):
        raise ValueError("it holds impossible numbers")
    return progress
