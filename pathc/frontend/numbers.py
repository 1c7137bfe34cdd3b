"""Spelling of numbers: integers with binary multiples, fractions, sizes."""

from __future__ import annotations

import math
import re

from pathc.ir.types import Size
from pathc.support.diagnostics import PathcError, Place, error

MULTIPLES = {"Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30, "Ti": 1 << 40}
LARGEST = (1 << 64) - 1

_DIGITS = r"[0-9]+(?:_[0-9]+)*"
_INTEGER = re.compile(rf"({_DIGITS})(Ki|Mi|Gi|Ti)?")
_FRACTION = re.compile(rf"{_DIGITS}(?:\.{_DIGITS})?(?:[eE][+-]?[0-9]+)?")
_SIZE = re.compile(r"[0-9]+(?:x[0-9]+)+")
_DECIMAL_MULTIPLE = re.compile(rf"({_DIGITS})([kKmMgGtT])")
_GLUED_UNIT = re.compile(rf"({_DIGITS}(?:\.{_DIGITS})?)([KMG]i?B|B|[kMG]?Hz|[mun]?s)")
_LONGEST = 64


def read_number(text: str, place: Place) -> int | float | Size:
    """The value of a number as it is written in a program.

    Raises PathcError: E0106 if it is no number, E0107 if it is beyond 2^64 - 1 or the range of float64.
    """
    if len(text) > _LONGEST:
        raise error("E0107", f"a number of {len(text)} characters", place, help="numbers may reach 2^64 - 1")
    if match := _INTEGER.fullmatch(text):
        return _bounded(int(match[1].replace("_", "")) * MULTIPLES.get(match[2] or "", 1), text, place)
    if _SIZE.fullmatch(text):
        return Size(tuple(_bounded(int(extent), text, place) for extent in text.split("x")))
    if _FRACTION.fullmatch(text):
        value = float(text.replace("_", ""))
        if math.isinf(value):
            raise error("E0107", f"`{text}` is beyond the range of floating point", place)
        return value
    raise _malformed(text, place)


def _bounded(value: int, text: str, place: Place) -> int:
    if value > LARGEST:
        raise error("E0107", f"`{text}` is too large", place, help="integers may reach 2^64 - 1")
    return value


def _malformed(text: str, place: Place) -> PathcError:
    return error("E0106", f"`{text}` is no number", place, help=_cure(text))


def _cure(text: str) -> str:
    if match := _DECIMAL_MULTIPLE.fullmatch(text):
        digits, letter = match[1].replace("_", ""), match[2].upper()
        exponent = 3 * ("KMGT".index(letter) + 1)
        return f"did you mean {int(digits) * 10**exponent} or {digits}{letter}i?"
    if match := _GLUED_UNIT.fullmatch(text):
        return f"put a space before the unit: `{match[1]} {match[2]}`"
    if re.fullmatch(r"0[xXbBoO][0-9a-fA-F]+", text):
        return "numbers are decimal"
    return "write an integer (4096, 4_096, 4Ki), a fraction (0.5, 1e-3) or a size (3x3)"
