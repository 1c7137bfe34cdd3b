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
    """A program compiled for one machine, for `samples` samples a run.

    `config` uint32 [words], `weights` bytes, `tables` uint32 [rows, lanes], `parameters` int32 [rows, lanes, 4],
    `curves` uint8 [curves, 256], entry b for the value whose byte is b.
    `input_map` int32 [rows, lanes] is the unit of the inputs side by side that lies there, -1 for none;
    `output_map` int32 [units] is row * lanes + lane of every unit of the outputs side by side, `output_scales` float64
    [units] what 1 stands for in it. Both are of one sample, samples lie one behind the other; `output_rows` rows a
    sample. `work` is the number of weights that a sample is multiplied with. Instruction i was made for
    `places[place_of[i]]`, a station or junction and its place in the source.
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

    def place(self, number: int) -> str:
        """What instruction `number` was made for, as `main.1 net.path:7:1`."""
        return self.places[self.place_of[number]]

    def quantized(self, values: NDArray[np.float64]) -> NDArray[np.int64]:
        """Inputs [samples, units] as integers: divided by the scale of their station, ties to even, clamped."""
        parts: list[NDArray[np.float64]] = []
        start = 0
        for port in self.inputs:
            part = values[:, start : start + port.units]
            parts.append(np.clip(np.rint(part / port.scale), port.low, port.high))
            start += port.units
        return np.concatenate(parts, axis=1).astype(np.int64)

    def memories(self, inputs: NDArray[np.int64]) -> Memories:
        """What is outside the engine, for integer inputs [samples, units of all inputs]."""
        known = np.append(inputs, np.zeros((len(inputs), 1), np.int64), axis=1)
        rows = known[:, self.input_map.reshape(-1)].reshape(-1, self.machine.lanes)
        image = (rows & 0xFF).astype(np.uint8)
        outputs = self.output_rows * self.samples
        return Memories(image, self.weights, self.tables, self.parameters, self.curves, self.config, outputs)

    def integers(self, outputs: NDArray[np.int32]) -> NDArray[np.int64]:
        """The outputs as integers, int64 [samples, units], from the rows that were stored."""
        found = outputs.reshape(self.samples, -1)[:, self.output_map].astype(np.int64)
        start = 0
        for port in self.outputs:
            if not port.wide and port.low < 0:
                part = found[:, start : start + port.units]
                part -= (part >> 7 & 1) << 8
            start += port.units
        return found
