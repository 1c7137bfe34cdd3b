"""Cuts a text into statements and settles which line ends count.

A line whose first column is a letter begins a statement. Inside it comments and the line ends that do not
count (inside `( )` and `[ ]`, after `->`, before a line that starts with `->`) are blanked, character for
character, so that offsets into the blanked code are offsets into the text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from pathc.frontend.ast import KEYWORDS, Comment
from pathc.support.diagnostics import Diagnostic
from pathc.support.source import Source

MAX_NESTING = 64
"""Deepest nesting of brackets."""

_LINE_ENDS = "save it with the line ends of Unix or Windows: tr '\\r' '\\n' < OLD.path > NEW.path"
_STATEMENT = re.compile(r"^(?=[^\W\d])", re.MULTILINE)
_TOKEN = re.compile(
    r"""(?P<comment>\#[^\n]*)
      | (?P<text>"(?:[^"\\\n]|\\[^\n])*")
      | (?P<open_text>"(?:[^"\\\n]|\\[^\n])*\\?)
      | (?P<newline>\n)
      | (?P<arrow>->)
      | (?P<opener>[(\[{])
      | (?P<closer>[)\]}])
      | (?P<blank>[ \t\r]+)
      | (?P<code>-|[^\s\#"()\[\]{}\-]+|.)""",
    re.VERBOSE | re.DOTALL,
)
_CLOSES = {")": "(", "]": "[", "}": "{"}
_CLOSED_BY = {opener: closer for closer, opener in _CLOSES.items()}


@dataclass(frozen=True)
class Piece:
    """The code of one statement: text[start : start + len(code)] with comments and soft line ends blanked."""

    start: int
    code: str


@dataclass(frozen=True)
class Layout:
    """Statements, comments and faults of a text, in order."""

    pieces: tuple[Piece, ...]
    comments: tuple[Comment, ...]
    faults: tuple[Diagnostic, ...]


def lay_out(source: Source) -> Layout:
    """Cut a source into statements. Faults: E0104, E0105, E0108, E0109, E0112."""
    returned = source.text.find("\r")
    if "\n" not in source.text and 0 <= returned < len(source.text.rstrip()):
        text = "lines end in carriage returns alone, so all of this is one line"
        return Layout((), (), (Diagnostic("E0112", text, source.span(returned, returned + 1), help=_LINE_ENDS),))
    pieces: list[Piece] = []
    comments: list[Comment] = []
    faults: list[Diagnostic] = []
    for start, end in _cuts(source.text):
        scan = _Scan(source, start, end, comments)
        piece = scan.run()
        if scan.fault is not None:
            faults.append(scan.fault)
        if piece is not None:
            pieces.append(piece)
    return Layout(tuple(pieces), tuple(comments), tuple(faults))


def _cuts(text: str) -> Iterator[tuple[int, int]]:
    """Ranges that begin where a statement does, the first one with what stands before all statements."""
    starts = [match.start() for match in _STATEMENT.finditer(text)]
    first = 1 if text.startswith("\N{ZERO WIDTH NO-BREAK SPACE}") else 0
    if not starts or starts[0] > first:
        starts.insert(0, first)
    yield from zip(starts, [*starts[1:], len(text)], strict=True)


class _Scan:
    """One pass over the characters of one statement."""

    def __init__(self, source: Source, start: int, end: int, comments: list[Comment]) -> None:
        self.source, self.start, self.end = source, start, end
        self.comments = comments
        self.fault: Diagnostic | None = None
        self.stack: list[tuple[str, int]] = []
        self.out: list[str] = []
        self.newline: int | None = None
        self.previous = ""
        self.complete = False

    def run(self) -> Piece | None:
        """The statement's code, or None if there is none or it cannot be parsed."""
        text = self.source.text
        begins = self.start == 0 or text[self.start - 1] == "\n"
        self.complete = not (begins and re.match(r"[^\W\d]", text[self.start : self.start + 1]))
        empty = self.complete
        for match in _TOKEN.finditer(text, self.start, self.end):
            self._token(match.lastgroup or "", match.group(), match.start())
        if self.stack and self.fault is None:
            opener, offset = self.stack[-1]
            self._fail("E0104", f"`{opener}` is never closed", offset, 1, f"add `{_CLOSED_BY[opener]}`")
        if empty or (self.fault is not None and self.fault.code != "E0109"):
            return None
        return Piece(self.start, "".join(self.out).rstrip())

    def _token(self, kind: str, token: str, offset: int) -> None:
        if kind == "comment":
            self._comment(token, offset)
        elif kind == "newline":
            self._blank_newline(offset)
        elif kind == "blank":
            self.out.append(" " * len(token))
        elif not self.complete and self.fault is None:
            self._code(kind, token, offset)
        elif self.fault is None:
            self._stray(token, offset)

    def _comment(self, token: str, offset: int) -> None:
        text = self.source.text
        before = text[text.rfind("\n", 0, offset) + 1 : offset]
        trimmed = token.rstrip()
        span = self.source.span(offset, offset + len(trimmed))
        self.comments.append(Comment(trimmed, not before.strip(" \t\r\ufeff"), span))
        self.out.append(" " * len(token))

    def _blank_newline(self, offset: int) -> None:
        if self.newline is None:
            self.newline = len(self.out)
        self.out.append(" ")

    def _code(self, kind: str, token: str, offset: int) -> None:
        self._settle_newline(kind)
        if self.complete:
            self._stray(token, offset)
            return
        if kind == "open_text":
            self._fail("E0105", "this text has no closing quote", offset, len(token), 'add `"` before the line ends')
        elif kind == "opener":
            self._open(token, offset)
        elif kind == "closer":
            self._close(token, offset)
        self.out.append(token)
        self.previous = kind

    def _settle_newline(self, kind: str) -> None:
        """Make a pending line end hard, drop it, or end the statement there."""
        if self.newline is None:
            return
        inside = self.stack[-1][0] if self.stack else ""
        if inside not in ("(", "[") and self.previous != "arrow" and kind != "arrow":
            if inside == "{":
                self.out[self.newline] = "\n"
            else:
                self.complete = True
        self.newline = None

    def _open(self, token: str, offset: int) -> None:
        self.stack.append((token, offset))
        if len(self.stack) > MAX_NESTING:
            self._fail(
                "E0108", f"brackets nested deeper than {MAX_NESTING}", offset, 1, "use a `let` for the inner part"
            )

    def _close(self, token: str, offset: int) -> None:
        if not self.stack:
            self._fail("E0104", f"`{token}` closes nothing", offset, 1, f"remove it, or add `{_CLOSES[token]}`")
        elif self.stack[-1][0] != _CLOSES[token]:
            opener, where = self.stack[-1]
            self._fail("E0104", f"`{opener}` is never closed", where, 1, f"add `{_CLOSED_BY[opener]}` before `{token}`")
        else:
            self.stack.pop()

    def _stray(self, token: str, offset: int) -> None:
        if token in KEYWORDS:
            cure = f"remove the spaces before `{token}`"
        else:
            cure = "a statement begins with its keyword in the first column and ends at the line end"
        self._fail("E0109", "this line belongs to no statement", offset, len(token), cure)

    def _fail(self, code: str, message: str, offset: int, length: int, cure: str) -> None:
        self.fault = Diagnostic(code, message, self.source.span(offset, offset + length), help=cure)
