"""All weights of a net in one array, natural order, with their gradients and what an optimizer remembers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pathc.backends.llvm.machine import Machine
from pathc.backends.llvm.recurrent.training.moves import Mover, whole
from pathc.backends.llvm.training.optimizers import Optimizer
from pathc.ir.graph import Graph
from pathc.ir.interp.junctions import float_tensors
from pathc.ir.weights import MEAN, VARIANCE, Tensors, expected_tensors, path_axes

Array = NDArray[np.float32]
Window = tuple[int, int]


class Parameters:
    """The tensors of a graph side by side, as files hold them."""

    def __init__(self, graph: Graph, optimizer: Optimizer | None, machine: Machine) -> None:
        self._graph = graph
        self.shapes = expected_tensors(graph)
        ends = np.cumsum([math.prod(shape) for shape in self.shapes.values()], dtype=np.int64)
        self._spans = {
            name: slice(int(end) - math.prod(shape), int(end))
            for (name, shape), end in zip(self.shapes.items(), ends, strict=True)
        }
        self.weights, self.gradients = (whole(int(ends[-1]) if len(ends) else 0) for _ in range(2))
        self.mover = Mover(optimizer, machine, self.weights, self.gradients) if optimizer else None
        self._insides: dict[Window, NDArray[np.bool_]] = {}

    def numbered(self) -> dict[str, NDArray[np.int64]]:
        """Tensors of the places that weights have in the array."""
        every = np.arange(len(self.weights), dtype=np.int64)
        return {name: every[self._spans[name]].reshape(shape) for name, shape in self.shapes.items()}

    def span(self, names: Sequence[str]) -> slice:
        """Where tensors that follow each other lie."""
        return slice(self._spans[names[0]].start, self._spans[names[-1]].stop) if names else slice(0, 0)

    def put(self, into: Array, values: Tensors) -> None:
        """Take tensors into an array of all."""
        plain = float_tensors(self._graph, values)
        with np.errstate(over="ignore"):
            for name, span in self._spans.items():
                into[span] = np.asarray(plain[name]).reshape(-1)

    def named(self, flat: Array) -> dict[str, Array]:
        """Copies of the tensors of an array of all."""
        return {name: flat[span].reshape(self.shapes[name]).copy() for name, span in self._spans.items()}

    def trained(self) -> dict[str, Array]:
        """Copies of the gradients of all tensors that have one."""
        made = self.named(self.gradients)
        return {name: each for name, each in made.items() if not name.endswith((f".{MEAN}", f".{VARIANCE}"))}

    def inside(self, window: Window) -> NDArray[np.bool_]:
        """Which weights a window of paths leaves: all but those of paths outside."""
        if window not in self._insides:
            self._insides.clear()
            self._insides[window] = self._inside(*window)
        return self._insides[window]

    def _inside(self, first: int, end: int) -> NDArray[np.bool_]:
        kept = np.ones(len(self.weights), np.bool_)
        for name, axis in path_axes(self._graph).items():
            shape = self.shapes[name]
            number = np.arange(shape[axis]).reshape(-1, *(1,) * (len(shape) - axis - 1))
            behind, ahead = number >= first, number < end
            kept[self._spans[name]] = np.broadcast_to(behind & ahead if first < end else behind | ahead, shape).ravel()
        return kept

    def move(self, lr: float | None, number: int, inside: NDArray[np.bool_] | None) -> None:
        """Step `number` of the optimizer; weights outside, and what is remembered of them, stay."""
        assert self.mover is not None
        if inside is None:
            self.mover.step(lr, number)
            return
        every = [self.weights, *self.mover.moments]
        kept = [values[~inside] for values in every]
        self.mover.step(lr, number)
        for values, before in zip(every, kept, strict=True):
            values[~inside] = before

    def state(self) -> dict[str, NDArray[Any]]:
        """Moments as `<moment>:<tensor>`."""
        if self.mover is None:
            return {}
        every = zip(self.mover.optimizer.moments, self.mover.moments, strict=True)
        return {f"{moment}:{name}": v for moment, values in every for name, v in self.named(values).items()}

    def load_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take moments."""
        if self.mover is not None:
            for moment, values in zip(self.mover.optimizer.moments, self.mover.moments, strict=True):
                for name, span in self._spans.items():
                    values[span] = state[f"{moment}:{name}"].reshape(-1)
