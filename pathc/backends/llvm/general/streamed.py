"""Windowed permute as a stream: what `windowed` writes out as code is data here, for junctions of any length.

Every operation names its window, so windows are loaded each time; otherwise the arithmetic is the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from pathc.backends.llvm import vecmath
from pathc.backends.llvm.column.common import PARAMETERS, Bytes, aligned, byte_offset, element_bytes, table_entry
from pathc.backends.llvm.emit import I64, Function, vector
from pathc.backends.llvm.general.edges import Distinct, distinct_edges
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
from pathc.backends.llvm.general.rows import clear_behind, finish, row, store_sums
from pathc.backends.llvm.general.windows import WINDOW, Windows, windows
from pathc.backends.llvm.machine import Machine
from pathc.backends.llvm.plan import Family, Junction, Step

CHUNK = 4
"""Operations whose places share a vector of words, one byte each: the place, and whether the lane has an edge."""
FIELD = 8


@dataclass(frozen=True)
class Streamed:
    """Windowed permute, operations as data."""

    name: ClassVar[str] = "streamed"
    family: ClassVar[Family] = "row"

    def refusal(self, junction: Junction, machine: Machine) -> str:
        """Why the form cannot compute this junction, or an empty string."""
        if junction.n_src < WINDOW * machine.width:
            return "the sources do not fill a window"
        return permute_refusal(junction, machine)

    def cycles(self, step: Step, machine: Machine, samples: int) -> float:
        """Estimated clock cycles for `samples` rows."""
        junction, lanes = step.junction, machine.width
        groups = -(-junction.n_dst // lanes)
        count = operation_count(junction, machine) + groups * (CHUNK - 1) / 2
        size = lanes * (element_bytes(step.weight_type) + 1) + 4
        rate = 31.0 if count * size <= machine.l2 else 26.0 if count * size <= machine.l3 else 8.0
        each = max(4.0 if lanes == 16 else 3.0, size / rate)
        return 20.0 + samples * (each * count + groups * (14.0 + vecmath.cycles(step.activation)))

    def pack(self, step: Step, machine: Machine, weights: Mapping[str, NDArray[np.float32]]) -> Bytes:
        """Chunks of a group, chunk after chunk: places and weights; then chunks per group and windows per chunk."""
        junction, lanes = step.junction, machine.width
        edges = distinct_edges(junction)
        plan = sequence(edges, lanes)
        groups = len(plan.order)
        counts = np.bincount(plan.group, minlength=groups)
        chunks = np.maximum(1, -(-counts // CHUNK))
        first = (np.cumsum(chunks) - chunks) * CHUNK
        at = first[plan.group] + np.arange(plan.count) - (np.cumsum(counts) - counts)[plan.group]
        total = int(chunks.sum()) * CHUNK
        start = np.minimum(plan.base * lanes, junction.n_src - WINDOW * lanes)
        moved = (plan.base * lanes - start)[:, None]
        taken = plan.edge >= 0
        fields = np.zeros((total, lanes), np.uint32)
        fields[at] = np.where(taken, plan.index + moved + (1 << (FIELD - 1)), 0)
        values = np.zeros((total, lanes), np.float32)
        values[at] = plan.weights(edges.sums(weights[junction.tensor]))
        starts = np.zeros(total, np.uint32)
        starts[at] = start
        words = packed_fields(fields.reshape(-1, CHUNK, lanes), FIELD)
        stream = np.concatenate((words, packed_weights(values, CHUNK, step.weight_type)), axis=1)
        header = np.zeros(2, np.uint32)
        table = chunks.astype(np.uint32).view(np.uint8)
        at_windows = aligned(header.view(np.uint8), table).size
        header[:] = at_windows, at_windows + aligned(starts.view(np.uint8)).size
        return aligned(header.view(np.uint8), table, starts.view(np.uint8), stream.reshape(-1))

    def emit(self, step: Step, name: str, machine: Machine, samples: int) -> Sequence[Function]:
        """The kernel called `name` for `samples` rows at once."""
        f = Function(name, PARAMETERS)
        lanes, kind = machine.width, vector(machine.width)
        src = [row(f, "%src", r, step.src_layout.size) for r in range(samples)]
        dst = [row(f, "%dst", r, step.dst_layout.size) for r in range(samples)]
        at_windows, at_stream = (table_entry(f, "%weights", k) for k in range(2))
        position = [byte_offset(f, "%weights", at_windows), byte_offset(f, "%weights", at_stream)]
        table = byte_offset(f, "%weights", 64)
        last = -(-step.junction.n_dst // lanes) - 1
        if last:
            with f.loop(last, [("ptr", pointer) for pointer in position]) as loop:
                sums, loop.following = _group(f, step, machine, src, table_entry(f, table, loop.index), loop.carried)
                start = f.op("mul", I64, loop.index, str(lanes), "nuw nsw")
                for to, value in zip(dst, sums, strict=True):
                    place = f.offset(to, start)
                    done = finish(f, step, machine, lanes, value, place, f.offset("%bias", start))
                    f.store(kind, done, place, 4 * lanes)
            position = loop.results
        sums, _ = _group(f, step, machine, src, table_entry(f, table, last), position)
        for to, value in zip(dst, sums, strict=True):
            store_sums(f, step, machine, lanes, value, last * lanes, to)
            clear_behind(f, lanes, to, (last + 1) * lanes, step.dst_layout.size)
        return [f]


_sequences: WeakKeyDictionary[Distinct, dict[int, Windows]] = WeakKeyDictionary()


def sequence(edges: Distinct, lanes: int) -> Windows:
    """The operations, group after group."""
    known = _sequences.setdefault(edges, {})
    if lanes not in known:
        known[lanes] = windows(edges, lanes, 1, 1, fill=False)
    return known[lanes]


def _group(
    f: Function, step: Step, machine: Machine, src: list[str], chunks: str, position: list[str]
) -> tuple[list[str], list[str]]:
    """Sums of every row for one group of destinations, and where the next group's data start."""
    lanes, kind = machine.width, vector(machine.width)
    chunk_bytes = 4 * lanes + CHUNK * lanes * element_bytes(step.weight_type)
    carried = [("ptr", pointer) for pointer in position] + [(kind, "zeroinitializer")] * (2 * len(src))
    with f.loop(chunks, carried) as loop:
        starts, data, *sums = loop.carried
        words = f.load(vector(lanes, "i32"), data, 4 * lanes)
        shared = ""
        for number in range(CHUNK):
            start = table_entry(f, starts, number)
            bit = FIELD * number
            present = sign_of(f, lanes, words, bit + FIELD - 1)
            pointer = byte_offset(f, data, 4 * lanes)
            weight, shared = weight_vector(f, lanes, pointer, step.weight_type, number, shared)
            for r, line in enumerate(src):
                first = f.offset(line, start)
                window = f.load(kind, first), f.load(kind, f.offset(first, lanes))
                value = choose(f, lanes, present, pick(f, lanes, window, words, bit), "zeroinitializer")
                k = 2 * r + number % 2
                sums[k] = f.fma(lanes, value, weight, sums[k])
        loop.following = [byte_offset(f, starts, 4 * CHUNK), byte_offset(f, data, chunk_bytes), *sums]
    starts, data, *sums = loop.results
    return [f.op("fadd", kind, a, b) for a, b in zip(sums[::2], sums[1::2], strict=True)], [starts, data]
