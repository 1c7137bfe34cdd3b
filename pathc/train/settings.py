"""How a net is trained: one value that is checked once, stored with checkpoints, and spelled by the command line."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from pathc.support.diagnostics import Diagnostic, PathcError, UsageError, did_you_mean
from pathc.train.samples import INPUT, LABELS
from pathc.train.schedules import Schedule, parse_schedule
from pathc.train.stepper import OPTIMIZERS, RATES, Loss, Plan, loss_called, optimizer_for, target_of

FEEDBACKS = ("paths", "direct")
"""How hidden layers learn their error: back along the paths, or straight from the output through a fixed matrix."""
GOALS = (LABELS, INPUT)
_MOST = 1 << 24
_LARGEST_SEED = (1 << 63) - 1


@dataclass(frozen=True)
class Settings:
    """The settings of a training; equal settings, model and data give equal weights, bit by bit.

    `lr` 0 is the optimizer's usual rate, `weight_decay` that of all weights, decoupled under Adam, `loss` "" that of
    the output's activation. `warmup` is in epochs, `validation` a share of the training samples, `patience` the epochs
    without progress there after which training stops. `drop` is the number of paths left out in a step (0: none).
    `feedback` is `paths` or `direct`. `goal` says what the net learns to give, `labels` or `input`. `magnitude`
    multiplies the initial weights. `target` computes, `llvm`, `llvm{precision=bf16}` or `reference`; `threads` (0: as
    many as there are cores) changes nothing but the speed.
    """

    epochs: int = 10
    batch: int = 64
    optimizer: str = "adam"
    lr: float = 0.0
    weight_decay: float = 0.0
    schedule: str = "cosine"
    warmup: float = 0.0
    seed: int = 0
    loss: str = ""
    fixed_signs: bool = False
    drop: int = 0
    feedback: str = "paths"
    validation: float = 0.0
    patience: int = 0
    goal: str = LABELS
    magnitude: float = 1.0
    target: str = "llvm"
    threads: int = field(default=1, compare=False)

    def __post_init__(self) -> None:
        """Raise UsageError with everything that cannot be.

        E0909, E0910 for the schedule, E0913 for the loss, E0806, E0915 and E0603 for the target.
        """
        found = list(_mistakes(self))
        for read, text in ((parse_schedule, self.schedule), (loss_called, self.loss), (target_of, self.target)):
            try:
                read(text)
            except PathcError as mistake:
                found.extend(mistake.diagnostics)
        if found:
            raise UsageError(*found)

    @property
    def rate(self) -> float:
        """The learning rate at its height."""
        return self.lr or RATES[self.optimizer]

    def plan(self, loss: Loss) -> Plan:
        """What a stepper needs to know."""
        rule = optimizer_for(self.optimizer, self.rate, self.weight_decay)
        return Plan(loss, rule, self.batch, self.threads, self.fixed_signs, self.feedback, self.seed)

    def timetable(self) -> Schedule:
        """The schedule."""
        return parse_schedule(self.schedule)

    def as_json(self) -> str:
        """All settings that decide the weights, as one line."""
        return json.dumps(self.deciding(), sort_keys=True)

    def deciding(self) -> dict[str, Any]:
        """The settings that decide the weights."""
        values = asdict(self)
        del values["threads"]
        return values


def _mistakes(s: Settings) -> Iterator[Diagnostic]:
    for name, value, low, high in (
        ("epochs", s.epochs, 1, _MOST),
        ("batch", s.batch, 1, _MOST),
        ("seed", s.seed, 0, _LARGEST_SEED),
        ("drop", s.drop, 0, 1 << 40),
        ("patience", s.patience, 0, _MOST),
        ("threads", s.threads, 0, 1024),
    ):
        if not low <= value <= high:
            yield _wrong(f"`{name}` is {value}, it must be from {low} to {high}")
    for name, number, high in (
        ("lr", s.lr, 1e6),
        ("weight_decay", s.weight_decay, 1e6),
        ("warmup", s.warmup, float(_MOST)),
        ("validation", s.validation, 1),
        ("magnitude", s.magnitude, 1e6),
    ):
        if not (math.isfinite(number) and 0 <= number <= high):
            yield _wrong(f"`{name}` is {number:g}, it must be from 0 to {high:g}")
    if s.validation == 1:
        yield _wrong("`validation` is 1, which leaves nothing to train with")
    for name, word, known in (
        ("optimizer", s.optimizer, tuple(OPTIMIZERS)),
        ("feedback", s.feedback, FEEDBACKS),
        ("goal", s.goal, GOALS),
    ):
        if word not in known:
            hint = did_you_mean(word, known) or f"one of {', '.join(known)}"
            yield _wrong(f"`{name}` is `{word}`", hint)
    if s.warmup and s.warmup >= s.epochs:
        yield _wrong(f"a warm-up of {s.warmup:g} epochs leaves nothing of {s.epochs}", "warm up for an epoch or less")
    if s.patience and not s.validation:
        yield _wrong("`patience` watches samples that are held out, and there are none", "add --validation 0.1")


def _wrong(text: str, help: str = "") -> Diagnostic:
    return Diagnostic("E0909", text, help=help or "see pathc train --help")
