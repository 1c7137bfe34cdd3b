"""LeNet-5 and a small ResNet trained in PyTorch on MNIST, brought in as ONNX and quantized without training.

    python benchmarks/torch_filters.py --data mnist.npz [--epochs N] [--seeds N]

Both are trained by Adam and brought in by `pathc.torch.from_module`. The compiled nets are held to PyTorch's labels;
then come the methods of `pathc quantize`, every accuracy that of the compiled net on the 10,000 test samples: weights
alone in floats (`unsorted`: samples that go by the order of the weights, whatever their signs), and integers
throughout, stations calibrated on 128 training samples, without and with the means of sums given back. Behind a mean
over seeds stands the standard deviation. Times are medians, one thread. Last come nets of paths sampled from the
weights. Needs PyTorch, onnx and onnxscript.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch_nets import torch, trained

from pathc.backends.base import Request
from pathc.backends.llvm.backend import BACKEND
from pathc.ir.compress.montecarlo import sample_groups
from pathc.ir.compress.paths import sample_paths, write_units
from pathc.ir.compress.quantize import quantize
from pathc.ir.compress.report import bits_of, integer_accuracy
from pathc.ir.compress.tensors import Settings
from pathc.ir.cost import cost
from pathc.ir.graph import Graph
from pathc.ir.interp.junctions import float_tensors
from pathc.ir.weights import SCALE
from pathc.torch.bring import from_module
from pathc.train import load_data
from pathc.train.accuracy import compiled_integers

PATHS = (300, 1000, 3000, 10_000, 50_000)
CALIBRATION = 128
CASES = (
    Settings("int8"),
    Settings("int8", per="unit"),
    Settings("int4", per="unit"),
    Settings("mc", 4.0, per="unit"),
    Settings("mc", 2.0, per="unit"),
    Settings("mc", 1.0, per="unit"),
    Settings("ternary", 1.0, per="unit"),
)


def lenet() -> torch.nn.Module:
    """LeNet-5 with ReLU and max pools."""
    return torch.nn.Sequential(
        torch.nn.Conv2d(1, 6, 5, padding=2), torch.nn.ReLU(), torch.nn.MaxPool2d(2),
        torch.nn.Conv2d(6, 16, 5), torch.nn.ReLU(), torch.nn.MaxPool2d(2), torch.nn.Flatten(),
        torch.nn.Linear(400, 120), torch.nn.ReLU(), torch.nn.Linear(120, 84), torch.nn.ReLU(), torch.nn.Linear(84, 10),
    )  # fmt: skip


@dataclass(frozen=True)
class Data:
    """Samples that calibrate, [samples, units], and those that test, [samples, 1, 28, 28], with their labels."""

    rows: NDArray[np.float32]
    test: NDArray[np.float32]
    labels: NDArray[np.int64]


class Block(torch.nn.Module):
    """Two convolutions with batch norms, and what goes past them."""

    def __init__(self, channels: int, out: int, stride: int) -> None:
        super().__init__()
        self.first = torch.nn.Conv2d(channels, out, 3, stride, 1, bias=False)
        self.second = torch.nn.Conv2d(out, out, 3, 1, 1, bias=False)
        self.norms = torch.nn.ModuleList([torch.nn.BatchNorm2d(out), torch.nn.BatchNorm2d(out)])
        same = stride == 1 and channels == out
        self.past = torch.nn.Identity() if same else torch.nn.Conv2d(channels, out, 1, stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """relu(past(x) + norm(second(relu(norm(first(x))))))."""
        inner = self.norms[1](self.second(torch.relu(self.norms[0](self.first(x)))))
        return torch.relu(inner + self.past(x))


def resnet() -> torch.nn.Module:
    """A stem, three blocks of 16, 32 and 64 channels, the mean over all positions, ten outputs."""
    return torch.nn.Sequential(
        torch.nn.Conv2d(1, 16, 3, padding=1, bias=False), torch.nn.BatchNorm2d(16), torch.nn.ReLU(),
        Block(16, 16, 1), Block(16, 32, 2), Block(32, 64, 2),
        torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(64, 10),
    )  # fmt: skip


def labels_of(graph: Graph, weights: dict[str, NDArray[Any]], x: NDArray[np.float32]) -> NDArray[np.int64]:
    """The labels that the compiled net gives."""
    net = BACKEND.compile(Request(graph, float_tensors(graph, weights)))
    return np.concatenate([net(x[k : k + 500]).argmax(axis=1) for k in range(0, len(x), 500)])


def in_turns(*calls: Any, rounds: int = 15) -> list[float]:
    """Median seconds of calls that take turns."""
    times: list[list[float]] = [[] for _ in calls]
    for _ in range(rounds):
        for call, found in zip(calls, times, strict=True):
            start = time.perf_counter()
            call()
            found.append(time.perf_counter() - start)
    return [float(np.median(found)) for found in times]


def unsorted(graph: Graph, weights: dict[str, NDArray[Any]], settings: Settings) -> dict[str, NDArray[Any]]:
    """Monte Carlo weights whose samples go by the order of the weights, whatever their signs; one scale a unit."""
    tensors = dict(weights)
    for line in graph.lines:
        for number in line.junctions if line.kind == "dense" else ():
            values = np.asarray(weights[f"{line.name}.{number}"], np.float64)
            sizes = np.abs(values).reshape(len(values), -1)
            steps = sizes.sum(axis=1) / np.rint(settings.samples * sizes.shape[1])
            units = np.repeat(np.arange(len(values)), sizes.shape[1])
            counts = sample_groups((sizes / steps[:, None]).reshape(-1), units, settings.sampling, settings.seed)
            made = np.sign(values) * counts.reshape(values.shape) * steps.reshape(-1, *(1,) * (values.ndim - 1))
            tensors[f"{line.name}.{number}"] = made.astype(np.float32)
    return tensors


def compare(name: str, module: torch.nn.Module, data: Data, seeds: int) -> None:
    """Print what was brought in, held to PyTorch, then what every method leaves of it."""
    graph, weights = from_module(module, torch.zeros(2, 1, 28, 28))
    with torch.inference_mode():
        parts = [module(torch.from_numpy(data.test[k : k + 500])) for k in range(0, len(data.test), 500)]
        said = torch.cat(parts).argmax(1).numpy()
    other = int((labels_of(graph, weights, data.test) != said).sum())
    print(f"{name}: {cost(graph).weights:,} weights, {other} labels unlike PyTorch's")
    few = np.ascontiguousarray(data.test[:256])
    bound = BACKEND.compile(Request(graph, weights, {"threads": 1})).bind(few)
    torch.set_num_threads(1)
    with torch.inference_mode():
        ours, theirs = in_turns(bound.call, lambda: module(torch.from_numpy(few)))
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    print(f"  batch of 256: {1e3 * ours:.2f} ms, PyTorch {theirs / ours:.2f}x as long")
    measure(graph, weights, data, seeds)


def measure(graph: Graph, weights: dict[str, NDArray[Any]], data: Data, seeds: int) -> None:
    """Points that every method loses, mean and spread over seeds of the samples, then times and sampled paths."""
    accuracy = 100 * float((labels_of(graph, weights, data.test) == data.labels).mean())
    print(
        f"  {accuracy:.2f}% in floats; points lost by weights alone, by integers throughout, by these with their means"
    )
    for settings in CASES:
        drawn = settings.method in ("mc", "ternary")
        lost: dict[str, list[float]] = {}
        for seed in range(seeds if drawn else 1):
            own = replace(settings, seed=seed)
            tensors = quantize(graph, weights, own).tensors
            floats = {"weights": tensors}
            if settings.method == "mc":
                floats["unsorted"] = unsorted(graph, weights, own)
            for kind, found in floats.items():
                reached = 100 * float((labels_of(graph, found, data.test) == data.labels).mean())
                lost.setdefault(kind, []).append(accuracy - reached)
            for kind, correct in (("integers", False), ("means", True)):
                result = quantize(graph, weights, replace(own, correct=correct), data.rows)
                reached = integer_accuracy(
                    result, data.test.reshape(len(data.test), -1), data.labels, compiled_integers
                )
                lost.setdefault(kind, []).append(accuracy - reached)
        made = [tensor for n, tensor in tensors.items() if n + SCALE in tensors]
        count = sum(tensor.size for tensor in made)
        bits = sum(tensor.size * bits_of(tensor) for tensor in made) / count
        hit = 100 * sum(int((tensor != 0).sum()) for tensor in made) / count
        label = f"mc K={settings.samples:g}" if settings.method == "mc" else settings.method
        spread = "  ".join(f"{kind} {np.mean(part):+.2f} ({np.std(part):.2f})" for kind, part in lost.items())
        print(f"  {label:8} per {settings.per:6} {bits:5.2f} bits {hit:6.2f}% hit  {spread}", flush=True)
    result = quantize(graph, weights, Settings(per="unit"), data.rows)
    for batch in (1, 256):
        few = np.ascontiguousarray(data.test[:batch])
        options = {"threads": 1}
        floats_ = BACKEND.compile(Request(graph, weights, options)).bind(few)
        request = Request(result.graph, {}, {**options, "integers": True}, stored=result.tensors)
        ours, theirs = in_turns(BACKEND.compile(request).bind(few).call, floats_.call, rounds=15 if batch > 1 else 200)
        print(f"  batch of {batch}: integers {1e6 * ours:.1f} us, {theirs / ours:.2f}x as fast as float32")
    with tempfile.TemporaryDirectory() as folder:
        for paths in PATHS:
            drawn_ = sample_paths(graph, weights, paths, str(Path(folder) / f"{paths}.npz"))
            write_units(drawn_)
            reached = 100 * float((labels_of(drawn_.graph, drawn_.tensors, data.test) == data.labels).mean())
            print(f"  {paths:7,} paths, {100 * drawn_.share:6.2f}% of the weights on them: {reached:.2f}%", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default=os.environ.get("PATHC_MNIST", ""), help="mnist.npz (default: $PATHC_MNIST)")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--seeds", type=int, default=3, help="seeds of the samples of Monte Carlo weights")
    arguments = parser.parse_args()
    if not arguments.data:
        print("no MNIST: name a file with --data, or in PATHC_MNIST")
        return
    arrays = load_data(arguments.data).arrays
    x, test = (arrays[f"x_{part}"].astype(np.float32).reshape(-1, 1, 28, 28) / 255 for part in ("train", "test"))
    for make in (lenet, resnet):
        torch.manual_seed(0)
        module = make()
        trained(module, torch.from_numpy(x), torch.from_numpy(arrays["y_train"].astype(np.int64)), arguments.epochs)
        rows = x[:CALIBRATION].reshape(CALIBRATION, -1)
        compare(make.__name__, module, Data(rows, test, arrays["y_test"].astype(np.int64)), arguments.seeds)


if __name__ == "__main__":
    main()
