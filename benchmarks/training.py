"""How fast a training step is: against multiply-adds of one core, scipy and NumPy by hand, and PyTorch.

    python benchmarks/training.py [name part ...]

A step is forward, loss, backward and optimizer on all weights, three passes of two flop per weight and sample (the
first junction has no input gradient, so two passes there, counted as such). Nets of equal layers learn their input by
squared errors, the others labels by cross-entropy. All contenders take turns in one run, on one thread; figures are the
best of many short rounds, ratios those of the best. PyTorch takes part where it can be imported: a dense net of the
same sizes, and for the sparse net itself the fastest of its CSR matrices (`sparse`) and of gathering and `index_add`.
The ratio to the best sparse step is that to the fastest of these two and of scipy.
"""

from __future__ import annotations

import importlib.util
import itertools
import sys
import time
import warnings
from collections.abc import Callable

import numpy as np
from _timing import peak_call
from scipy.sparse import csr_array

from pathc.backends.llvm.junctions import junctions_of
from pathc.backends.llvm.machine import host
from pathc.backends.llvm.training import Adam, Loss, Optimizer, Sgd, Trainer
from pathc.ir.graph import Graph, Line, Station, Visit
from pathc.ir.init import initial_weights
from pathc.ir.types import Call

ROUNDS = 30
SECONDS = 0.03
RATE = 1e-6


def labelled(sizes: tuple[int, ...]) -> bool:
    """Whether a net of these sizes learns labels."""
    return sizes[0] != sizes[-1]


def net(sizes: tuple[int, ...], paths: int, first: int = 0) -> Graph:
    """Sobol' paths with relu between, and softmax at the end for labels; no biases."""
    last = len(sizes) - 1
    stations = tuple(
        Station(
            f"s{k}",
            "input" if k == 0 else "output" if k == last else "layer",
            (units,),
            pipeline=()
            if k == 0
            else ((Call("softmax"),) if labelled(sizes) else ())
            if k == last
            else (Call("relu"),),
        )
        for k, units in enumerate(sizes)
    )
    visits = tuple(Visit(s.name, first + k) for k, s in enumerate(stations))
    return Graph("net", stations, (Line("main", "paths", visits, paths),))


def by_hand(graph: Graph, x: np.ndarray, labels: np.ndarray) -> Callable[[], None]:
    """The same step with scipy's CSR products, and gathered dot products for the weights."""
    matrices, rows = [], []
    weights = initial_weights(graph)
    for junction in junctions_of(graph):
        src, dst = junction.edges()
        matrix = csr_array((weights[junction.tensor], (dst, src)), shape=(junction.n_dst, junction.n_src))
        matrix.sum_duplicates()
        matrices.append(matrix)
        rows.append(np.repeat(np.arange(junction.n_dst), np.diff(matrix.indptr)))
    batch, first = len(x), np.ascontiguousarray(x.T)
    column = np.arange(batch)

    def step() -> None:
        kept, a = [first], first
        for k, matrix in enumerate(matrices):
            a = matrix @ a
            if k + 1 < len(matrices):
                np.maximum(a, 0, out=a)
                kept.append(a)
        if labels.ndim == 1:
            e = np.exp(a - a.max(0))
            g = (e / e.sum(0)).astype(np.float32)
            g[labels, column] -= 1
            g /= batch
        else:
            g = (a - first) * np.float32(2 / a.size)
        for k in reversed(range(len(matrices))):
            matrix, a = matrices[k], kept[k]
            gradient = np.einsum("eb,eb->e", g[rows[k]], a[matrix.indices])
            if k:
                g = matrix.T @ g
                g *= a > 0
            matrix.data -= np.float32(RATE) * gradient

    return step


def dense_torch(sizes: tuple[int, ...], x: np.ndarray, labels: np.ndarray, optimizer: Optimizer) -> Callable[[], None]:
    """A step of the dense net of the same sizes in PyTorch, eager, one thread."""
    import torch

    F = torch.nn.functional
    torch.set_num_threads(1)
    layers: list[torch.nn.Module] = []
    for a, b in itertools.pairwise(sizes):
        layers += [torch.nn.Linear(a, b, bias=False), torch.nn.ReLU()]
    model = torch.nn.Sequential(*layers[:-1])
    make = torch.optim.Adam if isinstance(optimizer, Adam) else torch.optim.SGD
    chosen = make(model.parameters(), lr=RATE)
    inputs, wanted = torch.from_numpy(x), torch.from_numpy(labels)

    def step() -> None:
        chosen.zero_grad(set_to_none=True)
        (F.cross_entropy if labels.ndim == 1 else F.mse_loss)(model(inputs), wanted).backward()
        chosen.step()

    return step


def sparse_torch(
    graph: Graph, x: np.ndarray, labels: np.ndarray, optimizer: Optimizer, *, matrices: bool
) -> Callable[[], None]:
    """A step of the sparse net in PyTorch: products of CSR matrices, or rows gathered, scaled and added up."""
    import torch

    warnings.filterwarnings("ignore", "Sparse", UserWarning)
    F = torch.nn.functional
    torch.set_num_threads(1)
    places: list[tuple[torch.Tensor, torch.Tensor, tuple[int, int]]] = []
    values: list[torch.Tensor] = []
    weights = initial_weights(graph)
    for junction in junctions_of(graph):
        src, dst = junction.edges()
        matrix = csr_array((weights[junction.tensor], (dst, src)), shape=(junction.n_dst, junction.n_src))
        matrix.sum_duplicates()
        first = matrix.indptr if matrices else np.repeat(np.arange(junction.n_dst), np.diff(matrix.indptr))
        places.append((torch.from_numpy(first).long(), torch.from_numpy(matrix.indices).long(), matrix.shape))
        values.append(torch.from_numpy(matrix.data).requires_grad_())
    chosen = (torch.optim.Adam if isinstance(optimizer, Adam) else torch.optim.SGD)(values, lr=RATE)
    inputs, wanted = torch.from_numpy(np.ascontiguousarray(x.T)), torch.from_numpy(labels)

    def step() -> None:
        chosen.zero_grad(set_to_none=True)
        a = inputs
        for k, ((first, src, shape), w) in enumerate(zip(places, values, strict=True)):
            a = torch.relu(a) if k else a
            if matrices:
                a = torch.sparse.mm(torch.sparse_csr_tensor(first, src, w, size=shape), a)
            else:
                a = torch.zeros(shape[0], a.shape[1]).index_add(0, first, a[src] * w[:, None])
        (F.cross_entropy if labels.ndim == 1 else F.mse_loss)(a.t(), wanted).backward()
        chosen.step()

    return step


def times(calls: dict[str, Callable[[], object]]) -> dict[str, list[float]]:
    """Seconds of one call of each, `ROUNDS` samples, taken in turns."""
    repeats: dict[str, int] = {}
    for name, call in calls.items():
        call()
        started = time.perf_counter()
        call()
        repeats[name] = max(1, int(SECONDS / ROUNDS * 4 / (time.perf_counter() - started)))
    found: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(ROUNDS):
        for name, call in calls.items():
            started = time.perf_counter()
            for _ in range(repeats[name]):
                call()
            found[name].append((time.perf_counter() - started) / repeats[name])
    return found


def flop(graph: Graph, batch: int) -> float:
    """Multiply-adds times two of distinct edges: forward, weight gradient, and input gradient but for the input."""
    total = 0
    for k, junction in enumerate(junctions_of(graph)):
        src, dst = junction.edges()
        total += (3 if k else 2) * len(np.unique(dst * junction.n_src + src))
    return 2.0 * total * batch


def main(wanted: list[str]) -> None:
    work, peak_flop = peak_call()
    torch = importlib.util.find_spec("torch") is not None
    print(f"{host()}, one thread" + ("" if torch else "; PyTorch is not installed"))
    print(
        f"{'net':31}{'paths':>7}{'batch':>6}{'':>10}{'us':>9}{'GFLOP/s':>9}{'of peak':>9}{'by hand':>9}{'sparse':>9}"
        f"{'dense':>8}{'dense us':>10}{'compile ms':>12}"
    )
    cases = [((1024,) * layers, paths, 64, 1) for layers in (3, 6) for paths in (16384, 65536)]
    cases += [((1024, 256, 256, 16), paths, 64, 0) for paths in (8192, 16384)]
    cases += [((784, 300, 300, 10), paths, 128, 0) for paths in (1024, 4096, 16384)]
    for sizes, paths, batch, first in cases:
        for optimizer in (Sgd(RATE), Adam(RATE)):
            name = "-".join(map(str, sizes))
            if wanted and not any(part in f"{name}/{paths}" for part in wanted):
                continue
            graph = net(sizes, paths, first)
            rng = np.random.default_rng(1)
            x = np.maximum(rng.standard_normal((batch, sizes[0])), 0).astype(np.float32)
            labels = rng.integers(0, sizes[-1], batch) if labelled(sizes) else x
            loss: Loss = "cross-entropy" if labelled(sizes) else "mse"
            started = time.perf_counter()
            trainer = Trainer(graph, initial_weights(graph), loss=loss, optimizer=optimizer, batch=batch)
            trainer.step(x, labels)
            compiled = time.perf_counter() - started
            calls: dict[str, Callable[[], object]] = {
                "peak": work,
                "own": lambda t=trainer, x=x, labels=labels: t.step(x, labels),
                "hand": by_hand(graph, x, labels),
            }
            if torch:
                calls["torch"] = dense_torch(sizes, x, labels, optimizer)
                calls["matrices"] = sparse_torch(graph, x, labels, optimizer, matrices=True)
                calls["gathered"] = sparse_torch(graph, x, labels, optimizer, matrices=False)
            found = times(calls)
            own = min(found["own"])
            rate = flop(graph, batch) / own
            limit = peak_flop / min(found["peak"])
            sparse = min(min(found[name]) for name in ("hand", "matrices", "gathered") if name in found)
            other = min(found["torch"]) if torch else float("nan")
            print(
                f"{name:31}{paths:7}{batch:6}{type(optimizer).__name__:>10}{1e6 * own:9.1f}{1e-9 * rate:9.1f}"
                f"{rate / limit:9.0%}{min(found['hand']) / own:8.1f}x{sparse / own:8.1f}x{other / own:7.1f}x"
                f"{1e6 * other:10.0f}{1e3 * compiled:12.0f}",
                flush=True,
            )


if __name__ == "__main__":
    main(sys.argv[1:])
