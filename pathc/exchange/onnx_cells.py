"""Recurrent cells of ONNX models, and what joins their directions."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pathc.exchange.draft import Direction, Draft

CELLS = ("RNN", "LSTM", "GRU")
JOINS = ("Transpose", "Squeeze")
_ORDER = {"RNN": (0,), "LSTM": (0, 2, 3, 1), "GRU": (1, 0, 2)}
"""Where ONNX keeps the gates of a cell, in pathc's order: of i o f c the gates i f g o, of z r h the gates r z n."""
_USUAL = {"RNN": ["tanh"], "LSTM": ["sigmoid", "tanh", "tanh"], "GRU": ["sigmoid", "tanh"]}


def order_of(kind: str) -> tuple[int, ...]:
    """Numbers of pathc's gates in the order in which ONNX keeps those of a cell."""
    return tuple(sorted(range(len(_ORDER[kind])), key=_ORDER[kind].__getitem__))


def bring_cell(
    draft: Draft, kind: str, inputs: list[str], outputs: list[str], options: dict[str, Any], zeros: Collection[str]
) -> str:
    """Add the cell of a node; returns why it cannot be brought in, or nothing.

    `inputs` are X, W, R, B, lengths, initial states and peepholes, `zeros` the values that are known to be zero.
    """
    x, w, r, b, lengths, *states = [*inputs, *[""] * 8][:8]
    weights, recurrent = draft.constants.get(w), draft.constants.get(r)
    if x not in draft.at or weights is None or recurrent is None or (b and b not in draft.constants):
        return "its weights are no constants"
    if lengths or any(name and name not in zeros for name in states):
        return "only sequences of equal length that begin with a state of zeros, without peepholes, have a counterpart"
    if any(draft.readers[name] for name in outputs[1:]) or not outputs[0]:
        return "its last state is read; all steps of its first output can be"
    why, words = _options(kind, options)
    if why:
        return why
    sides, rows, width = weights.shape
    hidden, gates = recurrent.shape[2], len(_ORDER[kind])
    if width != draft.sizes[draft.at[x]] or rows != gates * hidden or recurrent.shape != (sides, rows, hidden):
        return "its weights do not fit each other"
    biases = draft.constants[b] if b else np.zeros((sides, 2 * rows), np.float32)
    directions: list[Direction] = []
    for side in range(sides):
        outer, inner = (_gates(kind, part, hidden) for part in np.split(biases[side], 2))
        if kind == "GRU" and not words and np.any(inner[2]):
            return (
                "its new gate has a bias inside the product with the reset gate, which has no counterpart; "
                "train it with linear_before_reset = 0, or with that bias at zero"
            )
        directions.append(
            Direction(_gates(kind, weights[side], hidden), _gates(kind, recurrent[side], hidden), outer + inner)
        )
    draft.at[outputs[0]] = draft.cell(draft.at[x], kind.lower(), directions, **words)
    return ""


def _gates(kind: str, rows: NDArray[Any], hidden: int) -> NDArray[np.float32]:
    parts = rows.astype(np.float32).reshape(len(_ORDER[kind]), hidden, *rows.shape[1:])
    return np.ascontiguousarray(parts[list(_ORDER[kind])])


def _options(kind: str, options: dict[str, Any]) -> tuple[str, dict[str, str]]:
    """Why the attributes have no counterpart, and the words of the stage that say what differs from the usual."""
    direction = _text(options.get("direction", "forward"))
    functions = [_text(name).lower() for name in options.get("activations", ())]
    sides = 2 if direction == "bidirectional" else 1
    if direction == "reverse" or options.get("layout", 0) or options.get("input_forget", 0) or "clip" in options:
        return "reverse, layout, input_forget and clip have no counterpart", {}
    if kind == "RNN" and functions == ["relu"] * sides:
        return "", {"activation": "relu"}
    if functions and functions != _USUAL[kind] * sides:
        return f"its activations are {', '.join(functions)}", {}
    return "", {"reset": "before"} if kind == "GRU" and not options.get("linear_before_reset", 0) else {}


def _text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def joined(kind: str, form: str, options: dict[str, Any], axes: list[int]) -> str:
    """The form of a value behind a node that only moves its axes; nothing if it does more than join directions.

    `sequence` is [steps, batch, units] or [batch, steps, units], `sides` [steps, directions, batch, units] as a cell
    writes it, `one side` the same with one direction, `turned` [steps, batch, directions, units].
    """
    permutation = list(options.get("perm", ()))
    if kind == "Transpose" and form == "sequence" and permutation == [1, 0, 2]:
        return "sequence"
    if kind == "Transpose" and form in ("sides", "one side") and permutation == [0, 2, 1, 3]:
        return "turned"
    if kind == "Squeeze" and form == "one side" and axes == [1]:
        return "sequence"
    return "sequence" if kind == "Reshape" and form == "turned" else ""
