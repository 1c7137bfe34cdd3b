"""The kernel of a pass: a tile of channels and positions stays in registers while all taps of all sources pass by.

Every tap of every source is a vector of samples, multiplied by one weight of each channel of the group. Positions in
a row share what neighbouring taps read, where registers hold it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pathc.backends.llvm.column.common import byte_offset, repeat
from pathc.backends.llvm.emit import F32, I64, Function
from pathc.backends.llvm.filters.mix import widest
from pathc.backends.llvm.training.filters.cut import Groups
from pathc.backends.llvm.training.filters.passes import Pass
from pathc.backends.llvm.training.frame import Arena, Frame, Sums

_UNROLLED = 9
"""Taps up to which they are written one after another; beyond, rows of taps are a loop."""


@dataclass(frozen=True)
class GroupTable:
    """Groups in memory: offsets of records and of sources, both int64."""

    groups: Groups
    records: int
    sources: int

    @classmethod
    def of(cls, groups: Groups, arena: Arena) -> GroupTable:
        """The tables of groups put into an arena."""
        return cls(groups, arena.put(groups.records), arena.put(groups.sources))


@dataclass(frozen=True)
class GroupAt:
    """A group while code for it is written: values that are known when it runs."""

    slot: str
    count: str
    sources: str
    channels: tuple[str, ...]


def each_group(f: Function, table: GroupTable) -> tuple[Callable[[str], GroupAt], int]:
    """What reads group `index` from the table, and how many there are."""
    size = table.groups.size

    def read(index: str) -> GroupAt:
        record = f.offset(byte_offset(f, "%params", table.records), times(f, index, 3 + size), I64)
        slot, count, first, *channels = (f.load(I64, f.offset(record, k, I64), 8) for k in range(3 + size))
        sources = f.offset(byte_offset(f, "%params", table.sources), first, I64)
        return GroupAt(slot, count, sources, tuple(channels))

    return read, len(table.groups.records)


def write_pass(
    f: Function, frame: Frame, run: Pass, table: GroupTable, source: str, weights: str, sums: Sums, bias: str = ""
) -> None:
    """Write a pass over all groups of a table; `weights` is the base of the slots, `bias` that of the channels'."""
    _Writer(f, frame, run, table, source, weights, sums, bias).write()


@dataclass
class _Writer:
    f: Function
    frame: Frame
    run: Pass
    table: GroupTable
    source: str
    weights: str
    sums: Sums
    bias: str

    def write(self) -> None:
        f, frame, run = self.f, self.frame, self.run
        self.size = self.table.groups.size
        rows, columns = run.result
        most = widest(frame.machine, self.size)
        each = -(-columns // -(-columns // most))
        read, count = each_group(f, self.table)
        with repeat(f, count) as number:
            group = read(str(number))
            targets = [self._bytes(channel, run.write_plane) for channel in group.channels]
            biases = []
            if self.bias:
                biases = [
                    f.broadcast(frame.lanes, f.load(F32, f.offset(self.bias, channel))) for channel in group.channels
                ]
            weights = f.offset(self.weights, group.slot)
            with frame.groups(f, 1) as lane, repeat(f, rows) as row:
                top = byte_offset(f, self.source, lane)
                top = byte_offset(f, top, self._bytes(str(row), run.read_pitch * run.read_step[0]))
                first = run.write_first[0] * run.write_pitch + run.write_first[1]
                down = self._bytes(str(row), run.write_pitch * run.write_step[0])
                down = f.op("add", I64, down, str(first * frame.stride))
                down = f.op("add", I64, down, str(lane)) if lane != 0 else down
                lines = [f.op("add", I64, target, down) for target in targets]
                whole, rest = divmod(columns, each)
                if whole:
                    with repeat(f, whole) as tile:
                        self._tile(group, top, lines, weights, biases, times(f, str(tile), each), each)
                if rest:
                    self._tile(group, top, lines, weights, biases, str(whole * each), rest)

    def _bytes(self, index: str, rows: int) -> str:
        return times(self.f, index, rows * self.frame.stride)

    def _tile(
        self, group: GroupAt, top: str, lines: Sequence[str], weights: str, biases: Sequence[str], column: str,
        wide: int,
    ) -> None:  # fmt: skip
        """The sums of `wide` positions of every channel of the group, from position `column` of a row on."""
        f, frame, run = self.f, self.frame, self.run
        left = byte_offset(f, top, self._bytes(column, run.read_step[1]))
        moved = self._bytes(column, run.write_step[1])
        places = [
            [
                f.op("add", I64, f.op("add", I64, line, moved), str(p * run.write_step[1] * frame.stride))
                for p in range(wide)
            ]
            for line in lines
        ]
        before = [biases[k] if biases else self.sums.start(f, at) for k, row in enumerate(places) for at in row]
        found = before
        if run.taps[0].count and run.taps[1].count:
            found = self._heard(group, left, weights, before, wide)
        for at, value in zip([at for row in places for at in row], found, strict=True):
            self.sums.finish(f, value, at)

    def _heard(self, group: GroupAt, left: str, weights: str, before: Sequence[str], wide: int) -> list[str]:
        """The sums over all sources of a group, which may have none."""
        f, frame = self.f, self.frame
        entry, label = f.block, f.fresh("heard")[1:]
        some = f.assign(f"icmp ne i64 {group.count}, 0")
        f.line(f"br i1 {some}, label %{label}, label %{label}.end")
        f.label(label)
        with f.loop(group.count, [(frame.kind, value) for value in before]) as loop:
            channel = f.load(I64, f.offset(group.sources, loop.index, I64), 8)
            plane = byte_offset(f, left, self._bytes(channel, self.run.read_plane))
            taps = self.run.kernel[0] * self.run.kernel[1]
            own = f.offset(weights, times(f, loop.index, taps * self.size))
            loop.following = self._taps(plane, own, loop.carried, wide)
        after = f.block
        f.line(f"br label %{label}.end")
        f.label(f"{label}.end")
        return [
            f.assign(f"phi {frame.kind} [ {start}, %{entry} ], [ {end}, %{after} ]")
            for start, end in zip(before, loop.results, strict=True)
        ]

    def _taps(self, plane: str, weights: str, sums: Sequence[str], wide: int) -> list[str]:
        """All taps of a source."""
        f, frame, run = self.f, self.frame, self.run
        rows, columns = run.taps
        line = run.read_pitch * frame.stride
        from_, to = byte_offset(f, plane, rows.first * line), f.offset(weights, rows.weight * run.kernel[1] * self.size)
        step, stride = rows.step * line, rows.stride * run.kernel[1] * self.size
        if rows.count * columns.count <= _UNROLLED or rows.count == 1:
            found = list(sums)
            for k in range(rows.count):
                found = self._row(byte_offset(f, from_, k * step), f.offset(to, k * stride), found, wide)
            return found
        with f.loop(rows.count, [(frame.kind, value) for value in sums]) as loop:
            here = byte_offset(f, from_, f.op("mul", I64, loop.index, str(step)))
            loop.following = self._row(here, f.offset(to, times(f, loop.index, stride)), loop.carried, wide)
        return loop.results

    def _row(self, line: str, weights: str, sums: Sequence[str], wide: int) -> list[str]:
        """The taps of a row."""
        f, frame, run = self.f, self.frame, self.run
        taps, found = run.taps[1], list(sums)
        places = {p * run.read_step[1] + taps.first + k * taps.step for p in range(wide) for k in range(taps.count)}
        shared = len(places) < wide * taps.count and len(places) + len(sums) + 2 <= frame.machine.registers
        seen: dict[int, str] = {}
        for k in range(taps.count):
            values: list[str] = []
            for p in range(wide):
                place = p * run.read_step[1] + taps.first + k * taps.step
                if place not in seen or not shared:
                    seen[place] = frame.load(f, line, place * frame.stride)
                values.append(seen[place])
            own = f.offset(weights, (taps.weight + k * taps.stride) * self.size)
            for target in range(self.size):
                weight = f.broadcast(frame.lanes, f.load(F32, f.offset(own, target)))
                for p in range(wide):
                    at = target * wide + p
                    found[at] = f.fma(frame.lanes, weight, values[p], found[at])
        return found


def times(f: Function, index: str, factor: int) -> str:
    """An index times a constant."""
    if index.lstrip("-").isdigit():
        return str(int(index) * factor)
    return index if factor == 1 else f.op("mul", I64, index, str(factor), "nuw nsw")
