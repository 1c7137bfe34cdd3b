"""How far a backend's floats may be from the interpreter's: a running error bound, element by element.

A sum of n products computed in any order with unit roundoff u is off by at most gamma_n * sum |w| |a|, with
gamma_n = n u / (1 - n u) (Higham, Accuracy and Stability of Numerical Algorithms, section 3.1); errors of the
values read are carried along by |w|.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pathc.ir.cells import cell_of, split_at_cell
from pathc.ir.graph import Graph, Station
from pathc.ir.inputs import output_shape
from pathc.ir.interp.evaluate import Trace, evaluate
from pathc.ir.interp.expand import expanded
from pathc.ir.interp.junctions import Values, junction_values, read_size, real_read_size, real_size, size_of, widen
from pathc.ir.interp.network import Inputs, Network, functions_of, input_rows, prepare
from pathc.ir.interp.recurrent.inputs import CellInputs
from pathc.ir.weights import Tensors

_SMALLEST = float(np.finfo(np.float32).tiny)
_LARGEST = float(np.finfo(np.float32).max)
_EXTRA_ROUNDINGS = 3
_ROUNDOFFS = {"float64": 2.0**-53, "float32": 2.0**-24, "float16": 2.0**-11, "bfloat16": 2.0**-8, "float8": 2.0**-4}


def unit_roundoff(dtype: str) -> float:
    """Largest relative error of rounding to nearest.

    2^-53 float64, 2^-24 float32, 2^-11 float16, 2^-8 bfloat16, 2^-4 float8 (e4m3).
    """
    return _ROUNDOFFS[dtype]


def error_bound(
    graph: Graph,
    weights: Tensors,
    inputs: Inputs,
    unit_roundoff: float,
    weight_roundoff: float = 0.0,
    read_roundoff: float = 0.0,
) -> Values:
    """Largest error a correct backend can make at each output, same shape as the outputs.

    `unit_roundoff` is that of sums and products, `weight_roundoff` that of weights which the backend has rounded
    (2^-8 for bfloat16), `read_roundoff` that of values where a line reads them. Sums may run in any order, with or
    without fused multiply-add, and equal edges may have been added up first. Infinite where the backend may overflow
    float32, and where NaN or infinity make it so.
    """
    network = prepare(graph, weights)
    sequences = input_rows(graph, inputs)[1].unrolled(graph)
    trace = evaluate(graph, weights, inputs)
    rounded = (1.0 + weight_roundoff) * (1.0 + read_roundoff) - 1.0
    bounds: dict[str, Values] = {}
    with np.errstate(all="ignore"):
        for station in network.stations:
            cell = cell_of(station)
            if cell is not None:
                fed, size = (CellInputs.of(network, weights, cell, station, trace.values, sequences, absolute=absolute)
                             for absolute in (False, True))  # fmt: skip
                found = fed.bounds(weights, bounds, size, unit_roundoff, rounded)
                off, behind = widen(found, station.units), split_at_cell(station)[1]
                bounds[station.name] = _of_values(behind, weights, trace.sums[station.name], off, unit_roundoff)
                continue
            off = _of_sums(network, weights, station, trace, bounds, unit_roundoff, (rounded, read_roundoff))
            total = trace.sums[station.name]
            off = np.where(np.abs(total) + off > _LARGEST, np.inf, off)
            off = np.where(np.isfinite(total), off, 0.0)
            bounds[station.name] = _of_values(station, weights, total, off, unit_roundoff)
    parts = [bounds[s.name][:, : real_read_size(s)] for s in graph.outputs]
    return sequences.shaped(np.concatenate(parts, axis=1), output_shape(graph))


def _of_sums(
    network: Network,
    weights: Tensors,
    station: Station,
    trace: Trace,
    bounds: Mapping[str, Values],
    roundoff: float,
    factors: tuple[float, float],
) -> Values:
    """Bound on the error of what a station accumulates; `factors` are those of products, and of values on a skip."""
    rows = len(trace.sums[station.name])
    carried = np.zeros((rows, size_of(station)))
    magnitude = np.zeros((rows, size_of(station)))
    terms = np.full(size_of(station), _EXTRA_ROUNDINGS)
    if station.stage("bias") is not None:
        magnitude += np.abs(network.bias(weights, station))
        terms += 1
    for junction in network.into[station.name]:
        factor = factors[0] if junction.tensor else factors[1]
        matrix = np.abs(junction_values(weights, junction)) * (1.0 + factor)
        off, read = bounds[junction.source], np.abs(trace.values[junction.source])
        pushed, exact = np.abs(junction.push(off, matrix)), np.abs(junction.push(read, matrix))
        carried += pushed + factor * exact
        magnitude += exact + pushed
        terms += junction.fan_in() + 1
    if station.role == "input" and station.stage("bias") is None:
        return carried
    steps = terms * roundoff
    gamma = np.where(steps < 0.5, steps / (1.0 - steps), np.inf)
    return carried + np.where(magnitude > 0.0, gamma * magnitude, 0.0) + terms * _SMALLEST


def _of_values(station: Station, weights: Tensors, total: Values, off: Values, roundoff: float) -> Values:
    """Bound on the error of what is read from a station, zero at silent units."""
    real = real_size(station)
    argument, bound = total[:, :real], off[:, :real]
    for function in functions_of(station, weights):
        bound = function.reach(argument, bound, roundoff)
        argument = function.apply(argument)
        bound = np.where(np.isfinite(argument), bound, 0.0)
    return widen(bound, read_size(station))


def agrees(actual: NDArray[Any], expected: NDArray[Any], bound: NDArray[Any] | float) -> NDArray[np.bool_]:
    """Where a backend's output is right: NaN for NaN, the same infinity, everything else within the bound.

    A bound that is infinite or NaN accepts anything. Shapes broadcast; the result is boolean.
    """
    with np.errstate(invalid="ignore"):
        close = np.abs(actual.astype(np.float64) - expected) <= bound
    special = ~np.isfinite(expected)
    same = np.where(np.isnan(expected), np.isnan(actual), actual == expected)
    return np.where(special, same, close) | ~np.isfinite(bound)


def tolerance(graph: Graph, dtype: str) -> float:
    """Relative error that outputs may have against the sum of the magnitudes of all terms, from fan-in alone.

    gamma of the number of roundings on the longest way through the graph. For a bound per output see `error_bound`.
    """
    stations, into = expanded(graph)
    longest = dict[str, int]()
    for station in stations:
        entering = into[station.name]
        terms = sum(int(j.fan_in().max(initial=0)) + 1 for j in entering)
        longest[station.name] = _EXTRA_ROUNDINGS + terms + max((longest[j.source] for j in entering), default=0)
    steps = max((longest[s.name] for s in graph.outputs), default=0) * unit_roundoff(dtype)
    return steps / (1.0 - steps) if steps < 1.0 else float("inf")
