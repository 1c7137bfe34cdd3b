"""Recurrent nets for the tests: one cell behind paths, a dense line, a skip, in every structure."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from pathc.ir.graph import Graph, Line, Station, Visit
from pathc.ir.types import Call, Quantity, Word
from pathc.ir.weights import expected_tensors

STRUCTURES = {
    "full": Call("full"),
    "grouped": Call("grouped", (("groups", 3),)),
    "band": Call("band", (("width", 5),)),
    "share": Call("band", (("width", Quantity(25.0, "%")),)),
    "ring": Call("ring", (("width", 5),)),
    "diag": Call("diag"),
    "sparse": Call("sparse", (("density", Quantity(30.0, "%")), ("seed", 3))),
    "paths": Call("paths", (("count", 40),)),
}
CELLS = ("rnn", "lstm", "gru", "ligru", "qrnn", "sru", "indrnn", "linear")
STRUCTURED = ("rnn", "lstm", "gru", "ligru", "linear")


def cell(name, recur=None, **options):
    words = {key: Word(value) if isinstance(value, str) else value for key, value in options.items()}
    if recur is not None:
        words["recur"] = recur
    order = ("recur", "activation", "gates", "reset", "window", "bidirectional", "stateful")
    return Call(name, tuple((key, words[key]) for key in order if key in words))


def net(stage, units=12, inputs=7, outputs=4, bias=True, skip=False, dense=False, behind=()):
    pipeline = (Call("bias"), stage, *behind) if bias else (stage, *behind)
    size = units if skip else inputs
    stations = (
        Station("x", "input", (size,)),
        Station("c", "layer", (units,), pipeline=pipeline),
        Station("y", "output", (outputs,), pipeline=(Call("bias"), Call("tanh"))),
    )
    lines = [Line("main", "paths", (Visit("x", 0), Visit("c", 1), Visit("y", 2)), 32)]
    if skip:
        lines.append(Line("over", "skip", (Visit("x", 0), Visit("c", 1)), scale=0.5))
    if dense:
        lines.append(Line("head", "dense", (Visit("x", 0), Visit("c", 1))))
    return Graph("net", stations, tuple(lines))


def random_weights(graph, seed=0, scale=0.4, dtype=np.float64):
    rng = np.random.default_rng(seed)
    return {name: (scale * rng.normal(size=shape)).astype(dtype) for name, shape in expected_tensors(graph).items()}


@st.composite
def stages(draw):
    name = draw(st.sampled_from(CELLS))
    both = draw(st.sampled_from(["none", "none", "concat", "sum"]))
    recur = draw(st.sampled_from(list(STRUCTURES.values()))) if name in STRUCTURED else None
    options = {"bidirectional": both}
    if name in ("lstm", "gru", "ligru"):
        options["gates"] = draw(st.sampled_from(["separate", "shared"]))
    if name == "gru":
        options["reset"] = draw(st.sampled_from(["after", "before"]))
    if name == "rnn":
        options["activation"] = draw(st.sampled_from(["tanh", "relu", "sigmoid", "identity"]))
    if name == "qrnn":
        options["window"] = draw(st.sampled_from([1, 3]))
    return cell(name, recur, **options)


def weights_for(graph, seed):
    """Weights under which no state explodes."""
    return {
        n: (w * (0.4 if "recurrent" in n else 1)).astype(np.float32) for n, w in random_weights(graph, seed).items()
    }
