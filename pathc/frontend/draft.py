"""What lowering gathers while it goes: diagnostics, applied defaults, and the nodes behind the graph."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from pathc.frontend import ast
from pathc.frontend.scope import Scope
from pathc.ir.graph import Line, Station, Target
from pathc.support.diagnostics import Diagnostic, PathcError, Place
from pathc.support.source import Loc

T = TypeVar("T")


@dataclass(frozen=True)
class Default:
    """A default that was applied: where, to what (`paths main`), which setting, its value, and why."""

    loc: Loc | None
    subject: str
    name: str
    value: str
    why: str


@dataclass
class Draft:
    """A model half-way between text and graph."""

    file: ast.File
    scope: Scope = field(default_factory=Scope)
    name: str = ""
    doc: str = ""
    stations: dict[str, Station] = field(default_factory=dict[str, Station])
    lines: dict[str, Line] = field(default_factory=dict[str, Line])
    targets: dict[str, Target] = field(default_factory=dict[str, Target])
    nodes: dict[str, ast.Station] = field(default_factory=dict[str, ast.Station])
    line_nodes: dict[str, ast.Line] = field(default_factory=dict[str, ast.Line])
    broken: set[str] = field(default_factory=set[str])
    diagnostics: list[Diagnostic] = field(default_factory=list[Diagnostic])
    defaults: list[Default] = field(default_factory=list[Default])

    def attempt(self, action: Callable[[], T]) -> T | None:
        """The result of the action, or None after noting down the mistakes it raised."""
        try:
            return action()
        except PathcError as mistake:
            self.diagnostics.extend(mistake.diagnostics)
            return None

    def report(self, code: str, message: str, place: Place, *, label: str = "", help: str = "") -> None:
        """Note down one mistake."""
        self.diagnostics.append(Diagnostic(code, message, place, label=label, help=help))

    def default(self, place: Place, subject: str, name: str, value: object, why: str) -> None:
        """Note down that a default was applied."""
        loc = place if isinstance(place, Loc) or place is None else place.place
        self.defaults.append(Default(loc, subject, name, str(value), why))
