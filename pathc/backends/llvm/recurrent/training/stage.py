"""A feed-forward net and the cell behind it, in training: one stage of a net that is cut at its cells and `steps`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pathc.backends.llvm.recurrent.steps import stepped
from pathc.backends.llvm.recurrent.taps import columns, taps
from pathc.backends.llvm.recurrent.training.cell import Batch, TrainedCell
from pathc.backends.llvm.recurrent.training.moves import whole
from pathc.backends.llvm.recurrent.training.piece import Piece
from pathc.backends.llvm.recurrent.training.record import spread
from pathc.backends.llvm.training.trainer import Saved
from pathc.ir.interp.junctions import real_size

Array = NDArray[np.float32]


@dataclass(eq=False)
class Work:
    """Memory of a stage for so many sequences of so many steps.

    `given` are the rows it takes, where they come from several stations, `made` what its piece makes and then the
    gradient there, `cell` the memory of its cell, `back` the gradient at the rows it takes; `saved` is what the piece
    left, `steps` what it makes of samples that become sequences, by station.
    """

    shape: tuple[int, int]
    given: Array
    made: Array
    back: Array
    cell: Batch | None
    saved: Saved | None = None
    steps: dict[str, Array] = field(default_factory=dict[str, Array])


@dataclass(eq=False)
class Stage:
    """A piece, and the cell that takes what it makes; None behind the last cell, and in front of `steps`.

    `inner` says whether it reads what other stages make.
    """

    piece: Piece
    cell: TrainedCell | None
    inner: bool
    spread: bool = field(init=False)

    def __post_init__(self) -> None:
        # Gates that share what lines bring, windows, and a highway for two directions: each gate has its own columns.
        self.spread = self.cell is not None and self.cell.columns != self.piece.outputs

    @property
    def reads(self) -> tuple[str, ...]:
        """Stations whose rows it takes."""
        return self.piece.segment.reads

    def memory(self, batch: int, steps: int) -> Work:
        """Memory for a batch."""
        segment, rows = self.piece.segment, self._count(batch, steps)
        several = len(self.reads) > 1
        given = _rows(rows, self.piece.inputs if several else 0)
        made = _apart(rows, self.piece.outputs)
        if self.cell is None:
            work = Work((batch, steps), given, made, _rows(rows, self.piece.inputs), None)
            if segment.unrolled:
                work.steps = {name: np.empty(part.shape, np.float32) for name, part in stepped(segment, made, steps)}
            return work
        x = _apart(rows, self.cell.columns) if self.spread else made
        cell = self.cell.memory(batch, steps, x.reshape(batch, steps, self.cell.columns))
        return Work((batch, steps), given, made, _rows(rows, self.piece.inputs), cell)

    def bytes(self, batch: int, steps: int) -> int:
        """Bytes of that memory, the piece's own included."""
        piece, cell, rows = self.piece, self.cell, self._count(batch, steps)
        floats = 2 * piece.inputs + spread(piece.outputs) * (1 + bool(piece.segment.unrolled))
        own = 0
        if cell is not None:
            floats += spread(cell.columns) + 2 * cell.pitch
            own = cell.cell.directions * batch * (steps + 1) * cell.plan.row
        return 4 * (rows * floats + own) + piece.bytes(rows)

    def rows(self, work: Work, known: Mapping[str, Array]) -> Array:
        """The rows it takes."""
        if len(self.reads) == 1:
            return known[self.reads[0]]
        return np.concatenate([known[name] for name in self.reads], axis=1, out=work.given)

    def forward(self, work: Work, known: Mapping[str, Array], *, by_batch: bool) -> dict[str, Array]:
        """The rows it makes, by station: those of its cell, of all that becomes steps, or of the outputs under ""."""
        work.saved = self.piece.run(self.rows(work, known), work.made, by_batch=by_batch)
        segment = self.piece.segment
        if segment.unrolled:
            for name, part in stepped(segment, work.made, work.shape[1]):
                work.steps[name][...] = part
            return {name: made.reshape(-1, made.shape[2]) for name, made in work.steps.items()}
        if self.cell is None or work.cell is None:
            return {"": work.made}
        if self.spread:
            self._spread(work, work.cell.x, back=False)
        self.cell.forward(work.cell)
        return {segment.station: work.cell.y.reshape(len(work.made), -1)}

    def arrived(self, work: Work, deltas: dict[str, Array]) -> Array | None:
        """The gradient at the rows it made, taken out of those of stations; None if nothing reads them."""
        segment = self.piece.segment
        if not segment.unrolled:
            return deltas.pop(segment.station, None)
        if not any(name in deltas for name in segment.unrolled):
            return None
        for name, part in stepped(segment, work.made, work.shape[1]):
            part[...] = deltas.pop(name).reshape(part.shape) if name in deltas else 0.0
        return work.made

    def backward(self, work: Work, dy: Array, gradients: Array, matrices: slice, *, further: bool) -> None:
        """Add gradients of weights, given that at the rows it made; bring the one it goes on with to `work.back`."""
        if self.cell is not None and work.cell is not None:
            self.cell.backward(work.cell, dy.reshape(work.cell.y.shape), gradients[matrices])
            if self.spread:
                self._spread(work, work.cell.x, back=True)
            dy = work.made
        assert work.saved is not None
        self.piece.pull(work.saved, dy, work.back if further else None, gradients)

    def hand_on(self, work: Work, deltas: dict[str, Array]) -> None:
        """Add the gradient at the rows it took to those of the stations they are from."""
        start = 0
        for name, station in zip(self.reads, self.piece.segment.graph.inputs, strict=True):
            size = real_size(station)
            part = work.back[:, start : start + size]
            start += size
            if name in deltas:
                deltas[name] += part
            else:
                deltas[name] = part

    def _count(self, batch: int, steps: int) -> int:
        """Rows it takes: samples in front of `steps`, steps of all sequences elsewhere."""
        return batch if self.piece.segment.unrolled else batch * steps

    def _spread(self, work: Work, x: Array, *, back: bool) -> None:
        """Bring what lines bring to every gate that hears it, or gradients back."""
        cell = self.cell
        assert cell is not None
        made = work.made.reshape(*work.shape, -1)
        into = made if back else x
        into[...] = 0.0
        n, gates = cell.pitch, len(cell.cell.gates)
        for tap in taps(cell.cell, work.shape[1], gates):
            brought = columns(made, tap.copy * n, n)[:, *tap.read]
            heard = columns(x, tap.side * cell.block + tap.gate * n, n)[:, *tap.into]
            target, source = (brought, heard) if back else (heard, brought)
            target += source
        if cell.highway:
            over = columns(made, cell.cell.copies * n, n)
            for side in range(cell.sides):
                heard = columns(x, side * cell.block + gates * n, n)
                target, source = (over, heard) if back else (heard, over)
                target += source


def _rows(count: int, columns: int) -> Array:
    return whole(count * columns)[: count * columns].reshape(count, columns)


def _apart(count: int, columns: int) -> Array:
    """Rows at a distance that spreads them over the cache sets."""
    return _rows(count, spread(columns))[:, :columns]
