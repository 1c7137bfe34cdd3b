"""What every generator checks before it draws a path: sizes, counts, windows and options."""

from __future__ import annotations

from collections.abc import Sequence
from math import lcm

from pathc.ir.catalogue import Option, find, options_of
from pathc.ir.types import Call, Value, Word, show_value
from pathc.support.diagnostics import PathcError, Place, did_you_mean, error

MAX_UNITS = 1 << 32
"""Largest layer: a unit is a 32-bit fraction times the size, computed in 64 bits."""
MAX_COUNT = 1 << 62
"""Largest path index, `skip` included, of a generator that computes paths one by one."""
MAX_WINDOW = 1 << 30
"""Most paths handed out as one array (8 GiB)."""
MAX_STORED = 1 << 24
"""Most paths of a generator that stores a permutation of all of them (128 MiB per visit)."""


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
            f"`{name}` keeps its paths in memory and {count} of them are more than 2^24",
            place,
            help="`sobol`, `random` and `shuffle` compute each path from its index and have no such bound",
        )


def check_window(start: int, stop: int, count: int) -> None:
    """Raise E0342 unless [start, stop) lies in 0 .. count and is small enough for one array."""
    if not 0 <= start <= stop <= count:
        raise error("E0342", f"the window {start} .. {stop} is not inside the paths 0 .. {count}")
    if stop - start > MAX_WINDOW:
        message = f"a window of {stop - start} paths is more than 2^30"
        raise error("E0342", message, help="ask for the paths piece by piece")


def check_regular(sizes: Sequence[int], count: int, name: str, place: Place = None) -> None:
    """Raise E0343 unless every size divides the count, so that all units of a layer have the same valence."""
    for visit, size in enumerate(sizes):
        if count % size:
            step = lcm(*sizes)
            nearest = [multiple for multiple in (count // step * step, (count // step + 1) * step) if multiple]
            raise error(
                "E0343",
                f"`{name}` gives every unit equally many paths: {count} paths do not divide evenly "
                f"among the {size} units of visit {visit}",
                place,
                help=f"multiples of {step} fit all layers: count = {' or '.join(map(str, nearest))}",
            )


class Options:
    """The options of a generator's call, defaults from the catalogue filled in, each checked when it is asked for.

    Errors: E0344 for an unknown or missing option, one of the wrong type, or one outside its bounds.
    """

    def __init__(self, call: Call, place: Place = None) -> None:
        entry = find(call.name, ("generator",))
        if entry is None:
            raise KeyError(call.name)
        known = [option.name for option in entry.options]
        for key, _ in call.options:
            if key not in known:
                message = f"`{call.name}` has no option `{key}`; it knows {', '.join(known) or 'none'}"
                raise error("E0344", message, place, help=did_you_mean(key, known))
        for option in entry.options:
            if option.required and call.get(option.name) is None:
                raise error("E0344", f"`{call.name}` needs the option `{option.name}`: {option.doc}", place)
        self._name, self._place = call.name, place
        self._values = options_of(call)
        self._options = {option.name: option for option in entry.options}

    def integer(self, key: str) -> int:
        """The option as an integer within the bounds of the catalogue."""
        option, value = self._options[key], self._values[key]
        if isinstance(value, bool) or not isinstance(value, int) or not _within(option, value):
            raise self._wrong(key, f"an integer from {option.low:.0f} to {option.high:.0f}", value)
        return value

    def flag(self, key: str) -> bool:
        """The option as true or false."""
        value = self._values[key]
        if not isinstance(value, bool):
            raise self._wrong(key, "true or false", value)
        return value

    def text(self, key: str) -> str:
        """The option as a quoted string."""
        value = self._values[key]
        if not isinstance(value, str):
            raise self._wrong(key, "a quoted string", value)
        return value

    def word(self, key: str) -> str:
        """The option as one of the words of the catalogue."""
        choices, value = self._options[key].choices, self._values[key]
        if not isinstance(value, Word) or value.text not in choices:
            hint = did_you_mean(value.text, choices) if isinstance(value, Word) else ""
            raise self._wrong(key, f"one of {', '.join(choices)}", value, hint)
        return value.text

    def _wrong(self, key: str, expected: str, value: Value, hint: str = "") -> PathcError:
        message = f"`{key}` of `{self._name}` is {expected}, not {show_value(value)}"
        return error("E0344", message, self._place, help=hint)


def _within(option: Option, value: int) -> bool:
    return (option.low is None or value >= option.low) and (option.high is None or value <= option.high)
