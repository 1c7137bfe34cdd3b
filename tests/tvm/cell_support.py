"""Time loops of cells alone, and nets around them, for the tests of TVM's targets."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pathc.backends.tvm import facade
from pathc.backends.tvm.program import extent
from pathc.backends.tvm.recurrent.lower import cell_plan
from pathc.backends.tvm.recurrent.pack import pack_cell
from pathc.backends.tvm.recurrent.plan import CellPlan
from pathc.backends.tvm.recurrent.tiles import fitted
from pathc.backends.tvm.recurrent.tir import cell_functions
from pathc.backends.tvm.tir import module_text
from pathc.ir.cells import cell_of
from pathc.ir.graph import Graph, Line, Station, Visit
from pathc.ir.interp import agrees, error_bound, forward
from pathc.ir.interp.recurrent.unroll import Unrolled
from pathc.ir.recurrence import structure_shape
from pathc.ir.types import Call, Quantity, Word
from pathc.ir.weights import expected_tensors

U = 2.0**-24
BIAS, TANH = Call("bias"), Call("tanh")
STRUCTURES = {
    "full": Call("full"),
    "grouped": Call("grouped", (("groups", 3),)),
    "band": Call("band", (("width", 5),)),
    "wide": Call("band", (("width", 23),)),
    "ring": Call("ring", (("width", 4),)),
    "diag": Call("diag"),
    "sparse": Call("sparse", (("density", Quantity(9.0, "%")), ("seed", 3))),
    "dense": Call("sparse", (("density", Quantity(95.0, "%")), ("seed", 3))),
    "paths": Call("paths", (("count", 40),)),
}
CELLS = ("rnn", "lstm", "gru", "ligru", "qrnn", "sru", "indrnn", "linear")
STRUCTURED = ("rnn", "lstm", "gru", "ligru", "linear")


def cell(name: str, recur: Call | None = None, **options: str | int | bool) -> Call:
    words = {key: Word(value) if isinstance(value, str) else value for key, value in options.items()}
    if recur is not None:
        words["recur"] = recur
    order = ("recur", "activation", "gates", "reset", "window", "bidirectional", "stateful")
    return Call(name, tuple((key, words[key]) for key in order if key in words))


@dataclass
class Loop:
    """A time loop with its weights and what lines bring; `state` [batch, states * hidden] if it is stateful."""

    plan: CellPlan
    weights: dict[str, np.ndarray]

    @classmethod
    def of(cls, stage: Call, name: str, units: int = 12, batch: int = 0, seed: int = 0, highway: bool = False) -> Loop:
        own = cell_of(Station("c", "layer", (units,), pipeline=(stage,)))
        columns = (own.copies + highway) * units
        plan = fitted(cell_plan(own, name, units, f"{name}_sums", columns, highway, f"{name}_out"), batch)
        rng = np.random.default_rng(seed)
        shape = structure_shape(own.recur, own.hidden)
        weights = {t: (0.3 * rng.normal(size=shape)).astype(np.float32) for t in own.tensors}
        return cls(plan, weights)

    def sums(self, batch: int, steps: int, seed: int = 1) -> np.ndarray:
        rng = np.random.default_rng(seed)
        return rng.normal(size=(batch, steps, self.plan.columns)).astype(np.float32)

    def check(self, sums: np.ndarray, y: np.ndarray) -> None:
        """As the interpreter's, within the bound of its formulas."""
        cell_, n = self.plan.cell, self.plan.units
        whole = sums.astype(np.float64)
        copies = np.stack([whole[..., k * n : (k + 1) * n] for k in range(cell_.copies)])
        highway = whole[..., cell_.copies * n :] if self.plan.highway else np.zeros(copies.shape[1:])
        unrolled = Unrolled(cell_, self.weights)
        right = unrolled.forward(copies, highway).output
        bound = unrolled.bounds((copies, 0 * copies), (highway, 0 * highway), U)
        good = agrees(y, right, bound)
        assert good.all(), (str(self.plan), np.abs(y - right).max())


class OnProcessor:
    """Several time loops, compiled as one module."""

    def __init__(self, *loops: Loop) -> None:
        self.loops = loops
        self.functions = [f for loop in loops for f in cell_functions(loop.plan, gpu=False)]
        names = [f.name for f in self.functions]
        self.kernels = facade.compile_cpu(facade.parse(module_text(self.functions)), names)

    def run(self, sums: dict[str, np.ndarray], state: np.ndarray | None = None) -> dict[str, np.ndarray]:
        """Outputs by name of what lines bring, by name; `state` is that of all stateful cells."""
        arrays: dict[str, np.ndarray] = {}
        found: dict[str, np.ndarray] = {}
        for loop in self.loops:
            plan, given = loop.plan, sums[loop.plan.name]
            batch, steps = given.shape[:2]
            found[plan.name] = np.full((batch, steps, plan.units), np.nan, np.float32)
            arrays |= {plan.sums: given.reshape(-1, plan.columns), plan.out: found[plan.name].reshape(-1, plan.units)}
            arrays |= {name: facade.aligned_copy(array) for name, array in pack_cell(plan, loop.weights).items()}
            if plan.added:
                arrays[plan.made] = np.full((batch * steps, 2 * plan.units), np.nan, np.float32)
            if plan.state:
                arrays[plan.state] = state
        for function in self.functions:
            views = [facade.tensor(arrays[a.key]) for a in function.arguments]
            numbers = [extent(function.called(s), {"batch": batch, "steps": steps}) for s in function.scalars]
            self.kernels[function.name](*views, *numbers)
        return found


def stack(*stages: tuple[Call, ...], inputs: int = 6, units: int = 12, outputs: int = 4, paths: int = 48) -> Graph:
    """Cells behind each other on a line of paths; a skip leads over the first one."""
    stations = [Station("x", "input", (inputs,))]
    stations += [Station(f"c{k}", "layer", (units,), pipeline=(BIAS, *stage)) for k, stage in enumerate(stages)]
    stations.append(Station("y", "output", (outputs,), pipeline=(BIAS, TANH)))
    lines = [Line("main", "paths", tuple(Visit(s.name, k) for k, s in enumerate(stations)), paths)]
    if len(stages) > 1:
        lines.append(Line("over", "skip", (Visit("c0", 0), Visit("c1", 1)), scale=0.5))
    return Graph("net", tuple(stations), tuple(lines))


def drawn(graph: Graph, seed: int) -> dict[str, np.ndarray]:
    """Weights under which no state explodes."""
    rng = np.random.default_rng(seed)
    return {
        name: ((0.16 if "recurrent" in name else 0.4) * rng.normal(size=shape)).astype(np.float32)
        for name, shape in expected_tensors(graph).items()
    }


def sequences(graph: Graph, batch: int, steps: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(batch, steps, sum(s.real_units for s in graph.inputs))).astype(np.float32)


def check(graph: Graph, weights: dict[str, np.ndarray], x: np.ndarray, y: np.ndarray) -> None:
    """Outputs as the interpreter's, within its error bound."""
    right, bound = forward(graph, weights, x), error_bound(graph, weights, x, U)
    assert y.shape == right.shape
    assert y.dtype == np.float32
    assert agrees(y, right, bound).all(), np.abs(y - right).max()
