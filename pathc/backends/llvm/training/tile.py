"""What is done to a tile of columns, being written: functions that every tile runs through, phase after phase."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from pathc.backends.llvm.column import transpose
from pathc.backends.llvm.column.common import byte_offset, repeat
from pathc.backends.llvm.emit import F32, I64, Function, constant
from pathc.backends.llvm.training import losses, stages
from pathc.backends.llvm.training.filters.windows import write_padded
from pathc.backends.llvm.training.frame import Init, scaled
from pathc.backends.llvm.training.halves.uses import SheetUse
from pathc.backends.llvm.training.model import Model
from pathc.backends.llvm.training.stations import Place
from pathc.backends.llvm.training.tasks import CONTEXT, TASK, Variant, given
from pathc.backends.llvm.training.tensors import Planes, Skip
from pathc.backends.llvm.writer import Kernels

KERNEL = (("ptr noalias", "params"), ("ptr", "acts"))


@dataclass
class Tile:
    """Writer of the phases of a tile; kernels are added to `functions`, the names of phases to `phases`.

    `kernels` are those that several calls share.
    """

    model: Model
    variant: Variant
    functions: list[Function]
    phases: list[str] = field(default_factory=list[str])
    kernels: Kernels = field(default_factory=lambda: Kernels("kernel."))

    def __post_init__(self) -> None:
        self.frame = self.model.frame
        self.needed = self.model.needing(self.variant.inputs) if self.variant.backward else frozenset[str]()
        self._count = 0

    def begin(self) -> None:
        """Begin a phase: what follows sees all tiles with what was written before."""
        self.f = f = Function(f"tile.{len(self.phases)}", TASK)
        self.phases.append(f.name)
        self.context = {name: given(f, name) for name in CONTEXT}
        self.first = f.op("mul", I64, "%task", str(self.frame.columns))
        left = f.op("sub", I64, self.context["count"], self.first)
        self.count = f.call(I64, "llvm.umin.i64", [(I64, left), (I64, str(self.frame.columns))])
        start = f.op("mul", I64, "%task", str(self.model.tile_bytes), "nuw nsw")
        self.acts = byte_offset(f, self.context["acts"], start)
        self.sums = byte_offset(f, self.context["sums"], f.op("shl", I64, "%task", "4"))
        self._placed = set[int]()

    def end(self) -> None:
        """End a phase."""
        self.functions.append(self.f)

    def name(self, what: str) -> str:
        """A name for a kernel that no other has."""
        self._count += 1
        return f"{what}.{self._count}"

    def of_role(self, role: str) -> list[Place]:
        """Stations that are inputs, or outputs."""
        return [p for p in self.model.places.values() if p.station.role == role]

    def at(self, offset: int) -> str:
        """Address of a place in the tile."""
        return byte_offset(self.f, self.acts, offset)

    def param(self, offset: int) -> str:
        """Address of a place in the parameters."""
        return byte_offset(self.f, self.context["params"], offset)

    def run(self, kernel: Function, *arguments: str, more: Sequence[tuple[str, str]] = ()) -> None:
        """Add a kernel and call it with pointers."""
        self.functions.append(kernel)
        self.invoke(kernel.name, *arguments, more=more)

    def call(self, kernel: Function, *arguments: str) -> None:
        """Call a kernel with pointers."""
        self.invoke(kernel.name, *arguments)

    def invoke(self, name: str, *arguments: str, more: Sequence[tuple[str, str]] = ()) -> None:
        """Call a kernel by its name with pointers."""
        self.f.call("void", name, [*(("ptr", a) for a in arguments), *more], declare=False)

    @contextmanager
    def channels(self, count: int) -> Generator[Callable[[str, int], str]]:
        """The loop over channels; yields what gives the place of the channel behind a base, from bytes a channel."""
        f = self.f
        with repeat(f, count) as channel:
            yield lambda base, step: byte_offset(f, base, scaled(f, channel, step))

    def load(self, place: Place, buffer: int, number: int, source: str) -> None:
        """Bring the user's rows into a buffer, that of stage `number`."""
        units, real = place.units(number), place.real(number)
        kernel = transpose.emit_load(self.name("load"), self.frame.machine, self.frame.columns, units, real)
        self.run(kernel, *self.user(place, buffer, source), more=self.extent(source))

    def save(self, place: Place, buffer: int, number: int, to: str) -> None:
        """Bring a buffer into the user's rows."""
        kernel = transpose.emit_save(self.name("save"), self.frame.machine, self.frame.columns, place.real(number))
        self.run(kernel, *self.user(place, buffer, to), more=self.extent(to))

    def user(self, place: Place, buffer: int, array: str) -> tuple[str, str]:
        """Addresses of the tile's first sample in the user's array and of a buffer."""
        stride = self.context[f"{array}_stride"]
        row = self.f.offset(self.context[array], self.f.op("mul", I64, self.first, stride))
        return self.f.offset(row, place.first), self.at(buffer)

    def extent(self, array: str) -> list[tuple[str, str]]:
        """Floats from sample to sample in the user's array, and how many samples there are."""
        return [(I64, self.context[f"{array}_stride"]), (I64, self.count)]

    def fill(self, buffer: int, units: int, first: int = 0) -> None:
        """Zeros in rows."""
        self.run(stages.write_fill(self.frame, self.name("fill"), units, first), self.at(buffer))

    def silence(self, place: Place, buffer: int, number: int) -> None:
        """Zeros at silent units."""
        if place.real(number) < place.units(number):
            self.fill(buffer, place.units(number), place.real(number))

    def skip(self, skip: Skip, source: int, target: int, init: Init) -> None:
        """Rows of a skip from one buffer to another."""
        kernel = stages.write_skip(self.frame, self.name("skip"), skip.count, skip.scale, add=init == "add")
        self.run(kernel, self.at(source), self.at(target))

    def planes(self, planes: Planes) -> None:
        """Put zeros around what a filter reads, once a phase."""
        if planes.at != planes.source and planes.at not in self._placed:
            self._placed.add(planes.at)
            kernel = write_padded(self.frame, self.name("padded"), planes.padding, planes.channels)
            self.run(kernel, self.at(planes.source), self.at(planes.at))

    def scores(self, place: Place) -> bool:
        """Whether the loss takes the argument of the station's last stage, a softmax."""
        softmax = bool(place.stages) and place.stages[-1].name == "softmax"
        return self.variant.loss == "cross-entropy" and place.station.role == "output" and softmax

    def read(self, name: str) -> bool:
        """Whether others read a station."""
        return any(True for _ in self.model.leaving(name)) or any(s.src == name for s in self.model.skips)

    def rounds(self, place: Place) -> bool:
        """Whether a station's values are read as rows of halves."""
        return any(isinstance(use, SheetUse) for use in self.model.leaving(place.station.name))

    def passes(self, place: Place) -> bool:
        """Whether nobody looks at a station's values but for rows of halves."""
        return self.rounds(place) and self.model.halved[place.station.name].passes

    def loss(self, place: Place, *, add: bool) -> None:
        """The loss at an output and its gradient, added if `add`."""
        gradient = self.variant.backward
        f, real = self.f, place.real(-1)
        samples = f.assign(f"uitofp i64 {self.context['count']} to float")
        scale = f.op("fdiv", F32, constant(1.0), samples)
        more = [(I64, self.count), ("ptr", self.sums), (F32, scale)]
        if self.variant.loss == "cross-entropy":
            values = place.buffers[-2] if self.scores(place) else place.values
            labels = f.offset(self.context["target"], f.op("mul", I64, self.first, "1"), I64)
            kernel = losses.write_cross_entropy(self.frame, self.name("loss"), real, gradient=gradient, add=add)
            self.run(kernel, self.at(values), self.at(place.delta), labels, more=more)
            return
        total = sum(p.real(-1) for p in self.of_role("output"))
        more[2] = (F32, f.op("fdiv", F32, scale, constant(float(total))))
        self.load(place, place.delta, -1, "target")
        kernel = losses.write_squares(self.frame, self.name("loss"), real, gradient=gradient)
        self.run(kernel, self.at(place.values), self.at(place.delta), more=more)
