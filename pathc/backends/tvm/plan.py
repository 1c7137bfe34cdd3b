"""The kernel plan: operations in order on buffers of samples side by side; no weights, no loops yet.

Samples go through the kernels in tiles of `lanes`. A buffer holds a station as [tiles, units, lanes], so that
neighbouring threads (or vector lanes) hold neighbouring samples, whatever units they read. No buffer is ever
written twice: what adds to sums reads them from one buffer and writes them to the next.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pathc.ir.types import Call

Init = Literal["zero", "bias", "add"]
"""What sums start from: nothing, the bias of the station, or the sums so far."""


@dataclass(frozen=True)
class Finish:
    """How a kernel starts and stores the sums of a station.

    `before` is the buffer of the sums so far if `init` is `add`. Units from `real` on are silent and stored as zero.
    """

    station: str
    units: int
    real: int
    init: Init = "zero"
    before: str = ""
    activation: Call | None = None


@dataclass(frozen=True)
class Address:
    """Units of blocks: `shift ^ span(reps; block) ^ span(basis; place)`, or the place itself if `plain`."""

    basis: tuple[int, ...] = ()
    reps: tuple[int, ...] = ()
    shift: int = 0
    plain: bool = False


PLAIN = Address(plain=True)


@dataclass(frozen=True)
class Load:
    """Columns `first` onwards of the inputs [batch, inputs] into a buffer."""

    name: str
    dst: str
    inputs: int
    first: int
    end: Finish


@dataclass(frozen=True)
class Fill:
    """A station that no line leads to."""

    name: str
    dst: str
    end: Finish


@dataclass(frozen=True)
class Blocks:
    """Dense blocks of fan_out x fan_in; `start` and `length` are the window of paths, both 0 for a dense line.

    Weights are [blocks, fan_in, fan_out].
    """

    name: str
    junction: str
    src: str
    dst: str
    units: int
    start: int
    length: int
    count: int
    fan_in: int
    fan_out: int
    sources: Address
    destinations: Address
    end: Finish


@dataclass(frozen=True)
class Rows:
    """Edges by destination: `ell` holds `width` of them for every destination, `csr` as many as there are.

    `windows` are those of the paths (start, length) that are computed here. Weights and indices are
    [width, units] or [edges].
    """

    name: str
    junction: str
    form: Literal["ell", "csr"]
    src: str
    dst: str
    units: int
    windows: tuple[tuple[int, int], ...]
    width: int
    edges: int
    end: Finish


@dataclass(frozen=True)
class Skip:
    """The values of a station times a number."""

    name: str
    junction: str
    src: str
    dst: str
    scale: float
    end: Finish


@dataclass(frozen=True)
class Post:
    """An activation on finished sums: over all units (softmax, kwinners), or a second elementwise one."""

    name: str
    src: str
    dst: str
    end: Finish


@dataclass(frozen=True)
class Save:
    """The real units of a buffer to columns `first` onwards of the outputs [batch, outputs]."""

    name: str
    src: str
    outputs: int
    first: int
    end: Finish


Op = Load | Fill | Blocks | Rows | Skip | Post | Save
Junction = Blocks | Rows | Skip


@dataclass(frozen=True)
class NetPlan:
    """A whole net: operations in order, and the buffers with their units.

    `fused` says that one kernel computes everything with all buffers in shared memory.
    """

    name: str
    lanes: int
    ops: tuple[Op, ...]
    buffers: tuple[tuple[str, int], ...]
    inputs: int
    outputs: int
    fused: bool = False

    @property
    def units(self) -> dict[str, int]:
        """Units of every buffer."""
        return dict(self.buffers)

    def __str__(self) -> str:
        how = "one kernel, buffers in shared memory" if self.fused else "a kernel for every operation"
        lines = [f"plan {self.name}: tiles of {self.lanes} samples, {how}"]
        lines += [f"  %{name}: [tiles, {units}, {self.lanes}]" for name, units in self.buffers]
        lines += [f"  {_line(op)}" for op in self.ops]
        return "\n".join(lines) + "\n"


def _line(op: Op) -> str:
    match op:
        case Load():
            what = f"x[{op.first}:{op.first + op.end.real}] -> %{op.dst}"
        case Fill():
            what = f"-> %{op.dst}"
        case Blocks():
            window = f" paths {op.start}:{op.start + op.length}" if op.length else " dense"
            what = f"%{op.src} -> %{op.dst} {op.junction}{window}, {op.count} of {op.fan_out}x{op.fan_in}"
            what += f" sources {_address(op.sources)} destinations {_address(op.destinations)}"
        case Rows():
            size = f"width {op.width}" if op.form == "ell" else f"{op.edges} edges"
            windows = " ".join(f"{start}:{start + length}" for start, length in op.windows)
            what = f"%{op.src} -> %{op.dst} {op.junction} paths {windows}, {op.form}, {size}"
        case Skip():
            what = f"%{op.src} -> %{op.dst} {op.junction} times {op.scale:g}"
        case Post():
            what = f"%{op.src} -> %{op.dst}"
        case Save():
            what = f"%{op.src} -> y[{op.first}:{op.first + op.end.real}]"
    return f"{op.name}: {type(op).__name__.lower()} {what}{_finish(op.end)}"


def _finish(end: Finish) -> str:
    start = {"zero": "", "bias": f" + {end.station}.bias", "add": f" + %{end.before}"}[end.init]
    return f"{start} | {end.activation}" if end.activation else start


def _address(address: Address) -> str:
    if address.plain:
        return "in order"
    return f"{address.shift}^<{' '.join(map(str, address.reps))}>^<{' '.join(map(str, address.basis))}>"
