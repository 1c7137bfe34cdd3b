"""The vocabulary: look-up of words, their options with defaults filled in, canonical calls."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import cache

from pathc.ir.types import Call, Quantity, Size, Value
from pathc.ir.vocabulary import (
    BACKENDS,
    CATALOGUE,
    CELLS,
    INTERLEAVERS,
    MAX_DIMENSION,
    MAX_PATHS,
    MAX_SEED,
    MAX_UNITS,
    STAGE_KINDS,
    Accepts,
    Entry,
    Kind,
    Option,
)

__all__ = [
    "BACKENDS",
    "CATALOGUE",
    "CELLS",
    "INTERLEAVERS",
    "MAX_DIMENSION",
    "MAX_PATHS",
    "MAX_SEED",
    "MAX_UNITS",
    "STAGE_KINDS",
    "Accepts",
    "Entry",
    "Kind",
    "Option",
    "canonical",
    "entries",
    "find",
    "options_of",
]


@cache
def _by_kind() -> dict[tuple[Kind, str], Entry]:
    return {(entry.kind, entry.name): entry for entry in CATALOGUE}


@cache
def _by_name() -> dict[str, Entry]:
    return {entry.name: entry for entry in reversed(CATALOGUE)}


def entries(*kinds: Kind) -> tuple[Entry, ...]:
    """All entries of the given kinds, in the order of the table."""
    return tuple(entry for entry in CATALOGUE if entry.kind in kinds)


def find(name: str, kinds: Iterable[Kind] | None = None) -> Entry | None:
    """The entry of that name, among the given kinds or among all."""
    if kinds is None:
        return _by_name().get(name)
    return next((_by_kind()[kind, name] for kind in kinds if (kind, name) in _by_kind()), None)


def options_of(call: Call) -> dict[str, Value]:
    """All options of a call, defaults filled in, in the order of the table.

    Raises KeyError if the word is not in the catalogue or a required option is missing.
    """
    entry = _by_name()[call.name]
    given = dict(call.options)
    filled: dict[str, Value] = {}
    for option in entry.options:
        value = given.get(option.name, option.default)
        if value is None:
            raise KeyError(f"{call.name} needs the option {option.name}")
        filled[option.name] = value
    return filled


def canonical(call: Call) -> Call:
    """The same call with its options in the order of the table and those equal to their default left out.

    Integers given for `float` options become floats and a number given as `kernel` or `window` becomes a size,
    so that calls that mean the same are equal. Raises KeyError as `options_of` does.
    """
    entry = _by_name()[call.name]
    values = options_of(call)
    kept = ((option, _normal(option, values[option.name])) for option in entry.options)
    return replace(call, options=tuple((o.name, value) for o, value in kept if not _same(value, o.default)))


def _normal(option: Option, value: Value) -> Value:
    if isinstance(value, int) and not isinstance(value, bool):
        if "float" in option.accepts:
            return float(value)
        return Size((value,)) if option.accepts[0] == "size" else value
    if isinstance(value, Call):
        return canonical(value)
    if isinstance(value, Quantity):
        return replace(value, number=float(value.number))
    return value


def _same(value: Value, default: Value | None) -> bool:
    return type(value) is type(default) and value == default
