"""What an integer net is made of on a GPU: which kernels compute its stations, and what they read.

Every value is a byte: u8 as it is, i8 with 128 added, which the biases take back. All units that can be read have a
number, and lie as [tiles, units, LANES] in one buffer. Every unit that is computed is a row of one kernel only.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from pathc.backends.bytewise import given as given_to
from pathc.backends.bytewise import offset_of
from pathc.backends.groups import Group, Ids, Sources, groups_of
from pathc.ir.interp.junctions import SkipJunction
from pathc.ir.quantized import IntegerNetwork, IntegerStation

LANES = 64
"""Samples of a tile."""
ROWS, DEPTHS = 16, (32, 16)
"""Rows of one instruction of a tensor core, and the sources it multiplies with."""
_FEWEST = 8
"""Rows and sources of a group from which on tensor cores multiply it, zeros included."""


@dataclass(frozen=True)
class Tensor:
    """Groups of one size on tensor cores: `rows` [groups, R] and `columns` [groups, C], -1 where there is none.

    Weights are int8 [groups, R, C]; R is a multiple of ROWS, C of `depth`.
    """

    rows: Ids
    columns: Ids
    weights: NDArray[np.int8]
    depth: int

    @property
    def jobs(self) -> int:
        """Pieces of ROWS rows."""
        return self.rows.size // ROWS

    @property
    def products(self) -> int:
        """Multiply-adds for one sample, those with zeros included."""
        return self.weights.size


@dataclass(frozen=True)
class Listed:
    """Rows one by one: those of `starts[i]` to `starts[i + 1]` are the sources of `rows[i]`."""

    rows: Ids
    starts: Ids
    columns: Ids
    weights: NDArray[np.int8]

    @property
    def products(self) -> int:
        """Multiply-adds for one sample."""
        return self.weights.size


@dataclass(frozen=True)
class Step:
    """The computation of one station that is not just what is given to it."""

    station: IntegerStation
    kernels: tuple[Tensor | Listed, ...]
    skips: tuple[tuple[int, NDArray[np.int32]], ...]
    """Number of the first source and factors [real units] of each skip."""
    bias: NDArray[np.int32]


@dataclass(frozen=True)
class Plan:
    """Steps in the order of evaluation. `sources` number what can be read, `given` names what inputs are written to."""

    network: IntegerNetwork
    sources: Sources
    given: dict[str, str]
    steps: tuple[Step, ...]

    @cached_property
    def units(self) -> int:
        """Units that can be read."""
        return sum(real for _, real in self.sources.values())

    @cached_property
    def sums(self) -> dict[str, int]:
        """Outputs that are given as sums, with the number of their first sum."""
        found: dict[str, int] = {}
        at = 0
        for each in self.outputs:
            if each.reading is None:
                found[each.station.name] = at
                at += each.station.real_units
        return found

    @property
    def summed(self) -> int:
        """Units of outputs that are given as sums."""
        return sum(self.network.station(name).station.real_units for name in self.sums)

    @cached_property
    def inputs(self) -> tuple[IntegerStation, ...]:
        """The inputs, in the order in which they lie side by side."""
        return tuple(self.network.station(station.name) for station in self.network.graph.inputs)

    @cached_property
    def outputs(self) -> tuple[IntegerStation, ...]:
        """The outputs, in the order in which they lie side by side."""
        return tuple(self.network.station(station.name) for station in self.network.graph.outputs)

    def __str__(self) -> str:
        lines = [f"plan {self.network.graph.name}: tiles of {LANES} samples, integers, a kernel for every line below"]
        for each in self.inputs:
            lines.append(
                f"  load {each.station.name}: {each.station.real_units} units as {each.format and each.format.type}"
            )
        for step in self.steps:
            name = step.station.station.name
            for kernel in step.kernels:
                if isinstance(kernel, Tensor):
                    groups, rows = kernel.rows.shape
                    size = f"{groups} blocks of {rows}x{kernel.columns.shape[1]}, {kernel.depth} at a time"
                    lines.append(f"  tensor {name}: {size}")
                else:
                    lines.append(f"  list {name}: {len(kernel.rows)} rows, {len(kernel.columns)} edges")
            if step.station.reading is not None and step.station.reading.winners:
                lines.append(f"  winners {name}: {step.station.reading.winners}")
        lines += [f"  save {each.station.name}" for each in self.outputs]
        return "\n".join(lines) + "\n"


def plan_integers(network: IntegerNetwork) -> Plan:
    """The plan of a network of at most 8 bits a value and a weight."""
    given: dict[str, str] = {}
    sources: dict[str, tuple[int, int]] = {}
    offsets: dict[str, int] = {}
    first = 0
    inputs = {station.name for station in network.graph.inputs}
    for each in network.stations:
        name, real = each.station.name, each.station.real_units
        if name in inputs:
            given[name] = given_to(each)
        for source in dict.fromkeys((given.get(name, name), name)):
            sources[source], offsets[source] = (first, real), offset_of(each)
            first += real
    plain = {name for name, source in given.items() if name == source}
    computed = [each for each in network.stations if each.station.name not in plain]
    steps = tuple(_step(network, each, sources, offsets, given) for each in computed)
    return Plan(network, sources, given, steps)


def _step(
    network: IntegerNetwork, each: IntegerStation, sources: Sources, offsets: dict[str, int], given: dict[str, str]
) -> Step:
    name, real = each.station.name, each.station.real_units
    into = network.into[name]
    groups = groups_of([(j.junction, j.weights) for j in into], sources, real, np.int8)
    skips = [(j.junction.source, j.weights[:real]) for j in into if isinstance(j.junction, SkipJunction)]
    if name in given:
        skips.append((given[name], np.ones(real, np.int64)))
    bias = each.bias[:real] - sum(offsets[source] * factors for source, factors in skips)
    lifted = np.concatenate([np.full(count, offsets[source]) for source, (_, count) in sources.items()])
    for group in groups:
        bias[group.rows] -= group.weights.astype(np.int64) @ lifted[group.columns]
    factors = tuple((sources[source][0], factors.astype(np.int32)) for source, factors in skips)
    return Step(each, _kernels(groups), factors, bias.astype(np.int32))


def _kernels(groups: Sequence[Group]) -> tuple[Tensor | Listed, ...]:
    """Large groups of equal size together, the others row by row."""
    large: dict[tuple[int, int, int], list[Group]] = defaultdict(list)
    small: list[Group] = []
    for group in groups:
        rows, columns = len(group.rows), len(group.columns)
        if min(rows, columns) < _FEWEST:
            small.append(group)
            continue
        depth = next(depth for depth in DEPTHS if columns > depth // 2 or depth == DEPTHS[-1])
        large[-(-rows // ROWS) * ROWS, -(-columns // depth) * depth, depth].append(group)
    found: list[Tensor | Listed] = [_tensor(members, *size) for size, members in large.items()]
    if small:
        found.append(_listed(small))
    return tuple(found)


def _tensor(groups: Sequence[Group], high: int, wide: int, depth: int) -> Tensor:
    rows = np.full((len(groups), high), -1, np.int64)
    columns = np.full((len(groups), wide), -1, np.int64)
    weights = np.zeros((len(groups), high, wide), np.int8)
    for number, group in enumerate(groups):
        rows[number, : len(group.rows)] = group.rows
        columns[number, : len(group.columns)] = group.columns
        weights[number, : len(group.rows), : len(group.columns)] = group.weights
    return Tensor(rows, columns, weights, depth)


def _listed(groups: Sequence[Group]) -> Listed:
    counts = [len(group.columns) for group in groups for _ in group.rows]
    columns = [np.tile(group.columns, len(group.rows)) for group in groups]
    return Listed(
        np.concatenate([group.rows for group in groups]),
        np.concatenate([[0], np.cumsum(counts, dtype=np.int64)]),
        np.concatenate(columns),
        np.concatenate([group.weights.reshape(-1) for group in groups]),
    )
