"""Tasks on the weights of junctions of bfloat16: gradients with the optimizer's step, copies renewed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from pathc.backends.llvm.emit import Function
from pathc.backends.llvm.training.halves.gradient import write_gradient
from pathc.backends.llvm.training.halves.renewal import write_renewal, write_renewals
from pathc.backends.llvm.training.halves.uses import PartPlace, SheetUse
from pathc.backends.llvm.training.model import Model
from pathc.backends.llvm.training.optimizers import Optimizer
from pathc.backends.llvm.training.tasks import WORK, Task, Variant
from pathc.backends.llvm.training.update import RANGE, Sink


@dataclass
class SheetUpdates:
    """Writer of these tasks; kernels are added to `functions`, `name` makes names."""

    model: Model
    variant: Variant
    optimizer: Optimizer | None
    fixed: bool
    name: Callable[[str], str]
    functions: list[Function]
    renewals: dict[int, str] = field(default_factory=dict[int, str])

    def gradients(self, use: SheetUse) -> list[Task]:
        """The gradients of a junction, and what becomes of them."""
        model, variant, tensor = self.model, self.variant, self.model.tensors[use.tensor]
        step = variant.update == "step"
        found: list[Task] = []
        for held in use.parts:
            f = Function(self.name("gradient"), RANGE)
            windowed = variant.windowed and tensor.aside >= 0
            sink = Sink(f, model.frame, tensor, self.optimizer if step else None, self.fixed, False, windowed)
            renew = self._renewal(held, tensor.working) if step else ""
            places = model.halved[use.src].values, tensor.gradient, model.shape
            write_gradient(f, held, places, model.tile_bytes, sink, renew)
            self.functions.append(f)
            found.append(_task(f.name, held))
        return found

    def renewed(self, uses: Sequence[SheetUse]) -> list[Task]:
        """The copies of weights made anew."""
        found: list[Task] = []
        for use in uses:
            for held in use.parts:
                renew = self._renewal(held, self.model.tensors[use.tensor].working)
                self.functions.append(write_renewals(self.name("renewals"), renew))
                found.append(_task(self.functions[-1].name, held))
        return found

    def _renewal(self, held: PartPlace, working: int) -> str:
        if held.ahead not in self.renewals:
            self.functions.append(write_renewal(self.name("renewal"), held, working))
            self.renewals[held.ahead] = self.functions[-1].name
        return self.renewals[held.ahead]


def _task(kernel: str, held: PartPlace) -> Task:
    sheets = len(held.part.sheets)
    return Task(kernel, sheets, max(1, WORK * sheets // int(held.part.cells.sum())))
