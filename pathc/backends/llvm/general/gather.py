"""Any edges on any machine: destinations of equal length side by side, sources picked one by one.

Destinations are sorted by their number of edges, `lanes` of them go together and results are put where they belong.
A destination shorter than the longest beside it cuts its last weight into pieces, so no product appears
that the junction does not have: a NaN or an infinity reaches only what it leads to.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from pathc.backends.llvm.column.common import (
    PARAMETERS,
    Bytes,
    aligned,
    byte_offset,
    element_bytes,
    encode,
    table_entry,
    when_positive,
)
from pathc.backends.llvm.emit import I64, Function, vector
from pathc.backends.llvm.general.edges import Distinct, Floats, Ints, distinct_edges
from pathc.backends.llvm.general.rows import clear_behind, each_row
from pathc.backends.llvm.general.scattered import picked, scatter, unit_bits
from pathc.backends.llvm.machine import Machine
from pathc.backends.llvm.plan import Family, Junction, Step

_HEADER = 4
_PIECES = 24


@dataclass(frozen=True, eq=False)
class Slices:
    """Destinations `lanes` at a time.

    `rows` [slices, lanes] are destinations, a slice that is not full repeats its last one; slices of `steps[s]`
    edges a lane follow each other, `empty` slices without any come last. `edge` and `share` [sum of steps, lanes] are
    the edges and the part of their weight a lane takes.
    """

    rows: Ints
    empty: int
    steps: Ints
    edge: Ints
    share: Floats


def slices(edges: Distinct, lanes: int) -> Slices:
    """Destinations by descending number of edges."""
    lengths = edges.lengths
    order = np.argsort(-lengths, kind="stable")
    some = int(np.count_nonzero(lengths))
    full, empty = _filled(order[:some], lanes), _filled(order[some:], lanes)
    steps = lengths[full].max(axis=1, initial=0)
    slice_of = np.repeat(np.arange(len(full)), steps)
    number = np.arange(int(steps.sum())) - np.repeat(np.cumsum(steps) - steps, steps)
    rows = full[slice_of]
    beyond = number[:, None] - (lengths[rows] - 1)
    edge = edges.start[rows] + number[:, None] - np.maximum(beyond, 0)
    pieces = np.minimum(steps[slice_of][:, None] - lengths[rows], _PIECES)
    exponent = np.where(beyond < 0, 0, np.where(beyond == 0, pieces, beyond))
    share = np.where(beyond > pieces, 0.0, np.exp2(-exponent.astype(np.float64))).astype(np.float32)
    return Slices(np.concatenate((full, empty)), len(empty), steps, edge, share)


def _filled(rows: Ints, lanes: int) -> Ints:
    more = -len(rows) % lanes
    return np.concatenate((rows, np.repeat(rows[-1:], more))).reshape(-1, lanes)


@dataclass(frozen=True)
class Gather:
    """Sources gathered one by one."""

    name: ClassVar[str] = "gather"
    family: ClassVar[Family] = "row"

    def refusal(self, junction: Junction, machine: Machine) -> str:
        """Why the form cannot compute this junction, or an empty string."""
        return "" if junction.kind == "paths" else f"it computes paths, not a {junction.kind} junction"

    def cycles(self, step: Step, machine: Machine, samples: int) -> float:
        """Estimated clock cycles for `samples` rows."""
        junction = step.junction
        cells = junction.n_src * junction.n_dst
        distinct = -cells * float(np.expm1(-junction.count / cells))
        far = 4 * junction.n_src > machine.l1
        each = 0.62 + 8.0 / (8.0 + junction.fan_in) * 0.2 + (1.0 if far else 0.0)
        rows = -(-junction.n_dst // machine.width) * machine.width
        return samples * (40.0 + each * distinct * rows / junction.n_dst + 1.3 * rows)

    def pack(self, step: Step, machine: Machine, weights: Mapping[str, NDArray[np.float32]]) -> Bytes:
        """Header, steps of the slices, their destinations, then sources and weights, slice after slice."""
        junction = step.junction
        edges = distinct_edges(junction)
        plan = slices(edges, machine.width)
        dtype = np.uint16 if unit_bits(junction) == 16 else np.uint32
        values = edges.sums(weights[junction.tensor])[plan.edge] * plan.share
        count = len(plan.edge)
        sources = np.ascontiguousarray(edges.src[plan.edge].astype(dtype)).view(np.uint8).reshape(count, -1)
        coded = encode(values, step.weight_type).reshape(count, machine.width * element_bytes(step.weight_type))
        stream = np.concatenate((coded, sources), axis=1).reshape(-1)
        steps = plan.steps.astype(np.uint32).view(np.uint8)
        rows = plan.rows.astype(dtype).view(np.uint8).reshape(-1)
        header = np.zeros(_HEADER, np.uint32)
        at_rows = aligned(header.view(np.uint8), steps).size
        at_stream = at_rows + aligned(rows).size
        header[:] = len(plan.steps), plan.empty, at_rows, at_stream
        return aligned(header.view(np.uint8), steps, rows, stream)

    def emit(self, step: Step, name: str, machine: Machine, samples: int) -> Sequence[Function]:
        """The kernel called `name` for `samples` rows, one after the other."""
        f = Function(name, PARAMETERS)
        lanes, bits = machine.width, unit_bits(step.junction)
        full, empty, at_rows, at_stream = (table_entry(f, "%weights", k) for k in range(_HEADER))
        first_rows, stream = byte_offset(f, "%weights", at_rows), byte_offset(f, "%weights", at_stream)
        steps = byte_offset(f, "%weights", 64)
        entry = lanes * (element_bytes(step.weight_type) + bits // 8)
        row_bytes = lanes * bits // 8
        with each_row(f, step, samples) as (src, dst):
            with when_positive(f, full), f.loop(full, [("ptr", first_rows), ("ptr", stream)]) as loop:
                rows, data = loop.carried
                size = f.op("mul", I64, table_entry(f, steps, loop.index), str(entry), "nuw nsw")
                with f.loop(size, [(vector(lanes), "zeroinitializer")], step=entry) as inner:
                    at = byte_offset(f, data, inner.index)
                    values = picked(f, lanes, src, byte_offset(f, at, entry - row_bytes), bits)
                    inner.following = [f.fma(lanes, values, _weights(f, step, lanes, at), inner.carried[0])]
                scatter(f, step, machine, dst, rows, bits, inner.results[0])
                loop.following = [byte_offset(f, rows, row_bytes), byte_offset(f, data, size)]
            without = byte_offset(f, first_rows, f.op("mul", I64, full, str(row_bytes), "nuw nsw"))
            with when_positive(f, empty), f.loop(empty, [("ptr", without)]) as loop:
                scatter(f, step, machine, dst, loop.carried[0], bits, "zeroinitializer")
                loop.following = [byte_offset(f, loop.carried[0], row_bytes)]
            clear_behind(f, lanes, dst, step.junction.n_dst, step.dst_layout.size)
        return [f]


def _weights(f: Function, step: Step, lanes: int, pointer: str) -> str:
    kind = vector(lanes)
    if step.weight_type == "f32":
        return f.load(kind, pointer)
    whole = vector(lanes, "i32")
    halves = f.load(vector(lanes, "i16"), pointer)
    wide = f.assign(f"zext {vector(lanes, 'i16')} {halves} to {whole}")
    return f.assign(f"bitcast {whole} {f.op('shl', whole, wide, 'splat (i32 16)')} to {kind}")
