"""The compiled kernels of a graph, fed with NumPy arrays: no PyTorch in here."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pathc.backends.llvm.training import Saved, Trainer
from pathc.ir.graph import Graph
from pathc.ir.interp.junctions import real_read_size

Array = NDArray[np.float32]
Arrays = Mapping[str, Array]

_FEWEST, _MOST = 16, 64
"""Samples of a tile that kernels are made for."""


class Lease:
    """What a forward pass left behind in the memory of `kernels`; given back when nobody holds it any more."""

    def __init__(self, kernels: _Kernels, saved: Saved) -> None:
        self.kernels = kernels
        self.saved = saved

    def statistics(self) -> dict[str, Array]:
        """Mean and variance that normalizations went by, by tensor."""
        return self.kernels.trainer.statistics(self.saved)

    def __del__(self) -> None:
        self.kernels.returned.append(self.saved)


class _Kernels:
    """One trainer, which does one thing at a time, and the weights it holds.

    The collector may run `Lease.__del__` anywhere, inside the lock as well; so memory comes back through a queue.
    """

    def __init__(self, trainer: Trainer, held: dict[str, Array]) -> None:
        self.trainer = trainer
        self.lock = threading.Lock()
        self.returned: deque[Saved] = deque()
        self._held = held

    def prepare(self, weights: Arrays) -> None:
        """Bring the packed weights up to date, and released memory back.

        Bits are compared, for that costs a tenth of packing and notices every way of writing to a tensor:
        `p.data`, `p.numpy()` and other modules with the same parameters change no version number.
        """
        while self.returned:
            self.trainer.release(self.returned.popleft())
        if not all(same_bits(weights[name], held) for name, held in self._held.items()):
            self.trainer.load(weights)
            self._held = {name: np.array(weights[name], order="C") for name in self._held}


class Engine:
    """Forward and backward passes of a graph, by as many `threads` at most; may be called from several threads."""

    def __init__(self, graph: Graph, threads: int) -> None:
        self._graph = graph
        self._threads = threads
        self._kernels: dict[tuple[int, frozenset[str]], _Kernels] = {}
        self._lock = threading.Lock()
        self._outputs = sum(real_read_size(station) for station in graph.outputs)

    def forward(
        self, x: Array, weights: Arrays, frozen: frozenset[str], *, by_batch: bool = False
    ) -> tuple[Array, Lease | None]:
        """Outputs [n, outputs] of inputs [n, inputs], n >= 0, and what `backward` needs.

        `by_batch`, normalizations go by the statistics of these samples, which the lease knows. `frozen` names the
        tensors whose gradients nobody will ask for. Raises E0702 for another shape, E0502 to E0508 for weights that do
        not fit.
        """
        if not len(x):
            return np.zeros((0, self._outputs), np.float32), None
        kernels = self._find(len(x), weights, frozen)
        with kernels.lock:
            kernels.prepare(weights)
            y, saved = kernels.trainer.forward(x, by_batch=by_batch)
            return y, Lease(kernels, saved)

    def backward(self, lease: Lease, dy: Array, weights: Arrays, *, inputs: bool) -> tuple[Array, dict[str, Array]]:
        """Gradients at the inputs (empty if not asked for) and at all tensors that are not frozen.

        `weights` are those of the forward pass.
        """
        with lease.kernels.lock:
            lease.kernels.prepare(weights)
            return lease.kernels.trainer.backward(lease.saved, dy, inputs=inputs)

    def _find(self, count: int, weights: Arrays, frozen: frozenset[str]) -> _Kernels:
        batch = min(_MOST, max(_FEWEST, 1 << (count - 1).bit_length()))
        with self._lock:
            found = self._kernels.get((batch, frozen))
            if found is None:
                trainer = Trainer(
                    self._graph, weights, loss="none", batch=batch, threads=self._threads, frozen=frozen
                )  # fmt: skip
                held = {name: np.array(values, order="C") for name, values in weights.items()}
                found = self._kernels[batch, frozen] = _Kernels(trainer, held)
            return found


def same_bits(a: NDArray[Any], b: NDArray[Any]) -> bool:
    """Whether two float32 arrays, of which `b` is contiguous, are equal bit by bit: NaN is NaN, and -0 is not 0."""
    return a.shape == b.shape and np.array_equal(np.ascontiguousarray(a).view(np.int32), b.view(np.int32))
