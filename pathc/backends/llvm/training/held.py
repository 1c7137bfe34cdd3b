"""The batch of the last call: its addresses are known, so that the same arrays need not be looked at again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Held:
    """A batch that the call was pointed at, and the fields of the context that do so.

    It stays alive here, and with it its memory; what the owner may still change in place is compared.
    """

    x: NDArray[Any]
    target: NDArray[Any]
    fields: NDArray[np.int64]
    x_form: tuple[Any, ...]
    target_form: tuple[Any, ...]

    def same(self, x: NDArray[Any], target: NDArray[Any]) -> bool:
        """Whether these are the same arrays, unchanged in shape and type."""
        return x is self.x and target is self.target and _form(x) == self.x_form and _form(target) == self.target_form

    @classmethod
    def of(cls, x: NDArray[Any], target: NDArray[Any], fields: NDArray[np.int64]) -> Held:
        """The batch of these arrays."""
        return cls(x, target, fields, _form(x), _form(target))


def _form(array: NDArray[Any]) -> tuple[Any, ...]:
    return array.shape, array.strides, array.dtype
