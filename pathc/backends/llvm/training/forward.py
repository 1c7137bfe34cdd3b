"""A tile forwards: what enters a station is added up, and its stages are applied."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from pathc.backends.llvm.column.common import byte_offset
from pathc.backends.llvm.emit import I64, Function
from pathc.backends.llvm.training import norms, panels, rows, stages
from pathc.backends.llvm.training.filters import windows
from pathc.backends.llvm.training.filters.sums import write_pass
from pathc.backends.llvm.training.frame import End, Init, Sums
from pathc.backends.llvm.training.halves import products
from pathc.backends.llvm.training.halves.uses import SheetUse
from pathc.backends.llvm.training.panels import PanelTables
from pathc.backends.llvm.training.pieces import Panels
from pathc.backends.llvm.training.stations import NORM_NUMBERS, Place
from pathc.backends.llvm.training.tensors import FilterUse, Skip, Use
from pathc.backends.llvm.training.tile import KERNEL, Tile
from pathc.ir.extents import POOLS
from pathc.ir.filters import shuffle_order, tap_of
from pathc.ir.interp.expand import owner
from pathc.ir.types import Call
from pathc.ir.weights import GAIN, MEAN, SHIFT, VARIANCE

Body = Callable[[Function, str, str, Sums], None]


@dataclass(frozen=True)
class Term:
    """What adds to a station: how it is written, whether it reaches every unit, whether it can begin with a bias."""

    write: Callable[[Init, Call | None], None]
    covers: bool
    biased: bool
    halved: Callable[[Init, Call | None], None] | None = None
    """Writes it so that what it ends in goes into rows of halves as well."""


@dataclass
class Forward:
    """Writer of stations forwards."""

    tile: Tile

    def station(self, place: Place) -> None:
        """Sums and values of a station."""
        tile, station = self.tile, place.station
        bias = station.stage("bias") is not None
        wanted = self._wanted(place)
        inline = wanted[0] if wanted and stages.in_place(wanted[0]) else None
        terms = self._terms(place)
        init: Init = "bias" if bias else "zero"
        if station.role == "input" and not place.stages and not bias and tile.passes(place):
            products.enter(tile, place)
            return
        if station.role == "input":
            tile.load(place, place.buffers[0], 0, "x")
            if bias:
                self._bias(place, add=True)
            init = "add"
        elif not terms or not terms[0].covers or (bias and not terms[0].biased):
            if bias:
                self._bias(place, add=False)
            else:
                tile.fill(place.buffers[0], place.units(0))
            init = "add"
        fused = inline if terms and terms[-1].covers else None
        done = 1 if fused else 0
        halved = terms[-1].halved if terms and len(wanted) == done and place.real(-1) == place.units(-1) else None
        halved = halved if tile.rounds(place) else None
        for number, term in enumerate(terms):
            last = number == len(terms) - 1
            (halved if last and halved else term.write)(init if number == 0 else "add", fused if last else None)
        while done < len(wanted):
            done += self._stage(place, wanted, done)
        tile.silence(place, place.values, -1)
        if tile.rounds(place) and not halved:
            products.halve_values(tile, place)

    def _wanted(self, place: Place) -> tuple[Call, ...]:
        """The stages of a station, less a softmax that only the loss would look at."""
        if self.tile.scores(place) and not self.tile.read(place.station.name) and not self.tile.variant.outputs:
            return place.stages[:-1]
        return place.stages

    # Stages

    def _stage(self, place: Place, wanted: tuple[Call, ...], number: int) -> int:
        """Apply a stage, and perhaps the next one with it; how many were applied."""
        tile, frame, stage = self.tile, self.tile.frame, wanted[number]
        before, after = place.buffers[number : number + 2]
        if stage.name == "batchnorm":
            return self._normalize(place, wanted, number)
        if stage.name in POOLS:
            tile.run(self._pool(place, number, stage, place.channels), tile.at(before), tile.at(after))
        elif stage.name == "channelshuffle":
            order = shuffle_order(stage, place.channels).tolist()
            positions = math.prod(place.extents[number])
            kernel = windows.write_shuffled(frame, tile.name("shuffle"), order, positions, back=False)
            tile.run(kernel, tile.at(before), tile.at(after))
        else:
            name = tile.name(stage.name)
            tile.functions.extend(stages.helpers(frame, name, stage, place.real(number)))
            kernel = stages.write_stage(frame, name, stage, place.units(number), in_place=before == after)
            tile.run(kernel, tile.at(before), tile.at(after))
        return 1

    def _pool(self, place: Place, number: int, stage: Call, channels: int) -> Function:
        frame, window = self.tile.frame, place.window(number)
        tap = tap_of(stage, window)
        if tap is not None:
            return windows.write_pick(frame, self.tile.name("pick"), window, tap, channels)
        largest = stage.name == "maxpool"
        return windows.write_pool(frame, self.tile.name("pool"), window, channels, largest=largest)

    def _normalize(self, place: Place, wanted: tuple[Call, ...], number: int) -> int:
        """Normalize by the batch, whose statistics need all tiles, or by what is stored; how many stages were applied.

        A stage in place and a pool behind it take every channel while it is near.
        """
        tile, frame, norm = self.tile, self.tile.frame, place.norm
        assert norm is not None
        before, after = place.buffers[number : number + 2]
        then = stages.in_place_behind(wanted, number)
        last = number + (2 if then is not None else 1)
        pooled = last < len(wanted) and wanted[last].name in POOLS
        name = owner(place.station.name)
        gain, shift, mean, variance = (
            tile.model.tensors[f"{name}.{part}"].working for part in (GAIN, SHIFT, MEAN, VARIANCE)
        )
        if tile.variant.by_batch:
            kernel = norms.write_statistics(frame, tile.name("statistics"), norm)
            tile.run(kernel, tile.at(before), tile.at(norm.at), more=[(I64, tile.count)])
            tile.end()
            tile.begin()
            kernel = norms.write_gathered(frame, tile.name("gathered"), norm, tile.model.tile_bytes)
            first = byte_offset(tile.f, tile.context["acts"], norm.at)
            more = [(I64, tile.context["tiles"]), (I64, tile.context["count"])]
            tile.run(kernel, first, tile.at(norm.at), more=more)
        else:
            kernel = norms.write_stored(tile.name("stored"), norm)
            tile.run(kernel, tile.param(mean), tile.param(variance), tile.at(norm.at))
        kernel = norms.write_normalized(frame, tile.name("normalized"), replace(norm, channels=1), then)
        tile.functions.append(kernel)
        pool = self._pool(place, last, wanted[last], 1) if pooled else None
        tile.functions.extend([pool] if pool is not None else [])
        bases = tile.at(before), tile.at(after), tile.at(norm.at), tile.param(gain), tile.param(shift)
        target = tile.at(place.buffers[last + 1]) if pool is not None else ""
        with tile.channels(norm.channels) as at:
            plane = norm.positions * frame.stride
            steps = plane, plane, 4 * NORM_NUMBERS, 4, 4
            tile.call(kernel, *(at(base, step) for base, step in zip(bases, steps, strict=True)))
            if pool is not None:
                result = math.prod(place.extents[last + 1]) * frame.stride
                tile.call(pool, at(bases[1], plane), at(target, result))
        return last + (pool is not None) - number

    def _bias(self, place: Place, *, add: bool) -> None:
        positions = math.prod(place.extents[0])
        name = self.tile.name("bias")
        kernel = stages.write_bias(self.tile.frame, name, place.units(0), positions, add=add)
        self.tile.run(kernel, self.tile.at(place.buffers[0]), self.tile.param(self._bias_of(place)))

    def _bias_of(self, place: Place) -> int:
        return self.tile.model.tensors[f"{owner(place.station.name)}.bias"].working

    # What enters

    def _terms(self, place: Place) -> list[Term]:
        """What adds to a station; what reaches every unit comes first."""
        name, model = place.station.name, self.tile.model
        found: list[Term] = []
        for use in model.entering(name):
            if isinstance(use, SheetUse):
                found.append(self._sheets(use, place))
            else:
                found.extend(self._filtered(use, place) if isinstance(use, FilterUse) else self._pieces(use, place))
        for skip in model.skips:
            if skip.dst == name:
                found.append(self._skipped(skip, place))
        return sorted(found, key=lambda term: not term.covers)

    def _pieces(self, use: Use, place: Place) -> list[Term]:
        """The panels and rows of a junction."""
        frame = self.tile.frame
        flat = math.prod(place.extents[0]) == 1
        found: list[Term] = []
        for panel, tables in zip(use.cut.panels, use.panels, strict=True):

            def panels_of(
                f: Function, source: str, weights: str, sums: Sums, panel: Panels = panel, tables: PanelTables = tables
            ) -> None:
                panels.write_forward(f, frame, panel, tables, source, weights, sums)

            found.append(Term(self._writer(use, place, panels_of), panel.covers, flat))
        if use.cut.rows and use.rows:
            cut, into = use.cut.rows, use.rows

            def rows_of(f: Function, source: str, weights: str, sums: Sums) -> None:
                rows.write_sums(f, frame, cut, into, source, weights, sums)

            found.append(Term(self._writer(use, place, rows_of), covers=True, biased=flat))
        return found

    def _writer(self, use: Use, place: Place, body: Body) -> Callable[[Init, Call | None], None]:
        """The kernel of a piece, from how sums begin and what becomes of them."""

        def write(init: Init, stage: Call | None) -> None:
            f = Function(self.tile.name("forward"), KERNEL)
            source = byte_offset(f, "%acts", self.tile.model.places[use.src].values)
            pointer = byte_offset(f, "%acts", place.buffers[0])
            bias = byte_offset(f, "%params", self._bias_of(place)) if init == "bias" else ""
            sums = Sums(self.tile.frame, pointer, init, bias, self._end(stage))
            body(f, source, byte_offset(f, "%params", use.weights), sums)
            self.tile.run(f, self.tile.context["params"], self.tile.acts)

        return write

    def _sheets(self, use: SheetUse, place: Place) -> Term:
        """A junction of bfloat16."""

        def write(init: Init, stage: Call | None, rows: bool = False) -> None:
            bias = self._bias_of(place) if init == "bias" else -1
            products.sum_forward(self.tile, use, place, (init, bias), stage, rows=rows)

        return Term(write, covers=True, biased=True, halved=lambda init, stage: write(init, stage, True))

    def _filtered(self, use: FilterUse, place: Place) -> list[Term]:
        """A filter, all groups of channels."""

        def write(init: Init, stage: Call | None) -> None:
            self.tile.planes(use.values)
            f = Function(self.tile.name("filter"), KERNEL)
            source, pointer = byte_offset(f, "%acts", use.values.at), byte_offset(f, "%acts", place.buffers[0])
            weights = byte_offset(f, "%params", use.weights)
            bias = byte_offset(f, "%params", self._bias_of(place)) if init == "bias" else ""
            sums = Sums(self.tile.frame, pointer, "add" if init == "add" else "zero", "", self._end(stage))
            for table in use.forward:
                write_pass(f, self.tile.frame, use.run, table, source, weights, sums, bias)
            self.tile.run(f, self.tile.context["params"], self.tile.acts)

        return [Term(write, covers=True, biased=True)]

    def _end(self, stage: Call | None) -> End | None:
        """What becomes of finished sums."""
        if stage is None:
            return None
        frame, chosen = self.tile.frame, stage

        def apply(f: Function, value: str, at: str) -> str:
            return stages.vecmath.apply(f, frame.lanes, value, chosen, frame.machine)

        return apply

    def _skipped(self, skip: Skip, place: Place) -> Term:
        source = self.tile.model.places[skip.src].values
        target = place.buffers[0] + skip.first * self.tile.frame.stride

        def write(init: Init, stage: Call | None) -> None:
            self.tile.skip(skip, source, target, init)

        return Term(write, covers=False, biased=False)
