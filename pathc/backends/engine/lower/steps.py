"""The steps of one junction: what EX is told, and its weights in the order in which lanes take them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np

from pathc.backends.engine.isa.state import ROW_BITS
from pathc.backends.engine.lower.layout import NOBODY, Int64, Layout
from pathc.ir import gf2
from pathc.ir.generators import Affine
from pathc.ir.schedule import colouring


@dataclass(frozen=True, eq=False)
class Work:
    """One EX instruction: its name and fields, weights int64 [steps, lanes], and what it needs of slots or tables.

    `slot` are the words of a generator slot without fold masks (shift, then columns), `table` is int64 [steps, lanes].
    """

    name: str
    fields: dict[str, int]
    weights: Int64
    slot: tuple[int, ...] = ()
    table: Int64 = field(default_factory=lambda: np.zeros((0, 1), np.int64))


@dataclass(frozen=True)
class Lanes:
    """How aligned blocks of z paths lie in the lanes.

    Path m of a block is in lane place(m) ^ a constant; `place` are columns, `banks` those of the map from lanes to the
    top bits of the destination.
    """

    place: tuple[int, ...]
    banks: tuple[int, ...]


def lanes_of(source: Affine, destination: Affine, layout: Layout, units: int, lane_bits: int) -> Lanes | None:
    """Lanes in which every aligned block of paths reads one row through an exchange by a constant, or None.

    The source lies in `layout`. Lane = bank of the destination; the bank that a path reads is its lane XOR a
    constant of the block. Where units lie in several lanes, the freedom is used to have each lane take one path.
    Source: the theorem in docs/theorem.md.
    """
    if not layout.banks or len(source.columns) < lane_bits or len(destination.columns) < lane_bits:
        return None
    own, others = source.columns[:lane_bits], destination.columns[:lane_bits]
    row_bits = max(0, units.bit_length() - 1 - lane_bits)
    if any(c & ((1 << layout.row_bits) - 1) for c in own) or any(c & ((1 << row_bits) - 1) for c in others):
        return None
    place = _lifted([c >> layout.row_bits for c in own], layout.banks)
    top = [c >> row_bits for c in others]
    if place is None or gf2.rank(top) < min(lane_bits, units.bit_length() - 1):
        return None
    back = gf2.inverse(place)
    return None if back is None else Lanes(place, gf2.compose(top, back))


def banks_for(source: Affine, destination: Affine, units: tuple[int, int], lane_bits: int) -> tuple[int, ...] | None:
    """The map from lanes to the top bits of the source with which `lanes_of` puts destinations bank after bank.

    `units` are those of source and destination; None unless both fill all lanes and aligned blocks meet all banks.
    """
    shift = [size.bit_length() - 1 - lane_bits for size in units]
    ends = [end.columns[:lane_bits] for end in (source, destination)]
    if min(shift) < 0 or any(size & (size - 1) for size in units) or min(map(len, ends)) < lane_bits:
        return None
    if any(column & ((1 << low) - 1) for end, low in zip(ends, shift, strict=True) for column in end):
        return None
    wanted, top = (tuple(c >> low for c in end) for end, low in zip(ends, shift, strict=True))
    back = gf2.inverse(top)
    return None if back is None or gf2.inverse(wanted) is None else gf2.compose(wanted, back)


def _lifted(wanted: list[int], banks: tuple[int, ...]) -> tuple[int, ...] | None:
    """Columns of an invertible map P with banks(P(m)) = wanted(m), or None."""
    null, spare = gf2.kernel(wanted), gf2.kernel(banks)
    if len(null) != len(spare):
        return None
    everything = [1 << k for k in range(len(wanted))]
    rest = gf2.complement(everything, null)
    images = [gf2.solve(banks, gf2.apply(wanted, vector)) for vector in rest]
    known = [image for image in images if image is not None]
    if len(known) < len(images):
        return None
    return gf2.compose((*spare, *known), gf2.coordinates((*null, *rest)))


def path_work(
    source: Affine, destination: Affine, layout: Layout, target: Layout, lanes: Lanes, weights: Int64, late: bool
) -> Work:
    """PATH for all paths, in blocks of z; with `late` the order keeps visits of a row of sums apart where it can."""
    bits, count = len(lanes.place), len(weights)
    steps = -(-count >> bits) if count & ((1 << bits) - 1) == 0 else (count >> bits) + 1
    step_bits = (steps - 1).bit_length()
    constants = [_constant(source, destination, layout, target, bits + k) for k in range(step_bits)]
    order = [1 << k for k in range(step_bits)]
    if late and steps == 1 << step_bits:
        order, constants = _apart(order, constants)
    shift = _word(layout, target, source.shift, destination.shift)
    numbers = np.arange(steps, dtype=np.int64)
    block = gf2.apply_array(order, numbers)
    moved = gf2.apply_array([c[1] for c in constants], numbers) ^ shift[1]
    back = gf2.inverse(lanes.place)
    assert back is not None
    within = gf2.apply_array(back, np.arange(1 << bits, dtype=np.int64) ^ moved[:, None])
    path = block[:, None] << bits | within
    found = np.where(path < count, np.append(weights, 0)[np.minimum(path, count)], 0)
    return Work("PATH", {"steps": steps}, found, (shift[0], *(c[0] for c in constants)))


def _constant(source: Affine, destination: Affine, layout: Layout, target: Layout, bit: int) -> tuple[int, int]:
    own = source.columns[bit] if bit < len(source.columns) else 0
    other = destination.columns[bit] if bit < len(destination.columns) else 0
    return _word(layout, target, own, other)


def _word(layout: Layout, target: Layout, own: int, other: int) -> tuple[int, int]:
    """The word of a slot for a source and a destination unit, and what the destination contributes to the lane."""
    row, bank = own & ((1 << layout.row_bits) - 1), gf2.solve(layout.banks, own >> layout.row_bits)
    sums, lane = other & ((1 << target.row_bits) - 1), gf2.solve(target.banks, other >> target.row_bits)
    assert bank is not None
    assert lane is not None
    return row | sums << ROW_BITS | (bank ^ lane) << 2 * ROW_BITS, lane


def _apart(order: list[int], constants: list[tuple[int, int]]) -> tuple[list[int], list[tuple[int, int]]]:
    """Another basis of the step numbers in which the step after any other adds to another row, if any basis does.

    From one step to the next the low bits flip up to some bit, so the sums of the first columns must not vanish.
    """
    mask = (1 << ROW_BITS) - 1
    pairs = sorted(zip(order, constants, strict=True), key=lambda pair: pair[1][0] >> ROW_BITS & mask == 0)
    if not pairs or not pairs[0][1][0] >> ROW_BITS & mask:
        return order, constants
    first, total = pairs[0], pairs[0][1][0] >> ROW_BITS & mask
    for k in range(1, len(pairs)):
        number, (word, lane) = pairs[k]
        if word >> ROW_BITS & mask == total:
            pairs[k] = number ^ first[0], (word ^ first[1][0], lane ^ first[1][1])
        total ^= pairs[k][1][0] >> ROW_BITS & mask
    return [pair[0] for pair in pairs], [pair[1] for pair in pairs]


def table_work(
    sources: Int64, destinations: Int64, weights: Int64, layout: Layout, target: Layout, blocks: bool
) -> Work:
    """TPATH for any edges: as few steps as the fullest bank allows, or with `blocks` in the order of the paths.

    In blocks of z paths, steps that only exist because a bank is asked twice are marked.
    Source: D. Koenig, Ueber Graphen und ihre Anwendung (1916).
    """
    lanes = layout.cells.shape[1]
    read, added = layout.first[sources], target.first[destinations]
    bank, lane = read % lanes, added % lanes
    if blocks:
        step, clash = _in_blocks(bank, lane, lanes)
    else:
        step = colouring.colour(bank, lane, lanes)
        clash = np.zeros(int(step.max()) + 1, np.int64)
    steps = len(clash)
    table, taken = np.zeros((steps, lanes), np.int64), np.zeros((steps, lanes), np.int64)
    table[step, bank] |= read // lanes
    table[step, lane] |= (added // lanes) << ROW_BITS | bank << 2 * ROW_BITS | 1 << 30
    taken[step, lane] = weights
    return Work("TPATH", {"steps": steps}, taken, (), table | clash[:, None] << 31)


def _in_blocks(bank: Int64, lane: Int64, lanes: int) -> tuple[Int64, Int64]:
    step, clash, used = np.zeros(len(bank), np.int64), list[Int64](), 0
    for start in range(0, len(bank), lanes):
        own = slice(start, start + lanes)
        turn = colouring.colour(bank[own], lane[own], lanes)
        length = int(turn.max()) + 1
        step[own] = used + turn
        clash.append((np.arange(length, dtype=np.int64) > 0).astype(np.int64))
        used += length
    return step, np.concatenate(clash)


def dense_work(matrix: Int64, layout: Layout, target: Layout) -> list[Work]:
    """DENSE for a matrix [destinations, sources], one for every row of the target."""
    lanes = layout.cells.shape[1]
    bits = lanes.bit_length() - 1 - len(target.folds)
    padded = np.zeros((matrix.shape[0] + 1, matrix.shape[1] + 1), np.int64)
    padded[:-1, :-1] = matrix
    column = np.where(layout.once < matrix.shape[1], layout.once, NOBODY)
    exchanged: Int64 = np.arange(lanes, dtype=np.int64)[None, :] ^ np.arange(1 << bits, dtype=np.int64)[:, None]
    source = column[:, exchanged].reshape(-1, lanes)
    fields = {"bits": bits, "rows": layout.rows}
    return [Work("DENSE", {**fields, "sum": row}, padded[np.where(cells < matrix.shape[0], cells, NOBODY), source])
            for row, cells in enumerate(target.cells)]  # fmt: skip


def pieces(work: Work, count: int) -> list[Work]:
    """A PATH or TPATH as at most `count` instructions over steps one behind the other; others stay whole."""
    if count == 1 or work.name not in ("PATH", "TPATH"):
        return [work]
    cuts = sorted({len(work.weights) * k // count for k in range(count + 1)})
    found: list[Work] = []
    for first, last in pairwise(cuts):
        fields = {**work.fields, "steps": last - first}
        if work.name == "PATH":
            fields["start"] = work.fields.get("start", 0) + first
        found.append(replace(work, fields=fields, weights=work.weights[first:last], table=work.table[first:last]))
    return found
