"""Training steps with factors of bfloat16 beside the float32 step of the same net, in one run.

    python benchmarks/halves_training.py [name part ...]

Nets, losses and multiply-adds are those of `training.py`; SGD, one thread, on a processor with AMX. Both steps and the
float32 peak take turns, figures are the best of many short rounds. `of peak` is the share of the float32 multiply-adds
that registers alone allow. The last columns say where a step of bfloat16 goes, in percent: the batch and values
forwards, the loss, gradients backwards, gradients of weights, the optimizer with the copies of its weights.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from itertools import pairwise

import numpy as np
from _timing import peak_call
from training import RATE, flop, labelled, net, times

from pathc.backends.llvm.machine import host
from pathc.backends.llvm.training import Loss, Sgd, Trainer
from pathc.ir.init import initial_weights

NETS = (
    ((1024,) * 3, (16384, 65536)),
    ((1024,) * 6, (16384, 65536)),
    ((1024, 256, 256, 16), (8192, 16384)),
    ((784, 300, 300, 10), (1024, 4096, 16384)),
)
BATCHES = 64, 128
PARTS = "values", "loss", "back", "weights", "steps"


def main(wanted: list[str]) -> None:
    """Measure and print."""
    work, peak_flop = peak_call()
    print(f"{host()}, one thread")
    head = "".join(f"{part:>9}" for part in PARTS)
    print(f"{'net':31}{'paths':>7}{'batch':>6}{'float32 us':>12}{'bf16 us':>9}{'of peak':>9}{'faster':>8}{head}")
    for sizes, counts in NETS:
        name = "-".join(map(str, sizes))
        for paths in counts:
            if not wanted or any(part in f"{name}/{paths}" for part in wanted):
                for batch in BATCHES:
                    _line(name, sizes, paths, batch, (work, peak_flop))


def _line(name, sizes, paths, batch, peak) -> None:
    graph, rng = net(sizes, paths), np.random.default_rng(1)
    x = np.maximum(rng.standard_normal((batch, sizes[0])), 0).astype(np.float32)
    labels = rng.integers(0, sizes[-1], batch) if labelled(sizes) else x
    loss: Loss = "cross-entropy" if labelled(sizes) else "mse"
    given = {"loss": loss, "optimizer": Sgd(RATE), "batch": batch}
    plain, halved = (Trainer(graph, initial_weights(graph), precision=p, **given) for p in ("f32", "bf16"))
    calls = {"peak": peak[0], "plain": lambda: plain.step(x, labels), "halved": lambda: halved.step(x, labels)}
    whole = halved._training
    stages = [replace(whole, loss="none", backward=False, update="none"), replace(whole, backward=False, update="none"),
              replace(whole, update="none"), replace(whole, update="store"), whole]  # fmt: skip
    for part, stage in zip(PARTS, stages, strict=True):
        calls[part] = lambda stage=stage: halved._run(stage)
    halved.step(x, labels)
    found = {key: min(taken) for key, taken in times(calls).items()}
    share = flop(graph, batch) / found["halved"] / (peak[1] / found["peak"])
    until = [0.0, *(found[part] for part in PARTS)]
    shares = "".join(f"{max(b - a, 0.0) / until[-1]:9.0%}" for a, b in pairwise(until))
    faster = found["plain"] / found["halved"]
    print(
        f"{name:31}{paths:7}{batch:6}{1e6 * found['plain']:12.1f}{1e6 * found['halved']:9.1f}{share:9.0%}{faster:7.2f}x"
        f"{shares}",
        flush=True,
    )


if __name__ == "__main__":
    main(sys.argv[1:])
