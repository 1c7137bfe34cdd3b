"""Random and named nets for tests of whole plans, and how far a CPU may be from the interpreter."""

from __future__ import annotations

import numpy as np
from axes_strategy import visits_of
from hypothesis import strategies as st

from pathc.backends.llvm.machine import machine
from pathc.ir import interp
from pathc.ir.graph import Graph, Line, Station, Visit
from pathc.ir.passes import parse_pipeline
from pathc.ir.types import Call, Word
from pathc.ir.weights import expected_tensors

BIAS = Call("bias")
SMOOTH = [
    Call("identity"),
    Call("relu"),
    Call("leaky", (("slope", 0.25),)),
    Call("abs"),
    Call("tanh"),
    Call("sigmoid"),
    Call("hardtanh", (("low", -0.5), ("high", 2.0))),
    Call("softmax"),
]
BATCHES = [1, 2, 7, 64, 257]
MACHINES = [name for name in ("native", "avx512", "avx2", "sse") if machine({"cpu": name}).runs_here]
GENERATORS = [
    Call("sobol"),
    Call("sobol", (("scramble", Word("lms")), ("seed", 3))),
    Call("sobol", (("scramble", Word("shift")), ("seed", 5))),
    Call("sobol", (("scramble", Word("owen")), ("seed", 7))),
    Call("sobol", (("skip", 5),)),
    Call("random", (("seed", 3),)),
]
ACTIVATION_ERROR = 4e-7
"""What tanh, sigmoid and exp may add, absolutely (relative for softmax, whose values are below 1)."""


@st.composite
def sizes(draw: st.DrawFn) -> int:
    if draw(st.booleans()):
        return 1 << draw(st.integers(0, 9))
    return draw(st.integers(1, 300))


@st.composite
def models(draw: st.DrawFn) -> Graph:
    """A chain of paths, perhaps with a second line, a dense line or a skip into one of its stations."""
    depth = draw(st.integers(2, 4))
    units = [draw(sizes()) for _ in range(depth)]
    roles = ["input", *["layer"] * (depth - 2), "output"]
    stations: list[Station] = []
    for k, (n, role) in enumerate(zip(units, roles, strict=True)):
        pipeline = [draw(st.sampled_from(SMOOTH[:-1] if role != "output" else SMOOTH))]
        if role != "input" and draw(st.booleans()):
            pipeline.insert(0, BIAS)
        declared = draw(st.integers(1, n)) if draw(st.integers(0, 4)) == 0 else 0
        pipeline = [stage for stage in pipeline if stage.name != "identity"]
        stations.append(Station(f"s{k}", role, (n,), pipeline=tuple(pipeline), declared=declared))
    count = draw(st.one_of(st.integers(1, 600), st.sampled_from([512, 1024, 4096, 768, 1536])))
    visits = tuple(draw(visits_of(s, k)) for k, s in enumerate(stations))
    lines = [Line("main", "paths", visits, count, draw(st.sampled_from(GENERATORS)))]
    extra = draw(st.sampled_from(["", "", "paths", "dense", "skip"]))
    ends = Visit("s0", 3), Visit(stations[-1].name, 5)
    if extra == "paths":
        lines.append(Line("more", "paths", ends, draw(st.integers(1, 300))))
    elif extra == "dense":
        lines.append(Line("more", "dense", ends))
    elif extra == "skip" and units[0] == units[-1]:
        lines.append(Line("more", "skip", ends, scale=-0.5))
    graph = Graph("net", tuple(stations), tuple(lines))
    for step in parse_pipeline("canonical,structure"):
        graph = step(graph)
    return graph


def drawn(graph: Graph, seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in expected_tensors(graph).items()}


def inputs(graph: Graph, batch: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(batch, sum(s.real_units for s in graph.inputs))).astype(np.float32)


def check(graph: Graph, weights, x: np.ndarray, y: np.ndarray, weight_roundoff: float = 0.0) -> None:
    right = interp.forward(graph, weights, x)
    bound = interp.error_bound(graph, weights, x, 2.0**-24, weight_roundoff)
    assert y.shape == right.shape
    assert y.dtype == np.float32
    with np.errstate(invalid="ignore"):
        far = ~((np.abs(y - right) <= bound + slack(graph, weights)) | (np.isnan(y) & np.isnan(right)) | (y == right))
    assert not far.any(), (y[far][:4], right[far][:4], bound[far][:4])


def slack(graph: Graph, weights) -> float:
    """What the approximations of activations may cost at the outputs: their error through all weights behind them."""
    if not any(stage.name in ("tanh", "sigmoid", "softmax") for s in graph.stations for stage in s.pipeline):
        return 0.0
    gain, total = 1.0, ACTIVATION_ERROR
    for line in graph.lines:
        for junction in line.junctions:
            tensor = weights.get(f"{line.name}.{junction}")
            reach = 1.0 if tensor is None else float(np.abs(tensor).sum())
            gain = max(1.0, gain * reach)
            total += ACTIVATION_ERROR * gain
    return total


def graph_of(units, count, *pipeline, generator=GENERATORS[0]):
    roles = ["input", *["layer"] * (len(units) - 2), "output"]
    stations = tuple(
        Station(f"s{k}", role, (n,), pipeline=tuple(pipeline) if k else ())
        for k, (n, role) in enumerate(zip(units, roles, strict=True))
    )
    visits = tuple(Visit(s.name, k) for k, s in enumerate(stations))
    graph = Graph("net", stations, (Line("main", "paths", visits, count, generator),))
    for step in parse_pipeline("canonical,structure"):
        graph = step(graph)
    return graph
