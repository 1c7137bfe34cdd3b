"""A feed-forward net between cells in training: rows of all steps through kernels, gradients into one array."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from pathc.backends.llvm.machine import Machine
from pathc.backends.llvm.native import address, aligned
from pathc.backends.llvm.training.tasks import Loss, Variant
from pathc.backends.llvm.training.trainer import Array, Saved, StepResult, Trainer
from pathc.ir.catalogue import options_of
from pathc.ir.cut import Segment
from pathc.ir.weights import MEAN

Places = slice | NDArray[np.int64]
_ROWS = 64
"""Rows that tiles are made for; there are at least so many where it matters. With extents a tile is one vector wide."""


class Piece(Trainer):
    """A segment whose tensors lie somewhere in one array of all weights, of which the segment's are the places."""

    def __init__(
        self, segment: Segment, weights: Array, *, loss: Loss = "none", machine: Machine, threads: int
    ) -> None:
        self.segment = segment
        self._places = {name: _places(cast("NDArray[np.int64]", where)) for name, where in segment.weights.items()}
        values = {name: weights[where] for name, where in segment.weights.items()}
        rows = 1 if any(len(station.shape) > 1 for station in segment.graph.stations) else _ROWS
        super().__init__(segment.graph, values, loss=loss, batch=rows, threads=threads, machine=machine)
        self._normed = any(name.endswith(f".{MEAN}") for name in self._places)
        self._seen: dict[str, Array] = {}

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

    def run(self, x: Array, y: Array, *, by_batch: bool) -> Saved:
        """Forwards, any number of rows; `by_batch`, normalizations go by their statistics."""
        saved = Saved(self._spare(-(-len(x) // self.columns)), len(x), by_batch and self._normed)
        self._set(x=address(x), x_stride=x.strides[0] // 4, y=address(y), y_stride=y.strides[0] // 4)
        self._shape(len(x))
        self._run(Variant(outputs=True, by_batch=saved.by_batch), saved.acts)
        self._note(saved)
        return saved

    def pull(self, saved: Saved, dy: Array, dx: Array | None, gradients: Array) -> None:
        """Backwards: gradients at the inputs, if they are wanted, those of tensors added to the array."""
        self._set(target=address(dy), target_stride=dy.strides[0] // 4)
        inputs = dx is not None
        variant = Variant(forward=False, backward=True, inputs=inputs, update="store", by_batch=saved.by_batch)
        self._back(variant, saved, dx)
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
        saved = Saved(self._spare(tiles), len(x), gradient and self._normed)
        if gradient:
            inputs = dx is not None
            variant = Variant(self.loss, backward=True, inputs=inputs, update="store", by_batch=saved.by_batch)
            self._back(variant, saved, dx)
            self._note(saved)
        else:
            self._shape(len(x))
            self._run(Variant(self.loss), saved.acts)
        self.release(saved)
        self._check_labels()
        return self._outcome()

    def moved(self, weights: Array) -> Iterator[tuple[Places, Array]]:
        """Where statistics of normalizations lie in the array, and what the last batch makes of them."""
        for name, now in self._seen.items():
            stage = self.graph.station(name.partition(".")[0]).stage("batchnorm")
            share = options_of(stage)["momentum"] if stage is not None else 0.0
            assert isinstance(share, float | int)
            before = weights[self._places[name]]
            after = before + np.float32(share) * (now.reshape(before.shape) - before)
            yield self._places[name], after.astype(np.float32, copy=False)

    def _note(self, saved: Saved) -> None:
        """Remember by which statistics a batch was normalized."""
        if saved.by_batch:
            self._seen = self.statistics(saved)

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
