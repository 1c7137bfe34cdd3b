"""Windowed permute as a stream: what `windowed` writes out as code is data here, for junctions of any length.

Every operation names its window, so windows are loaded each time; otherwise the arithmetic is the same. Where a unit
has few sources, destinations whose sources lie in the same windows are brought together; their sums are then stored
one by one.
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
from pathc.backends.llvm.general.edges import Distinct, Ints, distinct_edges
from pathc.backends.llvm.general.permute import (
    SAMPLE,
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
from pathc.backends.llvm.general.scattered import scatter, unit_bits
from pathc.backends.llvm.general.windows import WINDOW, Windows, gathered_order, natural_order, operations, windows
from pathc.backends.llvm.machine import Machine
from pathc.backends.llvm.plan import Family, Junction, Step

CHUNK = 4
"""Operations whose places share a word for each lane, a byte each."""
FIELD = 8
PRESENT = 128
"""The bit of a place, its sign, that says that the lane has an edge."""
_EACH = {16: 3.1, 8: 3.0}
"""Clock cycles of an operation, by lanes."""
_SCATTERED = 12.0
"""Clock cycles to store the sums of a group one by one, or to fetch what they are added to."""


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
        moved, count = arrangement(junction, machine)
        count += groups * (CHUNK - 1) / 2
        size = lanes * (element_bytes(step.weight_type) + 1) + 4
        rate = 31.0 if count * size <= machine.l2 else 26.0 if count * size <= machine.l3 else 8.0
        each = max(_EACH[lanes], size / rate)
        after = 14.0 + vecmath.cycles(step.activation)
        after += _SCATTERED * ((step.init != "zero") + 1) if moved else 0.0
        return 20.0 + samples * (each * count + groups * after)

    def pack(self, step: Step, machine: Machine, weights: Mapping[str, NDArray[np.float32]]) -> Bytes:
        """Chunks per group, windows per operation, destinations, then chunk after chunk of places and weights."""
        junction, lanes = step.junction, machine.width
        edges = distinct_edges(junction)
        moved, _ = arrangement(junction, machine)
        plan = sequence(edges, lanes, moved)
        groups = len(plan.order)
        counts = np.bincount(plan.group, minlength=groups)
        chunks = np.maximum(1, -(-counts // CHUNK))
        first = (np.cumsum(chunks) - chunks) * CHUNK
        at = first[plan.group] + np.arange(plan.count) - (np.cumsum(counts) - counts)[plan.group]
        total = int(chunks.sum()) * CHUNK
        start = np.minimum(plan.base * lanes, junction.n_src - WINDOW * lanes)
        further = (plan.base * lanes - start)[:, None]
        places = np.zeros((total, lanes), np.uint32)
        places[at] = np.where(plan.edge >= 0, plan.index + further + PRESENT, 0)
        values = np.zeros((total, lanes), np.float32)
        values[at] = plan.weights(edges.sums(weights[junction.tensor]))
        starts = np.zeros(total, np.uint32)
        starts[at] = start
        coded = packed_weights(values, CHUNK, step.weight_type)
        words = packed_fields(places.reshape(-1, CHUNK, lanes), FIELD)
        stream = np.concatenate((words, coded), axis=1).reshape(-1)
        rows = plan.order.astype(f"u{unit_bits(junction) // 8}") if moved else np.zeros(0, np.uint8)
        parts = [chunks.astype(np.uint32), starts, rows.reshape(-1)]
        bytes_ = [part.view(np.uint8) for part in parts]
        header = np.cumsum([64, *(aligned(part).size for part in bytes_)])[1:].astype(np.uint32)
        return aligned(header.view(np.uint8), *bytes_, stream)

    def emit(self, step: Step, name: str, machine: Machine, samples: int) -> Sequence[Function]:
        """The kernel called `name` for `samples` rows at once."""
        f = Function(name, PARAMETERS)
        junction, lanes, kind = step.junction, machine.width, vector(machine.width)
        src = [row(f, "%src", r, step.src_layout.size) for r in range(samples)]
        dst = [row(f, "%dst", r, step.dst_layout.size) for r in range(samples)]
        at_windows, at_rows, at_stream = (table_entry(f, "%weights", k) for k in range(3))
        position = [byte_offset(f, "%weights", at_windows), byte_offset(f, "%weights", at_stream)]
        table = byte_offset(f, "%weights", 64)
        groups = -(-junction.n_dst // lanes)
        if arrangement(junction, machine)[0]:
            rows, bits = byte_offset(f, "%weights", at_rows), unit_bits(junction)
            with f.loop(groups, [("ptr", pointer) for pointer in (*position, rows)]) as loop:
                *position, here = loop.carried
                sums, behind = _group(f, step, machine, src, table_entry(f, table, loop.index), position)
                for to, value in zip(dst, sums, strict=True):
                    scatter(f, step, machine, to, here, bits, value)
                loop.following = [*behind, byte_offset(f, here, lanes * bits // 8)]
            for to in dst:
                clear_behind(f, lanes, to, junction.n_dst, step.dst_layout.size)
            return [f]
        last = groups - 1
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


_orders: WeakKeyDictionary[Distinct, dict[int, Ints]] = WeakKeyDictionary()
_arrangements: WeakKeyDictionary[Distinct, dict[int, tuple[bool, float]]] = WeakKeyDictionary()
_sequences: WeakKeyDictionary[Distinct, dict[tuple[int, bool], Windows]] = WeakKeyDictionary()


def arrangement(junction: Junction, machine: Machine) -> tuple[bool, float]:
    """Whether destinations are brought together, and about how many operations there are."""
    natural = operation_count(junction, machine)
    if junction.blocks:
        return False, natural
    edges, lanes = distinct_edges(junction), machine.width
    known = _arrangements.setdefault(edges, {})
    if lanes not in known:
        order = _gathered(edges, lanes)
        count = operations(edges, order, SAMPLE)
        pays = _EACH[lanes] * count + _SCATTERED * len(order) < _EACH[lanes] * natural
        known[lanes] = (True, count) if pays else (False, natural)
    return known[lanes]


def _gathered(edges: Distinct, lanes: int) -> Ints:
    """The order of destinations that brings similar ones together, found once."""
    known = _orders.setdefault(edges, {})
    if lanes not in known:
        known[lanes] = gathered_order(edges, lanes)
    return known[lanes]


def sequence(edges: Distinct, lanes: int, moved: bool) -> Windows:
    """The operations, group after group, of destinations brought together or in their own order.

    The former are ordered once more by the number of chunks in their group, so that the ends of loops are foreseen.
    """
    known = _sequences.setdefault(edges, {})
    if (lanes, moved) not in known:
        order = _gathered(edges, lanes) if moved else natural_order(edges.n_dst, lanes)
        plan = windows(edges, lanes, 1, 1, fill=False, order=order)
        if moved:
            chunks = -(-np.bincount(plan.group, minlength=len(order)) // CHUNK)
            plan = windows(edges, lanes, 1, 1, fill=False, order=order[np.argsort(chunks, kind="stable")])
        known[lanes, moved] = plan
    return known[lanes, moved]


def _present(f: Function, lanes: int, words: str, shift: int) -> str:
    """Which lanes have an edge: masks are tested where there are masks, else a blend asks for signs."""
    if lanes < 16:
        return sign_of(f, lanes, words, shift + FIELD - 1)
    whole = vector(lanes, "i32")
    bit = (PRESENT << shift) - (1 << 32 if PRESENT << shift >> 31 else 0)
    return f.assign(f"icmp ne {whole} {f.op('and', whole, words, f'splat (i32 {bit})')}, zeroinitializer")


def _group(
    f: Function, step: Step, machine: Machine, src: list[str], chunks: str, position: Sequence[str]
) -> tuple[list[str], list[str]]:
    """Sums of every row for one group of destinations, and where the next group's data start."""
    lanes, kind, whole = machine.width, vector(machine.width), vector(machine.width, "i32")
    chunk_bytes = CHUNK * lanes * (1 + element_bytes(step.weight_type))
    carried = [("ptr", pointer) for pointer in position] + [(kind, "zeroinitializer")] * (2 * len(src))
    with f.loop(chunks, carried) as loop:
        starts, data, *sums = loop.carried
        pointer = byte_offset(f, data, CHUNK * lanes)
        words = f.load(whole, data, 4 * lanes)
        shared = ""
        for number in range(CHUNK):
            start = table_entry(f, starts, number)
            present = _present(f, lanes, words, FIELD * number)
            weight, shared = weight_vector(f, lanes, pointer, step.weight_type, number, shared)
            for r, line in enumerate(src):
                first = f.offset(line, start)
                window = f.load(kind, first), f.load(kind, f.offset(first, lanes))
                value = choose(f, lanes, present, pick(f, lanes, window, words, FIELD * number), "zeroinitializer")
                k = 2 * r + number % 2
                sums[k] = f.fma(lanes, value, weight, sums[k])
        loop.following = [byte_offset(f, starts, 4 * CHUNK), byte_offset(f, data, chunk_bytes), *sums]
    starts, data, *sums = loop.results
    return [f.op("fadd", kind, a, b) for a, b in zip(sums[::2], sums[1::2], strict=True)], [starts, data]
