"""Gradients of filters: products of what a tap sees and the gradient there, summed over positions and samples.

A few sources' taps times the channels of a group stay in registers over the whole batch; their lanes are added up in
the end.
"""

from __future__ import annotations

from pathc.backends.llvm.column.common import byte_offset, repeat
from pathc.backends.llvm.emit import F32, I64, Function
from pathc.backends.llvm.training.filters.passes import Pass
from pathc.backends.llvm.training.filters.sums import GroupAt, GroupTable, each_group, times
from pathc.backends.llvm.training.frame import Frame, lane_sum

_AHEAD = 4
"""Positions of a row that are written one after another where they share what they read."""


def write_filter_gradient(
    f: Function, frame: Frame, run: Pass, table: GroupTable, buffers: tuple[str, str], gradients: str, tile_bytes: int
) -> None:
    """Write the gradients of the weights of groups `%start` .. `%stop` - 1 into their slots behind `gradients`.

    `buffers` are those of the source, with its zeros, and of the gradient at the sums, in the first tile of samples;
    `run` is the pass forwards.
    """
    _Writer(f, frame, run, table, buffers, gradients, tile_bytes).write()


class _Writer:
    def __init__(
        self, f: Function, frame: Frame, run: Pass, table: GroupTable, buffers: tuple[str, str], gradients: str,
        tile_bytes: int,
    ) -> None:  # fmt: skip
        self.f, self.frame, self.run, self.table = f, frame, run, table
        self.buffers, self.gradients, self.tile_bytes = buffers, gradients, tile_bytes
        self.size = table.groups.size

    def write(self) -> None:
        """Groups, their sources, and blocks of taps."""
        f, run = self.f, self.run
        kernel = run.kernel
        held = (self.frame.machine.registers - 8) // self.size
        read, _ = each_group(f, self.table)
        with f.loop("%stop", start="%start") as groups:
            group = read(groups.index)
            label = f.fresh("heard")[1:]
            some = f.assign(f"icmp ne i64 {group.count}, 0")
            f.line(f"br i1 {some}, label %{label}, label %{label}.end")
            f.label(label)
            with f.loop(group.count) as sources:
                channel = f.load(I64, f.offset(group.sources, sources.index, I64), 8)
                plane = byte_offset(f, self.buffers[0], times(f, channel, run.read_plane * self.frame.stride))
                first = f.op("add", I64, group.slot, times(f, sources.index, kernel[0] * kernel[1] * self.size))
                out = f.offset(self.gradients, first)
                if kernel[0] * kernel[1] <= held:
                    self._block(group, plane, out, range(kernel[0]), range(kernel[1]))
                else:
                    with repeat(f, kernel[0]) as row:
                        line = times(f, str(row), run.taps[0].step * run.read_pitch * self.frame.stride)
                        here = f.offset(out, times(f, str(row), kernel[1] * self.size))
                        for left in range(0, kernel[1], max(1, held)):
                            block = range(left, min(left + max(1, held), kernel[1]))
                            self._block(group, byte_offset(f, plane, line), here, range(1), block)
                sources.following = []
            f.line(f"br label %{label}.end")
            f.label(f"{label}.end")
            groups.following = []

    def _block(self, group: GroupAt, plane: str, out: str, down: range, right: range) -> None:
        """The gradients of the taps at rows `down` and columns `right` of a filter, for all channels of the group."""
        f, frame, run = self.f, self.frame, self.run
        rows, columns = run.result
        taps = [(i, j) for i in down for j in right]
        deltas = [
            byte_offset(f, self.buffers[1], times(f, channel, run.write_plane * frame.stride))
            for channel in group.channels
        ]
        shares = run.read_step[1] == 1 and self.size * len(taps) <= 12 and len(right) > 1
        ahead = min(_AHEAD, columns) if shares else 1
        zero = [(frame.kind, frame.zero())] * (self.size * len(taps))

        def at(row: str, column: str, tile: str, wide: int, sums: list[str]) -> list[str]:
            top = f.op("add", I64, tile, times(f, row, run.read_step[0] * run.read_pitch * frame.stride))
            seen_at = f.op("add", I64, top, times(f, column, run.read_step[1] * frame.stride))
            source = byte_offset(f, plane, seen_at)
            place = f.op("add", I64, tile, times(f, row, run.write_pitch * frame.stride))
            place = f.op("add", I64, place, times(f, column, frame.stride))
            return self._products(source, [byte_offset(f, d, place) for d in deltas], taps, wide, sums)

        with f.loop("%span", zero, step=self.tile_bytes) as tiles:
            with f.loop(frame.stride, _carried(frame, tiles.carried), step=frame.bytes) as lanes:
                tile = f.op("add", I64, tiles.index, lanes.index)
                with f.loop(rows, _carried(frame, lanes.carried)) as lines:
                    sums = list(lines.carried)
                    whole, rest = columns // ahead * ahead, columns % ahead
                    if whole:
                        with f.loop(whole, _carried(frame, sums), step=ahead) as steps:
                            steps.following = at(lines.index, steps.index, tile, ahead, list(steps.carried))
                        sums = steps.results
                    if rest:
                        sums = at(lines.index, str(whole), tile, rest, sums)
                    lines.following = sums
                lanes.following = lines.results
            tiles.following = lanes.results
        for n, (i, j) in enumerate(taps):
            for k in range(self.size):
                value = lane_sum(f, frame, tiles.results[n * self.size + k])
                f.store(F32, value, f.offset(out, (i * run.kernel[1] + j) * self.size + k))

    def _products(
        self, source: str, deltas: list[str], taps: list[tuple[int, int]], wide: int, sums: list[str]
    ) -> list[str]:
        f, frame, run = self.f, self.frame, self.run
        seen: dict[tuple[int, int], str] = {}
        for p in range(wide):
            arriving = [frame.load(f, delta, p * frame.stride) for delta in deltas]
            for n, (i, j) in enumerate(taps):
                place = i * run.taps[0].step, p * run.read_step[1] + j * run.taps[1].step
                if place not in seen:
                    seen[place] = frame.load(f, source, (place[0] * run.read_pitch + place[1]) * frame.stride)
                for k, delta in enumerate(arriving):
                    at = n * self.size + k
                    sums[at] = f.fma(frame.lanes, seen[place], delta, sums[at])
        return sums


def _carried(frame: Frame, values: list[str]) -> list[tuple[str, str]]:
    return [(frame.kind, value) for value in values]
