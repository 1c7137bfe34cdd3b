"""What the compiler tells its user: diagnostics with place, notes and cure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from pathc.support.source import Loc, Span


class Severity(StrEnum):
    """How bad it is; only errors stop a compilation."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


Place = Span | Loc | None


@dataclass(frozen=True)
class Diagnostic:
    """One message to the user: code, severity, cause at the caret, notes, cure.

    `place` is a `Span` while the source text is at hand, a `Loc` when only file, line and column are known.
    """

    code: str
    message: str
    place: Place = None
    label: str = ""
    notes: tuple[str, ...] = ()
    help: str = ""
    severity: Severity = Severity.ERROR

    @property
    def loc(self) -> Loc | None:
        """File, line and column, if known."""
        return self.place.place if isinstance(self.place, Span) else self.place

    def note(self, text: str) -> Diagnostic:
        """The same diagnostic with one more note."""
        return replace(self, notes=(*self.notes, text))

    def as_json(self) -> str:
        """One line of JSON: code, severity, message, file, line, column, end_column, notes, help."""
        import json  # here, so that --help stays fast

        loc = self.loc
        record: dict[str, Any] = {
            "code": self.code,
            "severity": str(self.severity),
            "message": self.message,
            "file": loc.file if loc else None,
            "line": loc.line if loc else None,
            "column": loc.column if loc else None,
            "end_column": loc.column + _caret_width(self.place) if loc else None,
            "label": self.label,
            "notes": list(self.notes),
            "help": self.help,
        }
        return json.dumps(record, ensure_ascii=False)


class PathcError(Exception):
    """A user's mistake, or several: carries diagnostics, never shown as a traceback."""

    def __init__(self, *diagnostics: Diagnostic) -> None:
        super().__init__("; ".join(f"{d.code}: {d.message}" for d in diagnostics))
        self.diagnostics = diagnostics

    @property
    def exit_code(self) -> int:
        """1: the model is wrong."""
        return 1


class UsageError(PathcError):
    """The command was used wrongly (exit code 2)."""

    @property
    def exit_code(self) -> int:
        """2: wrong usage."""
        return 2


class UnavailableError(PathcError):
    """The target cannot be used on this machine (exit code 3)."""

    @property
    def exit_code(self) -> int:
        """3: target not available here."""
        return 3


class InternalError(PathcError):
    """The compiler made a mistake, not its user (exit code 70)."""

    @property
    def exit_code(self) -> int:
        """70: a fault of the compiler itself."""
        return 70


def error(code: str, message: str, place: Place = None, *, label: str = "", help: str = "") -> PathcError:
    """A `PathcError` with a single diagnostic, ready to raise."""
    return PathcError(Diagnostic(code, message, place, label=label, help=help))


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A hint naming the closest known word, or an empty string."""
    import difflib  # here, so that --help stays fast

    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"did you mean `{close[0]}`?" if close else ""


_COLOURS = {Severity.ERROR: "\x1b[1;31m", Severity.WARNING: "\x1b[1;33m", Severity.NOTE: "\x1b[1;36m"}
_BOLD, _BLUE, _RESET = "\x1b[1m", "\x1b[1;34m", "\x1b[0m"
_TAB_WIDTH = 4
_LONGEST_LINE = 160


def render(diagnostic: Diagnostic, colour: bool = False) -> str:
    """The diagnostic as text with source line and caret, ending in a newline."""

    def paint(style: str, text: str) -> str:
        return f"{style}{text}{_RESET}" if colour else text

    head = paint(_COLOURS[diagnostic.severity], f"{diagnostic.severity}[{diagnostic.code}]")
    lines = [f"{head}: {paint(_BOLD, _plain(diagnostic.message))}"]
    loc = diagnostic.loc
    if loc is not None:
        gutter = len(str(loc.line))
        lines.append(f"{' ' * gutter}{paint(_BLUE, '-->')} {_plain(str(loc))}")
        if isinstance(diagnostic.place, Span):
            lines.extend(_excerpt(diagnostic.place, loc, gutter, diagnostic.label, paint, diagnostic.severity))
    lines.extend(f"note: {_plain(text)}" for text in diagnostic.notes)
    if diagnostic.help:
        lines.append(f"help: {_plain(diagnostic.help)}")
    return "\n".join(lines) + "\n"


def render_all(diagnostics: Sequence[Diagnostic], colour: bool = False) -> str:
    """All diagnostics as text, a blank line between two."""
    return "\n".join(render(d, colour) for d in diagnostics)


def _excerpt(
    span: Span, loc: Loc, gutter: int, label: str, paint: Callable[[str, str], str], severity: Severity
) -> list[str]:
    text = span.source.line(loc.line)
    before, width = loc.column - 1, _caret_width(span)
    cut = max(0, before - _LONGEST_LINE // 2)
    shown = text[cut : cut + _LONGEST_LINE]
    indent = len(_detab(text[cut:before]))
    carets = "^" * max(1, min(width, len(_detab(shown)) - indent))
    margin = " " * (gutter + 1)
    bar = paint(_BLUE, "|")
    pointer = f"{' ' * indent}{carets}{' ' + label if label else ''}"
    return [
        f"{margin}{bar}",
        f"{loc.line} {bar} {_detab(shown)}",
        f"{margin}{bar} {paint(_COLOURS[severity], pointer)}",
    ]


def _detab(text: str) -> str:
    return _plain(text.replace("\t", " " * _TAB_WIDTH))


def _plain(text: str) -> str:
    """The text without characters that would command a terminal; names of files may hold any."""
    return "".join(c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in text)


def _caret_width(place: Place) -> int:
    """Characters of the span that lie in its first line."""
    if not isinstance(place, Span):
        return 1
    return max(1, len(place.text.split("\n", 1)[0].rstrip()))
