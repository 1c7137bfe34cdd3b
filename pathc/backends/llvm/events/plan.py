"""What each unit sends where: segments of sums that lie together, or single ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pathc.backends.groups import Group, Ids, Sources, groups_of
from pathc.backends.llvm.column.common import round_up
from pathc.backends.llvm.machine import Machine
from pathc.ir.graph import Graph, Station
from pathc.ir.interp.base import Junction
from pathc.ir.interp.junctions import SkipJunction, junction_values
from pathc.ir.interp.network import Network
from pathc.ir.order import station_order
from pathc.ir.weights import Tensors

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Push:
    """What the units of one station send into another.

    `matrix` [units, sums] is sent whole, to the beginning of the sums. Unit u sends the segments `starts[u]` to
    `starts[u + 1]`, each `weights[s]` to the sums from `places[s]` on, a multiple of the vector width long; and the
    edges `first[u]` to `first[u + 1]`, `factors[e]` to the single sum `targets[e]`.
    """

    source: str
    matrix: Floats
    starts: Ids
    places: Ids
    weights: Floats
    first: Ids
    targets: Ids
    factors: Floats

    @property
    def work(self) -> int:
        """Multiply-adds if every unit sends."""
        return self.matrix.size + self.weights.size + len(self.factors)


@dataclass(frozen=True)
class Step:
    """A station that is no input: what is pushed into it, and in which order its `size` sums lie."""

    station: Station
    pushes: tuple[Push, ...]
    places: Ids
    bias: Floats

    @property
    def size(self) -> int:
        """Sums, whole vectors of them."""
        return len(self.bias)


def plan_events(network: Network, weights: Tensors, machine: Machine) -> tuple[Step, ...]:
    """The steps of a flat net in the order of evaluation."""
    sources: dict[str, tuple[int, int]] = {}
    first = 0
    for station in network.stations:
        sources[station.name] = first, station.real_units
        first += station.real_units
    steps: list[Step] = []
    for station in network.stations:
        if station.role != "input":
            steps.append(_step(station, network, weights, sources, machine.width))
    return tuple(steps)


def _step(station: Station, network: Network, weights: Tensors, sources: Sources, width: int) -> Step:
    into = network.into[station.name]
    real = station.real_units
    groups = groups_of([(j, junction_values(weights, j)) for j in into], sources, real, np.float32)
    wide = [group for group in groups if 2 * len(group.rows) >= width and len(group.columns)]
    length = max((round_up(len(group.rows), width) for group in wide), default=0)
    places = np.zeros(real, np.int64)
    at = 0
    begins: list[int] = []
    for group in wide:
        begins.append(at)
        places[group.rows] = at + np.arange(len(group.rows))
        at += length
    narrow = [group for group in groups if 2 * len(group.rows) < width or not len(group.columns)]
    for group in narrow:
        places[group.rows] = at + np.arange(len(group.rows))
        at += len(group.rows)
    bias = np.zeros(round_up(at, width), np.float32)
    if station.stage("bias") is not None:
        bias[places] = network.bias(weights, station)[:real]
    names = dict.fromkeys(j.source for j in into)
    pushes = tuple(
        _push(name, sources[name], wide, begins, length, narrow, places, [j for j in into if j.source == name])
        for name in names
    )
    return Step(station, pushes, places, bias)


def _push(
    source: str,
    own: tuple[int, int],
    wide: list[Group],
    begins: list[int],
    length: int,
    narrow: list[Group],
    places: Ids,
    junctions: list[Junction],
) -> Push:
    first, units = own
    matrix = np.zeros((units, 0), np.float32)
    if len(wide) == 1 and not narrow:
        (group,) = wide
        mine = (group.columns >= first) & (group.columns < first + units)
        if np.array_equal(group.columns[mine], np.arange(first, first + units)):
            matrix = _padded(group.weights[:, mine].T, length)
            wide = []
    senders: list[Ids] = [np.zeros(0, np.int64)]
    targets: list[Ids] = [np.zeros(0, np.int64)]
    parts: list[Floats] = [np.zeros((0, length), np.float32)]
    for group, begin in zip(wide, begins, strict=False):
        mine = (group.columns >= first) & (group.columns < first + units)
        senders.append(group.columns[mine] - first)
        targets.append(np.full(int(mine.sum()), begin))
        parts.append(_padded(group.weights[:, mine].T, length))
    starts, order = _by_sender(np.concatenate(senders), units)
    single = [_edges(group, first, units, places) for group in narrow]
    single += [_skip(j, units, places) for j in junctions if isinstance(j, SkipJunction)]
    unit = np.concatenate([np.zeros(0, np.int64), *(part[0] for part in single)])
    target = np.concatenate([np.zeros(0, np.int64), *(part[1] for part in single)])
    factor = np.concatenate([np.zeros(0, np.float32), *(part[2] for part in single)])
    edges, sequence = _by_sender(unit, units)
    return Push(
        source, matrix, starts, np.concatenate(targets)[order], np.concatenate(parts)[order], edges,
        target[sequence], factor[sequence],
    )  # fmt: skip


def _padded(weights: Floats, length: int) -> Floats:
    return np.pad(np.ascontiguousarray(weights, np.float32), ((0, 0), (0, length - weights.shape[1])))


def _by_sender(senders: Ids, units: int) -> tuple[Ids, Ids]:
    """Where the entries of each unit begin once they are sorted by unit, and the order that sorts them."""
    order = np.argsort(senders, kind="stable")
    return np.searchsorted(senders[order], np.arange(units + 1)), order


def _edges(group: Group, first: int, units: int, places: Ids) -> tuple[Ids, Ids, Floats]:
    """Unit, sum and weight of the edges of a group that come from the `units` ids at `first`."""
    mine = (group.columns >= first) & (group.columns < first + units)
    columns = group.columns[mine] - first
    rows = len(group.rows)
    return (
        np.tile(columns, rows),
        np.repeat(places[group.rows], len(columns)),
        group.weights[:, mine].reshape(-1),
    )


def _skip(junction: SkipJunction, units: int, places: Ids) -> tuple[Ids, Ids, Floats]:
    count = min(units, len(places))
    return np.arange(count), places[:count], np.full(count, junction.scale, np.float32)


def sampled_stations(graph: Graph, rate: float, start: str) -> Mapping[str, float]:
    """The rate of every station that is read and no input, from `start` on in the order of evaluation ("": all)."""
    read = {visit.station for line in graph.lines for visit in line.visits[:-1]}
    inputs = {station.name for station in graph.inputs} - {start}
    names = station_order(graph)
    begin = names.index(start) if start in names else 0
    return {name: rate for name in names[begin:] if name in read and name not in inputs}
