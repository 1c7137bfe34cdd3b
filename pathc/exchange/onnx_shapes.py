"""Nodes of an ONNX model that compute shapes and states of zeros: exporters write many beside recurrences."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_PLUMBING = ("Gather", "Unsqueeze", "Squeeze", "Concat", "Cast", "Slice", "Expand", "ConstantOfShape", "Mul", "Add")


@dataclass(frozen=True)
class Sideline:
    """Values that depend on shapes and constants alone, those of them that are zero, and what operators are unknown."""

    values: frozenset[str]
    zeros: frozenset[str]
    unknown: Counter[str]


def sideline(
    nodes: Collection[Any], constants: Mapping[str, NDArray[Any]], known: Collection[str], attribute: Any
) -> Sideline:
    """Go through the nodes in order; `attribute` decodes one of a node, `known` are operators that compute values.

    A product or sum of constants is left to the importer, which folds neither.
    """
    values: set[str] = set()
    zeros = {name for name, array in constants.items() if array.size and not np.any(array)}
    unknown: Counter[str] = Counter()
    for node in nodes:
        kind = str(node.op_type)
        inputs = [str(name) for name in node.input if name]
        aside = all(name in values or name in constants for name in inputs) and any(name in values for name in inputs)
        if kind == "Shape" or (kind in _PLUMBING and (aside or (kind not in known and _constant(inputs, constants)))):
            values.update(str(name) for name in node.output)
            if _is_zero(kind, inputs, node, zeros, attribute):
                zeros.update(str(name) for name in node.output)
        elif kind not in known:
            unknown[kind] += 1
    return Sideline(frozenset(values), frozenset(zeros), unknown)


def _constant(inputs: list[str], constants: Mapping[str, NDArray[Any]]) -> bool:
    return all(name in constants for name in inputs)


def _is_zero(kind: str, inputs: list[str], node: Any, zeros: set[str], attribute: Any) -> bool:
    if kind == "ConstantOfShape":
        return not any(np.any(attribute(each)) for each in node.attribute if each.name == "value")
    return kind in ("Expand", "Slice", "Unsqueeze", "Squeeze", "Cast") and inputs[0] in zeros
