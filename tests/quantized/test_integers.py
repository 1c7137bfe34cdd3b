"""Integer arithmetic against Python's own integers and fractions, and the limits it keeps."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from quantized_nets import RANGES, edges_of, quantized, rich, station, visits

from pathc.ir.facts import Scale, Sums, Weights
from pathc.ir.graph import Graph, Line
from pathc.ir.interp import evaluate, forward
from pathc.ir.interp.junctions import float_tensors, tensor_of
from pathc.ir.quantized import (
    bits_for,
    bits_from_fan_in,
    evaluate_integers,
    format_of,
    integer_forward,
    integer_network,
    nearest_ratio,
    power_of_two,
    quantize_inputs,
    shift_right,
)
from pathc.ir.text import parse_graph, print_graph
from pathc.ir.types import Call, fixed_point, plain_type
from pathc.ir.verify import violations
from pathc.support.diagnostics import PathcError
from pathc.support.source import Source

ACTIVATIONS = [
    Call("identity"),
    Call("relu"),
    Call("abs"),
    Call("leaky", (("slope", 0.25),)),
    Call("leaky", (("slope", 0.1),)),
    Call("hardtanh", (("low", -0.5), ("high", 2.0))),
    Call("tanh"),
    Call("sigmoid"),
    Call("kwinners", (("k", 2),)),
]


@given(st.integers(-(1 << 47), 1 << 47), st.integers(0, 62))
def test_shift_rounds_ties_to_even(value, shift):
    assert int(shift_right(np.array([value]), shift)[0]) == round(Fraction(value, 1 << shift))


@given(st.floats(1e-13, 60000.0))
def test_ratio_is_near_and_canonical(value):
    for signed in (value, -value):
        ratio = nearest_ratio(signed)
        assert abs(ratio.value - signed) <= 2.0**-16 * value
        assert abs(ratio.multiplier) < 1 << 16
        assert ratio.shift == 0 or ratio.multiplier % 2 == 1


@pytest.mark.parametrize("exponent", [-40, -7, -1, 0])
def test_powers_of_two_are_shifts_alone(exponent):
    ratio = nearest_ratio(2.0**exponent)
    assert (ratio.multiplier, ratio.shift) == (1, -exponent)


@given(st.floats(1e-12, 30000.0))
def test_power_of_two_is_the_next_one_up(value):
    found = power_of_two(value).value
    assert value <= found < 2 * value


@pytest.mark.parametrize("value", [65536.0, float("inf"), float("nan")])
def test_ratio_beyond_the_multiplier_is_refused(value):
    with pytest.raises(PathcError, match="E1307"):
        nearest_ratio(value)


@given(st.integers(-(1 << 40), 0), st.integers(0, 1 << 40))
def test_bits_are_just_enough(low, high):
    bits = bits_for(low, high)
    assert -(1 << (bits - 1)) <= low
    assert high < 1 << (bits - 1)
    assert bits == 1 or not (-(1 << (bits - 2)) <= low and high < 1 << (bits - 2))


def test_bits_from_fan_in():
    u8, i8, t2 = (format_of(plain_type(n)) for n in ("u8", "i8", "t2"))
    assert bits_from_fan_in([(64, u8, i8)]) == bits_for(-64 * 255 * 128, 64 * 255 * 127)
    assert bits_from_fan_in([(256, u8, i8)]) == 24
    assert bits_from_fan_in([(258, u8, i8)]) == 25
    assert bits_from_fan_in([(300, u8, t2), (4, i8, i8)], bias=1000) == bits_for(
        -300 * 255 - 4 * 128 * 127 - 1000, 300 * 255 + 4 * 128 * 128 + 1000
    )


def expected(graph, tensors, network, rows):
    """Every sum and value by exact arithmetic."""
    scales = {f.station: Fraction(f.multiplier, 1 << f.shift) for f in graph.facts_of(Scale)}
    sums, values = {}, {}
    for each in network.stations:
        name, real = each.station.name, each.station.real_units
        total = [[int(b) for b in each.bias] for _ in range(len(rows["x"]))]
        if name in rows:
            total = [[int(v) for v in row] for row in rows[name]]
        for line in graph.lines:
            for junction in line.junctions:
                if line.visits[junction].station != name:
                    continue
                source = values[line.visits[junction - 1].station]
                for s, d, index in edges_of(graph, line, junction):
                    if line.kind == "skip":
                        scale = scales[line.visits[junction - 1].station]
                        weight = (
                            round(Fraction(line.scale) * scale / Fraction(float(each.sum_scale[d]))) if d < real else 0
                        )
                    else:
                        weight = int(tensors[tensor_of(line, junction)][index])
                    for row, read in zip(total, source, strict=True):
                        row[d] += weight * read[s]
        sums[name] = total
        values[name] = [read_exactly(each, row[:real]) + [0] * (each.station.units - real) for row in total]
    return sums, values


def read_exactly(each, row):
    if each.reading is None:
        return row
    found = []
    for unit, total in enumerate(row):
        factor = (each.reading.positive if total >= 0 else each.reading.negative)[unit]
        value = round(Fraction(total * int(factor), 1 << int(each.reading.shift[unit])))
        value = min(max(value, each.reading.low), each.reading.high)
        found.append(int(each.reading.table[value + 128]) if each.reading.table is not None else value)
    if each.reading.winners:
        kept = sorted(range(len(found)), key=lambda u: (-found[u], u))[: each.reading.winners]
        found = [v if u in kept else 0 for u, v in enumerate(found)]
    return found


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=str)
@pytest.mark.parametrize("kind", ["i8", "i4", "t2"])
def test_sums_and_values_are_exact(activation, kind):
    for seed, batch in ((0, 1), (1, 5)):
        graph, tensors = quantized(rich(activation), seed, kind, "unit")
        network = integer_network(graph, tensors)
        x = np.random.default_rng(seed).normal(0, 3, (batch, 6))
        rows, _ = quantize_inputs(network, x)
        trace = evaluate_integers(network, rows)
        sums, values = expected(graph, tensors, network, rows)
        for each in network.stations:
            name, real = each.station.name, each.station.real_units
            assert trace.sums[name][:, :real].tolist() == [row[:real] for row in sums[name]]
            assert trace.values[name].tolist() == values[name]
            assert (trace.sums[name] >= each.low).all()
            assert (trace.sums[name] <= each.high).all()


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), st.sampled_from(ACTIVATIONS[:-1]))
def test_integers_are_near_the_floats_they_stand_for(seed, activation):
    """One rounding a station of at most half a step, carried on by the weights."""
    graph, tensors = quantized(rich(activation), seed | 1)
    network = integer_network(graph, tensors)
    x = np.random.default_rng(seed).integers(-40, 40, (3, 6)) / 16
    plain = float_tensors(graph, tensors)
    single = replace(graph, facts=())
    trace = evaluate_integers(network, quantize_inputs(network, x)[0])
    exact = evaluate(single, plain, x)
    each = network.station("e")
    clamped = np.clip(exact.values["e"] / each.scale, each.format.low, each.format.high)
    steps = np.abs(trace.values["e"] - clamped)
    slack = 1.0 / 32 / each.scale * 2 if each.reading.table is not None else 0.0
    assert steps.max() <= 0.51 + 0.5 * each.sum_scale.max() / each.scale + slack


def test_float_targets_read_integers_times_scales():
    graph, tensors = quantized(rich(Call("relu")), 3, "i8", "unit")
    values = float_tensors(graph, tensors)
    assert values["up.1"].dtype == np.float32
    scale = tensors["up.1.scale"].astype(np.float64)[:, None]
    np.testing.assert_array_equal(values["up.1"], (tensors["up.1"] * scale).astype(np.float32))
    x = np.ones((2, 6))
    np.testing.assert_allclose(forward(graph, tensors, x), forward(graph, values, x), rtol=1e-5, atol=1e-6)


def test_scales_of_units_reach_the_paths_that_enter_them():
    graph = Graph(
        "g",
        (station("a", "input", 4), station("b", "output", 3, declared=2)),
        (Line("p", "paths", visits("a", "b"), 9),),
    )
    tensors = {"p.1": np.arange(1, 10, dtype=np.int8), "p.1.scale": np.array([0.5, 4.0], np.float32)}
    units = [edge[1] for edge in edges_of(graph, graph.lines[0], 1)]
    wanted = [w * (0.5, 4.0, 0.0)[u] for w, u in zip(range(1, 10), units, strict=True)]
    assert float_tensors(graph, tensors)["p.1"].tolist() == wanted


def two_stations(kind="i8", weight=100, fan_in=4, sums=True):
    graph = Graph(
        "g",
        (station("a", "input", fan_in), station("b", "output", 2)),
        (Line("l", "dense", visits("a", "b")),),
        facts=(Scale("a", plain_type("u8"), 1, 8), Weights("l", 1, plain_type(kind)))
        + (() if sums else (Scale("b", plain_type("i8"), 1, 4),)),
    )
    tensors = {"l.1": np.full((2, fan_in), weight, np.int8), "l.1.scale": np.array(0.25, np.float32)}
    return graph, tensors


def test_accumulator_is_proved():
    graph, tensors = two_stations()
    network = integer_network(graph, tensors)
    assert network.station("b").bits == bits_for(0, 4 * 100 * 255)
    full = evaluate_integers(network, quantize_inputs(network, np.full((1, 4), 1e9))[0])
    assert full.sums["b"].tolist() == [[4 * 100 * 255] * 2] == [network.station("b").high.tolist()]
    with pytest.raises(PathcError, match="E1304"):
        integer_network(graph, tensors, accumulator_bits=17)


def drop(graph, kind):
    return replace(graph, facts=tuple(f for f in graph.facts if not isinstance(f, kind)))


@pytest.mark.parametrize(
    ("code", "damage"),
    [
        ("E1301", lambda g, t: (replace(g, facts=(replace(g.facts[0], type=plain_type("f32")), *g.facts[1:])), t)),
        ("E1302", lambda g, t: (drop(g, Scale), t)),
        ("E1302", lambda g, t: (drop(g, Weights), t)),
        ("E1302", lambda g, t: (g, {"l.1": t["l.1"]})),
        ("E1302", lambda g, t: (g, {"l.1": t["l.1"].astype(np.float32)})),
        ("E1305", lambda g, t: (g, {**t, "l.1.scale": np.array(-1.0)})),
        ("E1305", lambda g, t: (g, {**t, "l.1.scale": np.array(np.nan)})),
        ("E0507", lambda g, t: (g, {**t, "l.1.scale": np.ones(3)})),
    ],
)
def test_what_does_not_fit_is_refused(code, damage):
    with pytest.raises(PathcError, match=code):
        integer_network(*damage(*two_stations()))


def test_integers_without_scales_of_stations_name_the_file_that_has_them():
    graph, tensors = two_stations()
    with pytest.raises(PathcError) as caught:
        integer_network(drop(graph, Scale), tensors)
    assert ".pir file" in caught.value.diagnostics[0].help


def test_weights_beyond_their_format_are_refused():
    with pytest.raises(PathcError, match="E1306"):
        integer_network(*two_stations("i4"))


def test_lines_that_disagree_are_refused():
    graph, tensors = two_stations()
    graph = replace(
        graph,
        lines=(*graph.lines, Line("m", "dense", visits("a", "b"))),
        facts=(*graph.facts, Weights("m", 1, plain_type("i8"))),
    )
    tensors = {**tensors, "m.1": tensors["l.1"], "m.1.scale": np.array(0.26, np.float32)}
    with pytest.raises(PathcError, match="E1305"):
        integer_network(graph, tensors)


@pytest.mark.parametrize("pipeline", ["softmax", "hardtanh-leaky", "tanh-relu", "kwinners-relu"])
def test_pipelines_that_integers_cannot_do_are_refused(pipeline):
    calls = tuple(Call(n, (("k", 1),)) if n == "kwinners" else Call(n) for n in pipeline.split("-"))
    graph, tensors = two_stations(sums=False)
    graph = replace(graph, stations=(graph.stations[0], station("b", "output", 2, *calls)))
    with pytest.raises(PathcError, match="E1303"):
        integer_network(graph, tensors)


def test_softmax_of_an_output_is_computed_from_its_sums():
    graph, tensors = two_stations()
    graph = replace(graph, stations=(graph.stations[0], station("b", "output", 2, Call("softmax"))))
    np.testing.assert_allclose(integer_forward(integer_network(graph, tensors), np.ones(4)), [0.5, 0.5])


def test_inputs_clamp_and_nan_is_refused():
    network = integer_network(*two_stations())
    rows, single = quantize_inputs(network, np.array([np.inf, -np.inf, 0.5, 1.5 / 256]))
    assert single
    assert rows["a"].tolist() == [[255, 0, 128, 2]]
    with pytest.raises(PathcError, match="E1308"):
        quantize_inputs(network, np.full(4, np.nan))


def test_empty_batch():
    network = integer_network(*two_stations())
    assert integer_forward(network, np.zeros((0, 4))).shape == (0, 2)


def test_facts_read_back_and_say_what_they_mean():
    graph, _ = quantized(rich(Call("relu")), 1)
    graph = replace(graph, facts=(*graph.facts, Sums("e", 19)))
    text = print_graph(graph)
    assert "scale %x { type = i8, shift = 4 }" in text
    assert "# i8 * 2^-4" in text
    assert parse_graph(Source("g.pir", text)) == graph
    assert violations(graph) == []


@pytest.mark.parametrize(
    "fact",
    [
        Scale("a", plain_type("f32")),
        Scale("a", plain_type("i16")),
        Scale("a", plain_type("i8"), 0),
        Scale("a", plain_type("i8"), 1 << 16),
        Scale("a", plain_type("i8"), 1, 63),
        Scale("a", fixed_point(8, 4), 1, 5),
        Weights("l", 1, plain_type("u8")),
        Sums("a", 0),
    ],
    ids=repr,
)
def test_false_formats_are_found(fact):
    graph = replace(two_stations()[0], facts=(fact,))
    assert [d.code for d in violations(graph)] == ["E0310"]


def test_a_second_format_is_found():
    graph = two_stations()[0]
    graph = replace(graph, facts=(*graph.facts, graph.facts[0]))
    assert [d.code for d in violations(graph)] == ["E0310"]


def test_ranges_are_those_of_the_formats():
    assert {n: (format_of(plain_type(n)).low, format_of(plain_type(n)).high) for n in RANGES} == RANGES
