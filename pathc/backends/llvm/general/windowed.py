"""Windowed permute: every operation takes one source a lane from two neighbouring vectors, without any gather.

The operations of a junction are written out one after another; only weights and places in windows are data. The
window of 2 * lanes sources moves to the right and stays in registers, as do the sums of `tile` groups of
destinations. Long junctions are left to the stream of operations, which is data altogether.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from pathc.backends.llvm import vecmath
from pathc.backends.llvm.column.common import PARAMETERS, Bytes, aligned, byte_offset, element_bytes, encode
from pathc.backends.llvm.emit import Function, vector
from pathc.backends.llvm.general.edges import Distinct, Ints, distinct_edges
from pathc.backends.llvm.general.rows import BARRIER, clear_behind, each_row, load_units, store_sums
from pathc.backends.llvm.general.windows import Windows, operations, windows
from pathc.backends.llvm.machine import Machine
from pathc.backends.llvm.plan import Family, Junction, Step, WeightType

CHUNK = 6
"""Operations whose places in the window share a vector of integers, `FIELD` bits each."""
FIELD = 5
_LONGEST = 1600
_LOOKED_AT = 1 << 22
_SAMPLE = 48
_MIXED = {1: 0.0, 4: 3.0, 8: 7.0}


@dataclass(frozen=True)
class Windowed:
    """Windowed permute, all operations written out."""

    name: ClassVar[str] = "windowed"
    family: ClassVar[Family] = "row"

    def refusal(self, junction: Junction, machine: Machine) -> str:
        """Why the form cannot compute this junction, or an empty string."""
        reason = permute_refusal(junction, machine)
        if reason:
            return reason
        if junction.count < _LOOKED_AT and rounds(junction, machine) <= _LONGEST:
            return ""
        return f"it would be more than {_LONGEST} operations of straight-line code"

    def cycles(self, step: Step, machine: Machine, samples: int) -> float:
        """Estimated clock cycles for `samples` rows."""
        plan = arranged(step.junction, machine)
        groups = len(plan.order)
        chunk_bytes = 4 * machine.width + CHUNK * machine.width * element_bytes(step.weight_type)
        near = -(-plan.count // CHUNK) * chunk_bytes <= machine.l1
        each = (2.15 if near else 2.4) * (1.0 if machine.width == 16 else 1.35)
        each += (0.15 if near else -0.1) if step.weight_type == "bf16" else 0.0
        masked = 0.4 * int(plan.masked.sum())
        after = groups * (2.0 + _MIXED[plan.near] + vecmath.cycles(step.activation))
        return samples * (20.0 + each * plan.count + masked + after)

    def pack(self, step: Step, machine: Machine, weights: Mapping[str, NDArray[np.float32]]) -> Bytes:
        """Chunks of places in the window and CHUNK vectors of weights, then the masks."""
        junction = step.junction
        plan = arranged(junction, machine)
        edges = distinct_edges(junction)
        lanes, count = plan.lanes, plan.count
        chunks = -(-count // CHUNK)
        values = np.zeros((chunks * CHUNK, lanes), np.float32)
        values[:count] = plan.weights(edges.sums(weights[junction.tensor]))
        fields = np.zeros((chunks * CHUNK, lanes), np.uint32)
        fields[:count] = plan.index
        if lanes < 16:
            fields[:count] |= (plan.edge >= 0).astype(np.uint32) << np.uint32(FIELD - 1)
        words = packed_fields(fields.reshape(chunks, CHUNK, lanes), FIELD)
        stream = np.concatenate((words, packed_weights(values, CHUNK, step.weight_type)), axis=1)
        bits = (plan.edge[plan.masked] >= 0).astype(np.uint32) << np.arange(lanes, dtype=np.uint32)
        masks = bits.sum(axis=1).astype(np.uint16)
        return aligned(stream.reshape(-1), masks.view(np.uint8))

    def emit(self, step: Step, name: str, machine: Machine, samples: int) -> Sequence[Function]:
        """The kernel called `name` for `samples` rows, one after the other."""
        f = Function(name, PARAMETERS)
        with each_row(f, step, samples) as (src, dst):
            _Writer(f, step, machine).write(src, dst)
        return [f]


def permute_refusal(junction: Junction, machine: Machine) -> str:
    """Why a junction cannot be computed by permuting windows, or an empty string."""
    if junction.kind != "paths":
        return f"it computes paths, not a {junction.kind} junction"
    if not (machine.avx512 and machine.width == 16) and not (machine.avx2 and machine.width == 8):
        return "it needs permutations across a vector: AVX2 or AVX-512"
    return ""


def rounds(junction: Junction, machine: Machine) -> float:
    """Estimated number of operations with destinations in natural order."""
    return operations(distinct_edges(junction), machine.width, _SAMPLE)


def in_registers(machine: Machine) -> int:
    """Groups of destinations whose sums stay in registers."""
    return 20 if machine.registers >= 32 else 8


_arranged: WeakKeyDictionary[Distinct, dict[int, Windows]] = WeakKeyDictionary()


def arranged(junction: Junction, machine: Machine) -> Windows:
    """The operations, with as much mixing of destinations as pays."""
    edges = distinct_edges(junction)
    known = _arranged.setdefault(edges, {})
    if machine.width not in known:
        known[machine.width] = _arrange(edges, machine)
    return known[machine.width]


def _arrange(edges: Distinct, machine: Machine) -> Windows:
    lanes, tile = machine.width, in_registers(machine)
    best = windows(edges, lanes, 1, tile)
    if best.count * lanes <= 1.1 * edges.src.size:
        return best
    for near in (4, 8):
        mixed = windows(edges, lanes, near, tile // near * near)
        if _cost(mixed) < _cost(best):
            best = mixed
    return best


def _cost(plan: Windows) -> float:
    return 2.2 * plan.count + 0.4 * int(plan.masked.sum()) + len(plan.order) * _MIXED[plan.near]


def packed_fields(fields: NDArray[np.uint32], bits: int) -> NDArray[np.uint8]:
    """Small integers [chunks, n, lanes] as one word a lane and chunk: bytes [chunks, 4 * lanes]."""
    shifts = np.arange(fields.shape[1], dtype=np.uint32) * np.uint32(bits)
    words = np.bitwise_or.reduce(fields << shifts[:, None], axis=1)
    return np.ascontiguousarray(words, np.uint32).view(np.uint8).reshape(fields.shape[0], -1)


def packed_weights(values: NDArray[np.float32], chunk: int, kind: WeightType) -> NDArray[np.uint8]:
    """Weights [operations, lanes] as bytes [chunks, n]; two bf16 of neighbouring operations share a word."""
    rows, lanes = values.shape
    if kind == "f32":
        return np.ascontiguousarray(values).view(np.uint8).reshape(rows // chunk, -1)
    halves = encode(values, kind).view(np.uint16).reshape(rows // 2, 2, lanes)
    return np.ascontiguousarray(halves.transpose(0, 2, 1)).view(np.uint8).reshape(rows // chunk, -1)


def pick(f: Function, lanes: int, window: tuple[str, str], words: str, shift: int) -> str:
    """The source of every lane: the field of `words` at bit `shift` counts from the start of the window."""
    kind, whole = vector(lanes), vector(lanes, "i32")
    first, second = window
    places = f.op("lshr", whole, words, f"splat (i32 {shift})") if shift else words
    if lanes == 16:
        arguments = [(kind, first), (whole, places), (kind, second)]
        return f.call(kind, "llvm.x86.avx512.vpermi2var.ps.512", arguments)
    low, high = (f.call(kind, "llvm.x86.avx2.permps", [(kind, v), (whole, places)]) for v in window)
    return choose(f, lanes, sign_of(f, lanes, words, shift + 3), high, low)


def sign_of(f: Function, lanes: int, words: str, bit: int) -> str:
    """Whether a bit of every word is set."""
    whole = vector(lanes, "i32")
    moved = f.op("shl", whole, words, f"splat (i32 {31 - bit})") if bit < 31 else words
    return f.assign(f"icmp slt {whole} {moved}, zeroinitializer")


def choose(f: Function, lanes: int, condition: str, yes: str, no: str) -> str:
    """Lanes of `yes` where the condition holds, of `no` elsewhere."""
    kind = vector(lanes)
    return f.assign(f"select {vector(lanes, 'i1')} {condition}, {kind} {yes}, {kind} {no}")


def weight_vectors(f: Function, lanes: int, pointer: str, kind: WeightType, number: int, last: str) -> tuple[str, str]:
    """Weights of operation `number` of a chunk, and the word vector the next one shares (bf16)."""
    floats, whole = vector(lanes), vector(lanes, "i32")
    if kind == "f32":
        return f.load(floats, byte_offset(f, pointer, number * 4 * lanes), 4 * lanes), ""
    if number % 2 == 0:
        last = f.load(whole, byte_offset(f, pointer, number * 2 * lanes), 4 * lanes)
        bits = f.op("shl", whole, last, "splat (i32 16)")
    else:
        bits = f.op("and", whole, last, "splat (i32 -65536)")
    return f.assign(f"bitcast {whole} {bits} to {floats}"), last


class _Writer:
    """Writes one row of a junction."""

    def __init__(self, f: Function, step: Step, machine: Machine) -> None:
        self.f, self.step, self.machine = f, step, machine
        self.plan = arranged(step.junction, machine)
        self.lanes = machine.width
        self.tile = in_registers(machine) // self.plan.near * self.plan.near
        self.chunk_bytes = 4 * self.lanes + CHUNK * self.lanes * element_bytes(step.weight_type)
        self.masks = -(-(-(-self.plan.count // CHUNK) * self.chunk_bytes) // 64) * 64
        self.mask_number = np.cumsum(self.plan.masked) - 1
        self.words = self.shared = ""

    def write(self, src: str, dst: str) -> None:
        plan, lanes = self.plan, self.lanes
        at = 0
        for first in range(0, len(plan.order), self.tile):
            groups = range(first, min(first + self.tile, len(plan.order)))
            sums = dict.fromkeys(groups, "zeroinitializer")
            blocks: dict[int, str] = {}
            while at < plan.count and int(plan.group[at]) in groups:
                base = int(plan.base[at])
                blocks = {b: blocks.get(b, "") or self.load(src, b) for b in (base, base + 1)}
                group = int(plan.group[at])
                sums[group] = self.operation(at, (blocks[base], blocks[base + 1]), sums[group])
                at += 1
                if at % CHUNK == 0:
                    self.f.line(BARRIER)
            for start in range(groups.start, groups.stop, plan.near):
                self.store([sums[g] for g in range(start, min(start + plan.near, groups.stop))], start, dst)
                self.f.line(BARRIER)
        clear_behind(self.f, lanes, dst, len(plan.order) * lanes, self.step.dst_layout.size)

    def load(self, src: str, block: int) -> str:
        first = block * self.lanes
        if first >= self.step.junction.n_src:
            return "zeroinitializer"
        return load_units(self.f, self.lanes, src, first, self.step.src_layout.size)

    def operation(self, at: int, window: tuple[str, str], total: str) -> str:
        f, lanes = self.f, self.lanes
        chunk, number = divmod(at, CHUNK)
        start = byte_offset(f, "%weights", chunk * self.chunk_bytes)
        if number == 0:
            self.words = f.load(vector(lanes, "i32"), start, 4 * lanes)
        shift = FIELD * number
        value = pick(f, lanes, window, self.words, shift)
        if self.plan.masked[at]:
            value = choose(f, lanes, self.mask(at, shift), value, "zeroinitializer")
        pointer = byte_offset(f, start, 4 * lanes)
        weight, self.shared = weight_vectors(f, lanes, pointer, self.step.weight_type, number, self.shared)
        return f.fma(lanes, value, weight, total)

    def mask(self, at: int, shift: int) -> str:
        if self.lanes < 16:
            return sign_of(self.f, self.lanes, self.words, shift + FIELD - 1)
        entry = byte_offset(self.f, "%weights", self.masks + 2 * int(self.mask_number[at]))
        return self.f.load(vector(self.lanes, "i1"), entry, 2)

    def store(self, sums: list[str], start: int, dst: str) -> None:
        lanes, rows = self.lanes, self.plan.order[start : start + len(sums)]
        for k in range(len(sums)):
            first = (start + k) * lanes
            value = sums[k] if self.plan.near == 1 else self.collect(sums, rows, first)
            store_sums(self.f, self.step, self.machine, lanes, value, first, dst)

    def collect(self, sums: list[str], rows: Ints, first: int) -> str:
        """The sums of the destinations from `first` on, wherever their groups hold them."""
        f, lanes = self.f, self.lanes
        place = {int(row): at for at, row in enumerate(rows.reshape(-1)) if row >= 0}
        wanted = [place.get(first + i, -1) for i in range(lanes)]
        result = ""
        for pair in range(0, len(sums), 2):
            inside = [w - pair * lanes if pair * lanes <= w < (pair + 2) * lanes else -1 for w in wanted]
            if all(i < 0 for i in inside):
                continue
            second = sums[pair + 1] if pair + 1 < len(sums) else sums[pair]
            picked = f.shuffle(lanes, sums[pair], second, [max(i, 0) for i in inside])
            if result:
                bits = ", ".join(f"i1 {str(i >= 0).lower()}" for i in inside)
                picked = choose(f, lanes, f"<{bits}>", picked, result)
            result = picked
        return result or "zeroinitializer"
