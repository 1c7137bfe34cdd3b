"""A quantized graph made ready for integer arithmetic: formats, scales, weights and accumulators checked."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pathc.ir.cells import cell_of
from pathc.ir.facts import Scale, Weights
from pathc.ir.graph import Graph, Station
from pathc.ir.interp.activations import activation
from pathc.ir.interp.filters import PartJunction
from pathc.ir.interp.junctions import Junction, SkipJunction, Values, read_size, real_size, size_of
from pathc.ir.interp.network import Network, prepare
from pathc.ir.misfits import flat_only
from pathc.ir.quantized.activations import Reading, reading
from pathc.ir.quantized.cells import IntegerCell, gated, integer_cell, state_function, state_range, without_cell
from pathc.ir.quantized.extents import beyond_integers
from pathc.ir.quantized.formats import CALIBRATED, Format, format_of
from pathc.ir.quantized.rounding import Integers
from pathc.ir.quantized.sums import bits_of_bounds, too_wide
from pathc.ir.quantized.windows import EXACT, Step, Steps, Window, steps_of
from pathc.ir.sequences import takes_sequences
from pathc.ir.types import plain_type
from pathc.ir.weights import SCALE, Tensors
from pathc.support.diagnostics import Diagnostic, PathcError, error

I32 = format_of(plain_type("i32"))
SKIP = format_of(plain_type("i16"))
"""Format of the factors of a skip."""
_SAME = 2.0**-18
"""Relative difference below which two scales, stored as float32, are the same."""


@dataclass(frozen=True)
class IntegerJunction:
    """A junction with integer weights, int64 of the tensor's shape; a skip has one factor a destination unit.

    So has a part of a station that sets skips side by side, for the units of the part.
    """

    junction: Junction
    weights: Integers
    format: Format

    def push(self, values: Integers) -> Integers:
        """Sums at the destination, int64 [batch, units]; exact below 2^53."""
        return self._weighted(values.astype(np.float64), self.weights.astype(np.float64)).astype(np.int64)

    def reach(self, low: Integers, high: Integers) -> tuple[Integers, Integers]:
        """Least and largest partial sums, in any order, for sources within [low, high] (0 lies within): [units]."""
        ends = np.stack([low, high]).astype(np.float64)
        up = self._weighted(ends, np.maximum(self.weights, 0).astype(np.float64))
        down = self._weighted(ends, np.minimum(self.weights, 0).astype(np.float64))
        return (up[0] + down[1]).astype(np.int64), (up[1] + down[0]).astype(np.int64)

    def _weighted(self, values: Values, weights: Values) -> Values:
        match self.junction:
            case SkipJunction():
                return values * weights
            case PartJunction(first=first, count=count, sizes=(units, _)):
                return np.pad(values[:, :count] * weights, ((0, 0), (first, units - first - count)))
            case _:
                return self.junction.push(values, weights)


@dataclass(frozen=True)
class IntegerStation:
    """A station in integers; its units are those of all positions, channel by channel.

    `bias` is int64 [units], zero at silent units; `sum_scale` float64 [real units] is what 1 stands for in its sums.
    `low` and `high` int64 [units] bound every partial sum, in any order; `bits` hold them, and sums of windows.
    `reading` makes what the steps in front of it leave of the sums integers of `format` that stand for multiples of
    `scale`; both are None for an output that is given as sums. `steps` are empty for flat stations, and for sums.
    With a `cell`, these are its states, and its recurrent products are among the sums.
    """

    station: Station
    bias: Integers
    sum_scale: NDArray[np.float64]
    low: Integers
    high: Integers
    bits: int
    format: Format | None
    scale: float
    reading: Reading | None
    cell: IntegerCell | None = None
    steps: Steps = EXACT

    def value_range(self) -> tuple[Integers, Integers]:
        """Least and largest integer that can be read from each unit, int64 [units read]; 0 lies between them."""
        if self.reading is None:
            return self.low, self.high
        real = real_size(self.station)
        low, high = self.reading.range(*_through(self.steps.before, self.low[:real], self.high[:real]))
        low, high = _through(self.steps.behind, low, high)
        if self.cell is not None and self.cell.behind is not None:
            low, high = self.cell.behind.range(low, high)
        silent = (0, read_size(self.station) - len(low))
        return np.pad(np.minimum(low, 0), silent), np.pad(np.maximum(high, 0), silent)

    def read(self, sums: Integers) -> Integers:
        """What is read from sums [batch, units]: [batch, units read], zero at silent ones; or these sums."""
        if self.reading is None:
            return sums
        values = sums[:, : real_size(self.station)]
        for step in self.steps.before:
            values = step(values)
        values = self.reading(values)
        for step in self.steps.behind:
            values = step(values)
        return np.pad(values, ((0, 0), (0, read_size(self.station) - values.shape[1])))


@dataclass(frozen=True)
class IntegerNetwork:
    """Stations in an order in which every one comes after those that feed it, and what leads into each."""

    graph: Graph
    stations: tuple[IntegerStation, ...]
    into: Mapping[str, tuple[IntegerJunction, ...]]

    def station(self, name: str) -> IntegerStation:
        """The station of that name; KeyError if there is none."""
        for each in self.stations:
            if each.station.name == name:
                return each
        raise KeyError(name)


def refuse_cells(graph: Graph) -> None:
    """Raise E1303 with every station that has extents, or more than a bias and activations."""
    found = [
        Diagnostic("E1303", f"station `{station.name}` has the stage `{stage.name}`", station.loc,
                   help="only bias and activations can be brought into integers, sampled or normalized")
        for station in graph.stations for stage in station.pipeline
        if stage.name != "bias" and activation(stage) is None
    ]  # fmt: skip
    found = found or flat_only(graph, "quantization, sampling and normalization know")
    if found:
        raise PathcError(*found)


def refuse_gates(graph: Graph) -> None:
    """Raise E1303 with every cell that takes more than sums, and as `refuse_cells` for all other stages."""
    found = tuple(gated(graph))
    if found:
        raise PathcError(*found)
    refuse_cells(replace(graph, stations=tuple(without_cell(station) for station in graph.stations)))


def integer_network(graph: Graph, weights: Tensors, accumulator_bits: int = 32) -> IntegerNetwork:
    """The integer network of a graph with `scale` and `weights` facts and integer tensors beside their scales.

    Raises PathcError: E1301 to E1307, and as `pathc.ir.interp.forward` for weights that do not belong to the graph.
    """
    if takes_sequences(graph):
        refuse_gates(graph)
    elif refused := beyond_integers(graph):
        raise PathcError(*refused)
    network = prepare(graph, weights)
    read = stations_read(network)
    facts = {fact.station: fact for fact in graph.facts_of(Scale)}
    stations: dict[str, IntegerStation] = {}
    into: dict[str, tuple[IntegerJunction, ...]] = {}
    for station in network.stations:
        fact = facts.get(station.name)
        if fact is None and station.name in read:
            raise _lacks(f"station `{station.name}` has no `scale`", station)
        into[station.name], made = _station(network, weights, station, fact, stations)
        if made.bits > accumulator_bits:
            raise PathcError(too_wide(station.name, made.bits, accumulator_bits, station.loc))
        stations[station.name] = made
    return IntegerNetwork(graph, tuple(stations.values()), into)


def stations_read(network: Network) -> set[str]:
    """Stations whose values anything reads: lines, cells that read their own state, and all inputs."""
    sources = {junction.source for into in network.into.values() for junction in into}
    return sources | {s.name for s in network.stations if s.role == "input" or cell_of(s) is not None}


def _station(
    network: Network, weights: Tensors, station: Station, fact: Scale | None, known: Mapping[str, IntegerStation]
) -> tuple[tuple[IntegerJunction, ...], IntegerStation]:
    junctions = network.into[station.name]
    format = format_of(fact.type, fact.loc or station.loc) if fact is not None else None
    sum_scale = _sum_scale(weights, station, fact, [(j, known[j.source].scale) for j in junctions])
    made = tuple(_junction(network.graph, weights, j, known[j.source].scale, sum_scale) for j in junctions)
    bias = _bias(weights, station, sum_scale)
    low, high = np.minimum(bias, 0), np.maximum(bias, 0)
    if station.role == "input" and format is not None:
        low, high = low + min(format.low, 0), high + format.high
    for junction in made:
        least, most = junction.reach(*known[junction.junction.source].value_range())
        low, high = low + least, high + most
    real = real_size(station)
    if fact is None or format is None:
        bits = bits_of_bounds(low[:real], high[:real])
        return made, IntegerStation(station, bias, sum_scale, low, high, bits, None, 1.0, None)
    cell = integer_cell(network.graph, weights, station, format, fact.value)
    if cell is not None:
        read = reading(state_function(station), sum_scale, format, fact.value)
        least, most = cell.reach(*state_range(read))
        low[:real], high[:real] = low[:real] + least, high[:real] + most
        bits = bits_of_bounds(low[:real], high[:real])
        return made, IntegerStation(station, bias, sum_scale, low, high, bits, format, fact.value, read, cell)
    bits = bits_of_bounds(low[:real], high[:real])
    steps = steps_of(station)
    ends = low[:real], high[:real]
    for step in steps.before:
        ends = step.range(*ends)
        bits = max(bits, bits_of_bounds(*ends))
    read = reading(station, _behind_windows(station, steps, sum_scale), format, fact.value)
    return made, IntegerStation(station, bias, sum_scale, low, high, bits, format, fact.value, read, steps=steps)


def _through(steps: tuple[Step, ...], low: Integers, high: Integers) -> tuple[Integers, Integers]:
    """Bounds behind steps."""
    for step in steps:
        low, high = step.range(low, high)
    return low, high


def _behind_windows(station: Station, steps: Steps, sum_scale: NDArray[np.float64]) -> NDArray[np.float64]:
    """What 1 stands for in front of the rounding, for every unit there; sums of windows stand for their average."""
    scale = sum_scale / steps.counts
    for step in steps.before:
        if isinstance(step, Window):
            spread = scale.reshape(step.channels, -1)
            if not (spread == spread[:, :1]).all():
                text = f"station `{station.name}` pools sums whose positions have scales of their own"
                raise error("E1305", text, station.loc, help="quantize with `--per tensor`")
            scale = np.repeat(spread[:, 0], step.geometry.positions)
    return scale


def _sum_scale(
    weights: Tensors, station: Station, fact: Scale | None, sources: list[tuple[Junction, float]]
) -> NDArray[np.float64]:
    """What 1 stands for in the sums of each real unit; E1305 if two lines, or a line and the state, disagree."""
    real = real_size(station)
    if station.role == "input" and fact is not None:
        return np.full(real, fact.value)
    names = [(j.tensor, s) for j, s in sources if j.tensor]
    if f"{station.name}.bias{SCALE}" in weights:
        names.append((f"{station.name}.bias", 1.0))
    found = [(name, scale_of(weights, name, real, station) * factor) for name, factor in names]
    cell = cell_of(station)
    if cell is not None and fact is not None:
        own = [scale_of(weights, name, cell.hidden, station) for name in cell.tensors]
        found.append((cell.tensors[0], np.concatenate(own) * fact.value))
    if not found:
        least = min((abs(_skip_scale(j)) * s for j, s in sources if _skip_scale(j)), default=1.0)
        return np.full(real, least / (1 << 7))
    first, scale = found[0]
    for name, other in found[1:]:
        if not (np.abs(other - scale) <= _SAME * scale).all():
            text = f"`{first}` and `{name}` give the sums of station `{station.name}` different scales"
            raise error("E1305", text, station.loc, help="quantize all tensors of the station together")
    return scale


def scale_of(weights: Tensors, name: str, units: int, station: Station) -> NDArray[np.float64]:
    """The scale of an integer tensor for every real unit of its destination, float64 [units], channels repeated.

    Raises PathcError: E1302 if there is none, E1305 if it is not positive and finite.
    """
    scale = weights.get(name + SCALE)
    if scale is None:
        raise _lacks(f"tensor `{name}` has no scale", station)
    values = np.asarray(scale, dtype=np.float64)
    if not (np.isfinite(values) & (values > 0)).all():
        raise error("E1305", f"the scale of `{name}` is not positive and finite", station.loc)
    return np.repeat(values.reshape(-1), units // values.size).astype(np.float64)


def _junction(
    graph: Graph, weights: Tensors, junction: Junction, source: float, sum_scale: NDArray[np.float64]
) -> IntegerJunction:
    destination = graph.station(junction.destination)
    if isinstance(junction, SkipJunction | PartJunction):
        exact = junction.scale * source / sum_scale
        if isinstance(junction, PartJunction):
            exact = exact[junction.first : junction.first + junction.count]
        else:
            exact = np.pad(exact, (0, size_of(destination) - len(exact)))
        factors = np.rint(exact)
        if not (np.abs(factors) <= SKIP.high).all():
            text = f"the skip from `{junction.source}` to `{junction.destination}` needs a factor beyond {SKIP.high}"
            raise error("E1305", text, destination.loc, help="its source is much coarser than the sums it joins")
        return IntegerJunction(junction, factors.astype(np.int64), SKIP)
    tensor = weights[junction.tensor]
    fact = _weights_fact(graph, junction)
    if fact is None or tensor.dtype.kind not in "iu":
        raise _lacks(f"the weights `{junction.tensor}` are not quantized", destination)
    format = format_of(fact.type, fact.loc or destination.loc)
    values = tensor.astype(np.int64)
    if not format.holds(values):
        text = f"tensor `{junction.tensor}` holds integers outside {format.low} .. {format.high} of {fact.type}"
        raise error("E1306", text, fact.loc or destination.loc, help="use the weights quantized with this graph")
    return IntegerJunction(junction, values, format)


def _weights_fact(graph: Graph, junction: Junction) -> Weights | None:
    """The fact about the tensor that a junction reads; a tied line reads that of the line it mirrors."""
    facts = {f"{fact.line}.{fact.junction}": fact for fact in graph.facts_of(Weights)}
    return facts.get(junction.tensor)


def _bias(weights: Tensors, station: Station, sum_scale: NDArray[np.float64]) -> Integers:
    bias = np.zeros(size_of(station), dtype=np.int64)
    if station.stage("bias") is not None:
        tensor = np.repeat(weights[f"{station.name}.bias"], math.prod(station.shape[1:]))
        rounded = tensor if tensor.dtype.kind in "iu" else np.rint(tensor / sum_scale)
        if not (np.abs(rounded.astype(np.float64)) <= I32.high).all():
            text = f"the bias of station `{station.name}` does not fit into 32 bits at the scale of its sums"
            raise error("E1306", text, station.loc, help="calibrate on data with larger activations")
        bias[: real_size(station)] = rounded.astype(np.int64)
    return bias


def _skip_scale(junction: Junction) -> float:
    return junction.scale if isinstance(junction, SkipJunction | PartJunction) else 0.0


def _lacks(what: str, station: Station) -> PathcError:
    return error("E1302", what, station.loc, help=CALIBRATED)
