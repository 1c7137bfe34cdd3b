"""Lanes or array? Candidates for every junction, their cycles by closed forms, and what simulation says of them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from pathc.backends.engine.array.tiles import Int64, Tiling, multiply, tile_cycles, tiling_of
from pathc.backends.engine.isa import BY_NAME, Unit
from pathc.backends.engine.lower import lower
from pathc.backends.engine.lower.layout import Layout
from pathc.backends.engine.lower.stations import Junction, Plan, plan_of
from pathc.backends.engine.machine import Machine
from pathc.backends.engine.sim import simulate
from pathc.ir.interp.junctions import DenseJunction, PathJunction
from pathc.ir.quantized import IntegerJunction, IntegerNetwork, evaluate_integers


@dataclass(frozen=True)
class Choice:
    """A junction with the cycles of its candidates for `samples` samples; `array` is None where there is no array.

    `lanes_simulated` and `array_simulated` are what the simulators say, None before they were asked.
    """

    name: str
    samples: int
    lanes: int
    array: int | None
    tiles: int
    all_tiles: int
    lanes_simulated: int | None = None
    array_simulated: int | None = None

    @property
    def taken(self) -> str:
        """`lanes` or `array`: the fewer cycles by the closed forms, lanes if they are equal."""
        return "array" if self.array is not None and self.array < self.lanes else "lanes"

    @property
    def regret(self) -> float:
        """Simulated cycles of what was taken over those of the best candidate; 1 is a right choice."""
        if self.lanes_simulated is None or self.array_simulated is None:
            return 1.0
        taken = self.array_simulated if self.taken == "array" else self.lanes_simulated
        return taken / min(self.lanes_simulated, self.array_simulated)


def order_of(layout: Layout) -> Int64:
    """Units in the order of rows and lanes: for powers of two bank-major, a row holding one unit of every bank."""
    return np.argsort(layout.first, kind="stable").astype(np.int64)


def edges_of(one: IntegerJunction, real: int) -> tuple[Int64, Int64, Int64]:
    """Sources, destinations and weights of a junction, int64 [edges]; nothing comes from units beyond the real ones."""
    junction = one.junction
    if isinstance(junction, PathJunction):
        generator, number = junction.generator, junction.number
        sources, destinations = (generator.units(number + d, 0, generator.count) for d in (-1, 0))
        weights = one.weights
    elif isinstance(junction, DenseJunction):
        matrix = one.weights.T if junction.transposed else one.weights
        destinations, sources = (index.reshape(-1) for index in np.indices(matrix.shape))
        weights = matrix.reshape(-1)
    else:
        weights = one.weights
        sources = destinations = np.arange(len(weights), dtype=np.int64)
    kept = sources < real
    return sources[kept], destinations[kept], weights[kept]


def tiling_in(one: IntegerJunction, real: int, plans: dict[str, Plan], dim: int) -> Tiling:
    """The tiles of a junction whose units lie as the lanes have them, so that nothing moves between lanes and array."""
    orders = tuple(order_of(plans[name].layout) for name in (one.junction.source, one.junction.destination))
    return tiling_of(*edges_of(one, real), (orders[0], orders[1]), dim)


def choices(network: IntegerNetwork, machine: Machine, samples: int = 1) -> list[Choice]:
    """The candidates of every junction by closed forms; raises PathcError E1050 as `lower`."""
    plans = plan_of(network, machine)
    found: list[Choice] = []
    for each in network.stations:
        made = plans[each.station.name].junctions
        for one, junction in zip(network.into[each.station.name], made, strict=True):
            found.append(_choice(network, machine, plans, one, junction, samples))
    return found


def simulated(network: IntegerNetwork, machine: Machine, rows: dict[str, Int64]) -> list[Choice]:
    """The same with what simulation says, for integer inputs [samples, units] by station.

    Lanes: cycles of EX for the junction in the program of the net. Array: the cells, cycle by cycle. The sums of the
    array are compared with those of the integer interpreter; an AssertionError is a fault of the simulator.
    """
    samples = len(next(iter(rows.values())))
    plans, trace = plan_of(network, machine), evaluate_integers(network, rows)
    program = lower(network, machine, samples)
    inputs = [rows[each.name][:, : each.real_units] for each in network.graph.inputs]
    run = simulate(program, np.concatenate(inputs, axis=1))
    spent: dict[str, int] = {}
    for span in run.of(Unit.EX):
        place = program.place(span.number)
        spent[place] = spent.get(place, 0) + span.end - span.start + 1
    found: list[Choice] = []
    pairs = [one for each in network.stations for one in network.into[each.station.name]]
    for choice, one in zip(choices(network, machine, samples), pairs, strict=True):
        lanes = sum(cycles for place, cycles in spent.items() if place.split(" ")[: choice.name.count(" ") + 1]
                    == choice.name.split(" "))  # fmt: skip
        array = None
        if choice.array is not None:
            source = network.station(one.junction.source).station
            tiling = tiling_in(one, source.real_units, plans, machine.dim)
            values = trace.values[source.name]
            done = multiply(tiling, values, load_interval(machine))
            assert np.array_equal(done.sums, one.push(values)[:, : done.sums.shape[1]])
            array = done.cycles + 1
        found.append(replace(choice, lanes_simulated=lanes, array_simulated=array))
    return found


def load_interval(machine: Machine) -> int:
    """Cycles in which a row of weights comes to the array."""
    return -(-machine.dim // machine.weight_bytes)


def as_text(found: list[Choice], machine: Machine) -> str:
    """A line a junction: candidates, what is taken, and if it was simulated the regret."""
    head = f"; {machine.lanes} lanes" + (f", array {machine.dim} x {machine.dim}" if machine.dim else ", no array")
    lines = [f"{head}; cycles for {found[0].samples if found else 1} samples"]
    for each in found:
        parts = [f"{each.name}: lanes {each.lanes:,}"]
        if each.array is not None:
            parts.append(f"array {each.array:,} ({each.tiles:,} of {each.all_tiles:,} tiles)")
        parts.append(f"taken: {each.taken}")
        if each.lanes_simulated is not None and each.array_simulated is not None:
            parts.append(f"simulated {each.lanes_simulated:,} and {each.array_simulated:,}, regret {each.regret:.2f}")
        lines.append("; " + ", ".join(parts))
    return "\n".join(lines) + "\n"


def _choice(
    network: IntegerNetwork, machine: Machine, plans: dict[str, Plan], one: IntegerJunction, junction: Junction,
    samples: int,
) -> Choice:  # fmt: skip
    lanes = samples * _lanes(machine, junction)
    if not machine.dim:
        return Choice(junction.name, samples, lanes, None, 0, 0)
    real = network.station(one.junction.source).station.real_units
    tiling = tiling_in(one, real, plans, machine.dim)
    array = tile_cycles(len(tiling), machine.dim, samples, load_interval(machine)) + 1
    return Choice(junction.name, samples, lanes, array, len(tiling), tiling.total)


def _lanes(machine: Machine, junction: Junction) -> int:
    """Cycles of EX for one sample: its steps or, if that takes longer, the rows of weights that are not yet there."""
    cycles = 0
    interval = machine.weight_interval(junction.format)
    for work in junction.works:
        names = {field.name for field in BY_NAME[work.name].fields}
        fields = {**dict.fromkeys(names, 0), "hold": 1, **work.fields}
        timing = BY_NAME[work.name].timing(machine, fields)
        rows = len(work.weights)
        cycles += timing.length + 1 + max(0, (rows - machine.fifo) * interval - timing.steps)
    return cycles
