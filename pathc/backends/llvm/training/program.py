"""A training step as LLVM IR: what is done to each tile of columns, then to the weights, and the entry that runs both.

Tiles are independent of each other, and so are ranges of weights: gradients are sums over the whole batch in one order.
So the result does not depend on how many threads share the work.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from pathc.backends.llvm.column import transpose
from pathc.backends.llvm.column.common import byte_offset
from pathc.backends.llvm.emit import F32, I64, Function, constant, module
from pathc.backends.llvm.training import losses, panels, rows, stages
from pathc.backends.llvm.training.entry import write_entry
from pathc.backends.llvm.training.frame import End, Init, Sums
from pathc.backends.llvm.training.model import Model, Place, Use
from pathc.backends.llvm.training.optimizers import Optimizer
from pathc.backends.llvm.training.phases import CONTEXT, TASK, Task, Updates, Variant, given
from pathc.backends.llvm.training.pieces import Panels
from pathc.ir.types import Call

_KERNEL = (("ptr noalias", "params"), ("ptr", "acts"))


@dataclass
class Program:
    """Writer of one program."""

    model: Model
    variant: Variant
    optimizer: Optimizer | None
    fixed: bool
    functions: list[Function] = field(default_factory=list[Function])

    def __post_init__(self) -> None:
        self.frame = self.model.frame
        self.needed = self.model.needing(self.variant.inputs) if self.variant.backward else frozenset[str]()
        self._count = 0

    def text(self) -> str:
        """The module, exporting ENTRY."""
        phases = list[tuple[str, int]]()
        globals_ = list[str]()
        updates = Updates(self.model, self.variant, self.optimizer, self.fixed, self._name, self.functions)

        def add(found: list[tuple[str, list[Task]]]) -> None:
            for name, tasks in found:
                if tasks:
                    globals_.extend(updates.write(name, tasks))
                    phases.append((name, sum(-(-t.units // t.grain) for t in tasks)))

        add(updates.before())
        if self.variant.forward or self.variant.backward:
            self._tile()
            phases.append(("tile", 0))
        add(updates.phases())
        labels = next(p.real for p in self._of_role("output")) if self.variant.loss == "cross-entropy" else 0
        self.functions.append(write_entry(phases, self.variant, labels))
        self.functions[-1].declared["pathc_pool_run"] = "declare void @pathc_pool_run(ptr, ptr, ptr, i64)"
        return module(self.functions, self.frame.machine.triple, globals_)

    def _name(self, what: str) -> str:
        self._count += 1
        return f"{what}.{self._count}"

    # A tile of columns

    def _tile(self) -> None:
        f = Function("tile", TASK)
        self.f = f
        self.context = {name: given(f, name) for name in CONTEXT}
        first = f.op("mul", I64, "%task", str(self.frame.columns))
        self.first = first
        left = f.op("sub", I64, self.context["count"], first)
        self.count = f.call(I64, "llvm.umin.i64", [(I64, left), (I64, str(self.frame.columns))])
        start = f.op("mul", I64, "%task", str(self.model.tile_bytes), "nuw nsw")
        self.acts = byte_offset(f, self.context["acts"], start)
        self.sums = byte_offset(f, self.context["sums"], f.op("shl", I64, "%task", "4"))
        if self.variant.forward:
            for name in self.model.order:
                self._station_forward(self.model.places[name])
            if self.variant.outputs:
                for place in self._of_role("output"):
                    self._save(place, place.values, "y")
        if self.variant.loss == "mse":
            for k in range(2):
                f.store("double", "0.0", byte_offset(f, self.sums, 8 * k), 8)
        if self.variant.loss != "none" and not self.variant.backward:
            for place in self._of_role("output"):
                self._loss(place, add=False)
        if self.variant.backward:
            for name in reversed(self.model.order):
                if name in self.needed or self.model.places[name].station.role == "output":
                    self._station_backward(self.model.places[name])
            if self.variant.inputs:
                for place in self._of_role("input"):
                    self._save(place, place.delta, "dx")
        self.functions.append(f)

    def _of_role(self, role: str) -> list[Place]:
        return [p for p in self.model.places.values() if p.station.role == role]

    def _at(self, offset: int) -> str:
        return byte_offset(self.f, self.acts, offset)

    def _run(self, kernel: Function, *arguments: str, more: Sequence[tuple[str, str]] = ()) -> None:
        """Add a kernel and call it with pointers."""
        self.functions.append(kernel)
        self.f.call("void", kernel.name, [*(("ptr", a) for a in arguments), *more], declare=False)

    def _save(self, place: Place, buffer: int, to: str) -> None:
        kernel = transpose.emit_save(self._name("save"), self.frame.machine, self.frame.columns, place.real)
        self._run(kernel, *self._user(place, buffer, to), more=self._extent(to))

    def _load(self, place: Place, buffer: int, source: str) -> None:
        kernel = transpose.emit_load(
            self._name("load"), self.frame.machine, self.frame.columns, place.units, place.real
        )
        self._run(kernel, *self._user(place, buffer, source), more=self._extent(source))

    def _user(self, place: Place, buffer: int, array: str) -> tuple[str, str]:
        stride = self.context[f"{array}_stride"]
        row = self.f.offset(self.context[array], self.f.op("mul", I64, self.first, stride))
        return self.f.offset(row, place.first), self._at(buffer)

    def _extent(self, array: str) -> list[tuple[str, str]]:
        return [(I64, self.context[f"{array}_stride"]), (I64, self.count)]

    # Forwards

    def _station_forward(self, place: Place) -> None:
        frame, station, name = self.frame, place.station, place.station.name
        bias = station.stage("bias") is not None
        wanted = self._stages_wanted(place)
        first = wanted[0] if wanted and wanted[0].name not in stages.WHOLE else None
        inline = first if first and stages.kept(first) == "value" else None
        terms = self._terms(name)
        init: Init = "bias" if bias else "zero"
        if station.role == "input":
            self._load(place, place.buffers[0], "x")
            if bias:
                self._bias_pass(place, add=True)
            init = "add"
        elif not terms or not terms[0][1]:
            if bias:
                self._bias_pass(place, add=False)
            else:
                self._fill(place.buffers[0], place.units)
            init = "add"
        fused = inline if terms and terms[-1][1] else None
        for number, (write, _) in enumerate(terms):
            write(init if number == 0 else "add", fused if number == len(terms) - 1 else None, bias)
        for number, stage in enumerate(wanted):
            if number == 0 and fused:
                continue
            stage_name = self._name(stage.name)
            self.functions.extend(stages.helpers(frame, stage_name, stage, place.real))
            before, after = place.buffers[number : number + 2]
            kernel = stages.write_stage(frame, stage_name, stage, place.units, in_place=before == after)
            self._run(kernel, self._at(before), self._at(after))
        self._silence(place, place.values)

    def _stages_wanted(self, place: Place) -> tuple[Call, ...]:
        """The stages of a station, less a softmax that only the loss would look at."""
        if self._scores(place) and not self._read(place.station.name) and not self.variant.outputs:
            return place.stages[:-1]
        return place.stages

    def _scores(self, place: Place) -> bool:
        """Whether the loss takes the argument of the station's last stage, a softmax."""
        softmax = bool(place.stages) and place.stages[-1].name == "softmax"
        return self.variant.loss == "cross-entropy" and place.station.role == "output" and softmax

    def _read(self, name: str) -> bool:
        return any(True for _ in self.model.leaving(name)) or any(s.src == name for s in self.model.skips)

    def _terms(self, name: str) -> list[tuple[Callable[[Init, Call | None, bool], None], bool]]:
        """What adds to a station, as writers, and whether each reaches every unit; one that does comes first."""
        place = self.model.places[name]
        found = list[tuple[Callable[[Init, Call | None, bool], None], bool]]()
        for use in self.model.entering(name):
            for panel, tables in zip(use.cut.panels, use.panels, strict=True):

                def through_panel(
                    init: Init,
                    stage: Call | None,
                    bias: bool,
                    use: Use = use,
                    panel: Panels = panel,
                    tables: panels.PanelTables = tables,
                ) -> None:
                    def body(f: Function, source: str, weights: str, sums: Sums) -> None:
                        panels.write_forward(f, self.frame, panel, tables, source, weights, sums)

                    self._forward_kernel(use, place, init, stage, body)

                found.append((through_panel, panel.covers))
            if use.cut.rows and use.rows:

                def through_rows(init: Init, stage: Call | None, bias: bool, use: Use = use) -> None:
                    def body(f: Function, source: str, weights: str, sums: Sums) -> None:
                        if use.cut.rows and use.rows:
                            rows.write_sums(f, self.frame, use.cut.rows, use.rows, source, weights, sums)

                    self._forward_kernel(use, place, init, stage, body)

                found.append((through_rows, True))
        for skip in self.model.skips:
            if skip.dst == name:
                source = self.model.places[skip.src].values

                def through_skip(
                    init: Init, stage: Call | None, bias: bool, source: int = source, scale: float = skip.scale
                ) -> None:
                    self._skip(source, place.buffers[0], place.units, scale, init)

                found.append((through_skip, False))
        return sorted(found, key=lambda term: not term[1])

    def _forward_kernel(
        self,
        use: Use,
        place: Place,
        init: Init,
        stage: Call | None,
        body: Callable[[Function, str, str, Sums], None],
    ) -> None:
        frame = self.frame
        f = Function(self._name("forward"), _KERNEL)
        end: End | None = None
        if stage is not None:
            chosen = stage

            def apply(f: Function, value: str, at: str) -> str:
                return stages.vecmath.apply(f, frame.lanes, value, chosen, frame.machine)

            end = apply
        source = byte_offset(f, "%acts", self.model.places[use.junction.src].values)
        pointer = byte_offset(f, "%acts", place.buffers[0])
        bias = byte_offset(f, "%params", self._bias_of(place)) if init == "bias" else ""
        body(f, source, byte_offset(f, "%params", use.weights), Sums(frame, pointer, init, bias, end))
        self._run(f, self.context["params"], self.acts)

    def _bias_of(self, place: Place) -> int:
        return self.model.tensors[f"{place.station.name}.bias"].working

    def _bias_pass(self, place: Place, *, add: bool) -> None:
        kernel = stages.write_bias(self.frame, self._name("bias"), place.units, add=add)
        self._run(kernel, self._at(place.buffers[0]), byte_offset(self.f, self.context["params"], self._bias_of(place)))

    def _fill(self, buffer: int, units: int, first: int = 0) -> None:
        self._run(stages.write_fill(self.frame, self._name("fill"), units, first), self._at(buffer))

    def _silence(self, place: Place, buffer: int) -> None:
        if place.real < place.units:
            self._fill(buffer, place.units, place.real)

    def _skip(self, source: int, target: int, units: int, scale: float, init: Init) -> None:
        kernel = stages.write_skip(self.frame, self._name("skip"), units, scale, add=init == "add")
        self._run(kernel, self._at(source), self._at(target))

    # Losses

    def _loss(self, place: Place, *, add: bool) -> None:
        gradient = self.variant.backward
        f = self.f
        samples = f.assign(f"uitofp i64 {self.context['count']} to float")
        scale = f.op("fdiv", F32, constant(1.0), samples)
        more = [(I64, self.count), ("ptr", self.sums), (F32, scale)]
        if self.variant.loss == "cross-entropy":
            values = place.buffers[-2] if self._scores(place) else place.values
            labels = f.offset(self.context["target"], f.op("mul", I64, self.first, "1"), I64)
            kernel = losses.write_cross_entropy(self.frame, self._name("loss"), place.real, gradient=gradient, add=add)
            self._run(kernel, self._at(values), self._at(place.delta), labels, more=more)
            return
        total = sum(p.real for p in self._of_role("output"))
        more[2] = (F32, f.op("fdiv", F32, scale, constant(float(total))))
        self._load(place, place.delta, "target")
        kernel = losses.write_squares(self.frame, self._name("loss"), place.real, gradient=gradient)
        self._run(kernel, self._at(place.values), self._at(place.delta), more=more)

    # Backwards

    def _station_backward(self, place: Place) -> None:
        name = place.station.name
        output = place.station.role == "output"
        late = self._scores(place)
        terms = self._back_terms(name)
        init: Init = "zero"
        if output and not late:
            self._output_gradient(place)
            init = "add"
        elif (terms and not terms[0][1]) or (not terms and not late):
            self._fill(place.delta, place.units)
            init = "add"
        steps = list(enumerate(place.stages))
        if late and not terms:
            steps.pop()
            self._loss(place, add=False)
        elementwise = len(steps) == 1 and steps[0][1].name not in stages.WHOLE
        fused = steps[0][1] if elementwise and terms and terms[-1][1] else None
        for number, (write, _) in enumerate(terms):
            write(init if number == 0 else "add", fused if number == len(terms) - 1 else None)
        for number, stage in reversed(steps):
            if fused is None:
                kernel = stages.write_slope(self.frame, self._name("slope"), stage, place.units, place.real)
                held = place.buffers[number + 1] if stages.kept(stage) == "value" else place.buffers[number]
                self._run(kernel, self._at(held), self._at(place.buffers[number + 1]), self._at(place.delta))
            if late and terms and number == len(place.stages) - 1:
                self._loss(place, add=True)
        self._silence(place, place.delta)

    def _output_gradient(self, place: Place) -> None:
        if self.variant.loss != "none":
            self._loss(place, add=False)
            return
        self._load(place, place.delta, "target")
        kernel = stages.write_mask(self.frame, self._name("mask"), place.units)
        self._run(kernel, self._at(place.delta), more=[(I64, self.count)])

    def _back_terms(self, name: str) -> list[tuple[Callable[[Init, Call | None], None], bool]]:
        """What adds to the gradient at a station's values, as writers, and whether each reaches every unit."""
        if name not in self.needed:
            return []
        place = self.model.places[name]
        found = list[tuple[Callable[[Init, Call | None], None], bool]]()
        for use in self.model.leaving(name):
            for panel, tables in zip(use.cut.panels, use.panels, strict=True):

                def through_panel(
                    init: Init,
                    stage: Call | None,
                    use: Use = use,
                    panel: Panels = panel,
                    tables: panels.PanelTables = tables,
                ) -> None:
                    def body(f: Function, source: str, sums: Sums) -> None:
                        weights = byte_offset(f, "%params", use.weights)
                        panels.write_backward(f, self.frame, panel, tables, source, weights, sums)

                    self._backward_kernel(use, place, init, stage, body)

                found.append((through_panel, panel.covers_src))
            if use.cut.turned and use.back:

                def through_rows(init: Init, stage: Call | None, use: Use = use) -> None:
                    def body(f: Function, source: str, sums: Sums) -> None:
                        if use.cut.turned and use.back:
                            weights = byte_offset(f, "%params", use.turned)
                            rows.write_sums(f, self.frame, use.cut.turned.rows, use.back, source, weights, sums)

                    self._backward_kernel(use, place, init, stage, body)

                found.append((through_rows, True))
        for skip in self.model.skips:
            if skip.src == name:
                source = self.model.places[skip.dst].delta

                def through_skip(
                    init: Init, stage: Call | None, source: int = source, scale: float = skip.scale
                ) -> None:
                    self._skip(source, place.delta, place.units, scale, init)

                found.append((through_skip, False))
        return sorted(found, key=lambda term: not term[1])

    def _backward_kernel(
        self,
        use: Use,
        place: Place,
        init: Init,
        stage: Call | None,
        body: Callable[[Function, str, Sums], None],
    ) -> None:
        frame = self.frame
        f = Function(self._name("backward"), _KERNEL)
        end: End | None = None
        if stage is not None:
            chosen = stage
            held = byte_offset(f, "%acts", place.buffers[1] if stages.kept(stage) == "value" else place.buffers[0])

            def mask(f: Function, value: str, at: str) -> str:
                return stages.slope(f, frame, chosen, value, frame.load(f, held, at))

            end = mask
        source = byte_offset(f, "%acts", self.model.places[use.junction.dst].delta)
        body(f, source, Sums(frame, byte_offset(f, "%acts", place.delta), init, "", end))
        self._run(f, self.context["params"], self.acts)
