"""Nets driven by events beside kernels that read every unit: time a sample, activity, accuracy, by sampling rates.

    python benchmarks/events.py --data mnist.npz [--epochs 2] [--samples 2000]

The nets are trained on MNIST first. Both kinds of kernels take one sample after the other on one thread; `faster` is
the time of the usual kernel for one sample over that of events in the same run, `used` the share of the units of the
input and of the hidden layers that sent something.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import numpy as np
from _timing import in_turns, repeated
from numpy.typing import NDArray

import pathc
from pathc.backends.llvm.events.executable import EventExecutable
from pathc.backends.llvm.executable import CpuExecutable
from pathc.train import Settings, load_data, train
from pathc.train.samples import split_for

EXAMPLES = Path(__file__).parent.parent / "examples"
MODELS = ("mnist_dense", "mnist_pow2", "mnist")
RATES = (0.0, 1.0, 0.5, 0.2, 0.05)


def accuracy(outputs: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
    """Percentage of right labels."""
    return 100.0 * float((outputs.argmax(axis=1) == labels).mean())


def main() -> None:
    """Train, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default=os.environ.get("PATHC_MNIST", ""), help="mnist.npz (default: $PATHC_MNIST)")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--samples", type=int, default=2000)
    parser.add_argument("--seconds", type=float, default=3.0, help="time for the figures of a net")
    options = parser.parse_args()
    data = load_data(options.data)
    for model in MODELS:
        graph = pathc.load(EXAMPLES / f"{model}.path")
        split = split_for(graph, data)
        weights = train(graph, data, Settings(epochs=options.epochs)).weights
        test = split.test or split.train
        x = np.ascontiguousarray(test.rows[: options.samples], np.float32)
        labels = test.labels[: options.samples]
        usual = pathc.compile(graph, "llvm{threads=1}", weights=weights, batch=1)
        assert isinstance(usual, CpuExecutable)
        nets: dict[float, EventExecutable] = {}
        for rate in RATES:
            target = f"llvm{{events=true, rate={rate}}}" if rate else "llvm{events=true}"
            net = pathc.compile(graph, target, weights=weights)
            assert isinstance(net, EventExecutable)
            nets[rate] = net
        runs = {"usual": repeated(usual.bind(x).call)}
        runs |= {str(rate): repeated(net.bind(x).call) for rate, net in nets.items()}
        times = in_turns(runs, options.seconds)
        print(f"{model}: {times['usual'] / len(x) * 1e6:.2f} us a sample, {accuracy(usual(x), labels):.2f}%")
        for rate, net in nets.items():
            net.activity(1)
            right = accuracy(net(x), labels)
            used = ", ".join(f"{name} {100 * each.used:.0f}%" for name, each in net.activity(len(x)).items())
            best = times[str(rate)]
            drawn = f"rate {rate:g}" if rate else "zeros skipped"
            faster = f"{times['usual'] / best:5.2f}x faster"
            print(f"  {drawn:14} {best / len(x) * 1e6:8.2f} us  {faster}  {right:6.2f}%  used: {used}")


if __name__ == "__main__":
    main()
