"""Scalar types and the values that options may take."""

from __future__ import annotations

import re
from dataclasses import dataclass

_PLAIN = {"u8": 8, "i8": 8, "i4": 4, "t2": 2, "i16": 16, "i32": 32, "f16": 16, "bf16": 16, "f32": 32}
SCALAR_NAMES = (*_PLAIN, "fix")


@dataclass(frozen=True)
class ScalarType:
    """An element type: `u8 i8 i4 t2 i16 i32 f16 bf16 f32` or `fix(bits, frac = n)`."""

    name: str
    bits: int
    frac: int | None = None

    def __str__(self) -> str:
        return self.name if self.frac is None else f"fix({self.bits}, frac = {self.frac})"


def plain_type(name: str) -> ScalarType:
    """The plain type of that name; KeyError if there is none."""
    return ScalarType(name, _PLAIN[name])


def fixed_point(bits: int, frac: int) -> ScalarType:
    """Two's complement fixed point with `frac` fractional bits."""
    return ScalarType("fix", bits, frac)


F32 = plain_type("f32")


@dataclass(frozen=True)
class Word:
    """A bare word used as a value: `same`, `none`, `hadamard`."""

    text: str

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Size:
    """A size such as `3x3` or `16x16x4`."""

    extents: tuple[int, ...]

    def __str__(self) -> str:
        return "x".join(map(str, self.extents))


@dataclass(frozen=True)
class Quantity:
    """A number with a unit: `200 MHz`, `4 KiB`, `2%`."""

    number: float
    unit: str

    def __str__(self) -> str:
        number = format(self.number, ".17g")
        return f"{number}{self.unit}" if self.unit == "%" else f"{number} {self.unit}"


@dataclass(frozen=True)
class Call:
    """A word with options used as a value or as a stage of a pipeline: `band(9)`, `conv(3x3, pad = same)`.

    Options given by position carry the name the catalogue gives that position once checked; the order of
    `options` is the catalogue's order, so equal calls are equal.
    """

    name: str
    options: tuple[tuple[str, Value], ...] = ()

    def get(self, key: str, default: Value | None = None) -> Value | None:
        """The option `key`, or `default`."""
        return dict(self.options).get(key, default)

    def __str__(self) -> str:
        if not self.options:
            return self.name
        inner = ", ".join(f"{k} = {show_value(v)}" for k, v in self.options)
        return f"{self.name}({inner})"


Value = bool | int | float | str | Word | Size | Quantity | ScalarType | Call
"""What an option may be; a Python `str` is a quoted string, a bare word is a `Word`."""


def show_value(value: Value) -> str:
    """The value as it stands in `.path` and `.pir` text; reading it back gives the same value."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        text = repr(value)
        return text if re.search(r"[.einf]", text) else f"{text}.0"
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\t", "\\t")
        return f'"{escaped}"'
    return str(value)
