"""The path graph: stations (layers) and the lines (path sets, dense junctions, skips) drawn through them.

Everything is immutable; a pass returns a new graph made with `dataclasses.replace`. No weights and no index
arrays live here: a line of 2^30 paths is as small as one of 2^10.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Literal, TypeVar, cast

from pathc.ir.types import F32, Call, ScalarType, Value
from pathc.support.source import Loc

if TYPE_CHECKING:
    from pathc.ir.facts import Fact

Role = Literal["input", "layer", "output"]
LineKind = Literal["paths", "dense", "skip"]
SOBOL, HADAMARD = Call("sobol"), Call("hadamard")


@dataclass(frozen=True)
class Station:
    """A layer of units: a bar that lines run through.

    `shape` is (units,) or (channels, height, width); `declared` is the number of units the user wrote, less
    than `shape[0]` when `pad = pow2` added silent units behind them. `pipeline` holds what happens when the
    station is read, in order: bias, activation, convolution, pooling, recurrence.
    """

    name: str
    role: Role
    shape: tuple[int, ...]
    type: ScalarType = F32
    pipeline: tuple[Call, ...] = ()
    declared: int = 0
    doc: str = ""
    loc: Loc | None = field(default=None, compare=False)

    @property
    def units(self) -> int:
        """Number of units (channels for a station with extents), silent ones included."""
        return self.shape[0]

    @property
    def real_units(self) -> int:
        """Number of units the user sees: without the silent ones of `pad`."""
        return self.declared or self.shape[0]

    def stage(self, name: str) -> Call | None:
        """The first pipeline stage of that name."""
        return next((s for s in self.pipeline if s.name == name), None)


@dataclass(frozen=True)
class Axis:
    """One coordinate of a unit: which dimension picks it, and among how many."""

    dim: int
    parts: int


@dataclass(frozen=True)
class Visit:
    """One station on a line and the generator dimension that picks the unit there.

    With `axes` each coordinate of the unit is picked by a dimension of its own; the first coordinate counts most, as in
    the rows and columns of an image, and their `parts` multiply to the units. `dim` is then that of the first.
    """

    station: str
    dim: int
    loc: Loc | None = field(default=None, compare=False)
    axes: tuple[Axis, ...] = ()

    @property
    def dims(self) -> tuple[int, ...]:
        """All dimensions that pick the unit."""
        return tuple(axis.dim for axis in self.axes) or (self.dim,)

    @property
    def drawn(self) -> str:
        """What stands behind the `@`: `3`, or `(0:28, 1:28)` for axes."""
        return f"({', '.join(f'{axis.dim}:{axis.parts}' for axis in self.axes)})" if self.axes else str(self.dim)


@dataclass(frozen=True)
class Line:
    """Paths, a dense junction chain or a skip, drawn through stations in the order they are visited.

    A line of k visits has k - 1 junctions, counted from 1: junction j leads from visit j - 1 to visit j. `count`
    is the number of paths (0 for dense and skip). `generator` names the rule that maps (visit, path
    index) to a unit, with its options. `sign` is the rule of the initial signs. A line with `mirror` walks the
    paths of that other line backwards; `tied` then shares its weights. `options` holds what only later passes
    or targets read.
    """

    name: str
    kind: LineKind
    visits: tuple[Visit, ...]
    count: int = 0
    generator: Call = SOBOL
    sign: Call = HADAMARD
    mirror: str = ""
    tied: bool = False
    scale: float = 1.0
    options: tuple[tuple[str, Value], ...] = ()
    doc: str = ""
    loc: Loc | None = field(default=None, compare=False)

    @property
    def junctions(self) -> range:
        """Junction numbers, from 1."""
        return range(1, len(self.visits))


@dataclass(frozen=True)
class Target:
    """A `target` block: a backend with options, named so that `-t NAME` finds it."""

    name: str
    backend: str
    options: tuple[tuple[str, Value], ...] = ()
    loc: Loc | None = field(default=None, compare=False)


F = TypeVar("F", bound="Fact")


@dataclass(frozen=True)
class Graph:
    """A whole model: stations and lines in the order of the text, and the facts passes have added."""

    name: str
    stations: tuple[Station, ...]
    lines: tuple[Line, ...]
    targets: tuple[Target, ...] = ()
    facts: tuple[Fact, ...] = ()
    doc: str = ""
    loc: Loc | None = field(default=None, compare=False)

    def station(self, name: str) -> Station:
        """The station of that name, the first if there are several; KeyError if there is none."""
        return self._stations[name]

    def line(self, name: str) -> Line:
        """The line of that name, the first if there are several; KeyError if there is none."""
        return self._lines[name]

    def facts_of(self, kind: type[F]) -> Iterator[F]:
        """All facts of one kind, in order."""
        return (fact for fact in self.facts if isinstance(fact, kind))

    def facts_about(self, kind: type[F], line: str, place: int | None = None) -> list[F]:
        """All facts of one kind about a line, or about one junction or visit of it, in order."""
        return cast("list[F]", self._facts.get((kind, line, place), []))

    @cached_property
    def _stations(self) -> dict[str, Station]:
        return {station.name: station for station in reversed(self.stations)}

    @cached_property
    def _lines(self) -> dict[str, Line]:
        return {line.name: line for line in reversed(self.lines)}

    @cached_property
    def _facts(self) -> dict[tuple[type, str | None, int | None], list[Fact]]:
        """Facts by kind and line, once alone and once with the junction or visit they speak of."""
        found: dict[tuple[type, str | None, int | None], list[Fact]] = {}
        for fact in self.facts:
            about = vars(fact)
            place = about.get("junction", about.get("visit"))
            for key in {place, None}:
                found.setdefault((type(fact), about.get("line"), key), []).append(fact)
        return found

    @property
    def inputs(self) -> tuple[Station, ...]:
        """Stations fed from outside."""
        return tuple(s for s in self.stations if s.role == "input")

    @property
    def outputs(self) -> tuple[Station, ...]:
        """Stations whose values are returned."""
        return tuple(s for s in self.stations if s.role == "output")
