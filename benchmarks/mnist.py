"""Epochs of MNIST: sparse nets trained by pathc beside the dense 784-300-300-10 trained by PyTorch and by pathc.

    python benchmarks/mnist.py --data mnist.npz [--paths P,...] [--batch N] [--epochs N]

One thread each, Adam everywhere, all samples in random order, and handing out the batches counts. PyTorch gets its
batches in the fastest way it has: a tensor of all samples, indexed. Contenders take turns, epoch by epoch, so that a
slow spell hits all; the figure is the fastest epoch of each, the first left out. PyTorch is left out if it is missing.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from pathc.driver import load
from pathc.train import Dataset, Settings, load_data, train
from pathc.train.samples import split_for

EXAMPLES = Path(__file__).parent.parent / "examples"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default=os.environ.get("PATHC_MNIST", ""), help="mnist.npz (default: $PATHC_MNIST)")
    parser.add_argument("--paths", default="1024,4096,16384,32768", help="numbers of paths")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--epochs", type=int, default=4)
    arguments = parser.parse_args()
    if not arguments.data:
        print("skipped: name a file with --data, or in PATHC_MNIST")
        return
    data = load_data(arguments.data)
    settings = Settings(epochs=1, batch=arguments.batch)
    contenders: dict[str, Callable[[], float]] = {}
    for model in ("mnist", "mnist_pow2"):
        for paths in arguments.paths.split(","):
            contenders[f"{model} P={paths}"] = ours(f"{model}.path", data, settings, P=paths)
    contenders["mnist_dense"] = ours("mnist_dense.path", data, settings)
    peer = torch_dense(data, arguments.batch)
    if peer is not None:
        contenders["dense, PyTorch"] = peer
    seconds = {name: min(times) for name, times in measured(contenders, arguments.epochs).items()}
    reference = seconds.get("dense, PyTorch")
    print(f"fastest epoch of {arguments.epochs}, batch {arguments.batch}")
    for name, fastest in seconds.items():
        ratio = f"{reference / fastest:6.1f} x" if reference is not None else ""
        print(f"{name:24} {fastest:8.3f} s {ratio}")


def measured(contenders: dict[str, Callable[[], float]], epochs: int) -> dict[str, list[float]]:
    """Seconds of every epoch but the first."""
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for epoch in range(epochs + 1):
        for name, run in contenders.items():
            seconds = run()
            if epoch:
                times[name].append(seconds)
    return times


def ours(model: str, data: Dataset, settings: Settings, **sets: str) -> Callable[[], float]:
    graph = load(EXAMPLES / model, sets or None)
    return lambda: train(graph, data, settings).history[0]["seconds"]


def torch_dense(data: Dataset, batch: int) -> Callable[[], float] | None:
    """A dense epoch in PyTorch; None where it is not installed."""
    try:
        torch: Any = import_module("torch")
    except ImportError:
        print("PyTorch is not installed, so there is nothing to compare with")
        return None
    torch.set_num_threads(1)
    samples = split_for(load(EXAMPLES / "mnist_dense.path"), data).train
    x, y = torch.from_numpy(samples.rows), torch.from_numpy(samples.labels)
    nn = torch.nn
    net = nn.Sequential(
        nn.Linear(784, 300, bias=False), nn.ReLU(), nn.Linear(300, 300, bias=False), nn.ReLU(),
        nn.Linear(300, 10, bias=False),
    )  # fmt: skip
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)

    def batches() -> Iterator[Any]:
        order = torch.randperm(len(x))
        yield from order.split(batch)

    def run() -> float:
        start = time.perf_counter()
        for rows in batches():
            optimizer.zero_grad(set_to_none=True)
            nn.functional.cross_entropy(net(x[rows]), y[rows]).backward()
            optimizer.step()
        return time.perf_counter() - start

    return run


if __name__ == "__main__":
    main()
