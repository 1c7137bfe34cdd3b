"""A plan made ready for a machine: text, TIR, schedule; the steps between a graph and its kernels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from pathc.backends.tvm import facade
from pathc.backends.tvm.plan import NetPlan
from pathc.backends.tvm.schedule import Tile, schedule
from pathc.backends.tvm.tensorcore import Precision
from pathc.backends.tvm.tir import Function, functions, module_text


@dataclass(frozen=True, eq=False)
class Lowered:
    """A plan with what it becomes on the way to kernels, each made when first asked for.

    With `precision` blocks that fit are computed on tensor cores; TIR and schedule show them in float32.
    """

    plan: NetPlan
    gpu: bool
    tiles: Mapping[str, Tile] = field(default_factory=dict[str, Tile])
    precision: Precision | None = None

    @cached_property
    def functions(self) -> tuple[Function, ...]:
        """The functions of TIR."""
        return functions(self.plan)

    @cached_property
    def module(self) -> facade.Module:
        """Loops as the mathematics has them."""
        return facade.parse(module_text(self.functions))

    @cached_property
    def schedule(self) -> facade.Schedule:
        """The schedule; InternalError E0698 if TVM does not take a step of it."""
        try:
            steps = facade.Schedule(self.module)
            schedule(steps, self.plan, self.gpu, self.tiles)
        except Exception as reason:
            raise facade.refused("schedule", reason) from reason
        return steps
