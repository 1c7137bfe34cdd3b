"""What a rule is, and the mistakes that rules of several files name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from pathc.ir.graph import Graph
from pathc.support.diagnostics import Diagnostic, did_you_mean
from pathc.support.source import Loc

Level = Literal["graph", "structured"]
Found = Iterator[Diagnostic]


@dataclass(frozen=True)
class Rule:
    """One rule: its name, the level it belongs to, and the function that yields what breaks it."""

    name: str
    level: Level
    check: Callable[[Graph], Iterable[Diagnostic]]

    @property
    def doc(self) -> str:
        """What the rule demands."""
        return " ".join((self.check.__doc__ or "").split())


def rule(level: Level) -> Callable[[Callable[[Graph], Found]], Rule]:
    """Make a function a rule of a level, under its own name."""

    def make(check: Callable[[Graph], Found]) -> Rule:
        return Rule(check.__name__.replace("_", "-"), level, check)

    return make


def unknown(what: str, name: str, known: Iterable[str], place: Loc | None) -> Diagnostic:
    """The mistake of naming what is not there, E0302, with what may have been meant."""
    names = sorted(known)
    hint = did_you_mean(name, names) or f"there are: {', '.join(names[:8]) or 'none'}"
    return Diagnostic("E0302", f"there is no {what} `{name}`", place, help=hint)
