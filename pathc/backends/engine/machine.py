"""The machine an engine program runs on: a TOML description, validated, and the hash that ties programs to it."""

from __future__ import annotations

import hashlib
import json
import tomllib
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any, cast

from pathc.support.diagnostics import PathcError, did_you_mean, error
from pathc.support.files import read_bounded

MAX_ROWS = 1 << 11
"""Most rows of an activation buffer and of the accumulators: what an instruction can address."""
COLUMNS = 24
"""Columns of a generator slot: bits of a step number."""
MAX_CURVES = 15
"""Most tables of activations."""
SLOTS = 16
"""Generator slots."""
TOKENS = 6
"""Kinds of tokens that order the units."""
FORMATS = {"i8": 8, "i4": 4, "t2": 2}
"""Weight formats and their bits; the code of a format is its position here."""
_LONGEST_TEXT = 1 << 20


def _entry(default: int, low: int, high: int, what: str) -> Any:
    return field(default=default, metadata={"low": low, "high": high, "what": what})


@dataclass(frozen=True)
class Machine:
    """All that is free to choose about an engine; the defaults are a machine of 16 lanes.

    Memories: two activation buffers of `activation_rows` rows of one byte a lane; `accumulator_rows` rows of
    `accumulator_bits` bits a lane; `table_rows` rows of 32 bits a lane; `parameter_rows` rows of four 32-bit numbers a
    lane; `curves` tables of 256 bytes a lane; `config_words` words of 32 bits. `weight_bytes` and `memory_bytes` are
    bytes a cycle from the weight memory and to and from the activations outside, `weight_latency` and `memory_latency`
    cycles before the first of them. `dim` is the side of the weight-stationary array beside the lanes, 0 for none.
    `clock` is in MHz.
    Errors: E1003.
    """

    lanes: int = _entry(16, 4, 256, "lanes, a power of two")
    activation_rows: int = _entry(1024, 1, MAX_ROWS, "rows of an activation buffer")
    accumulator_rows: int = _entry(1024, 1, MAX_ROWS, "accumulator rows")
    accumulator_bits: int = _entry(32, 24, 32, "bits of an accumulator, 24 or 32")
    forwarding: int = _entry(1, 0, 1, "1 if a sum written in one cycle can be added to in the next")
    fifo: int = _entry(16, 2, 1024, "rows of weights that the FIFO holds")
    weight_bytes: int = _entry(16, 1, 4096, "bytes of weights a cycle")
    weight_latency: int = _entry(4, 0, 1024, "cycles before the first weights")
    memory_bytes: int = _entry(16, 1, 4096, "bytes of activations a cycle")
    memory_latency: int = _entry(4, 0, 1024, "cycles before the first activations")
    queue: int = _entry(4, 1, 64, "instructions that the queue of a unit holds")
    table_rows: int = _entry(1 << 14, 0, 1 << 20, "rows of schedule tables, 0 for an engine without TPATH")
    curves: int = _entry(4, 0, MAX_CURVES, "tables of activations such as tanh, 256 bytes a lane each")
    parameter_rows: int = _entry(1024, 1, 1 << 12, "rows of biases and scales")
    config_words: int = _entry(1024, 32, 1 << 12, "words of generator settings")
    program_words: int = _entry(4096, 1, 1 << 16, "instructions of a program")
    dim: int = _entry(0, 0, 256, "side of the weight-stationary array, 0 for none")
    clock: int = _entry(200, 1, 10_000, "clock in MHz")

    def __post_init__(self) -> None:
        for each in fields(self):
            value, low, high = getattr(self, each.name), each.metadata["low"], each.metadata["high"]
            if type(value) is not int or not low <= value <= high:
                raise _out_of_range(each.name, value, each.metadata["what"], low, high)
        if self.lanes & (self.lanes - 1):
            raise _out_of_range("lanes", self.lanes, "lanes, a power of two", 4, 256)
        if self.accumulator_bits not in (24, 32):
            raise _out_of_range("accumulator_bits", self.accumulator_bits, "bits of an accumulator, 24 or 32", 24, 32)

    @property
    def lane_bits(self) -> int:
        """log2 of the number of lanes."""
        return self.lanes.bit_length() - 1

    @property
    def row_interval(self) -> int:
        """Cycles that one row of activations takes from or to the memory outside."""
        return -(-self.lanes // self.memory_bytes)

    def weight_row_bytes(self, format: str) -> int:
        """Bytes of one row of weights, one weight a lane; rows start at whole bytes."""
        return self.lanes * FORMATS[format] // 8

    def weight_interval(self, format: str) -> int:
        """Cycles in which the streamer makes one row of weights."""
        return -(-self.weight_row_bytes(format) // self.weight_bytes)

    @cached_property
    def hash(self) -> bytes:
        """16 bytes that differ for machines that differ in anything."""
        text = json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).digest()[:16]

    def as_toml(self) -> str:
        """The description that reads back as this machine, with what every entry means."""
        lines = [f"{f.name} = {getattr(self, f.name)}" for f in fields(self)]
        width = max(map(len, lines))
        pairs = zip(lines, fields(self), strict=True)
        return "[machine]\n" + "".join(f"{line:{width}}  # {f.metadata['what']}\n" for line, f in pairs)


def read_machine(path: str | Path) -> Machine:
    """The machine that a TOML file describes.

    Raises PathcError: E0501 and E0502 for a file that cannot be read, E1001 to E1003 for what it says.
    """
    data = read_bounded(path, _LONGEST_TEXT)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as reason:
        message = f"`{path}` is no UTF-8 text: byte {reason.start} is 0x{data[reason.start]:02x}"
        raise error("E1001", message, help="save it as UTF-8") from None
    return parse_machine(text, str(path))


def parse_machine(text: str, name: str = "<machine>") -> Machine:
    """The machine that TOML text describes: `[machine]` with any of the fields of `Machine`; E1001 to E1003."""
    try:
        content = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as reason:
        raise error(
            "E1001", f"`{name}` is no TOML: {reason}", help="[machine] and lines such as `lanes = 16`"
        ) from None
    except ValueError as reason:
        raise error("E1001", f"`{name}` holds a number that cannot be read: {reason}") from None
    if unknown := next((key for key in content if key != "machine"), ""):
        raise error("E1002", f"`{name}` has a section `{unknown}`", help="there is one section, [machine]")
    section = content.get("machine", {})
    if not isinstance(section, dict):
        raise error("E1002", f"`machine` in `{name}` is no section", help="write [machine]")
    known = [f.name for f in fields(Machine)]
    entries: dict[str, int] = {}
    for key, value in cast("dict[str, Any]", section).items():
        if key not in known:
            hint = did_you_mean(key, known) or f"there are {', '.join(known)}"
            raise error("E1002", f"`{name}`: a machine has no `{key}`", help=hint)
        if isinstance(value, bool) or not isinstance(value, int):
            message = f"`{name}`: `{key}` is {_shown(value)}, and not an integer"
            raise error("E1002", message, help=f"{key} = {getattr(Machine, key)}")
        entries[key] = value
    return Machine(**entries)


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


def _out_of_range(name: str, value: object, what: str, low: int, high: int) -> PathcError:
    message = f"`{name}` of a machine is {_shown(value)}: {what}, from {low} to {high}"
    return error("E1003", message, help=f"{name} = {getattr(Machine, name)} is the default")
