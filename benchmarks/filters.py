"""Channel-path convolutions beside PyTorch's dense and grouped ones of the same shape, all in one run, one thread.

    python benchmarks/filters.py [--seconds S] [--train]

3x3 filters, as many channels out as in, `same` padding, ReLU. `fan-in` is the number of channels each channel hears;
PyTorch's grouped convolution has as many weights but keeps its groups apart. `peak` is the share of the multiply-add
peak that the timed kernel reaches. With `--train`, whole steps of nets: cross-entropy, gradients and Adam, beside
a dense net of the same channels. Without PyTorch only pathc is shown.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from _timing import in_turns, line, peak_call, repeated

from pathc.backends.base import Request
from pathc.backends.llvm.backend import BACKEND
from pathc.backends.llvm.training import Adam, Trainer
from pathc.frontend.api import load
from pathc.ir.init import initial_weights
from pathc.support.source import Source

try:
    import torch
except ModuleNotFoundError:
    torch = None

# Channels, paths, height and width, batch, further attributes of the line.
CASES: tuple[tuple[int, int, int, int, str], ...] = (
    (256, 4096, 32, 1, ""),
    (256, 4096, 32, 16, ""),
    (256, 4096, 14, 1, ""),
    (256, 4096, 7, 1, ""),
    (256, 4096, 32, 1, ", sequence = random"),
    (512, 8192, 16, 1, ""),
    (64, 1024, 32, 1, ""),
    (256, 16384, 32, 1, ""),
    (256, 65536, 32, 1, ""),
)


def ours(channels: int, count: int, extent: int, batch: int, more: str) -> tuple[Callable[[], object], int]:
    """The compiled convolution, and its multiply-adds."""
    text = (
        f"pathc 1\ninput x[{channels}, {extent}x{extent}]\noutput y[{channels}] : conv(3x3, pad = same) | relu\n"
        f"paths p : x -> y {{ count = {count}{more} }}"
    )
    graph = load(Source("case.path", text))
    made: Any = BACKEND.compile(Request(graph, initial_weights(graph), {"threads": 1}))
    x = np.random.default_rng(0).random((batch, channels, extent, extent), dtype=np.float32)
    return made.bind(x).call, made.plan.work * batch


def theirs(channels: int, extent: int, batch: int, groups: int) -> Callable[[], object]:
    """PyTorch's convolution."""
    assert torch is not None
    layer = torch.nn.Conv2d(channels, channels, 3, padding=1, bias=False, groups=groups)
    x = torch.rand(batch, channels, extent, extent)

    def run() -> object:
        assert torch is not None
        with torch.inference_mode():
            return torch.relu_(layer(x))

    return run


# What the layers are called: input channels and extent, then (channels, fan-in, pool) for each convolution.
NETS: tuple[tuple[str, tuple[int, int], tuple[tuple[int, int, bool], ...], int], ...] = (
    ("28x28: 16, 32 channels, fan-in 4", (1, 28), ((16, 1, True), (32, 4, True)), 128),
    ("32x32: 64, 64, 128 channels, fan-in 16", (3, 32), ((64, 3, False), (64, 16, True), (128, 16, True)), 64),
    ("16x16: 256, 256 channels, fan-in 16", (16, 16), ((256, 16, False), (256, 16, True)), 64),
)


def training(shape: tuple[int, int], layers: Sequence[tuple[int, int, bool]], batch: int) -> tuple[Any, int]:
    """A step of a net of 3x3 filters with normalizations, and the multiply-adds of its filters."""
    channels, extent = shape
    stations, lines = [f"input x[{channels}, {extent}x{extent}]"], list[str]()
    work, before = 0, "x"
    for k, (width, fan_in, pool) in enumerate(layers):
        pools = " | maxpool(2x2)" if pool else ""
        stations.append(f"layer h{k}[{width}] : conv(3x3, pad = same) | batchnorm | relu{pools}")
        kind, count = ("dense", "") if k == 0 else ("paths", f" {{ count = {width * fan_in} }}")
        lines.append(f"{kind} p{k} : {before} -> h{k}{count}")
        work += width * fan_in * 9 * extent * extent * (2 if k == 0 else 3)
        extent //= 2 if pool else 1
        before = f"h{k}"
    text = "\n".join(["pathc 1", *stations, "output y[10] : bias | softmax", *lines, f"dense q : {before} -> y"])
    graph = load(Source("net.path", text))
    trainer = Trainer(graph, initial_weights(graph), optimizer=Adam(lr=1e-3), batch=batch)
    random = np.random.default_rng(0)
    x = random.random((batch, channels * shape[1] ** 2), dtype=np.float32)
    labels = random.integers(0, 10, batch)
    return lambda: trainer.step(x, labels), (work + 3 * 10 * layers[-1][0] * extent * extent) * batch


def torch_training(shape: tuple[int, int], layers: Sequence[tuple[int, int, bool]], batch: int) -> Callable[[], object]:
    """The step of a dense net of the same channels in PyTorch."""
    assert torch is not None
    channels, extent = shape
    parts: list[Any] = []
    for width, _, pool in layers:
        parts += [torch.nn.Conv2d(channels, width, 3, padding=1, bias=False), torch.nn.BatchNorm2d(width)]
        parts += [torch.nn.ReLU(), *([torch.nn.MaxPool2d(2)] if pool else [])]
        channels, extent = width, extent // (2 if pool else 1)
    net = torch.nn.Sequential(*parts, torch.nn.Flatten(), torch.nn.Linear(channels * extent * extent, 10))
    optimizer = torch.optim.Adam(net.parameters(), 1e-3)
    x = torch.rand(batch, shape[0], shape[1], shape[1])
    labels = torch.randint(0, 10, (batch,))

    def run() -> object:
        assert torch is not None
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(net(x), labels)
        loss.backward()
        return optimizer.step()

    return run


def train(seconds: float) -> None:
    """Steps of all nets."""
    peak, flop = peak_call()
    for label, shape, layers, batch in NETS:
        call, work = training(shape, layers, batch)
        runs = {"pathc": repeated(call), "peak": repeated(peak)}
        if torch is not None:
            runs["dense torch"] = repeated(torch_training(shape, layers, batch))
        best = in_turns(runs, seconds)
        rate = 2.0 * work / best["pathc"] / (flop / best.pop("peak"))
        own = best.pop("pathc")
        print(f"{line(f'{label}, batch {batch}', own, 2.0 * work, best)}  {100 * rate:.0f}% of peak", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=2.0, help="seconds for each case")
    parser.add_argument("--train", action="store_true", help="steps of training instead of single layers")
    arguments = parser.parse_args()
    seconds = arguments.seconds
    if torch is not None:
        torch.set_num_threads(1)
    if arguments.train:
        train(seconds)
        return
    peak, flop = peak_call()
    for channels, count, extent, batch, more in CASES:
        call, work = ours(channels, count, extent, batch, more)
        runs = {"pathc": repeated(call), "peak": repeated(peak)}
        if torch is not None:
            runs["dense torch"] = repeated(theirs(channels, extent, batch, 1))
            runs["grouped torch"] = repeated(theirs(channels, extent, batch, max(1, channels * channels // count)))
        best = in_turns(runs, seconds)
        rate = 2.0 * work / best["pathc"] / (flop / best.pop("peak"))
        own = best.pop("pathc")
        label = f"{channels} channels {extent}x{extent}, fan-in {count // channels}, batch {batch}{more[1:]}"
        print(f"{line(label, own, 2.0 * work, best)}  {100 * rate:.0f}% of peak", flush=True)


if __name__ == "__main__":
    main()
