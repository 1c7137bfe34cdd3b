"""Dropconnect by windows of paths: every step leaves out one aligned window, and units keep about the same valence.

A window of a Sobol' line visits every unit alike, and so do the paths that are left, so nothing is drawn by chance but
the order of the windows. Sizes that are no powers of two and several axes make that less even. A step uses the part q
of the paths; for inference, which uses them all, weights of paths are multiplied by q, so that every sum keeps its
expectation.
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
    """The windows of a training, `dropped` paths each; 0 means that all paths are used in every step."""

    def __init__(self, graph: Graph, dropped: int, seed: int) -> None:
        """Raise PathcError E0912 for windows that do not divide the paths of every line."""
        lines = [line for line in graph.lines if line.kind == "paths"]
        counts = sorted({resolve(line, graph).count for line in lines})
        self.names = {tensor_of(line, j) for line in lines for j in line.junctions}
        self._seed, self._dropped = seed, dropped
        self.count, self.share = 1, 1.0
        if not dropped:
            return
        cure = f"use a power of two below {counts[-1]}" if counts else "draw lines of paths"
        if len(counts) != 1:
            what = "has no line of paths" if not counts else f"has lines of {', '.join(map(str, counts))} paths"
            raise error("E0912", f"the net `{graph.name}` {what}", graph.loc, help=cure)
        if dropped & (dropped - 1) or counts[0] % dropped or dropped == counts[0]:
            text = f"windows of {dropped} paths do not divide {counts[0]} paths into equal parts of a power of two"
            widest = counts[0] & -counts[0]
            widest //= 1 + (widest == counts[0])
            cure = f"use a power of two up to {widest}" if widest > 1 else "draw a count that has more factors of two"
            raise error("E0912", text, lines[0].loc, help=cure)
        self.count = counts[0] // dropped
        self.share = 1.0 - 1.0 / self.count

    @property
    def used(self) -> bool:
        """Whether a step uses less than all paths."""
        return self._dropped > 0

    def order(self, epoch: int, steps: int) -> list[tuple[int, int] | None]:
        """The paths of every step of an epoch as (first, end), wrapped around where the end is not behind the first.

        Every window is left out once, in random order, then every one again in another.
        """
        if not self.used:
            return [None] * steps
        draw = np.random.Generator(np.random.Philox(key=[self._seed, _STREAM + epoch]))
        numbers = [int(n) for _ in range(-(-steps // self.count)) for n in draw.permutation(self.count)]
        return [self._without(n) for n in numbers[:steps]]

    def _without(self, number: int) -> tuple[int, int]:
        """The paths that are left without window `number`."""
        total = self.count * self._dropped
        first = (number + 1) * self._dropped
        return first % total, number * self._dropped or total

    def begin(self, weights: Tensors) -> dict[str, NDArray[np.float32]]:
        """Initial weights under which the net of a step is initialized as the net that it is."""
        return self._scaled(weights, 1.0 / math.sqrt(self.share))

    def whole(self, weights: Tensors) -> dict[str, NDArray[np.float32]]:
        """Weights for inference with all paths."""
        return self._scaled(weights, self.share)

    def _scaled(self, weights: Tensors, factor: float) -> dict[str, NDArray[np.float32]]:
        return {
            name: np.asarray(values * np.float32(factor) if name in self.names else values, np.float32)
            for name, values in weights.items()
        }
