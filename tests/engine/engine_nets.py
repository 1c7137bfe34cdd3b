"""Quantized nets for tests of lowering."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from pathc.ir.facts import Scale, Weights
from pathc.ir.graph import Graph, Line, Station, Visit
from pathc.ir.types import Call, plain_type
from pathc.ir.weights import expected_tensors

BIAS = Call("bias")
SOBOL = Call("sobol")
LIMITS = {"i8": 127, "i4": 7, "t2": 1}


def chain(count: int, *sizes: int, generator: Call = SOBOL, activation: str = "relu") -> Graph:
    """Layers of these sizes joined by paths."""
    last = len(sizes) - 1
    stations = [
        Station(f"s{i}", "input" if i == 0 else "output" if i == last else "layer", (n,),
                pipeline=(BIAS, Call(activation)) if i else ())
        for i, n in enumerate(sizes)
    ]  # fmt: skip
    visits = tuple(Visit(station.name, i) for i, station in enumerate(stations))
    return Graph("chain", tuple(stations), (Line("main", "paths", visits, count, generator=generator),))


def rich(activation: Call) -> Graph:
    """Padded stations, a tied mirror, a dense line, a skip; two outputs, one given as sums."""
    stations = (
        Station("x", "input", (8,), declared=6),
        Station("e", "layer", (5,), pipeline=(BIAS, activation)),
        Station("c", "layer", (8,), pipeline=(BIAS, activation), declared=7),
        Station("d", "layer", (5,), pipeline=(activation,)),
        Station("y", "output", (8,), pipeline=(BIAS, activation), declared=5),
        Station("z", "output", (6,)),
    )
    walk = {name: tuple(Visit(s, i) for i, s in enumerate(name)) for name in ("xec", "cdy", "cy", "dz")}
    lines = (
        Line("encode", "paths", walk["xec"], 37),
        Line("decode", "paths", walk["cdy"], 37, mirror="encode", tied=True),
        Line("res", "skip", walk["cy"], scale=-0.5),
        Line("up", "dense", walk["dz"]),
    )
    return Graph("rich", stations, lines)


def quantized(graph: Graph, seed: int, kind: str = "i8", per: str = "tensor") -> tuple[Graph, dict[str, np.ndarray]]:
    """The graph with formats and scales everywhere but at `z`, and random integer weights of scales that agree."""
    rng = np.random.default_rng(seed)
    facts, scale = [], {}
    for each in graph.stations:
        if each.name != "z":
            multiplier, shift = (1, 4) if seed % 2 else (int(rng.integers(40000, 50000)) | 1, 20)
            facts.append(Scale(each.name, plain_type("u8" if each.stage("relu") else "i8"), multiplier, shift))
            scale[each.name] = math.ldexp(multiplier, -shift)
    tensors: dict[str, np.ndarray] = {}
    for name, shape in expected_tensors(graph).items():
        line, _, number = name.partition(".")
        if number == "bias":
            continue
        source, destination = (graph.line(line).visits[int(number) + d].station for d in (-1, 0))
        facts.append(Weights(line, int(number), plain_type(kind), per))
        tensors[name] = rng.integers(-LIMITS[kind], LIMITS[kind] + 1, shape).astype(np.int8)
        units = graph.station(destination).real_units
        own = rng.uniform(0.5, 2.0, units) / 64 if per == "unit" and line == "up" else np.full(1, 1 / 64)
        tensors[f"{name}.scale"] = (own * 0.0625 / scale[source]).astype(np.float32)
    for each in graph.stations:
        if each.stage("bias"):
            tensors[f"{each.name}.bias"] = rng.normal(0, 0.5, each.real_units).astype(np.float32)
    return replace(graph, facts=tuple(facts)), tensors
