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
from pathc.backends.llvm.column.common import PARAMETERS, Bytes, aligned, byte_offset, element_bytes
from pathc.backends.llvm.emit import Function, vector
from pathc.backends.llvm.general.edges import Distinct, Ints, distinct_edges
from pathc.backends.llvm.general.permute import (
    choose,
    operation_count,
    packed_fields,
    packed_weights,
    permute_refusal,
    pick,
    sign_of,
    weight_vector,
)
from pathc.backends.llvm.general.rows import BARRIER, clear_behind, each_row, load_units, store_sums
from pathc.backends.llvm.general.windows import Windows, windows
from pathc.backends.llvm.machine import Machine
from pathc.backends.llvm.plan import Family, Junction, Step

CHUNK = 6
"""Operations whose places in the window share a vector of integers, `FIELD` bits each."""
FIELD = 5
_LONGEST = 1600
_MIXED = {1: 0.0, 4: 3.0, 8: 7.0}


@dataclass(frozen=True)
class Windowed:
    """Windowed permute, all operations written out."""

    name: ClassVar[str] = "windowed"
    family: ClassVar[Family] = "row"

    def refusal(self, junction: Junction, machine: Machine) -> str:
        """Why the form cannot compute this junction, or an empty string."""
        reason = permute_refusal(junction, machine)
        if reason or operation_count(junction, machine) <= _LONGEST:
            return reason
        return f"it would be more than {_LONGEST} operations of straight-line code"

    def cycles(self, step: Step, machine: Machine, samples: int) -> float:
        """Estimated clock cycles for `samples` rows."""
        if step.junction.blocks:
            return samples * 2.5 * operation_count(step.junction, machine)
        plan = arranged(step.junction, machine)
        groups = len(plan.order)
        chunk_bytes = 4 * machine.width + CHUNK * machine.width * element_bytes(step.weight_type)
        near = -(-plan.count // CHUNK) * chunk_bytes <= machine.l1
        each = (2.15 if near else 2.4) * (1.0 if machine.width == 16 else 1.35)
        each += (0.15 if near else -0.1) if step.weight_type == "bf16" else 0.0
        each = max(each, 3.4 / min(groups, 2))  # the additions to one group wait for each other
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
        weight, self.shared = weight_vector(f, lanes, pointer, self.step.weight_type, number, self.shared)
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
