"""A training step as LLVM IR: what is done to each tile of columns, then to the weights, and the entry that runs both.

Tiles are independent of each other, but for the statistics of batches, which part their work into phases; so are
ranges of weights: gradients are sums over the whole batch in one order. So the result does not depend on how many
threads share the work.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from pathc.backends.llvm.column.common import byte_offset
from pathc.backends.llvm.emit import Function, module
from pathc.backends.llvm.training.backward import Backward
from pathc.backends.llvm.training.entry import write_entry
from pathc.backends.llvm.training.forward import Forward
from pathc.backends.llvm.training.model import Model
from pathc.backends.llvm.training.optimizers import Optimizer
from pathc.backends.llvm.training.phases import Updates
from pathc.backends.llvm.training.tasks import Task, Variant
from pathc.backends.llvm.training.tile import Tile


@dataclass
class Program:
    """Writer of one program."""

    model: Model
    variant: Variant
    optimizer: Optimizer | None
    fixed: bool
    functions: list[Function] = field(default_factory=list[Function])

    def text(self) -> str:
        """The module, exporting ENTRY."""
        phases = list[tuple[str, int]]()
        globals_ = list[str]()
        tile = Tile(self.model, self.variant, self.functions)
        updates = Updates(self.model, self.variant, self.optimizer, self.fixed, tile.name, self.functions)

        def add(found: list[tuple[str, list[Task]]]) -> None:
            for name, tasks in found:
                if tasks:
                    globals_.extend(updates.write(name, tasks))
                    phases.append((name, sum(-(-t.units // t.grain) for t in tasks)))

        add(updates.before())
        if self.variant.forward or self.variant.backward:
            self._tile(tile)
            self.functions.extend(tile.kernels.functions.values())
            phases.extend((name, 0) for name in tile.phases)
        add(updates.phases())
        labels = next(p.real(-1) for p in tile.of_role("output")) if self.variant.loss == "cross-entropy" else 0
        self.functions.append(write_entry(phases, self.variant, labels))
        self.functions[-1].declared["pathc_pool_run"] = "declare void @pathc_pool_run(ptr, ptr, ptr, i64)"
        return module(self.functions, self.model.frame.machine.triple, globals_)

    def _tile(self, tile: Tile) -> None:
        """All stations forwards, the loss, and all stations backwards."""
        model, variant = self.model, self.variant
        tile.begin()
        if variant.forward:
            forward = Forward(tile)
            for name in model.order:
                forward.station(model.places[name])
            if variant.outputs:
                for place in tile.of_role("output"):
                    tile.save(place, place.values, -1, "y")
        if variant.loss == "mse":
            for k in range(2):
                tile.f.store("double", "0.0", byte_offset(tile.f, tile.sums, 8 * k), 8)
        if variant.loss != "none" and not variant.backward:
            for place in tile.of_role("output"):
                tile.loss(place, add=False)
        if variant.backward:
            backward = Backward(tile)
            for name in reversed(model.order):
                if name in tile.needed or model.places[name].station.role == "output":
                    backward.station(model.places[name])
            if variant.inputs:
                for place in tile.of_role("input"):
                    tile.save(place, place.deltas[0], 0, "dx")
        tile.end()
