"""A plan made ready for a machine: text, TIR, schedule; the steps between a graph and its kernels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

from pathc.backends.tvm import facade
from pathc.backends.tvm.filters.pack import Packed, parameters
from pathc.backends.tvm.filters.plan import FilterPlan, Filters
from pathc.backends.tvm.filters.schedule import schedule_filters
from pathc.backends.tvm.filters.tiles import Tile as FilterTile
from pathc.backends.tvm.filters.tiles import tile_of
from pathc.backends.tvm.filters.tir import functions as filter_functions
from pathc.backends.tvm.loops import functions
from pathc.backends.tvm.plan import NetPlan
from pathc.backends.tvm.recurrent.plan import CellPlan, Feed, SequencePlan
from pathc.backends.tvm.recurrent.schedule import schedule_cell
from pathc.backends.tvm.recurrent.tiles import CellTile, with_tile
from pathc.backends.tvm.recurrent.tir import cell_functions
from pathc.backends.tvm.schedule import Tile, schedule
from pathc.backends.tvm.tensorcore import Precision
from pathc.backends.tvm.tir import Function, module_text
from pathc.support.diagnostics import error

AnyTile = Tile | FilterTile | CellTile
Tiles = Mapping[str, AnyTile]
"""Split factors by the name of the operation."""


@dataclass(frozen=True, eq=False)
class Lowered:
    """A plan with what it becomes on the way to kernels, each made when first asked for.

    Operations have the split factors that `tiles` says, the others those of the models.
    With `precision` blocks that fit are computed on tensor cores; TIR and schedule show them in float32.
    """

    plan: NetPlan | SequencePlan
    gpu: bool
    tiles: Tiles = field(default_factory=dict[str, AnyTile])
    precision: Precision | None = None

    @property
    def net(self) -> NetPlan:
        """The plan of a net without cells."""
        if not isinstance(self.plan, NetPlan):
            raise TypeError(f"{self.plan.name} has cells")
        return self.plan

    @property
    def filters(self) -> FilterPlan | None:
        """What is computed of a net with extents before the flat one."""
        return self.plan.filters if isinstance(self.plan, NetPlan) else None

    @cached_property
    def tiled(self) -> NetPlan | SequencePlan:
        """The plan with the split factors of its cells."""
        if isinstance(self.plan, NetPlan):
            return self.plan
        return replace(self.plan, pieces=tuple(map(self._with_tile, self.plan.pieces)))

    def _with_tile(self, piece: Feed | CellPlan) -> Feed | CellPlan:
        tile = None if isinstance(piece, Feed) else self.tiles.get(piece.name)
        return with_tile(piece, tile) if isinstance(piece, CellPlan) and isinstance(tile, CellTile) else piece

    def default_filter_tile(self, op: Filters) -> FilterTile:
        """The tile of a filter unless another one was chosen."""
        return tile_of(op, self.gpu, self.plan.lanes == 1)

    @cached_property
    def filter_tiles(self) -> dict[str, FilterTile]:
        """Tiles of filters by the name of the operation."""
        found: dict[str, FilterTile] = {}
        for op in self.filters.ops if self.filters else ():
            if isinstance(op, Filters):
                tile = self.tiles.get(op.name)
                found[op.name] = tile if isinstance(tile, FilterTile) else self.default_filter_tile(op)
        return found

    @cached_property
    def filter_parameters(self) -> Packed:
        """What the kernels of filters take besides planes, by name."""
        found: Packed = {}
        for op in self.filters.ops if self.filters else ():
            found |= parameters(op, self.filter_tiles.get(op.name, FilterTile()))
        return found

    @cached_property
    def functions(self) -> tuple[Function, ...]:
        """The functions of TIR, those of filters first."""
        plan = self.tiled
        if isinstance(plan, NetPlan):
            first = filter_functions(self.filters, self.filter_tiles, self.gpu) if self.filters else ()
            return (*first, *functions(plan))
        found: list[Function] = []
        for piece in plan.pieces:
            if isinstance(piece, Feed):
                rows = ("batch", "rows"), ("tiles", f"rows/{piece.plan.lanes}")
                found += [replace(function, symbols=rows) for function in functions(piece.plan)]
            else:
                found += cell_functions(piece, self.gpu)
        return tuple(found)

    @cached_property
    def module(self) -> facade.Module:
        """Loops as the mathematics has them."""
        return facade.parse(module_text(self.functions))

    @cached_property
    def schedule(self) -> facade.Schedule:
        """The schedule; InternalError E0698 if TVM does not take a step of it."""
        try:
            steps = facade.Schedule(self.module)
            if self.filters:
                schedule_filters(steps, self.filters, self.filter_tiles, self.gpu)
            tiles = {name: tile for name, tile in self.tiles.items() if isinstance(tile, Tile)}
            for piece in (self.tiled,) if isinstance(self.tiled, NetPlan) else self.tiled.pieces:
                if isinstance(piece, NetPlan | Feed):
                    schedule(steps, piece if isinstance(piece, NetPlan) else piece.plan, self.gpu, tiles)
                else:
                    schedule_cell(steps, piece, self.gpu)
        except Exception as reason:
            raise facade.refused("schedule", reason) from reason
        return steps


def stage(lowered: Lowered, kind: str) -> str:
    """The stages that processor and GPU have in common, as text."""
    match kind:
        case "plan":
            return str(lowered.tiled)
        case "tir":
            return facade.show(lowered.module) + "\n"
        case "schedule":
            return lowered.schedule.trace
        case "scheduled":
            return facade.show(lowered.schedule.module) + "\n"
        case _:
            raise error("E0804", f"there is no stage `{kind}`", help="plan, tir, schedule or scheduled")
