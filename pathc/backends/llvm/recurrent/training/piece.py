"""A feed-forward net between cells in training: rows of all steps through kernels, gradients into one array."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from pathc.backends.llvm.machine import Machine
from pathc.backends.llvm.native import address, aligned
from pathc.backends.llvm.training.phases import Loss, Variant
from pathc.backends.llvm.training.trainer import Array, Saved, StepResult, Trainer
from pathc.ir.cut import Segment

Places = slice | NDArray[np.int64]
_ROWS = 64
"""Rows that tiles are made for; there are at least so many where it matters."""


class Piece(Trainer):
    """A segment whose tensors lie somewhere in one array of all weights, of which the segment's are the places."""

    def __init__(
        self, segment: Segment, weights: Array, *, loss: Loss = "none", machine: Machine, threads: int
    ) -> None:
        self.segment = segment
        self._places = {name: _places(cast("NDArray[np.int64]", where)) for name, where in segment.weights.items()}
        values = {name: weights[where] for name, where in segment.weights.items()}
        super().__init__(segment.graph, values, loss=loss, batch=_ROWS, threads=threads, machine=machine)

    @property
    def inputs(self) -> int:
        """Columns of the rows it takes."""
        return self._inputs

    @property
    def outputs(self) -> int:
        """Columns of the rows it makes."""
        return self._outputs

    def bytes(self, rows: int) -> int:
        """Bytes that a pass over so many rows keeps."""
        return self._model.tile_bytes * -(-rows // self.columns)

    def take(self, weights: Array) -> None:
        """Take the weights out of the array."""
        for name, tensor in self._model.tensors.items():
            self._put(tensor, tensor.master, weights[self._places[name]])
        self._refresh()

    def run(self, x: Array, y: Array) -> Saved:
        """Forwards, any number of rows."""
        saved = Saved(self._spare(-(-len(x) // self.columns)), len(x))
        self._set(x=address(x), x_stride=x.strides[0] // 4, y=address(y), y_stride=y.strides[0] // 4)
        self._shape(len(x))
        self._run(Variant(outputs=True), saved.acts)
        return saved

    def pull(self, saved: Saved, dy: Array, dx: Array | None, gradients: Array) -> None:
        """Backwards: gradients at the inputs, if they are wanted, those of tensors added to the array."""
        self._set(target=address(dy), target_stride=dy.strides[0] // 4)
        self._back(Variant(forward=False, backward=True, inputs=dx is not None, update="store"), saved, dx)
        self.gather(gradients)

    def judge(self, x: Array, target: NDArray[Any], dx: Array | None = None, *, gradient: bool = False) -> StepResult:
        """The loss, mean over rows; with the gradient kept and brought to `dx` if it is asked for.

        Raises E0710 for labels that name no output.
        """
        tiles = -(-len(x) // self.columns)
        if len(self._sums) < 2 * tiles:
            self._sums = aligned(16 * tiles).view(np.float64)
            self._set(sums=address(self._sums))
        self._labels = target
        self._set(x=address(x), x_stride=x.strides[0] // 4)
        self._set(target=address(target), target_stride=target.strides[0] // target.itemsize)
        saved = Saved(self._spare(tiles), len(x))
        if gradient:
            self._back(Variant(self.loss, backward=True, inputs=dx is not None, update="store"), saved, dx)
        else:
            self._shape(len(x))
            self._run(Variant(self.loss), saved.acts)
        self.release(saved)
        self._check_labels()
        return self._outcome()

    def _back(self, variant: Variant, saved: Saved, dx: Array | None) -> None:
        if dx is not None:
            self._set(dx=address(dx), dx_stride=dx.strides[0] // 4)
        self._shape(saved.count)
        self._run(variant, saved.acts)

    def gather(self, gradients: Array) -> None:
        """Add the gradients that are kept to the array."""
        for name, values in self._stored_gradients().items():
            where = self._places[name]
            gradients[where] += values.reshape(-1) if isinstance(where, slice) else values


def _places(where: NDArray[np.int64]) -> Places:
    """Places side by side as a slice."""
    if where.size and np.array_equal(where.reshape(-1), np.arange(where.size) + where.flat[0]):
        first = int(where.flat[0])
        return slice(first, first + where.size)
    return where
