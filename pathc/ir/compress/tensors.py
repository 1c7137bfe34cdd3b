"""From float tensors to integer tensors and scales."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from pathc.ir.compress.montecarlo import Sampling, sample_groups, sample_weights
from pathc.ir.quantized.rounding import power_of_two

Method = Literal["mc", "int8", "int4", "ternary", "bf16"]
METHODS: tuple[str, ...] = get_args(Method)
"""mc: Monte Carlo quantization; int8, int4: to the nearest; ternary: Monte Carlo with at most one sample a weight
counted; bf16: floats of 16 bits."""
LARGEST = {"int8": 127, "int4": 7}


@dataclass(frozen=True)
class Settings:
    """How weights are quantized.

    `samples` is the number K of samples a weight (mc, ternary), `per` tensor or unit says what shares a scale,
    `scales` any or power: whether scales of weights and stations are powers of two, `seed` is that of the samples,
    `quantile` the share of activations that calibration keeps within the range of a station. `correct` says whether
    biases take back what quantized weights shift the means of sums on calibration samples.
    """

    method: Method = "int8"
    samples: float = 1.0
    sampling: Sampling = "systematic"
    per: Literal["tensor", "unit"] = "tensor"
    scales: Literal["any", "power"] = "any"
    seed: int = 0
    quantile: float = 1.0
    correct: bool = True


def quantize_values(
    values: NDArray[Any], units: NDArray[np.int64], count: int, settings: Settings
) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """Integers [n] of values [n], and their scale: [1], or [count] with one for each unit that `units` [n] names.

    Scales of units without weights are 1. All values are finite, and one of them not zero. Samples are drawn unit by
    unit; one scale for all needs no `units` ([0]) where the values lie so.
    """
    if settings.per == "tensor":
        step = _tensor_step(values, settings)
        if settings.method in LARGEST:
            return _nearest(values, step, settings), np.array([step])
        drawn = _drawn(values, units, step, settings)
        return _finished(values, drawn, np.zeros(len(values), np.int64), np.array([step]), settings)
    steps = _unit_steps(values, units, count, settings)
    if settings.method in LARGEST:
        return _nearest(values, steps[units], settings), steps
    expected = np.abs(values) / steps[units]
    counts = sample_groups(expected, units, settings.sampling, settings.seed, values < 0)
    return _finished(values, np.where(values < 0, -counts, counts), units, steps, settings)


def fit_values(values: NDArray[Any], steps: NDArray[np.float64], settings: Settings) -> NDArray[Any]:
    """Integers of values at scales that are given, [n] each: to the nearest, within the range of the method."""
    limit = {"ternary": 1, "int4": 7}.get(settings.method, 127)
    return np.clip(np.rint(values / steps), -limit, limit).astype(np.int8)


def _drawn(values: NDArray[Any], units: NDArray[np.int64], step: float, settings: Settings) -> NDArray[Any]:
    total = max(1, round(float(np.sum(np.abs(values), dtype=np.float64)) / step))
    if not len(units):
        return sample_weights(values, total, settings.sampling, settings.seed)
    order = np.argsort(units, kind="stable")
    counts = sample_weights(values[order], total, settings.sampling, settings.seed)
    result = np.empty_like(counts)
    result[order] = counts
    return result


def _tensor_step(values: NDArray[Any], settings: Settings) -> float:
    if settings.method in LARGEST:
        step = float(np.max(np.abs(values))) / LARGEST[settings.method]
    else:
        samples = max(1, round(settings.samples * len(values)))
        step = float(np.sum(np.abs(values), dtype=np.float64)) / samples
    return power_of_two(step).value if settings.scales == "power" else step


def _unit_steps(values: NDArray[Any], units: NDArray[np.int64], count: int, settings: Settings) -> NDArray[np.float64]:
    sizes = np.abs(values).astype(np.float64)
    if settings.method in LARGEST:
        steps = np.zeros(count)
        np.maximum.at(steps, units, sizes)
        steps /= LARGEST[settings.method]
    else:
        samples = np.maximum(1, np.rint(settings.samples * np.bincount(units, minlength=count)))
        steps = np.bincount(units, weights=sizes, minlength=count) / samples
    steps = np.where(steps > 0, steps, 1.0)
    return np.array([power_of_two(s).value for s in steps]) if settings.scales == "power" else steps


def _nearest(values: NDArray[Any], steps: NDArray[np.float64] | float, settings: Settings) -> NDArray[Any]:
    limit = LARGEST[settings.method]
    return np.clip(np.rint(values / steps), -limit, limit).astype(np.int8)


def _finished(
    values: NDArray[Any],
    drawn: NDArray[Any],
    units: NDArray[np.int64],
    steps: NDArray[np.float64],
    settings: Settings,
) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """The samples as they are, or for ternary weights their signs, with the scale of least squares."""
    if settings.method != "ternary":
        return drawn, steps
    signs = np.sign(drawn).astype(np.int8)
    hits = np.bincount(units, weights=np.abs(signs), minlength=len(steps))
    sums = np.bincount(units, weights=np.abs(values) * np.abs(signs), minlength=len(steps))
    means = np.divide(sums, hits, out=np.ones(len(steps)), where=hits > 0)
    if settings.scales == "power":
        means = np.array([power_of_two(m).value for m in means])
    return signs, means
