"""Nets with convolutions: texts, weights, and an evaluation by plain loops that shares no code with pathc."""

from __future__ import annotations

from itertools import product

import numpy as np
from hypothesis import assume
from hypothesis import strategies as st

from pathc.frontend.api import load
from pathc.ir.graph import Graph
from pathc.ir.weights import VARIANCE, expected_tensors
from pathc.support.diagnostics import PathcError
from pathc.support.source import Source


def net(text: str) -> Graph:
    return load(Source("net.path", "pathc 1\n" + text))


def weights_of(graph: Graph, seed: int = 0) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    found = {name: random.normal(size=shape) for name, shape in expected_tensors(graph).items()}
    return {name: np.abs(w) + 0.5 if name.endswith(VARIANCE) else w for name, w in found.items()}


def inputs_of(graph: Graph, batch: int, seed: int = 1) -> np.ndarray:
    station = graph.inputs[0]
    return np.random.default_rng(seed).normal(size=(batch, station.real_units, *station.shape[1:]))


def correlated(x: np.ndarray, edges: list, result, stride, dilation, front) -> np.ndarray:
    """y[b, out, p] = sum of w[tap] * x[b, in, p * stride + tap * dilation - front] over edges (out, in, w)."""
    channels = 1 + max(out for out, _, _ in edges)
    y = np.zeros((len(x), channels, *result))
    for out, into, w in edges:
        for place in np.ndindex(*result):
            for tap in np.ndindex(*w.shape):
                at = tuple(p * s + t * d - f for p, s, t, d, f in zip(place, stride, tap, dilation, front, strict=True))
                if all(0 <= a < n for a, n in zip(at, x.shape[2:], strict=True)):
                    y[(slice(None), out, *place)] += w[tap] * x[(slice(None), into, *at)]
    return y


def windows(x: np.ndarray, window, stride):
    """Every window of a pool: (position, values [batch, channels, values of the window])."""
    result = tuple((n - w) // s + 1 for n, w, s in zip(x.shape[2:], window, stride, strict=True))
    for place in product(*map(range, result)):
        cut = tuple(slice(p * s, p * s + w) for p, s, w in zip(place, stride, window, strict=True))
        yield place, x[(..., *cut)].reshape(*x.shape[:2], -1)


# The default eps makes a channel whose values hardly differ a hundred times larger, rounding errors included.
NORM = "batchnorm(eps = 0.1)"
STAGES = ("relu", "leaky(0.1)", "tanh", NORM, "softmax", "channelshuffle(2)", "kwinners(2)", "sigmoid")


@st.composite
def texts(draw: st.DrawFn, smooth: bool = False) -> str:
    """A net of two or three stations with extents and a flat output, in one or two dimensions."""
    rank = draw(st.integers(1, 2))
    extents = [draw(st.integers(5, 9)) for _ in range(rank)]
    size = lambda numbers: "x".join(map(str, numbers))  # noqa: E731
    lines = [f"input x[{draw(st.sampled_from([1, 3, 4]))}, {size(extents) if rank == 2 else extents[0]}]"]
    names = ["x"]
    for k in range(draw(st.integers(1, 2))):
        kernel = [draw(st.integers(1, 3)) for _ in range(rank)]
        options = [
            size(kernel) if rank == 2 else str(kernel[0]),
            draw(st.sampled_from(["pad = same", "pad = valid", "pad = 1"])),
            f"stride = {draw(st.integers(1, 2))}",
        ]
        if k == 0:
            options.append(f"dilation = {draw(st.integers(1, 2))}")
        if rank == 1 and draw(st.booleans()):
            options.append("causal = true")
        words = [s for s in STAGES if s in ("tanh", "sigmoid", NORM, "channelshuffle(2)") or not smooth]
        stages = draw(st.lists(st.sampled_from(words), max_size=2, unique=True))
        bias = draw(st.sampled_from([["bias"], []]))
        if draw(st.booleans()):
            stages.insert(
                0,
                draw(st.sampled_from(["avgpool(1)", "pick(1)"] if smooth else ["maxpool(1)", "avgpool(1)", "pick(1)"])),
            )
        pipeline = " | ".join([f"conv({', '.join(options)})", *bias, *stages])
        lines.append(f"layer h{k}[{draw(st.sampled_from([4, 8]))}] : {pipeline}")
        names.append(f"h{k}")
    lines.append("output y[3] : bias | tanh" if smooth else "output y[3] : bias | leaky(0.1)")
    if draw(st.booleans()):
        count = draw(st.sampled_from([8, 13, 32]))
        lines.append(f"paths main : {' -> '.join(names)} {{ count = {count} }}")
    else:
        lines.append(f"dense main : {' -> '.join(names)}")
    lines.append(f"dense head : {names[-1]} -> y")
    text = "\n".join(lines)
    assume(fits(text))
    return text


def fits(text: str) -> bool:
    """Whether no filter of the net is larger than what arrives; other mistakes are raised."""
    try:
        net(text)
    except PathcError as refused:
        if {d.code for d in refused.diagnostics} != {"E0231"}:
            raise
        return False
    return True
