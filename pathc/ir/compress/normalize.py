"""Normalization by positive linear factors: the weights into every unit get the l1 norm 1, outputs keep their scale."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pathc.ir.compress.edges import weighted_edges
from pathc.ir.filters import shuffle_order
from pathc.ir.graph import Graph, Station
from pathc.ir.interp.activations import Identity, KWinners, Leaky, activation
from pathc.ir.interp.base import Junction
from pathc.ir.interp.filters import PartJunction
from pathc.ir.interp.junctions import DenseJunction, SkipJunction, float_tensors
from pathc.ir.interp.network import Network, prepare
from pathc.ir.misfits import unscaled_only
from pathc.ir.quantized.network import refuse_cells
from pathc.ir.sequences import gives_sequences
from pathc.ir.weights import Tensors, tensor_values
from pathc.support.diagnostics import PathcError, error


@dataclass(frozen=True)
class Normalized:
    """Tensors that compute the same outputs, each divided by its factor: `factors` by output station, [real units]."""

    tensors: dict[str, NDArray[Any]]
    factors: dict[str, NDArray[np.float64]]


def normalize(graph: Graph, weights: Tensors, outputs: bool = False) -> Normalized:
    """Divide the weights and bias of every hidden unit by the l1 norm of its weights, and feed the norm forward.

    f(c x) = c f(x) for c > 0 makes this exact up to rounding. Outputs are left alone, with factors of 1, unless
    `outputs` asks for them as well; those with another activation than a homogeneous one always are. kwinners compares
    units, which then share one factor; a station that a skip enters takes the factors of the skip's source, and a
    station that sets skips side by side takes theirs. Channels have one factor for all positions. Raises PathcError
    E1312, naming the station, where homogeneity fails, and as `pathc.ir.interp.forward`.
    Source: Mordido, Van Keirsbilck, Keller (MCQ, 2019).
    """
    if gives_sequences(graph):
        refuse_cells(graph)
    if found := unscaled_only(graph, "normalization has"):
        raise PathcError(*found)
    if solved := next((station for station in graph.stations if station.stage("ode") is not None), None):
        raise _fails(solved, "the steps of an equation share their weights")
    if short := next((station for station in graph.stations if station.stage("shortcut") is not None), None):
        raise _fails(short, "its sums and its shortcut would need one factor")
    network = prepare(graph, weights)
    tensors: dict[str, NDArray[Any]] = dict(float_tensors(graph, weights))
    tied = {j for line in graph.lines if line.tied for j in (f"{line.mirror}.{n}" for n in line.junctions)}
    factors: dict[str, NDArray[np.float64]] = {}
    for station in network.stations:
        factor = _factors(network, weights, station, factors, outputs)
        factors[station.name] = _as_read(station, factor)
        for junction in network.into[station.name]:
            if not junction.tensor:
                continue
            edges = weighted_edges(weights, junction)
            heard, told = _positions(network, junction)
            change = factors[junction.source][edges.source // heard] / factor[edges.destination // told]
            if junction.tensor in tied and not (change == 1.0).all():
                text = f"`{junction.tensor}` is shared by a tied line, whose ends would need other factors"
                raise error("E1312", text, station.loc, help="store the tied weights as tensors of their own")
            shape = tensors[junction.tensor].shape
            tensors[junction.tensor] = (edges.weights * change).astype(np.float32).reshape(shape)
        if station.stage("bias") is not None:
            bias = tensor_values(weights, f"{station.name}.bias") / factor[: station.real_units]
            tensors[f"{station.name}.bias"] = bias.astype(np.float32)
    return Normalized(tensors, {s.name: factors[s.name][: s.real_units] for s in graph.outputs})


def _factors(
    network: Network, weights: Tensors, station: Station, known: dict[str, NDArray[np.float64]], outputs: bool
) -> NDArray[np.float64]:
    """The factor of every unit of a station, [units]."""
    ones = np.ones(station.units)
    junctions = network.into[station.name]
    parts = [junction for junction in junctions if isinstance(junction, PartJunction)]
    if parts:
        heard = [(known[j.source], network.graph.station(j.source).real_units) for j in parts]
        joined = np.concatenate([factor[:units] for factor, units in heard])
        factor = np.pad(joined, (0, station.units - len(joined)), constant_values=1.0)
        if (bent := _bent(station)) and not (factor == 1.0).all():
            raise _fails(station, f"`{bent}` is not homogeneous")
        return factor
    bent = _bent(station)
    if not junctions or (station.role == "output" and (bent or not outputs)):
        _check_skips(station, [known[j.source] for j in junctions if isinstance(j, SkipJunction)], ones)
        return ones
    if bent:
        raise _fails(station, f"`{bent}` is not homogeneous")
    skips = [known[j.source] for j in junctions if isinstance(j, SkipJunction)]
    norm = np.zeros(station.units)
    for junction in junctions:
        if junction.tensor:
            edges = weighted_edges(weights, junction)
            heard, told = _positions(network, junction)
            sizes = np.abs(edges.weights) * known[junction.source][edges.source // heard]
            sums = np.bincount(edges.destination, weights=sizes, minlength=station.units * told)
            norm += sums.reshape(station.units, told).max(axis=1)
    norm = np.where(norm > 0, norm, 1.0)
    if station.stage("kwinners") is not None:
        norm = np.full(station.units, norm[: station.real_units].max())
    norm[station.real_units :] = 1.0
    if skips:
        _check_skips(station, skips[1:], skips[0])
        norm = skips[0]
    return norm


def _as_read(station: Station, factor: NDArray[np.float64]) -> NDArray[np.float64]:
    """Factors in the order in which the channels are read."""
    for stage in station.pipeline:
        if stage.name == "channelshuffle":
            real = factor[shuffle_order(stage, station.real_units)]
            factor = np.concatenate([real, factor[station.real_units :]])
    return factor


def _positions(network: Network, junction: Junction) -> tuple[int, int]:
    """Units for each channel of the source and of the destination, where a dense line joins all positions."""
    if not isinstance(junction, DenseJunction):
        return 1, 1
    source, destination = (network.graph.station(name) for name in (junction.source, junction.destination))
    return junction.real[1] // source.real_units, junction.real[0] // destination.real_units


def _check_skips(station: Station, found: list[NDArray[np.float64]], wanted: NDArray[np.float64]) -> None:
    if any(not np.array_equal(each, wanted) for each in found):
        raise _fails(station, "skips enter it whose sources have different factors")


def _bent(station: Station) -> str:
    """The first activation of a station that is not homogeneous, empty if there is none."""
    for stage in station.pipeline:
        function = activation(stage)
        if stage.name == "batchnorm":
            return stage.name
        if function is not None and not isinstance(function, Identity | Leaky | KWinners):
            return stage.name
    return ""


def _fails(station: Station, why: str) -> PathcError:
    text = f"factors cannot be fed through station `{station.name}`: {why}"
    return error(
        "E1312", text, station.loc, help="identity, relu, leaky, abs and kwinners let a positive factor through"
    )
