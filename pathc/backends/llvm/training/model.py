"""What a trainer keeps in memory: weights and moments in the order of the kernels, tables, and buffers of a tile."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from pathc.backends.llvm.column.common import round_up
from pathc.backends.llvm.halves.entering import LOCAL
from pathc.backends.llvm.junctions import TRANSPOSE, junctions_of
from pathc.backends.llvm.machine import Machine
from pathc.backends.llvm.plan import Junction
from pathc.backends.llvm.tiles.code import LINE, ROWS, SAMPLES, TileShape
from pathc.backends.llvm.training.filters.cut import FilterCut, cut_filter
from pathc.backends.llvm.training.filters.passes import Padding, backward_passes, forward_pass
from pathc.backends.llvm.training.filters.sums import GroupTable
from pathc.backends.llvm.training.frame import SPARE_ROWS, Arena, Frame, Ints, lane_masks
from pathc.backends.llvm.training.halves.rows import Halved, halved_rows
from pathc.backends.llvm.training.halves.sheets import SheetCut, cut_sheets
from pathc.backends.llvm.training.halves.uses import TURNED, PartPlace, SheetUse
from pathc.backends.llvm.training.panels import PanelTables
from pathc.backends.llvm.training.pieces import Cut, Edges, cut
from pathc.backends.llvm.training.rows import RowTables
from pathc.backends.llvm.training.stations import Place, numbered, placed
from pathc.backends.llvm.training.tensors import Copy, FilterUse, Planes, Skip, Tensor, Use
from pathc.ir.facts import Blocks
from pathc.ir.graph import Graph, Station
from pathc.ir.interp.base import Junction as Lead
from pathc.ir.interp.expand import expanded, owner
from pathc.ir.interp.filters import FilterJunction, PartJunction
from pathc.ir.interp.junctions import DenseJunction, PathJunction, SkipJunction
from pathc.ir.passes.structure import Structure
from pathc.ir.weights import MEAN, VARIANCE, expected_tensors

_WIDEST, _SCATTERED = 64, 32


@dataclass(frozen=True, eq=False)
class _Cut:
    """A junction cut into pieces, and the slot of every weight in natural order."""

    lead: Lead
    parts: Cut | FilterCut | SheetCut
    slot: Ints
    copy: Ints


@dataclass
class Model:
    """A graph made ready for training on tiles of columns."""

    graph: Graph
    frame: Frame
    batch: int
    frozen: frozenset[str]
    moments: int
    halves: bool = False
    memory: Arena = field(default_factory=Arena)
    places: dict[str, Place] = field(default_factory=dict[str, Place])
    tensors: dict[str, Tensor] = field(default_factory=dict[str, Tensor])
    uses: list[Use] = field(default_factory=list[Use])
    filters: list[FilterUse] = field(default_factory=list[FilterUse])
    sheets: list[SheetUse] = field(default_factory=list[SheetUse])
    halved: dict[str, Halved] = field(default_factory=dict[str, Halved])
    skips: list[Skip] = field(default_factory=list[Skip])
    copies: list[Copy] = field(default_factory=list[Copy])
    sums: list[Copy] = field(default_factory=list[Copy])
    order: tuple[str, ...] = ()
    tile_bytes: int = 0
    aside_bytes: int = 0
    zeros: int = -1
    shape: int = -1
    local: int = -1

    def __post_init__(self) -> None:
        self.memory.put(lane_masks(self.frame.lanes))
        stations, into = expanded(self.graph)
        self.order = tuple(station.name for station in stations)
        leads = [lead for name in self.order for lead in into[name]]
        self._at = 0
        read = {lead.source for lead in leads}
        if self.halves:
            self._most = max(station.units for station in stations)
            self._through = self._rows(self._most), self._rows(self._most)
            self.halved.update(halved_rows(stations, leads, self._take))
        for station in stations:
            self.places[station.name] = placed(station, read, self._rows, self._numbers, self._passing(station))
        numbered(self.places, [station.name for station in self.graph.stations])
        self._planes: dict[tuple[str, bool, Padding], Planes] = {}
        by_tensor: dict[str, list[Lead]] = defaultdict(list)
        for lead in leads:
            if lead.tensor:
                by_tensor[lead.tensor].append(lead)
            elif isinstance(lead, PartJunction):
                self.skips.append(Skip(lead.source, lead.destination, lead.first, lead.count, lead.scale))
            else:
                assert isinstance(lead, SkipJunction)
                units = self.places[lead.source].units(-1)
                self.skips.append(Skip(lead.source, lead.destination, 0, units, lead.scale))
        flat = _Flat(self.graph)
        for name, shape in expected_tensors(self.graph).items():
            if name in by_tensor:
                self._weights(name, shape, [self._cut(lead, shape, flat) for lead in by_tensor[name]])
            else:
                self._of_station(name, shape)
        if self.sheets:
            self._shared()
        self.tile_bytes = round_up(self._at)

    @property
    def tiles(self) -> int:
        """Tiles of a whole batch."""
        return -(-self.batch // self.frame.columns)

    def trains(self, tensor: str) -> bool:
        """Whether a tensor is trained."""
        return tensor not in self.frozen

    def of_station(self, name: str) -> list[Place]:
        """The places of a station of the graph: one, or one for every evaluation of its equation."""
        return [place for place in self.places.values() if owner(place.station.name) == name]

    def entering(self, station: str) -> Iterator[Use | FilterUse | SheetUse]:
        """Uses of weights that lead into a station."""
        return (u for u in (*self.uses, *self.filters, *self.sheets) if u.dst == station)

    def leaving(self, station: str) -> Iterator[Use | FilterUse | SheetUse]:
        """Uses of weights that lead out of a station."""
        return (u for u in (*self.uses, *self.filters, *self.sheets) if u.src == station)

    def needing(self, inputs: bool) -> frozenset[str]:
        """Stations whose gradient is needed: something trained lies at or before them; `inputs` are asked for."""
        needed = {s.name for s in self.graph.inputs} if inputs else set[str]()
        for name in self.order:
            base = owner(name)
            own = any(t.trained for key, t in self.tensors.items() if t.bias and key.startswith(f"{base}."))
            own = own and bool(self._own_stages(name))
            trained = any(self.trains(u.tensor) or u.src in needed for u in self.entering(name))
            if own or trained or any(s.dst == name and s.src in needed for s in self.skips):
                needed.add(name)
        return frozenset(needed)

    def _own_stages(self, name: str) -> bool:
        station = self.places[name].station
        return station.stage("bias") is not None or station.stage("batchnorm") is not None

    # The memory of a tile

    def _rows(self, rows: int) -> int:
        at = self._at
        self._at += (rows + SPARE_ROWS) * self.frame.stride
        return at

    def _numbers(self, count: int) -> int:
        return self._take(4 * count)

    def _passing(self, station: Station) -> tuple[int, int]:
        """Where the sums and gradients of a station pass, -1 where they stay."""
        if not self.halves:
            return -1, -1
        own = self.halved[station.name]
        return self._through[0] if own.passes else -1, self._through[1] if own.gradient_passes else -1

    def _take(self, size: int) -> int:
        at = self._at
        self._at += round_up(size)
        return at

    def _reads(self, place: Place, padding: Padding, *, back: bool) -> Planes:
        """What a pass over a station reads: its values, or the gradient at its sums, with zeros around."""
        key = place.station.name, back, padding
        if key not in self._planes:
            source = place.deltas[0] if back else place.values
            at = source if padding.plain else self._rows(place.channels * padding.rows)
            self._planes[key] = Planes(padding, place.channels, source, at)
        return self._planes[key]

    # Weights

    def _of_station(self, name: str, shape: tuple[int, ...]) -> None:
        """A bias, or a tensor of a normalization."""
        station = self.graph.station(name.partition(".")[0])
        size = round_up(station.units + SPARE_ROWS, self.frame.lanes)
        slot = np.arange(shape[0], dtype=np.int64)
        plain = name.endswith(".bias") and len(self.of_station(station.name)) == 1 and len(station.shape) == 1
        self._tensor(
            name, shape, slot, np.zeros_like(slot), 1, size, bias=True, tied=False, paths=False, gathered=not plain
        )

    def _cut(self, lead: Lead, shape: tuple[int, ...], flat: _Flat) -> _Cut:
        """A junction cut into pieces."""
        lanes = self.frame.lanes
        if isinstance(lead, FilterJunction):
            real = self.places[lead.destination].channels, self.places[lead.source].channels
            sizes = (8, 4, 2, 1) if self.frame.machine.registers == 32 else (4, 2, 1)
            parts = cut_filter(lead, real, math.prod(shape), lanes, sizes)
            return _Cut(lead, parts, parts.slot, parts.copy)
        junction = flat.junction(lead, self.places)
        edges = _edges(self.places, junction)
        pieces = cut_sheets(edges, junction.n_src, junction.n_dst) if self.halves else cut(junction, edges, lanes)
        slot, copy = np.empty_like(pieces.slot), np.empty_like(pieces.copy)
        slot[edges.element], copy[edges.element] = pieces.slot, pieces.copy
        return _Cut(lead, pieces, slot, copy)

    def _weights(self, name: str, shape: tuple[int, ...], cuts: list[_Cut]) -> None:
        first = cuts[0]
        paths = isinstance(_within(first.lead), PathJunction)
        gathered = any(isinstance(each.parts, FilterCut) for each in cuts)
        holes = isinstance(first.parts, Cut | SheetCut) and first.parts.holes
        tensor = self._tensor(
            name, shape, first.slot, first.copy, first.parts.copies, first.parts.size, bias=False,
            tied=len(cuts) > 1, paths=paths, gathered=gathered, holes=holes,
        )  # fmt: skip
        for each in cuts:
            self._use(each, tensor, each is first)

    def _use(self, given: _Cut, tensor: Tensor, owns: bool) -> None:
        lanes, memory, parts = self.frame.lanes, self.memory, given.parts
        if isinstance(parts, SheetCut):
            self._sheets(given.lead, parts, tensor)
            return
        same = np.full(parts.size, tensor.size, np.int64)
        same[given.slot] = tensor.slot
        weights = tensor.working if owns else memory.reserve(4 * (parts.size + lanes))
        gradient = tensor.gradient if owns else memory.reserve(4 * (parts.size + lanes))
        if not owns:
            self._copy(self.copies, same, tensor.working, weights)
            back = np.full(tensor.size, parts.size, np.int64)
            back[tensor.slot] = given.slot
            self._copy(self.sums, back, gradient, tensor.extra)
        same = np.append(same, tensor.size)
        if isinstance(given.lead, FilterJunction) and isinstance(parts, FilterCut):
            turned = memory.reserve(4 * (len(parts.turned) + lanes))
            self._copy(self.copies, same[parts.turned], tensor.working, turned)
            self._filter(given.lead, parts, tensor, owns, (weights, turned, gradient))
        elif isinstance(parts, Cut):
            self._flat(given.lead, parts, tensor, owns, same, weights, gradient)

    def _flat(
        self, lead: Lead, parts: Cut, tensor: Tensor, owns: bool, same: Ints, weights: int, gradient: int
    ) -> None:
        memory, frame = self.memory, self.frame
        sizes = self.places[lead.source].units(-1), self.places[lead.destination].units(0)
        panels = tuple(PanelTables.of(p, frame, memory, *sizes) for p in parts.panels)
        rows = RowTables.of(parts.rows, frame, memory, *sizes) if parts.rows else None
        back_rows, turned = None, -1
        if parts.turned:
            back_rows = RowTables.of(parts.turned.rows, frame, memory, *sizes[::-1])
            turned = memory.reserve(4 * (parts.turned.rows.size + frame.lanes))
            self._copy(self.copies, same[parts.turned.slots], tensor.working, turned)
        self.uses.append(
            Use(lead.source, lead.destination, parts, tensor.name, owns, weights, gradient, panels, rows, back_rows,
                turned)
        )  # fmt: skip

    def _sheets(self, lead: Lead, parts: SheetCut, tensor: Tensor) -> None:
        units = self.places[lead.source].units(-1), self.places[lead.destination].units(0)
        absent = units[0], self._most
        held = [PartPlace.of(p, self.memory, absent, self._take(TURNED * len(p.sheets))) for p in parts.parts]
        self.sheets.append(SheetUse(lead.source, lead.destination, parts, tensor.name, units[0], tuple(held)))

    def _shared(self) -> None:
        """What all products of bfloat16 use: zeros instead of biases, a shape of registers, room in a tile."""
        self.zeros = self.memory.reserve(4 * max(place.units(0) for place in self.places.values()))
        self.shape = self.memory.put(TileShape(ROWS, LINE).packed())
        self.local = self._take(max(LOCAL, *(use.room for use in self.sheets)))

    def _filter(
        self, lead: FilterJunction, parts: FilterCut, tensor: Tensor, owns: bool, at: tuple[int, int, int]
    ) -> None:
        geometry = lead.geometry.planar()
        ahead, run = forward_pass(geometry)
        behind, runs = backward_passes(geometry)
        source, destination = self.places[lead.source], self.places[lead.destination]
        forward, back = (tuple(GroupTable.of(g, self.memory) for g in way) for way in (parts.forward, parts.back))
        weights, turned, gradient = at
        self.filters.append(
            FilterUse(
                lead.source, lead.destination, tensor.name, owns, run, runs,
                self._reads(source, ahead, back=False), self._reads(destination, behind, back=True),
                forward, back, weights, turned, gradient,
            )
        )  # fmt: skip

    def _copy(self, to: list[Copy], same: Ints, source: int, target: int) -> None:
        add = any(other.target == target for other in to)
        to.append(Copy(self.memory.put(same.astype(np.uint32)), source, target, len(same), add))

    def _tensor(
        self, name: str, shape: tuple[int, ...], slot: Ints, copy: Ints, copies: int, size: int, *, bias: bool,
        tied: bool, paths: bool, gathered: bool, holes: bool = False,
    ) -> Tensor:  # fmt: skip
        memory, trained = self.memory, self.trains(name) and not name.endswith((f".{MEAN}", f".{VARIANCE}"))
        whole = 4 * size * copies
        master = memory.reserve(whole + 4 * self.frame.lanes)
        working = memory.reserve(4 * (size + self.frame.lanes)) if copies > 1 else master
        moments = tuple(memory.reserve(whole) for _ in range(self.moments if trained else 0))
        held = np.bincount(slot, minlength=size)
        counts = memory.put(held.astype(np.int32)) if holes or (copies > 1 and (held < copies).any()) else -1
        gradient = memory.reserve(4 * (size + self.frame.lanes))
        extra = memory.reserve(4 * size) if tied else -1
        tensor = Tensor(
            name, shape, slot, copy, copies, size, master, working, moments, gradient, extra, counts, trained, bias,
            self.aside_bytes if paths else -1, gathered,
        )  # fmt: skip
        self.aside_bytes += round_up(whole) if tensor.aside >= 0 else 0
        self.tensors[name] = tensor
        return tensor


def build(
    graph: Graph, machine: Machine, batch: int, frozen: Collection[str], moments: int, *, halves: bool = False
) -> Model:
    """The model of a graph for batches of up to `batch` samples and an optimizer with so many moments.

    With `halves`, factors of products are bfloat16.
    """
    if not any(True for _ in graph.facts_of(Blocks)):
        graph = Structure()(graph)
    columns = SAMPLES if halves else columns_of(graph, machine, batch)
    return Model(graph, Frame(machine, columns), batch, frozenset(frozen), moments, halves)


def columns_of(graph: Graph, machine: Machine, batch: int) -> int:
    """Columns of a tile: up to 64, or 32 where paths without blocks read units all over a layer.

    Fewer where the batch has fewer, or a layer would leave the second-level cache; one vector where a station has
    extents.
    """
    if any(len(station.shape) > 1 for station in graph.stations):
        return machine.width
    widest = max((s.units for s in graph.stations), default=1)
    linear = {fact.line for fact in graph.facts_of(Blocks)}
    scattered = any(line.kind == "paths" and line.name not in linear for line in graph.lines)
    columns, most = machine.width, _SCATTERED if scattered else _WIDEST
    while columns < min(most, batch) and 16 * columns * widest <= 2 * machine.l2:
        columns *= 2
    return columns


class _Flat:
    """Junctions without filters as kernels see them."""

    def __init__(self, graph: Graph) -> None:
        self._found: dict[tuple[str, str], list[Junction]] = defaultdict(list)
        for junction in junctions_of(graph):
            self._found[junction.tensor.removesuffix(TRANSPOSE), junction.dst].append(junction)
        self._given: dict[tuple[str, str], int] = defaultdict(int)

    def junction(self, lead: Lead, places: dict[str, Place]) -> Junction:
        """The junction of a lead, between rows; steps of an equation ask for the same ones in the same order."""
        key, own = (lead.tensor, owner(lead.destination)), (lead.tensor, lead.destination)
        found = self._found[key][self._given[own]]
        self._given[own] += 1
        rows = places[lead.source].units(-1), places[lead.destination].units(0)
        found = replace(found, src=lead.source, dst=lead.destination, n_src=rows[0], n_dst=rows[1])
        if isinstance(lead, PathJunction):
            generator, number = lead.generator, lead.number

            def edges() -> tuple[Ints, Ints]:
                ends = (generator.units(v, 0, generator.count) for v in (number - 1, number))
                return next(ends), next(ends)

            return replace(found, edges=edges)
        assert isinstance(lead, DenseJunction)
        return replace(found, count=rows[0] * rows[1])


def _within(lead: Lead) -> Lead:
    """A junction between channels, or the junction itself."""
    return lead.each if isinstance(lead, FilterJunction) else lead


def _edges(places: dict[str, Place], junction: Junction) -> Edges:
    """The weights of a junction, every path or every pair of real units."""
    if junction.kind == "paths":
        src, dst = junction.edges()
        return Edges(src.astype(np.int64), dst.astype(np.int64), np.arange(src.size, dtype=np.int64))
    n_src, n_dst = places[junction.src].real(-1), places[junction.dst].real(0)
    dst, src = (part.reshape(-1) for part in np.indices((n_dst, n_src)))
    turned = junction.tensor.endswith(TRANSPOSE)
    return Edges(src, dst, src * n_dst + dst if turned else dst * n_src + src)
