"""Timing one call: enough repetitions for a steady median, and a check on how busy the machine is."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

NOISE = 0.1
"""Spread of the calibration's times above which a machine counts as busy."""

_SAMPLE_SECONDS = 2e-4
_FEWEST, _MOST = 5, 400
_CALIBRATION_SAMPLES = 15


@dataclass(frozen=True)
class Timing:
    """Seconds of one call. `spread` is the distance between the quartiles over the median; `samples` were taken."""

    median: float
    least: float
    spread: float
    samples: int


def time_call(call: Callable[[], object], seconds: float = 0.5) -> Timing:
    """Time a call that takes no arguments for about `seconds`; short calls are repeated inside each sample."""
    call()
    repeats, once = 1, _sample(call, 1)
    while once * repeats < _SAMPLE_SECONDS:
        repeats = max(2 * repeats, min(64 * repeats, int(_SAMPLE_SECONDS / max(once, 1e-9))))
        once = _sample(call, repeats)
    count = min(_MOST, max(_FEWEST, int(seconds / (once * repeats))))
    return summary([_sample(call, repeats) for _ in range(count)])


def calibrate() -> Timing:
    """Time a fixed piece of arithmetic that stays in the first-level cache: its spread is the machine's, not ours."""
    values = np.linspace(0.0, 1.0, 2048, dtype=np.float32)
    out = np.empty_like(values)

    def work() -> None:
        for _ in range(100):
            np.multiply(values, values, out=out)

    work()
    return summary([_sample(work, 1) for _ in range(_CALIBRATION_SAMPLES)])


def _sample(call: Callable[[], object], repeats: int) -> float:
    started = time.perf_counter()
    for _ in range(repeats):
        call()
    return (time.perf_counter() - started) / repeats


def summary(times: list[float]) -> Timing:
    """Median, minimum and spread of at least two times."""
    middle = statistics.median(times)
    low, _, high = statistics.quantiles(times, n=4)
    return Timing(middle, min(times), (high - low) / middle if middle else 0.0, len(times))
