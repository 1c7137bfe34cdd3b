"""A program for the engine: instructions, what they work on, and how numbers get in and out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pathc.backends.engine.isa import Instruction, Memories
from pathc.backends.engine.machine import Machine


@dataclass(frozen=True)
class Port:
    """An input or output station: its units are integers within [low, high] times `scale`; `wide` for sums.

    Each unit of an output may have a scale of its own (`Program.output_scales`); `scale` is then 0.
    """

    name: str
    units: int
    scale: float
    low: int
    high: int
    wide: bool = False


@dataclass(frozen=True, eq=False)
class Program:
    """A program compiled for one machine, for `samples` samples a run, of nets with cells sequences of `steps` steps.

    `config` uint32 [words], `weights` bytes, `tables` uint32 [rows, lanes], `parameters` int32 [rows, lanes, 4],
    `curves` uint8 [curves, 256], entry b for the value whose byte is b.
    `input_map` int32 [rows, lanes] is the unit of the inputs side by side that lies there, -1 for none;
    `output_map` int32 [units] is row * lanes + lane of every unit of the outputs side by side, `output_scales` float64
    [units] what 1 stands for in it. Both are of one sample, or of one step of one; `output_rows` rows each. Samples lie
    one behind the other. Sequences go in groups of `lockstep`: groups lie one behind the other, within a group the
    steps, within a step its samples. `work` is the number of weights that a sample is multiplied with. Instruction i
    was made for `places[place_of[i]]`, a station or junction and its place in the source.
    """

    name: str
    machine: Machine
    code: tuple[Instruction, ...]
    config: NDArray[np.uint32]
    weights: bytes
    tables: NDArray[np.uint32]
    parameters: NDArray[np.int32]
    curves: NDArray[np.uint8]
    samples: int
    inputs: tuple[Port, ...]
    input_map: NDArray[np.int32]
    outputs: tuple[Port, ...]
    output_map: NDArray[np.int32]
    output_scales: NDArray[np.float64]
    output_rows: int
    work: int
    places: tuple[str, ...]
    place_of: tuple[int, ...]
    steps: int = 0
    lockstep: int = 1

    @property
    def rows(self) -> int:
        """Samples, or steps of all samples."""
        return self.samples * max(self.steps, 1)

    @property
    def order(self) -> NDArray[np.int64]:
        """Where each step of each sample lies among all `rows`, sample by sample: int64 [rows]."""
        sample, step = np.divmod(np.arange(self.rows, dtype=np.int64), max(self.steps, 1))
        first = sample // self.lockstep * self.lockstep
        size = np.minimum(self.lockstep, self.samples - first)
        return first * max(self.steps, 1) + step * size + sample - first

    def place(self, number: int) -> str:
        """What instruction `number` was made for, as `main.1 net.path:7:1`."""
        return self.places[self.place_of[number]]

    def quantized(self, values: NDArray[np.float64]) -> NDArray[np.int64]:
        """Inputs [rows, units] as integers: divided by the scale of their station, ties to even, clamped."""
        parts: list[NDArray[np.float64]] = []
        start = 0
        for port in self.inputs:
            part = values[:, start : start + port.units]
            parts.append(np.clip(np.rint(part / port.scale), port.low, port.high))
            start += port.units
        return np.concatenate(parts, axis=1).astype(np.int64)

    def memories(self, inputs: NDArray[np.int64]) -> Memories:
        """What is outside the engine, for integer inputs [rows, units of all inputs]."""
        placed = np.zeros_like(inputs)
        placed[self.order] = inputs
        known = np.append(placed, np.zeros((len(inputs), 1), np.int64), axis=1)
        rows = known[:, self.input_map.reshape(-1)].reshape(-1, self.machine.lanes)
        image = (rows & 0xFF).astype(np.uint8)
        outputs = self.output_rows * self.rows
        return Memories(image, self.weights, self.tables, self.parameters, self.curves, self.config, outputs)

    def integers(self, outputs: NDArray[np.int32]) -> NDArray[np.int64]:
        """The outputs as integers, int64 [rows, units], from the rows that were stored."""
        found = outputs.reshape(self.rows, -1)[self.order][:, self.output_map].astype(np.int64)
        start = 0
        for port in self.outputs:
            if not port.wide and port.low < 0:
                part = found[:, start : start + port.units]
                part -= (part >> 7 & 1) << 8
            start += port.units
        return found
