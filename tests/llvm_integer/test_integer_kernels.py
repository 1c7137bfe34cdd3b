"""Integer kernels against the integer interpreter: equal, bit for bit, on any net, batch and processor."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pathc.backends.groups import Group, merged
from pathc.backends.llvm import aot
from pathc.backends.llvm.integer.executable import IntegerExecutable
from pathc.backends.llvm.integer.orders import Linear, meeting, natural
from pathc.backends.llvm.jit import emit_assembly
from pathc.backends.llvm.machine import host, machine
from pathc.backends.llvm.tiles.panels import panels_of
from pathc.driver import DEFAULT_PIPELINE
from pathc.ir import gf2
from pathc.ir.facts import Scale, Weights
from pathc.ir.graph import Graph, Line
from pathc.ir.passes import parse_pipeline
from pathc.ir.pipeline import run_passes
from pathc.ir.quantized import integer_forward, integer_network
from pathc.ir.types import Call, plain_type
from pathc.support.diagnostics import PathcError, UsageError

sys.path.insert(0, str(Path(__file__).parent.parent / "quantized"))

from quantized_nets import BIAS, LIMITS, quantized, rich, station, visits

import pathc

ACTIVATIONS = [
    Call("identity"),
    Call("relu"),
    Call("abs"),
    Call("leaky", (("slope", 0.25),)),
    Call("leaky", (("slope", -0.1),)),
    Call("hardtanh", (("low", -0.5), ("high", 2.0))),
    Call("tanh"),
    Call("sigmoid"),
    Call("kwinners", (("k", 2),)),
]
MACHINES = ["native", "sapphirerapids", "znver4", "cascadelake", "avx512", "alderlake", "avx2", "sse"]
RUNNABLE = [name for name in MACHINES if machine({"cpu": name}).runs_here]
BATCHES = [1, 2, 17, 33, 64, 65, 130]


def same(network, chosen, x):
    """Assert that kernels and interpreter agree on inputs [batch, units]."""
    net = IntegerExecutable(network, chosen, "pathc_net")
    wanted = integer_forward(network, x).astype(np.float32)
    np.testing.assert_array_equal(net(x), wanted)
    return net


@pytest.mark.parametrize("cpu", RUNNABLE)
@pytest.mark.parametrize("kind", LIMITS)
@pytest.mark.parametrize("number", range(len(ACTIVATIONS)))
def test_every_function_and_format(cpu, kind, number):
    graph, tensors = quantized(rich(ACTIVATIONS[number]), number + 3, kind, "unit" if number % 2 else "tensor")
    network = integer_network(graph, tensors)
    rng = np.random.default_rng(number)
    net = IntegerExecutable(network, machine({"cpu": cpu}), "pathc_net")
    for batch in BATCHES:
        x = rng.normal(0, 2, (batch, 6)).astype(np.float32)
        np.testing.assert_array_equal(net(x), integer_forward(network, x).astype(np.float32))


def chain(sizes, counts, activation="relu", generator=None):
    """A chain of layers, each junction a line of its own."""
    names = [f"s{k}" for k in range(len(sizes))]
    roles = ["input", *["layer"] * (len(sizes) - 2), "output"]
    stations = [f"{role} {name}[{size}]" for role, name, size in zip(roles, names, sizes, strict=True)]
    stations[1:-1] = [f"{text} : bias | {activation}" for text in stations[1:-1]]
    using = f", sequence = {generator}" if generator else ""
    lines = [
        f"paths p{k} : s{k}@{k} -> s{k + 1}@{k + 1} {{ count = {count}{using} }}"
        if count else f"dense p{k} : s{k} -> s{k + 1}"
        for k, count in enumerate(counts)
    ]  # fmt: skip
    text = "\n".join(["pathc 1", "model chain", *stations, *lines]) + "\n"
    return run_passes(pathc.load(pathc.support.source.Source("chain.path", text)), parse_pipeline(DEFAULT_PIPELINE))


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_random_chains(data):
    draw = data.draw
    sizes = draw(st.lists(st.sampled_from([1, 3, 16, 17, 64, 100, 128, 256]), min_size=3, max_size=4))
    counts = [draw(st.sampled_from([0, 1, 5, 256, 1000, 2048, 4096])) for _ in sizes[1:]]
    activation = draw(st.sampled_from(["relu", "identity", "tanh", "abs"]))
    generator = draw(st.sampled_from([None, "random(seed = 3)"]))
    graph, tensors = quantized(chain(sizes, counts, activation, generator), draw(st.integers(0, 99)),
                               draw(st.sampled_from(list(LIMITS))))  # fmt: skip
    network = integer_network(graph, tensors)
    chosen = machine({"cpu": draw(st.sampled_from(RUNNABLE))})
    if draw(st.booleans()):
        chosen = replace(chosen, l1=0)  # every net outgrows it: weights of few bits are packed
    x = np.random.default_rng(0).normal(0, 3, (draw(st.sampled_from(BATCHES)), sizes[0])).astype(np.float32)
    same(network, chosen, x)


def blocks(units=256, fan_in=16, kind="i8", seed=4):
    return quantized(chain([units] * 4, [units * fan_in] * 3), seed, kind)


@pytest.mark.parametrize("kind", LIMITS)
@pytest.mark.parametrize("fan_in", [4, 16, 64])
def test_dense_blocks(kind, fan_in):
    network = integer_network(*blocks(256, fan_in, kind))
    x = np.random.default_rng(1).normal(0, 3, (70, 256)).astype(np.float32)
    for chosen in (replace(machine({}), l1=1 << 30), replace(machine({}), l1=0)):
        net = same(network, chosen, x)
        same(network, chosen, x[:1])
        assert {step.field for step in net.plan.steps} == {8 if chosen.l1 else {"i8": 8, "i4": 4, "t2": 2}[kind]}


def test_groups_that_fill_tiles_become_products_of_tiles():
    tiles = machine({"cpu": "sapphirerapids"})
    network = integer_network(*blocks(256, 64))
    text = IntegerExecutable(network, tiles, "net").program()
    assert "tdpbsud" in text.ir
    assert "arch_prctl" not in text.ir
    assert "tdpbsud" in emit_assembly(text.complete_ir, tiles)
    assert ".init_array" in emit_assembly(text.complete_ir, tiles)
    assert "tdpbsud" not in IntegerExecutable(integer_network(*blocks(256, 4)), tiles, "net").program().ir
    assert "tdpbsud" not in IntegerExecutable(network, machine({"cpu": "znver4"}), "net").program().ir


@pytest.mark.parametrize("bits", [1, 7, 127])
def test_repeated_columns_merge_without_changing_a_sum(bits):
    rng = np.random.default_rng(bits)
    columns = np.array([4, 1, 4, 4, 9, 1, 2])
    weights = rng.integers(-bits, bits + 1, (5, 7)).astype(np.int8)
    weights[:, 1], weights[0, 5] = bits, bits
    made = merged(Group(np.arange(5), columns, weights), bits)
    assert abs(made.weights.astype(int)).max() <= bits
    assert (made.columns == 1).sum() == 2
    x = rng.integers(0, 256, 10)
    np.testing.assert_array_equal(made.weights.astype(int) @ x[made.columns], weights.astype(int) @ x[columns])
    plain = Group(np.arange(2), np.array([3, 1]), weights[:2, :2])
    assert merged(plain, bits) is plain


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_panels_hold_every_weight_once(data):
    rng = np.random.default_rng(data.draw(st.integers(0, 999)))
    sizes = data.draw(st.lists(st.tuples(st.integers(1, 40), st.integers(0, 30)), min_size=1, max_size=8))
    groups: list[Group] = []
    for rows, columns in sizes:
        first = sum(len(group.rows) for group in groups)
        heard = rng.integers(0, 40, columns)
        groups.append(Group(np.arange(first, first + rows), heard, rng.integers(-9, 10, (rows, columns), np.int8)))
    panels = panels_of(groups, data.draw(st.sampled_from([1, 2])))
    total = sum(rows for rows, _ in sizes)
    wanted, found = np.zeros((total, 40), int), np.zeros((total, 40), int)
    for group in groups:
        np.add.at(wanted, (group.rows[:, None], group.columns[None]), group.weights)
    for panel in panels.panels:
        np.add.at(found, (panel.rows[:, None], panel.columns[None]), panel.weights)
    np.testing.assert_array_equal(found, wanted)
    assert sorted(unit for panel in panels.panels for unit in panel.rows) == list(range(total))
    assert panels.shape.depth % 4 == 0
    assert panels.shape.depth <= 64
    assert all(len(panels.sources(panel)) % panels.per_round == 0 for panel in panels.panels)


@pytest.mark.parametrize("units", [512, 2048])
def test_the_vectors_of_blocks_are_permutations_of_single_vectors(units):
    network = integer_network(*blocks(units, 16))
    plan = IntegerExecutable(network, machine({"cpu": "znver4"}), "net").plan
    for made, read in zip(plan.steps[:-1], plan.steps[1:], strict=True):
        first, real = plan.sources[made.station.station.name]
        vectors = np.full(first + real, -1)
        register, lane = np.nonzero(made.rows >= 0)
        vectors[first + made.rows[register, lane]] = register // 4
        for block in read.blocks:
            for quad in block.columns.reshape(-1, 64):
                assert len(np.unique(vectors[quad])) == 1


def test_a_space_that_meets_rows_and_columns():
    made = Linear((1, 2, 4), (1, 2, 4), (8, 16, 32), (8, 16, 32), 0)
    read = Linear((8, 16, 32), (8, 16, 32), (1, 2, 4), (1, 2, 4), 0)
    space = meeting(made, (1, 2, 4), read, None, 16)
    assert space is not None
    assert len(space) == 6
    assert meeting(made, (1, 2, 4), replace(read, src=()), None, 16) is None
    assert natural(20, 16) is None
    assert gf2.reduce_array(np.arange(64), natural(64, 16) or ()).tolist() == [0] * 64


def test_exceptional_inputs():
    network = integer_network(*quantized(rich(Call("relu")), 5))
    scale = next(fact.value for fact in network.graph.facts_of(Scale) if fact.station == "x")
    ties = (np.arange(-140, 140) + 0.5) * scale
    special = np.concatenate([ties, [np.inf, -np.inf, -0.0, 3e38, -3e38, 1e-45, -1e-40, 0.0]]).astype(np.float32)
    near = np.nextafter(special, np.float32(0))
    x = np.resize(np.concatenate([special, near, np.nextafter(special, np.float32(9e9))]), (150, 6))
    for cpu in RUNNABLE:
        same(network, machine({"cpu": cpu}), x)
        for row in x[:40]:
            same(network, machine({"cpu": cpu}), row[None])


@pytest.mark.parametrize("multiplier", [1, 3, 40001, 65535])
def test_division_by_every_kind_of_scale(multiplier):
    graph, tensors = quantized(chain([64, 16, 16], [0, 0], "identity"), 2)
    facts = [replace(f, multiplier=multiplier, shift=14) if isinstance(f, Scale) and f.station == "s0" else f
             for f in graph.facts]  # fmt: skip
    graph = replace(graph, facts=tuple(facts))
    scale = multiplier * 2.0**-14
    rng = np.random.default_rng(multiplier)
    halves = (rng.integers(-130, 130, (200, 64)) + 0.5) * scale
    steps = np.float32(1) + rng.integers(-3, 4, halves.shape).astype(np.float32) * np.float32(2.0**-23)
    tensors["p0.1.scale"] = np.float32(1 / 64 / scale)
    tensors = {name: value for name, value in tensors.items() if not name.endswith("bias")}
    tensors["s1.bias"] = np.zeros(16, np.float32)
    same(integer_network(graph, tensors), machine({}), halves.astype(np.float32) * steps)


@pytest.mark.parametrize("cpu", RUNNABLE)
def test_wide_sums(cpu):
    stations = (station("x", "input", 4096), station("h", "layer", 3, BIAS, Call("relu")), station("y", "output", 2))
    graph = Graph("wide", stations, (Line("a", "dense", visits("x", "h")), Line("b", "dense", visits("h", "y"))))
    facts = (
        Scale("x", plain_type("u8"), 1, 8), Scale("h", plain_type("u8"), 1, 0),
        Weights("a", 1, plain_type("i8")), Weights("b", 1, plain_type("i8")),
    )  # fmt: skip
    rng = np.random.default_rng(3)
    tensors = {
        "a.1": np.stack([np.full(4096, 127), np.full(4096, -127), rng.integers(-127, 128, 4096)]).astype(np.int8),
        "a.1.scale": np.float32(2.0**-19), "h.bias": np.array([0.25, 3.0, 1.5], np.float32),
        "b.1": rng.integers(-127, 128, (2, 3)).astype(np.int8), "b.1.scale": np.float32(0.5),
    }  # fmt: skip
    network = integer_network(replace(graph, facts=facts), tensors)
    assert network.station("h").bits > 25
    x = np.concatenate([np.ones((3, 4096)), rng.uniform(0, 1, (67, 4096))]).astype(np.float32)
    same(network, machine({"cpu": cpu}), x)


def test_functions_of_an_input():
    for activation in (Call("relu"), Call("tanh"), Call("leaky", (("slope", 0.1),)), Call("kwinners", (("k", 3),))):
        stations = (station("x", "input", 20, activation), station("y", "output", 5))
        graph, tensors = quantized(Graph("given", stations, (Line("a", "dense", visits("x", "y")),)), 7)
        x = np.random.default_rng(0).normal(0, 4, (70, 20)).astype(np.float32)
        same(integer_network(graph, tensors), machine({}), x)


def test_softmax_of_sums():
    stations = (station("x", "input", 20), station("z", "output", 5, Call("softmax")))
    graph, tensors = quantized(Graph("soft", stations, (Line("a", "dense", visits("x", "z")),)), 7)
    network = integer_network(graph, tensors)
    net = IntegerExecutable(network, machine({}), "pathc_net")
    x = np.random.default_rng(0).normal(0, 4, (70, 20)).astype(np.float32)
    for rows in (x, x[:3]):
        assert np.abs(net(rows) - net.integer_reference(rows)).max() <= net.roundoff


def test_nan_is_refused_and_stays_in_its_sample():
    network = integer_network(*quantized(rich(Call("relu")), 5))
    net = IntegerExecutable(network, machine({}), "pathc_net")
    clean = np.random.default_rng(0).normal(size=(70, 6)).astype(np.float32)
    for batch, bad in ((70, 66), (70, 3), (1, 0)):
        x = clean[:batch].copy()
        x[bad, 5] = np.nan
        with pytest.raises(PathcError, match="E1308"):
            net(x)
        found = net.bind(x).call()
        assert np.isnan(found[bad]).all()
        others = np.arange(batch) != bad
        np.testing.assert_array_equal(found[others], net(clean[:batch])[others])


def test_shapes_and_types():
    network = integer_network(*quantized(rich(Call("relu")), 5))
    net = IntegerExecutable(network, machine({"threads": "2"}), "pathc_net")
    x = np.random.default_rng(0).normal(size=(200, 6))
    whole = net(x.astype(np.float32))
    assert net(np.zeros((0, 6), np.float32)).shape == (0, 11)
    np.testing.assert_array_equal(net(x.astype(np.float32)[3]), whole[3])
    np.testing.assert_array_equal(net(np.asfortranarray(x.astype(np.float32))), whole)
    np.testing.assert_array_equal(net(x), whole)
    with pytest.raises(PathcError, match="E0701"):
        net(x.astype(complex))
    with pytest.raises(PathcError, match="E0702"):
        net(x[:, :5].astype(np.float32))


def test_ahead_of_time(tmp_path):
    network = integer_network(*blocks(64, 16))
    net = IntegerExecutable(network, machine({}), "pathc_net")
    x = np.random.default_rng(0).normal(0, 3, (70, 64)).astype(np.float32)
    program = net.program()
    aot.write(program, tmp_path, ["so"])
    run = ctypes.CDLL(str(tmp_path / f"{program.name}.so"))[program.name]
    run.argtypes = [*[ctypes.c_void_p] * 4, *[ctypes.c_int64] * 3]
    y, params = np.empty((70, 64), np.float32), net.kernel._params
    scratch = np.zeros(program.scratch + 64, np.uint8)
    at = scratch.ctypes.data + -scratch.ctypes.data % 64
    run(x.ctypes.data, y.ctypes.data, params.ctypes.data, at, 70, 64, 64)
    np.testing.assert_array_equal(y, net(x))


def test_a_library_asks_for_tile_registers_when_it_is_loaded(tmp_path):
    if "amx-int8" not in host().has:
        pytest.skip("this processor has no tile registers")
    net = IntegerExecutable(integer_network(*blocks(256, 64)), machine({}), "pathc_net")
    program = net.program()
    assert "tdpbsud" in program.ir
    aot.write(program, tmp_path, ["h", "c", "o", "params"])
    source = (tmp_path / "pathc_net.c").read_text()
    assert "BATCH = 2" in source
    (tmp_path / "pathc_net.c").write_text(source.replace("BATCH = 2", "BATCH = 70"))
    subprocess.run(["cc", "-o", "net", "pathc_net.c", "pathc_net.o", "-lm"], cwd=tmp_path, check=True)
    told = subprocess.run(["./net", "pathc_net.params"], cwd=tmp_path, check=True, capture_output=True, text=True)
    x = ((np.arange(70 * 256) % 7).astype(np.float32) / np.float32(7)).reshape(70, 256)
    found = np.array(told.stdout.split(), np.float32).reshape(70, 256)
    np.testing.assert_array_equal(found, net(x))


@pytest.mark.parametrize("cpu", ["aarch64", "neoverse-v1", "sapphirerapids", "x86-64-v2"])
def test_objects_for_other_processors(cpu):
    network = integer_network(*blocks(64, 16))
    net = IntegerExecutable(network, machine({"cpu": cpu}), "pathc_net")
    assert len(net.emit("o")) > 1000
    assert isinstance(net.emit("ll"), str)
    with pytest.raises(PathcError, match="E0804"):
        net.emit("plan")


def test_dot_products_are_instructions():
    network = integer_network(*blocks(64, 16))
    assert "vpdpbusd" in str(IntegerExecutable(network, machine({"cpu": "znver4"}), "net").emit("asm"))
    assert "vpdpbusd" in str(IntegerExecutable(network, machine({"cpu": "alderlake"}), "net").emit("asm"))
    assert "vpmaddwd" in str(IntegerExecutable(network, machine({"cpu": "avx2"}), "net").emit("asm"))


def test_what_kernels_do_not_have():
    graph, tensors = quantized(rich(Call("relu")), 5)
    target = "llvm{integers=true}"
    with pytest.raises(UsageError, match="E0806"):
        pathc.compile(graph, "llvm{integers=true, weights=bf16}", weights=tensors)
    with pytest.raises(UsageError, match="E0806"):
        pathc.compile(graph, target, weights=tensors, forms={"*": "ell"})
    with pytest.raises(PathcError, match="E0603"):
        pathc.compile(graph, "llvm{integers=3}", weights=tensors)
    with pytest.raises(PathcError, match="E1302"):
        pathc.compile(replace(graph, facts=()), target, weights=tensors)
