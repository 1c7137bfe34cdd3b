"""Reading one `.pir` text token by token, with an error at the very token."""

from __future__ import annotations

import re
from dataclasses import dataclass

from pathc.support.diagnostics import PathcError, error
from pathc.support.source import Loc, Source, Span

WORD = r"[A-Za-z_][A-Za-z0-9_]*"
WORDS = rf"{WORD}(?:[+-]{WORD})*"
_LONGEST_NUMBER = 64
_TOKEN = re.compile(
    rf"""(?P<space>(?:[ \t\r]|\#[^\n]*)+)
    |(?P<string>"(?:[^"\\\n]|\\[^\n])*")
    |(?P<size>[0-9]+x(?:[0-9]+(?:x[0-9]+)*)?(?![A-Za-z0-9_]))
    |(?P<number>-?(?:[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?|inf\b|nan\b))
    |(?P<station>%{WORD})
    |(?P<line>\${WORD})
    |(?P<word>{WORDS})
    |(?P<arrow>->)
    |(?P<end>\n)
    |(?P<mark>[\[\]{{}}()=,:|@.%])""",
    re.VERBOSE,
)
_PLACE = r"(?P<line>[0-9]{1,12}):(?P<column>[0-9]{1,12})"
_LOC = re.compile(rf'(?:"(?P<quoted>(?:[^"\\\n]|\\[^\n])*)"|(?P<bare>[^\s"#{{}}]+)):{_PLACE}')
_SHORT_LOC = re.compile(rf"{_PLACE}(?![0-9:])|_(?!\S)")
_BARE_FILE = re.compile(r"[A-Za-z0-9_./+-]+")
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r"}


@dataclass(frozen=True)
class Token:
    """A piece of text: its kind, its characters, and where they stand."""

    kind: str
    text: str
    span: Span


class Cursor:
    """A place in a `.pir` text; every reader moves it past what it has read."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.position = 0

    def peek(self) -> Token:
        """The next token, blanks and comments skipped; of kind `eof` at the end of the text."""
        text = self.source.text
        while self.position < len(text):
            match = _TOKEN.match(text, self.position)
            if match is None:
                return Token("unknown", text[self.position], self._span(self.position, self.position + 1))
            if match.lastgroup != "space":
                return Token(match.lastgroup or "", match[0], self._span(match.start(), match.end()))
            self.position = match.end()
        return Token("eof", "", self._span(len(text), len(text)))

    def take(self) -> Token:
        """The next token, passed."""
        token = self.peek()
        self.position = token.span.end
        return token

    def accept(self, text: str) -> bool:
        """True, and passed, if the next token is exactly `text`."""
        token = self.peek()
        if token.text != text or token.kind == "string":
            return False
        self.position = token.span.end
        return True

    def expect(self, text: str) -> Token:
        """Pass the token `text`; E0401 if another stands there."""
        token = self.peek()
        if not self.accept(text):
            raise self.unexpected(f"`{text}`", token)
        return token

    def expect_kind(self, kind: str, what: str) -> Token:
        """Pass a token of that kind; E0401 if another stands there."""
        token = self.peek()
        if token.kind != kind:
            raise self.unexpected(what, token)
        return self.take()

    def unexpected(self, expected: str, token: Token) -> PathcError:
        """The error that `token` is not what must stand there: E0401, or E0403 if the text ends too early."""
        if token.kind == "eof":
            return error("E0403", f"the text ends where {expected} must stand", token.span, help="the file is cut off")
        found = "the line end" if token.kind == "end" else f"`{token.text}`"
        return error("E0401", f"found {found} where {expected} must stand", token.span, label="here")

    def end_line(self) -> None:
        """Pass the end of the line; E0401 if anything else stands there."""
        if self.peek().kind != "eof":
            self.expect_kind("end", "the line end")

    def skip_line(self) -> None:
        """Move to the start of the next line, whatever stands there."""
        newline = self.source.text.find("\n", self.position)
        self.position = len(self.source.text) if newline < 0 else newline + 1

    def integer(self, what: str) -> int:
        """A whole number that is not negative."""
        token = self.expect_kind("number", what)
        if not token.text.isdecimal() or len(token.text) > _LONGEST_NUMBER:
            raise error("E0405", f"`{_short(token.text)}` is no number that can stand as {what}", token.span)
        return int(token.text)

    def number(self) -> int | float:
        """An integer or a float."""
        token = self.expect_kind("number", "a number")
        if len(token.text) > _LONGEST_NUMBER:
            raise error("E0405", f"`{_short(token.text)}` has too many digits", token.span)
        return int(token.text) if token.text.removeprefix("-").isdecimal() else float(token.text)

    def string(self) -> str:
        """A quoted string, escapes resolved."""
        return unquote(self.expect_kind("string", "a quoted string").text[1:-1])

    def loc(self) -> Loc:
        """`file:line:column`; the file in quotes if it has unusual characters."""
        self.peek()
        match = _LOC.match(self.source.text, self.position)
        if match is None:
            raise self.unexpected("a place `file:line:column`", self.peek())
        self.position = match.end()
        file = match["bare"] if match["bare"] is not None else unquote(match["quoted"])
        return Loc(file, int(match["line"]), int(match["column"]))

    def visit_loc(self, file: str) -> Loc | None:
        """`line:column` in `file`, a full place, or `_` for none."""
        self.peek()
        match = _SHORT_LOC.match(self.source.text, self.position)
        if match is None:
            return self.loc()
        self.position = match.end()
        return None if match[0] == "_" else Loc(file, int(match["line"]), int(match["column"]))

    def _span(self, start: int, end: int) -> Span:
        return Span(self.source, start, end)


def show_loc(loc: Loc) -> str:
    """The place as `Cursor.loc` reads it."""
    file = loc.file if _BARE_FILE.fullmatch(loc.file) else f'"{quote(loc.file)}"'
    return f"{file}:{loc.line}:{loc.column}"


def quote(text: str) -> str:
    """The characters between quotes, so that they stay on one line."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return escaped.replace("\n", "\\n").replace("\t", "\\t").replace("\r", "\\r")


def unquote(text: str) -> str:
    """The inverse of `quote`."""
    return re.sub(r"\\(.)", lambda match: _ESCAPES.get(match[1], match[1]), text)


def _short(text: str) -> str:
    return text if len(text) <= 24 else f"{text[:20]}..."
