"""What an instruction is: its declaration, its fields, and the 128 bits it is kept in.

A word is 128 bits, little-endian. The head is the same for all: opcode 5 bits, unit 3, wait 6, post 6, tag 4, from
bit 0 on; the fields of the operation follow from bit 24 on in the order of their declaration, and what is left is
zero.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import TYPE_CHECKING

from pathc.support.diagnostics import did_you_mean, error

if TYPE_CHECKING:
    from pathc.backends.engine.isa.state import Context, State
    from pathc.backends.engine.machine import Machine

WORD_BYTES = 16
HEAD_BITS = 24
TOKEN_BITS = 6
TAGS = 16
HEAD = (("op", 5), ("unit", 3), ("wait", TOKEN_BITS), ("post", TOKEN_BITS), ("tag", 4))


class Unit(IntEnum):
    """Who executes an instruction; every unit has a queue of its own, CTL executes as it reads."""

    CTL = 0
    LD = 1
    WS = 2
    EX = 3
    PP = 4
    ST = 5


@dataclass(frozen=True)
class Field:
    """A number within an instruction: its bits, least and largest value if not all fit, and what it means."""

    name: str
    bits: int
    what: str
    least: int = 0
    most: int | None = None
    signed: bool = False

    @property
    def low(self) -> int:
        """Least number."""
        return -(1 << (self.bits - 1)) if self.signed else self.least

    @property
    def high(self) -> int:
        """Largest number."""
        return self.most if self.most is not None else (1 << (self.bits - self.signed)) - 1


@dataclass(frozen=True)
class Timing:
    """When an instruction is done that starts in cycle s: s + lead + steps * interval + tail, stalls not counted.

    Step i is done in the `interval` cycles that end with s + lead + (i + 1) * interval. `pops` is the number of rows it
    takes from the weight FIFO, one at the first of every `hold` steps; `pushes` the rows it puts there.
    """

    steps: int
    interval: int = 1
    lead: int = 0
    tail: int = 0
    hold: int = 1
    pops: int = 0
    pushes: int = 0

    @property
    def length(self) -> int:
        """Cycles from start to end without any stall."""
        return self.lead + self.steps * self.interval + self.tail


@dataclass(frozen=True)
class Operation:
    """An instruction, declared once: opcode, unit, fields, what it takes and what it does.

    `meaning(state, fields, context)` carries it out on the memories; `timing(machine, fields)` says how long it takes.
    """

    name: str
    code: int
    unit: Unit
    summary: str
    fields: tuple[Field, ...]
    timing: Callable[[Machine, Mapping[str, int]], Timing]
    meaning: Callable[[State, Mapping[str, int], Context], None]

    @property
    def bits(self) -> int:
        """Bits of head and fields; the rest of the word is reserved and zero."""
        return HEAD_BITS + sum(field.bits for field in self.fields)


@dataclass(frozen=True)
class Instruction:
    """One instruction: an operation, its fields in the order of the declaration, and its head.

    Bit k of `wait` takes a token of kind k before it starts, bit k of `post` gives one when it is done. `tag` is free.
    Errors: E1005.
    """

    operation: Operation
    values: tuple[int, ...]
    wait: int = 0
    post: int = 0
    tag: int = 0

    def __post_init__(self) -> None:
        if len(self.values) != len(self.operation.fields):
            message = f"{self.operation.name} has {len(self.operation.fields)} fields, not {len(self.values)}"
            raise error("E1005", message)
        for field, value in zip(self.operation.fields, self.values, strict=True):
            if not field.low <= value <= field.high:
                message = f"`{field.name}` of {self.operation.name} is {value}, outside {field.low} .. {field.high}"
                raise error("E1005", message, help=field.what)
        for name, value, limit in (("wait", self.wait, 64), ("post", self.post, 64), ("tag", self.tag, TAGS)):
            if not 0 <= value < limit:
                raise error("E1005", f"`{name}` of {self.operation.name} is {value}, outside 0 .. {limit - 1}")

    @property
    def name(self) -> str:
        """The name of the operation."""
        return self.operation.name

    @property
    def unit(self) -> Unit:
        """Who executes it."""
        return self.operation.unit

    @property
    def fields(self) -> dict[str, int]:
        """The fields by name."""
        return {field.name: value for field, value in zip(self.operation.fields, self.values, strict=True)}

    def with_tokens(self, wait: int = 0, post: int = 0) -> Instruction:
        """The same with further tokens to wait for and to give."""
        return replace(self, wait=self.wait | wait, post=self.post | post)

    def encode(self) -> bytes:
        """The 16 bytes of the instruction."""
        parts = (self.operation.code, self.unit, self.wait, self.post, self.tag)
        word = shift = 0
        for value, (_, bits) in zip(parts, HEAD, strict=True):
            word |= value << shift
            shift += bits
        for value, field in zip(self.values, self.operation.fields, strict=True):
            word |= (value & ((1 << field.bits) - 1)) << shift
            shift += field.bits
        return word.to_bytes(WORD_BYTES, "little")


def instruction(operation: Operation, *, wait: int = 0, post: int = 0, tag: int = 0, **values: int) -> Instruction:
    """An instruction from fields by name; those left out are their least value, 0 if signed. E1005 for unknown ones."""
    known = [field.name for field in operation.fields]
    if unknown := next((name for name in values if name not in known), ""):
        hint = did_you_mean(unknown, known) or f"its fields are {', '.join(known)}"
        raise error("E1005", f"{operation.name} has no field `{unknown}`", help=hint)
    given = (values.get(f.name, 0 if f.signed else f.least) for f in operation.fields)
    return Instruction(operation, tuple(given), wait, post, tag)


def decode(data: bytes, operations: Mapping[int, Operation], offset: int = 0) -> Instruction:
    """The instruction in 16 bytes; E1004 names `offset`, where they stand in their file."""
    word = int.from_bytes(data[:WORD_BYTES], "little")
    head: dict[str, int] = {}
    for name, bits in HEAD:
        head[name] = word & ((1 << bits) - 1)
        word >>= bits
    where = f"at offset {offset}"
    operation = operations.get(head["op"])
    if len(data) < WORD_BYTES or operation is None:
        raise error("E1004", f"opcode {head['op']} {where} is not used" if operation is None else f"cut off {where}")
    if head["unit"] != operation.unit:
        message = f"{operation.name} {where} names unit {head['unit']} instead of {operation.unit.name}"
        raise error("E1004", message)
    values: list[int] = []
    for field in operation.fields:
        value = word & ((1 << field.bits) - 1)
        word >>= field.bits
        if field.signed and value >> (field.bits - 1):
            value -= 1 << field.bits
        if not field.low <= value <= field.high:
            message = f"`{field.name}` of {operation.name} {where} is {value}, outside {field.low} .. {field.high}"
            raise error("E1004", message)
        values.append(value)
    if word:
        raise error("E1004", f"reserved bits of {operation.name} {where} are set")
    return Instruction(operation, tuple(values), head["wait"], head["post"], head["tag"])
