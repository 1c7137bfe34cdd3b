"""The training loop: epochs of shuffled batches, watched, checkpointed, and repeatable bit by bit.

The order of the samples of epoch e is drawn by Philox keyed with (seed, e), so it does not depend on what came
before: a run that goes on from a checkpoint sees the batches an uninterrupted one would have seen.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pathc.ir.graph import Graph
from pathc.ir.init import initial_weights
from pathc.ir.weights import Tensors, check_weights
from pathc.support.diagnostics import Diagnostic, PathcError, Severity
from pathc.train.checkpoint import Checkpoint, Progress, load_checkpoint, restore_mistake, save_checkpoint
from pathc.train.data import Dataset
from pathc.train.failure import diverged, not_finite
from pathc.train.provenance import provenance
from pathc.train.samples import Samples, Split, split_for
from pathc.train.schedules import Schedule, rate
from pathc.train.settings import Settings
from pathc.train.stepper import CROSS_ENTROPY, Outcome, Stepper, Target, loss_for, stepper_for
from pathc.train.windows import Windows

Record = dict[str, Any]
_AT_ONCE = 64
"""Sequences that are judged at once."""
_WORTH = 1e-4
"""Part of the validation loss that counts as progress."""


class Watch(Protocol):
    """Who looks on: told about every step and every epoch."""

    def begin(self, epoch: int, epochs: int, samples: int, done: int) -> None:
        """An epoch begins (from 0); `done` of its samples were seen before an interruption."""
        ...

    def step(self, samples: int, loss: float, correct: int) -> None:
        """A step is done: sums over all `samples` of the epoch so far."""
        ...

    def end(self, record: Record) -> None:
        """An epoch is done."""
        ...


class Silent:
    """Nobody looks on."""

    def begin(self, epoch: int, epochs: int, samples: int, done: int) -> None:
        """Nothing."""

    def step(self, samples: int, loss: float, correct: int) -> None:
        """Nothing."""

    def end(self, record: Record) -> None:
        """Nothing."""


@dataclass(frozen=True)
class Result:
    """Trained weights, one record per epoch, what is to be said, the origin; not `finished` if it was interrupted."""

    weights: dict[str, NDArray[np.float32]]
    history: list[Record]
    notes: list[Diagnostic]
    origin: dict[str, str]
    finished: bool

    @property
    def accuracy(self) -> float | None:
        """Test accuracy after the last epoch, if there is a test."""
        return self.history[-1]["test_accuracy"] if self.history else None


@dataclass
class _Run:
    """A training under way."""

    graph: Graph
    settings: Settings
    split: Split
    windows: Windows
    stepper: Stepper
    origin: dict[str, str]
    checkpoint: Path | None
    progress: Progress
    watch: Watch
    schedule: Schedule
    best: Mapping[str, NDArray[np.float32]] = field(default_factory=dict[str, NDArray[np.float32]])
    judge: Stepper | None = None
    counts: bool = True

    @property
    def steps(self) -> int:
        """Steps of an epoch."""
        return -(-len(self.split.train) // self.settings.batch)


@dataclass(frozen=True)
class _Batch:
    """Memory of a batch. Whole batches are the same arrays every time, which steppers need not look at again."""

    rows: NDArray[np.float32]
    labels: NDArray[np.int64] | None

    @classmethod
    def of(cls, samples: Samples, size: int) -> _Batch:
        """Memory for so many samples."""
        if samples.sequences:
            return cls(np.empty((0, 0), np.float32), None)
        labels = None if samples.labels is None else np.empty(size, np.int64)
        return cls(np.empty((size, samples.rows.shape[1]), np.float32), labels)

    def fill(self, samples: Samples, chosen: NDArray[np.int64]) -> tuple[NDArray[np.float32], Target]:
        """Samples and their targets."""
        if samples.sequences:
            x = samples.inputs(chosen)
            return x, x if samples.labels is None else samples.labels[chosen]
        count = len(chosen)
        whole = count == len(self.rows)
        # Indices are in range, and clipping them is what lets NumPy write to `out` without a buffer of its own.
        x = np.take(samples.rows, chosen, axis=0, out=self.rows if whole else self.rows[:count], mode="clip")
        if samples.labels is None or self.labels is None:
            return x, x
        labels = self.labels if whole else self.labels[:count]
        return x, np.take(samples.labels, chosen, out=labels, mode="clip")


def train(
    graph: Graph,
    dataset: Dataset,
    settings: Settings | None = None,
    *,
    weights: Tensors | None = None,
    checkpoint: str | Path | None = None,
    resume: bool = False,
    watch: Watch | None = None,
    stop: Callable[[], bool] = lambda: False,
    tell: Callable[[list[Diagnostic]], None] = lambda found: None,
) -> Result:
    """Train a net from `weights`, the initial ones if None.

    `checkpoint` is written after every epoch, and in the middle of one when `stop` says so; `resume` goes on from
    it if it is there. Weights of the best epoch are returned if `settings.patience` watches for it, those of the
    last otherwise. `tell` hears the notes before training begins. Raises PathcError: E0902 to E0905 for data, E0505
    to E0509 for weights, E0907 if the loss is no longer finite, E0908 for a checkpoint of another run, E0912 and
    E0913, E0610 for nets that cannot be trained.
    """
    settings = settings or Settings()
    split = split_for(graph, dataset, settings.goal, settings.validation, settings.seed)
    loss = loss_for(graph, split.train.labels is not None, settings.loss)
    plan = settings.plan(loss)
    windows = Windows(graph, settings.drop, settings.seed)
    found = check_weights(graph, weights, finite=True) if weights is not None else []
    if found:
        raise PathcError(*found)
    begin = windows.begin(_initial(graph, settings) if weights is None else weights)
    stepper, notes = stepper_for(graph, begin, plan, settings.target)
    notes = [*split.notes, *notes]
    origin = provenance(graph, dataset, settings)
    path = Path(checkpoint) if checkpoint is not None else None
    looking = watch or Silent()
    run = _Run(graph, settings, split, windows, stepper, origin, path, Progress(), looking, settings.timetable())
    run.counts = loss == CROSS_ENTROPY
    if windows.used:
        run.judge = stepper_for(graph, begin, plan, settings.target)[0]
    if resume:
        notes.extend(_resume(run))
    elif path is not None:
        _save(run)
    tell(notes)
    finished = _epochs(run, stop)
    last = windows.whole(stepper.weights())
    chosen = {n: np.asarray(w, np.float32) for n, w in run.best.items()} if settings.patience and run.best else last
    return Result(chosen, run.progress.history, notes, origin, finished)


def _initial(graph: Graph, settings: Settings) -> dict[str, NDArray[np.float32]]:
    """The initial weights, as large as the settings want them."""
    factor = np.float32(settings.magnitude)
    return {name: values * factor for name, values in initial_weights(graph, settings.seed).items()}


def _resume(run: _Run) -> list[Diagnostic]:
    """Take up the checkpoint, if there is one."""
    if run.checkpoint is None or not os.path.exists(run.checkpoint):
        text = f"there is no checkpoint `{run.checkpoint}` to go on from, so training begins anew"
        return [Diagnostic("W0904", text, severity=Severity.NOTE)]
    stored = load_checkpoint(run.checkpoint, run.origin)
    try:
        run.stepper.load(stored.weights)
        run.stepper.load_state(stored.state)
    except (KeyError, ValueError, IndexError, TypeError) as reason:
        raise restore_mistake(run.checkpoint, reason) from reason
    run.progress, run.best = stored.progress, {n: np.asarray(w, np.float32) for n, w in stored.best.items()}
    run.progress.finished = run.progress.finished and run.progress.epoch >= run.settings.epochs
    return []


def _epochs(run: _Run, stop: Callable[[], bool]) -> bool:
    """Train what is left; False if it was stopped before the end."""
    progress = run.progress
    while progress.epoch < run.settings.epochs and not progress.finished:
        if not _epoch(run, stop):
            _save(run)
            return False
        patience = run.settings.patience
        progress.finished = progress.epoch >= run.settings.epochs or (
            patience > 0 and progress.epoch - progress.best_epoch >= patience
        )
        _save(run)
        run.watch.end(progress.history[-1])
    return True


def _epoch(run: _Run, stop: Callable[[], bool]) -> bool:
    """One epoch, or what is left of it; False if it was stopped."""
    progress, settings, train = run.progress, run.settings, run.split.train
    order, windows = _order(run, progress.epoch), run.windows.order(progress.epoch, run.steps)
    buffer = _Batch.of(train, min(settings.batch, len(train)))
    first, before = progress.step, (run.stepper.weights(), run.stepper.state())
    run.watch.begin(progress.epoch, settings.epochs, len(train), min(first * settings.batch, len(train)))
    start, earlier = time.perf_counter(), progress.seconds
    for step in range(first, run.steps):
        if stop():
            return False
        x, outcome = _step(run, step, order, windows[step], buffer)
        if not math.isfinite(outcome.loss):
            run.stepper.load(before[0])
            run.stepper.load_state(before[1])
            for again in range(first, step):
                _step(run, again, order, windows[again], buffer)
            x, _ = buffer.fill(train, _batch(run, order, step))
            number = progress.epoch * run.steps + step + 1
            raise diverged(run.graph, run.stepper.weights(), x, outcome.loss, number, progress.epoch + 1)
        progress.step = step + 1
        progress.loss += outcome.loss * len(x)
        progress.correct += outcome.correct
        progress.seconds = earlier + time.perf_counter() - start
        seen = min(progress.step * settings.batch, len(train))
        run.watch.step(seen, progress.loss, progress.correct // train.steps)
    _close(run)
    return True


def _order(run: _Run, epoch: int) -> NDArray[np.int64]:
    """The order of the samples in an epoch."""
    draw = np.random.Generator(np.random.Philox(key=[run.settings.seed, epoch]))
    return draw.permutation(len(run.split.train))


def _batch(run: _Run, order: NDArray[np.int64], step: int) -> NDArray[np.int64]:
    return order[step * run.settings.batch : (step + 1) * run.settings.batch]


def _step(
    run: _Run, step: int, order: NDArray[np.int64], window: tuple[int, int] | None, buffer: _Batch
) -> tuple[NDArray[np.float32], Outcome]:
    """One step: the samples, and what they gave."""
    chosen, train, settings = _batch(run, order, step), run.split.train, run.settings
    x, target = buffer.fill(train, chosen)
    time_now = run.progress.epoch + (step + 0.5) / run.steps
    lr = rate(run.schedule, settings.rate, time_now, settings.epochs, settings.warmup)
    return x, run.stepper.step(x, target, lr=lr, window=window)


def _close(run: _Run) -> None:
    """Judge the net after an epoch and note it."""
    progress, samples = run.progress, len(run.split.train)
    weights = run.stepper.weights()
    failure = not_finite(weights, (progress.epoch + 1) * run.steps, progress.epoch + 1)
    if failure is not None:
        raise failure
    judge = run.stepper
    if run.judge is not None:
        judge = run.judge
        judge.load(run.windows.whole(weights))
    progress.epoch += 1
    record: Record = {
        "epoch": progress.epoch,
        "loss": progress.loss / samples,
        "train_accuracy": progress.correct / (samples * run.split.train.steps) if run.counts else None,
        **_judged(judge, run.split.test, "test"),
        "seconds": progress.seconds,
    }
    if run.split.validation is not None:
        record.update(_judged(judge, run.split.validation, "validation"))
        watched = float(record["validation_loss"])
        if progress.best is None or watched < progress.best * (1.0 - _WORTH):
            progress.best, progress.best_epoch = watched, progress.epoch
            run.best = run.windows.whole(weights) if run.settings.patience else {}
    progress.history.append(record)
    progress.step, progress.loss, progress.correct, progress.seconds = 0, 0.0, 0, 0.0


def _judged(judge: Stepper, samples: Samples | None, name: str) -> Record:
    """Loss and accuracy on samples, None where there are none to judge by."""
    if samples is None:
        return {f"{name}_accuracy": None, f"{name}_loss": None}
    if samples.sequences:
        return _judged_sequences(judge, samples, name)
    outcome = judge.evaluate(samples.inputs(slice(None)), samples.target(0, len(samples)))
    accuracy = outcome.correct / len(samples) if samples.labels is not None else None
    return {f"{name}_accuracy": accuracy, f"{name}_loss": outcome.loss}


def _judged_sequences(judge: Stepper, samples: Samples, name: str) -> Record:
    """The same for sequences, some at a time; of a text also bits a character."""
    loss, correct = 0.0, 0
    for start in range(0, len(samples), _AT_ONCE):
        stop = min(start + _AT_ONCE, len(samples))
        outcome = judge.evaluate(samples.inputs(slice(start, stop)), samples.target(start, stop))
        loss, correct = loss + outcome.loss * (stop - start) / len(samples), correct + outcome.correct
    accuracy = correct / (len(samples) * samples.steps) if samples.labels is not None else None
    found: Record = {f"{name}_accuracy": accuracy, f"{name}_loss": loss}
    return {**found, f"{name}_bits": loss / math.log(2.0)} if samples.characters else found


def _save(run: _Run) -> None:
    if run.checkpoint is not None:
        parts = run.stepper.weights(), run.stepper.state(), run.best
        save_checkpoint(run.checkpoint, Checkpoint(*parts, run.progress), run.origin)
