"""Train character-level language models on a text: hidden-to-hidden structures side by side at about equal weights.

$ python examples/train_text.py TEXT [--steps 200]

Each line shows the structure, its units and weights, the loss in bits per character on held-out text as training goes
on, and how often the gates are saturated (below 0.1 or above 0.9). Gradients go backwards through time in the float64
interpreter.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import pathc
from pathc.backends.llvm.training.optimizers import Adam
from pathc.ir.cost import cost
from pathc.ir.graph import Graph
from pathc.ir.init import initial_weights
from pathc.ir.interp import evaluate
from pathc.train.reference import ReferenceStepper
from pathc.train.stepper import CROSS_ENTROPY, Plan

MODELS = {"full": 32, "grouped(4)": 44, "band(9)": 50, "paths(count = 512)": 44, "diag": 54}
BATCH, LENGTH, REPORTS = 8, 32, 4


def model(recur: str, units: int, characters: int) -> Graph:
    """A gated recurrent unit between characters and the next character."""
    text = f"""pathc 1
input  now[{characters}]
layer  h[{units}] : bias | gru(recur = {recur})
output next[{characters}] : bias | softmax
dense main : now -> h -> next
"""
    return pathc.load(pathc.Source(f"{recur}.path", text))


def windows(
    text: NDArray[np.int64], starts: NDArray[np.int64], characters: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """One-hot sequences and the character that follows each step."""
    rows = text[starts[:, None] + np.arange(LENGTH + 1)]
    return np.eye(characters, dtype=np.float32)[rows[:, :-1]], rows[:, 1:]


def main() -> None:
    """Train each model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("text", type=Path, help="a text file")
    parser.add_argument("--steps", type=int, default=200)
    given = parser.parse_args()
    letters, text = np.unique(np.frombuffer(given.text.read_bytes(), np.uint8), return_inverse=True)
    held = max(len(text) // 10, LENGTH + 2)
    if len(text) < 2 * held:
        parser.error(f"{given.text} is too short: {len(text)} characters")
    watched = np.linspace(len(text) - held, len(text) - LENGTH - 2, 16).astype(np.int64)
    x_held, y_held = windows(text, watched, len(letters))
    for recur, units in MODELS.items():
        graph = model(recur, units, len(letters))
        stepper = ReferenceStepper(graph, initial_weights(graph), Plan(CROSS_ENTROPY, Adam(lr=0.01), BATCH))
        draw = np.random.default_rng(0)
        curve = [stepper.evaluate(x_held, y_held).loss / math.log(2)]
        for step in range(1, given.steps + 1):
            starts = draw.integers(0, len(text) - held - LENGTH - 1, BATCH)
            stepper.step(*windows(text, starts, len(letters)))
            if step % max(1, given.steps // REPORTS) == 0:
                curve.append(stepper.evaluate(x_held, y_held).loss / math.log(2))
        found = cost(graph)
        gates = evaluate(graph, stepper.weights(), x_held).cells["h"].gates[0]
        shut = {name: float(((gates[name] < 0.1) | (gates[name] > 0.9)).mean()) for name in ("r", "z")}
        losses = " ".join(f"{loss:.2f}" for loss in curve)
        saturated = ", ".join(f"{name} {share:.0%}" for name, share in shut.items())
        weights = found.weights + found.recurrent_weights + found.biases
        print(f"{recur:20} {units:3} units {weights:6} weights  bits {losses}  saturated {saturated}", flush=True)


if __name__ == "__main__":
    main()
