"""Nets driven by events: without samples they are the net, with samples what the interpreter samples."""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pathc.backends.llvm import aot
from pathc.backends.llvm.events.executable import EventExecutable
from pathc.backends.llvm.machine import machine
from pathc.backends.llvm.native import aligned
from pathc.cli import main
from pathc.ir.compress.online import sparse_forward
from pathc.ir.init import initial_weights
from pathc.ir.interp import agrees, error_bound, forward, unit_roundoff
from pathc.ir.types import Call
from pathc.ir.weights import expected_tensors
from pathc.support.diagnostics import PathcError, UsageError
from pathc.support.source import Source

sys.path.insert(0, str(Path(__file__).parent.parent / "quantized"))

from quantized_nets import rich

import pathc

RUNNABLE = [name for name in ("native", "avx512", "avx2", "sse") if machine({"cpu": name}).runs_here]


def chain(sizes, counts, activation="relu"):
    """A chain of layers of Sobol' paths, dense where the count is 0."""
    roles = ["input", *["layer"] * (len(sizes) - 2), "output"]
    stations = [f"{role} s{k}[{size}]" for k, (role, size) in enumerate(zip(roles, sizes, strict=True))]
    stations[1:-1] = [f"{text} : bias | {activation}" for text in stations[1:-1]]
    lines = [
        f"paths p{k} : s{k}@{k} -> s{k + 1}@{k + 1} {{ count = {count} }}"
        if count
        else f"dense p{k} : s{k} -> s{k + 1}"
        for k, count in enumerate(counts)
    ]
    return pathc.load(Source("chain.path", "\n".join(["pathc 1", "model chain", *stations, *lines]) + "\n"))


def held(graph, weights, chosen, x):
    """Assert that events give the net, within its error bound."""
    net = EventExecutable(graph, chosen, weights, "pathc_net")
    bound = error_bound(graph, weights, x, unit_roundoff("float32"))
    assert agrees(net(x), forward(graph, weights, x), bound).all()
    return net


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_skipping_zeros_is_the_net(data):
    draw = data.draw
    sizes = draw(st.lists(st.sampled_from([1, 3, 16, 40, 100, 128, 256]), min_size=3, max_size=4))
    counts = [draw(st.sampled_from([0, 1, 5, 256, 1000, 4096])) for _ in sizes[1:]]
    graph = chain(sizes, counts, draw(st.sampled_from(["relu", "identity", "tanh", "sigmoid", "kwinners(k = 1)"])))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    x = rng.normal(size=(draw(st.sampled_from([1, 2, 9])), sizes[0]))
    x = np.where(rng.random(x.shape) < 0.4, 0, x).astype(np.float32)
    held(graph, initial_weights(graph, 1), machine({"cpu": draw(st.sampled_from(RUNNABLE))}), x)


def whole(graph, seed):
    """Weights that are small whole numbers, so that float32 and float64 sums are the same."""
    rng = np.random.default_rng(seed)
    return {n: rng.integers(-3, 4, s).astype(np.float32) for n, s in expected_tensors(graph).items()}


@pytest.mark.parametrize("cpu", RUNNABLE)
@pytest.mark.parametrize("activation", [Call("relu"), Call("identity"), Call("kwinners", (("k", 2),))])
def test_padding_mirrors_and_skips(cpu, activation):
    graph = rich(activation)
    x = np.random.default_rng(0).integers(-3, 4, (30, 6)).astype(np.float32)
    net = EventExecutable(graph, machine({"cpu": cpu}), whole(graph, 1), "pathc_net")
    np.testing.assert_array_equal(net(x), forward(graph, whole(graph, 1), x))


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("cpu", RUNNABLE)
def test_samples_hit_what_they_hit_in_the_interpreter(cpu, seed):
    # One sampled station alone keeps whole numbers in front of it, so that no rounding moves a sample.
    graph, weights = rich(Call("relu")), whole(rich(Call("relu")), seed)
    x = np.random.default_rng(seed).integers(-3, 4, (40, 6)).astype(np.float32)
    for rates in ({"e": 0.7}, {"x": 0.4}, {"c": 3.0}, {"d": 0.6}):
        net = EventExecutable(graph, machine({"cpu": cpu}), weights, "pathc_net", rates, seed)
        expected = sparse_forward(graph, weights, x, rates, seed)
        np.testing.assert_allclose(net(x), expected.outputs, rtol=1e-5, atol=1e-4)
        (name,) = rates
        found = net.activity(40)[name]
        assert found.used == pytest.approx(expected.activity[name].used, abs=1e-12)
        assert found.active == pytest.approx(expected.activity[name].active, abs=1e-12)
        assert net.activity(40)[name].used == 0.0
        np.testing.assert_array_equal(net(x[:7]), net(x)[:7])


def test_many_samples_come_close():
    graph = chain([64, 100, 40], [4096, 0])
    weights = initial_weights(graph, 2)
    x = np.random.default_rng(0).normal(size=(20, 64)).astype(np.float32)
    exact = forward(graph, weights, x)
    off = [
        np.abs(EventExecutable(graph, machine({}), weights, "pathc_net", {"s1": rate})(x) - exact).max()
        for rate in (0.1, 5.0, 1000.0)
    ]
    assert off[0] > off[1] > off[2]
    assert off[2] < 0.01 * np.abs(exact).max()


def test_exceptional_inputs():
    graph = chain([16, 40, 8], [0, 0])
    weights = initial_weights(graph, 2)
    for rates in ({}, {"s0": 0.5, "s1": 0.5}):
        net = EventExecutable(graph, machine({}), weights, "pathc_net", rates)
        x = np.zeros((6, 16), np.float32)
        x[1], x[2, 3], x[3, 3], x[4, 5], x[5] = -0.0, np.nan, np.inf, -np.inf, 1e-45
        found = net(x)
        np.testing.assert_array_equal(found[:2], np.zeros((2, 8)))
        assert not np.isfinite(found[2:5]).any(axis=1).all()
        assert np.isfinite(found[5]).all()


def test_shapes():
    graph = chain([16, 40, 8], [256, 0])
    net = held(graph, initial_weights(graph, 2), machine({"threads": "2"}), np.ones((3, 16), np.float32))
    x = np.random.default_rng(0).normal(size=(5, 16))
    rows = net(x)
    assert net(np.zeros((0, 16), np.float32)).shape == (0, 8)
    np.testing.assert_array_equal(net(x[2]), rows[2])
    with pytest.raises(PathcError, match="E0701"):
        net(x.astype(complex))
    with pytest.raises(PathcError, match="E0702"):
        net(x[:, :3].astype(np.float32))


@pytest.mark.parametrize("cpu", ["aarch64", "znver4", "x86-64"])
def test_objects(cpu):
    graph = chain([16, 40, 8], [256, 0])
    net = EventExecutable(graph, machine({"cpu": cpu}), initial_weights(graph, 2), "pathc_net", {"s1": 0.5})
    assert len(net.emit("o")) > 500
    with pytest.raises(PathcError, match="E0804"):
        net.emit("plan")


def test_options():
    graph = chain([16, 40, 20, 8], [256, 0, 0])
    skipping = pathc.compile(graph, "llvm{events=true}")
    assert isinstance(skipping, EventExecutable)
    assert not skipping.sampled
    every = pathc.compile(graph, "llvm{events=true, rate=0.2}")
    assert isinstance(every, EventExecutable)
    assert every.rates == {"s1": 0.2, "s2": 0.2}
    later = pathc.compile(graph, "llvm{events=true, rate=0.2, from=s2}")
    assert isinstance(later, EventExecutable)
    assert later.rates == {"s2": 0.2}
    inputs = pathc.compile(graph, "llvm{events=true, rate=0.2, from=s0}")
    assert isinstance(inputs, EventExecutable)
    assert inputs.rates == {"s0": 0.2, "s1": 0.2, "s2": 0.2}


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ("rate=fast", "E0603"),
        ("rate=-1", "E1311"),
        ("rate=nan", "E1311"),
        ("rate=0.5, from=q", "E0302"),
        ("rats=0.5", "E0603"),
        ("threads=-1", "E0603"),
    ],
)
def test_mistakes(options, code):
    with pytest.raises(PathcError, match=code):
        pathc.compile(chain([16, 40, 8], [256, 0]), f"llvm{{events=true, {options}}}")


def test_options_of_events_alone():
    for option in ("rate=0.2", "from=s1"):
        with pytest.raises(PathcError, match="is for nets of events"):
            pathc.compile(chain([16, 40, 8], [256, 0]), f"llvm{{{option}}}")


def test_ahead_of_time(tmp_path):
    graph = chain([16, 40, 8], [256, 0])
    net = EventExecutable(graph, machine({}), initial_weights(graph, 2), "pathc_net", {"s1": 0.5})
    program = net.program()
    params = np.array(program.params)
    params.flags.writeable = False
    aot.write(program, tmp_path, ["so"])
    run = ctypes.CDLL(str(tmp_path / "pathc_net.so")).pathc_net
    run.argtypes = [*[ctypes.c_void_p] * 4, *[ctypes.c_int64] * 3]
    kept, room = aligned(params.nbytes), aligned(program.scratch)
    kept[:] = params.view(np.uint8)
    x, y = np.random.default_rng(0).normal(size=(5, 16)).astype(np.float32), np.empty((5, 8), np.float32)
    run(x.ctypes.data, y.ctypes.data, kept.ctypes.data, room.ctypes.data, 5, 16, 8)
    np.testing.assert_array_equal(y, net(x))
    np.testing.assert_array_equal(kept, params.view(np.uint8))


def test_misuse():
    graph = chain([16, 40, 8], [256, 0])
    with pytest.raises(UsageError, match="E0806"):
        pathc.compile(graph, "llvm{events=true, weights=bf16}")
    with pytest.raises(UsageError, match="E0806"):
        pathc.compile(graph, "llvm{events=true}", forms={"*": "dense"})
    examples = Path(__file__).parent.parent.parent / "examples"
    for name, code in (("convolution", "E0379"), ("recurrent", "E0376")):
        with pytest.raises(PathcError, match=code):
            pathc.compile(examples / f"{name}.path", "llvm{events=true}")


def test_chance_is_not_held_to_the_reference(tmp_path, capsys):
    examples = Path(__file__).parent.parent.parent / "examples"
    given = [str(examples / "digits.path"), "--weights", str(examples / "digits.safetensors")]
    np.save(tmp_path / "x.npy", np.random.default_rng(0).integers(0, 17, (4, 64)).astype(np.float32))
    run = ["run", *given, "--input", str(tmp_path / "x.npy"), "--against", "reference"]
    assert main([*run, "-t", "llvm{events=true}"]) == 0
    assert main([*run, "-t", "llvm{events=true, rate=0.5}"]) == 2
    assert "E0806" in capsys.readouterr().err
