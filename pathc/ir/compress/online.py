"""Online sparsity: activations are sampled during inference, and only units that were hit are read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from pathc.ir.compress.montecarlo import sample_counts
from pathc.ir.generators.hashing import hash64
from pathc.ir.graph import Graph, Station
from pathc.ir.interp.junctions import Values, junction_values
from pathc.ir.interp.network import Inputs, activations_of, input_rows, prepare
from pathc.ir.quantized.network import refuse_cells
from pathc.ir.weights import Tensors
from pathc.support.diagnostics import error


@dataclass(frozen=True)
class Activity:
    """Shares of the units of a station, averaged over the batch: `used` were hit by samples, `active` were not zero."""

    used: float
    active: float


@dataclass(frozen=True)
class OnlineSparsity:
    """Outputs float64 [batch, units] (or [units]), and the counters of every sampled station."""

    outputs: Values
    activity: dict[str, Activity]


def sparse_forward(
    graph: Graph, weights: Tensors, inputs: Inputs, rates: Mapping[str, float], seed: int = 0
) -> OnlineSparsity:
    """Outputs of a graph that samples the activations of some stations.

    `rates` maps stations to samples a unit. With N = rate x units samples of the density |a| / sum |a| a unit is hit q
    times and read as sign(a) q sum |a| / N; the rest is not read. Systematic samples, deterministic from the seed, each
    row of the batch with its own. Raises PathcError E0302 for a station that does not exist, E1311 for a rate that is
    not positive and finite or for activations that are not finite, and as `pathc.ir.interp.forward`.
    """
    refuse_cells(graph)
    network = prepare(graph, weights)
    check_rates(graph, rates)
    rows, layout = input_rows(graph, inputs)
    values: dict[str, Values] = {}
    activity: dict[str, Activity] = {}
    batch = len(next(iter(rows.values())))
    for station in network.stations:
        total = rows[station.name].copy() if station.name in rows else np.zeros((batch, station.units))
        if station.stage("bias") is not None:
            total += network.bias(weights, station)
        for junction in network.into[station.name]:
            total += junction.push(values[junction.source], junction_values(weights, junction))
        read = total[:, : station.real_units]
        for function in activations_of(station):
            read = function.apply(read)
        if station.name in rates:
            if not np.isfinite(read).all():
                raise error("E1311", f"activations of `{station.name}` are not finite", station.loc)
            samples = samples_of(station, rates[station.name])
            sampled = np.array([_sampled(row, samples, hash64(seed, i)) for i, row in enumerate(read)]).reshape(
                read.shape
            )
            activity[station.name] = Activity(_share(sampled), _share(read))
            read = sampled
        values[station.name] = np.pad(read, ((0, 0), (0, station.units - station.real_units)))
    outputs = np.concatenate([values[s.name][:, : s.real_units] for s in graph.outputs], axis=1)
    return OnlineSparsity(outputs[0] if layout.single else outputs, activity)


def check_rates(graph: Graph, rates: Mapping[str, float]) -> None:
    """Raise E0302 for a station that does not exist, E1311 for a rate that is not positive and finite."""
    names = {station.name for station in graph.stations}
    for name, rate in rates.items():
        if name not in names:
            raise error(
                "E0302", f"there is no station `{name}`", graph.loc, help=f"stations: {', '.join(sorted(names))}"
            )
        if not 0 < rate <= 1 << 20:
            raise error("E1311", f"a rate of {rate} samples a unit", graph.station(name).loc, help="0.2 is a fifth")


def samples_of(station: Station, rate: float) -> int:
    """How many samples of a station's activations are drawn at so many a unit."""
    return max(1, round(rate * station.real_units))


def _sampled(row: Values, samples: int, seed: int) -> Values:
    norm = float(np.abs(row).sum())
    if norm == 0:
        return np.zeros(row.shape)
    return sample_counts(row, samples, "systematic", seed).astype(np.float64) * (norm / samples)


def _share(values: Values) -> float:
    return float((values != 0).mean()) if values.size else 0.0
