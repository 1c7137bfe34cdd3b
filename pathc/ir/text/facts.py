"""Facts as `.pir` text, driven by their dataclass fields: a new `Fact` subclass needs no code here.

The keyword is the class name in lower case with underscores. Fields called `line` and `junction` or `visit`, or
`station`, say what the fact is about and stand in front: `$main.2`, `$main@1`, `$main`, `%h1`. All other fields
follow as `{ name = value, ... }`, those equal to their default left out.
"""

from __future__ import annotations

import dataclasses
import re
import types
import typing
from typing import Any, Literal, get_args, get_origin

from pathc.ir.facts import Fact
from pathc.ir.text.cursor import Cursor, Token
from pathc.ir.text.values import is_bare, read_value, show
from pathc.ir.types import Value, Word
from pathc.support.diagnostics import did_you_mean, error

_SUBJECT = ("line", "junction", "visit", "station")
_DEEPEST = 8


def fact_classes() -> dict[str, type[Fact]]:
    """All kinds of facts that have been defined, by keyword."""
    found: dict[str, type[Fact]] = {}
    waiting: list[type[Fact]] = [Fact]
    while waiting:
        for kind in waiting.pop().__subclasses__():
            found[keyword(kind)] = kind
            waiting.append(kind)
    return found


def keyword(kind: type[Fact]) -> str:
    """`LaneOrder` stands as `lane_order`."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", kind.__name__).lower()


def show_fact(fact: Fact) -> str:
    """The fact as one line, its place left out, its summary behind it as a comment."""
    names = _subject_fields(type(fact))
    values = {name: getattr(fact, name) for name in names}
    hints = typing.get_type_hints(type(fact))
    body = [
        f"{field.name} = {_show_field(getattr(fact, field.name), hints[field.name])}"
        for field in _body_fields(type(fact))
        if getattr(fact, field.name) != field.default
    ]
    parts = [keyword(type(fact)), _show_subject(values), f"{{ {', '.join(body)} }}" if body else ""]
    return " ".join(part for part in parts if part)


def read_fact(cursor: Cursor, name: Token) -> Fact:
    """The fact whose keyword has just been passed, without its place.

    E0404 for an unknown keyword, E0405 for a value of another type, E0406 for a field missing, unknown or given
    twice.
    """
    classes = fact_classes()
    kind = classes.get(name.text)
    if kind is None:
        hint = did_you_mean(name.text, [*classes, "target"]) or f"facts: {', '.join(sorted(classes))}"
        raise error("E0404", f"nothing is called `{name.text}`", name.span, help=hint)
    values = _read_subject(cursor, _subject_fields(kind))
    if cursor.accept("{"):
        values |= _read_body(cursor, kind)
    missing = [
        field.name
        for field in dataclasses.fields(kind)
        if field.name not in values and field.default is dataclasses.MISSING
    ]
    if missing:
        raise error("E0406", f"`{name.text}` lacks `{missing[0]}`", name.span, help=f"write `{missing[0]} = ...`")
    return kind(**values)


def _subject_fields(kind: type[Fact]) -> tuple[str, ...]:
    names = [field.name for field in dataclasses.fields(kind)]
    if "line" not in names:
        return ("station",) if "station" in names else ()
    return ("line", *[name for name in ("junction", "visit") if name in names][:1])


def _body_fields(kind: type[Fact]) -> list[dataclasses.Field[Any]]:
    subject = _subject_fields(kind)
    return [field for field in dataclasses.fields(kind) if field.name not in (*subject, "loc")]


def _show_subject(values: dict[str, Any]) -> str:
    if "station" in values:
        return f"%{values['station']}"
    if "junction" in values:
        return f"${values['line']}.{values['junction']}"
    if "visit" in values:
        return f"${values['line']}@{values['visit']}"
    return f"${values['line']}" if values else ""


def _read_subject(cursor: Cursor, names: tuple[str, ...]) -> dict[str, Any]:
    if not names:
        return {}
    if names == ("station",):
        return {"station": cursor.expect_kind("station", "a station `%name`").text[1:]}
    values: dict[str, Any] = {"line": cursor.expect_kind("line", "a line `$name`").text[1:]}
    if len(names) == 2:
        cursor.expect("." if names[1] == "junction" else "@")
        values[names[1]] = cursor.integer(f"the number of a {names[1]}")
    return values


def _read_body(cursor: Cursor, kind: type[Fact]) -> dict[str, Any]:
    hints = typing.get_type_hints(kind)
    known = [field.name for field in _body_fields(kind)]
    values: dict[str, Any] = {}
    while not cursor.accept("}"):
        if values:
            cursor.expect(",")
        key = cursor.expect_kind("word", "the name of a field")
        if key.text not in known:
            hint = did_you_mean(key.text, known) or f"fields: {', '.join(known)}"
            raise error("E0406", f"`{keyword(kind)}` has no field `{key.text}`", key.span, help=hint)
        if key.text in values:
            raise error("E0406", f"`{key.text}` is given twice", key.span, help="keep one of the two")
        cursor.expect("=")
        values[key.text] = _read_field(cursor, key, hints[key.text])
    return values


def _show_field(value: Any, hint: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, tuple):
        items = typing.cast("tuple[Any, ...]", value)
        return f"[{', '.join(_show_field(item, None) for item in items)}]"
    if isinstance(value, str) and hint is not None and _is_text(hint) and is_bare(value):
        return value
    if not isinstance(value, get_args(Value)):
        raise TypeError(f"a fact cannot hold {type(value).__name__}: its text would not read back")
    return show(value)


def _read_field(cursor: Cursor, key: Token, hint: Any) -> Any:
    start = cursor.peek()
    value = _convert(_read_nested(cursor), hint)
    if value is _WRONG:
        text = f"`{key.text}` cannot be this, it is {_describe(hint)}"
        raise error("E0405", text, start.span, help=f"give {_describe(hint)}")
    return value


def _read_nested(cursor: Cursor, depth: int = 0) -> Any:
    if not cursor.accept("["):
        return read_value(cursor)
    if depth > _DEEPEST:
        raise error("E0408", "lists are nested too deeply", cursor.peek().span)
    items: list[Any] = []
    while not cursor.accept("]"):
        if items:
            cursor.expect(",")
        items.append(_read_nested(cursor, depth + 1))
    return tuple(items)


_WRONG = object()


def _is_text(hint: Any) -> bool:
    return hint is str or (get_origin(hint) is Literal and all(isinstance(v, str) for v in get_args(hint)))


def _convert(value: Any, hint: Any) -> Any:
    """The value as the field's type wants it, or `_WRONG`."""
    origin = get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        if value == Word("none") and types.NoneType in get_args(hint):
            return None
        if type(value) in get_args(hint):
            return value
        return next((v for v in (_convert(value, h) for h in get_args(hint)) if v is not _WRONG), _WRONG)
    if origin is Literal:
        plain = value.text if isinstance(value, Word) else value
        return plain if plain in get_args(hint) else _WRONG
    if origin is tuple:
        return _convert_tuple(value, get_args(hint))
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if hint is str and isinstance(value, Word):
        return value.text
    if hint is int and isinstance(value, bool):
        return _WRONG
    return value if isinstance(hint, type) and isinstance(value, hint) else _WRONG


def _convert_tuple(value: Any, hints: tuple[Any, ...]) -> Any:
    if not isinstance(value, tuple):
        return _WRONG
    items = typing.cast("tuple[Any, ...]", value)
    if len(hints) == 2 and hints[1] is Ellipsis:
        hints = (hints[0],) * len(items)
    if len(hints) != len(items):
        return _WRONG
    converted = tuple(_convert(item, hint) for item, hint in zip(items, hints, strict=True))
    return _WRONG if any(item is _WRONG for item in converted) else converted


def _describe(hint: Any) -> str:
    if get_origin(hint) is tuple:
        return f"a list such as [{_describe(get_args(hint)[0])}, ...]"
    if get_origin(hint) is Literal:
        return "one of " + ", ".join(f"`{v}`" for v in get_args(hint))
    names = {int: "an integer", float: "a number", bool: "true or false", str: "text"}
    return names.get(hint, str(getattr(hint, "__name__", hint)))
