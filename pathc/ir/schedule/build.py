"""Schedules of a junction by kind: blocks of paths, interleavers, edge colouring, stalling."""

from __future__ import annotations

import numpy as np

from pathc.ir.catalogue import INTERLEAVERS
from pathc.ir.facts import Bank, Order
from pathc.ir.generators import Generator, resolve
from pathc.ir.generators.checks import MAX_STORED
from pathc.ir.generators.regular import RegularPaths
from pathc.ir.gf2 import IndexArray
from pathc.ir.graph import Graph, Line
from pathc.ir.schedule import colouring
from pathc.ir.schedule.banks import Banks, MapName, of_fact
from pathc.ir.schedule.blocks import BlockSchedule, block_schedule
from pathc.ir.schedule.check import Verdict, check
from pathc.ir.schedule.table import IDLE, MAX_CELLS, Schedule
from pathc.support.diagnostics import Place, did_you_mean, error

ORDERS = ("blocks", "stall", "colour")
"""Kinds of schedules for any paths; the others are interleavers, which draw paths of their own."""
KINDS = (*ORDERS, *INTERLEAVERS)
MAX_LANES = 1 << 16


def check_order(kind: str, z: int, place: Place = None) -> None:
    """Raise E0350 for a number of lanes, E0351 for a kind that there is not."""
    if not 1 <= z <= MAX_LANES:
        raise error("E0350", f"{z} lanes are outside 1 .. {MAX_LANES}", place, help="z = 16")
    if kind not in ORDERS and not interleaver(kind):
        hint = did_you_mean(kind, KINDS) or "shuffles of an interleaver are joined by +, as in sv+ss+md"
        raise error("E0351", f"no order is called `{kind}`; there are {', '.join(KINDS)}", place, help=hint)


def interleaver(kind: str) -> str:
    """The name of an interleaver as the catalogue has it (`sv+md` for `md+sv`), empty if there is none."""
    parts = sorted(kind.split("+"))
    return next((name for name in INTERLEAVERS if sorted(name.split("+")) == parts), "")


def default_map(kind: str) -> MapName:
    """The bank map that an order is made for: low for interleavers, high for all others."""
    return "high" if kind in ORDERS else "low"


def layout(graph: Graph, station: str, kind: str, z: int) -> Banks:
    """The banks of a station: those of its `Bank` fact, or else z banks with the map that suits the kind."""
    units = graph.station(station).units
    fact = next((f for f in graph.facts_of(Bank) if f.station == station), None)
    return Banks(units, z, default_map(kind)) if fact is None else of_fact(fact, units)


def schedule_of(graph: Graph, order: Order) -> Schedule | BlockSchedule:
    """The cycles that an `Order` fact stands for.

    Blocks stay symbolic where paths and banks are linear over GF(2). Errors: those of `build`.
    """
    line = graph.line(order.line)
    source, destination = ends(graph, line, order.junction, order.kind, order.z)
    return build(order.kind, resolve(line, graph), order.junction, order.z, source, destination, writes=order.writes)


def ends(graph: Graph, line: Line, junction: int, kind: str, z: int) -> tuple[Banks, Banks]:
    """The banks at both ends of a junction."""
    before, here = line.visits[junction - 1 : junction + 1]
    return layout(graph, before.station, kind, z), layout(graph, here.station, kind, z)


def build(
    kind: str,
    generator: Generator,
    junction: int,
    z: int,
    source_banks: Banks,
    destination_banks: Banks,
    *,
    writes: bool = True,
) -> Schedule | BlockSchedule:
    """The schedule of a junction (from 1) of any paths with z lanes.

    blocks   z paths a cycle in the order of their index; banks may clash
    stall    the same, each block spread over as many cycles as its fullest bank is asked
    colour   as few cycles as possible
    others   z weights a cycle in the order of the right units; the paths must be those of an interleaver

    `writes` holds destinations to banks of their own in stall and colour. Errors: E0350, E0351, E0353, E0356.
    """
    check_order(kind, z)
    if kind == "blocks":
        proved = symbolic(generator, junction, z, source_banks, destination_banks)
        if proved is not None:
            return proved
    _check_size(generator.count, z)
    sources = generator.units(junction - 1, 0, generator.count)
    destinations = generator.units(junction, 0, generator.count)
    if kind == "blocks":
        lanes = _blocks(np.arange(generator.count, dtype=np.int64), z)
    elif kind in ORDERS:
        read, written = source_banks.bank(sources), destination_banks.bank(destinations)
        place = _stall if kind == "stall" else _colour
        lanes = place(read, written if writes else None, z)
    elif isinstance(generator, RegularPaths):
        lanes = _blocks(np.argsort(generator.slots(junction)), z)
    else:
        message = f"`{kind}` is the order of an interleaver, and these paths are drawn another way"
        raise error("E0353", message, help="`blocks`, `stall` and `colour` suit any paths")
    return Schedule(lanes, sources, destinations, source_banks, destination_banks)


def symbolic(
    generator: Generator, junction: int, z: int, source_banks: Banks, destination_banks: Banks
) -> BlockSchedule | None:
    """Blocks of z paths by algebra, or None unless paths, z and banks are linear over GF(2) and z divides the paths."""
    source, destination = generator.affine(junction - 1), generator.affine(junction)
    if source is None or destination is None:
        return None
    return block_schedule(source, destination, generator.count, z, source_banks, destination_banks)


def verdict_of(schedule: Schedule | BlockSchedule, *, writes: bool = True) -> Verdict:
    """What a schedule is worth: by algebra if it is symbolic, otherwise by counting."""
    if isinstance(schedule, BlockSchedule):
        return schedule.verdict(writes=writes)
    return check(schedule, writes=writes)


def _check_size(count: int, z: int) -> None:
    if count > MAX_STORED or -(-count // z) * z > MAX_CELLS:
        message = f"a schedule of {count} paths in {z} lanes that are not linear over GF(2) is too long to be made"
        raise error("E0356", message, help="layers, banks and lanes of powers of two need no list of cycles")


def _blocks(order: IndexArray, z: int) -> IndexArray:
    """z entries a cycle, the last lanes of the last cycle idle."""
    lanes = np.full((-(-len(order) // z), z), IDLE, np.int64)
    lanes.reshape(-1)[: len(order)] = order
    return lanes


def _colour(read: IndexArray, written: IndexArray | None, z: int) -> IndexArray:
    cycle = colouring.colour_reads(read, z) if written is None else colouring.colour(read, written, z)
    order = np.lexsort((read, cycle))
    cycle = cycle[order]
    lane = read[order]
    if int(lane.max()) >= z:
        lane = np.arange(len(order)) - np.searchsorted(cycle, cycle)
    lanes = np.full((int(cycle[-1]) + 1, z), IDLE, np.int64)
    lanes[cycle, lane] = order
    return lanes


def _stall(read: IndexArray, written: IndexArray | None, z: int) -> IndexArray:
    """Blocks of z paths; a path waits in its lane while its banks serve paths of lower lanes.

    Where two sets of banks make that longer than the fullest bank needs, the block is coloured instead.
    """
    ends = [_blocks(read, z)] if written is None else [_blocks(read, z), _blocks(written, z)]
    turn = _serve_in_order(ends)
    if len(ends) == 2:
        needed = np.maximum(_fullest(ends[0]), _fullest(ends[1]))
        for block in np.flatnonzero(turn.max(axis=1) >= needed):
            held = ends[0][block] != IDLE
            turn[block, held] = colouring.colour(ends[0][block, held], ends[1][block, held], z)
    length = turn.max(axis=1) + 1
    cycle = turn + (np.cumsum(length) - length)[:, None]
    block, lane = np.nonzero(ends[0] != IDLE)
    lanes = np.full((int(length.sum()), z), IDLE, np.int64)
    lanes[cycle[block, lane], lane] = np.arange(len(read))
    return lanes


def _serve_in_order(ends: list[IndexArray]) -> IndexArray:
    """Cycle within its block in which every lane is served, lower lanes first: int64 of shape [blocks, z]."""
    blocks, z = ends[0].shape
    turn = np.full((blocks, z), IDLE, np.int64)
    waiting = ends[0] != IDLE
    now = 0
    while waiting.any():
        open_ = np.flatnonzero(waiting.any(axis=1))
        for lane in range(z):
            free = waiting[open_, lane]
            for banks in ends:
                taken = (turn[open_, :lane] == now) & (banks[open_, :lane] == banks[open_, lane, None])
                free &= ~taken.any(axis=1)
            turn[open_[free], lane] = now
            waiting[open_[free], lane] = False
        now += 1
    return turn


def _fullest(banks: IndexArray) -> IndexArray:
    """Lanes that ask the fullest bank of every block: int64 of shape [blocks]; idle lanes count for nothing."""
    ordered = np.sort(banks, axis=1)
    position = np.arange(banks.shape[1], dtype=np.int64)
    new = np.ones(banks.shape, bool)
    new[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    first = np.maximum.accumulate(np.where(new, position, 0), axis=1)
    return np.where(ordered == IDLE, 0, position - first + 1).max(axis=1)
