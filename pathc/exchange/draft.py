"""A graph under construction from a model of another tool: dense lines, skips and cells, and their weights."""

from __future__ import annotations

import math
import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pathc.ir.catalogue import canonical
from pathc.ir.cells import RECURRENT_GATES
from pathc.ir.extents import read_extents
from pathc.ir.graph import Graph, Line, Role, Station, Visit
from pathc.ir.types import Call, Word
from pathc.support.diagnostics import Diagnostic


@dataclass(frozen=True)
class Direction:
    """Weights of one direction of a cell, gates in pathc's order, float32.

    `inputs` [gates, hidden, inputs], `recurrent` [gates, hidden, hidden] with the receiving unit first, `bias`
    [gates, hidden].
    """

    inputs: NDArray[np.float32]
    recurrent: NDArray[np.float32]
    bias: NDArray[np.float32]


@dataclass
class Draft:
    """Stations and lines as they grow; `at` maps values of the model to the station that holds them.

    `sizes` are units, or channels where a station has `extents`. Values in `flattened` are rows of all its positions.
    """

    sizes: dict[str, int] = field(default_factory=dict[str, int])
    extents: dict[str, tuple[int, ...]] = field(default_factory=dict[str, "tuple[int, ...]"])
    flattened: set[str] = field(default_factory=set[str])
    pipelines: dict[str, list[Call]] = field(default_factory=dict[str, "list[Call]"])
    lines: list[Line] = field(default_factory=list["Line"])
    tensors: dict[str, NDArray[Any]] = field(default_factory=dict[str, "NDArray[Any]"])
    constants: dict[str, NDArray[Any]] = field(default_factory=dict[str, "NDArray[Any]"])
    at: dict[str, str] = field(default_factory=dict[str, str])
    readers: Counter[str] = field(default_factory=Counter[str])
    problems: list[Diagnostic] = field(default_factory=list[Diagnostic])

    def station(self, units: int, *pipeline: Call, extents: tuple[int, ...] = ()) -> str:
        """A new station."""
        name = f"s{len(self.sizes)}"
        self.sizes[name] = units
        self.extents[name] = extents
        self.pipelines[name] = list(pipeline)
        return name

    def read_extents(self, station: str) -> tuple[int, ...]:
        """Extents as the next station sees them; ValueError where a pool does not fit."""
        shape = self.sizes[station], *self.extents[station]
        return read_extents(Station(station, "layer", shape, pipeline=tuple(self.pipelines[station])))

    def read_size(self, station: str) -> int:
        """Units that are read from a station, over all positions."""
        return self.sizes[station] * math.prod(self.read_extents(station))

    def copied(self, value: str, scale: float = 1.0) -> str:
        """A new station that a skip brings the value to, times a scale."""
        source = self.at[value]
        station = self.station(self.sizes[source], extents=self.read_extents(source))
        self.line("skip", source, station, scale)
        return station

    def line(self, kind: Any, source: str, destination: str, scale: float = 1.0) -> str:
        """A new line; its name."""
        name = f"l{len(self.lines)}"
        self.lines.append(Line(name, kind, (Visit(source, 0), Visit(destination, 1)), scale=scale))
        return name

    def open(self, value: str) -> str | None:
        """The station of a value if nothing but the next node reads it, so that its pipeline may grow."""
        return self.at[value] if self.readers[value] == 1 else None

    def dense(self, source: str, matrix: NDArray[Any]) -> str:
        """A new station behind a dense line with weights [units, inputs]."""
        station = self.station(matrix.shape[0])
        self.tensors[f"{self.line('dense', source, station)}.1"] = np.ascontiguousarray(matrix, dtype=np.float32)
        return station

    def bias(self, station: str, bias: NDArray[Any]) -> None:
        """Add a number to every unit, or one to all."""
        values = np.broadcast_to(bias.astype(np.float32).reshape(-1), (self.sizes[station],))
        name = f"{station}.bias"
        if name in self.tensors:
            self.tensors[name] = self.tensors[name] + values
        else:
            self.tensors[name] = np.array(values)
            first = int(any(stage.name == "conv" for stage in self.pipelines[station]))
            self.pipelines[station].insert(first, Call("bias"))

    def normalized(self, station: str, factor: NDArray[np.float64], shift: NDArray[np.float64]) -> bool:
        """Fold `factor * value + shift` into the dense line to a station; False where anything else leads there."""
        lines = [line for line in self.lines if line.visits[1].station == station]
        plain = all(stage.name in ("bias", "conv") for stage in self.pipelines[station])
        if len(lines) != 1 or lines[0].kind != "dense" or not plain or len(factor) != self.sizes[station]:
            return False
        name = f"{lines[0].name}.1"
        rows = factor.reshape(-1, *[1] * (self.tensors[name].ndim - 1))
        self.tensors[name] = (self.tensors[name] * rows).astype(np.float32)
        before = self.tensors.pop(f"{station}.bias", np.zeros(len(factor), np.float32))
        self.pipelines[station] = [stage for stage in self.pipelines[station] if stage.name != "bias"]
        self.bias(station, before * factor + shift)
        return True

    def cell(self, source: str, kind: str, directions: list[Direction], **options: str) -> str:
        """A new station with a cell whose hidden-to-hidden matrices are full; two directions lie side by side."""
        gates = RECURRENT_GATES[kind]
        words = {**options, "bidirectional": "concat"} if len(directions) == 2 else options
        stage = canonical(Call(kind, tuple((name, Word(text)) for name, text in words.items())))
        station = self.station(sum(each.bias.shape[1] for each in directions), Call("bias"), stage)
        weights = np.concatenate([each.inputs for each in directions], axis=1)
        biases = np.concatenate([each.bias for each in directions], axis=1)
        one = len(gates) == 1
        self.tensors[f"{self.line('dense', source, station)}.1"] = weights[0] if one else weights
        self.tensors[f"{station}.bias"] = biases[0] if one else biases
        for each, suffix in zip(directions, ("", ".reverse"), strict=False):
            for gate, matrix in zip(gates, each.recurrent, strict=True):
                self.tensors[f"{station}.recurrent.{gate}{suffix}"] = np.ascontiguousarray(matrix)
        return station

    def graph(self, name: str, outputs: list[str]) -> Graph:
        """The graph; station `s0` is its input."""
        roles: dict[str, Role] = {"s0": "input"}
        roles.update(dict.fromkeys(outputs, "output"))
        stations = tuple(
            Station(each, roles.get(each, "layer"), (units, *self.extents[each]), pipeline=tuple(self.pipelines[each]))
            for each, units in self.sizes.items()
        )
        clean = re.sub(r"\W", "_", name, flags=re.ASCII)
        return Graph(clean if re.match(r"[A-Za-z_]", clean) else f"net_{clean}", stations, tuple(self.lines))
