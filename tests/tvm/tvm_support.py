"""Nets and weights for the tests of TVM's targets, and the bound their outputs are held to."""

from __future__ import annotations

import numpy as np
from axes_strategy import visits_of
from hypothesis import strategies as st

from pathc.ir import interp
from pathc.ir.graph import Graph, Line, Station, Visit
from pathc.ir.passes import parse_pipeline
from pathc.ir.types import Call, Word
from pathc.ir.weights import expected_tensors

BIAS, RELU, SOFTMAX = Call("bias"), Call("relu"), Call("softmax")
ELEMENTWISE = [
    Call("identity"),
    RELU,
    Call("leaky", (("slope", 0.25),)),
    Call("abs"),
    Call("tanh"),
    Call("sigmoid"),
    Call("hardtanh", (("low", -0.5), ("high", 2.0))),
]
GENERATORS = [
    Call("sobol"),
    Call("sobol", (("scramble", Word("lms")), ("seed", 3))),
    Call("sobol", (("scramble", Word("shift")), ("seed", 5))),
    Call("sobol", (("scramble", Word("owen")), ("seed", 7))),
    Call("sobol", (("skip", 5),)),
    Call("random", (("seed", 3),)),
    Call("shuffle"),
    Call("expander", (("seed", 2),)),
    Call("interleaver", (("z", 1), ("kind", Word("md")))),
]
FUNCTION_ERROR = 6e-7
"""What tanh, sigmoid and exp of float32 may be off by, absolutely."""


def structured(graph: Graph) -> Graph:
    for step in parse_pipeline("canonical,structure"):
        graph = step(graph)
    return graph


def chain(units, count, *pipeline, generator=GENERATORS[0], last=None):
    """A line of paths through stations s0, s1, ...; `last` is the pipeline of the output if it is another."""
    roles = ["input", *["layer"] * (len(units) - 2), "output"]
    stations = tuple(
        Station(
            f"s{k}",
            role,
            (n,),
            pipeline=tuple(last if last is not None and role == "output" else pipeline) if k else (),
        )
        for k, (n, role) in enumerate(zip(units, roles, strict=True))
    )
    visits = tuple(Visit(s.name, k) for k, s in enumerate(stations))
    return structured(Graph("net", stations, (Line("main", "paths", visits, count, generator),)))


@st.composite
def models(draw: st.DrawFn, largest: int = 300, paths: int = 4096) -> Graph:
    """A chain of paths, perhaps with silent units, a second line, a tied dense line or a skip."""
    depth = draw(st.integers(2, 4))
    size = st.one_of(st.integers(0, largest.bit_length() - 1).map(lambda b: 1 << b), st.integers(1, largest))
    units = [draw(size) for _ in range(depth)]
    roles = ["input", *["layer"] * (depth - 2), "output"]
    stations: list[Station] = []
    for k, (n, role) in enumerate(zip(units, roles, strict=True)):
        stages = draw(st.lists(st.sampled_from(ELEMENTWISE), max_size=2))
        if role == "output" and draw(st.integers(0, 3)) == 0:
            stages.append(draw(st.sampled_from([SOFTMAX, Call("kwinners", (("k", draw(st.integers(1, n))),))])))
        if draw(st.booleans()):
            stages.insert(0, BIAS)
        declared = draw(st.integers(1, n)) if draw(st.integers(0, 4)) == 0 else 0
        stages = [stage for stage in stages if stage.name != "identity"]
        stations.append(Station(f"s{k}", role, (n,), pipeline=tuple(stages), declared=declared))
    generator = draw(st.sampled_from(GENERATORS[:6]))
    count = draw(st.one_of(st.integers(1, 600), st.sampled_from([512, 768, 1024, paths])))
    visits = tuple(draw(visits_of(s, k)) for k, s in enumerate(stations))
    lines = [Line("main", "paths", visits, count, generator)]
    extra = draw(st.sampled_from(["", "", "paths", "dense", "skip"]))
    ends = Visit("s0", 3), Visit(stations[-1].name, 5)
    if extra == "paths":
        lines.append(Line("more", "paths", ends, draw(st.integers(1, 300))))
    elif extra == "dense":
        lines.append(Line("more", "dense", ends))
    elif extra == "skip" and units[0] == units[-1]:
        lines.append(Line("more", "skip", ends, scale=-0.5))
    return structured(Graph("net", tuple(stations), tuple(lines)))


def drawn(graph: Graph, seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in expected_tensors(graph).items()}


def inputs(graph: Graph, batch: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(batch, sum(s.real_units for s in graph.inputs))).astype(np.float32)


def check(graph: Graph, weights, x: np.ndarray, y: np.ndarray) -> None:
    """Outputs as the interpreter's, within its error bound and what functions add to it."""
    right = interp.forward(graph, weights, x)
    assert y.shape == right.shape
    assert y.dtype == np.float32
    bound = interp.error_bound(graph, weights, x, 2.0**-24) + slack(graph, weights)
    good = interp.agrees(y, right, bound)
    assert good.all(), (y[~good][:4], right[~good][:4], bound[~good][:4])


def slack(graph: Graph, weights) -> float:
    """What approximations of functions may cost at the outputs: their error through all weights behind them."""
    if not any(stage.name in ("tanh", "sigmoid", "softmax") for s in graph.stations for stage in s.pipeline):
        return 0.0
    gain, total = 1.0, FUNCTION_ERROR
    for line in graph.lines:
        for junction in line.junctions:
            tensor = weights.get(f"{line.name}.{junction}")
            gain = max(1.0, gain * (1.0 if tensor is None else float(np.abs(tensor).sum(dtype=np.float64))))
            total += FUNCTION_ERROR * gain
    return total
