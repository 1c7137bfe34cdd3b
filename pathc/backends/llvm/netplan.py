"""The plan of a whole net: operations in order and the buffers they run on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from pathc.backends.llvm.plan import Family, Layout, Step
from pathc.ir.types import Call

ALIGNMENT = 64
"""Bytes: buffers and parameters start at multiples of a cache line."""

Order = Literal["rows", "units"]
"""How a user's array [batch, units] lies in memory: samples one after another, or units first, as `x.T` of an array
[units, batch] does."""
Orders = tuple[Order, Order]
"""Of the input and of the output."""


@dataclass(frozen=True)
class Load:
    """Bring an input of the user into a buffer, applying the input's activation on the way.

    `first` is the column of the user's array where the station starts, `real` how many it takes of the station's
    `units`; the silent ones behind them become zero. Where the layout says that whole tiles stay in the array, only a
    tile that the batch does not fill is brought.
    """

    dst: str
    layout: Layout
    units: int
    first: int
    real: int
    activation: Call | None
    order: Order = "rows"


@dataclass(frozen=True)
class Run:
    """A kernel from buffer to buffer."""

    step: Step
    src: str
    dst: str


@dataclass(frozen=True)
class Move:
    """Permute a station from one layout to another."""

    src: str
    dst: str
    source: Layout
    target: Layout


@dataclass(frozen=True)
class Post:
    """An activation on finished sums, in place: over all units (softmax, kwinners) or a second elementwise one."""

    dst: str
    units: int
    call: Call


@dataclass(frozen=True)
class Save:
    """Bring the real units of an output's buffer to the user's array, columns `first` onwards, as `Load` does."""

    src: str
    layout: Layout
    units: int
    first: int
    real: int
    order: Order = "rows"


Op = Load | Run | Move | Post | Save
Where = int | str
"""A place in a plan: the number of an operation, the name of a buffer, or "" for the plan as a whole."""


@dataclass(frozen=True)
class Buffer:
    """A place in scratch memory: floats from its start, and the order in which it holds its station.

    A buffer is called by its station, with a number behind it where the order is not the natural one: `h1`, `h1.2`.
    """

    name: str
    offset: int
    layout: Layout

    @property
    def size(self) -> int:
        """Floats of one sample."""
        return self.layout.size

    @property
    def station(self) -> str:
        """The station it holds."""
        return self.name.partition(".")[0]


@dataclass(frozen=True)
class NetPlan:
    """All operations of a net for one family, made for a processor `cpu` with vectors of `width` floats.

    `samples` is how many samples the kernels take at a time; a row net also runs one at a time. `inputs` and
    `outputs` are units per sample as the user sees them, `scratch` floats of working memory, `cycles` the cost
    model's estimate for `samples` samples, `work` multiply-adds per sample.
    """

    name: str
    family: Family
    cpu: str
    width: int
    samples: int
    ops: tuple[Op, ...]
    buffers: tuple[Buffer, ...]
    scratch: int
    inputs: int
    outputs: int
    cycles: float
    work: int

    def buffer(self, name: str) -> Buffer:
        """The buffer of that name."""
        return next(b for b in self.buffers if b.name == name)

    @property
    def orders(self) -> Orders:
        """How the arrays of the user lie in memory; a plan that `verify_plan` accepts has one order for each."""
        loads: list[Order] = [op.order for op in self.ops if isinstance(op, Load)]
        saves: list[Order] = [op.order for op in self.ops if isinstance(op, Save)]
        return loads[0] if loads else "rows", saves[0] if saves else "rows"

    @property
    def runs(self) -> tuple[Run, ...]:
        """The operations that carry weights, in order."""
        return tuple(op for op in self.ops if isinstance(op, Run))


def touched(op: Op) -> tuple[str, ...]:
    """Buffers an operation reads or writes."""
    match op:
        case Load(dst=dst) | Post(dst=dst):
            return (dst,)
        case Save(src=src):
            return (src,)
        case Run(src=src, dst=dst) | Move(src=src, dst=dst):
            return (src, dst)


def length_of(layout: Layout, samples: int) -> int:
    """Floats a buffer takes for so many samples, whole cache lines."""
    unit = ALIGNMENT // 4
    return -(-layout.size * samples // unit) * unit


def place(ops: Sequence[Op], layouts: Mapping[str, Layout], samples: int) -> tuple[tuple[Buffer, ...], int]:
    """Lay buffers into scratch memory so that two in use at the same time never overlap.

    First fit, the largest first: layers of a deep net come to share two places, which keeps them in the nearest
    cache. Returns the buffers and the floats needed.
    """
    first: dict[str, int] = {}
    last: dict[str, int] = {}
    for at, op in enumerate(ops):
        for name in touched(op):
            first.setdefault(name, at)
            last[name] = at
    length = {name: length_of(layouts[name], samples) for name in first}
    offsets: dict[str, int] = {}
    for name in sorted(first, key=lambda n: (-length[n], first[n])):
        rivals = [n for n in offsets if first[n] <= last[name] and first[name] <= last[n]]
        at = 0
        for start, end in sorted((offsets[n], offsets[n] + length[n]) for n in rivals):
            if at + length[name] <= start:
                break
            at = max(at, end)
        offsets[name] = at
    buffers = tuple(Buffer(name, offsets[name], layouts[name]) for name in first)
    return buffers, max((offsets[n] + length[n] for n in offsets), default=0)
