"""Nets trained in PyTorch on MNIST, brought in and made smaller without training: bits, share of weights, accuracy.

    python benchmarks/torch_nets.py --data mnist.npz [--epochs N]

An MLP 784-300-300-10 with ReLU, and one with batch norms and dropout, are trained by Adam in PyTorch and brought in by
their state dictionaries. Then come the table of `quantize_mnist.py` and nets of paths drawn from the trained weights.
Needs PyTorch.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from itertools import pairwise
from pathlib import Path

import numpy as np

try:
    import torch
except ModuleNotFoundError:
    print("PyTorch is not installed, nothing to measure: pip install 'pathc[torch]'")
    sys.exit(0)

from quantize_mnist import table

from pathc.exchange.states import import_state
from pathc.ir.compress.paths import sample_paths, write_units
from pathc.ir.compress.report import accuracy_of
from pathc.train import load_data
from pathc.train.samples import split_for

PATHS = (1 << 12, 1 << 14, 1 << 16, 1 << 18)
BATCH = 128


def plain() -> torch.nn.Module:
    """Three linear layers."""
    widths = (784, 300, 300)
    layers = [part for a, b in pairwise(widths) for part in (torch.nn.Linear(a, b), torch.nn.ReLU())]
    return torch.nn.Sequential(*layers, torch.nn.Linear(300, 10))


def normed() -> torch.nn.Module:
    """The same with batch norms in front of the activations, and dropout behind them."""
    layers: list[torch.nn.Module] = []
    for a, b in ((784, 300), (300, 300)):
        layers += [torch.nn.Linear(a, b), torch.nn.BatchNorm1d(b), torch.nn.ReLU(), torch.nn.Dropout(0.2)]
    return torch.nn.Sequential(*layers, torch.nn.Linear(300, 10))


def trained(module: torch.nn.Module, x: torch.Tensor, y: torch.Tensor, epochs: int) -> None:
    """Train in place."""
    optimizer = torch.optim.Adam(module.parameters(), lr=1e-3)
    for _ in range(epochs):
        for part in torch.randperm(len(x)).split(BATCH):
            loss = torch.nn.functional.cross_entropy(module(x[part]), y[part])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    module.eval()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default=os.environ.get("PATHC_MNIST", ""), help="mnist.npz (default: $PATHC_MNIST)")
    parser.add_argument("--epochs", type=int, default=6)
    arguments = parser.parse_args()
    if not arguments.data:
        print("no MNIST: name a file with --data, or in PATHC_MNIST")
        return
    data = load_data(arguments.data)
    with tempfile.TemporaryDirectory() as folder:
        for make in (plain, normed):
            torch.manual_seed(0)
            module, file = make(), Path(folder) / f"{make.__name__}.pt"
            torch.save(module.state_dict(), file)
            split = split_for(import_state(file)[0], data)
            labels = torch.from_numpy(np.asarray(split.train.labels, np.int64))
            trained(module, torch.from_numpy(split.train.rows), labels, arguments.epochs)
            torch.save(module.state_dict(), file)
            graph, weights = import_state(file)
            test = split.test or split.train
            with torch.no_grad():
                said = module(torch.from_numpy(test.rows)).argmax(1).numpy()
            print(f"{make.__name__} in PyTorch: {100 * np.mean(said == test.labels):.2f}%")
            table(f"{make.__name__}, brought in", graph, weights, split.train.rows[:1000], test)
            for count in PATHS:
                units = Path(folder) / f"{count}.npz"
                drawn = sample_paths(graph, weights, count, str(units))
                write_units(drawn)
                reached = accuracy_of(drawn.graph, drawn.tensors, test.rows, test.labels)
                print(f"  {count:7} paths drawn, {100 * drawn.share:6.2f}% of the weights on them: {reached:.2f}%")


if __name__ == "__main__":
    main()
