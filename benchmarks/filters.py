"""Channel-path convolutions beside PyTorch's dense and grouped ones of the same shape, all in one run, one thread.

    python benchmarks/filters.py [--seconds S]

3x3 filters, as many channels out as in, `same` padding, ReLU. `fan-in` is the number of channels each channel hears;
PyTorch's grouped convolution has as many weights but keeps its groups apart. `peak` is the share of the multiply-add
peak that the timed kernel reaches. Without PyTorch only pathc is shown.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import numpy as np
from _timing import in_turns, line, peak_call, repeated

from pathc.backends.base import Request
from pathc.backends.llvm.backend import BACKEND
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=2.0, help="seconds for each case")
    seconds = parser.parse_args().seconds
    if torch is not None:
        torch.set_num_threads(1)
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
