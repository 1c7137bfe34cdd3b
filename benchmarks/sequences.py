"""Nets with cells on the path engine: cycles a step, and the share of lanes and cycles that multiply.

    python benchmarks/sequences.py [--steps 20] [--samples 4]

4096 paths lead from 64 inputs through a simple cell to 16 outputs; the matrix of the cell has one of six structures.
Cycles are those of the simulator, which the generated hardware reproduces (`pathc sim --rtl`); no clock is read. The
last column is a machine whose weights come at 4 bytes a cycle, a quarter of what 16 lanes take.
"""

from __future__ import annotations

import argparse

import numpy as np

import pathc
from pathc.backends.engine.lower import lower
from pathc.backends.engine.machine import Machine
from pathc.backends.engine.sim import simulate
from pathc.ir.compress.quantize import quantize
from pathc.ir.quantized import IntegerNetwork, integer_network
from pathc.ir.weights import expected_tensors

MATRICES = {"diag": 1024, "band(9)": 1024, "band(21)": 1024, "grouped(4)": 256, "full": 256,
            "sparse(5%, seed = 1)": 256}  # fmt: skip
MODEL = """pathc 1
input  x[64]
layer  h[{units}] : bias | rnn(recur = {recur})
output y[16]
paths main : x -> h -> y {{ count = 4Ki }}
"""
WIDE = {"activation_rows": 2048, "accumulator_rows": 2048}


def network(recur: str, units: int) -> IntegerNetwork:
    """The net with random weights, quantized and calibrated."""
    graph = pathc.load(pathc.Source("sequences.path", MODEL.format(recur=recur, units=units)))
    rng = np.random.default_rng(0)
    weights = {name: 0.1 * rng.normal(size=shape) for name, shape in expected_tensors(graph).items()}
    made = quantize(graph, weights, data=rng.normal(size=(2, 4, 64)))
    return integer_network(made.graph, made.tensors)


def measure(net: IntegerNetwork, machine: Machine, samples: int, steps: int) -> str:
    """Cycles a step of one sample, and utilisation."""
    program = lower(net, machine, samples, steps)
    run = simulate(program, np.zeros((program.rows, 64), np.int64))
    return f"{run.cycles / program.rows:,.0f}, {run.utilisation:.1%}"


def main() -> int:
    parser = argparse.ArgumentParser(description="Cycles of nets with cells on the engine.")
    parser.add_argument("--steps", type=int, default=20, help="steps of a sequence")
    parser.add_argument("--samples", type=int, default=4, help="sequences in lockstep")
    chosen = parser.parse_args()
    slow = Machine(weight_bytes=4, **WIDE)
    many = f"{chosen.samples} in lockstep"
    print(f"| matrix | units | one sequence | {many} | {many}, 4 bytes of weights a cycle |\n|---|---|---|---|---|")
    for recur, units in MATRICES.items():
        net = network(recur, units)
        cells = [measure(net, machine, samples, chosen.steps) for machine, samples in
                 ((Machine(), 1), (Machine(), chosen.samples), (slow, chosen.samples))]  # fmt: skip
        print(f"| `{recur}` | {units} | {' | '.join(cells)} |", flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
