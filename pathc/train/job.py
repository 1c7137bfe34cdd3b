"""A training as the command line spells it: from the names of files to files of weights."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pathc.driver import load, weights_of
from pathc.ir.catalogue import find
from pathc.ir.graph import Graph
from pathc.ir.types import Call
from pathc.ir.weights import SCALE, expected_tensors, load_weights, save_weights
from pathc.support.diagnostics import Diagnostic, Severity, UsageError, did_you_mean, error
from pathc.support.source import Source
from pathc.support.tensors import safetensors_metadata
from pathc.train.checkpoint import checkpoint_beside
from pathc.train.data import Dataset
from pathc.train.grow import grown_weights
from pathc.train.loop import Result, Silent, Watch, train
from pathc.train.provenance import model_digest
from pathc.train.settings import Settings

SIGNS = ("hadamard", "halves", "bit", "parity", "dim", "positive", "random")
_SUFFIXES = (".safetensors", ".npz")


@dataclass(frozen=True)
class Job:
    """One training.

    `weights` is a file to begin with, of this net, of one with fewer paths, or quantized; `grow` names a `let` and the
    values it takes one after the other, each trained for all epochs; `grown` says how new paths begin. `output` is the
    file of weights, `checkpoint` by default the one beside it, which is removed when the output is written.
    """

    model: str | Path | Source | Graph
    data: Dataset
    settings: Settings = field(default_factory=Settings)
    overrides: Mapping[str, str] = field(default_factory=dict[str, str])
    sign: str = ""
    weights: str = ""
    grow: tuple[str, tuple[str, ...]] = ("", ())
    grown: str = "zero"
    output: str = ""
    checkpoint: str = ""
    resume: bool = False


def run(
    job: Job,
    watch: Watch | None = None,
    stop: Callable[[], bool] = lambda: False,
    tell: Callable[[list[Diagnostic]], None] = lambda found: None,
) -> Result:
    """Train, stage by stage, and write the weights.

    `tell` hears what is to be said before the training ends. Raises PathcError as `train`, `load`, `load_weights`,
    `grown_weights` and `save_weights` do, E0909 for settings that contradict each other, E0918.
    """
    _check_output(job)
    graphs = _stages(job)
    checkpoint = Path(job.checkpoint) if job.checkpoint else checkpoint_beside(job.output) if job.output else None
    if job.resume and checkpoint is None:
        raise UsageError(Diagnostic("E0909", "there is nothing to resume", help="name the output or a --checkpoint"))
    if not job.output:
        help = "name a file with -o"
        tell([Diagnostic("W0906", "the trained weights are not kept", help=help, severity=Severity.NOTE)])
    first = _stage_of(checkpoint, graphs) if job.resume and checkpoint is not None else 0
    weights = _begin(job, graphs[0], tell) if job.weights and not first else None
    result, done, looking = None, 0, watch or Silent()
    for number, graph in enumerate(graphs[first:], first):
        if result is not None:
            weights = _grown(job, graph, result.weights)
        result = train(
            graph,
            job.data,
            job.settings,
            weights=weights,
            checkpoint=checkpoint,
            resume=job.resume and number == first,
            watch=_Staged(looking, number, len(graphs), done),
            stop=stop,
            tell=tell if number == first else lambda found: None,
        )
        done += len(result.history)
        if not result.finished:
            return result
    assert result is not None
    if job.output:
        save_weights(job.output, result.weights, metadata={**result.origin, **_figures(result)})
        if checkpoint is not None and not job.checkpoint:
            checkpoint.unlink(missing_ok=True)
    return result


@dataclass(frozen=True)
class _Staged:
    """A `Watch` that counts the epochs of all stages, and says in every record which stage it is."""

    watch: Watch
    stage: int
    stages: int
    done: int

    def begin(self, epoch: int, epochs: int, samples: int, done: int) -> None:
        """An epoch begins."""
        self.watch.begin(epoch + self.done, epochs * self.stages, samples, done)

    def step(self, samples: int, loss: float, correct: int) -> None:
        """A step is done."""
        self.watch.step(samples, loss, correct)

    def end(self, record: dict[str, Any]) -> None:
        """An epoch is done."""
        if self.stages > 1:
            record = {**record, "epoch": record["epoch"] + self.done, "stage": self.stage + 1}
        self.watch.end(record)


def _check_output(job: Job) -> None:
    if job.output and Path(job.output).suffix.lower() not in _SUFFIXES:
        text = f"`{job.output}` is no weight file by its name"
        raise error("E0510", text, help="use the suffix .safetensors or .npz")
    for name in (job.output, job.checkpoint):
        if name and not os.path.isdir(Path(name).absolute().parent):
            raise error("E0503", f"cannot write `{name}`: its folder does not exist", help="make the folder first")
        if name and os.path.isdir(name):
            raise error("E0503", f"cannot write `{name}`: it is a folder", help="give the name of a file")


def _stages(job: Job) -> list[Graph]:
    """The graph of every stage of growth, with the sign rule the job wants."""
    name, values = job.grow
    if name and name in job.overrides:
        text = f"`{name}` is set and grown at the same time"
        raise UsageError(Diagnostic("E0909", text, help=f"leave out --set {name}"))
    settings = [{**job.overrides, name: value} for value in values] if name else [dict(job.overrides)]
    return [with_sign(load(job.model, overrides or None), job.sign) for overrides in settings]


def with_sign(graph: Graph, text: str) -> Graph:
    """The graph with another rule of initial signs on all lines with weights; as it is if `text` is empty."""
    if not text:
        return graph
    match = re.fullmatch(r"\s*(\w+)\s*(?:\(\s*(?:\w+\s*=\s*)?(\d{1,19})\s*\))?\s*", text)
    entry = find(match[1], ("sign",)) if match else None
    if match is None or entry is None:
        hint = did_you_mean(match[1] if match else text, SIGNS) or f"rules: {', '.join(SIGNS)}"
        raise UsageError(Diagnostic("E0918", f"there is no sign rule `{text}`", help=hint))
    if bool(match[2]) != bool(entry.options) and (match[2] or entry.options[0].required):
        need = f"write {entry.name}(N)" if entry.options else "it takes no number"
        raise UsageError(Diagnostic("E0918", f"the sign rule `{text}` cannot be read", help=need))
    call = Call(entry.name, ((entry.options[0].name, int(match[2])),) if match[2] else ())
    lines = tuple(line if line.kind == "skip" else replace(line, sign=call) for line in graph.lines)
    return replace(graph, lines=lines)


def _stage_of(checkpoint: Path, graphs: list[Graph]) -> int:
    """The stage a checkpoint belongs to; the first where there is none."""
    if len(graphs) == 1 or not os.path.exists(checkpoint):
        return 0
    found = safetensors_metadata(checkpoint).get("model_sha256")
    return next((k for k, graph in enumerate(graphs) if model_digest(graph) == found), 0)


def _begin(job: Job, graph: Graph, tell: Callable[[list[Diagnostic]], None]) -> dict[str, NDArray[np.float32]]:
    stored = load_weights(job.weights)
    if any(name + SCALE in stored for name in stored):
        stored = weights_of(graph, job.weights)
    grown = _grown(job, graph, stored)
    larger = [n for n, shape in expected_tensors(graph).items() if n in stored and stored[n].shape != shape]
    if larger:
        text = f"`{job.weights}` has {len(stored[larger[0]])} paths, the net {len(grown[larger[0]])}"
        tell([Diagnostic("W0905", f"{text}: new ones begin as `{job.grown}`", severity=Severity.NOTE)])
    return grown


def _grown(job: Job, graph: Graph, weights: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[np.float32]]:
    s = job.settings
    return grown_weights(graph, weights, kind=job.grown, fixed_signs=s.fixed_signs, seed=s.seed, magnitude=s.magnitude)


def _figures(result: Result) -> dict[str, str]:
    """What the last epoch gave, as text."""
    if not result.history:
        return {}
    last = result.history[-1]
    kept = ("epoch", "loss", "train_accuracy", "validation_accuracy", "test_accuracy")
    return {name: repr(last[name]) for name in kept if last.get(name) is not None}


def grow_of(text: str) -> tuple[str, tuple[str, ...]]:
    """Name and values of `P=1024,2048`; raises UsageError E0801."""
    ((name, values),) = values_of("--grow", [text]).items()
    return name, values


def values_of(flag: str, items: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Names and values of several `P=1024,2048`; raises UsageError E0801."""
    found: dict[str, tuple[str, ...]] = {}
    for item in items:
        name, _, text = (part.strip() for part in item.partition("="))
        values = tuple(dict.fromkeys(value.strip() for value in text.split(",")))
        if not name or not all(values):
            help = f"{flag} P=1024,2048,4096"
            raise UsageError(Diagnostic("E0801", f"`{flag} {item}` has no name and values", help=help))
        if name in found:
            raise UsageError(Diagnostic("E0801", f"`{flag} {name}` is given twice", help="join the values by commas"))
        found[name] = values
    return found
