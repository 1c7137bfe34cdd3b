"""How quantized nets lie in bytes, on every target: a value is u8 as it is, or i8 with 128 added."""

from __future__ import annotations

from pathc.ir.quantized import IntegerStation
from pathc.ir.types import Call

OFFSET = 128


def offset_of(station: IntegerStation) -> int:
    """What is added to a value of a station where it lies in memory."""
    return OFFSET if station.format is not None and station.format.signed else 0


def given(station: IntegerStation) -> str:
    """The source that holds what is given to an input: the input itself, unless it has functions."""
    read, format = station.reading, station.format
    assert read is not None
    assert format is not None
    same = bool((read.positive == 1).all() and (read.negative == 1).all() and (read.shift == 0).all())
    plain = same and (read.low, read.high) == (format.low, format.high) and read.table is None and not read.winners
    name = station.station.name
    return name if plain and not station.bias.any() else f"{name}.given"


def functions_of(station: IntegerStation) -> tuple[Call, ...]:
    """The functions of an output that is given as sums; one with a format has none left."""
    stages = tuple(stage for stage in station.station.pipeline if stage.name not in ("bias", "identity"))
    return stages if station.reading is None else ()
