"""Recurrent cells: time loops and whole layers beside `torch.nn` with full matrices, all in one run.

    python benchmarks/recurrent.py [--train] [--units N] [--batch B] [--steps T] [--seconds S]

Without PyTorch only the times of pathc are shown. `loop` is the time loop alone, its inputs ready-made; torch.nn gets
one input feature, next to nothing. `net` is the loop and its input side, paths of fan-in 16 from as many inputs as
units; torch.nn gets the same number of inputs. With --train a step of training: 64 characters, dense lines into the
cell and out of it, cross-entropy over all steps, Adam; torch.nn has the cell, a linear layer and its own Adam. Times
are minima in microseconds, one thread.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import numpy as np
from _timing import in_turns, repeated
from numpy.typing import NDArray

from pathc.backends.base import Request
from pathc.backends.llvm.backend import BACKEND
from pathc.backends.llvm.machine import machine
from pathc.backends.llvm.recurrent.kernel import CellKernel
from pathc.backends.llvm.recurrent.training import SequenceTrainer
from pathc.backends.llvm.training import Adam
from pathc.ir.cells import cell_of
from pathc.ir.graph import Graph, Line, Station, Visit
from pathc.ir.init import initial_weights
from pathc.ir.recurrence import structure_shape
from pathc.ir.types import Call

STRUCTURES = {
    "diag": Call("diag"),
    "band 21": Call("band", (("width", 21),)),
    "grouped 4": Call("grouped", (("groups", 4),)),
}
FAN_IN = 16
CHARACTERS = 64


def loop(name: str, recur: Call, units: int, batch: int, steps: int) -> Callable[[], None]:
    """The time loop of a cell."""
    stage = Call(name, (("recur", recur),))
    cell = cell_of(Station("c", "layer", (units,), pipeline=(stage,)))
    assert cell is not None
    rng = np.random.default_rng(0)
    shape = structure_shape(cell.recur, units)
    weights = {t: rng.normal(size=shape).astype(np.float32) / 8 for t in cell.tensors}
    kernel = CellKernel(cell, machine({"threads": 1}), weights)
    x = rng.normal(size=(batch, steps, kernel.columns)).astype(np.float32)
    return kernel.bind(x, np.empty((batch, steps, units), np.float32))


def net(name: str, recur: Call, units: int, batch: int, steps: int) -> Callable[[], object]:
    """A cell behind paths."""
    stage = Call(name, (("recur", recur),))
    stations = (Station("x", "input", (units,)), Station("c", "output", (units,), pipeline=(stage,)))
    graph = Graph("net", stations, (Line("main", "paths", (Visit("x", 0), Visit("c", 1)), FAN_IN * units),))
    x = np.random.default_rng(0).normal(size=(batch, steps, units)).astype(np.float32)
    return BACKEND.compile(Request(graph, initial_weights(graph), {"threads": 1})).bind(x).call


def torch_cell(name: str, inputs: int, units: int, batch: int, steps: int) -> Callable[[], object] | None:
    """The same cell with full matrices in PyTorch, None where it is not installed."""
    try:
        import torch
    except ModuleNotFoundError:
        return None
    torch.set_num_threads(1)
    made: Any = {"rnn": torch.nn.RNN, "lstm": torch.nn.LSTM, "gru": torch.nn.GRU}[name](inputs, units, bias=False)
    x = torch.randn(steps, batch, inputs)

    def run() -> object:
        with torch.inference_mode():
            return made(x)

    return run


def characters(batch: int, steps: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Sequences of characters as rows, and the labels: the characters themselves."""
    labels = np.random.default_rng(0).integers(0, CHARACTERS, (batch, steps))
    return np.eye(CHARACTERS, dtype=np.float32)[labels], labels


def training(name: str, recur: Call, units: int, batch: int, steps: int) -> Callable[[], object]:
    """A step of training between dense lines."""
    stations = (
        Station("x", "input", (CHARACTERS,)),
        Station("c", "layer", (units,), pipeline=(Call("bias"), Call(name, (("recur", recur),)))),
        Station("y", "output", (CHARACTERS,), pipeline=(Call("bias"), Call("softmax"))),
    )
    line = Line("main", "dense", (Visit("x", 0), Visit("c", 1), Visit("y", 2)))
    graph = Graph("net", stations, (line,))
    trainer = SequenceTrainer(graph, initial_weights(graph), optimizer=Adam(1e-4), batch=batch)
    x, labels = characters(batch, steps)
    return lambda: trainer.step(x, labels)


def torch_training(name: str, units: int, batch: int, steps: int) -> Callable[[], object] | None:
    """The same in PyTorch, None where it is not installed."""
    try:
        import torch
    except ModuleNotFoundError:
        return None
    torch.set_num_threads(1)
    kind: Any = {"rnn": torch.nn.RNN, "lstm": torch.nn.LSTM, "gru": torch.nn.GRU}[name]
    cell, head = kind(CHARACTERS, units, batch_first=True), torch.nn.Linear(units, CHARACTERS)
    optimizer = torch.optim.Adam([*cell.parameters(), *head.parameters()], lr=1e-4)
    rows, numbers = characters(batch, steps)
    x, labels = torch.from_numpy(rows), torch.from_numpy(numbers.reshape(-1))

    def run() -> object:
        optimizer.zero_grad()
        outputs = head(cell(x)[0]).reshape(-1, CHARACTERS)
        torch.nn.functional.cross_entropy(outputs, labels).backward()
        return optimizer.step()

    return run


def main() -> None:
    """Print one line per cell and structure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", action="store_true", help="steps of training")
    parser.add_argument("--units", type=int, default=512)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--steps", type=int, default=128)
    parser.add_argument("--seconds", type=float, default=3.0, help="for each cell")
    given = parser.parse_args()
    size = given.units, given.batch, given.steps
    print(f"{given.units} units, batch {given.batch}, {given.steps} steps; microseconds, and times torch.nn")
    for name in ("rnn", "lstm", "gru"):
        runs: dict[str, Callable[[], object]] = {}
        for label, recur in STRUCTURES.items() if not given.train else ():
            runs[f"loop {label}"] = loop(name, recur, *size)
            runs[f"net {label}"] = net(name, recur, *size)
        for label, recur in {**STRUCTURES, "full": Call("full")}.items() if given.train else ():
            runs[f"train {label}"] = training(name, recur, *size)
        for kind, inputs in (("loop", 1), ("net", given.units)) if not given.train else (("train", 0),):
            full = torch_training(name, *size) if given.train else torch_cell(name, inputs, *size)
            if full is not None:
                runs[f"{kind} torch"] = full
        best = in_turns({key: repeated(run) for key, run in runs.items()}, given.seconds)
        for key, seconds in best.items():
            other = best.get(f"{key.split()[0]} torch")
            ratio = "" if other is None else f"{other / seconds:8.1f}x"
            print(f"{name:5} {key:16} {1e6 * seconds:10.1f} {ratio}")


if __name__ == "__main__":
    main()
