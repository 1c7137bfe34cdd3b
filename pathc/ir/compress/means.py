"""Biases that give the sums of a quantized net the means they had before.

Quantized weights shift the mean of what a unit sums up, and shifts add up from layer to layer. Station after station,
the bias takes back what the mean over calibration samples, and over all positions of a channel, has moved, everything
in front of it already corrected. Source: the bias correction of Nagel et al., Data-Free Quantization Through Weight
Equalization and Bias Correction, 2019, with means taken from samples.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pathc.ir.interp.junctions import Junction, Values, junction_values, read_size, real_size, size_of, widen
from pathc.ir.interp.network import Network, functions_of, input_rows
from pathc.ir.weights import Tensors


def corrected_biases(
    network: Network, exact: Tensors, quantized: Tensors, samples: NDArray[Any]
) -> dict[str, NDArray[np.float32]]:
    """The bias of every station that has one and is led to by weights, float32 [real units].

    `exact` are the tensors of the net, `quantized` those in their place; samples are [samples, *shape of the input].
    A station without a bias keeps the mean it has.
    """
    rows, _ = input_rows(network.graph, samples)
    last = _last_readers(network)
    before: dict[str, Values] = {}
    after: dict[str, Values] = {}
    found: dict[str, NDArray[np.float32]] = {}
    for station in network.stations:
        name, into = station.name, network.into[station.name]
        start = rows[name] if name in rows else np.zeros((len(samples), size_of(station)))
        wanted, given = _sums(into, exact, before, start), _sums(into, quantized, after, start)
        if station.stage("bias") is not None:
            bias = network.bias(exact, station)
            wanted = wanted + bias
            if any(junction.tensor for junction in into):
                shift = _mean(wanted, station.units) - _mean(given, station.units)
                found[f"{name}.bias"] = shift[: station.real_units].astype(np.float32)
                bias = network.bias({f"{name}.bias": found[f"{name}.bias"]}, station)
            given = given + bias
        for values, sums in ((before, wanted), (after, given)):
            read = sums[:, : real_size(station)]
            for function in functions_of(station, exact):
                read = function.apply(read)
            values[name] = widen(read, read_size(station))
        for source in {junction.source for junction in into if last[junction.source] == name}:
            del before[source], after[source]
    return found


def _last_readers(network: Network) -> dict[str, str]:
    """The last station that reads each one."""
    return {j.source: station.name for station in network.stations for j in network.into[station.name]}


def _sums(into: tuple[Junction, ...], weights: Tensors, values: Mapping[str, Values], start: Values) -> Values:
    sums = start.copy()
    for junction in into:
        sums += junction.push(values[junction.source], junction_values(weights, junction))
    return sums


def _mean(sums: Values, channels: int) -> Values:
    """Over samples and positions, [channels]."""
    return sums.reshape(len(sums), channels, -1).mean(axis=(0, 2))
