"""Nets for the tests of the IR: hand-made ones, and one that uses every feature of the interpreter."""

from __future__ import annotations

import numpy as np

from pathc.ir.graph import Graph, Line, Station, Visit
from pathc.ir.types import Call
from pathc.ir.weights import expected_tensors

BIAS = Call("bias")
ACTIVATIONS = (
    Call("identity"),
    Call("relu"),
    Call("leaky"),
    Call("leaky", (("slope", 0.25),)),
    Call("abs"),
    Call("tanh"),
    Call("sigmoid"),
    Call("hardtanh"),
    Call("hardtanh", (("low", -0.5), ("high", 2.0))),
    Call("softmax"),
    Call("kwinners", (("k", 2),)),
)


def station(name, role, units, *pipeline, declared=0):
    return Station(name, role, (units,), pipeline=tuple(pipeline), declared=declared)


def visits(*names, dims=None):
    return tuple(Visit(name, dims[i] if dims else i) for i, name in enumerate(names))


def chain(sizes, count, pipelines=None, generator=None):
    """A line of paths through stations s0, s1, ..."""
    roles = ["input", *["layer"] * (len(sizes) - 2), "output"]
    stations = tuple(
        station(f"s{i}", role, n, *(pipelines[i] if pipelines else ()))
        for i, (role, n) in enumerate(zip(roles, sizes, strict=True))
    )
    line = Line("main", "paths", visits(*(s.name for s in stations)), count, generator or Call("sobol"))
    return Graph("net", stations, (line,))


def rich_graph(activation, tied=True):
    """Mirrored (tied) paths and dense lines, padded stations, a skip, random paths, two outputs."""
    stations = (
        station("x", "input", 8, activation, declared=6),
        station("e", "layer", 5, BIAS, activation),
        station("c", "layer", 8, BIAS, activation, declared=7),
        station("d", "layer", 5, activation),
        station("y", "output", 8, BIAS, activation, declared=5),
        station("z", "output", 8, activation, declared=6),
    )
    lines = (
        Line("encode", "paths", visits("x", "e", "c"), 37),
        Line("decode", "paths", visits("c", "d", "y"), 37, mirror="encode", tied=tied),
        Line("shortcut", "paths", visits("x", "c", dims=(3, 4)), 19, Call("random", (("seed", 3),))),
        Line("res", "skip", visits("c", "y"), scale=-0.5),
        Line("down", "dense", visits("x", "d")),
        Line("up", "dense", visits("d", "z"), mirror="down", tied=tied),
    )
    return Graph("rich", stations, lines)


def random_weights(graph, seed=0, dtype=np.float64):
    rng = np.random.default_rng(seed)
    return {name: rng.normal(size=shape).astype(dtype) for name, shape in expected_tensors(graph).items()}
