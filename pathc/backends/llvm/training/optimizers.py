"""Optimizers as values: what they are called with, what they remember, and one step of each on a vector of weights."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from pathc.backends.llvm.emit import Function, suffix, vector

NUMBERS = 8
"""Float32 numbers an optimizer may read in a step."""


class Optimizer(ABC):
    """A rule that moves a weight along its gradient; `moments` names what it remembers for every weight."""

    moments: ClassVar[tuple[str, ...]] = ()
    lr: float
    weight_decay: float

    @abstractmethod
    def numbers(self, lr: float, step: int) -> tuple[float, ...]:
        """The numbers of step `step` (from 1) at learning rate `lr`, at most NUMBERS of them."""

    @abstractmethod
    def write(
        self, f: Function, lanes: int, numbers: Sequence[str], weight: str, gradient: str, moments: Sequence[str]
    ) -> tuple[str, tuple[str, ...]]:
        """Write one step; `numbers` are vectors. The new weight and moments."""

    def decayed(self, f: Function, lanes: int, decay: str, weight: str, gradient: str) -> str:
        """The gradient with that of the weight decay."""
        return f.fma(lanes, decay, weight, gradient) if self.weight_decay else gradient


@dataclass(frozen=True)
class Sgd(Optimizer):
    """w -= lr (g + weight_decay w)."""

    lr: float = 0.1
    weight_decay: float = 0.0

    def numbers(self, lr: float, step: int) -> tuple[float, ...]:
        """-lr and the weight decay."""
        return (-lr, self.weight_decay)

    def write(
        self, f: Function, lanes: int, numbers: Sequence[str], weight: str, gradient: str, moments: Sequence[str]
    ) -> tuple[str, tuple[str, ...]]:
        """Write one step."""
        gradient = self.decayed(f, lanes, numbers[1], weight, gradient)
        return f.fma(lanes, numbers[0], gradient, weight), ()


@dataclass(frozen=True)
class Momentum(Optimizer):
    """m = momentum m + g + weight_decay w;  w -= lr m."""

    moments: ClassVar[tuple[str, ...]] = ("momentum",)

    lr: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 0.0

    def numbers(self, lr: float, step: int) -> tuple[float, ...]:
        """-lr, the weight decay and the momentum."""
        return (-lr, self.weight_decay, self.momentum)

    def write(
        self, f: Function, lanes: int, numbers: Sequence[str], weight: str, gradient: str, moments: Sequence[str]
    ) -> tuple[str, tuple[str, ...]]:
        """Write one step."""
        gradient = self.decayed(f, lanes, numbers[1], weight, gradient)
        moved = f.fma(lanes, numbers[2], moments[0], gradient)
        return f.fma(lanes, numbers[0], moved, weight), (moved,)


@dataclass(frozen=True)
class Adam(Optimizer):
    """Adam with bias correction (Kingma and Ba, 2015); `decoupled` weight decay as by Loshchilov and Hutter (2019).

    g += weight_decay w unless decoupled;  m += (1 - beta1)(g - m);  v += (1 - beta2)(g g - v);
    w -= lr (m / (1 - beta1^t) / (sqrt(v / (1 - beta2^t)) + eps)), decoupled also lr weight_decay w. `eps` > 0.
    """

    moments: ClassVar[tuple[str, ...]] = ("first", "second")

    lr: float = 0.001
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    weight_decay: float = 0.0
    decoupled: bool = False

    def numbers(self, lr: float, step: int) -> tuple[float, ...]:
        """What `write` reads."""
        return (
            -lr / (1.0 - self.beta1**step),
            self.weight_decay,
            1.0 - self.beta1,
            1.0 - self.beta2,
            (1.0 - self.beta2**step) ** -0.5,
            self.eps,
            1.0 - lr * self.weight_decay,
        )

    def write(
        self, f: Function, lanes: int, numbers: Sequence[str], weight: str, gradient: str, moments: Sequence[str]
    ) -> tuple[str, tuple[str, ...]]:
        """Write one step."""
        kind = vector(lanes)
        size, decay, new_first, new_second, correction, eps, kept = numbers[:7]
        if self.decoupled and self.weight_decay:
            weight = f.op("fmul", kind, weight, kept)
        elif not self.decoupled:
            gradient = self.decayed(f, lanes, decay, weight, gradient)
        first = f.fma(lanes, new_first, f.op("fsub", kind, gradient, moments[0]), moments[0])
        square = f.op("fmul", kind, gradient, gradient)
        second = f.fma(lanes, new_second, f.op("fsub", kind, square, moments[1]), moments[1])
        root = f.call(kind, f"llvm.sqrt.{suffix(lanes)}", [(kind, second)])
        below = f.fma(lanes, root, correction, eps)
        return f.fma(lanes, size, f.op("fdiv", kind, first, below), weight), (first, second)
