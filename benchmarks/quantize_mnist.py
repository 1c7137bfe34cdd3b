"""MNIST nets quantized without training: accuracy over bits and over the share of weights that samples hit.

    python benchmarks/quantize_mnist.py --data mnist.npz [--epochs N] [--weights 100000000]

Trains the dense 784-300-300-10 and the sparse net of examples/mnist.path, then quantizes them by every method, stations
calibrated on 1000 training samples; accuracies are those of integer arithmetic on the 10,000 test samples. The last
line is the time that Monte Carlo quantization of `--weights` normal float32 weights takes on one core.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pathc.driver import load
from pathc.ir.compress.montecarlo import sample_weights
from pathc.ir.compress.quantize import quantize
from pathc.ir.compress.report import accuracy_of, bits_of, integer_accuracy
from pathc.ir.compress.tensors import Settings as Numbers
from pathc.ir.graph import Graph
from pathc.ir.weights import Tensors
from pathc.train import Settings, load_data, train
from pathc.train.samples import Samples, split_for

EXAMPLES = Path(__file__).parent.parent / "examples"
CASES = (
    Numbers("int8"),
    Numbers("int8", per="unit", scales="power"),
    Numbers("int4", per="unit"),
    Numbers("mc", 4.0),
    Numbers("mc", 2.0),
    Numbers("mc", 1.0),
    Numbers("mc", 1.0, "stratified"),
    Numbers("mc", 1.0, "sobol"),
    Numbers("mc", 1.0, "independent"),
    Numbers("mc", 0.5),
    Numbers("ternary", 1.0, per="unit"),
)


def table(name: str, graph: Graph, weights: Tensors, calibration: NDArray[np.float32], test: Samples) -> None:
    """Print what every method leaves of a trained net: bits, share of weights hit, points of accuracy lost."""
    floats = accuracy_of(graph, weights, test.rows, test.labels)
    print(f"{name}: floats {floats:.2f}%")
    for numbers in CASES:
        result = quantize(graph, weights, numbers, calibration)
        line = [t for n, t in result.tensors.items() if n in weights and not n.endswith(".bias")]
        count = sum(t.size for t in line)
        bits = sum(t.size * bits_of(t) for t in line) / count
        hit = 100 * sum(int((t != 0).sum()) for t in line) / count
        drop = floats - integer_accuracy(result, test.rows, test.labels)
        mc = f"mc K={numbers.samples:g} {numbers.sampling}" if numbers.method == "mc" else numbers.method
        print(f"  {mc:24} per {numbers.per:6} {bits:5.2f} bits  {hit:6.2f}% hit  {drop:+.2f} points lost")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default=os.environ.get("PATHC_MNIST", ""), help="mnist.npz (default: $PATHC_MNIST)")
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--weights", type=int, default=100_000_000)
    arguments = parser.parse_args()
    if arguments.data:
        data = load_data(arguments.data)
        for model in ("mnist_dense", "mnist"):
            graph = load(EXAMPLES / f"{model}.path")
            split = split_for(graph, data)
            weights = train(graph, data, Settings(epochs=arguments.epochs)).weights
            test = split.test or split.train
            table(model, graph, weights, split.train.rows[:1000], test)
    else:
        print("no MNIST: name a file with --data, or in PATHC_MNIST")
    values = np.random.default_rng(0).standard_normal(arguments.weights, dtype=np.float32)
    start = time.perf_counter()
    sample_weights(values, len(values))
    print(f"{arguments.weights:,} weights in {time.perf_counter() - start:.2f} s")


if __name__ == "__main__":
    main()
