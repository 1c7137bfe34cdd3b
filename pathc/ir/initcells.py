"""Initial weights of recurrent cells, and the weights of trained feed-forward layers that become recurrent."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pathc.ir.catalogue import options_of
from pathc.ir.cells import Cell, cell_of, cell_stage
from pathc.ir.graph import Graph, Station
from pathc.ir.recurrence import structure_edges, structure_shape
from pathc.ir.signs import hadamard_bits
from pathc.ir.weights import GAIN, MEAN, SHIFT, VARIANCE, load_weights
from pathc.support.diagnostics import did_you_mean, error

Array = NDArray[np.float32]
_SLOWEST = 64.0


def input_weights(cell: Cell, values: Array) -> Array:
    """The weights of a line into a cell, one copy per input matrix: the signs of the copies are rows of Hadamard's.

    Gates that begin with equal weights would stay close to each other.
    """
    if cell.copies == 1:
        return values
    size = 1 << (cell.copies - 1).bit_length()
    flat = values.reshape(-1)
    turns = np.arange(len(flat), dtype=np.int64) % size
    copies = np.arange(cell.copies, dtype=np.int64)[:, None]
    signs = 1.0 - 2.0 * hadamard_bits(copies, turns[None, :], size, size).astype(np.float32)
    return (flat * signs).reshape(cell.copies, *values.shape).astype(np.float32)


def initial_bias(cell: Cell, units: int) -> Array:
    """Zero, but one for the forget gate of an lstm (Jozefowicz, Zaremba and Sutskever, 2015)."""
    bias = np.zeros((cell.bias_copies, units), np.float32)
    if cell.name == "lstm" and not cell.shared:
        bias[cell.gates.index("f") :: cell.inputs] = 1.0
    return bias if cell.bias_copies > 1 else bias[0]


def cell_weights(cell: Cell) -> dict[str, Array]:
    """Hidden-to-hidden weights of a cell by tensor, float32; no random number.

    Simple and independent cells begin as the identity (Le, Jaitly and Hinton, 2015) where units see themselves; a
    linear one with time constants from 1 to 64 steps, spread evenly over the logarithm. Gates of the others have the
    constant magnitude 1 / sqrt(fan-in + 1) with the signs of a Hadamard matrix.
    """
    found: dict[str, Array] = {}
    for number, name in enumerate(cell.tensors):
        into, seen = structure_edges(cell.recur, cell.hidden, cell.loc)
        own = into == seen
        if cell.name == "linear" and own.any():
            spread = np.array([_reversed_bits(unit) for unit in into[own]])
            values = np.zeros(len(into))
            values[own] = np.exp(-1.0 / _SLOWEST**spread)
        elif cell.name in ("rnn", "indrnn", "linear") and own.any():
            values = own.astype(np.float64)
        else:
            size = 1 << (max(cell.hidden, 2) - 1).bit_length()
            signs = 1.0 - 2.0 * hadamard_bits(into, (seen + number) % size, size, size).astype(np.float64)
            values = signs / math.sqrt(len(into) / cell.hidden + 1.0)
        shape = structure_shape(cell.recur, cell.hidden, cell.loc)
        found[name] = values.astype(np.float32).reshape(shape)
    return found


def trained_layers(graph: Graph, weights: dict[str, Array]) -> dict[str, Array]:
    """The weights with those of trained feed-forward layers where `prernn(init = ...)` names a file.

    Every tensor of the file that the net has in the same shape is taken; one that leads into the cell is copied to
    each of its gates. Raises PathcError E0375 where a shape is another, and as `load_weights`.
    """
    for station in graph.stations:
        stage = cell_stage(station)
        cell = cell_of(station)
        if stage is None or cell is None or stage.name != "prernn" or not options_of(stage)["init"]:
            continue
        path = (Path(station.loc.file).parent if station.loc else Path()) / str(options_of(stage)["init"])
        stored = load_weights(path)
        own = _tensors_into(graph, station)
        if not any(name in stored for name in own):
            help = did_you_mean(own[0], list(stored)) if own else ""
            text = f"`{path.name}` holds none of the weights that lead into `{station.name}`: {', '.join(own)}"
            raise error("E0375", text, station.loc, help=help or "store them under the names of the trained net")
        for name, values in stored.items():
            if name not in weights:
                continue
            wanted = weights[name].shape
            if values.shape == wanted:
                weights[name] = values.astype(np.float32)
            elif name in own and wanted == (wanted[0], *values.shape):
                weights[name] = np.broadcast_to(values.astype(np.float32), wanted).copy()
            else:
                text = f"`{name}` in `{path.name}` has shape {list(values.shape)}, `{station.name}` begins with"
                shape = wanted[1:] if name in own and len(wanted) > 1 and cell.copies > 1 else wanted
                help = "the trained layer must have the units and paths of this one"
                raise error("E0375", f"{text} {list(shape)}", station.loc, help=help)
    return weights


def _tensors_into(graph: Graph, station: Station) -> list[str]:
    names = [f"{line.name}.{j}" for line in graph.lines if line.kind != "skip" and not line.tied
             for j in line.junctions if line.visits[j].station == station.name]  # fmt: skip
    own = ["bias"] if station.stage("bias") is not None else []
    if station.stage("batchnorm") is not None:
        own.extend((GAIN, SHIFT, MEAN, VARIANCE))
    return [*names, *(f"{station.name}.{name}" for name in own)]


def _reversed_bits(unit: int) -> float:
    """The radical inverse of a number in base 2: 0, 1/2, 1/4, 3/4, ..."""
    result, weight = 0.0, 0.5
    while unit:
        result += weight * (unit & 1)
        unit >>= 1
        weight /= 2
    return result
