"""The memories of the engine, and those outside that a program brings with it."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pathc.backends.engine.machine import COLUMNS, FORMATS, SLOTS, Machine
from pathc.support.diagnostics import error

SLOT_WORDS = 3 + COLUMNS
"""Words of a generator slot: shift, two words of fold masks, one word a column."""
ROW_BITS = 11
"""Bits of a row within a column of a slot and within a table entry."""

Int64 = NDArray[np.int64]


@dataclass(frozen=True)
class Context:
    """What the dispatcher adds to an instruction: the round of the loop it is in, from 0, and which buffer is 0."""

    iteration: int = 0
    parity: int = 0


@dataclass(frozen=True, eq=False)
class Memories:
    """What is outside the engine, as rows of one entry a lane.

    `inputs` uint8 [rows, lanes], `weights` bytes, `tables` uint32 [rows, lanes], `parameters` int32 [rows, lanes, 4]
    (bias, multiplier of positive and of negative sums, shift), `curves` uint8 [curves, 256], `config` uint32 [words],
    and the number of `outputs` rows, 32 bits a lane.
    """

    inputs: NDArray[np.uint8]
    weights: bytes
    tables: NDArray[np.uint32]
    parameters: NDArray[np.int32]
    curves: NDArray[np.uint8]
    config: NDArray[np.uint32]
    outputs: int


@dataclass(frozen=True)
class Activity:
    """What EX multiplied: `steps`, `products` of lanes that add something, `silent` ones whose activation was zero, and
    `empty` steps without any other.
    """

    steps: int = 0
    products: int = 0
    silent: int = 0
    empty: int = 0

    def __add__(self, other: Activity) -> Activity:
        return Activity(
            self.steps + other.steps, self.products + other.products, self.silent + other.silent,
            self.empty + other.empty,
        )  # fmt: skip


@dataclass(eq=False)
class _Stream:
    """Rows of weights between streamer and lanes."""

    offset: int
    rows: int
    format: str


@dataclass(eq=False)
class State:
    """All memories of an engine while it runs.

    `activations` uint8 [2, rows, lanes], `sums` int64 [rows, lanes] within the accumulators' bits, `slots` int64
    [slots, words of a slot], `outputs` int32 [rows, lanes]. `activity` is what EX did so far.
    """

    machine: Machine
    outside: Memories
    activations: NDArray[np.uint8] = field(init=False)
    sums: Int64 = field(init=False)
    slots: Int64 = field(init=False)
    outputs: NDArray[np.int32] = field(init=False)
    streams: deque[_Stream] = field(default_factory=deque[_Stream])
    activity: Activity = Activity()

    def __post_init__(self) -> None:
        machine = self.machine
        self.activations = np.zeros((2, machine.activation_rows, machine.lanes), np.uint8)
        self.sums = np.zeros((machine.accumulator_rows, machine.lanes), np.int64)
        self.slots = np.zeros((SLOTS, SLOT_WORDS), np.int64)
        self.outputs = np.zeros((self.outside.outputs, machine.lanes), np.int32)

    def push(self, offset: int, rows: int, format: str) -> None:
        """Let the streamer read rows of weights from byte `offset` on."""
        within("weights", offset, rows * self.machine.weight_row_bytes(format), len(self.outside.weights), "byte")
        self.streams.append(_Stream(offset, rows, format))

    def pop(self, rows: int) -> Int64:
        """The next rows of weights, int64 [rows, lanes]; E1010 if there are not so many."""
        parts: list[Int64] = []
        while rows:
            if not self.streams:
                raise error("E1010", f"{rows} rows of weights are taken that no LDW has started")
            stream = self.streams[0]
            taken = min(rows, stream.rows)
            size = taken * self.machine.weight_row_bytes(stream.format)
            parts.append(unpack(self.outside.weights[stream.offset : stream.offset + size], stream.format))
            stream.offset, stream.rows, rows = stream.offset + size, stream.rows - taken, rows - taken
            if not stream.rows:
                self.streams.popleft()
        return np.concatenate(parts).reshape(-1, self.machine.lanes)

    def wrap(self, sums: Int64) -> Int64:
        """Sums as the accumulators hold them, modulo 2^bits."""
        top = 1 << (self.machine.accumulator_bits - 1)
        return ((sums + top) & (2 * top - 1)) - top


def within(what: str, start: int, count: int, limit: int, unit: str = "row") -> slice:
    """The slice [start, start + count) of a memory of `limit` entries; E1011 if it is not within it."""
    if start < 0 or start + count > limit:
        raise error("E1011", f"{unit}s {start} .. {start + count - 1} of the {what} are used, of {limit} there are")
    return slice(start, start + count)


def unpack(data: bytes, format: str) -> Int64:
    """Weights from bytes, two's complement, the first in the lowest bits."""
    raw = np.frombuffer(data, np.uint8)
    bits = FORMATS[format]
    if bits == 8:
        return raw.view(np.int8).astype(np.int64)
    shifts = np.arange(0, 8, bits, dtype=np.uint8)
    fields = (raw[:, None] >> shifts & np.uint8((1 << bits) - 1)).reshape(-1).astype(np.int64)
    return fields - ((fields >> (bits - 1)) << bits)


def pack(weights: NDArray[np.int64], format: str) -> bytes:
    """Weights as bytes, the inverse of `unpack`; their number fills whole bytes."""
    bits = FORMATS[format]
    fields = (weights.reshape(-1, 8 // bits) & ((1 << bits) - 1)).astype(np.uint8)
    return np.bitwise_or.reduce(fields << np.arange(0, 8, bits, dtype=np.uint8), axis=1).astype(np.uint8).tobytes()
