"""Train digits.path on digits.npz with the float64 interpreter and Adam; writes digits.safetensors.

$ python examples/train_digits.py
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import pathc
from pathc.ir.init import initial_weights
from pathc.ir.interp import backward, forward
from pathc.ir.weights import save_weights

HERE = Path(__file__).parent
EPOCHS, BATCH, STEP, SEED = 30, 64, 3e-3, 0
BRIGHTEST = 16.0
FIRST = "main.1"
"""The junction that takes in the pixels: trained on 0 .. 1, stored for 0 .. 16."""

Values = NDArray[np.float64]


class Adam:
    """Kingma and Ba (2015) with the usual decay rates, for one tensor."""

    def __init__(self, values: Values) -> None:
        self.values, self.first, self.second, self.steps = values, np.zeros_like(values), np.zeros_like(values), 0

    def step(self, gradient: Values, size: float) -> None:
        """Move the values once."""
        self.steps += 1
        self.first += 0.1 * (gradient - self.first)
        self.second += 0.001 * (gradient**2 - self.second)
        mean, square = self.first / (1 - 0.9**self.steps), self.second / (1 - 0.999**self.steps)
        self.values -= size * mean / (np.sqrt(square) + 1e-8)


def main() -> None:
    """Train, tell the accuracy after every epoch, write the weights."""
    graph = pathc.load(HERE / "digits.path")
    data = np.load(HERE / "digits.npz")
    x, y = data["x_train"] / BRIGHTEST, data["y_train"]
    optimizers = {name: Adam(values.astype(np.float64)) for name, values in initial_weights(graph, SEED).items()}
    weights = {name: optimizer.values for name, optimizer in optimizers.items()}
    rng = np.random.default_rng(SEED)
    for epoch in range(EPOCHS):
        order = rng.permutation(len(x))
        size = STEP * 0.5 * (1 + np.cos(np.pi * epoch / EPOCHS))
        for start in range(0, len(x), BATCH):
            rows = order[start : start + BATCH]
            probability = forward(graph, weights, x[rows])
            picked = np.arange(len(rows)), y[rows]
            gradient = np.zeros_like(probability)
            gradient[picked] = -1.0 / np.maximum(probability[picked], 1e-30) / len(rows)
            _, gradients = backward(graph, weights, x[rows], gradient)
            for name, optimizer in optimizers.items():
                optimizer.step(gradients[name], size)
        accuracy = (forward(graph, weights, data["x_test"] / BRIGHTEST).argmax(axis=1) == data["y_test"]).mean()
        print(f"epoch {epoch + 1:2}: {accuracy:.2%} of the test set")
    stored = {name: (v / BRIGHTEST if name == FIRST else v).astype(np.float32) for name, v in weights.items()}
    save_weights(HERE / "digits.safetensors", stored, metadata={"data": "digits.npz", "epochs": str(EPOCHS)})


if __name__ == "__main__":
    main()
