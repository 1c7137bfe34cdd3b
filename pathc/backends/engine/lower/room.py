"""Where the steps of sequences lie: rows of every station for several samples and steps, and how many of them fit.

Sets of rows take turns, so that one is written while another is read. What does not depend on a state, inputs
included, is computed in groups of `ahead` steps, one group ahead of the states: its rows exist for two groups, and
so do the sums that it adds to. All else exists for two steps. A row of weights serves all samples of a group, and
all its steps where no state is needed: `hold` of EX, at most 15.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from pathc.backends.engine.lower.stations import Plan
from pathc.backends.engine.machine import Machine
from pathc.ir.quantized import IntegerNetwork, IntegerStation

MOST_HELD = 15
"""Most samples and steps that a row of weights serves."""


@dataclass(frozen=True)
class Shape:
    """What depends on the net alone: which stations need no state, which sums they add to, rows of everything.

    `free` are stations that need no state; `fed` those whose sums they add to, themselves included.
    """

    free: frozenset[str]
    fed: frozenset[str]
    rows: Mapping[str, int]
    inputs: tuple[str, ...]
    read: frozenset[str]
    scratch: int

    @property
    def input_rows(self) -> int:
        """Rows of one step of one sample."""
        return sum(self.rows[name] for name in self.inputs)


@dataclass(frozen=True)
class Room:
    """The sets of one `lockstep` of samples, `ahead` steps at a time."""

    shape: Shape
    lockstep: int
    ahead: int

    def states(self, name: str) -> int:
        """Sets of activations of a station."""
        return 2 * self.ahead if name in self.shape.free else 2

    def sums(self, name: str) -> int:
        """Sets of sums of a station."""
        return 2 * self.ahead if name in self.shape.fed else 2

    def needed(self) -> dict[str, int]:
        """Rows of all memories."""
        names = [name for name in self.shape.rows if name not in self.shape.inputs]
        size = {name: self.shape.rows[name] * self.lockstep for name in names}
        return {
            "buffer 0": 2 * self.ahead * self.lockstep * self.shape.input_rows,
            "buffer 1": sum(size[n] * self.states(n) for n in names if n in self.shape.read)
            + self.shape.scratch * self.lockstep,
            "accumulators": sum(size[n] * self.sums(n) for n in names),
            "parameters": sum(size.values()),
        }

    def fits(self, machine: Machine) -> bool:
        """Whether the memories hold it."""
        return all(rows <= limit for rows, limit in zip(self.needed().values(), limits(machine).values(), strict=True))


def limits(machine: Machine) -> dict[str, int]:
    """Rows of all memories of a machine."""
    rows = machine.activation_rows
    return {"buffer 0": rows, "buffer 1": rows, "accumulators": machine.accumulator_rows,
            "parameters": machine.parameter_rows}  # fmt: skip


def shape_of(network: IntegerNetwork, plans: Mapping[str, Plan]) -> Shape:
    """What needs a state, and what does not."""
    free: set[str] = set()
    for each in network.stations:
        sources = {one.junction.source for one in network.into[each.station.name]}
        if each.cell is None and sources <= free:
            free.add(each.station.name)
    names = [each.station.name for each in network.stations]
    fed = {name for name in names if name in free or any(j.source in free for j in plans[name].junctions)}
    wide = [plans[each.station.name].layout.rows for each in network.stations if _is_wide(each)]
    return Shape(
        frozenset(free), frozenset(fed), {name: plans[name].layout.rows for name in names},
        tuple(each.station.name for each in network.stations if each.station.role == "input"),
        frozenset(each.station.name for each in network.stations if each.reading is not None),
        max(wide, default=0),
    )  # fmt: skip


def _is_wide(each: IntegerStation) -> bool:
    return each.reading is None and each.station.role != "input"


def room_for(shape: Shape, machine: Machine, samples: int, steps: int, free: int, bound: int, interval: int) -> Room:
    """As many samples side by side as fit, at most 15, and so many steps ahead that streaming keeps up with the lanes.

    A step has `free` rows of weights that need no state and `bound` others. Each takes `interval` cycles to come and
    one for every step and sample that it is held for. The smallest room is returned even where it does not fit.
    """
    room = Room(shape, 1, 1)
    for lockstep in range(min(samples, MOST_HELD), 1, -1):
        if replace(room, lockstep=lockstep).fits(machine):
            groups = -(-samples // lockstep)
            room = replace(room, lockstep=-(-samples // groups))
            break
    spare = room.lockstep * (free + bound) - interval * bound
    wanted = -(-interval * free // spare) if spare > 0 else MOST_HELD
    for ahead in range(min(wanted, MOST_HELD // room.lockstep, steps), 1, -1):
        if replace(room, ahead=ahead).fits(machine):
            return replace(room, ahead=ahead)
    return room
