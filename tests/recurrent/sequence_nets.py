"""Nets that have extents and sequences: texts, and weights under which no state explodes."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

import pathc
from pathc.ir.graph import Graph
from pathc.ir.weights import VARIANCE, expected_tensors
from pathc.support.source import Source

CELLS = ("rnn(recur = diag)", "lstm(recur = band(3))", "gru(gates = shared)", "ligru(recur = diag)", "qrnn", "sru",
         "indrnn", "linear", "gru(reset = before, recur = ring(3))")  # fmt: skip
# The default eps makes a channel whose values hardly differ a hundred times larger, rounding errors included.
NORM = "batchnorm(eps = 0.1)"


def load(text: str) -> Graph:
    return pathc.load(Source("net.path", "pathc 1\n" + text))


def weights_of(graph: Graph, seed: int = 0) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    found = {name: 0.4 * random.normal(size=shape) for name, shape in expected_tensors(graph).items()}
    return {name: np.abs(w) + 0.5 if name.endswith(VARIANCE) else w for name, w in found.items()}


@st.composite
def front_texts(draw: st.DrawFn) -> str:
    """A net with a station of extents and a cell, behind or on top of it, over given steps or steps it makes."""
    cell, both = draw(st.sampled_from(CELLS)), draw(st.sampled_from(["none", "concat", "sum"]))
    cell = f"{cell[:-1] if cell.endswith(')') else cell}{', ' if '(' in cell else '('}bidirectional = {both})"
    made = draw(st.booleans())
    extents = draw(st.sampled_from(["7", "6x5"]))
    rank, bias = 1 + ("x" in extents), draw(st.sampled_from(["bias | ", ""]))
    kernel, pool = "x".join("3" * rank), "x".join("2" * rank)
    lines = [f"input x[{draw(st.sampled_from([1, 3]))}, {extents}]"]
    norm = draw(st.sampled_from(["", f"{NORM} | "]))
    end = draw(st.sampled_from(["relu", "tanh", f"maxpool({pool})"])) + (" | steps" if made else "")
    lines.append(f"layer c1[8] : conv({kernel}, pad = same, stride = {draw(st.integers(1, 2))}) | {bias}{norm}{end}")
    names, skips = ["x", "c1"], list[str]()
    if not made and draw(st.booleans()):
        shortcut = "shortcut | " if "sru" not in cell and draw(st.booleans()) else ""
        pool = draw(st.sampled_from(["maxpool(global)", "avgpool(global)"]))
        lines.append(f"layer h[8] : conv({kernel}, pad = same) | {bias}{norm}{shortcut}{pool} | {cell}")
        skips += ["skip g : c1 -> h { scale = 0.5 }"] if shortcut else []
    else:
        lines.append(f"layer h[6] : {bias}{norm}{cell} | relu")
    lines.append("output y[3] : bias | tanh")
    if draw(st.booleans()):
        lines.append("layer n[6] : batchnorm(eps = 0.1)" if "layer h[6]" in lines[2] else f"layer n[8] : {NORM}")
        skips.append("skip between : h -> n")
        skips.append("dense last : n -> y")
        return "\n".join([*lines, f"dense main : {' -> '.join([*names, 'h'])}", *skips])
    return "\n".join([*lines, f"dense main : {' -> '.join([*names, 'h', 'y'])}", *skips])
