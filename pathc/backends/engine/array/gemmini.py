"""Junctions as Gemmini words: the instructions of the weight-stationary subset that gemmini.h documents.

An instruction is (funct, rs1, rs2). Tiles are those of the array; for each column of tiles the accumulators begin with
a row of corrections, collect the products of all tiles, and are moved out as 32-bit sums. Activations are signed bytes:
those of 0 .. 255 are moved by 128, and the corrections put back 128 times the weights.
Source: H. Genc et al., Gemmini: Enabling Systematic Deep-Learning Architecture Evaluation via Full-Stack Integration
(DAC 2021), and the instructions in its repository.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pathc.backends.engine.array.choice import tiling_in
from pathc.backends.engine.array.tiles import Int64, Tiling
from pathc.backends.engine.lower.stations import plan_of
from pathc.backends.engine.machine import Machine
from pathc.ir.quantized import IntegerNetwork

CONFIG, MVIN_2, MVIN, MVOUT, COMPUTE, COMPUTE_AGAIN, PRELOAD, FLUSH, MVIN_3 = 0, 1, 2, 3, 4, 5, 6, 7, 14
"""Values of funct; COMPUTE multiplies with weights just preloaded, COMPUTE_AGAIN with those that are there."""
CONFIG_EX, CONFIG_LD, CONFIG_ST = 0, 1, 2
"""What CONFIG sets, the lowest two bits of rs1."""
ACCUMULATOR, ADD, FULL = 1 << 31, 1 << 30, 1 << 29
"""Bits of a local address: in the accumulators, add to what is there, read 32 bits of it."""
NOWHERE = (1 << 32) - 1
"""The local address of nothing: zeros to read, nothing to write."""
ONE = 0x3F800000
"""The scale 1 as the bits of a float."""
_NAMES = {CONFIG: "config", MVIN_2: "mvin2", MVIN: "mvin", MVOUT: "mvout", COMPUTE: "compute_preloaded",
          COMPUTE_AGAIN: "compute_accumulated", PRELOAD: "preload", FLUSH: "flush", MVIN_3: "mvin3"}  # fmt: skip
_DIM = 16


@dataclass(frozen=True)
class Word:
    """One instruction: the funct of a custom RISC-V instruction and its two registers of 64 bits."""

    funct: int
    rs1: int
    rs2: int

    def __str__(self) -> str:
        return f"{self.funct:2} {self.rs1:016x} {self.rs2:016x}  # {_NAMES.get(self.funct, '?')}"


@dataclass(frozen=True, eq=False)
class Image:
    """Words for one junction, the memory they work on, and where in it the sums are.

    `memory` holds activations int8 [samples, padded sources] at 0, the tiles int8 [tiles, dim, dim] at `weights`,
    corrections int32 [padded destinations] at `corrections`, and room for sums int32 [samples, padded destinations] at
    `sums`. `moved` is what was taken off the activations.
    """

    words: tuple[Word, ...]
    tiling: Tiling
    samples: int
    weights: int
    corrections: int
    sums: int
    moved: int

    @property
    def size(self) -> int:
        """Bytes of the memory."""
        return self.sums + 4 * self.samples * len(self.tiling.destinations)

    def memory(self, values: Int64) -> bytearray:
        """The memory for activations int64 [samples, sources], sums still zero."""
        memory = bytearray(self.size)
        padded = np.concatenate([values, np.full((len(values), 1), self.moved)], axis=1)[:, self.tiling.sources]
        memory[: padded.size] = (padded - self.moved).astype(np.int8).tobytes()
        tiles = self.tiling.weights.astype(np.int8).tobytes()
        memory[self.weights : self.weights + len(tiles)] = tiles
        corrections = (self.moved * self.column_sums()).astype("<i4").tobytes()
        memory[self.corrections : self.corrections + len(corrections)] = corrections
        return memory

    def column_sums(self) -> Int64:
        """Sums of the weights into every padded destination, int64 [padded destinations]."""
        total = np.zeros((len(self.tiling.destinations) // self.tiling.dim, self.tiling.dim), np.int64)
        np.add.at(total, self.tiling.columns, self.tiling.weights.sum(axis=1))
        return total.reshape(-1)

    def read(self, memory: bytearray) -> Int64:
        """The sums in a memory after the words were carried out, int64 [samples, destinations]."""
        raw = np.frombuffer(memory, "<i4", offset=self.sums).reshape(self.samples, -1)
        held = self.tiling.destinations >= 0
        found = np.zeros((self.samples, int(self.tiling.destinations.max(initial=-1)) + 1), np.int64)
        found[:, self.tiling.destinations[held]] = raw[:, held]
        return found


def image_of(tiling: Tiling, samples: int, unsigned: bool) -> Image:
    """The words that multiply activations of some samples with the tiles of a junction, and where all lies."""
    dim, sources, destinations = tiling.dim, len(tiling.sources), len(tiling.destinations)
    weights = _aligned(samples * sources)
    corrections = _aligned(weights + len(tiling) * dim * dim)
    sums = _aligned(corrections + 4 * destinations)
    words = [
        Word(CONFIG, ONE << 32 | 1 << 16 | 1 << 2 | CONFIG_EX, 1 << 48),
        Word(CONFIG, ONE << 32 | dim << 16 | 1 << 8 | 0 << 3 | CONFIG_LD, sources),
        Word(CONFIG, ONE << 32 | dim << 16 | 1 << 8 | 1 << 3 | CONFIG_LD, dim),
        Word(CONFIG, ONE << 32 | dim << 16 | 1 << 8 | 2 << 3 | CONFIG_LD, 0),
        Word(CONFIG, CONFIG_ST, ONE << 32 | 4 * destinations),
    ]
    turn = 0
    for first in range(0, samples, dim):
        rows = min(dim, samples - first)
        for column in range(destinations // dim):
            words.append(Word(MVIN_3, corrections + 4 * dim * column, _local(ACCUMULATOR, rows, dim)))
            for tile in np.flatnonzero(tiling.columns == column):
                activations, held = 2 * dim * turn, 2 * dim * turn + dim
                source = int(tiling.rows[tile]) * dim
                words += [
                    Word(MVIN, first * sources + source, _local(activations, rows, dim)),
                    Word(MVIN_2, weights + int(tile) * dim * dim, _local(held, dim, dim)),
                    Word(PRELOAD, _local(held, dim, dim), _local(ACCUMULATOR | ADD, rows, dim)),
                    Word(COMPUTE, _local(activations, rows, dim), _local(NOWHERE, rows, dim)),
                ]
                turn ^= 1
            place = sums + 4 * (first * destinations + column * dim)
            words.append(Word(MVOUT, place, _local(ACCUMULATOR | FULL, rows, dim)))
    words.append(Word(FLUSH, 0, 0))
    return Image(tuple(words), tiling, samples, weights, corrections, sums, 128 if unsigned else 0)


def images(network: IntegerNetwork, machine: Machine, samples: int) -> list[tuple[str, Image]]:
    """The words of every junction, in the order of evaluation, for an array of the machine's side, or 16."""
    sized = Machine(lanes=machine.lanes, dim=machine.dim or _DIM)
    plans = plan_of(network, machine)
    found: list[tuple[str, Image]] = []
    for each in network.stations:
        for one, junction in zip(network.into[each.station.name], plans[each.station.name].junctions, strict=True):
            real = network.station(one.junction.source).station.real_units
            tiling = tiling_in(one, real, plans, sized.dim)
            found.append((junction.name, image_of(tiling, samples, junction.unsigned)))
    return found


def gemmini_text(network: IntegerNetwork, machine: Machine, samples: int) -> str:
    """The words of every junction, a line each: funct, rs1 and rs2 in hexadecimal, and what it is."""
    lines: list[str] = []
    for name, image in images(network, machine, samples):
        tiling = image.tiling
        lines += [
            f"# {name}: {len(tiling)} of {tiling.total} tiles of {tiling.dim} x {tiling.dim}, {samples} samples",
            f"# activations at 0, weights at {image.weights}, corrections at {image.corrections}, "
            f"sums at {image.sums}, {image.size} bytes",
            *map(str, image.words),
        ]
    return "\n".join((*lines, ""))


def _local(address: int, rows: int, columns: int) -> int:
    """Rows, columns and local address as a register holds them."""
    return rows << 48 | columns << 32 | address


def _aligned(place: int) -> int:
    return -(-place // 64) * 64
