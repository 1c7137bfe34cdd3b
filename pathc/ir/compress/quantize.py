"""Quantization of a trained net without training: weights alone, or with calibrated stations for integer arithmetic."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pathc.ir.cells import cell_of
from pathc.ir.compress.means import corrected_biases
from pathc.ir.compress.states import StateTensor, has_rows, read_or_held, recurrent_facts, state_tensors
from pathc.ir.compress.tensors import LARGEST, Settings, fit_values, quantize_values
from pathc.ir.facts import Recurrent, Scale, Sums, Weights
from pathc.ir.folding import folded, unfoldable
from pathc.ir.graph import Graph, Station
from pathc.ir.inputs import as_samples, check_input, input_shape
from pathc.ir.interp import evaluate
from pathc.ir.interp.filters import PartJunction
from pathc.ir.interp.junctions import Junction, SkipJunction, float_tensors, real_size
from pathc.ir.interp.network import Network, prepare
from pathc.ir.misfits import unscaled_only
from pathc.ir.quantized import IntegerNetwork, format_of, integer_network, nearest_ratio, never_negative, power_of_two
from pathc.ir.quantized.cells import state_function
from pathc.ir.quantized.extents import beyond_integers
from pathc.ir.quantized.network import refuse_gates, stations_read
from pathc.ir.sequences import takes_sequences
from pathc.ir.types import ScalarType, plain_type
from pathc.ir.weights import SCALE, Tensors, check_weights
from pathc.support.diagnostics import Diagnostic, PathcError, Severity, error
from pathc.support.tensors import round_to_bfloat16

_KINDS = {"int8": "i8", "int4": "i4", "ternary": "t2", "mc": "i8"}
_CHUNK = 256
_COARSE = 0.02
DEFAULTS = Settings()


@dataclass(frozen=True)
class Quantized:
    """A graph with the facts of its number formats, its tensors, and what is to be said about them."""

    graph: Graph
    tensors: dict[str, NDArray[Any]]
    notes: tuple[Diagnostic, ...] = ()

    @property
    def calibrated(self) -> bool:
        """Whether the stations have scales, so that integers can be computed throughout."""
        return any(self.graph.facts_of(Scale))


def quantize(
    graph: Graph, weights: Tensors, settings: Settings = DEFAULTS, data: NDArray[Any] | None = None
) -> Quantized:
    """The graph and weights in the numbers that `settings` name.

    Without `data` every tensor is quantized by itself, biases and normalizations stay floats: any target runs the
    result as floats.
    With `data` [samples, units], of nets with cells [samples, steps, units], normalizations are folded into the weights
    in front of them, stations are calibrated, all that adds up in a station shares one scale, biases take back the
    shifts of means (`means.py`) and become i32: the result is what `pathc.ir.quantized` evaluates. Deterministic from
    the seed. Raises PathcError: E0505 to E0509 for weights, E0512 and E0513 for data, E1310 for tensors of zeros, E1311
    for bad settings, and those of integer arithmetic (E13xx).
    """
    check_settings(settings)
    found = check_weights(graph, weights, finite=True)
    if found:
        raise PathcError(*found)
    if settings.method != "bf16" and takes_sequences(graph):
        refuse_gates(graph)
    if found := unscaled_only(graph, "quantization has"):
        raise PathcError(*found)
    plain = float_tensors(graph, weights)
    if settings.method != "bf16" and data is not None and not takes_sequences(graph):
        graph, plain = for_integers(graph, plain)
        if found := beyond_integers(graph):
            raise PathcError(*found)
    network = prepare(graph, plain)
    if settings.method == "bf16":
        return Quantized(graph, {name: round_to_bfloat16(tensor) for name, tensor in plain.items()})
    _refuse_zeros(network, plain)
    scales = {} if data is None else calibrate(network, plain, settings, data)
    graph = replace(graph, facts=tuple(f for f in graph.facts if not isinstance(f, Scale | Weights | Recurrent | Sums)))
    tensors: dict[str, NDArray[Any]] = dict(plain)
    for station in network.stations:
        tensors_into = _tensors_into(network, station)
        groups = [tensors_into] if scales else [[j] for j in tensors_into]
        for group in groups:
            values = {name: fact.value for name, fact in scales.items()}
            shared = any(line.tied and j.tensor.startswith(f"{line.mirror}.") for line in graph.lines for j in group)
            counts = {_scales_of(j, station, plain) for j in group} or {0}
            alone = shared or len(counts) > 1 or not has_rows(cell_of(station))
            own = replace(settings, per="tensor") if alone else settings
            count = max(counts)
            tensors.update(_quantize_group(group, count, plain, tensors, values, own))
    if data is not None and settings.correct and not takes_sequences(graph):
        tensors.update(corrected_biases(network, plain, tensors, as_samples(graph, data[:_CHUNK])))
    facts = _weights_facts(graph, tensors, settings)
    cells = recurrent_facts(graph, tensors, plain_type(_KINDS[settings.method]))
    graph = replace(graph, facts=(*graph.facts, *scales.values(), *facts, *cells))
    notes = _too_wide(tensors)
    return _for_integers(graph, tensors, notes) if scales else Quantized(graph, tensors, notes)


def for_integers(graph: Graph, weights: Tensors) -> tuple[Graph, dict[str, NDArray[Any]]]:
    """The net as integers compute it: normalizations folded into weights wherever they can be."""
    return folded(graph, weights, (station.name for station, _ in unfoldable(graph)))


def check_settings(settings: Settings) -> None:
    """E1311 for numbers that make no sense."""
    if not 0 < settings.samples <= 1 << 20:
        raise error("E1311", f"{settings.samples} samples a weight cannot be drawn", help="1 reaches 4 to 5 bits")
    if not 0.5 < settings.quantile <= 1:
        text = f"a quantile of {settings.quantile} cuts off most activations"
        raise error("E1311", text, help="between 0.5 and 1; 1 keeps the largest")


def calibrate(network: Network, weights: Tensors, settings: Settings, data: NDArray[Any]) -> dict[str, Scale]:
    """A `scale` for every station that is read, from the activations on samples [samples, units].

    Stations that cannot be negative, and inputs that never are, become u8, the others i8. A declared fixed-point or
    integer type is kept. Raises PathcError: E0512 and E0513 for data that does not fit, E1311 if it is empty or not
    finite.
    """
    graph = network.graph
    check_input(data, (math.prod(input_shape(graph)),), "calibration data", sequences=takes_sequences(graph))
    if not len(data) or not np.isfinite(data).all():
        raise error("E1311", "the calibration data is empty or not finite", help="give some hundred ordinary samples")
    read = stations_read(network)
    sizes: dict[str, list[NDArray[np.float64]]] = {name: [] for name in read}
    least = dict.fromkeys(read, 0.0)
    for start in range(0, len(data), _CHUNK):
        trace = evaluate(graph, weights, as_samples(graph, data[start : start + _CHUNK]))
        for name in read:
            values = read_or_held(trace, name)
            sizes[name].append(np.abs(values) if settings.quantile < 1 else np.abs(values).max(axis=0))
            least[name] = min(least[name], float(values.min(initial=0.0)))
    facts: dict[str, Scale] = {}
    for station in graph.stations:
        if station.name in read:
            largest = float(np.quantile(np.concatenate(sizes[station.name], axis=None), settings.quantile))
            held = never_negative(state_function(station))
            positive = held or (station.role == "input" and least[station.name] >= 0.0)
            facts[station.name] = _scale(station.name, station.type, largest, positive, settings)
    return facts


def _scale(name: str, declared: ScalarType, largest: float, positive: bool, settings: Settings) -> Scale:
    if declared.name == "fix" and declared.frac is not None:
        return Scale(name, declared, 1, declared.frac)
    kind = declared if declared.name in ("i4", "t2", "i8") else plain_type("u8" if positive else "i8")
    step = (largest or 1.0) / format_of(kind).largest
    ratio = power_of_two(step) if settings.scales == "power" else nearest_ratio(step)
    return Scale(name, kind, max(ratio.multiplier, 1), ratio.shift)


def _tensors_into(network: Network, station: Station) -> list[Junction | StateTensor]:
    return [*(j for j in network.into[station.name] if j.tensor), *state_tensors(station)]


def _quantize_group(
    junctions: list[Junction | StateTensor],
    count: int,
    plain: Mapping[str, NDArray[Any]],
    done: Mapping[str, NDArray[Any]],
    scales: Mapping[str, float],
    settings: Settings,
) -> dict[str, NDArray[Any]]:
    """Integer tensors and scales of the junctions that add up in one station of `count` real units."""
    fixed = next((j for j in junctions if j.tensor + SCALE in done), None)
    fresh = [j for j in junctions if j.tensor + SCALE not in done]
    if not fresh:
        return {}
    parts = [plain[j.tensor].reshape(-1) * np.float64(scales.get(j.source, 1.0)) if scales else
             plain[j.tensor].reshape(-1) for j in fresh]  # fmt: skip
    lying = len(fresh) == 1 and fresh[0].destinations is None
    alone = settings.per == "tensor" and (lying or settings.method in LARGEST)
    units = [np.zeros(0, np.int64)] * len(fresh) if alone else [_units(j, plain) for j in fresh]
    found: dict[str, NDArray[Any]] = {}
    if fixed is not None:
        step = np.asarray(done[fixed.tensor + SCALE], np.float64).reshape(-1) * scales.get(fixed.source, 1.0)
        pieces = [fit_values(part, step, settings) for part in parts]
    else:
        whole, where = np.concatenate(parts) if len(parts) > 1 else parts[0], np.concatenate(units)
        real = where < count
        if settings.per == "unit" and not real.all():
            integers = np.zeros(len(whole), np.int64)
            integers[real], step = quantize_values(whole[real], where[real], count, settings)
        else:
            integers, step = quantize_values(whole, where, count, settings)
        pieces = np.split(integers, np.cumsum([len(part) for part in parts])[:-1])
    for junction, piece in zip(fresh, pieces, strict=True):
        found[junction.tensor] = _narrowest(piece).reshape(plain[junction.tensor].shape)
        scale = (step / scales.get(junction.source, 1.0)).astype(np.float32)
        found[junction.tensor + SCALE] = scale if len(scale) > 1 else scale.reshape(())
    return found


def _scales_of(junction: Junction | StateTensor, station: Station, plain: Mapping[str, NDArray[Any]]) -> int:
    """Real units of a station; of a dense line into all positions of it, the rows of its matrix."""
    return station.real_units if junction.destinations is not None else len(plain[junction.tensor])


def _units(junction: Junction | StateTensor, plain: Mapping[str, NDArray[Any]]) -> NDArray[np.int64]:
    """The destination unit of every weight, in the order of the flat tensor."""
    destinations, tensor = junction.destinations, plain[junction.tensor]
    rows = np.arange(len(tensor)) if destinations is None else destinations()
    return np.repeat(rows, math.prod(tensor.shape[1:]))


def _narrowest(values: NDArray[Any]) -> NDArray[Any]:
    largest = int(np.abs(values).max(initial=0))
    return values.astype(next(t for t in (np.int8, np.int16, np.int32, np.int64) if largest <= np.iinfo(t).max))


def _weights_facts(graph: Graph, tensors: Tensors, settings: Settings) -> list[Weights]:
    facts: list[Weights] = []
    for line in graph.lines:
        for junction in line.junctions:
            name = f"{line.name}.{junction}"
            if line.kind != "skip" and not line.tied and tensors[name].dtype == np.int8:
                per = "unit" if np.size(tensors[name + SCALE]) > 1 else "tensor"
                facts.append(Weights(line.name, junction, plain_type(_KINDS[settings.method]), per, loc=line.loc))
    return facts


def _too_wide(tensors: Tensors) -> tuple[Diagnostic, ...]:
    """W1301 for every tensor whose integers need more than 8 bits."""
    return tuple(
        Diagnostic("W1301", f"tensor `{name}` has integers up to {int(np.abs(tensors[name]).max())}, beyond 8 bits",
                   help="integer targets take at most 8 bits: draw fewer samples", severity=Severity.WARNING)
        for name in tensors if name + SCALE in tensors and tensors[name].dtype != np.int8
    )  # fmt: skip


def _for_integers(graph: Graph, tensors: dict[str, NDArray[Any]], notes: tuple[Diagnostic, ...]) -> Quantized:
    """Biases as i32 at the scale of the sums, and the proved width of every accumulator."""
    if notes:
        raise PathcError(*(replace(note, code="E1306", severity=Severity.ERROR) for note in notes))
    network = integer_network(graph, tensors, 63)
    widths: list[Sums] = []
    for each in network.stations:
        station = each.station
        widths.append(Sums(station.name, each.bits, loc=station.loc))
        if station.stage("bias") is None or station.role == "input":
            continue
        bias, sum_scale = (part[: real_size(station)].reshape(station.real_units, -1)
                           for part in (each.bias, each.sum_scale))  # fmt: skip
        # Positions with scales of their own have no common integer: such a bias stays a float, rounded at each of them.
        if (sum_scale == sum_scale[:, :1]).all():
            same = bool((sum_scale == sum_scale[0, 0]).all())
            tensors[f"{station.name}.bias"] = bias[:, 0].astype(np.int32)
            scale = sum_scale[:1, 0].reshape(()) if same else sum_scale[:, 0]
            tensors[f"{station.name}.bias{SCALE}"] = scale.astype(np.float32)
    return Quantized(replace(graph, facts=(*graph.facts, *widths)), tensors, tuple(_coarse_skips(network)))


def _coarse_skips(network: IntegerNetwork) -> Iterator[Diagnostic]:
    """W1302 for every skip whose whole factor is off by more than 2%."""
    for each in network.stations:
        for skip in network.into[each.station.name]:
            if isinstance(skip.junction, SkipJunction | PartJunction):
                exact = skip.junction.scale * network.station(skip.junction.source).scale / each.sum_scale
                if isinstance(skip.junction, PartJunction):
                    exact = exact[skip.junction.first : skip.junction.first + skip.junction.count]
                off = np.abs(skip.weights[: len(exact)] - exact) / np.abs(exact) if skip.junction.scale else 0 * exact
                if float(off.max()) > _COARSE:
                    text = f"the skip from `{skip.junction.source}` to `{each.station.name}` is off by "
                    text += f"{100 * float(off.max()):.0f}%: its factor at the scale of the sums is a whole number"
                    yield Diagnostic("W1302", text, each.station.loc, help="quantize to int8, whose sums are finer",
                                     severity=Severity.WARNING)  # fmt: skip


def _refuse_zeros(network: Network, weights: Tensors) -> None:
    found = [
        Diagnostic("E1310", f"tensor `{j.tensor}` holds nothing but zeros", network.graph.station(j.destination).loc,
                   help="train the net, or take the line out")
        for station in network.stations for j in _tensors_into(network, station) if not np.any(weights[j.tensor])
    ]  # fmt: skip
    if found:
        raise PathcError(*{d.message: d for d in found}.values())
