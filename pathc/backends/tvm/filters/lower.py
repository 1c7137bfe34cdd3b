"""From a net with extents to a plan: operations on planes, station after station."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from pathc.backends.tvm.filters.classes import Listed, classes_of
from pathc.backends.tvm.filters.plan import (
    Across,
    Affine,
    Blend,
    Blocks,
    End,
    FilterPlan,
    Floats,
    Lists,
    Op,
    Planes,
    Pool,
)
from pathc.backends.tvm.filters.slots import shared
from pathc.backends.tvm.lower import WHOLE_LAYER
from pathc.ir.extents import POOLS, read_extents
from pathc.ir.filters import Geometry, pool_of, shuffle_order, tap_of
from pathc.ir.graph import Graph, Station
from pathc.ir.interp.activations import activation
from pathc.ir.interp.expand import expanded, owner
from pathc.ir.interp.filters import FilterJunction, PartJunction
from pathc.ir.interp.junctions import SkipJunction, junction_values
from pathc.ir.interp.network import norm_of
from pathc.ir.types import Call
from pathc.ir.weights import Tensors, tensor_values

Extents = tuple[int, ...]
_AT_ONCE = 2
"""Activations applied to a value before it is stored: each is written out with its argument two or three times."""


def plan_filters(graph: Graph, weights: Tensors, results: Sequence[str], array: str) -> FilterPlan:
    """The plan of all stations that `results` need, whose values come to lie in `array`, one after the other.

    Raises what the generators raise.
    """
    return _Planner(graph, weights, tuple(results), array).plan()


@dataclass(frozen=True, eq=False)
class _Step:
    """A part of a pipeline: `head` looks at many values (None: at sums), what is behind it at one."""

    head: Call | None
    functions: tuple[Call | Affine, ...]
    places: tuple[int, ...]
    extents: Extents


@dataclass(eq=False)
class _Planner:
    graph: Graph
    weights: Tensors
    results: tuple[str, ...]
    array: str
    ops: list[Op] = field(default_factory=list[Op])
    values: dict[str, Planes] = field(default_factory=dict[str, Planes])
    arrays: dict[str, int] = field(default_factory=dict[str, int])

    def plan(self) -> FilterPlan:
        """Plan station after station."""
        stations, self.into = expanded(self.graph)
        inputs, outputs = self._ends(stations)
        needed = set(self.results)
        for station in reversed(stations):
            if station.name in needed:
                needed.update(junction.source for junction in self.into[station.name])
        self.read = {junction.source for name in needed for junction in self.into[name]}
        for station in stations:
            if station.name in needed:
                self._station(station)
        arrays = dict(self.arrays)
        if self.array != "y":
            arrays[self.array] = outputs
        ops, arrays = shared(tuple(self.ops), arrays)
        return FilterPlan(ops, inputs, outputs, arrays, self.wanted)

    def _ends(self, stations: Sequence[Station]) -> tuple[int, int]:
        """Place inputs and results, each side by side; how many floats they are."""
        self.given: dict[str, Planes] = {}
        self.wanted: dict[str, Planes] = {}
        inputs = outputs = 0
        for station in self.graph.inputs:
            planes = _planes("x", inputs, station, station.shape[1:])
            self.given[station.name] = planes
            inputs += planes.size
        by_name = {station.name: station for station in stations}
        for name in self.results:
            planes = _planes(self.array, outputs, by_name[name], read_extents(by_name[name]))
            self.wanted[name] = planes
            outputs += planes.size
        return inputs, outputs

    def _station(self, station: Station) -> None:
        """Plan what a station sums up and what is read from it."""
        first, *rest = self._steps(station)
        given = self.given.get(station.name)
        last = not rest
        if given is not None and not first.functions and not (last and self._aim(station)):
            planes = given
        else:
            planes = self._target(station, first, last)
            if given is not None:
                self._emit(Blend(self._name(), planes, _end(first, ((given, 1.0),))))
            else:
                self._sums(station, planes, first)
        for number, step in enumerate(rest):
            planes = self._head(station, step, planes, number == len(rest) - 1)
        self.values[station.name] = planes
        wanted = self.wanted.get(station.name)
        if wanted not in (None, planes):
            self._emit(Blend(self._name(), wanted, End(((planes, 1.0),))))

    def _aim(self, station: Station) -> Planes | None:
        """Where the values of a station are wanted; None if it is read, too: no kernel reads the array it writes to."""
        return None if station.name in self.read else self.wanted.get(station.name)

    def _steps(self, station: Station) -> list[_Step]:
        """The pipeline in parts, each a head with the functions and shuffles of channels behind it."""
        steps = [_Step(None, (), (), station.shape[1:])]
        if station.stage("bias") is not None:
            bias = tensor_values(self.weights, f"{owner(station.name)}.bias")
            steps[0] = replace(steps[0], functions=(Affine(bias),))
        for stage in station.pipeline:
            last = steps[-1]
            if stage.name == "batchnorm":
                factor, shift = norm_of(station, stage, self.weights).affine()
                places = list(last.places) or slice(None)
                steps[-1] = replace(last, functions=(*last.functions, Affine(shift[places], factor[places])))
            elif stage.name == "channelshuffle":
                moved = np.argsort(shuffle_order(stage, station.real_units))
                before = list(last.places) or slice(None)
                steps[-1] = replace(last, places=tuple(moved[before].tolist()))
            elif stage.name in POOLS:
                steps.append(_Step(stage, (), (), pool_of(stage, last.extents).result))
            elif stage.name in WHOLE_LAYER:
                steps.append(_Step(stage, (), (), last.extents))
            elif stage.name != "identity" and activation(stage) is not None:
                if sum(isinstance(function, Call) for function in last.functions) == _AT_ONCE:
                    steps.append(last := _Step(None, (), (), last.extents))
                steps[-1] = replace(last, functions=(*last.functions, stage))
        return steps

    def _sums(self, station: Station, dst: Planes, step: _Step) -> None:
        """The lines into a station: parts side by side, or filters and skips added up."""
        entering = self.into[station.name]
        if entering and all(isinstance(junction, PartJunction) for junction in entering):
            for junction in entering:
                assert isinstance(junction, PartJunction)
                self._part(junction, dst, step)
            return
        terms: list[tuple[Planes, float]] = []
        mixes: list[FilterJunction] = []
        for junction in entering:
            if isinstance(junction, FilterJunction):
                mixes.append(junction)
            else:
                assert isinstance(junction, SkipJunction)
                terms.append((self.values[junction.source], junction.scale))
        if not mixes:
            self._emit(Blend(self._name(), dst, _end(step, tuple(terms))))
        for mix in mixes[:-1]:
            sums = self._new(station, station.shape[1:])
            self._mix(mix, sums, station, _Step(None, (), (), ()), tuple(terms), alone=False)
            terms = [(sums, 1.0)]
        if mixes:
            self._mix(mixes[-1], dst, station, step, tuple(terms), alone=not terms)

    def _mix(
        self, mix: FilterJunction, dst: Planes, station: Station, step: _Step, terms: tuple[tuple[Planes, float], ...],
        *, alone: bool,
    ) -> None:  # fmt: skip
        """Filters, an operation for every class of channels; what stands first and is affine is folded if `alone`."""
        src, geometry = self.values[mix.source], mix.geometry.planar()
        if geometry.kernel == geometry.stride == (1, 1) and src.positions == dst.positions:
            src, dst, geometry = _row(src), _row(dst), _pointwise(src.positions)
            terms = tuple((_row(planes), scale) for planes, scale in terms)
        values = junction_values(self.weights, mix)
        functions, factor = _folded(step.functions) if alone else (step.functions, None)
        places = np.array(step.places or range(station.real_units))
        for found in classes_of(mix, values, (station.real_units, src.channels)):
            at = found.targets
            own = tuple(_of_channels(function, at) for function in functions)
            order = () if np.array_equal(places[at], at) else tuple(places[at].reshape(-1).tolist())
            end, weights = End(terms, own, order), found.weights
            if factor is not None and isinstance(found, Listed):
                weights = weights * factor[np.repeat(at, np.diff(found.starts))][:, None]
            elif factor is not None:
                weights = weights * factor[at][:, None, None, :]
            common = self._name(), mix.tensor, src, dst, geometry, at, found.sources, weights, end
            self._emit(Lists(*common, found.starts) if isinstance(found, Listed) else Blocks(*common))

    def _part(self, part: PartJunction, dst: Planes, step: _Step) -> None:
        """Some channels of a concatenation."""
        src = self.values[part.source]
        first = part.first // dst.positions
        own = np.arange(first, first + src.channels)
        functions = tuple(_of_channels(function, own) for function in step.functions)
        terms = ((src, part.scale),)
        if step.places:
            end = End(terms, functions, step.places[first : first + src.channels])
            self._emit(Blend(self._name(), dst, end))
            return
        inside = replace(dst, at=dst.at + first * dst.positions, channels=src.channels)
        self._emit(Blend(self._name(), inside, End(terms, functions)))

    def _head(self, station: Station, step: _Step, src: Planes, last: bool) -> Planes:
        """A pool, a function of all channels, or more functions of single values."""
        stage, dst, end = step.head, self._target(station, step, last), _end(step)
        if stage is None:
            self._emit(Blend(self._name(), dst, _end(step, ((src, 1.0),))))
            return dst
        if stage.name not in POOLS:
            self._emit(Across(self._name(), src, dst, stage, end))
            return dst
        extents = (src.rows, src.columns) if len(station.shape) == 3 else (src.columns,)
        geometry = pool_of(stage, extents)
        tap, planar = tap_of(stage, geometry), geometry.planar()
        window, stride = _two(planar.kernel), _two(planar.stride)
        if tap is None:
            pool = Pool(self._name(), src, dst, window, stride, stage.name == "maxpool", end)
        else:
            pool = Pool(self._name(), src, dst, (1, 1), stride, True, end, _two((0, *tap)))
        self._emit(pool)
        return dst

    def _target(self, station: Station, step: _Step, last: bool) -> Planes:
        """Where a step leaves its values: where they are wanted if it is the last one."""
        return (self._aim(station) if last else None) or self._new(station, step.extents)

    def _new(self, station: Station, extents: Extents) -> Planes:
        planes = _planes(f"planes{len(self.arrays)}", 0, station, extents)
        self.arrays[planes.array] = planes.size
        return planes

    def _emit(self, op: Op) -> None:
        self.ops.append(op)

    def _name(self) -> str:
        return f"f{len(self.ops)}"


def _planes(array: str, at: int, station: Station, extents: Extents) -> Planes:
    """The channels of a station that are not silent; one extent is a row."""
    rows, columns = _two((1, 1, *extents))
    return Planes(array, at, station.real_units, rows, columns)


def _two(numbers: tuple[int, ...]) -> tuple[int, int]:
    return numbers[-2], numbers[-1]


def _row(planes: Planes) -> Planes:
    """The same floats, all positions in one row."""
    return replace(planes, rows=1, columns=planes.positions)


def _pointwise(positions: int) -> Geometry:
    """A filter of one tap over a row."""
    one, none = (1, 1), (0, 0)
    return Geometry((1, positions), (1, positions), one, one, one, none, none)


def _end(step: _Step, terms: tuple[tuple[Planes, float], ...] = ()) -> End:
    return End(terms, step.functions, step.places)


def _of_channels(function: Call | Affine, channels: np.ndarray) -> Call | Affine:
    """A function for these channels, its numbers in their order."""
    if isinstance(function, Call):
        return function
    return Affine(function.shift[channels], None if function.scale is None else function.scale[channels])


def _folded(functions: tuple[Call | Affine, ...]) -> tuple[tuple[Call | Affine, ...], Floats | None]:
    """The functions without the factors of those affine ones that stand first, and these factors, None for ones."""
    scale: Floats | None = None
    shift: Floats | None = None
    rest = list(functions)
    while rest and isinstance(first := rest[0], Affine):
        factor = np.ones_like(first.shift) if first.scale is None else first.scale
        scale = factor if scale is None else scale * factor
        shift = first.shift if shift is None else shift * factor + first.shift
        rest.pop(0)
    return ((Affine(shift), *rest) if shift is not None else functions), scale
