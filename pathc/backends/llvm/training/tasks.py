"""What all phases of a program share: what it is to do, the context it reads, tasks on ranges of weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pathc.backends.llvm.emit import I64, Function

Loss = Literal["none", "cross-entropy", "mse"]
CONTEXT = (
    *("params", "acts", "x", "x_stride", "target", "target_stride", "count", "tiles", "numbers"),
    *("y", "y_stride", "dx", "dx_stride", "sums", "result", "pool", "mask", "aside"),
)
"""What the entry's one argument points at: 64-bit integers and addresses, strides in elements."""
TASK = (("ptr", "context"), (I64, "task"), (I64, "worker"))
WORK = 16384
"""Slots of a task, about."""


@dataclass(frozen=True)
class Variant:
    """What a program does: from `x` forwards, to a loss or to `y`; backwards to stored gradients or to a step.

    A `windowed` step takes the paths of a mask alone. `by_batch`, normalizations go by the statistics of the batch.
    With `renew`, copies of weights in bfloat16 are made anew and nothing else is done.
    """

    loss: Loss = "none"
    forward: bool = True
    backward: bool = False
    outputs: bool = False
    inputs: bool = False
    update: Literal["none", "store", "step"] = "none"
    windowed: bool = False
    by_batch: bool = False
    renew: bool = False


@dataclass(frozen=True)
class Task:
    """A kernel for a range of units of work; `units` in all, `grain` in one task."""

    kernel: str
    units: int
    grain: int


def given(f: Function, name: str) -> str:
    """A field of the context, as an address or a number."""
    number = CONTEXT.index(name)
    kind = I64 if name in ("count", "tiles") or name.endswith("stride") else "ptr"
    return f.load(kind, f.offset("%context", number, I64), 8)
