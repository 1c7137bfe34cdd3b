"""Random models, and what a step would be if every path had its own weight and NumPy did it in float64."""

from __future__ import annotations

import numpy as np
from axes_strategy import visits_of
from hypothesis import strategies as st

from pathc.backends.llvm.training import Adam, Momentum, Sgd
from pathc.ir import interp
from pathc.ir.graph import Graph, Line, Station, Visit
from pathc.ir.passes import parse_pipeline
from pathc.ir.types import Call, Word
from pathc.ir.weights import expected_tensors

BIAS, SOFTMAX = Call("bias"), Call("softmax")
ELEMENTWISE = [
    Call("relu"),
    Call("leaky", (("slope", 0.25),)),
    Call("leaky", (("slope", -0.5),)),
    Call("abs"),
    Call("tanh"),
    Call("sigmoid"),
    Call("hardtanh", (("low", -0.5), ("high", 2.0))),
]
WHOLE = [SOFTMAX, Call("kwinners", (("k", 3),))]
GENERATORS = [
    Call("sobol"),
    Call("sobol", (("scramble", Word("lms")), ("seed", 3))),
    Call("sobol", (("scramble", Word("owen")), ("seed", 7))),
    Call("random", (("seed", 3),)),
]


def canonical(graph: Graph) -> Graph:
    for step in parse_pipeline("canonical,structure"):
        graph = step(graph)
    return graph


def chain(units, count, *pipeline, out=(), generator=GENERATORS[0], declared=None):
    """A line of paths through stations s0, s1, ..."""
    roles = ["input", *["layer"] * (len(units) - 2), "output"]
    stations = tuple(
        Station(
            f"s{k}",
            role,
            (n,),
            pipeline=() if role == "input" else tuple(out) if role == "output" else tuple(pipeline),
            declared=(declared or {}).get(k, 0),
        )
        for k, (n, role) in enumerate(zip(units, roles, strict=True))
    )
    visits = tuple(Visit(s.name, k) for k, s in enumerate(stations))
    return canonical(Graph("net", stations, (Line("main", "paths", visits, count, generator),)))


@st.composite
def sizes(draw: st.DrawFn) -> int:
    return 1 << draw(st.integers(0, 6)) if draw(st.booleans()) else draw(st.integers(1, 70))


@st.composite
def models(draw: st.DrawFn, output=None) -> Graph:
    """A chain of paths with any stages, silent units and generators; perhaps mirrored, dense and skipping lines."""
    depth = draw(st.integers(2, 4))
    units = [draw(sizes()) for _ in range(depth)]
    mirrored = draw(st.booleans()) and output is None
    if mirrored:
        units += units[-2::-1]
    stations: list[Station] = []
    for k, n in enumerate(units):
        role = "input" if k == 0 else "output" if k == len(units) - 1 else "layer"
        pipeline = [BIAS] if draw(st.booleans()) else []
        pipeline += draw(st.lists(st.sampled_from([*ELEMENTWISE, *WHOLE]), max_size=2))
        if role == "output" and output is not None:
            pipeline = [*pipeline[:1], *output]
        declared = draw(st.integers(1, n)) if draw(st.integers(0, 3)) == 0 else 0
        stations.append(Station(f"s{k}", role, (n,), pipeline=tuple(pipeline), declared=declared))
    count = draw(st.one_of(st.integers(1, 200), st.sampled_from([64, 256, 1024, 768])))
    visits = tuple(draw(visits_of(s, k)) for k, s in enumerate(stations))
    if mirrored:
        half = len(units) // 2
        tied = draw(st.booleans())
        lines = [
            Line("main", "paths", visits[: half + 1], count, draw(st.sampled_from(GENERATORS))),
            Line("back", "paths", visits[half:], count, mirror="main", tied=tied),
        ]
    else:
        lines = [Line("main", "paths", visits, count, draw(st.sampled_from(GENERATORS)))]
    extra = draw(st.sampled_from(["", "paths", "dense", "skip", "tied"]))
    ends = Visit("s0", 3), Visit(stations[-1].name, 5)
    if extra == "paths":
        lines.append(Line("more", "paths", ends, draw(st.integers(1, 300))))
    elif extra == "dense":
        lines.append(Line("more", "dense", ends))
    elif extra == "skip" and units[0] == units[-1]:
        lines.append(Line("more", "skip", ends, scale=-0.5))
    elif extra == "tied" and depth > 2:
        stations.insert(1, Station("t", "layer", (draw(sizes()),), pipeline=(Call("tanh"),)))
        lines.append(Line("more", "dense", (Visit("s0", 0), Visit("t", 0))))
        if units[0] == units[-1] and stations[0].declared == stations[-1].declared:
            lines.append(Line("again", "dense", (Visit("t", 0), ends[1]), mirror="more", tied=True))
        else:
            lines.append(Line("again", "dense", (Visit("t", 0), ends[1])))
    return canonical(Graph("net", tuple(stations), tuple(lines)))


def drawn(graph: Graph, seed: int, scale: float = 1.0) -> dict[str, np.ndarray]:
    """Weights that keep sums near one."""
    rng = np.random.default_rng(seed)
    found = {}
    for name, shape in expected_tensors(graph).items():
        size = scale / np.sqrt(max(1.0, np.prod(shape) / 16)) if not name.endswith("bias") else 0.3
        found[name] = (rng.normal(size=shape) * size).astype(np.float32)
    return found


def inputs(graph: Graph, batch: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(batch, sum(s.real_units for s in graph.inputs))).astype(np.float32)


def outputs(graph: Graph) -> int:
    return sum(s.real_units for s in graph.outputs)


def cross_entropy(graph: Graph, weights, x, labels):
    """Loss and gradients in float64, for an output that ends in softmax."""
    y = interp.forward(graph, weights, x)
    rows = np.arange(len(labels))
    dy = np.zeros_like(y)
    dy[rows, labels] = -1.0 / y[rows, labels] / len(labels)
    return -np.log(y[rows, labels]).mean(), interp.backward(graph, weights, x, dy)[1]


def squares(graph: Graph, weights, x, target):
    """Loss and gradients in float64."""
    y = interp.forward(graph, weights, x)
    off = y - target
    return (off**2).mean(), interp.backward(graph, weights, x, 2.0 * off / off.size)[1]


class PerPath:
    """An optimizer in float64 that knows nothing but tensors: one weight, one set of moments a path."""

    def __init__(self, optimizer, weights, fixed=False):
        self.optimizer, self.fixed, self.step = optimizer, fixed, 0
        self.weights = {name: w.astype(np.float64) for name, w in weights.items()}
        self.signs = {name: np.where(np.signbit(w), -1.0, 1.0) for name, w in weights.items()}
        self.first = {name: np.zeros(w.shape) for name, w in weights.items()}
        self.second = {name: np.zeros(w.shape) for name, w in weights.items()}

    def update(self, gradients, lr=None, outside=None):
        o, self.step = self.optimizer, self.step + 1
        lr = o.lr if lr is None else lr
        for name, g in gradients.items():
            w, m, v = self.weights[name], self.first[name], self.second[name]
            if isinstance(o, Adam):
                if o.decoupled:
                    w = w - lr * o.weight_decay * w
                else:
                    g = g + o.weight_decay * w
                m, v = o.beta1 * m + (1 - o.beta1) * g, o.beta2 * v + (1 - o.beta2) * g * g
                w = w - lr * (m / (1 - o.beta1**self.step)) / (np.sqrt(v / (1 - o.beta2**self.step)) + o.eps)
            else:
                g = g + o.weight_decay * w
                m = o.momentum * m + g if isinstance(o, Momentum) else g
                w = w - lr * m
            if self.fixed and not name.endswith(".bias"):
                w = np.where(w * self.signs[name] < 0, 0.0, w)
            if outside is not None and name in outside:
                w = np.where(outside[name], self.weights[name], w)
                m, v = np.where(outside[name], self.first[name], m), np.where(outside[name], self.second[name], v)
            self.weights[name], self.first[name], self.second[name] = w, m, v


OPTIMIZERS = [
    Sgd(0.1),
    Sgd(0.1, weight_decay=0.05),
    Momentum(0.05, 0.9, weight_decay=0.01),
    Adam(0.01, eps=1e-3, weight_decay=0.01),
    Adam(0.01, eps=1e-3, weight_decay=0.1, decoupled=True),
]
