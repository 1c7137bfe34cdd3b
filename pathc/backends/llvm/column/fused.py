"""Two junctions of small fan-in in one kernel, like a butterfly of higher radix.

The blocks of the first junction and those of the second close on small groups of units of the middle station. A
kernel walks over these groups; the middle units of a group live in registers and never in memory, so a vector that
was loaded meets fan-in times more multiply-adds before a result is stored.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from pathc.backends.llvm import vecmath
from pathc.backends.llvm.column.blocks import block_weights, covers
from pathc.backends.llvm.column.common import (
    Bytes,
    Finish,
    Tile,
    aligned,
    broadcast_weights,
    byte_offset,
    column_groups,
    element_bytes,
    encode,
    ends,
    load_vectors,
    padded_row,
    parameters,
    repeat,
    round_up,
    store_vectors,
    table_entry,
    tile,
    unit_addresses,
)
from pathc.backends.llvm.emit import I64, Function
from pathc.backends.llvm.machine import Machine
from pathc.backends.llvm.plan import Family, Junction, Step, WeightType
from pathc.ir.facts import Blocks
from pathc.ir.gf2 import IndexArray, apply, complement, coordinates, echelon, span_array

_UNROLLED = 1024
"""Multiply-adds of one group, written out."""


@dataclass(frozen=True)
class Group:
    """How two windows of blocks that meet at a station fall into groups.

    Middle unit i of group g is `span_array(group_reps)[g] ^ first.dst_shift ^ span_array(middle)[i]`, where
    `middle` starts with the first junction's destinations of a block: blocks of the first junction own runs of
    neighbouring i. Local numbers of middle units below; differences are XORs with the group's first unit.
    """

    first: Blocks
    second: Blocks

    @cached_property
    def middle(self) -> tuple[int, ...]:
        """A basis of the middle units of a group: a block of the first junction, and what the second adds."""
        return (*self.first.dst_basis, *complement(self._added, self.first.dst_basis))

    @cached_property
    def _added(self) -> tuple[int, ...]:
        """The span of the second junction's blocks, moved into the representatives of the first one's blocks."""
        size = len(self.first.dst_basis)
        to = coordinates((*self.first.dst_basis, *self.first.dst_reps))
        return tuple(apply(self.first.dst_reps, apply(to, vector) >> size) for vector in self.second.src_basis)

    @cached_property
    def group_reps(self) -> tuple[int, ...]:
        """What leads from one group to the next, as middle units."""
        return complement(self.first.dst_reps, self.middle)

    @property
    def size(self) -> int:
        """Middle units of a group."""
        return 1 << len(self.middle)

    @property
    def count(self) -> int:
        """Number of groups."""
        return 1 << len(self.group_reps)

    @cached_property
    def first_blocks(self) -> IndexArray:
        """Differences between the numbers of the first junction's blocks of one group."""
        size = len(self.first.dst_basis)
        to = coordinates((*self.first.dst_basis, *self.first.dst_reps))
        return span_array([apply(to, vector) >> size for vector in self.middle[size:]])

    @cached_property
    def locals(self) -> IndexArray:
        """Differences of the middle units of a group."""
        return span_array(self.middle)

    @cached_property
    def second_members(self) -> list[list[int]]:
        """For each block of the second junction in a group: the local numbers of its sources."""
        number = {int(difference): i for i, difference in enumerate(self.locals)}
        coset = [int(s) for s in span_array(self.second.src_basis)]
        members, seen = list[list[int]](), set[int]()
        for i, difference in enumerate(self.locals):
            if i not in seen:
                members.append([number[int(difference) ^ s] for s in coset])
                seen.update(members[-1])
        return members

    def second_of(self, unit: int) -> tuple[int, int]:
        """Block and column of the second junction that a middle unit belongs to."""
        to = coordinates((*self.second.src_basis, *self.second.src_reps))
        both = apply(to, unit ^ self.second.src_shift)
        return both >> len(self.second.src_basis), both & (self.second.fan_in - 1)

    def sources(self, block: int) -> list[int]:
        """Differences of the sources of the first junction's block whose number differs by `block`."""
        return [apply(self.first.src_reps, block) ^ int(s) for s in span_array(self.first.src_basis)]

    def destinations(self, member: int) -> list[int]:
        """Differences of the destinations of the second junction's block that has this local middle unit."""
        size = len(self.second.src_basis)
        to = coordinates((*self.second.src_basis, *self.second.src_reps))
        moved = apply(self.second.dst_reps, apply(to, int(self.locals[member])) >> size)
        return [moved ^ int(d) for d in span_array(self.second.dst_basis)]

    def tables(self) -> tuple[IndexArray, IndexArray, IndexArray]:
        """First source, first middle unit and first destination of every group."""
        middle = span_array(self.group_reps, self.first.dst_shift)
        size = len(self.first.dst_basis)
        to = coordinates((*self.first.dst_basis, *self.first.dst_reps))
        blocks = [apply(to, rep) >> size for rep in self.group_reps]
        src = span_array([apply(self.first.src_reps, block) for block in blocks], self.first.src_shift)
        start, _ = self.second_of(self.first.dst_shift)
        moves = [self.second_of(self.second.src_shift ^ rep)[0] for rep in self.group_reps]
        shift = self.second.dst_shift ^ apply(self.second.dst_reps, start)
        return src, middle, span_array([apply(self.second.dst_reps, move) for move in moves], shift)

    @property
    def multiply_adds(self) -> int:
        """Multiply-adds of one group for one vector of columns."""
        return self.size * (self.first.fan_in + self.second.fan_out)


def group_of(first: Junction, second: Junction) -> Group:
    """The group of two junctions that `pair_refusal` does not refuse."""
    return Group(first.blocks[0], second.blocks[0])


@dataclass(frozen=True)
class ColumnFused:
    """Two junctions of small fan-in as one, lanes over samples, the middle station in registers."""

    name: ClassVar[str] = "column-fused"
    family: ClassVar[Family] = "column"

    def refusal(self, junction: Junction, machine: Machine) -> str:
        """Why the form cannot take this junction as the first of a pair, or an empty string."""
        if junction.kind != "paths":
            return f"it computes paths, not a {junction.kind} junction"
        if len(junction.blocks) != 1:
            return "the paths are not one window of dense blocks"
        return ""

    def pair_refusal(self, first: Junction, second: Junction, machine: Machine) -> str:
        """Why the form cannot compute these two junctions as one, or an empty string."""
        for junction in (first, second):
            reason = self.refusal(junction, machine)
            if reason:
                return reason
        window, following = first.blocks[0], second.blocks[0]
        if first.dst != second.src or first.n_dst != second.n_src:
            return "the junctions do not follow each other"
        if not covers(window, first.n_dst) or not covers(following, second.n_dst):
            return "some destinations have no path"
        if following.count * following.fan_in != second.n_src:
            return "some units between the two junctions have no path behind them"
        largest = machine.registers // 2
        size = 1 << len(echelon((*window.dst_basis, *following.src_basis)))
        if size > largest:
            return f"blocks of the two junctions close on {size} units between them, registers hold {largest}"
        if size * (window.fan_in + following.fan_out) > _UNROLLED:
            return "the fan-in of a group is too large to be written out"
        return ""

    def cycles(self, step: Step, machine: Machine, samples: int) -> float:
        """Estimated clock cycles for a tile of `samples` columns."""
        assert step.fused is not None
        group = group_of(step.junction, step.fused)
        rounds = samples / machine.width
        activations = vecmath.cycles(step.activation) * step.junction.n_dst
        activations += vecmath.cycles(step.fused_activation) * step.fused.n_dst
        moved = 0.4 * step.junction.n_src + 0.6 * step.fused.n_dst
        return rounds * (group.count * group.multiply_adds + moved + activations)

    def pack(self, step: Step, machine: Machine, weights: Mapping[str, NDArray[np.float32]]) -> Bytes:
        """First units of all groups, then per group the weights of both junctions in the order of the kernel."""
        assert step.fused is not None
        group = group_of(step.junction, step.fused)
        ahead = block_weights(group.first, step.junction, weights[step.junction.tensor])
        behind = block_weights(group.second, step.fused, weights[step.fused.tensor])
        tables = group.tables()
        size = len(group.first.dst_basis)
        to = coordinates((*group.first.dst_basis, *group.first.dst_reps))
        starts = span_array([apply(to, rep) >> size for rep in group.group_reps])
        inner = ahead[starts[:, None] ^ group.first_blocks[None, :]].transpose(0, 1, 3, 2)
        outer = behind[self._second_index(group, tables[1])].transpose(0, 1, 3, 2)
        parts = [_rows(part, group.count, step.weight_type) for part in (inner, outer)]
        data = encode(np.concatenate(parts, axis=1), step.weight_type)
        return aligned(*(table.astype(np.uint32).view(np.uint8) for table in tables), data)

    def _second_index(self, group: Group, middle: IndexArray) -> tuple[IndexArray, ...]:
        """Index arrays [group, block, destination, source] that pick the second junction's weights as needed."""
        size = len(group.second.src_basis)
        to = coordinates((*group.second.src_basis, *group.second.src_reps))
        members = np.array(group.second_members, dtype=np.int64)
        units = (middle[:, None, None] ^ group.locals[members][None]) ^ group.second.src_shift
        both = np.zeros_like(units)
        for k, column in enumerate(to):
            both ^= (units >> k & 1) * column
        rows = np.arange(group.second.fan_out)[None, None, :, None]
        return (both >> size)[:, :, None, :], rows, (both & (group.second.fan_in - 1))[:, :, None, :]

    def emit(self, step: Step, name: str, machine: Machine, samples: int) -> Sequence[Function]:
        """The kernel called `name` for `samples` columns. ValueError for a first junction that accumulates."""
        assert step.fused is not None
        if step.init == "add":
            raise ValueError("units that are kept in registers cannot start from what a buffer holds")
        f = Function(name, parameters(step))
        write_pair(f, ends(tile(machine, samples, 1), step), step)
        return [f]


def write_pair(f: Function, tiles: tuple[Tile, Tile], step: Step) -> None:
    """Write the loops over groups and columns of a pair, for tiles of one vector as `ends` gives them."""
    assert step.fused is not None
    group = group_of(step.junction, step.fused)
    source, target = tiles
    kind = step.weight_type
    per_group = _group_weights(group, kind)
    table = round_up(4 * group.count)
    sources, middles, destinations, weights = (byte_offset(f, "%weights", k * table) for k in range(4))
    ahead, behind = Finish(step.init, step.activation), Finish(step.fused_init, step.fused_activation)
    second_bias = f.offset("%bias", round_up(step.junction.n_dst, target.lanes))
    with repeat(f, group.count) as number:
        src = table_entry(f, sources, number)
        middle = table_entry(f, middles, number)
        dst = table_entry(f, destinations, number)
        size = str(per_group * element_bytes(kind))
        packed = byte_offset(f, weights, f.op("mul", I64, str(number), size, "nuw nsw"))
        at = len(group.first_blocks) * group.first.fan_in * padded_row(group.first.fan_out, kind)
        rest = byte_offset(f, packed, at * element_bytes(kind))
        first = _first(f, source, group, (src, middle), (packed, kind), ahead)
        second = _second(f, target, group, dst, (rest, kind), (behind, second_bias))
        with column_groups(f, target) as column:
            second(column, first(column))


def _first(
    f: Function, t: Tile, group: Group, units: tuple[str, str], weights: tuple[str, WeightType], finish: Finish
) -> Callable[[str | int], list[str]]:
    """What writes the first junction of a group at a column; it gives the finished middle units by local number.

    `units` are the first source and the first middle unit of the group.
    """
    src, middle = units
    pointer, kind = weights
    window = group.first
    row = padded_row(window.fan_out, kind)
    blocks = [group.sources(int(block)) for block in group.first_blocks]
    sources = unit_addresses(f, t, "%src", src, [difference for block in blocks for difference in block])

    def write(column: str | int) -> list[str]:
        values, addresses = list[str](), iter(sources(column))
        for number in range(len(blocks)):
            local = range(number * window.fan_out, (number + 1) * window.fan_out)
            between = [f.op("xor", I64, middle, str(group.locals[i])) if finish.init == "bias" else "" for i in local]
            sums = [finish.start(f, t, unit, "")[0] for unit in between]
            for s in range(window.fan_in):
                (value,) = load_vectors(f, t, next(addresses))
                first = (number * window.fan_in + s) * row
                factors = broadcast_weights(f, t, kind, pointer, first, window.fan_out)
                sums = [f.fma(t.lanes, value, w, a) for w, a in zip(factors, sums, strict=True)]
            values.extend(finish.end(f, t, sums))
        return values

    return write


def _second(
    f: Function, t: Tile, group: Group, dst: str, weights: tuple[str, WeightType], finish: tuple[Finish, str]
) -> Callable[[str | int, Sequence[str]], None]:
    """What writes the second junction of a group at a column, from registers to memory."""
    pointer, kind = weights
    ending, bias = finish
    window = group.second
    row = padded_row(window.fan_out, kind)
    blocks = [group.destinations(members[0]) for members in group.second_members]
    targets = unit_addresses(f, t, "%dst", dst, [difference for block in blocks for difference in block])

    def write(column: str | int, values: Sequence[str]) -> None:
        addresses = iter(targets(column))
        for number, (members, differences) in enumerate(zip(group.second_members, blocks, strict=True)):
            units = [f.op("xor", I64, dst, str(d)) if ending.init == "bias" else "" for d in differences]
            sums = [ending.start(f, t, unit, "", bias)[0] for unit in units]
            for s, member in enumerate(members):
                first = (number * window.fan_in + s) * row
                factors = broadcast_weights(f, t, kind, pointer, first, window.fan_out)
                sums = [f.fma(t.lanes, values[member], w, a) for w, a in zip(factors, sums, strict=True)]
            for value in ending.end(f, t, sums):
                store_vectors(f, t, [value], next(addresses))

    return write


def _rows(weights: NDArray[np.float32], groups: int, kind: WeightType) -> NDArray[np.float32]:
    """[group, block, source, destination] as [group, everything], rows padded as bf16 wants."""
    fan_out = weights.shape[-1]
    more = padded_row(fan_out, kind) - fan_out
    padded = np.pad(weights, ((0, 0), (0, 0), (0, 0), (0, more))) if more else weights
    return padded.reshape(groups, -1)


def _group_weights(group: Group, kind: WeightType) -> int:
    """Packed weights of one group, both junctions."""
    ahead = len(group.first_blocks) * group.first.fan_in * padded_row(group.first.fan_out, kind)
    behind = len(group.second_members) * group.second.fan_in * padded_row(group.second.fan_out, kind)
    return ahead + behind
