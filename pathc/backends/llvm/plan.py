"""The kernel plan of the CPU: which kernel form computes which junction, on which layouts, with which tiles.

A plan holds no weights and no index arrays. Two families of kernels share it:

- **row** kernels run a few samples at a time with the lanes of a vector over units; a station's row buffer holds
  its units in the order of a `Layout`;
- **column** kernels run a tile of samples with the lanes over samples; a station's buffer is [units][columns] in
  the natural order of the units, or a piece of the user's array [units][batch].
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from pathc.backends.llvm.emit import Function
from pathc.backends.llvm.machine import Machine
from pathc.ir.facts import Blocks
from pathc.ir.types import Call

Family = Literal["row", "column"]
WeightType = Literal["f32", "bf16"]
Tiles = tuple[tuple[str, int], ...]
"""What a form chooses for itself, by name: sizes of register tiles."""
Edges = tuple[NDArray[np.int64], NDArray[np.int64]]
"""Source and destination unit of every path, in natural path order: two int64 arrays of shape [paths]."""


@dataclass(frozen=True)
class Layout:
    """Where unit u of a station lies in its row buffer, counted in floats.

    `columns` is empty for the natural order; otherwise the position of u is the XOR of `columns[k]` over the set
    bits k of u, a bijection of 2^len(columns) units. `size` is the number of floats of one row's buffer: the
    units, rounded up to whole vectors; what lies behind the units is zero and stays so.

    `array` is set in column plans where whole tiles stay in the user's own array: "x" or "y", units first.
    """

    size: int
    columns: tuple[int, ...] = ()
    array: Literal["", "x", "y"] = ""

    @property
    def natural(self) -> bool:
        """Whether units lie in their own order."""
        return all(column == 1 << k for k, column in enumerate(self.columns))

    def positions(self, units: NDArray[np.int64]) -> NDArray[np.int64]:
        """Positions of units, vectorised."""
        if not self.columns:
            return units
        result = np.zeros_like(units)
        for k, column in enumerate(self.columns):
            result ^= (units >> k & 1) * column
        return result


@dataclass(frozen=True)
class Junction:
    """One junction as kernels see it: `count` weights from `src` to `dst`.

    `kind` "paths": one weight a path, edges from the generator; "dense": weights [n_dst, n_src]; "skip": the
    identity times `scale` over the first `count` units, which are all but the silent ones of the source. `blocks`
    holds the windows of `structure` and covers all paths, or is empty. `tensor` names the weights. `sources` yields
    the edges and is called only by forms that need them.
    """

    line: str
    number: int
    kind: Literal["paths", "dense", "skip"]
    src: str
    dst: str
    n_src: int
    n_dst: int
    count: int
    blocks: tuple[Blocks, ...]
    tensor: str
    scale: float
    edges: Callable[[], Edges] = field(compare=False, repr=False)

    @property
    def fan_in(self) -> float:
        """Mean number of weights of a destination."""
        return self.n_src if self.kind == "dense" else self.count / self.n_dst


@dataclass(frozen=True)
class Step:
    """One kernel: one junction, or two fused, with what happens to the destination before and after.

    `init`: "zero" and "bias" overwrite the destination, "add" accumulates onto it. `activation` is applied to the
    finished sums, elementwise, when this is the last step into the station (None: leave the sums). `fused_*`
    describe the second junction of a fused pair, whose result is what the step stores; the middle station then
    never exists in memory. `tile` holds the form's own choices (sizes of register tiles), by name.
    """

    form: str
    family: Family
    junction: Junction
    src_layout: Layout
    dst_layout: Layout
    init: Literal["zero", "bias", "add"]
    activation: Call | None
    weight_type: WeightType = "f32"
    fused: Junction | None = None
    fused_init: Literal["zero", "bias"] = "zero"
    fused_activation: Call | None = None
    tile: Tiles = ()

    @property
    def last(self) -> Junction:
        """The junction whose destination the step stores."""
        return self.fused or self.junction

    def option(self, name: str, default: int) -> int:
        """A tile choice."""
        return dict(self.tile).get(name, default)


class Form(Protocol):
    """A kernel form: a way to compute a junction.

    Row kernels are `void name(ptr src, ptr dst, ptr weights, ptr bias)` on `rows` samples: row r of the source
    lies `r * src_layout.size` floats behind `src`, likewise for the destination. Column kernels have the same
    signature on buffers [units][columns], and take the bytes from unit to unit, i64, behind it: of the source where
    its layout has an `array`, then of the destination where that has. `src` may be a user's array (align 4) when its
    layout is natural; `dst` and `weights` are aligned to 64 bytes, but for arrays of the user; `bias` is in the order
    of dst_layout, padded with zeros to its size (fused: first the middle station's natural order, padded to whole
    vectors, then the destination's).
    """

    name: ClassVar[str]
    family: ClassVar[Family]

    def refusal(self, junction: Junction, machine: Machine) -> str:
        """Why the form cannot compute this junction, or an empty string."""
        ...

    def cycles(self, step: Step, machine: Machine, samples: int) -> float:
        """Estimated clock cycles for `samples` samples at a time (the cost model's figure)."""
        ...

    def pack(self, step: Step, machine: Machine, weights: Mapping[str, NDArray[np.float32]]) -> NDArray[np.uint8]:
        """Weights (and index tables) in the order the kernel streams them, as bytes."""
        ...

    def emit(self, step: Step, name: str, machine: Machine, samples: int) -> Sequence[Function]:
        """The kernel called `name` for `samples` rows or columns, and internal functions it needs."""
        ...


@dataclass(frozen=True)
class TileOption:
    """One choice of a form: its name, how large it may be (from 1), whether only powers of two will do."""

    name: str
    most: int
    power: bool
    doc: str


@runtime_checkable
class Tiled(Protocol):
    """A form with choices of its own."""

    tiles: ClassVar[tuple[TileOption, ...]]

    def tile(self, step: Step, machine: Machine) -> Tiles:
        """The choices for a step whose junction it does not refuse."""
        ...
