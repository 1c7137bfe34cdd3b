"""Plots of graphs: adjacency, interleavers, projections of sequences, and how schedules use memories."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pathc.ir.facts import Order
from pathc.ir.generators import resolve
from pathc.ir.generators.interleaver import interleave
from pathc.ir.graph import Graph, Line
from pathc.ir.schedule import BlockSchedule, Schedule, schedule_of
from pathc.support.diagnostics import did_you_mean, error
from pathc.viz.chart import Chart, Image, Plot, Series
from pathc.viz.matrix import address_order, edges, image

MOST_POINTS = 4096
"""Points of a scatter; more would be a black square."""
MOST_ACCESSES = 1 << 22
"""Most cycles times lanes of a schedule that is drawn."""
_MOST_WEIGHTS = 1 << 16
_MOST_PANELS = 12
_SHOWN_CYCLES = 256


def junction_of(graph: Graph, name: str = "") -> tuple[Line, int]:
    """The junction `main.1`, or the first one of paths; raises PathcError E1208 if there is none."""
    known = {f"{line.name}.{j}": (line, j) for line in graph.lines if line.kind == "paths" for j in line.junctions}
    chosen = name or next(iter(known), "")
    if chosen not in known:
        text = f"there is no junction `{chosen}` of paths" if name else f"`{graph.name}` has no junction of paths"
        raise error("E1208", text, help=did_you_mean(chosen, known) or f"junctions: {', '.join(list(known)[:8])}")
    return known[chosen]


def adjacency(graph: Graph, junction: str = "") -> Plot:
    """The matrix of a junction in natural order and in path-address order."""
    line, number = junction_of(graph, junction)
    source, destination = (graph.station(v.station) for v in line.visits[number - 1 : number + 1])
    src, dst, left_out = edges(resolve(line, graph), number)
    orders = address_order(graph, line, number, src, dst)
    sizes = (source.units, destination.units)
    labels = (f"{source.name} [units]", f"{destination.name} [units]")
    first = Image("natural order", *labels, image(src, dst, *sizes), "share of pairs", sizes)
    moved = image(orders.sources[src], orders.destinations[dst], *sizes)
    more = f", {left_out:,} more left out" if left_out else ""
    title = f"{graph.name}, {line.name}.{number}: {len(src):,} paths{more}"
    return Plot(title, (first, Image(orders.name, *labels, moved, "share of pairs", sizes)))


def interleavers(kinds: Sequence[str], p: int = 64, fo: int = 4, z: int = 16, seed: int = 0) -> Plot:
    """Patterns of interleavers: right weight number i reads left weight number pi(i), as the papers draw them.

    Errors: E1209 for more than 12 kinds or 2^16 weights, and those of the interleaver.
    """
    if not 1 <= len(kinds) <= _MOST_PANELS or not 1 <= p * fo <= _MOST_WEIGHTS:
        text = f"{len(kinds)} patterns of {p * fo} weights cannot be drawn"
        raise error("E1209", text, help=f"1 to {_MOST_PANELS} kinds, at most {_MOST_WEIGHTS} weights")
    panels: list[Chart] = []
    for kind in kinds:
        read = interleave(kind, p, fo, z, seed)
        points = Series("", list(range(len(read))), read.tolist(), look="points")
        panels.append(Chart(kind, "right weight number", "left weight number", (points,)))
    return Plot(f"interleavers of p = {p} left units, fan-out {fo}, z = {z} memories", tuple(panels))


def projections(graph: Graph, line: str = "") -> Plot:
    """Units that paths visit at neighbouring stations, one panel for each junction: the sequence in two dimensions."""
    chosen, _ = junction_of(graph, f"{line}.1" if line else "")
    generator = resolve(chosen, graph)
    shown = min(generator.count, MOST_POINTS)
    panels: list[Chart] = []
    for j in list(chosen.junctions)[:_MOST_PANELS]:
        left, right = chosen.visits[j - 1 : j + 1]
        x, y = generator.units(j - 1, 0, shown).tolist(), generator.units(j, 0, shown).tolist()
        axes = (f"{left.station} [unit]", f"{right.station} [unit]")
        panels.append(Chart(f"dimensions {left.drawn} and {right.drawn}", *axes, (Series("", x, y, look="points"),)))
    first = f"the first {shown:,} of " if shown < generator.count else ""
    return Plot(f"{graph.name}, {chosen.name}: {first}{generator.count:,} paths, {chosen.generator}", tuple(panels))


def occupancy(graph: Graph, junction: str = "") -> Plot:
    """Accesses of every bank over the cycles of a schedule, at both ends of a junction.

    Raises PathcError E1208 if no pass has scheduled the junction, E1203 if the schedule is too long to be drawn.
    """
    orders = list(graph.facts_of(Order))
    names = [f"{order.line}.{order.junction}" for order in orders]
    if not orders or (junction and junction not in names):
        text = f"no pass has scheduled `{junction or graph.name}`"
        help = f"scheduled: {', '.join(names[:8])}" if names else "-p 'structure,bank,interleave'"
        raise error("E1208", text, help=help)
    order = orders[names.index(junction)] if junction else orders[0]
    if order.cycles * order.z > MOST_ACCESSES:
        text = f"{order.cycles} cycles of {order.z} lanes are too many to be drawn"
        raise error("E1203", text, help="`--emit schedule` has stalls and clashes by algebra")
    schedule = schedule_of(graph, order)
    read, written, banks = _accesses(schedule)
    panels: list[Image] = []
    for name, lanes, count in (("read", read, banks[0]), ("written", written, banks[1])):
        panels.append(Image(name, "cycle", "bank", per_cycle(lanes, count), "accesses a cycle", (len(lanes), count)))
    title = f"{graph.name}, {order.line}.{order.junction}: banks over {order.cycles:,} cycles, order {order.kind}"
    return Plot(f"{title}, {order.summary}", tuple(panels))


def per_cycle(lanes: NDArray[np.int64], banks: int) -> NDArray[np.float64]:
    """Mean accesses a cycle of every bank: [banks, cycles], at most 256 columns; lanes is [cycles, z], -1 idle."""
    cycles = len(lanes)
    columns = min(cycles, _SHOWN_CYCLES)
    column = np.broadcast_to(np.arange(cycles)[:, None] * columns // cycles, lanes.shape)
    busy = lanes >= 0
    counts = np.zeros((banks, columns))
    np.add.at(counts, (lanes[busy], column[busy]), 1.0)
    return counts / np.bincount(np.arange(cycles) * columns // cycles, minlength=columns)


def _accesses(
    schedule: Schedule | BlockSchedule,
) -> tuple[NDArray[np.int64], NDArray[np.int64], tuple[int, int]]:
    """Banks that lanes read and write, int64 [cycles, z] each, and the numbers of banks."""
    table = schedule.write_out() if isinstance(schedule, BlockSchedule) else schedule
    return table.source_bank(), table.destination_bank(), (table.source_banks.banks, table.destination_banks.banks)
