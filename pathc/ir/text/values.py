"""Option values as `.pir` text.

Every value reads back as itself: a call without options keeps its brackets, `full()`, unlike the bare word
`full`; a size of one extent keeps its cross, `3x`, unlike the number 3; strings are always quoted.
"""

from __future__ import annotations

import re

from pathc.ir.text.cursor import WORD, WORDS, Cursor, quote
from pathc.ir.types import (
    SCALAR_NAMES,
    Call,
    Quantity,
    ScalarType,
    Size,
    Value,
    Word,
    fixed_point,
    plain_type,
    show_value,
)
from pathc.support.diagnostics import error

_DEEPEST = 32
_RESERVED = frozenset({"true", "false", "inf", "nan", *SCALAR_NAMES})
Options = tuple[tuple[str, Value], ...]


def show(value: Value) -> str:
    """The value as `read_value` reads it."""
    if isinstance(value, Call):
        return show_call(value) if value.options else f"{value.name}()"
    if isinstance(value, Size) and len(value.extents) == 1:
        return f"{value.extents[0]}x"
    if isinstance(value, Quantity):
        number = show_value(value.number)
        return f"{number}{value.unit}" if value.unit == "%" else f"{number} {value.unit}"
    return f'"{quote(value)}"' if isinstance(value, str) else show_value(value)


def show_call(call: Call) -> str:
    """A call where only calls stand: a pipeline stage, a generator, a sign rule."""
    return f"{call.name}({show_options(call.options)})" if call.options else call.name


def show_options(options: Options) -> str:
    """`k = v, k = v`."""
    return ", ".join(f"{key} = {show(value)}" for key, value in options)


def is_name(text: str) -> bool:
    """True if the text can name a graph, station, line or target."""
    return re.fullmatch(WORD, text) is not None


def is_bare(text: str) -> bool:
    """True if the text can stand as a bare word."""
    return text not in _RESERVED and re.fullmatch(WORDS, text) is not None


def read_value(cursor: Cursor, depth: int = 0) -> Value:
    """A value; E0401 if none stands there, E0405 if it cannot be, E0408 if it is nested too deeply."""
    token = cursor.peek()
    if depth > _DEEPEST:
        raise error("E0408", "values are nested too deeply", token.span, help=f"{_DEEPEST} levels are enough")
    match token.kind:
        case "string":
            return cursor.string()
        case "size":
            return _size(cursor)
        case "number":
            return _number(cursor)
        case "word":
            return _word(cursor, depth)
        case _:
            raise cursor.unexpected("a value", token)


def read_call(cursor: Cursor, what: str, depth: int = 0) -> Call:
    """A name, with options in brackets or without."""
    name = cursor.expect_kind("word", what).text
    return Call(name, read_options(cursor, ")", depth + 1)) if cursor.accept("(") else Call(name)


def read_options(cursor: Cursor, closing: str, depth: int = 0) -> Options:
    """`k = v, ...` up to and with the closing bracket; E0406 if a key stands twice."""
    options: dict[str, Value] = {}
    while not cursor.accept(closing):
        if options:
            cursor.expect(",")
        key = cursor.expect_kind("word", "the name of an option")
        if key.text in options:
            raise error("E0406", f"`{key.text}` is given twice", key.span, help="keep one of the two")
        cursor.expect("=")
        options[key.text] = read_value(cursor, depth)
    return tuple(options.items())


def read_type(cursor: Cursor) -> ScalarType:
    """An element type such as `f32` or `fix(8, frac = 4)`; E0405 if it is none."""
    token = cursor.expect_kind("word", "an element type")
    if token.text == "fix":
        cursor.expect("(")
        bits = cursor.integer("the number of bits")
        cursor.expect(",")
        cursor.expect("frac")
        cursor.expect("=")
        frac = cursor.integer("the number of fractional bits")
        cursor.expect(")")
        return fixed_point(bits, frac)
    if token.text not in SCALAR_NAMES:
        raise error("E0405", f"`{token.text}` is no element type", token.span, help=f"types: {', '.join(SCALAR_NAMES)}")
    return plain_type(token.text)


def _size(cursor: Cursor) -> Size:
    token = cursor.take()
    digits = token.text.rstrip("x").split("x")
    if any(len(d) > 18 for d in digits) or len(digits) > 8:
        raise error("E0405", "this size is too large", token.span)
    return Size(tuple(int(d) for d in digits))


def _number(cursor: Cursor) -> Value:
    number = cursor.number()
    unit = cursor.peek()
    if unit.text == "%" or (unit.kind == "word" and unit.text not in _RESERVED):
        return Quantity(number, cursor.take().text)
    return number


def _word(cursor: Cursor, depth: int) -> Value:
    token = cursor.peek()
    if token.text in SCALAR_NAMES:
        return read_type(cursor)
    cursor.take()
    if token.text in ("true", "false"):
        return token.text == "true"
    return Call(token.text, read_options(cursor, ")", depth + 1)) if cursor.accept("(") else Word(token.text)
