"""Input arrays: reading them from files and checking that they fit the input stations."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pathc.ir.extents import read_extents
from pathc.ir.graph import Graph
from pathc.ir.sequences import takes_sequences
from pathc.support.arrays import read_npy
from pathc.support.diagnostics import error


def input_shape(graph: Graph) -> tuple[int, ...]:
    """Shape of one sample: the shape of the input station, or the units of several of them side by side."""
    if len(graph.inputs) == 1:
        station = graph.inputs[0]
        return (station.real_units, *station.shape[1:])
    return (sum(math.prod((station.real_units, *station.shape[1:])) for station in graph.inputs),)


def as_samples(graph: Graph, rows: NDArray[Any]) -> NDArray[Any]:
    """Rows [samples, units] in the shape the net takes them, [samples, channels, *extents] where the input has extents.

    Sequences [samples, steps, units] keep their steps.
    """
    return rows.reshape(*rows.shape[: 1 + takes_sequences(graph)], *input_shape(graph))


def output_shape(graph: Graph) -> tuple[int, ...]:
    """Shape of one sample's outputs: that of the output station as it is read, or several of them side by side."""
    shapes = [(station.real_units, *read_extents(station)) for station in graph.outputs]
    if len(shapes) == 1:
        return shapes[0]
    return (sum(math.prod(shape) for shape in shapes),)


def check_input(array: NDArray[Any], sample: tuple[int, ...], what: str, *, sequences: bool = False) -> None:
    """Raise PathcError: E0512 unless the shape is [batch, *sample] or sample, E0513 unless it holds numbers.

    Of `sequences` it must be [batch, steps, *sample] or [steps, *sample], with at least one step (E0371).
    """
    single = len(sample) + sequences
    if array.ndim not in (single, single + 1) or array.shape[array.ndim - len(sample) :] != sample:
        wanted = ", ".join((*(("steps",) if sequences else ()), *map(str, sample)))
        text = f"the {what} has shape {list(array.shape)}, it must be [batch, {wanted}] or [{wanted}]"
        help = "one row per step, one column per unit" if sequences else "one row per sample, one column per unit"
        raise error("E0512", text, help=help)
    if sequences and not array.shape[array.ndim - single]:
        text = f"the {what} has shape {list(array.shape)}: its sequences have no step"
        raise error("E0371", text, help="give sequences of at least one step")
    if array.dtype.kind not in "fiub":
        raise error("E0513", f"the {what} has type {array.dtype}", help="give floats or integers")


def load_input(path: str | Path, graph: Graph) -> NDArray[Any]:
    """The array in a `.npy` file as float32 (float64 where float32 would not hold it).

    Its shape is [batch, units] or [units], of sequences [batch, steps, units] or [steps, units], with channels and
    extents in place of units where the input has them. Integers are taken as values, not scaled. Raises PathcError:
    E0501 unreadable, E0502 too big, E0504 damaged, E0510 for another suffix, E0512 and E0513 for a shape or type that
    does not fit the graph.
    """
    if Path(path).suffix.lower() != ".npy":
        raise error("E0510", f"`{path}` is no array file by its name", help="use numpy.save and the suffix .npy")
    array = read_npy(path)
    check_input(array, input_shape(graph), f"input in `{path}`", sequences=takes_sequences(graph))
    return array.astype(np.result_type(array.dtype, np.float32), copy=False)
