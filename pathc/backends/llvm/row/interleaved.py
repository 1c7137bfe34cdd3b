"""Interleaved dense blocks: the lanes of a vector run through blocks, or through the units of few large blocks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from pathc.backends.llvm import vecmath
from pathc.backends.llvm.column.common import aligned, element_bytes, round_up
from pathc.backends.llvm.emit import I64, Function, constant, vector
from pathc.backends.llvm.machine import Machine
from pathc.backends.llvm.plan import Family, Junction, Step
from pathc.backends.llvm.row.stream import Offset, Stream, multiply_add, packed_window
from pathc.backends.llvm.row.tiling import LIMIT, Tiling, tiling
from pathc.backends.llvm.row.weave import span, weave
from pathc.ir import gf2
from pathc.ir.facts import Blocks

SIGNATURE = (("ptr", "src"), ("ptr", "dst"), ("ptr", "weights"), ("ptr", "bias"))


class Interleaved:
    """Dense blocks side by side in the lanes, weights streamed in order, no gathers.

    Needs layouts whose lanes run through matching blocks, as `layouts.choose` finds them. Serves every window of
    the paths in turn, and blocks too few for the lanes by rotating lanes inside a block.
    """

    name: ClassVar[str] = "interleaved"
    family: ClassVar[Family] = "row"

    def refusal(self, junction: Junction, machine: Machine) -> str:
        """Why the form cannot compute this junction, or an empty string."""
        width = machine.width
        if junction.kind != "paths" or not junction.blocks:
            return "it has no dense blocks"
        if junction.n_src & (junction.n_src - 1) or junction.n_dst & (junction.n_dst - 1):
            return "its sizes are no powers of two"
        if junction.n_src < width or junction.n_dst < width:
            return f"a layer has fewer units than a vector has lanes ({width})"
        common = common_edges(junction.blocks)
        if min(gf2.rank(s for s, _ in common), gf2.rank(d for _, d in common)) < width.bit_length() - 1:
            return f"a window of its paths touches fewer than {width} units"
        return ""

    def cycles(self, step: Step, machine: Machine, samples: int) -> float:
        """Estimated clock cycles for `samples` rows at a time."""
        junction, width = step.junction, machine.width
        products = sum(1 << b.rank for b in junction.blocks) / width
        size = products * width * element_bytes(step.weight_type)
        around = 4 * samples * (junction.n_src + junction.n_dst)
        line = (
            1.0 if size + around <= machine.l1 else 2.05 if size <= machine.l2 else 2.6 if size <= machine.l3 else 7.0
        )
        each = (1.05 if machine.avx512 else 0.55 if machine.fma else 1.1) * samples
        narrow = 0.15 if step.weight_type == "bf16" else 0.0
        moved = sum(b.count * (b.fan_in + b.fan_out) for b in junction.blocks) / width
        ends = 0.6 * moved + junction.n_dst / width * vecmath.cycles(step.activation)
        return 20.0 + max(line * size / 64, (each + narrow) * products) + samples * ends

    def pack(self, step: Step, machine: Machine, weights: Mapping[str, NDArray[np.float32]]) -> NDArray[np.uint8]:
        """Weights in the order the kernel streams them; repeated edges are summed."""
        parts = [
            packed_window(step, machine, blocks, weights, tiles.order, tiles.weave.base, paired=tiles.body > 1)
            for blocks, tiles in _tilings(step, machine, 1)
        ]
        return aligned(*parts)

    def emit(self, step: Step, name: str, machine: Machine, samples: int) -> Sequence[Function]:
        """The kernel called `name` for `samples` rows.

        ValueError if the layouts do not fit the junction.
        """
        function = Function(name, SIGNATURE)
        junction, windows = step.junction, _tilings(step, machine, samples)
        whole = [blocks.count * blocks.fan_out == junction.n_dst for blocks, _ in windows]
        init, behind = step.init, 0
        if not whole[0] and init != "add":
            _sweep(function, step, machine, samples, init, last=False)
            init = "add"
        for at, (_, tiles) in enumerate(windows):
            last = at == len(windows) - 1 and whole[at]
            writer = _Writer(function, step, machine, samples, tiles, init, last)
            writer.write("%src", "%dst", function.offset("%weights", behind, "i8"))
            init, behind = "add", behind + round_up(tiles.weights * element_bytes(step.weight_type))
        if not whole[-1] and step.activation is not None:
            _sweep(function, step, machine, samples, "add", last=True)
        return [function]


def layouts_refusal(step: Step, machine: Machine) -> str:
    """Why `Interleaved` cannot compute a junction it does not refuse in the layouts of a step, or an empty string."""
    try:
        _tilings(step, machine, 1)
    except ValueError as reason:
        return str(reason)
    return ""


def common_edges(windows: Sequence[Blocks]) -> tuple[tuple[int, int], ...]:
    """Basis of the displacements (source, destination) of units that lead from edge to edge in every window."""
    wide = 1 + max(v.bit_length() for b in windows for v in (*b.dst_basis, *b.dst_reps, 1))
    spaces = [
        gf2.echelon(
            (
                *(s << wide for s in b.src_basis),
                *b.dst_basis,
                *(s << wide | d for s, d in zip(b.src_reps, b.dst_reps, strict=True)),
            )
        )
        for b in windows
    ]
    common = spaces[0]
    for space in spaces[1:]:
        common = gf2.intersection(common, space)
    return tuple((e >> wide, e & (1 << wide) - 1) for e in common)


def windows_in_order(junction: Junction) -> tuple[Blocks, ...]:
    """The windows as kernels take them: the largest, which sets the destination, then the others ascending."""
    first, *others = sorted(junction.blocks, key=lambda b: -b.length)
    return (first, *reversed(others))


def _tilings(step: Step, machine: Machine, rows: int) -> list[tuple[Blocks, Tiling]]:
    bits = machine.width.bit_length() - 1
    result: list[tuple[Blocks, Tiling]] = []
    for blocks in windows_in_order(step.junction):
        woven = weave(blocks, step.src_layout, step.dst_layout, bits)
        if woven is None:
            raise ValueError("the lanes of the layouts do not run through matching blocks")
        tiles = tiling(woven, machine.registers, rows)
        if tiles.unrolled > LIMIT:
            raise ValueError("the layouts need too many permutations of lanes")
        result.append((blocks, tiles))
    return result


def _sweep(function: Function, step: Step, machine: Machine, rows: int, init: str, *, last: bool) -> None:
    """Set all destinations, or apply the activation to them, where no window covers them all."""
    lanes, size = machine.width, step.dst_layout.size
    kind = vector(lanes)
    for row in range(rows):
        with function.loop(size, step=lanes) as loop:
            target = function.offset(function.offset("%dst", row * size), loop.index)
            if init == "zero":
                value = constant(0.0, lanes)
            elif init == "bias":
                value = function.load(kind, function.offset("%bias", loop.index))
            else:
                value = function.load(kind, target)
            if last:
                value = vecmath.apply(function, lanes, value, step.activation, machine)
            function.store(kind, value, target)


class _Writer:
    """Writes the loops of one window."""

    def __init__(
        self, function: Function, step: Step, machine: Machine, rows: int, tiles: Tiling, init: str, last: bool
    ) -> None:
        self.function, self.step, self.machine, self.rows, self.tiles = function, step, machine, rows, tiles
        self.init = init
        self.activation = step.activation if last else None
        self.lanes = machine.width
        self.kind = vector(machine.width)
        self.element = "i16" if step.weight_type == "bf16" else "float"
        self.weave = tiles.weave

    def write(self, src: str, dst: str, weights: str) -> None:
        """All groups: outer ones in a loop, inner ones unrolled."""
        tiles, function = self.tiles, self.function
        stride = 1 << len(tiles.order) - len(tiles.outer)
        base_s, base_d = self.weave.base

        def groups(index: str | None) -> None:
            source = Offset(function, index, [s for s, _ in tiles.outer])
            target = Offset(function, index, [d for _, d in tiles.outer])
            stream = weights if index is None else self._advance(weights, index, stride)
            inner_s = span(s for s, _ in tiles.inner)
            inner_d = span(d for _, d in tiles.inner)
            each = stride >> len(tiles.inner)
            for at, (s, d) in enumerate(zip(inner_s, inner_d, strict=True)):
                self._group(
                    source, src, base_s ^ s, target, dst, base_d ^ d, function.offset(stream, at * each, self.element)
                )

        self._looped(len(tiles.outer), groups)

    def _looped(self, bits: int, body: Callable[[str | None], None]) -> None:
        if not bits:
            body(None)
            return
        with self.function.loop(1 << bits) as loop:
            body(loop.index)

    def _advance(self, weights: str, index: str, stride: int) -> str:
        return self.function.offset(weights, self.function.op("mul", I64, index, str(stride)), self.element)

    def _group(self, source: Offset, src: str, at_s: int, target: Offset, dst: str, at_d: int, weights: str) -> None:
        """All destinations of one group of blocks."""
        tiles, function = self.tiles, self.function
        stride = 1 << len(self.weave.lanes) + len(self.weave.turns) + len(self.weave.src) + len(tiles.tile)
        for turn, shift in enumerate(span(tiles.turned_tiles)):
            behind = function.offset(weights, turn * stride << len(tiles.tiles), self.element)

            def tile(index: str | None, behind: str = behind, shift: int = shift) -> None:
                moved = target if index is None else target.also(index, tiles.tiles)
                stream = behind if index is None else self._advance(behind, index, stride)
                self._tile(source, src, at_s, moved, dst, at_d ^ shift, stream)

            self._looped(len(tiles.tiles), tile)

    def _tile(self, source: Offset, src: str, at_s: int, target: Offset, dst: str, at_d: int, weights: str) -> None:
        """The destinations of a tile, as many at a time as the registers hold for all rows."""
        tile = self.tiles.tile
        held = min(len(tile), max(0, (self.machine.registers // 2 // self.rows).bit_length() - 1))
        for part, shift in enumerate(span(tile[held:])):
            places = [at_d ^ shift ^ d for d in span(tile[:held])]
            self._part(source, src, at_s, target, dst, places, weights, (part << held) * self.lanes)

    def _part(
        self,
        source: Offset,
        src: str,
        at_s: int,
        target: Offset,
        dst: str,
        places: Sequence[int],
        weights: str,
        first: int,
    ) -> None:
        """Destinations held in registers: start, all sources, store."""
        tiles, function, rows = self.tiles, self.function, range(self.rows)
        size = self.step.dst_layout.size
        sums = [self._start(target, dst, place, row * size) for place in places for row in rows]
        if not tiles.chunks:
            sums = self._chunk(source, src, at_s, weights, first, sums)
        else:
            stride = tiles.body * self.lanes
            with function.loop(1 << len(tiles.chunks), [(self.kind, value) for value in sums]) as loop:
                moved = source.also(loop.index, tiles.chunks)
                stream = self._advance(weights, loop.index, stride)
                loop.following = self._chunk(moved, src, at_s, stream, first, list(loop.carried))
            sums = loop.results
        for at, place in enumerate(places):
            for row in rows:
                value = sums[at * self.rows + row]
                value = vecmath.apply(function, self.lanes, value, self.activation, self.machine)
                value = self._swapped(value, self.weave.lane(place))
                pointer = target.address(dst, place & -self.lanes, row * size)
                function.store(self.kind, value, pointer)

    def _start(self, target: Offset, dst: str, place: int, behind: int) -> str:
        if self.init == "zero":
            return constant(0.0, self.lanes)
        where, behind = (dst, behind) if self.init == "add" else ("%bias", 0)
        value = self.function.load(self.kind, target.address(where, place & -self.lanes, behind))
        return self._swapped(value, self.weave.lane(place))

    def _chunk(self, source: Offset, src: str, at_s: int, weights: str, first: int, sums: list[str]) -> list[str]:
        """Multiply-adds of the unrolled sources onto a tile."""
        tiles, function, lanes = self.tiles, self.function, self.lanes
        size = self.step.src_layout.size
        held, stride = len(sums) // self.rows, lanes << len(tiles.tile)
        turns = span(self.weave.turns)
        stream = Stream(function, lanes, weights, self.step.weight_type, paired=tiles.body > 1)
        for number, s in enumerate(span(tiles.chunk)):
            place = at_s ^ s
            loaded = [
                function.load(self.kind, source.address(src, place & -lanes, row * size)) for row in range(self.rows)
            ]
            for inside, x in enumerate(turns):
                turn = self.weave.lane(place ^ x)
                slot = first + (number * len(turns) + inside) * stride
                mask = [gf2.apply(self.weave.lanes, lane) ^ turn for lane in range(lanes)]
                values = [self._permuted(value, mask) for value in loaded]
                for at in range(held):
                    weight = stream.at(slot + at * lanes)
                    for row, value in enumerate(values):
                        sums[at * self.rows + row] = multiply_add(
                            function, lanes, weight, value, sums[at * self.rows + row]
                        )
        return sums

    def _swapped(self, value: str, turn: int) -> str:
        return self._permuted(value, [lane ^ turn for lane in range(self.lanes)])

    def _permuted(self, value: str, mask: Sequence[int]) -> str:
        if all(lane == at for at, lane in enumerate(mask)):
            return value
        return self.function.shuffle(self.lanes, value, "poison", mask)
