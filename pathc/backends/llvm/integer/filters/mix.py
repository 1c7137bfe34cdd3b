"""Sums of filters: a tile of channels times positions stays in registers while all taps of all fours pass by.

A word of 32 bits holds four sources at a position, so a tap is a constant distance in memory; its weights are four
bytes of each channel, broadcast. What is read from the sums is written as planes of bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pathc.backends.llvm.emit import I64, Function, vector
from pathc.backends.llvm.integer.filters.move import in_positions, multipliers
from pathc.backends.llvm.integer.reading import Reader
from pathc.backends.llvm.integer.vectors import I8, I32, dot
from pathc.backends.llvm.machine import Machine

VECTORS = 4
"""Vectors of positions in a tile: as many as one vector of bytes holds."""
_UNROLLED = 16


@dataclass(frozen=True)
class Mixing:
    """How chunks of `targets` channels are summed up.

    `taps` are distances in words, `positions` those of a plane, `started` says that sums are planes already.
    """

    targets: int
    taps: tuple[int, ...]
    positions: int
    started: bool


def sizes(machine: Machine) -> tuple[int, ...]:
    """Channels of chunks, falling."""
    return (4, 2, 1) if machine.registers == 32 else (2, 1)


def emit_mix(name: str, machine: Machine, mixing: Mixing, reader: Reader | None) -> Function:
    """The kernel of chunks of one size.

    It is `void name(ptr words, ptr made, ptr before, ptr factors, ptr taps, ptr table, ptr weights, i64 count)`. An
    entry of the table holds, in 64-bit numbers, how many fours a chunk hears, the places of what is made of its
    targets, its targets, the places of their sums in `before` where these are started, and the places of its fours.
    Otherwise `before` holds a number for each target. Weights are 32-bit numbers: [fours][taps][targets]. `taps` are
    64-bit distances, read where there are many. With a reader bytes are made, else sums.
    """
    pointers = [("ptr", each) for each in ("words", "made", "before", "factors", "taps", "table", "weights")]
    f = Function(name, (*pointers, (I64, "count")))
    writer = _Writer(f, machine, mixing, reader)
    with f.loop("%count", [("ptr", "%table"), ("ptr", "%weights")]) as chunks:
        chunks.following = writer.chunk(*chunks.carried)
    return f


class _Writer:
    def __init__(self, f: Function, machine: Machine, mixing: Mixing, reader: Reader | None) -> None:
        self.f, self.machine, self.mixing, self.reader = f, machine, mixing, reader
        self.width, self.kind = machine.width, vector(machine.width, I32)

    def chunk(self, table: str, weights: str) -> list[str]:
        """One chunk over all positions; where the next one's table and weights begin."""
        f, mixing = self.f, self.mixing
        count, taps = mixing.targets, len(mixing.taps)
        self.fours = f.load(I64, table, 8)
        numbers = [f.load(I64, f.offset(table, 1 + k, I64), 8) for k in range((3 if mixing.started else 2) * count)]
        self.made = [f.offset("%made", place, I8) for place in numbers[:count]]
        self.units = numbers[count : 2 * count]
        self.places = f.offset(table, 1 + len(numbers), I64)
        self.weights = weights
        if mixing.started:
            self.starts = [f.offset("%before", place, I8) for place in numbers[2 * count :]]
        else:
            biases = [f.load(I32, f.offset("%before", unit, I32)) for unit in self.units]
            self.starts = [f.broadcast(self.width, bias, I32) for bias in biases]
        if self.reader is not None:
            self.factors = [multipliers(f, self.machine, self.reader, unit) for unit in self.units]
        each = VECTORS * self.width
        whole, rest = divmod(mixing.positions, each)
        if whole:
            with f.loop(whole * each, step=each) as loop:
                self.tile(loop.index, VECTORS)
                loop.following = []
        if rest:
            self.tile(str(whole * each), -(-rest // self.width))
        terms = f.op("mul", I64, self.fours, str(taps * count))
        return [f.offset(self.places, self.fours, I64), f.offset(weights, terms, I32)]

    def tile(self, position: str, vectors: int) -> None:
        """The sums of `vectors` vectors of positions of every target, and what is made of them."""
        f, kind = self.f, self.kind
        if self.mixing.started:
            sums = [
                f.load(kind, f.offset(f.offset(start, position, I32), v * self.width, I32), 4)
                for start in self.starts for v in range(vectors)
            ]  # fmt: skip
        else:
            sums = [start for start in self.starts for _ in range(vectors)]
        before = f.block
        label = f.fresh("heard")[1:]
        f.line(f"br i1 {f.assign(f'icmp ne i64 {self.fours}, 0')}, label %{label}, label %{label}.end")
        f.label(label)
        with f.loop(self.fours, [*((kind, value) for value in sums), ("ptr", self.weights)]) as loop:
            place = f.load(I64, f.offset(self.places, loop.index, I64), 8)
            source = f.offset(f.offset("%words", place, I8), position, I32)
            loop.following = self.four(source, loop.carried, vectors)
        after = f.block
        f.line(f"br label %{label}.end")
        f.label(f"{label}.end")
        found = [
            f.assign(f"phi {kind} [ {start}, %{before} ], [ {end}, %{after} ]")
            for start, end in zip(sums, loop.results, strict=False)
        ]
        for k in range(self.mixing.targets):
            self.finish(k, position, found[k * vectors : (k + 1) * vectors])

    def four(self, source: str, carried: Sequence[str], vectors: int) -> list[str]:
        """All taps of four sources."""
        f, mixing = self.f, self.mixing
        sums, weights = list(carried[:-1]), carried[-1]
        if len(mixing.taps) <= _UNROLLED:
            for number, tap in enumerate(mixing.taps):
                own = f.offset(weights, number * mixing.targets, I32)
                sums = self.tap(f.offset(source, tap, I32), own, sums, vectors)
        else:
            with f.loop(len(mixing.taps), [*((self.kind, value) for value in sums), ("ptr", weights)]) as loop:
                tap = f.load(I64, f.offset("%taps", loop.index, I64), 8)
                found = self.tap(f.offset(source, tap, I32), loop.carried[-1], loop.carried[:-1], vectors)
                loop.following = [*found, f.offset(loop.carried[-1], mixing.targets, I32)]
            sums = loop.results[:-1]
        return [*sums, f.offset(weights, len(mixing.taps) * mixing.targets, I32)]

    def tap(self, source: str, weights: str, before: Sequence[str], vectors: int) -> list[str]:
        """One tap of four sources."""
        f, sums = self.f, list(before)
        seen = [f.load(self.kind, f.offset(source, v * self.width, I32), 4) for v in range(vectors)]
        for k in range(self.mixing.targets):
            weight = f.broadcast(self.width, f.load(I32, f.offset(weights, k, I32)), I32)
            for v in range(vectors):
                at = k * vectors + v
                sums[at] = dot(f, self.machine, sums[at], seen[v], weight)
        return sums

    def finish(self, target: int, position: str, sums: list[str]) -> None:
        """Read a target's sums and store the bytes, or store the sums."""
        f, width = self.f, self.width
        if self.reader is None:
            at = f.offset(self.made[target], position, I32)
            for v, value in enumerate(sums):
                f.store(self.kind, value, f.offset(at, v * width, I32), 4)
            return
        positive, negative = self.factors[target]
        whole = [*sums, *["zeroinitializer"] * (VECTORS - len(sums))]
        value = self.reader.bytes(f, self.machine, whole, [positive] * VECTORS, [negative] * VECTORS)
        value = in_positions(f, self.machine, value)
        f.store(vector(4 * width, I8), value, f.offset(self.made[target], position, I8), 1)
