"""What an integer net is made of: blocks of weights in tiles of registers, and where every value lies.

Every value is a byte: u8 as it is, i8 with 128 added, which the biases take back. For one sample the lanes of a vector
are blocks, or rows of a block, and each lane holds four sources; for many samples the lanes are samples.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import takewhile

import numpy as np
from numpy.typing import NDArray

from pathc.backends.bytewise import given, offset_of
from pathc.backends.groups import Group, Ids, Sources, groups_of, merged
from pathc.backends.llvm.column.common import round_up
from pathc.backends.llvm.integer.orders import Linear, Space, meeting, natural
from pathc.backends.llvm.machine import Machine
from pathc.ir import gf2
from pathc.ir.interp.junctions import SkipJunction
from pathc.ir.quantized import IntegerNetwork, IntegerStation

REGISTERS = (16, 8, 4, 2, 1)
"""Registers of sums in a tile."""
CHAINS = 4
"""Sums that must run side by side to hide how long a dot product takes."""


@dataclass(frozen=True)
class Block:
    """Sources of the lanes of a tile: ids [quads, lanes, 4], -1 where there is none; `lanes` are repeated."""

    columns: Ids
    members: tuple[Group, ...]


@dataclass(frozen=True)
class Tile:
    """Some registers of destinations that hear a block: units `rows` [registers, width], -1 where there is none.

    `weights` are bytes [quads / pack, registers, width, 4], `pack` weights in each, the first in the lowest bits.
    """

    block: int
    rows: Ids
    weights: NDArray[np.uint8]


@dataclass(frozen=True)
class Step:
    """The computation of one station that is no input."""

    station: IntegerStation
    blocks: tuple[Block, ...]
    tiles: tuple[Tile, ...]
    skips: tuple[tuple[str, NDArray[np.int32]], ...]
    """Source and factors [real units] of each skip, shifted like the sums."""
    bias: NDArray[np.int32]
    """[real units], shifted like the sums."""
    field: int
    """Bits of a weight; sums are 2^(8 - field) times what they should be."""

    @cached_property
    def rows(self) -> Ids:
        """The unit in every lane of every register of sums, [registers, width], -1 where there is none."""
        return np.concatenate([tile.rows for tile in self.tiles])

    @property
    def weights(self) -> NDArray[np.uint8]:
        """The weights of all tiles, one after the other."""
        return np.concatenate([tile.weights.reshape(-1) for tile in self.tiles])

    @property
    def work(self) -> int:
        """Multiply-adds for one sample."""
        return sum(len(g.rows) * len(g.columns) for block in self.blocks for g in block.members)


@dataclass(frozen=True)
class Plan:
    """Steps in the order of evaluation; `sources` number all units that can be read.

    What is given to an input that has functions of its own is a source as well, see `given`.
    """

    network: IntegerNetwork
    machine: Machine
    sources: Sources
    steps: tuple[Step, ...]

    @property
    def width(self) -> int:
        """Lanes of 32 bits."""
        return self.machine.width

    @property
    def tile(self) -> int:
        """Samples that are taken at once where there are many."""
        return 4 * self.machine.width

    @cached_property
    def inputs(self) -> tuple[IntegerStation, ...]:
        """The inputs, in the order in which they lie side by side."""
        return tuple(self.network.station(station.name) for station in self.network.graph.inputs)

    @cached_property
    def outputs(self) -> tuple[IntegerStation, ...]:
        """The outputs, in the order in which they lie side by side."""
        return tuple(self.network.station(station.name) for station in self.network.graph.outputs)

    @property
    def work(self) -> int:
        """Multiply-adds for one sample."""
        return sum(step.work for step in self.steps)


def plan_integers(network: IntegerNetwork, machine: Machine) -> Plan:
    """The plan of a network of at most 8 bits a value and a weight."""
    inputs = {station.name: given(network.station(station.name)) for station in network.graph.inputs}
    sources: dict[str, tuple[int, int]] = {}
    offsets: dict[str, int] = {}
    first = 0
    for each in network.stations:
        name, real = each.station.name, each.station.real_units
        for source in dict.fromkeys((inputs.get(name, name), name)):
            sources[source], offsets[source] = (first, real), offset_of(each)
            first += round_up(real, 64)
    plain = {name for name, source in inputs.items() if name == source}
    computed = [each for each in network.stations if each.station.name not in plain]
    groups = {
        each.station.name: groups_of(
            [(j.junction, j.weights) for j in network.into[each.station.name]],
            sources,
            each.station.real_units,
            np.int8,
        )
        for each in computed
    }
    weights = sum(len(group.rows) * len(group.columns) for found in groups.values() for group in found)
    fields = {each.station.name: _field(network, each, weights > machine.l1) for each in computed}
    groups = {name: [merged(group, (1 << (fields[name] - 1)) - 1) for group in found] for name, found in groups.items()}
    linear = {name: _linear(network, name, found, sources) for name, found in groups.items()}
    readers: dict[str, tuple[str, Linear]] = {}
    for name, found in linear.items():
        if found is not None:
            readers.setdefault(_only_source(network, name), (name, found))
    spaces: dict[str, Space | None] = {source: natural(sources[source][1], machine.width) for source in inputs.values()}
    steps: list[Step] = []
    for each in computed:
        name, real = each.station.name, each.station.real_units
        order = _Order(groups[name], linear[name], machine.width)
        order.choose(spaces, network, name, readers)
        spaces[name] = order.space
        field = fields[name]
        blocks, tiles = _tiles(order, sources, spaces, field, machine.width)
        skips = [
            (j.junction.source, j.weights[:real]) for j in network.into[name] if isinstance(j.junction, SkipJunction)
        ]
        if name in inputs:
            skips.append((inputs[name], np.ones(real, np.int64)))
        bias = each.bias[:real] - sum(offsets[source] * factors for source, factors in skips)
        bias = bias - _offset_sums(groups[name], sources, offsets, real)
        shifted = tuple((source, (factors << (8 - field)).astype(np.int32)) for source, factors in skips)
        steps.append(Step(each, blocks, tiles, shifted, (bias << (8 - field)).astype(np.int32), field))
    return Plan(network, machine, sources, tuple(steps))


def _only_source(network: IntegerNetwork, name: str) -> str:
    (source,) = (j.junction.source for j in network.into[name] if not isinstance(j.junction, SkipJunction))
    return source


def _linear(network: IntegerNetwork, name: str, groups: Sequence[Group], sources: Sources) -> Linear | None:
    """The blocks of a station as cosets, if one junction makes all of them."""
    into = [j for j in network.into[name] if not isinstance(j.junction, SkipJunction)]
    return Linear.of(groups, sources[into[0].junction.source][0]) if len(into) == 1 else None


@dataclass
class _Order:
    """Which groups lie side by side, and in which order their rows and columns are taken."""

    groups: list[Group]
    linear: Linear | None
    width: int
    space: Space | None = None
    keys: list[tuple[int, int]] | None = None

    def choose(
        self,
        spaces: Mapping[str, Space | None],
        network: IntegerNetwork,
        name: str,
        readers: Mapping[str, tuple[str, Linear]],
    ) -> None:
        """Choose the lanes by how the source lies, and how the station itself lies by lanes and readers."""
        if self.linear is None:
            single = len(self.groups) == 1
            self.space = natural(len(self.groups[0].rows), self.width) if single else None
            return
        target, read = readers.get(name, ("", None))
        _, then = readers.get(target, ("", None))
        shared = self.linear.shared(spaces.get(_only_source(network, name)) or (), read, self.width)
        numbers = self.linear.blocks(self.groups)
        cosets = gf2.reduce_array(np.array(numbers, np.int64), shared).tolist()
        self.keys = list(zip(cosets, numbers, strict=True))
        self.space = meeting(self.linear, shared, read, then, self.width)


def _tiles(
    order: _Order, sources: Sources, spaces: Mapping[str, Space | None], field: int, width: int
) -> tuple[tuple[Block, ...], tuple[Tile, ...]]:
    """Groups side by side in the lanes of vectors, as blocks and the tiles that hear them."""
    cells = _cells(sources, spaces)
    groups, pack = order.groups, 8 // field
    numbers = range(len(groups))
    keys = order.keys or [(0, k) for k in numbers]
    ranked = sorted(numbers, key=lambda k: (-_quads(groups[k]), -len(groups[k].rows), keys[k]))
    blocks: list[Block] = []
    tiles: list[Tile] = []
    at = 0
    while at < len(ranked):
        lead = groups[ranked[at]]
        alike = takewhile(partial(_alike, lead), (groups[k] for k in ranked[at : at + width]))
        chosen = [_sorted(group, cells, order.space) for group in alike]
        at += len(chosen)
        lanes = 1 << (len(chosen) - 1).bit_length()
        parts = width // lanes
        registers = max(1, max(-(-len(group.rows) // parts) for group in chosen))
        sizes = _sizes(registers)
        step = pack * max(1, CHAINS // min(sizes))
        quads = max(1, -(-max(_quads(group) for group in chosen) // step)) * step
        rows = np.full((registers, width), -1, np.int64)
        columns = np.full((quads, lanes, 4), -1, np.int64)
        weights = np.zeros((quads, registers, width, 4), np.int8)
        for lane, group in enumerate(chosen):
            register, part = np.divmod(np.arange(len(group.rows)), parts)
            rows[register, part * lanes + lane] = group.rows
            room = (0, 4 * quads - len(group.columns))
            columns[:, lane] = np.pad(group.columns, room, constant_values=-1).reshape(quads, 4)
            padded = np.pad(group.weights, ((0, 0), room)).reshape(len(group.rows), quads, 4)
            weights[:, register, part * lanes + lane] = padded.transpose(1, 0, 2)
        start = 0
        for size in sizes:
            own = slice(start, start + size)
            tiles.append(Tile(len(blocks), rows[own], _packed(weights[:, own], field)))
            start += size
        blocks.append(Block(columns, tuple(chosen)))
    return tuple(blocks), tuple(tiles)


def _alike(lead: Group, group: Group) -> bool:
    """Whether a group, no larger than the one it stands behind, fills more than half of the same registers."""
    return 2 * len(group.rows) > len(lead.rows) and 2 * _quads(group) >= _quads(lead)


def _quads(group: Group) -> int:
    return -(-len(group.columns) // 4)


def _sizes(registers: int) -> list[int]:
    """Registers in tiles, largest first."""
    found: list[int] = []
    for size in REGISTERS:
        while registers >= size:
            found.append(size)
            registers -= size
    return found


def _cells(sources: Sources, spaces: Mapping[str, Space | None]) -> Ids:
    """For every id the vector it should share with others, 0 where it does not matter."""
    total = max((first + real for first, real in sources.values()), default=0)
    cells = np.zeros(total, np.int64)
    for name, space in spaces.items():
        if space is not None:
            first, real = sources[name]
            cells[first : first + real] = gf2.reduce_array(np.arange(real), space)
    return cells


def _sorted(group: Group, cells: Ids, space: Space | None) -> Group:
    """A group with rows and columns of a vector next to each other."""
    vectors = gf2.reduce_array(group.rows, space) if space is not None else np.arange(len(group.rows))
    rows = np.lexsort((group.rows, vectors))
    columns = np.lexsort((group.columns, cells[group.columns]))
    weights = np.ascontiguousarray(group.weights[np.ix_(rows, columns)])
    return Group(group.rows[rows], group.columns[columns], weights)


def _packed(weights: NDArray[np.int8], field: int) -> NDArray[np.uint8]:
    """Bytes of `8 / field` weights each, of as many successive quads."""
    pack = 8 // field
    fields = (weights.view(np.uint8) & np.uint8((1 << field) - 1)).reshape(-1, pack, *weights.shape[1:])
    packed = np.zeros((len(fields), *weights.shape[1:]), np.uint8)
    for number in range(pack):
        packed |= fields[:, number] << np.uint8(number * field)
    return packed


def _field(network: IntegerNetwork, each: IntegerStation, large: bool) -> int:
    """Bits of a weight in memory: fewer than 8 where the weights of the net outgrow the cache of a core."""
    formats = [j.format.bits for j in network.into[each.station.name] if not isinstance(j.junction, SkipJunction)]
    wanted = max(formats, default=8) if large else 8
    field = 2 if wanted <= 2 else 4 if wanted <= 4 else 8
    return field if each.bits + 8 - field <= 32 else 8


def _offset_sums(groups: Sequence[Group], sources: Sources, offsets: Mapping[str, int], real: int) -> NDArray[np.int64]:
    """What the offsets of the sources add to the sums, [real]."""
    each = np.zeros(max((first + count for first, count in sources.values()), default=0), np.int64)
    for name, (first, count) in sources.items():
        each[first : first + count] = offsets[name]
    found = np.zeros(real, np.int64)
    for group in groups:
        found[group.rows] = group.weights.astype(np.int64) @ each[group.columns]
    return found
