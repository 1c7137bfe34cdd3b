"""Losses of outputs that no piece ends in: states of cells, or probabilities made of them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pathc.backends.llvm.training.arguments import unnamed
from pathc.backends.llvm.training.tasks import Loss
from pathc.backends.llvm.training.trainer import Array, StepResult

_LEAST = float(np.finfo(np.float32).tiny)


def judged(outputs: Array, target: NDArray[Any], loss: Loss) -> tuple[StepResult, Array]:
    """Loss of outputs [rows, units], mean over rows, and its gradient; of labels [rows] the outputs are probabilities.

    Raises E0710 for labels that name no output.
    """
    if loss == "mse":
        off = outputs - target
        size = float(np.square(off, dtype=np.float64).mean())
        return StepResult(size, 0), off * np.float32(2.0 / off.size)
    wrong = target[(target < 0) | (target >= outputs.shape[1])]
    if len(wrong):
        raise unnamed(len(wrong), int(wrong[0]), outputs.shape[1])
    rows = np.arange(len(outputs))
    chosen = np.maximum(outputs[rows, target], np.float32(_LEAST))
    gradient = np.zeros_like(outputs)
    gradient[rows, target] = -1.0 / (chosen * np.float32(len(rows)))
    hits = int(np.count_nonzero(outputs.argmax(axis=1) == target))
    return StepResult(float(-np.log(chosen, dtype=np.float64).mean()), hits), gradient
