"""A tile backwards: the gradient at what others read of a station, then at its sums."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from pathc.backends.llvm.column.common import byte_offset
from pathc.backends.llvm.emit import I64, Function
from pathc.backends.llvm.training import norms, panels, rows, stages
from pathc.backends.llvm.training.filters import windows
from pathc.backends.llvm.training.filters.sums import write_pass
from pathc.backends.llvm.training.forward import Term
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
from pathc.ir.weights import GAIN

Body = Callable[[Function, str, Sums], None]


@dataclass
class Backward:
    """Writer of stations backwards."""

    tile: Tile

    def station(self, place: Place) -> None:
        """The gradient at the sums of a station."""
        tile = self.tile
        if products.goes_directly(tile, place):
            products.settle_directly(tile, place)
            return
        output = place.station.role == "output"
        late = tile.scores(place)
        terms = self._terms(place)
        init: Init = "zero"
        if output and not late:
            self._output_gradient(place)
            init = "add"
        elif (terms and not terms[0].covers) or (not terms and not late):
            tile.fill(place.delta, place.units(-1))
            init = "add"
        steps = list(enumerate(place.stages))
        by_sign = steps.pop()[1] if steps and tile.passes(place) else None
        if late and not terms:
            steps.pop()
            tile.loss(place, add=False)
        elementwise = len(steps) == 1 and stages.elementwise(steps[0][1])
        fused = steps[0][1] if elementwise and terms and terms[-1].covers else None
        for number, term in enumerate(terms):
            term.write(init if number == 0 else "add", fused if number == len(terms) - 1 else None)
        for number, stage in reversed(steps):
            if fused is None:
                self._stage(place, number, stage)
            if late and terms and number == len(place.stages) - 1:
                tile.loss(place, add=True)
        tile.silence(place, place.deltas[0], 0)
        if place.station.name in tile.model.halved:
            products.settle(tile, place, by_sign)

    def _output_gradient(self, place: Place) -> None:
        tile = self.tile
        if tile.variant.loss != "none":
            tile.loss(place, add=False)
            return
        tile.load(place, place.delta, -1, "target")
        kernel = stages.write_mask(tile.frame, tile.name("mask"), place.units(-1))
        tile.run(kernel, tile.at(place.delta), more=[(I64, tile.count)])

    # Stages

    def _stage(self, place: Place, number: int, stage: Call) -> None:
        """Bring the gradient from a stage's value to its argument."""
        tile, frame = self.tile, self.tile.frame
        before, after = place.buffers[number : number + 2]
        target, arriving = place.deltas[number : number + 2]
        if stage.name == "batchnorm":
            self._normalize(place, number)
        elif number and place.stages[number - 1].name == "batchnorm" and stages.in_place(stage):
            return  # The normalization goes through it.
        elif stage.name in POOLS:
            if number != self._pooled(place):
                kernel = self._pool(place, number, place.channels)
                tile.run(kernel, tile.at(before), tile.at(arriving), tile.at(target))
        elif stage.name == "channelshuffle":
            order = shuffle_order(stage, place.channels).tolist()
            positions = math.prod(place.extents[number])
            kernel = windows.write_shuffled(frame, tile.name("shuffle"), order, positions, back=True)
            tile.run(kernel, tile.at(arriving), tile.at(target))
        else:
            kernel = stages.write_slope(frame, tile.name("slope"), stage, place.units(number), place.real(number))
            held = after if stages.kept(stage) == "value" else before
            tile.run(kernel, tile.at(held), tile.at(after), tile.at(arriving))

    def _pool(self, place: Place, number: int, channels: int) -> Function:
        """The kernel `void name(ptr source, ptr arriving, ptr target)` of a pool backwards."""
        frame, stage, window = self.tile.frame, place.stages[number], place.window(number)
        tap, name = tap_of(stage, window), self.tile.name("pool")
        if tap is not None:
            return windows.write_pick_back(frame, name, window, tap, channels)
        return windows.write_pool_back(frame, name, window, channels, largest=stage.name == "maxpool")

    def _pooled(self, place: Place) -> int:
        """The number of the pool that takes a normalization's channels, -1 without."""
        for number, stage in enumerate(place.stages):
            if stage.name == "batchnorm":
                last = number + (1 if stages.in_place_behind(place.stages, number) is None else 2)
                return last if last < len(place.stages) and place.stages[last].name in POOLS else -1
        return -1

    def _normalize(self, place: Place, number: int) -> None:
        """Through a pool behind a normalization and a stage in place, channel by channel, then the normalization."""
        tile, frame, norm = self.tile, self.tile.frame, place.norm
        assert norm is not None
        then, pooled = stages.in_place_behind(place.stages, number), self._pooled(place)
        kernel = norms.write_arriving(frame, tile.name("arriving"), replace(norm, channels=1), then)
        pool = self._pool(place, pooled, 1) if pooled >= 0 else None
        tile.functions.extend([kernel] if pool is None else [kernel, pool])
        x, value, delta, own = (
            tile.at(offset) for offset in (*place.buffers[number : number + 2], place.deltas[number], norm.at)
        )
        arriving = tile.at(place.deltas[pooled + 1]) if pool is not None else ""
        plane = norm.positions * frame.stride
        with tile.channels(norm.channels) as at:
            if pool is not None:
                step = math.prod(place.extents[pooled + 1]) * frame.stride
                tile.call(pool, at(value, plane), at(arriving, step), at(delta, plane))
            tile.call(kernel, at(x, plane), at(value, plane), at(delta, plane), at(own, 4 * NORM_NUMBERS))
        if tile.variant.by_batch:
            tile.end()
            tile.begin()
        x, delta, own = (tile.at(place.buffers[number]), tile.at(place.deltas[number]), tile.at(norm.at))
        by_batch = tile.variant.by_batch
        kernel = norms.write_norm_back(frame, tile.name("denormalized"), norm, tile.model.tile_bytes, by_batch=by_batch)
        first = byte_offset(tile.f, tile.context["acts"], norm.at)
        gain = tile.param(tile.model.tensors[f"{owner(place.station.name)}.{GAIN}"].working)
        more = [(I64, tile.context["tiles"]), (I64, tile.context["count"]), (I64, tile.count)]
        tile.run(kernel, x, delta, own, first, gain, more=more)

    # What leaves

    def _terms(self, place: Place) -> list[Term]:
        """What adds to the gradient at a station's values; what reaches every unit comes first."""
        name, model = place.station.name, self.tile.model
        if name not in self.tile.needed:
            return []
        found: list[Term] = []
        for use in model.leaving(name):
            if isinstance(use, SheetUse):
                found.append(self._sheets(use, place))
            else:
                found.extend(self._filtered(use, place) if isinstance(use, FilterUse) else self._pieces(use, place))
        for skip in model.skips:
            if skip.src == name:
                found.append(self._skipped(skip, place))
        return sorted(found, key=lambda term: not term.covers)

    def _pieces(self, use: Use, place: Place) -> list[Term]:
        """The panels and rows of a junction."""
        frame = self.tile.frame
        found: list[Term] = []
        for panel, tables in zip(use.cut.panels, use.panels, strict=True):

            def panels_of(
                f: Function, source: str, sums: Sums, panel: Panels = panel, tables: PanelTables = tables
            ) -> None:
                weights = byte_offset(f, "%params", use.weights)
                panels.write_backward(f, frame, panel, tables, source, weights, sums)

            found.append(Term(self._writer(use, place, panels_of), panel.covers_src, biased=False))
        if use.cut.turned and use.back:
            cut, back = use.cut.turned.rows, use.back

            def rows_of(f: Function, source: str, sums: Sums) -> None:
                rows.write_sums(f, frame, cut, back, source, byte_offset(f, "%params", use.turned), sums)

            found.append(Term(self._writer(use, place, rows_of), covers=True, biased=False))
        return found

    def _writer(self, use: Use, place: Place, body: Body) -> Callable[[Init, Call | None], None]:
        """The kernel of a piece, from how sums begin and what becomes of them."""

        def write(init: Init, stage: Call | None) -> None:
            f = Function(self.tile.name("backward"), KERNEL)
            source = byte_offset(f, "%acts", self.tile.model.places[use.dst].deltas[0])
            body(
                f,
                source,
                Sums(self.tile.frame, byte_offset(f, "%acts", place.delta), init, "", self._end(f, place, stage)),
            )
            self.tile.run(f, self.tile.context["params"], self.tile.acts)

        return write

    def _sheets(self, use: SheetUse, place: Place) -> Term:
        """A junction of bfloat16; sources may be heard by several sheets, so its sums are added."""

        def write(init: Init, stage: Call | None) -> None:
            products.sum_backward(self.tile, use, place)

        return Term(write, covers=False, biased=False)

    def _filtered(self, use: FilterUse, place: Place) -> list[Term]:
        """A filter: one pass for every phase of its strides, all groups of channels."""

        def write(init: Init, stage: Call | None) -> None:
            self.tile.planes(use.deltas)
            f = Function(self.tile.name("unfilter"), KERNEL)
            source, weights = byte_offset(f, "%acts", use.deltas.at), byte_offset(f, "%params", use.turned)
            sums = Sums(self.tile.frame, byte_offset(f, "%acts", place.delta), init, "", self._end(f, place, stage))
            for run in use.runs_back:
                for table in use.back:
                    write_pass(f, self.tile.frame, run, table, source, weights, sums)
            self.tile.run(f, self.tile.context["params"], self.tile.acts)

        return [Term(write, covers=True, biased=False)]

    def _end(self, f: Function, place: Place, stage: Call | None) -> End | None:
        """What becomes of finished gradients: they go through a stage, the only one of the station."""
        if stage is None:
            return None
        frame, chosen = self.tile.frame, stage
        held = byte_offset(f, "%acts", place.buffers[1] if stages.kept(stage) == "value" else place.buffers[0])

        def mask(f: Function, value: str, at: str) -> str:
            return stages.slope(f, frame, chosen, value, frame.load(f, held, at))

        return mask

    def _skipped(self, skip: Skip, place: Place) -> Term:
        source = self.tile.model.places[skip.dst].deltas[0] + skip.first * self.tile.frame.stride

        def write(init: Init, stage: Call | None) -> None:
            self.tile.skip(skip, source, place.delta, init)

        return Term(write, covers=False, biased=False)
