"""Train character-level language models on a text: hidden-to-hidden structures side by side at about equal weights.

$ python examples/train_text.py TEXT [--units 256] [--steps 400] [--batch 32] [--length 64]

The first model has a full matrix of so many units, the others as many units as give them about as many weights in all.
A first line for each shows the loss in bits a character on held-out text as training goes on. The second shows two
probes: how many values of the gates are saturated (below 0.1 or above 0.9), and how the activations of the units lie
between -1 and 1, in tenths of that range.
"""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import pathc
from pathc.backends.llvm.training.optimizers import Adam
from pathc.ir.cost import cost
from pathc.ir.graph import Graph
from pathc.ir.init import initial_weights
from pathc.ir.interp import evaluate
from pathc.train.stepper import CROSS_ENTROPY, Plan, stepper_for

MODELS = ("full", "grouped(4)", "band(21)", "paths(count = {eight})", "diag")
SHARES = {"full": 1.0, "grouped(4)": 0.25, "band(21)": 21.0, "paths(count = {eight})": 8.0, "diag": 1.0}
"""Weights of a matrix: of the first two times the square of the units, of the others times the units."""
REPORTS, WATCHED, BINS = 8, 16, 10


def model(recur: str, units: int, characters: int) -> Graph:
    """A gated recurrent unit between characters and the next character."""
    text = f"""pathc 1
input  now[{characters}]
layer  h[{units}] : bias | gru(recur = {recur.format(eight=8 * units)})
output next[{characters}] : bias | softmax
dense main : now -> h -> next
"""
    return pathc.load(pathc.Source(f"{recur}.path", text))


def units_for(recur: str, budget: float, characters: int) -> int:
    """Units of a model of about so many weights: of three gates, their inputs, and the outputs."""
    share, each = 3.0 * SHARES[recur], 4.0 * characters + 3.0
    if recur in ("full", "grouped(4)"):
        units = (math.sqrt(each * each + 4.0 * share * budget) - each) / (2.0 * share)
    else:
        units = budget / (each + share)
    return max(4, 4 * round(units / 4.0))


def windows(
    text: NDArray[np.int64], starts: NDArray[np.int64], characters: int, length: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """One-hot sequences and the character that follows each step."""
    rows = text[starts[:, None] + np.arange(length + 1)]
    return np.eye(characters, dtype=np.float32)[rows[:, :-1]], rows[:, 1:]


def probes(graph: Graph, weights: dict[str, NDArray[np.float32]], x: NDArray[np.float32]) -> str:
    """Saturated gates and the histogram of activations, in percent."""
    cell = evaluate(graph, weights, x).cells["h"]
    gates = {name: cell.gates[0][name] for name in ("r", "z")}
    shut = {name: float(((values < 0.1) | (values > 0.9)).mean()) for name, values in gates.items()}
    counts = np.histogram(cell.output, bins=BINS, range=(-1.0, 1.0))[0]
    saturated = ", ".join(f"{name} {share:.0%}" for name, share in shut.items())
    return f"saturated {saturated}   activations {' '.join(f'{100 * n / cell.output.size:.0f}' for n in counts)}"


def main() -> None:
    """Train each model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("text", type=Path, help="a text file")
    parser.add_argument("--units", type=int, default=256, help="of the model with a full matrix")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--length", type=int, default=64, help="characters of a sequence")
    parser.add_argument("--rate", type=float, default=3e-3)
    given = parser.parse_args()
    length = given.length
    letters, text = np.unique(np.frombuffer(given.text.read_bytes(), np.uint8), return_inverse=True)
    held = max(len(text) // 10, length + 2)
    if len(text) < 2 * held:
        parser.error(f"{given.text} is too short: {len(text)} characters")
    watched = np.linspace(len(text) - held, len(text) - length - 2, WATCHED).astype(np.int64)
    x_held, y_held = windows(text, watched, len(letters), length)
    every = max(1, given.steps // REPORTS)
    marks = " ".join(f"{step:5}" for step in range(0, given.steps + 1, every))
    print(f"{'bits a character after so many steps':46}{marks}")
    budget = 3.0 * given.units**2 + (4.0 * len(letters) + 3.0) * given.units
    for recur in MODELS:
        units = units_for(recur, budget, len(letters))
        graph = model(recur, units, len(letters))
        weights = initial_weights(graph)
        stepper, _ = stepper_for(graph, weights, Plan(CROSS_ENTROPY, Adam(lr=given.rate), given.batch))
        draw = np.random.default_rng(0)
        curve, seconds = [stepper.evaluate(x_held, y_held).loss / math.log(2)], 0.0
        for step in range(1, given.steps + 1):
            starts = draw.integers(0, len(text) - held - length - 1, given.batch)
            x, y = windows(text, starts, len(letters), length)
            begin = time.perf_counter()
            stepper.step(x, y)
            seconds += time.perf_counter() - begin
            if step % every == 0:
                curve.append(stepper.evaluate(x_held, y_held).loss / math.log(2))
        found = cost(graph)
        count = found.weights + found.recurrent_weights + found.biases
        name = recur.format(eight=8 * units)
        print(f"{name:21} {units:4} units {count:7} weights  {' '.join(f'{loss:5.2f}' for loss in curve)}")
        took = f"{1e3 * seconds / max(1, given.steps):.0f} ms a step"
        print(f"{took:21} {probes(graph, stepper.weights(), x_held)}", flush=True)


if __name__ == "__main__":
    main()
