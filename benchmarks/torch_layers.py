"""One layer in PyTorch, forward and backward: paths compiled, paths in plain operations, dense, sparse CSR.

    python benchmarks/torch_layers.py [--units N] [--paths P] [--batch B] [--threads T] [--rounds R]

Needs PyTorch (`pip install 'pathc[torch]'`). All layers are measured in turn, round by round, so that ratios hold on a
busy machine; times are minima, of several passes in a row. A pass is `layer(x)` and `y.backward(dy)` with gradients at
inputs, weights and bias; with `step`, plain gradient descent moves the weights after each.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from collections.abc import Callable

import numpy as np

try:
    import torch
except ModuleNotFoundError:
    print("PyTorch is not installed, nothing to measure: pip install 'pathc[torch]'")
    sys.exit(0)

from pathc.torch import PathLinear
from pathc.torch.engine import same_bits

IN_A_ROW = 5
warnings.filterwarnings("ignore", message="Sparse")


class Csr(torch.nn.Module):
    """The same edges as a sparse matrix in `torch.sparse`, rows of outputs."""

    def __init__(self, layer: PathLinear) -> None:
        super().__init__()
        from pathc.ir.generators import resolve

        generator = resolve(layer.graph.line("main"), layer.graph)
        source, destination = (torch.from_numpy(generator.units(v, 0, layer.paths)) for v in (0, 1))
        places = torch.stack([destination, source])
        shape = layer.out_features, layer.in_features
        matrix = torch.sparse_coo_tensor(places, layer.weight.detach(), shape).coalesce().to_sparse_csr()
        self.matrix = torch.nn.Parameter(matrix)
        self.bias = torch.nn.Parameter(layer.bias.detach().clone()) if layer.bias is not None else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.sparse.mm(self.matrix, x.t()).t()
        return y if self.bias is None else y + self.bias


def passes(module: torch.nn.Module, x: torch.Tensor, dy: torch.Tensor, lr: float = 0.0) -> Callable[[], None]:
    """Forward and backward, and a step if there is a learning rate."""
    parameters = list(module.parameters())

    def run() -> None:
        module.zero_grad()
        x.grad = None
        module(x).backward(dy)
        if lr:
            with torch.no_grad():
                for parameter in parameters:
                    parameter.sub_(parameter.grad, alpha=lr)

    return run


def measured(runs: dict[str, Callable[[], None]], rounds: int) -> dict[str, float]:
    """Least seconds of each."""
    least = dict.fromkeys(runs, float("inf"))
    for _ in range(rounds):
        for name, run in runs.items():
            for _ in range(IN_A_ROW):
                start = time.perf_counter()
                run()
                least[name] = min(least[name], time.perf_counter() - start)
    return least


def overhead(layer: PathLinear, x: torch.Tensor, dy: torch.Tensor, rounds: int) -> dict[str, float]:
    """The kernels by themselves, and what noticing changed weights and packing them costs."""
    engine = layer.kernels()
    arrays = {name: tensor.detach().numpy() for name, tensor in layer.tensors().items()}
    pair = [arrays, {name: values + np.float32(1) for name, values in arrays.items()}]
    inputs, gradient = x.detach().numpy(), dy.numpy()

    def forward() -> None:
        engine.forward(inputs, pair[0], frozenset())

    def changed() -> None:
        pair.reverse()
        forward()

    def both() -> None:
        _, lease = engine.forward(inputs, arrays, frozenset())
        assert lease is not None
        engine.backward(lease, gradient, arrays, inputs=True)

    found = measured({"both": both}, rounds) | measured({"same": forward}, rounds) | measured({"new": changed}, rounds)
    held = {name: values.copy() for name, values in arrays.items()}
    compared = measured({"compare": lambda: all(map(same_bits, arrays.values(), held.values()))}, rounds)
    return {
        "kernels, both passes, without autograd": found["both"],
        "comparing weights with those that are packed": compared["compare"],
        "packing weights that have changed": found["new"] - found["same"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--units", type=int, default=1024)
    parser.add_argument("--paths", type=int, default=16384)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=100)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    units, batch = options.units, options.batch

    layer = PathLinear(units, units, options.paths)
    plain = PathLinear(units, units, options.paths, compiled=False)
    csr, dense = Csr(layer), torch.nn.Linear(units, units)
    x, dy = torch.randn(batch, units).requires_grad_(), torch.randn(batch, units)
    torch.testing.assert_close(layer(x), csr(x), rtol=1e-3, atol=1e-4)
    modules = {"PathLinear": layer, "torch.nn.Linear": dense, "torch.sparse CSR": csr, "plain operations": plain}
    with torch.no_grad():
        forwards = measured({name: (lambda m=m: m(x)) for name, m in modules.items()}, options.rounds)
    times = measured({name: passes(m, x, dy) for name, m in modules.items()}, options.rounds)
    del modules["torch.sparse CSR"]  # sparse parameters take no step in place
    steps = measured({name: passes(m, x, dy, 1e-6) for name, m in modules.items()}, options.rounds)

    print(f"torch {torch.__version__}, {options.threads} threads")
    print(f"{units} -> {units}, {options.paths} paths, batch {batch}, microseconds")
    print(f"{'':<20} {'forward':>9} {'both':>9} {'ratio':>7} {'and step':>9} {'ratio':>7}")
    for name, seconds in times.items():
        line = f"{name:<20} {forwards[name] * 1e6:>9.0f} {seconds * 1e6:>9.0f} {seconds / times['PathLinear']:>7.1f}"
        if name in steps:
            line += f" {steps[name] * 1e6:>9.0f} {steps[name] / steps['PathLinear']:>7.1f}"
        print(line)
    for name, seconds in overhead(layer, x, dy, options.rounds).items():
        print(f"{name}: {seconds * 1e6:.0f}")


if __name__ == "__main__":
    main()
