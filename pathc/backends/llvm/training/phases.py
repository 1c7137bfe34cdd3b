"""The phases after the tiles: gradients of weights, the optimizer's step, copies of weights renewed.

A phase is a list of tasks that do not depend on each other: a kernel for a range of weights, whose gradients it sums
over the whole batch in one order.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from pathc.backends.llvm.column.common import byte_offset
from pathc.backends.llvm.emit import I64, Function
from pathc.backends.llvm.training import outer, panels, rows
from pathc.backends.llvm.training.filters.gradient import write_filter_gradient
from pathc.backends.llvm.training.halves.updates import SheetUpdates
from pathc.backends.llvm.training.model import Model
from pathc.backends.llvm.training.norms import write_moved, write_norm_gradients
from pathc.backends.llvm.training.optimizers import Optimizer
from pathc.backends.llvm.training.tasks import TASK, WORK, Task, Variant, given
from pathc.backends.llvm.training.tensors import Copy, FilterUse, Tensor, Use
from pathc.backends.llvm.training.update import (
    RANGE,
    Sink,
    write_bias_gradient,
    write_channel_sums,
    write_copy,
    write_settled,
    write_swap,
)
from pathc.ir.weights import GAIN, MEAN, SHIFT, VARIANCE


@dataclass
class Updates:
    """Writer of the phases of one program; kernels are added to `functions`, `name` makes names."""

    model: Model
    variant: Variant
    optimizer: Optimizer | None
    fixed: bool
    name: Callable[[str], str]
    functions: list[Function]

    def __post_init__(self) -> None:
        self.halves = SheetUpdates(self.model, self.variant, self.optimizer, self.fixed, self.name, self.functions)

    def phases(self) -> list[tuple[str, list[Task]]]:
        """Phases after the tiles: gradients of further uses, their sums, gradients of owners, copies."""
        model, variant = self.model, self.variant
        if variant.renew:
            return [("renewed", self.halves.renewed(model.sheets))]
        if variant.update == "none":
            return []
        phases = list[tuple[str, list[Task]]]()
        tensors = [t for t in model.tensors.values() if t.trained]
        others = [u for u in model.uses if model.tensors[u.tensor].trained and not self._sinks(u)]
        filters = [u for u in model.filters if model.tensors[u.tensor].trained]
        gathered = [task for use in others for task in self._gradient(use)]
        gathered.extend(task for use in filters for task in self._filter_gradient(use))
        gathered.extend(task for t in tensors if t.bias and t.gathered for task in self._station_gradient(t))
        phases.append(("others", gathered))
        trained = {model.tensors[u.tensor].extra for u in (*others, *filters) if not u.owner}
        phases.extend((f"sum{k}", [self._copy(c)]) for k, c in enumerate(model.sums) if c.target in trained)
        owned = [u for u in reversed(model.uses) if model.tensors[u.tensor].trained and self._sinks(u)]
        tasks = [task for use in owned for task in self._gradient(use)]
        trained_sheets = [use for use in reversed(model.sheets) if model.tensors[use.tensor].trained]
        tasks.extend(task for use in trained_sheets for task in self.halves.gradients(use))
        tasks.extend(self._bias_gradient(t) for t in tensors if t.bias and not t.gathered)
        stepping = variant.update == "step"
        tasks.extend(self._settled(t) for t in tensors if t.gathered and (stepping or t.extra >= 0))
        if stepping and variant.by_batch:
            tasks.extend(
                self._moved(t) for t in model.tensors.values() if t.name.endswith(f".{MEAN}") and model.trains(t.name)
            )
        if variant.windowed:
            frozen = [t for t in model.tensors.values() if t.aside >= 0 and not t.trained]
            tasks.extend(self._swap(t, hide=False) for t in frozen)
        phases.append(("owners", tasks))
        if variant.update != "store":
            trained = {t.working for t in model.tensors.values() if t.trained or variant.windowed}
            copies = [self._copy(c) for c in model.copies if c.source in trained]
            hidden = [use for use in model.sheets if variant.windowed and not model.tensors[use.tensor].trained]
            phases.append(("copies", [*copies, *self.halves.renewed(hidden)]))
        return phases

    def before(self) -> list[tuple[str, list[Task]]]:
        """Phases before the tiles: what is outside the window is laid aside, copies are renewed without it."""
        if not self.variant.windowed:
            return []
        hidden = [self._swap(t, hide=True) for t in self.model.tensors.values() if t.aside >= 0]
        copies = [self._copy(c) for c in self.model.copies]
        return [("hidden", hidden), ("seen", [*copies, *self.halves.renewed(self.model.sheets)])]

    def _swap(self, tensor: Tensor, *, hide: bool) -> Task:
        kernel = write_swap(self.model.frame, self.name("hide" if hide else "show"), tensor, hide=hide)
        self.functions.append(kernel)
        lanes = self.model.frame.lanes
        return Task(kernel.name, tensor.size // lanes, WORK // lanes)

    def _gradient(self, use: Use) -> list[Task]:
        model, frame = self.model, self.model.frame
        tensor = model.tensors[use.tensor]
        step = self.variant.update == "step"
        windowed = self.variant.windowed and tensor.aside >= 0
        found = list[Task]()

        def start() -> tuple[Function, Callable[[Function, str, str], None] | None, str, str]:
            f = Function(self.name("gradient"), RANGE)
            sink: Callable[[Function, str, str], None] | None = None
            if self._sinks(use):
                sink = Sink(f, frame, tensor, self.optimizer if step else None, self.fixed, tensor.extra >= 0, windowed)
            values = byte_offset(f, "%acts", model.places[use.src].values)
            return f, sink, values, byte_offset(f, "%acts", model.places[use.dst].deltas[0])

        for panel, tables in zip(use.cut.panels, use.panels, strict=True):
            f, sink, values, deltas = start()

            def keep(f: Function, gradient: str, slot: str) -> None:
                at = f.op("shl", I64, slot, "2", "nuw nsw")
                frame.store(f, gradient, byte_offset(f, "%params", use.gradient), at)

            if outer.suits(panel, frame):
                gradients = byte_offset(f, "%params", use.gradient)
                if self._sinks(use) and not step and tensor.extra < 0:
                    sink = None
                outer.write_gradient(f, frame, panel, tables, (values, deltas), gradients, model.tile_bytes, sink)
            else:
                panels.write_gradient(f, frame, panel, tables, values, deltas, model.tile_bytes, sink or keep)
            self.functions.append(f)
            found.append(Task(f.name, panel.blocks, max(1, WORK // (panel.fan_in * panel.fan_out))))
        if use.cut.rows and use.rows:
            f, sink, values, deltas = start()
            gradients = byte_offset(f, "%params", use.gradient)
            if self._sinks(use) and not step and tensor.extra < 0:
                sink = None
            rows.write_gradient(f, frame, use.cut.rows, use.rows, values, deltas, gradients, model.tile_bytes, sink)
            self.functions.append(f)
            each = use.cut.rows.size / use.cut.rows.sets
            found.append(Task(f.name, use.cut.rows.sets, max(1, int(WORK / each))))
        return found

    def _sinks(self, use: Use) -> bool:
        """Whether the gradients of a use go on as they are computed: no other use and no filter adds to them."""
        return use.owner and not self.model.tensors[use.tensor].gathered

    def _filter_gradient(self, use: FilterUse) -> list[Task]:
        found: list[Task] = []
        for table in use.forward:
            f = Function(self.name("filter_gradient"), RANGE)
            buffers = byte_offset(f, "%acts", use.values.at), byte_offset(f, "%acts", use.deltas.source)
            gradients = byte_offset(f, "%params", use.gradient)
            write_filter_gradient(f, self.model.frame, use.run, table, buffers, gradients, self.model.tile_bytes)
            self.functions.append(f)
            found.append(Task(f.name, len(table.groups.records), 1))
        return found

    def _station_gradient(self, tensor: Tensor) -> list[Task]:
        """Gradients of a bias over positions and evaluations, or of gain and shift, which come together."""
        model = self.model
        name, _, part = tensor.name.partition(".")
        places, channels = model.of_station(name), tensor.shape[0]
        if part == "bias":
            kernel = self.name("bias_gradient")
            deltas = [place.deltas[0] for place in places if place.station.stage("bias") is not None]
            positions = math.prod(places[0].extents[0])
            f = write_channel_sums(model.frame, kernel, deltas, positions, tensor.gradient, model.tile_bytes)
        elif part == GAIN or not model.tensors[f"{name}.{GAIN}"].trained:
            kernel = self.name("norm_gradient")
            found = [place.norm for place in places if place.norm is not None]
            both = tuple(model.tensors[f"{name}.{own}"].gradient for own in (GAIN, SHIFT))
            f = write_norm_gradients(kernel, found, (both[0], both[1]), model.tile_bytes)
        else:
            return []
        self.functions.append(f)
        return [Task(kernel, channels, channels)]

    def _settled(self, tensor: Tensor) -> Task:
        """What becomes of gradients that are complete in memory."""
        frame = self.model.frame
        f = Function(self.name("settled"), RANGE)
        optimizer = self.optimizer if self.variant.update == "step" else None
        windowed = self.variant.windowed and tensor.aside >= 0
        write_settled(Sink(f, frame, tensor, optimizer, self.fixed, tensor.extra >= 0, windowed))
        self.functions.append(f)
        return Task(f.name, tensor.size // frame.lanes, WORK // frame.lanes)

    def _moved(self, tensor: Tensor) -> Task:
        """The stored statistics of a normalization follow those of the batch."""
        model, name = self.model, tensor.name.partition(".")[0]
        norms = [place.norm for place in model.of_station(name) if place.norm is not None]
        stored = tensor.master, model.tensors[f"{name}.{VARIANCE}"].master
        self.functions.append(write_moved(self.name("moved"), norms, stored))
        return Task(self.functions[-1].name, tensor.shape[0], tensor.shape[0])

    def _bias_gradient(self, tensor: Tensor) -> Task:
        place = self.model.places[tensor.name.removesuffix(".bias")]
        f = Function(self.name("bias_gradient"), RANGE)
        optimizer = self.optimizer if self.variant.update == "step" else None
        sink = Sink(f, self.model.frame, tensor, optimizer, self.fixed, False)
        frame, delta = self.model.frame, place.deltas[0]
        if place.station.name in self.model.halved:
            frame, delta = replace(frame, columns=frame.lanes), self.model.halved[place.station.name].partial
        write_bias_gradient(frame, f.name, delta, self.model.tile_bytes, place.units(0), sink)
        self.functions.append(f)
        return Task(f.name, -(-place.units(0) // self.model.frame.lanes), WORK)

    def _copy(self, copy: Copy) -> Task:
        kernel = write_copy(self.name("copy"), self.model.frame, copy.index, copy.source, copy.target, add=copy.add)
        self.functions.append(kernel)
        return Task(kernel.name, copy.size // self.model.frame.lanes, WORK // self.model.frame.lanes)

    def write(self, name: str, tasks: Sequence[Task]) -> list[str]:
        """The function of a phase's tasks, and the tables it reads."""
        calls = list[str]()
        ranges = list[str]()
        for task in tasks:
            for first in range(0, task.units, task.grain):
                calls.append(f"ptr @{task.kernel}")
                ranges.append(f"i64 {first}, i64 {min(first + task.grain, task.units)}")
        f = Function(name, TASK)
        chosen = f.load("ptr", f.offset(f"@{name}.kernels", "%task", "ptr"), 8)
        pair = f.offset(f"@{name}.ranges", f.op("shl", I64, "%task", "1"), I64)
        start, stop = f.load(I64, pair, 8), f.load(I64, f.offset(pair, 1, I64), 8)
        fields = "params", "acts", "tiles", "numbers", "mask", "aside"
        params, acts, tiles, numbers, mask, aside = (given(f, name) for name in fields)
        span = f.op("mul", I64, tiles, str(self.model.tile_bytes))
        arguments = (
            f"ptr {params}, ptr {acts}, ptr {numbers}, i64 {span}, i64 {start}, i64 {stop}, ptr {mask}, ptr {aside}"
        )
        f.line(f"call void {chosen}({arguments})")
        self.functions.append(f)
        return [
            f"@{name}.kernels = internal constant [{len(calls)} x ptr] [{', '.join(calls)}]",
            f"@{name}.ranges = internal constant [{2 * len(ranges)} x i64] [{', '.join(ranges)}]",
        ]
