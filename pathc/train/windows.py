"""Dropconnect by windows of paths: every step uses one aligned window, in which all units keep the same valence.

A window of a Sobol' line is a net of its own that visits every unit alike, so nothing is drawn by chance but the
order of the windows. A step uses the part q of the paths; for inference, which uses them all, weights of paths are
multiplied by q, so that every sum keeps its expectation.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from pathc.ir.generators import resolve
from pathc.ir.graph import Graph
from pathc.ir.interp.junctions import tensor_of
from pathc.ir.weights import Tensors
from pathc.support.diagnostics import error

_STREAM = 1 << 61
"""Key of the order of windows, apart from that of the shuffling."""


class Windows:
    """The windows of a training; `paths` of 0 means all paths in every step."""

    def __init__(self, graph: Graph, paths: int, seed: int) -> None:
        """Raise PathcError E0912 for windows that do not divide the paths of every line."""
        lines = [line for line in graph.lines if line.kind == "paths"]
        counts = sorted({resolve(line, graph).count for line in lines})
        self.names = {tensor_of(line, j) for line in lines for j in line.junctions}
        self._seed = seed
        if not paths:
            self.count, self._size = 1, 0
            return
        cure = f"use a power of two below {counts[-1]}" if counts else "draw lines of paths"
        if len(counts) != 1:
            what = "has no line of paths" if not counts else f"has lines of {', '.join(map(str, counts))} paths"
            raise error("E0912", f"the net `{graph.name}` {what}", graph.loc, help=cure)
        if paths & (paths - 1) or counts[0] % paths or paths == counts[0]:
            text = f"windows of {paths} paths do not divide {counts[0]} paths into equal parts of a power of two"
            raise error("E0912", text, lines[0].loc, help=cure)
        self.count, self._size = counts[0] // paths, paths

    @property
    def used(self) -> bool:
        """Whether a step uses less than all paths."""
        return self._size > 0

    def order(self, epoch: int, steps: int) -> list[tuple[int, int] | None]:
        """The window of every step of an epoch: all of them in random order, then all of them in another."""
        if not self.used:
            return [None] * steps
        draw = np.random.Generator(np.random.Philox(key=[self._seed, _STREAM + epoch]))
        numbers = [int(n) for _ in range(-(-steps // self.count)) for n in draw.permutation(self.count)]
        return [(n * self._size, (n + 1) * self._size) for n in numbers[:steps]]

    def begin(self, weights: Tensors) -> dict[str, NDArray[np.float32]]:
        """Initial weights under which every window is initialized as the net that it is."""
        return self._scaled(weights, math.sqrt(self.count))

    def whole(self, weights: Tensors) -> dict[str, NDArray[np.float32]]:
        """Weights for inference with all paths."""
        return self._scaled(weights, 1.0 / self.count)

    def _scaled(self, weights: Tensors, factor: float) -> dict[str, NDArray[np.float32]]:
        return {
            name: np.asarray(values * np.float32(factor) if name in self.names else values, np.float32)
            for name, values in weights.items()
        }
