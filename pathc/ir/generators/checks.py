"""What every generator checks before it draws a path: sizes, counts, windows and options."""

from __future__ import annotations

from collections.abc import Sequence
from math import lcm

from pathc.ir.types import Call, Word, show_value
from pathc.support.diagnostics import Place, did_you_mean, error

MAX_UNITS = 1 << 32
"""Largest layer: a unit is the upper half of a 32-bit fraction times the size, in 64 bits."""
MAX_COUNT = 1 << 62
"""Largest path index, `skip` included, of a generator that computes paths one by one."""
MAX_WINDOW = 1 << 30
"""Most paths handed out as one array (8 GiB)."""
MAX_STORED = 1 << 26
"""Most paths of a generator that stores a permutation of all of them (512 MiB per visit)."""


def check_line(sizes: Sequence[int], count: int, place: Place = None) -> None:
    """Raise E0341 unless every size is in 1 .. 2^32 and count in 1 .. 2^62."""
    for visit, size in enumerate(sizes):
        if not 1 <= size <= MAX_UNITS:
            raise error("E0341", f"visit {visit} has {size} units; a layer has 1 to 2^32 of them", place)
    if not 1 <= count <= MAX_COUNT:
        raise error("E0341", f"a path count of {count} is outside 1 .. 2^62", place)


def check_stored(count: int, name: str, place: Place = None) -> None:
    """Raise E0341 if a generator that keeps all its paths in memory is asked for too many."""
    if count > MAX_STORED:
        raise error(
            "E0341",
            f"`{name}` keeps its paths in memory and {count} of them are more than 2^26",
            place,
            help="`sobol`, `random` and `shuffle` compute each path from its index and have no such bound",
        )


def check_window(start: int, stop: int, count: int) -> None:
    """Raise E0342 unless [start, stop) lies in 0 .. count and is small enough for one array."""
    if not 0 <= start <= stop <= count:
        raise error("E0342", f"the window {start} .. {stop} is not inside the paths 0 .. {count}")
    if stop - start > MAX_WINDOW:
        raise error(
            "E0342", f"a window of {stop - start} paths is more than 2^30", help="ask for the paths piece by piece"
        )


def check_regular(sizes: Sequence[int], count: int, name: str, place: Place = None) -> None:
    """Raise E0343 unless every size divides the count, so that all units of a layer have the same valence."""
    for visit, size in enumerate(sizes):
        if count % size:
            step = lcm(*sizes)
            below, above = count // step * step, (count // step + 1) * step
            hint = f"multiples of {step} fit all layers: count = {below} or {above}" if below else f"count = {above}"
            raise error(
                "E0343",
                f"`{name}` gives every unit equally many paths: {count} paths do not divide evenly "
                f"among the {size} units of visit {visit}",
                place,
                help=hint,
            )


def integer(call: Call, key: str, default: int, place: Place = None, minimum: int = 0) -> int:
    """The option `key` as an integer >= minimum; E0344 otherwise."""
    value = call.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int) or value < minimum:
        shown = "nothing" if value is None else show_value(value)
        raise error("E0344", f"`{key}` of `{call.name}` is an integer from {minimum} on, not {shown}", place)
    return value


def boolean(call: Call, key: str, default: bool, place: Place = None) -> bool:
    """The option `key` as true or false; E0344 otherwise."""
    value = call.get(key, default)
    if not isinstance(value, bool):
        shown = "nothing" if value is None else show_value(value)
        raise error("E0344", f"`{key}` of `{call.name}` is true or false, not {shown}", place)
    return value


def word(call: Call, key: str, default: str, place: Place = None) -> str:
    """The option `key` as a word, in lower case; E0344 if it is no word."""
    value = call.get(key, Word(default))
    if not isinstance(value, str | Word):
        shown = "nothing" if value is None else show_value(value)
        raise error("E0344", f"`{key}` of `{call.name}` is a word, not {shown}", place)
    return str(value).lower()


def choice(call: Call, key: str, default: str, known: Sequence[str], place: Place = None) -> str:
    """The option `key` as one of the known words; E0344 otherwise."""
    text = word(call, key, default, place)
    if text not in known:
        raise unknown_value(call.name, key, text, known, place)
    return text


def unknown_value(name: str, key: str, text: str, known: Sequence[str], place: Place = None) -> Exception:
    """E0344, ready to raise: `text` is none of the words that option `key` of generator `name` knows."""
    return error(
        "E0344",
        f"`{key} = {text}` is unknown to `{name}`; it knows {', '.join(known)}",
        place,
        help=did_you_mean(text, known),
    )
