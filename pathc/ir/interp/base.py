"""What every junction offers: forward, backward, and the gradient of its weights.

Everything is float64, values are [batch, units].
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from copy import copy

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]


class Junction(ABC):
    """The step of a line from one station to the next.

    `tensor` names its weights, "" if it has none; `source` and `destination` name the stations. `factor` is the scale
    of its line, which the weights it is given have been multiplied by.
    """

    tensor: str
    source: str
    destination: str
    factor: float = 1.0

    @abstractmethod
    def push(self, values: Values, weights: Values) -> Values:
        """Sums at the destination, [batch, units of the destination]."""

    @abstractmethod
    def pull(self, gradient: Values, weights: Values) -> Values:
        """Gradient with respect to the source's values, [batch, units of the source]."""

    @abstractmethod
    def weight_gradient(self, values: Values, gradient: Values) -> Values:
        """Gradient with respect to the weights, summed over the batch; shape of the tensor."""

    @abstractmethod
    def fan_in(self) -> NDArray[np.int64]:
        """Terms that each unit of the destination receives."""

    @property
    def destinations(self) -> Callable[[], NDArray[np.int64]] | None:
        """Gives the unit that each weight leads to, [paths]; None where the tensor's first axis is that of units."""
        return None

    def between(self, source: str, destination: str) -> Junction:
        """The same junction, with the same weights, between two other stations of the same shapes."""
        moved = copy(self)
        object.__setattr__(moved, "source", source)
        object.__setattr__(moved, "destination", destination)
        return moved
