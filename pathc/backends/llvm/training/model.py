"""What a trainer keeps in memory: weights and moments in the order of the kernels, tables, and buffers of a tile."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from pathc.backends.llvm.column.common import round_up
from pathc.backends.llvm.junctions import TRANSPOSE, junctions_of
from pathc.backends.llvm.lower import stages_of
from pathc.backends.llvm.machine import Machine
from pathc.backends.llvm.plan import Junction
from pathc.backends.llvm.training.frame import SPARE_ROWS, Arena, Frame, Ints, lane_masks
from pathc.backends.llvm.training.panels import PanelTables
from pathc.backends.llvm.training.pieces import Cut, Edges, cut
from pathc.backends.llvm.training.rows import RowTables
from pathc.backends.llvm.training.stages import kept
from pathc.ir.facts import Blocks
from pathc.ir.graph import Graph, Station
from pathc.ir.order import station_order
from pathc.ir.passes.structure import Structure
from pathc.ir.types import Call
from pathc.ir.weights import expected_tensors

Floats = NDArray[np.float32]
_WIDEST, _SCATTERED = 64, 32


@dataclass(frozen=True, eq=False)
class Place:
    """A station: its stages, and where its buffers lie in a tile's memory, in bytes.

    `buffers[0]` holds sums, `buffers[i]` the values after stage i (the same buffer where stage i needs only its
    values for the derivative), `delta` the gradient; `first` is its first column in the user's array.
    """

    station: Station
    stages: tuple[Call, ...]
    buffers: tuple[int, ...]
    delta: int
    first: int

    @property
    def units(self) -> int:
        """Units, silent ones included."""
        return self.station.units

    @property
    def real(self) -> int:
        """Units that are not silent."""
        return self.station.real_units

    @property
    def values(self) -> int:
        """The buffer others read."""
        return self.buffers[-1]


@dataclass(frozen=True, eq=False)
class Tensor:
    """A tensor as the trainer holds it; offsets are bytes in the parameters.

    Element k of the natural order is in copy `copy[k]` of slot `slot[k]`. `master` is float32 [copies, size], and
    so is each of `moments`; `working` [size] holds the sums over copies that kernels read, and is `master` where
    there is one copy. `gradient` [size] receives gradients, `extra` (or -1) those of other uses of a tied tensor.
    `counts` (or -1) are the copies that exist of each slot, where not all do. `aside` (or -1 if windows do not concern
    the tensor) is where [copies, size] of it lie in masks and in what is laid aside during a step with a window.
    """

    name: str
    shape: tuple[int, ...]
    slot: Ints
    copy: Ints
    copies: int
    size: int
    master: int
    working: int
    moments: tuple[int, ...]
    gradient: int
    extra: int
    counts: int
    trained: bool
    bias: bool
    aside: int

    @cached_property
    def places(self) -> Ints:
        """Where element k of the natural order lies in an array [copies, size], flattened."""
        return self.copy * self.size + self.slot


@dataclass(frozen=True, eq=False)
class Use:
    """A junction with weights: its pieces and tables, and where its copy of the weights lies.

    The first use of a tensor owns it: its slots are the tensor's. Every other use has `same`, the owner's slot of
    each of its own (the size of the tensor for padding), and copies `weights` from there; `gradient` is where its
    own gradients go. `turned` are the weights in the order of the rows of the input gradient.
    """

    junction: Junction
    cut: Cut
    tensor: str
    owner: bool
    weights: int
    gradient: int
    same: Ints
    panels: tuple[PanelTables, ...]
    rows: RowTables | None
    back: RowTables | None
    turned: int
    turned_same: Ints


@dataclass(frozen=True)
class Copy:
    """`size` floats at `target` are those at `source` in the order of the indices at `index`, or these are added."""

    index: int
    source: int
    target: int
    size: int
    add: bool


@dataclass
class Model:
    """A graph made ready for training on tiles of columns."""

    graph: Graph
    frame: Frame
    batch: int
    frozen: frozenset[str]
    moments: int
    memory: Arena = field(default_factory=Arena)
    places: dict[str, Place] = field(default_factory=dict[str, Place])
    tensors: dict[str, Tensor] = field(default_factory=dict[str, Tensor])
    uses: list[Use] = field(default_factory=list[Use])
    skips: list[Junction] = field(default_factory=list[Junction])
    copies: list[Copy] = field(default_factory=list[Copy])
    sums: list[Copy] = field(default_factory=list[Copy])
    tile_bytes: int = 0
    aside_bytes: int = 0

    def __post_init__(self) -> None:
        self.memory.put(lane_masks(self.frame.lanes))
        junctions = junctions_of(self.graph)
        self.skips = [j for j in junctions if j.kind == "skip"]
        self._buffers()
        shapes = expected_tensors(self.graph)
        by_tensor: dict[str, list[Junction]] = {}
        for junction in junctions:
            if junction.kind != "skip":
                by_tensor.setdefault(junction.tensor.removesuffix(TRANSPOSE), []).append(junction)
        for name, shape in shapes.items():
            if name in by_tensor:
                self._weights(name, shape, by_tensor[name])
            else:
                self._bias(name, shape)

    @property
    def order(self) -> tuple[str, ...]:
        """Stations, each after those that feed it."""
        return station_order(self.graph)

    @property
    def tiles(self) -> int:
        """Tiles of a whole batch."""
        return -(-self.batch // self.frame.columns)

    def trains(self, tensor: str) -> bool:
        """Whether a tensor is trained."""
        return tensor not in self.frozen

    def entering(self, station: str) -> Iterator[Use]:
        """Uses of weights that lead into a station."""
        return (u for u in self.uses if u.junction.dst == station)

    def leaving(self, station: str) -> Iterator[Use]:
        """Uses of weights that lead out of a station."""
        return (u for u in self.uses if u.junction.src == station)

    def needing(self, inputs: bool) -> frozenset[str]:
        """Stations whose gradient is needed: something trained lies at or before them; `inputs` are asked for."""
        needed = {s.name for s in self.graph.inputs} if inputs else set[str]()
        for name in self.order:
            bias = self.graph.station(name).stage("bias") is not None and self.trains(f"{name}.bias")
            trained = any(self.trains(u.tensor) or u.junction.src in needed for u in self.entering(name))
            if bias or trained or any(s.dst == name and s.src in needed for s in self.skips):
                needed.add(name)
        return frozenset(needed)

    def _buffers(self) -> None:
        at, first = 0, {"input": 0, "output": 0, "layer": 0}

        def reserve(units: int) -> int:
            nonlocal at
            start = at
            at += (units + SPARE_ROWS) * self.frame.stride
            return start

        read = {line.visits[v - 1].station for line in self.graph.lines for v in line.junctions}
        for name in self.order:
            station = self.graph.station(name)
            stages = stages_of(station)
            buffers = [reserve(station.units)]
            for number, stage in enumerate(stages):
                scored = station.role == "output" and stage.name == "softmax"
                free = not scored and (number == 0 or kept(stages[number - 1]) == "argument")
                buffers.append(buffers[-1] if free and kept(stage) == "value" else reserve(station.units))
            # Nobody looks at the sums under a last softmax once their gradient is known: it takes their place.
            ends = station.role == "output" and [s.name for s in stages] == ["softmax"] and name not in read
            self.places[name] = Place(
                station, stages, tuple(buffers), buffers[0] if ends else reserve(station.units), 0
            )
        for station in self.graph.stations:
            place = self.places[station.name]
            self.places[station.name] = replace(place, first=first[station.role])
            first[station.role] += station.real_units
        self.tile_bytes = round_up(at)

    def _bias(self, name: str, shape: tuple[int, ...]) -> None:
        units = self.graph.station(name.removesuffix(".bias")).units + SPARE_ROWS
        size = round_up(units, self.frame.lanes)
        slot = np.arange(shape[0], dtype=np.int64)
        self._tensor(name, shape, slot, np.zeros_like(slot), 1, size, bias=True, tied=False)

    def _weights(self, name: str, shape: tuple[int, ...], junctions: list[Junction]) -> None:
        lanes = self.frame.lanes
        cuts = [cut(junction, _edges(self.graph, junction), lanes) for junction in junctions]
        owner = cuts[0]
        slot, copy = np.empty_like(owner.slot), np.empty_like(owner.copy)
        slot[owner.edges.element], copy[owner.edges.element] = owner.slot, owner.copy
        tied = len(junctions) > 1
        tensor = self._tensor(name, shape, slot, copy, owner.copies, owner.size, bias=False, tied=tied)
        for junction, parts in zip(junctions, cuts, strict=True):
            self._use(junction, parts, tensor, parts is owner)

    def _use(self, junction: Junction, parts: Cut, tensor: Tensor, owner: bool) -> None:
        lanes, memory, frame = self.frame.lanes, self.memory, self.frame
        same = np.full(parts.size, tensor.size, np.int64)
        same[parts.slot] = tensor.slot[parts.edges.element]
        weights = tensor.working if owner else memory.reserve(4 * (parts.size + lanes))
        gradient = tensor.gradient if owner else memory.reserve(4 * (parts.size + lanes))
        if not owner:
            self._copy(self.copies, same, tensor.working, weights)
            back = np.full(tensor.size, parts.size, np.int64)
            back[tensor.slot[parts.edges.element]] = parts.slot
            self._copy(self.sums, back, gradient, tensor.extra)
        sizes = junction.n_src, junction.n_dst
        panels = tuple(PanelTables.of(p, frame, memory, *sizes) for p in parts.panels)
        rows = RowTables.of(parts.rows, frame, memory, *sizes) if parts.rows else None
        back_rows, turned, turned_same = None, -1, np.zeros(0, np.int64)
        if parts.turned:
            back_rows = RowTables.of(parts.turned.rows, frame, memory, *sizes[::-1])
            turned = memory.reserve(4 * (parts.turned.rows.size + lanes))
            turned_same = np.append(same, tensor.size)[parts.turned.slots]
            self._copy(self.copies, turned_same, tensor.working, turned)
        self.uses.append(
            Use(junction, parts, tensor.name, owner, weights, gradient, same, panels, rows, back_rows, turned,
                turned_same)
        )  # fmt: skip

    def _copy(self, to: list[Copy], same: Ints, source: int, target: int) -> None:
        add = any(other.target == target for other in to)
        to.append(Copy(self.memory.put(same.astype(np.uint32)), source, target, len(same), add))

    def _tensor(
        self, name: str, shape: tuple[int, ...], slot: Ints, copy: Ints, copies: int, size: int, *, bias: bool,
        tied: bool
    ) -> Tensor:  # fmt: skip
        memory, trained = self.memory, self.trains(name)
        whole = 4 * size * copies
        master = memory.reserve(whole + 4 * self.frame.lanes)
        working = memory.reserve(4 * (size + self.frame.lanes)) if copies > 1 else master
        moments = tuple(memory.reserve(whole) for _ in range(self.moments if trained else 0))
        held = np.bincount(slot, minlength=size)
        counts = memory.put(held.astype(np.int32)) if copies > 1 and (held < copies).any() else -1
        gradient = memory.reserve(4 * (size + self.frame.lanes))
        extra = memory.reserve(4 * size) if tied else -1
        tensor = Tensor(
            name, shape, slot, copy, copies, size, master, working, moments, gradient, extra, counts, trained, bias,
            self.aside_bytes if len(shape) == 1 and not bias else -1,
        )  # fmt: skip
        self.aside_bytes += round_up(whole) if tensor.aside >= 0 else 0
        self.tensors[name] = tensor
        return tensor


def build(graph: Graph, machine: Machine, batch: int, frozen: Collection[str], moments: int) -> Model:
    """The model of a graph for batches of up to `batch` samples and an optimizer with so many moments."""
    if not any(True for _ in graph.facts_of(Blocks)):
        graph = Structure()(graph)
    return Model(graph, Frame(machine, columns_of(graph, machine, batch)), batch, frozenset(frozen), moments)


def columns_of(graph: Graph, machine: Machine, batch: int) -> int:
    """Columns of a tile: up to 64, or 32 where paths without blocks read units all over a layer.

    Fewer where the batch has fewer, or a layer would leave the second-level cache.
    """
    widest = max((s.units for s in graph.stations), default=1)
    linear = {fact.line for fact in graph.facts_of(Blocks)}
    scattered = any(line.kind == "paths" and line.name not in linear for line in graph.lines)
    columns, most = machine.width, _SCATTERED if scattered else _WIDEST
    while columns < min(most, batch) and 16 * columns * widest <= 2 * machine.l2:
        columns *= 2
    return columns


def _edges(graph: Graph, junction: Junction) -> Edges:
    """The weights of a junction, every path or every pair of real units."""
    if junction.kind == "paths":
        src, dst = junction.edges()
        return Edges(src.astype(np.int64), dst.astype(np.int64), np.arange(src.size, dtype=np.int64))
    n_src, n_dst = graph.station(junction.src).real_units, graph.station(junction.dst).real_units
    dst, src = (part.reshape(-1) for part in np.indices((n_dst, n_src)))
    turned = junction.tensor.endswith(TRANSPOSE)
    return Edges(src, dst, src * n_dst + dst if turned else dst * n_src + src)
