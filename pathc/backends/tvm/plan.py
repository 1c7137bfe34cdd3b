"""The kernel plan: operations in order on buffers of samples side by side; no weights, no loops yet.

Samples go through the kernels in tiles of `lanes`. A buffer holds a station as [tiles, units, lanes], so that
neighbouring threads (or vector lanes) hold neighbouring samples, whatever units they read. No buffer is ever
written twice: what adds to sums reads them from one buffer and writes them to the next.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pathc.backends.tvm.filters.plan import FilterPlan
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
    """Columns `first` onwards of an array [batch, inputs] into a buffer: `x`, or `dy`, gradients at the outputs."""

    name: str
    dst: str
    inputs: int
    first: int
    end: Finish
    array: str = "x"


@dataclass(frozen=True)
class Fill:
    """A station that no line leads to."""

    name: str
    dst: str
    end: Finish


@dataclass(frozen=True)
class Blocks:
    """Dense blocks of fan_out x fan_in; `start` and `length` are the window of paths, both 0 for a dense line.

    Weights are [blocks, fan_in, fan_out]. `transposed` takes gradients from destinations to sources: what the paths
    call destinations is read, what they call sources is written.
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
    transposed: bool = False


@dataclass(frozen=True)
class Rows:
    """Edges by destination: `ell` holds `width` of them for every destination, `csr` as many as there are.

    `windows` are those of the paths (start, length) that are computed here. Weights and indices are
    [width, units] or [edges]. `transposed` is as in Blocks.
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
    transposed: bool = False


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
    """The real units of a buffer to columns `first` onwards of an array [batch, outputs]: `y`, or `dx`."""

    name: str
    src: str
    outputs: int
    first: int
    end: Finish
    array: str = "y"


@dataclass(frozen=True)
class Slope:
    """Gradients through an activation: from those at its values, with what it was applied to in `argument`.

    `value` is the buffer of its values, which softmax needs.
    """

    name: str
    src: str
    argument: str
    value: str
    dst: str
    end: Finish


@dataclass(frozen=True)
class Outer:
    """Gradients of the weights of blocks, summed over samples: values of sources times gradients of destinations.

    `src` holds the values, `gradient` the gradients; the result is [blocks, fan_in, fan_out].
    """

    name: str
    src: str
    gradient: str
    of: Blocks
    end: Finish

    @property
    def junction(self) -> str:
        """Whose weights they are."""
        return self.of.junction

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the result."""
        return self.of.count, self.of.fan_in, self.of.fan_out


@dataclass(frozen=True)
class Edges:
    """Gradients of the weights of paths without blocks, one for every path of `windows`, summed over samples."""

    name: str
    junction: str
    src: str
    gradient: str
    windows: tuple[tuple[int, int], ...]
    end: Finish

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the result."""
        return (sum(length for _, length in self.windows),)


@dataclass(frozen=True)
class Total:
    """Gradients of a bias: those of a station summed over samples."""

    name: str
    gradient: str
    end: Finish

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the result."""
        return (self.end.units,)


Op = Load | Fill | Blocks | Rows | Skip | Post | Save | Slope | Outer | Edges | Total
Sum = Outer | Edges | Total
Junction = Blocks | Rows | Skip


@dataclass(frozen=True)
class NetPlan:
    """A whole net: operations in order, and the buffers with their units.

    `fused` says that one kernel, called `kernel`, computes everything with all buffers in shared memory. Where there
    are `filters`, they come first, and operations load from the array that they leave.
    """

    name: str
    lanes: int
    ops: tuple[Op, ...]
    buffers: tuple[tuple[str, int], ...]
    inputs: int
    outputs: int
    fused: bool = False
    kernel: str = "net"
    filters: FilterPlan | None = None

    @property
    def kept(self) -> tuple[tuple[str, int], ...]:
        """Buffers in main memory with their units."""
        return () if self.fused else self.buffers

    @property
    def gradients(self) -> tuple[tuple[str, tuple[int, ...]], ...]:
        """Arrays of gradients of weights (`k9_g`) with their shapes; nothing if the plan has no backward pass."""
        return tuple((f"{op.name}_g", op.shape) for op in self.ops if isinstance(op, Sum))

    def array(self, name: str) -> str:
        """What a buffer is called in TIR."""
        return f"h{list(self.units).index(name)}"

    @property
    def units(self) -> dict[str, int]:
        """Units of every buffer."""
        return dict(self.buffers)

    def __str__(self) -> str:
        how = "one kernel, buffers in shared memory" if self.fused else "a kernel for every operation"
        lines = [f"plan {self.name}: tiles of {self.lanes} samples, {how}"]
        lines += str(self.filters).splitlines() if self.filters else []
        lines += [f"  %{name}: [tiles, {units}, {self.lanes}]" for name, units in self.buffers]
        lines += [f"  {_line(op)}" for op in self.ops]
        return "\n".join(lines) + "\n"


def _line(op: Op) -> str:
    match op:
        case Load():
            what = f"{op.array}[{op.first}:{op.first + op.end.real}] -> %{op.dst}"
        case Fill():
            what = f"-> %{op.dst}"
        case Blocks():
            window = f" paths {op.start}:{op.start + op.length}" if op.length else " dense"
            what = f"%{op.src} -> %{op.dst} {op.junction}{window}, {op.count} of {op.fan_out}x{op.fan_in}"
            what += f" sources {_address(op.sources)} destinations {_address(op.destinations)}"
            what += ", transposed" * op.transposed
        case Rows():
            size = f"width {op.width}" if op.form == "ell" else f"{op.edges} edges"
            windows = " ".join(f"{start}:{start + length}" for start, length in op.windows)
            what = f"%{op.src} -> %{op.dst} {op.junction} paths {windows}, {op.form}, {size}"
            what += ", transposed" * op.transposed
        case Skip():
            what = f"%{op.src} -> %{op.dst} {op.junction} times {op.scale:g}"
        case Post():
            what = f"%{op.src} -> %{op.dst}"
        case Save():
            what = f"%{op.src} -> {op.array}[{op.first}:{op.first + op.end.real}]"
        case Slope():
            what = f"%{op.src} -> %{op.dst} through the slope at %{op.argument}"
        case Outer() | Edges():
            what = f"%{op.src} x %{op.gradient} -> gradient of {op.junction}, {op.shape}"
        case Total():
            what = f"%{op.gradient} -> gradient of {op.end.station}.bias"
    return f"{op.name}: {type(op).__name__.lower()} {what}{_finish(op.end)}"


def _finish(end: Finish) -> str:
    start = {"zero": "", "bias": f" + {end.station}.bias", "add": f" + %{end.before}"}[end.init]
    return f"{start} | {end.activation}" if end.activation else start


def _address(address: Address) -> str:
    if address.plain:
        return "in order"
    return f"{address.shift}^<{' '.join(map(str, address.reps))}>^<{' '.join(map(str, address.basis))}>"
