"""What a net of bfloat16 is made of: panels of weights for every station, and where every value lies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pathc.backends.groups import Group, groups_of, merged
from pathc.backends.llvm import vecmath
from pathc.backends.llvm.call import BY_ROWS
from pathc.backends.llvm.column.common import encode
from pathc.backends.llvm.lower import stages_of
from pathc.backends.llvm.machine import Machine
from pathc.backends.llvm.netplan import Orders
from pathc.backends.llvm.tiles.code import SAMPLES, Product, tiled
from pathc.backends.llvm.tiles.panels import Panels, panels_of
from pathc.ir.graph import Station
from pathc.ir.interp.junctions import SkipJunction, junction_values
from pathc.ir.interp.network import Network
from pathc.ir.types import Call
from pathc.ir.weights import Tensors

SIZE = 2
"""Bytes of a factor."""
_ENDS = {"rows": (22.0, 65.0), "units": (10.0, 73.0)}
"""Clock cycles of 64 samples of an input and of an output."""
_READ, _PAIR, _SLOWER = 20.0, 7.5, 16.0
"""Clock cycles of a row of sums, and of two rows brought side by side; how much longer dot products take than tiles,
once more where two float32 multiply-adds start in a clock."""


@dataclass(frozen=True)
class Step:
    """The computation of a station that is no input: panels of bfloat16 weights, skips with their scales, the bias."""

    station: Station
    panels: Panels
    skips: tuple[tuple[str, float], ...]
    bias: NDArray[np.float32]


@dataclass(frozen=True)
class Plan:
    """Steps in the order of evaluation; `sources` number all units that are read, first and how many."""

    network: Network
    machine: Machine
    product: Product
    sources: Mapping[str, tuple[int, int]]
    steps: tuple[Step, ...]
    alone: float
    """Clock cycles of a sample on its own."""

    @property
    def few(self) -> int:
        """How many samples with samples first cost less one by one than as a tile."""
        return min(int(self.clocks(BY_ROWS) / max(self.alone, 1.0)), SAMPLES - 1)

    def clocks(self, orders: Orders) -> float:
        """Estimated clock cycles of a tile of 64 samples in arrays that lie so."""
        graph = self.network.graph
        clocks = 0.0
        for k, ends in enumerate((graph.inputs, graph.outputs)):
            clocks += _ENDS[orders[k]][k] * sum(station.real_units for station in ends)
        for step in self.steps:
            panels = step.panels
            slow = 1.0 if self.product == "tdpbf16ps" else _SLOWER * (1 + self.machine.dual)
            words = sum(len(panels.sources(panel)) for panel in panels.panels) // 2
            clocks += slow * panels.clocks + _PAIR * words + _READ * step.station.real_units
        return clocks

    @property
    def absent(self) -> int:
        """A unit behind all others that is always zero."""
        return max((first + real for first, real in self.sources.values()), default=0)


def product_of(machine: Machine) -> Product | None:
    """The instruction that multiplies factors of bfloat16, if a processor has one for whole vectors."""
    if tiled(machine, "tdpbf16ps"):
        return "tdpbf16ps"
    return "vdpbf16ps" if machine.bf16 and machine.avx512 and machine.width == 16 else None


def functions(station: Station) -> tuple[tuple[Call, ...], tuple[Call, ...]]:
    """The functions of a station that act on each sum alone, up to the first that does not, and the others."""
    calls = stages_of(station)
    alone = next((k for k, call in enumerate(calls) if call.name not in vecmath.ELEMENTWISE), len(calls))
    return calls[:alone], calls[alone:]


def plan_halves(network: Network, weights: Tensors, machine: Machine, product: Product, alone: float) -> Plan:
    """The plan of a flat net whose kernels for single samples take `alone` clock cycles."""
    sources: dict[str, tuple[int, int]] = {}
    first = 0
    read = {junction.source for into in network.into.values() for junction in into}
    for station in network.stations:
        if station.name in read:
            sources[station.name] = first, station.real_units
            first += station.real_units
    steps = tuple(_step(station, network, weights, sources) for station in network.stations if station.role != "input")
    return Plan(network, machine, product, sources, steps, alone)


def _step(station: Station, network: Network, weights: Tensors, sources: Mapping[str, tuple[int, int]]) -> Step:
    into, real = network.into[station.name], station.real_units
    groups = groups_of([(j, junction_values(weights, j)) for j in into], sources, real, np.float32)
    rounded = [_rounded(merged(group)) for group in groups]
    skips = tuple((j.source, j.scale) for j in into if isinstance(j, SkipJunction))
    bias = np.zeros(real, np.float32)
    if station.stage("bias") is not None:
        bias[:] = network.bias(weights, station)[:real]
    return Step(station, panels_of(rounded, SIZE), skips, bias)


def _rounded(group: Group) -> Group:
    """A group with weights as the bits of bfloat16."""
    bits = encode(group.weights, "bf16").view(np.uint16).reshape(group.weights.shape)
    return Group(group.rows, group.columns, bits)
