"""The progress bar of a training: loss, accuracy, rate, time left; silent where nobody can see it."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

_EVERY = 0.1
"""Seconds between two updates."""


class Bar:
    """A `Watch` that draws one bar per epoch on standard error; use it as a context manager."""

    def __init__(self) -> None:
        columns = (
            TextColumn("epoch {task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[figures]}"),
            TimeRemainingColumn(),
        )
        self._progress = Progress(*columns, console=Console(stderr=True), transient=True)
        self._task = self._progress.add_task("", total=None, figures="")
        self._shown = self._begun = 0.0
        self._done = 0

    def __enter__(self) -> Bar:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def begin(self, epoch: int, epochs: int, samples: int, done: int) -> None:
        """A new bar."""
        self._begun, self._done = time.perf_counter(), done
        text = f"{epoch + 1}/{epochs}"
        self._progress.reset(self._task, total=samples, completed=done, description=text, figures="")

    def step(self, samples: int, loss: float, correct: int) -> None:
        """Move the bar, a few times a second."""
        now = time.perf_counter()
        if now - self._shown < _EVERY:
            return
        self._shown = now
        speed = (samples - self._done) / max(now - self._begun, 1e-9)
        accuracy = f"  accuracy {correct / samples:.2%}" if correct else ""
        figures = f"loss {loss / samples:.4f}{accuracy}  {speed:,.0f} samples/s"
        self._progress.update(self._task, completed=samples, figures=figures)

    def end(self, record: dict[str, Any]) -> None:
        """One line for the epoch, above the bar."""
        self._progress.console.print(summary(record), highlight=False)


class Lines:
    """A `Watch` that gives every epoch's record to a function."""

    def __init__(self, tell: Callable[[dict[str, Any]], None]) -> None:
        self._tell = tell

    def begin(self, epoch: int, epochs: int, samples: int, done: int) -> None:
        """Nothing."""

    def step(self, samples: int, loss: float, correct: int) -> None:
        """Nothing."""

    def end(self, record: dict[str, Any]) -> None:
        """Tell."""
        self._tell(record)


def summary(record: dict[str, Any]) -> str:
    """An epoch in one line."""
    parts = [f"epoch {record['epoch']:3}", f"loss {record['loss']:.4f}"]
    for name in ("train", "validation", "test"):
        accuracy, loss = record.get(f"{name}_accuracy"), record.get(f"{name}_loss")
        if record.get(f"{name}_bits") is not None:
            parts.append(f"{name} {record[f'{name}_bits']:.3f} bits a character")
        elif accuracy is not None:
            parts.append(f"{name} {accuracy:.2%}")
        elif loss is not None:
            parts.append(f"{name} loss {loss:.4f}")
    return "  ".join([*parts, f"{record['seconds']:.2f} s"])
