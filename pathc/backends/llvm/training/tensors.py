"""Weights as a trainer holds them, and the junctions that use them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from pathc.backends.llvm.training.filters.passes import Padding, Pass
from pathc.backends.llvm.training.filters.sums import GroupTable
from pathc.backends.llvm.training.frame import Ints
from pathc.backends.llvm.training.panels import PanelTables
from pathc.backends.llvm.training.pieces import Cut
from pathc.backends.llvm.training.rows import RowTables


@dataclass(frozen=True, eq=False)
class Tensor:
    """A tensor as the trainer holds it; offsets are bytes in the parameters.

    Element k of the natural order is in copy `copy[k]` of slot `slot[k]`. `master` is float32 [copies, size], and
    so is each of `moments`; `working` [size] holds the sums over copies that kernels read, and is `master` where
    there is one copy. `gradient` [size] receives gradients, `extra` (or -1) those of other uses of a tied tensor.
    `counts` (or -1) are the copies that exist of each slot, where not all do. `aside` (or -1 if windows do not concern
    the tensor) is where [copies, size] of it lie in masks and in what is laid aside during a step with a window.
    `gathered` says that gradients are complete in `gradient` before anything becomes of them.
    """

    name: str
    shape: tuple[int, ...]
    slot: Ints
    copy: Ints
    copies: int
    size: int
    master: int
    working: int
    moments: tuple[int, ...]
    gradient: int
    extra: int
    counts: int
    trained: bool
    bias: bool
    aside: int
    gathered: bool

    @cached_property
    def places(self) -> Ints:
        """Where element k of the natural order lies in an array [copies, size], flattened."""
        return self.copy * self.size + self.slot


@dataclass(frozen=True, eq=False)
class Use:
    """A junction with weights: its pieces and tables, and where its copy of the weights lies.

    The first use of a tensor owns it: its slots are the tensor's. Every other use has
    copies of them at `weights`; `gradient` is where its own gradients go. `turned` are the weights in the order of the
    rows of the input gradient.
    """

    src: str
    dst: str
    cut: Cut
    tensor: str
    owner: bool
    weights: int
    gradient: int
    panels: tuple[PanelTables, ...]
    rows: RowTables | None
    back: RowTables | None
    turned: int


@dataclass(frozen=True)
class Copy:
    """`size` floats at `target` are those at `source` in the order of the indices at `index`, or these are added."""

    index: int
    source: int
    target: int
    size: int
    add: bool


@dataclass(frozen=True)
class Planes:
    """What a filter reads: `source` in a tile, or at `at` behind zeros if `padding` has any."""

    padding: Padding
    channels: int
    source: int
    at: int


@dataclass(frozen=True, eq=False)
class FilterUse:
    """A filter between channels: its passes both ways, the tables of its groups, and its copies of the weights.

    `weights` are in the order of `forward`, `turned` in that of `back`; `values` and `deltas` are what the passes read.
    """

    src: str
    dst: str
    tensor: str
    owner: bool
    run: Pass
    runs_back: tuple[Pass, ...]
    values: Planes
    deltas: Planes
    forward: tuple[GroupTable, ...]
    back: tuple[GroupTable, ...]
    weights: int
    turned: int
    gradient: int


@dataclass(frozen=True)
class Skip:
    """`count` rows of a station, times a scale, added to the rows from `first` on of another."""

    src: str
    dst: str
    first: int
    count: int
    scale: float
