"""Quantized nets for tests, and an oracle in Python's own integers and fractions that shares no code with pathc."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from pathc.ir.facts import Scale, Weights
from pathc.ir.generators import resolve
from pathc.ir.graph import Graph, Line, Station, Visit
from pathc.ir.types import Call, plain_type
from pathc.ir.weights import expected_tensors

BIAS = Call("bias")
LIMITS = {"i8": 127, "i4": 7, "t2": 1}
RANGES = {"u8": (0, 255), "i8": (-128, 127), "i4": (-8, 7), "t2": (-1, 1)}


def station(name, role, units, *pipeline, declared=0):
    return Station(name, role, (units,), pipeline=tuple(pipeline), declared=declared)


def visits(*names, dims=None):
    return tuple(Visit(name, dims[i] if dims else i) for i, name in enumerate(names))


def rich(activation):
    """Padded stations, a tied mirror, a dense line, random paths and a skip; two outputs, one given as sums."""
    stations = (
        station("x", "input", 8, declared=6),
        station("e", "layer", 5, BIAS, activation),
        station("c", "layer", 8, BIAS, activation, declared=7),
        station("d", "layer", 5, activation),
        station("y", "output", 8, BIAS, activation, declared=5),
        station("z", "output", 6),
    )
    lines = (
        Line("encode", "paths", visits("x", "e", "c"), 37),
        Line("decode", "paths", visits("c", "d", "y"), 37, mirror="encode", tied=True),
        Line("res", "skip", visits("c", "y"), scale=-0.5),
        Line("up", "dense", visits("d", "z")),
    )
    return Graph("rich", stations, lines)


def quantized(graph, seed, kind="i8", per="tensor"):
    """The graph with formats and scales everywhere, and random integer weights that agree on the sums' scales."""
    rng = np.random.default_rng(seed)
    facts, scale = [], {}
    for each in graph.stations:
        if each.name == "z":
            continue
        kind_here = "u8" if each.stage("relu") or each.stage("sigmoid") else "i8"
        multiplier, shift = (1, 4) if seed % 2 else (int(rng.integers(40000, 50000)) | 1, 20)
        facts.append(Scale(each.name, plain_type(kind_here), multiplier, shift))
        scale[each.name] = math.ldexp(multiplier, -shift)
    tensors, sums = {}, {}
    for name, shape in expected_tensors(graph).items():
        line, _, number = name.partition(".")
        if number == "bias":
            continue
        drawn = graph.line(line)
        source, destination = (drawn.visits[int(number) + d].station for d in (-1, 0))
        facts.append(Weights(line, int(number), plain_type(kind), per))
        limit = LIMITS[kind]
        tensors[name] = rng.integers(-limit, limit + 1, shape).astype(np.int8)
        units = graph.station(destination).real_units
        own = rng.uniform(0.5, 2.0, units) / 64 if per == "unit" and line == "up" else np.full(1, 1 / 64)
        tensors[f"{name}.scale"] = (own * 0.0625 / scale[source]).astype(np.float32)
        sums[destination] = tensors[f"{name}.scale"].astype(np.float64) * scale[source]
    for each in graph.stations:
        if each.stage("bias"):
            tensors[f"{each.name}.bias"] = rng.normal(0, 0.5, each.real_units).astype(np.float32)
    return replace(graph, facts=tuple(facts)), tensors


def edges_of(graph, line, junction):
    """(source, destination, index of the weight) of every edge of a junction."""
    if line.kind == "paths":
        generator = resolve(line, graph)
        source, destination = (generator.units(v, 0, generator.count).tolist() for v in (junction - 1, junction))
        return list(zip(source, destination, range(len(source)), strict=True))
    ends = [graph.station(line.visits[v].station).real_units for v in (junction - 1, junction)]
    if line.kind == "skip":
        return [(u, u, u) for u in range(ends[0])]
    return [(s, d, (d, s)) for d in range(ends[1]) for s in range(ends[0])]
