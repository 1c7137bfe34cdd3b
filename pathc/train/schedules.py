"""Learning-rate schedules: the factor of the learning rate at a time of the training, measured in epochs."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from pathc.support.diagnostics import PathcError, UsageError, did_you_mean, error
from pathc.targets import parse_target


class Schedule(Protocol):
    """A factor over time; `whole` says that the factor depends on the number of epochs."""

    whole: bool

    def factor(self, epoch: float, epochs: float) -> float:
        """The factor after `epoch` of `epochs` epochs, fractions included."""
        ...


@dataclass(frozen=True)
class Constant:
    """Always 1."""

    whole = False

    def factor(self, epoch: float, epochs: float) -> float:
        """1."""
        return 1.0


@dataclass(frozen=True)
class Cosine:
    """Half a cosine from 1 down to `least` (Loshchilov and Hutter, 2017, without restarts)."""

    least: float = 0.0
    whole = True

    def factor(self, epoch: float, epochs: float) -> float:
        """1 at the start, `least` at the end."""
        wave = 0.5 + 0.5 * math.cos(math.pi * min(epoch / epochs, 1.0))
        return self.least + (1.0 - self.least) * wave


@dataclass(frozen=True)
class Linear:
    """A straight line from 1 down to `least`."""

    least: float = 0.0
    whole = True

    def factor(self, epoch: float, epochs: float) -> float:
        """1 at the start, `least` at the end."""
        return 1.0 - (1.0 - self.least) * min(epoch / epochs, 1.0)


@dataclass(frozen=True)
class Step:
    """Multiplied by `times` after `every` epochs, again and again."""

    every: float = 3.0
    times: float = 0.1
    whole = False

    def factor(self, epoch: float, epochs: float) -> float:
        """`times` to the power of the periods that have passed."""
        return self.times ** math.floor(epoch / self.every)


_MAKERS: Mapping[str, tuple[Callable[..., Schedule], tuple[str, ...]]] = {
    "constant": (Constant, ()),
    "cosine": (Cosine, ("least",)),
    "linear": (Linear, ("least",)),
    "step": (Step, ("every", "times")),
}
_LIMITS = {"least": (0.0, 1.0), "every": (1e-6, 1e9), "times": (0.0, 1.0)}
NAMES = tuple(_MAKERS)
"""Names of the schedules."""


def parse_schedule(text: str) -> Schedule:
    """The schedule that `cosine`, `step{every=3,times=0.1}`, ... spells; raises UsageError E0910."""
    try:
        name, options = parse_target(text)
    except UsageError:
        raise _unreadable(text, "it is no name with options in braces") from None
    if name not in _MAKERS:
        raise _unreadable(text, f"there is no `{name}`", did_you_mean(name, NAMES))
    maker, keys = _MAKERS[name]
    values: dict[str, float] = {}
    for key, value in options.items():
        if key not in keys:
            raise _unreadable(text, f"`{name}` has no option `{key}`", did_you_mean(key, keys))
        values[key] = _number(text, key, str(value))
    return maker(**values)


def _number(text: str, key: str, value: str) -> float:
    low, high = _LIMITS[key]
    try:
        number = float(value)
    except ValueError:
        raise _unreadable(text, f"`{value}` is no number") from None
    if not low <= number <= high:
        raise _unreadable(text, f"`{key}` must be from {low:g} to {high:g}")
    return number


def _unreadable(text: str, reason: str, hint: str = "") -> PathcError:
    found = error("E0910", f"the schedule `{text}` cannot be read: {reason}", help=hint or f"schedules: {_listed()}")
    return UsageError(*found.diagnostics)


def _listed() -> str:
    return "constant, cosine{least=0}, linear{least=0}, step{every=3,times=0.1}"


def rate(schedule: Schedule, base: float, epoch: float, epochs: float, warmup: float) -> float:
    """The learning rate at a time: a linear rise over `warmup` epochs, then the schedule over what is left."""
    if epoch < warmup:
        return base * epoch / warmup
    return base * schedule.factor(epoch - warmup, max(epochs - warmup, 1e-9))
