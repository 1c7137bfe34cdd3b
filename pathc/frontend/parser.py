"""Text to abstract syntax tree, several errors per run: each statement is parsed on its own."""

from __future__ import annotations

import difflib
import re
from bisect import bisect_left
from functools import cache
from importlib.resources import files
from typing import Any, cast

from lark import Lark, Token, Tree, UnexpectedCharacters, UnexpectedInput

from pathc.frontend import ast
from pathc.frontend.build import TreeBuilder
from pathc.frontend.layout import Piece, lay_out
from pathc.support.diagnostics import Diagnostic, PathcError, error
from pathc.support.source import Source, Span

MAX_CHARACTERS = 1 << 22
"""Longest text that is parsed."""

MAX_STATEMENT = 1 << 16
"""Longest statement, in characters, blanks not counted."""

MAX_FAULTS = 100
"""Parsing stops after so many faults."""

_ENGLISH = {
    "NAME": "a name", "NUMBER": "a number", "STRING": "a text in quotes", "ARROW": "`->`", "PLUS": "`+`",
    "MINUS": "`-`", "STAR": "`*`", "SLASH": "`/`", "PERCENT": "`%`", "UNIT": "a unit", "NEWLINE": "a new line",
    "EQUAL": "`=`", "COMMA": "`,`", "COLON": "`:`", "VBAR": "`|`", "AT": "`@d`", "LPAR": "`(`", "RPAR": "`)`",
    "LSQB": "`[`", "RSQB": "`]`", "LBRACE": "`{`", "RBRACE": "`}`", "$END": "the end of the line",
}  # fmt: skip
_VALUE = {"NUMBER", "NAME", "STRING", "LPAR", "MINUS"}
_NUMBER_PLACE = {"NUMBER", "NAME", "LPAR"}
_OPERATORS = {"PLUS", "MINUS", "STAR", "SLASH", "PERCENT", "UNIT"}
_LONGEST_SHOWN = 40
_WORD = re.compile(r"\w+")
_KNOWN_CHARACTERS = set("+-*/%=,:|@()[]{}_\n")


@cache
def _lark() -> Lark:
    grammar = files("pathc.frontend").joinpath("path.lark").read_text(encoding="utf-8")
    return Lark(
        grammar, parser="lalr", lexer="contextual", start="statement", keep_all_tokens=True, maybe_placeholders=False
    )


def parse(source: Source) -> ast.File:
    """The syntax tree of a text; raises PathcError with all faults (E01xx)."""
    file, faults = parse_with_faults(source)
    if faults:
        raise PathcError(*faults)
    return file


def parse_with_faults(source: Source) -> tuple[ast.File, list[Diagnostic]]:
    """The statements that could be parsed, and the faults in the order of the text."""
    if len(source.text) > MAX_CHARACTERS:
        message = f"the text has {len(source.text)} characters, more than {MAX_CHARACTERS}"
        return ast.File(source), [Diagnostic("E0111", message, help="split it, or build the model from Python")]
    layout = lay_out(source)
    faults = list(layout.faults)
    statements: list[ast.Statement] = []
    for piece in layout.pieces:
        if len(faults) >= MAX_FAULTS:
            break
        try:
            statements.append(_statement(source, piece, layout.comments))
        except PathcError as mistake:
            faults.extend(mistake.diagnostics)
    faults.sort(key=lambda fault: fault.place.start if isinstance(fault.place, Span) else 0)
    return ast.File(source, tuple(statements), layout.comments), faults[:MAX_FAULTS]


def parse_expression(source: Source) -> ast.Expression:
    """The expression a whole text consists of, as for `--set NAME=VALUE`; raises PathcError (E01xx)."""
    text = source.text
    if len(text) > _LONGEST_SHOWN * 100:
        raise error("E0111", f"a value of {len(text)} characters", source.span(0, 1))
    prefix = "let x = "
    wrapped = Source(source.name, prefix + text)
    layout = lay_out(wrapped)
    if layout.faults:
        raise PathcError(*layout.faults)
    statement = _statement(wrapped, layout.pieces[0], ())
    if len(layout.pieces) != 1 or not isinstance(statement, ast.Let):
        raise error("E0101", "expected a single value", wrapped.span(len(prefix), len(wrapped.text)))
    return statement.value


def _statement(source: Source, piece: Piece, comments: tuple[ast.Comment, ...]) -> ast.Statement:
    _check_keyword(source, piece)
    length = sum(map(len, piece.code.split()))
    if length > MAX_STATEMENT:
        message = f"a statement of {length} characters, more than {MAX_STATEMENT}"
        raise error("E0111", message, source.span(piece.start, piece.start + 1), help="draw several lines")
    builder = TreeBuilder(source, piece.start, _documentation(source, piece.start, comments))
    try:
        tree: Tree[Token] = cast(Any, _lark()).parse(piece.code)
        return builder.statement(tree)
    except UnexpectedInput as reason:
        raise PathcError(_explain(source, piece, reason)) from None


def _check_keyword(source: Source, piece: Piece) -> None:
    match = _WORD.match(piece.code)
    word = match.group() if match else ""
    if word in ast.KEYWORDS:
        return
    close = difflib.get_close_matches(word, ast.KEYWORDS, n=1, cutoff=0.6)
    begun = [keyword for keyword in ast.KEYWORDS if word.startswith(keyword)]
    guess = (begun or close or [""])[0]
    help = f"did you mean `{guess}`?" if guess else f"a statement begins with one of: {', '.join(ast.KEYWORDS)}"
    place = source.span(piece.start, piece.start + max(1, len(word)))
    raise error("E0102", f"`{shorten(word)}` begins no statement", place, help=help)


def _documentation(source: Source, start: int, comments: tuple[ast.Comment, ...]) -> str:
    """The comment lines directly above offset `start`, without their `#`."""
    lines: list[str] = []
    line = source.position(start)[0]
    index = bisect_left(comments, start, key=lambda comment: comment.span.start) - 1
    while index >= 0 and comments[index].own_line and comments[index].span.place.line == line - 1:
        lines.append(comments[index].text[1:].removeprefix(" "))
        line, index = line - 1, index - 1
    return "\n".join(reversed(lines))


def _explain(source: Source, piece: Piece, reason: UnexpectedInput) -> Diagnostic:
    end = piece.start + len(piece.code)
    if isinstance(reason, UnexpectedCharacters):
        offset: int = cast(Any, reason).pos_in_stream
        return _explain_character(source, piece.start + offset, _expected(cast(Any, reason).allowed))
    token = cast(Token, cast(Any, reason).token)
    expected = _expected(cast(Any, reason).accepts or cast(Any, reason).expected)
    if token.type == "$END":
        return Diagnostic(
            "E0101", "the statement is not complete", source.span(max(piece.start, end - 1), end), help=expected
        )
    start = piece.start + (token.start_pos or 0)
    if token.type == "NEWLINE":
        return Diagnostic("E0101", "unexpected end of the line", source.span(start, start + 1), help=expected)
    place = source.span(start, start + len(token))
    return Diagnostic("E0101", f"unexpected `{shorten(str(token))}`", place, help=expected)


def _explain_character(source: Source, start: int, expected: str) -> Diagnostic:
    character = source.text[start : start + 1]
    place = source.span(start, start + 1)
    if character in _KNOWN_CHARACTERS or (character.isalnum() and character.isascii()):
        return Diagnostic("E0101", f"unexpected `{character}`", place, help=expected)
    cure = "write a digit before the point: 0.5" if character == "." else ""
    return Diagnostic("E0103", f"the character {_show(character)} has no meaning here", place, help=cure)


def _show(character: str) -> str:
    return f"`{character}`" if character.isprintable() else f"U+{ord(character):04X}"


def shorten(text: str) -> str:
    """A word as it is quoted in a message: cut if it is very long."""
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}..."


def _expected(terminals: set[str] | None) -> str:
    """What could stand here, in English."""
    names = set(terminals or ())
    words: list[str] = []
    if names >= _VALUE:
        words.append("a value")
        names -= _VALUE
    elif names >= _NUMBER_PLACE:
        words.append("a number")
        names -= _NUMBER_PLACE
    if names - _OPERATORS:
        names -= _OPERATORS
    words.extend(sorted(_ENGLISH.get(name, f"`{name.lower()}`") for name in names))
    if not words:
        return ""
    return f"expected {words[0]}" if len(words) == 1 else f"expected {', '.join(words[:-1])} or {words[-1]}"
