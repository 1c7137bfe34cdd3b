"""Random nets with extents in integers: texts, formats, and an evaluation in Python's own integers and fractions."""

from __future__ import annotations

import math
import sys
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
from hypothesis import assume
from hypothesis import strategies as st

from pathc.ir.catalogue import options_of
from pathc.ir.extents import per_axis, read_extents
from pathc.ir.facts import Scale, Weights
from pathc.ir.filters import filter_of
from pathc.ir.generators import resolve
from pathc.ir.interp.activations import activation
from pathc.ir.types import Word, plain_type
from pathc.ir.weights import expected_tensors

sys.path.insert(0, str(Path(__file__).parent.parent / "filters"))

from filter_nets import correlated, fits, net, windows

LIMITS = {"i8": 127, "i4": 7, "t2": 1}
BENDS = ("relu", "abs", "identity")
AFTER = ("relu", "leaky(0.25)", "leaky(-0.5)", "abs", "tanh", "sigmoid", "hardtanh(low = -0.5, high = 1.5)")


@st.composite
def texts(draw: st.DrawFn) -> str:
    """A net of filters, pools, a skip or a concatenation, and a flat end or none, in one or two dimensions."""
    rank = draw(st.integers(1, 2))
    extents = [draw(st.integers(5, 8)) for _ in range(rank)]
    size = lambda numbers: "x".join(map(str, numbers))  # noqa: E731
    spread, one, three = size(extents), size([1] * rank), size([3] * rank)
    channels = draw(st.sampled_from([1, 3, 4, 6]))
    lines = [f"input x[{channels}, {spread}]{draw(st.sampled_from(['', ' : relu']))}"]
    kernel = [draw(st.integers(1, 3)) for _ in range(rank)]
    options = [size(kernel), draw(st.sampled_from(["pad = same", "pad = valid", "pad = 1"])),
               f"stride = {draw(st.integers(1, 2))}", f"dilation = {draw(st.integers(1, 2))}"]  # fmt: skip
    if rank == 1 and draw(st.booleans()):
        options.append("causal = true")
    bias = draw(st.sampled_from([["bias"], []]))
    pools = ["maxpool(1)", "avgpool(1)", "pick(1)", "maxpool(2, stride = 1)", "avgpool(2, stride = 1)",
             "avgpool(2)", "pick(2, tap = 1)", "maxpool(global)", "avgpool(global)"]  # fmt: skip
    front = draw(st.lists(st.sampled_from([*BENDS, *pools]), max_size=2))
    behind = draw(st.lists(st.sampled_from(["maxpool(1)", "maxpool(2)", "pick(1)", "channelshuffle(2)"]), max_size=2))
    stages = [f"conv({', '.join(options)})", *bias, *front, draw(st.sampled_from(AFTER)), *behind]
    a = draw(st.sampled_from([4, 8]))
    lines.append(f"layer a[{a}] : {' | '.join(stages)}")
    kind = draw(st.sampled_from(["dense", "paths"]))
    count = f" {{ count = {draw(st.sampled_from([5, 16, 32]))} }}" if kind == "paths" else ""
    joined = draw(st.sampled_from(["skip", "concat", "groups", "two", "flat"]))
    if joined == "skip":
        lines.append(f"layer b[{a}] : conv({three}, pad = same) | bias | relu")
        lines.append(f"skip s : a -> b {{ scale = {draw(st.sampled_from([1, -0.5, 0.3]))} }}")
        lines.append("dense q : a -> b")
    elif joined == "concat":
        lines.append(f"layer c[5] : conv({one}) | leaky(0.1)")
        first = "\n".join([*lines, "output y[1]", "dense p : x -> a", "dense q : a -> y"])
        assume(fits(first))
        spread = size(read_extents(net(first).station("a")))
        lines.append(f"layer b[{a + 5}, {spread}] : concat | identity")
        lines.append("dense q : a -> c")
        lines += ["skip s : c -> b", "skip t : a -> b { scale = 0.7 }"]
    elif joined == "groups":
        lines.append(f"layer b[4] : conv({one}, groups = 2) | relu")
        lines.append("dense q : a -> b")
    elif joined == "flat":
        lines += ["layer b[6] : bias | relu", "dense q : a -> b"]
    else:
        lines.append(f"layer b[3] : conv({one}) | bias | tanh")
        lines += ["dense q : a -> b", f"paths r : a -> b {{ count = {draw(st.sampled_from([3, 9]))} }}"]
    lines.append(f"{kind} p : x -> a{count}")
    if joined == "flat" or draw(st.booleans()):
        lines += ["output y[3] : bias | relu", "dense head : b -> y"]
    else:
        lines += [f"output y[2] : conv({one}) | {draw(st.sampled_from(['relu', 'avgpool(global)', 'bias']))}",
                  "dense head : b -> y"]  # fmt: skip
    declared = [line for line in lines if line.startswith(("input", "layer", "output"))]
    text = "\n".join([*declared, *(line for line in lines if line not in declared)])
    assume(fits(text))
    return text


def formatted(graph, seed, kind="i8", per="tensor", sums=()):
    """The graph with formats everywhere but at `sums`, and random integer weights; lines agree on scales of sums."""
    rng = np.random.default_rng(seed)
    facts, scale = [], {}
    for each in graph.stations:
        if each.name in sums:
            continue
        low = {"relu", "sigmoid"}.intersection(s.name for s in each.pipeline)
        multiplier, shift = (1, 4) if seed % 3 == 0 else (int(rng.integers(40000, 50000)) | 1, 20)
        facts.append(Scale(each.name, plain_type("u8" if low else "i8"), multiplier, shift))
        scale[each.name] = math.ldexp(multiplier, -shift)
    tensors: dict[str, np.ndarray] = {}
    steps: dict[str, np.ndarray] = {}
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
        own = rng.uniform(0.5, 2.0, units if per == "unit" else 1) / 16 / limit
        own = steps.setdefault(destination, own)
        if per == "unit" and drawn.kind == "dense" and shape[0] != units:
            own = steps[destination] = np.full(1, 1 / 16 / limit)
        each = (own / scale[source]).astype(np.float32)
        tensors[f"{name}.scale"] = each if len(each) > 1 else each.reshape(())
    for each in graph.stations:
        if each.stage("bias"):
            tensors[f"{each.name}.bias"] = rng.normal(0, 0.5, each.real_units).astype(np.float32)
    return replace(graph, facts=tuple(facts)), tensors


def exactly(graph, tensors, network, rows):
    """Sums and values of every station, int64 [batch, channels, *extents], by loops over the edges."""
    sums, values = {}, {}
    for each in network.stations:
        station = each.station
        shape = (len(next(iter(rows.values()))), station.real_units, *station.shape[1:])
        total = np.zeros(shape) + each.bias.reshape(station.units, *shape[2:])[: station.real_units]
        if station.name in rows:
            total += rows[station.name].reshape(shape)
        first = 0
        for line, junction in [(drawn, j) for drawn in graph.lines for j in drawn.junctions]:
            if line.visits[junction].station != station.name:
                continue
            source = graph.station(line.visits[junction - 1].station)
            heard = values[source.name].astype(np.float64)
            if line.kind == "skip":
                factor = Fraction(line.scale) * Fraction(network.station(source.name).scale)
                steps = each.sum_scale.reshape(shape[1:])[first : first + source.real_units]
                factors = np.vectorize(lambda step, f=factor: float(round(f / Fraction(float(step)))))(steps)
                total[:, first : first + source.real_units] += factors * heard
                first += source.real_units if station.stage("concat") else 0
            else:
                total += _heard(graph, line, junction, source, station, tensors[f"{line.name}.{junction}"], heard)
        sums[station.name] = total.astype(np.int64)
        values[station.name] = _read(each, sums[station.name])
    return sums, values


def _heard(graph, line, junction, source, station, weights, values):
    geometry = filter_of(source, station)
    if geometry is None:
        flat = values.reshape(len(values), -1) @ weights.T.astype(np.float64)
        return flat.reshape(len(values), station.real_units, *station.shape[1:])
    taps = geometry.kernel
    if line.kind == "dense":
        conv = station.stage("conv")
        groups = options_of(conv)["groups"] if conv is not None else 1
        into, own = source.real_units // groups, station.real_units // groups
        edges = [(o, o // own * into + i, weights[o, i].reshape(taps).astype(np.float64))
                 for o in range(station.real_units) for i in range(into)]  # fmt: skip
    else:
        generator = resolve(line, graph)
        ends = (generator.units(v, 0, generator.count).tolist() for v in (junction, junction - 1))
        edges = [(o, i, w.reshape(taps).astype(np.float64)) for o, i, w in zip(*ends, weights, strict=True)]
    edges.append((station.real_units - 1, 0, np.zeros(taps)))
    return correlated(values, edges, geometry.result, geometry.stride, geometry.dilation, geometry.front)


def _read(each, sums):
    """The stages one after the other; sums are rounded by the last function that is none of windows."""
    if each.reading is None:
        return sums
    stages = [s for s in each.station.pipeline if s.name not in ("conv", "concat", "bias", "identity")]
    functions = [i for i, s in enumerate(stages) if activation(s) is not None]
    last, count, values = max(functions, default=-1), 1, sums
    if any(s.name == "avgpool" for s in stages[last + 1 :]):
        last = len(stages) - 1
    for stage in stages[: last + 1]:
        if activation(stage) is None:
            values, taps = _window(stage, values)
            count *= taps if stage.name == "avgpool" else 1
        elif stage is not stages[last]:
            values = np.maximum(values, 0) if stage.name == "relu" else np.abs(values)
    values = _rounded(each, values, count)
    for stage in stages[last + 1 :]:
        values, _ = _window(stage, values)
    return values


def _window(stage, values):
    """What a stage makes of windows, and how many values these have."""
    rank = values.ndim - 2
    options = options_of(stage)
    if stage.name == "channelshuffle":
        apart = values.reshape(len(values), options["groups"], -1, *values.shape[2:])
        return apart.swapaxes(1, 2).reshape(values.shape), 1
    window = values.shape[2:] if options["window"] == Word("global") else per_axis(options["window"], rank)
    stride = window if options["stride"] == Word("window") else per_axis(options["stride"], rank)
    if options["window"] == Word("global"):
        stride = window
    found = list(windows(values, window, stride))
    result = tuple(1 + max(place[axis] for place, _ in found) for axis in range(rank))
    made = np.zeros((*values.shape[:2], *result), np.int64)
    for place, part in found:
        tap = options.get("tap")
        one = part[..., tap] if isinstance(tap, int) else part.max(-1) if stage.name == "maxpool" else part.sum(-1)
        made[(..., *place)] = one
    return made, math.prod(window)


def _rounded(each, values, count):
    reading, channels = each.reading, values.shape[1]
    sides = [part.reshape(channels, -1) for part in (reading.positive, reading.negative, reading.shift)]
    assert all((part == part[:, :1]).all() for part in sides)
    positive, negative, shift = (part[:, 0].tolist() for part in sides)
    step = each.sum_scale.reshape(channels, -1)[:, 0] / count
    made = np.zeros(values.shape, np.int64)
    for at, total in np.ndenumerate(values):
        factor = positive[at[1]] if total >= 0 else negative[at[1]]
        value = round(Fraction(int(total) * factor, 1 << shift[at[1]]))
        value = min(max(value, reading.low), reading.high)
        made[at] = reading.table[value + 128] if reading.table is not None else value
    if reading.table is None:
        largest = np.maximum(np.abs(positive), np.abs(negative)) / 2.0 ** np.array(shift)
        assert np.allclose(largest, step / each.scale, rtol=2.0**-14)
    return made
