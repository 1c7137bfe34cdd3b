"""LeNet-5 and a small ResNet trained in PyTorch on MNIST, brought in as ONNX and quantized without training.

    python benchmarks/torch_filters.py --data mnist.npz [--epochs N]

Both are trained by Adam and brought in by `pathc.torch.from_module`. The compiled nets are held
to PyTorch's labels; then come the methods of `pathc quantize`, every accuracy that of the compiled net on the 10,000
test samples. Times are those of a batch of 256, medians, one thread. Needs PyTorch, onnx and
onnxscript.
"""

from __future__ import annotations

import argparse
import os
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch_nets import torch, trained

from pathc.backends.base import Request
from pathc.backends.llvm.backend import BACKEND
from pathc.ir.compress.quantize import quantize
from pathc.ir.compress.report import bits_of
from pathc.ir.compress.tensors import Settings
from pathc.ir.cost import cost
from pathc.ir.graph import Graph
from pathc.ir.interp.junctions import float_tensors
from pathc.ir.weights import SCALE
from pathc.torch.bring import from_module
from pathc.train import load_data

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


def median(call: Any, rounds: int = 15) -> float:
    """Median seconds of a call."""
    times: list[float] = []
    for _ in range(rounds):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return float(np.median(times))


def compare(name: str, module: torch.nn.Module, x: NDArray[np.float32], y: NDArray[np.int64]) -> None:
    """Print what was brought in, and what every method leaves of it."""
    graph, weights = from_module(module, torch.zeros(2, 1, 28, 28))
    with torch.inference_mode():
        parts = [module(torch.from_numpy(x[k : k + 500])) for k in range(0, len(x), 500)]
        said = torch.cat(parts).argmax(1).numpy()
    found = labels_of(graph, weights, x)
    accuracy = 100 * float((found == y).mean())
    other = int((found != said).sum())
    print(f"{name}: {cost(graph).weights:,} weights, {accuracy:.2f}%, {other} labels unlike PyTorch's")
    few = np.ascontiguousarray(x[:256])
    bound = BACKEND.compile(Request(graph, weights, {"threads": 1})).bind(few)
    torch.set_num_threads(1)
    with torch.inference_mode():
        theirs = median(lambda: module(torch.from_numpy(few)))
    ours = median(bound.call)
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    print(f"  batch of 256: {1e3 * ours:.2f} ms, PyTorch {theirs / ours:.2f}x as long")
    for settings in CASES:
        tensors = quantize(graph, weights, settings).tensors
        made = [tensor for n, tensor in tensors.items() if n + SCALE in tensors]
        count = sum(tensor.size for tensor in made)
        bits = sum(tensor.size * bits_of(tensor) for tensor in made) / count
        hit = 100 * sum(int((tensor != 0).sum()) for tensor in made) / count
        lost = accuracy - 100 * float((labels_of(graph, tensors, x) == y).mean())
        label = f"mc K={settings.samples:g}" if settings.method == "mc" else settings.method
        print(
            f"  {label:8} per {settings.per:6} {bits:5.2f} bits  {hit:6.2f}% hit  {lost:+.2f} points lost", flush=True
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default=os.environ.get("PATHC_MNIST", ""), help="mnist.npz (default: $PATHC_MNIST)")
    parser.add_argument("--epochs", type=int, default=3)
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
        compare(make.__name__, module, test, arrays["y_test"].astype(np.int64))


if __name__ == "__main__":
    main()
