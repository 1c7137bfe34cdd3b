"""Signs of the initial weights: deterministic rules on path indices, and Hadamard matrices inside dense blocks."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from pathc.ir import gf2
from pathc.ir.blocks import Places
from pathc.ir.catalogue import options_of
from pathc.ir.facts import Blocks
from pathc.ir.generators import Affine, Generator, make
from pathc.ir.gf2 import IndexArray
from pathc.ir.graph import Line
from pathc.ir.passes.structure import junction_blocks
from pathc.ir.types import Call
from pathc.support.diagnostics import did_you_mean, error

Bits = NDArray[np.uint8]
Rule = Callable[[int, int], Bits]
"""Gives 0 for plus and 1 for minus for paths start .. stop-1: uint8 of shape [stop - start]."""

_CHUNK_BITS = 16
_SPARE_DIMENSION = 1 << 20
"""Streams of random signs start here, beyond the dimensions that visits can have."""

NAMES = ("hadamard", "halves", "bit", "parity", "dim", "positive", "random")


def sign_rule(line: Line, junction: int, generator: Generator, seed: int = 0) -> Rule:
    """The rule of `line` at one junction of its `generator`, ready to be asked for any window of paths.

    `hadamard` is the Hadamard matrix of `hadamard_bits` inside dense blocks and `halves` where there are none;
    `halves` gives the first half of the paths plus; `bit(m)` and `parity` (bit 0) look at the path index;
    `dim(k)` at the half of the unit interval that dimension k of the sequence falls into; `random` draws from its
    seed plus `seed`. E0324 if there is no such rule.
    """
    name = line.sign.name
    if name == "hadamard":
        blocks = junction_blocks(line, junction, generator)
        return _hadamard(generator, blocks) if blocks else _halves(generator.count)
    if name == "halves":
        return _halves(generator.count)
    if name == "positive":
        return lambda start, stop: np.zeros(stop - start, np.uint8)
    if name == "parity":
        return _bit(0)
    if name == "bit":
        return _bit(_integer(line.sign, "m"))
    if name == "dim":
        call = line.generator if line.generator.name == "sobol" else Call("sobol")
        return _drawn(make(call, (_integer(line.sign, "k"),), (2,), generator.count, line.loc))
    if name == "random":
        call = Call("random", (("seed", _integer(line.sign, "seed") + seed),))
        return _drawn(make(call, (_SPARE_DIMENSION + junction,), (2,), generator.count, line.loc))
    raise error("E0324", f"no sign rule is called `{name}`", line.loc, help=did_you_mean(name, NAMES))


def hadamard_bits(rows: IndexArray, columns: IndexArray, fan_out: int, fan_in: int) -> Bits:
    """The sign of (row, column) in a dense block of fan_out x fan_in (powers of two): parity of row AND column.

    Rows are orthogonal if fan_out <= fan_in, columns otherwise. A block with more sources than destinations uses
    the rows from fan_out on, which are all balanced; of a square one row 0 is all plus, which orthogonality
    enforces up to signs. Rows beyond fan_in differ by products of two column bits, so that they are not tied.
    """
    if fan_out < fan_in:
        rows = rows | np.int64(fan_out)
    minus = gf2.parity_array(rows & columns & np.int64(fan_in - 1))
    spare = range(fan_in.bit_length() - 1, fan_out.bit_length() - 1)
    products = combinations(range(fan_in.bit_length() - 1), 2)
    for bit in spare:
        pair = next(products, None)
        chosen = rows >> bit
        if pair is not None:
            chosen = chosen & columns >> pair[0] & columns >> pair[1]
        minus ^= (chosen & 1).astype(np.uint8)
    return minus


def _halves(count: int) -> Rule:
    half = (count + 1) // 2
    return lambda start, stop: (np.arange(start, stop) >= half).astype(np.uint8)


def _bit(m: int) -> Rule:
    return lambda start, stop: (np.arange(start, stop) >> m & 1).astype(np.uint8)


def _drawn(generator: Generator) -> Rule:
    return lambda start, stop: generator.units(0, start, stop).astype(np.uint8)


def _hadamard(generator: Generator, blocks: tuple[Blocks, ...]) -> Rule:
    junction = blocks[0].junction
    src, dst = generator.affine(junction - 1), generator.affine(junction)
    if src is None or dst is None:
        return _halves(generator.count)
    slots = {b: Places.of(b).of_paths(src, dst) for b in blocks}

    def rule(start: int, stop: int) -> Bits:
        minus = np.empty(stop - start, np.uint8)
        for block, slot in slots.items():
            first, last = max(start, block.start), min(stop, block.start + block.length)
            if first < last:
                window = minus[first - start : last - start]
                _fill(window, block, slot, first - block.start, last - block.start)
        return minus

    return rule


def _fill(minus: Bits, block: Blocks, slot: Affine, start: int, stop: int) -> None:
    """Signs of the window's paths start .. stop-1, in chunks that stay in the cache."""
    bits = min(_CHUNK_BITS, len(slot.columns))
    table = gf2.span_array(slot.columns[:bits])
    wide = block.fan_in.bit_length() - 1
    for base in range(start >> bits << bits, stop, 1 << bits):
        first, last = max(start, base), min(stop, base + (1 << bits))
        slots = table[first - base : last - base] ^ np.int64(slot(base))
        row, column = slots >> wide & (block.fan_out - 1), slots & (block.fan_in - 1)
        minus[first - start : last - start] = hadamard_bits(row, column, block.fan_out, block.fan_in)


def _integer(call: Call, key: str) -> int:
    value = options_of(call)[key]
    return value if isinstance(value, int) else 0
