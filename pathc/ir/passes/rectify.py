"""Write maxima of windows as sums and ReLUs."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import ClassVar

from pathc.ir.cells import cell_stage
from pathc.ir.extents import read_extents
from pathc.ir.filters import pool_of
from pathc.ir.graph import Graph, Line, Station, Visit
from pathc.ir.types import Call
from pathc.support.diagnostics import Diagnostic, PathcError


@dataclass(frozen=True)
class Rectify:
    """Replace every `maxpool` by ReLUs and the skip links between them: max(a, b) = a + relu(b - a).

    A station keeps its name, its tensors and what stands in front of the pool. One station for each tap picks a value
    of every window, a tree of pairs finds the largest, and what stood behind the pool follows at its root, from which
    all lines leave. Finite numbers stay the same up to rounding. Lines that pass through such a station would have to
    be cut, which would give their tensors other names: E0380.
    """

    name: ClassVar[str] = "maxpool-to-relu"

    def __call__(self, graph: Graph) -> Graph:
        """The graph without `maxpool`; facts about lines are kept, all others belong to stations as they were."""
        pooled = [station for station in graph.stations if station.stage("maxpool") is not None]
        found = [mistake for station in pooled for mistake in _passed_through(graph, station)]
        if found:
            raise PathcError(*found)
        for station in pooled:
            while (current := graph.station(station.name)).stage("maxpool") is not None:
                graph = _Tree(graph, current).grown()
        return graph


def _passed_through(graph: Graph, station: Station) -> list[Diagnostic]:
    """E0380 for all that would have other names: tensors of lines, and of a normalization behind the pool.

    Cells have a pool for each gate, and a shortcut behind a pool adds to a station of another name.
    """
    names = [stage.name for stage in station.pipeline]
    bound = "cell" if cell_stage(station) is not None else "shortcut" if "shortcut" in names else ""
    if bound == "cell" or (bound and names.index(bound) > names.index("maxpool")):
        text = f"the {bound} of `{station.name}` stands behind a pool, in whose place there would be several stations"
        return [Diagnostic("E0380", text, station.loc, help="put the pool into a station of its own")]
    if "batchnorm" in names[names.index("maxpool") :]:
        text = f"the normalization behind the pool of `{station.name}` belongs to a station of another name then"
        return [Diagnostic("E0380", text, station.loc, help="normalize in front of the pool")]
    help = f"end the line at `{station.name}` and begin another one there"
    return [
        Diagnostic("E0380", f"line `{line.name}` passes through `{station.name}`, whose pool is taken apart", line.loc,
                   help=help)
        for line in graph.lines if any(visit.station == station.name for visit in line.visits[1:-1])
    ]  # fmt: skip


@dataclass
class _Tree:
    """The stations and skips that stand for the last pool of a station."""

    graph: Graph
    station: Station
    stations: list[Station] = field(default_factory=list[Station])
    lines: list[Line] = field(default_factory=list[Line])

    def grown(self) -> Graph:
        """The graph with the tree in place of the pool."""
        station, graph = self.station, self.graph
        at = max(k for k, stage in enumerate(station.pipeline) if stage.name == "maxpool")
        pool = station.pipeline[at]
        # A bias is added to the sums, wherever it stands in a pipeline.
        bias = tuple(stage for stage in station.pipeline[at + 1 :] if stage.name == "bias")
        behind = tuple(stage for stage in station.pipeline[at + 1 :] if stage.name != "bias")
        whole = replace(station, pipeline=(*station.pipeline[:at], *bias), role=_within(station.role))
        extents = read_extents(whole)
        taps = len(pool_of(pool, extents).taps)
        options = tuple(option for option in pool.options if option[0] in ("window", "stride"))
        values = [
            self._station(f"tap{k}", extents, (Call("pick", (*options, ("tap", k))),), [(whole.name, 1.0)])
            for k in range(taps)
        ]
        small = read_extents(self.stations[0])
        level = 0
        while len(values) > 1:
            level += 1
            pairs = zip(values[::2], values[1::2], strict=False)
            alone = values[-1:] if len(values) % 2 else []
            values = [self._larger(f"{level}_{k}", small, a, b) for k, (a, b) in enumerate(pairs)] + alone
        root = self._station("max", small, behind, [(values[0], 1.0)])
        self.stations[-1] = replace(self.stations[-1], role=station.role if station.role == "output" else "layer")
        lines = [replace(line, visits=self._from(line.visits, root)) for line in graph.lines]
        place = graph.stations.index(station)
        stations = (*graph.stations[:place], whole, *self.stations, *graph.stations[place + 1 :])
        facts = tuple(fact for fact in graph.facts if getattr(fact, "station", "") != station.name)
        return replace(graph, stations=stations, lines=(*lines, *self.lines), facts=facts)

    def _from(self, visits: tuple[Visit, ...], root: str) -> tuple[Visit, ...]:
        """Visits that begin at the root where they began at the station."""
        first, *others = visits
        return (replace(first, station=root) if first.station == self.station.name else first, *others)

    def _larger(self, name: str, extents: tuple[int, ...], a: str, b: str) -> str:
        """The larger one of two stations, value by value."""
        excess = self._station(f"excess{name}", extents, (Call("relu"),), [(b, 1.0), (a, -1.0)])
        return self._station(f"larger{name}", extents, (), [(a, 1.0), (excess, 1.0)])

    def _station(
        self, name: str, extents: tuple[int, ...], pipeline: tuple[Call, ...], sources: list[tuple[str, float]]
    ) -> str:
        """A station that sums up others; its name."""
        taken = {station.name for station in (*self.graph.stations, *self.stations)}
        own = _free(f"{self.station.name}_{name}", taken)
        template = self.station
        made = replace(template, name=own, role="layer", shape=(template.units, *extents), pipeline=pipeline, doc="")
        self.stations.append(made)
        for number, (source, scale) in enumerate(sources):
            known = {line.name for line in (*self.graph.lines, *self.lines)}
            visits = Visit(source, 0), Visit(own, 1)
            self.lines.append(Line(_free(f"{own}_{number}", known), "skip", visits, scale=scale, loc=template.loc))
        return own


def _within(role: str) -> str:
    return "layer" if role == "output" else role


def _free(name: str, taken: set[str]) -> str:
    """The name, with underscores behind it until nobody has it."""
    while name in taken:
        name += "_"
    return name
