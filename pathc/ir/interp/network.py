"""A graph made ready for evaluation: stations in order, junctions by destination, weights and inputs checked."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pathc.ir.catalogue import options_of
from pathc.ir.cells import cell_of, cell_stage, misplaced, plain, split_at_cell
from pathc.ir.extents import POOLS
from pathc.ir.filters import pool_of, tap_of
from pathc.ir.graph import Graph, Station
from pathc.ir.inputs import check_input
from pathc.ir.interp.activations import Activation, KWinners, Softmax, activation
from pathc.ir.interp.base import Junction, Values
from pathc.ir.interp.expand import expanded, owner
from pathc.ir.interp.stages import Norm, PerPosition, Pick, Pool, Shuffle, Steps
from pathc.ir.misfits import BEYOND, misfits
from pathc.ir.sequences import STEPS, fixed_steps, takes_sequences
from pathc.ir.types import Call
from pathc.ir.weights import GAIN, MEAN, SHIFT, VARIANCE, Tensors, check_weights, tensor_values
from pathc.support.diagnostics import Diagnostic, PathcError, error

Inputs = NDArray[Any] | Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Network:
    """Stations in an order in which every one comes after those that feed it, and what leads into each."""

    graph: Graph
    stations: tuple[Station, ...]
    into: Mapping[str, tuple[Junction, ...]]

    def bias(self, weights: Tensors, station: Station) -> Values:
        """The bias of a station, zero at silent units; [units * positions], of a cell [copies, units]."""
        values = tensor_values(weights, f"{owner(station.name)}.bias")
        cell = cell_of(station)
        if cell is not None:
            return values.reshape(cell.bias_copies, station.real_units)
        return np.repeat(np.pad(values, (0, station.units - station.real_units)), math.prod(station.shape[1:]))


def prepare(graph: Graph, weights: Tensors) -> Network:
    """The network of a graph whose weights fit.

    Raises PathcError: E0505 to E0508 for weights that do not fit, E0610 for stages the interpreter lacks, E0303
    for a cycle, and those of the generators.
    """
    found = [*supports(graph), *check_weights(graph, weights)]
    if found:
        raise PathcError(*found)
    return Network(graph, *expanded(graph))


def supports(graph: Graph) -> list[Diagnostic]:
    """What of the graph the interpreter cannot evaluate: E0610 for each such stage, at its place."""
    found: list[Diagnostic] = misfits(graph)
    for station in graph.stations:
        problems = list(misplaced(station))
        found.extend(problems)
        recurrent = cell_stage(station) is not None and not problems
        parts = split_at_cell(station) if recurrent else (station,)
        known = (_IN_FRONT, ()) if recurrent else (BEYOND,)
        for part, others in zip(parts, known, strict=True):
            for stage in part.pipeline:
                own = stage.name in ("bias", *others) or stage == cell_stage(station)
                if not own and activation(stage) is None:
                    found.append(_lacking(station, stage.name))
    return found


_IN_FRONT = ("conv", "batchnorm", "shortcut", *POOLS)
"""Stages that may stand in front of a cell, beside a bias."""


def _lacking(station: Station, stage: str) -> Diagnostic:
    text = f"station `{station.name}` has the stage `{stage}` and a cell, which the interpreter cannot evaluate"
    return Diagnostic("E0610", text, station.loc, help=f"put `{stage}` into a station of its own")


def activations_of(station: Station) -> tuple[Activation, ...]:
    """The activations of a flat station's pipeline, in order; its bias is where accumulation starts."""
    return tuple(a for stage in plain(station).pipeline if (a := activation(stage)) is not None)


def functions_of(
    station: Station, weights: Tensors, *, training: bool = False, copy: int = -1
) -> tuple[Activation, ...]:
    """All functions of a station's pipeline, in order; in `training`, normalization goes by the batch.

    `copy` chooses among the normalizations in front of a cell, where there are several.
    """
    found: list[Activation] = []
    extents = station.shape[1:]
    for stage in plain(station).pipeline:
        if stage.name in POOLS:
            geometry, channels = pool_of(stage, extents), station.real_units
            tap = tap_of(stage, geometry)
            found.append(Pool(geometry, channels, stage.name == "maxpool") if tap is None
                         else Pick(geometry, channels, tap))  # fmt: skip
            extents = geometry.result
        elif stage.name == "batchnorm":
            found.append(norm_of(station, stage, weights, training=training, copy=copy))
        elif stage.name == STEPS:
            found.append(Steps(extents, station.real_units))
        elif stage.name == "channelshuffle":
            groups = options_of(stage)["groups"]
            assert isinstance(groups, int)
            found.append(Shuffle(groups, station.real_units))
        elif (function := activation(stage)) is not None:
            across = isinstance(function, Softmax | KWinners) and math.prod(extents) > 1
            found.append(PerPosition(function, station.real_units) if across else function)
    return tuple(found)


def norm_of(station: Station, stage: Call, weights: Tensors, *, training: bool = False, copy: int = -1) -> Norm:
    """The normalization that a stage names, with its tensors; the one of a `copy` where there are several."""
    name = owner(station.name)
    tensors = [tensor_values(weights, f"{name}.{t}") for t in (GAIN, SHIFT, MEAN, VARIANCE)]
    gain, shift, mean, variance = (values if copy < 0 else values[copy] for values in tensors)
    eps = options_of(stage)["eps"]
    assert isinstance(eps, float | int)
    return Norm(name, gain, shift, mean, variance, eps, training)


@dataclass(frozen=True)
class Layout:
    """How rows lie in the arrays of the user: `single` without a batch axis, `steps` 0 without sequences."""

    batch: int
    steps: int
    single: bool

    @property
    def rows(self) -> int:
        """Rows that are computed: one per sample, or one per sample and step."""
        return self.batch * max(self.steps, 1)

    def unrolled(self, graph: Graph) -> Layout:
        """How rows lie behind `steps`; the same layout in nets without."""
        steps = fixed_steps(graph)
        return replace(self, steps=steps) if steps else self

    def shaped(self, rows: Values, sample: tuple[int, ...]) -> Values:
        """Rows [batch * steps, units] as the user sees them, each of the shape `sample`."""
        whole = rows.reshape(self.batch, *((self.steps,) if self.steps else ()), *sample)
        return whole[0] if self.single else whole


def input_rows(graph: Graph, inputs: Inputs) -> tuple[dict[str, Values], Layout]:
    """Inputs as float64 [batch, units] by station, silent units zero, and how they lay in the array.

    An array holds all input stations side by side in the order of declaration; sequences come as [batch * steps,
    units], sample by sample. Raises PathcError: E0512 for a shape, E0371 for sequences without a step, E0513 for a
    type, E0506 for an unknown name.
    """
    sequences = takes_sequences(graph)
    parts = dict(inputs) if isinstance(inputs, Mapping) else _split(graph, np.asarray(inputs), sequences)
    rows: dict[str, Values] = {}
    layouts: set[Layout] = set()
    for station in graph.inputs:
        if station.name not in parts:
            raise error("E0512", f"there is no input for station `{station.name}`", station.loc)
        part, sample = np.asarray(parts[station.name]), (station.real_units, *station.shape[1:])
        check_input(part, sample, f"input of `{station.name}`", sequences=sequences)
        single = part.ndim == len(sample) + sequences
        batch = 1 if single else part.shape[0]
        steps = part.shape[part.ndim - len(sample) - 1] if sequences else 0
        layouts.add(Layout(batch, steps, single))
        size = math.prod(sample)
        row = part.reshape(batch * max(steps, 1), size).astype(np.float64)
        rows[station.name] = np.pad(row, ((0, 0), (0, math.prod(station.shape) - size)))
    unknown = set(parts) - set(rows)
    if unknown:
        raise error("E0506", f"there is no input station `{min(unknown)}`", graph.loc)
    if len(layouts) > 1:
        what = "batch sizes or numbers of steps" if sequences else "batch sizes"
        raise error("E0512", f"the inputs have different {what}", graph.loc)
    return rows, layouts.pop() if layouts else Layout(1, 0, False)


def _split(graph: Graph, array: NDArray[Any], sequences: bool) -> dict[str, NDArray[Any]]:
    if len(graph.inputs) == 1:
        return {graph.inputs[0].name: array}
    shapes = [(station.real_units, *station.shape[1:]) for station in graph.inputs]
    sizes = [math.prod(shape) for shape in shapes]
    check_input(array, (sum(sizes),), "input", sequences=sequences)
    parts = np.split(array, np.cumsum(sizes)[:-1], axis=-1)
    every = zip(graph.inputs, parts, shapes, strict=True)
    return {station.name: part.reshape(*part.shape[:-1], *shape) for station, part, shape in every}
