"""Peers compute the same net, and the figures are what they claim to be."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

import pathc
from pathc.bench import Plan, Row, bench, peers_of
from pathc.bench.harness import caller, inputs_for, peer_seconds
from pathc.bench.network import edges_of, prepare
from pathc.bench.peers import PEERS
from pathc.bench.table import duration, show
from pathc.bench.timing import calibrate, time_call
from pathc.driver import Compiled, compile_model
from pathc.ir.compress.quantize import quantize
from pathc.ir.compress.tensors import Settings
from pathc.ir.weights import load_weights
from pathc.support.diagnostics import Diagnostic, UsageError

EXAMPLES = Path(__file__).parents[2] / "examples"
NET = """pathc 1
model peers
input  x[20] : abs { pad = pow2 }
input  z[4]
layer  a[24] : bias | relu
layer  b[16] : tanh
layer  c[24] : leaky(0.2)
output y[10] : bias | softmax { pad = pow2 }
output e[20] { pad = pow2 }
paths main : x -> a -> b -> y { count = 128 }
dense side : z -> c -> y
paths back : a -> e { count = 96 }
skip  over : a -> c { scale = -0.5 }
"""


def compiled(text: str = NET, target: str = "reference") -> Compiled:
    net = compile_model(pathc.Source("net.path", text), target)
    rng = np.random.default_rng(1)
    for tensor in net.weights.values():
        tensor[...] = rng.normal(size=tensor.shape)
    return net


INSTALLED = [peer for peer in PEERS.values() if not peer.missing()]


@pytest.mark.parametrize("peer", INSTALLED, ids=lambda peer: peer.name)
@pytest.mark.parametrize("batch", [1, 2, 7])
def test_peers_compute_the_same_net(peer: object, batch: int) -> None:
    net = compiled()
    x = inputs_for(net, batch, seed=3)
    assert x.shape == (batch, 24)
    np.testing.assert_allclose(prepare(net, x, peer).result(), net.executable(x), rtol=1e-3, atol=1e-4)


def test_tied_lines_walk_backwards() -> None:
    text = """pathc 1
model tied
input x[32]
layer code[8]
output y[32]
paths down : x -> code { count = 64 }
paths up : code -> y { mirror = down, weights = tied }
"""
    net = compiled(text)
    x = inputs_for(net, 3, seed=0)
    np.testing.assert_allclose(prepare(net, x, PEERS["scipy"]).result(), net.executable(x), rtol=1e-4, atol=1e-5)


def test_edges_are_merged_and_silent_units_left_out() -> None:
    net = compiled()
    edges = edges_of(net.graph, net.graph.line("main"), 1, net.weights)
    assert edges.shape == (24, 20)
    assert len({*zip(edges.src.tolist(), edges.dst.tolist(), strict=True)}) == len(edges.src) <= 128
    assert edges.src.max() < 20


def test_a_peer_that_computes_something_else_has_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    net = compiled()
    x = inputs_for(net, 2, seed=0)
    assert peer_seconds(PEERS["scipy"], net, x, 0.001)
    monkeypatch.setattr(PEERS["scipy"], "relu", lambda values: values)
    assert peer_seconds(PEERS["scipy"], net, x, 0.001) is None


@pytest.mark.parametrize("target", ["llvm{integers=true}", "llvm{events=true, rate=0.2}"])
def test_peers_beside_nets_that_are_quantized_or_sampled(target: str) -> None:
    graph = pathc.load(EXAMPLES / "digits.path")
    weights = load_weights(EXAMPLES / "digits.safetensors", graph)
    data = np.random.default_rng(0).integers(0, 17, (50, 64)).astype(np.float32)
    made = quantize(graph, weights, Settings("ternary", per="unit"), data)
    net = compile_model(made.graph, target, made.tensors)
    assert peer_seconds(PEERS["scipy"], net, inputs_for(net, 8, seed=0), 0.001)


def test_time_of_a_call_that_sleeps() -> None:
    timing = time_call(lambda: time.sleep(0.002), seconds=0.02)
    assert 0.002 <= timing.least <= timing.median < 0.1
    assert timing.samples >= 5


def test_short_calls_are_repeated_inside_a_sample() -> None:
    calls = 0

    def call() -> None:
        nonlocal calls
        calls += 1

    timing = time_call(call, seconds=0.005)
    assert calls > 100 * timing.samples
    assert timing.median < 1e-4


def test_calibration_takes_time() -> None:
    assert calibrate().least > 1e-6


def test_bound_calls_see_their_inputs() -> None:
    net = compile_model(pathc.Source("net.path", NET), "llvm")
    x = inputs_for(net, 2, seed=0)
    first = np.array(caller(net.executable, x)())
    np.testing.assert_array_equal(first, net.executable(x))


def test_bench_tells_what_is_missing_and_warns_of_noise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tmp_path / "net.path"
    model.write_text(NET)
    monkeypatch.setattr(PEERS["torch"], "missing", lambda: "pip install torch")
    monkeypatch.setattr("pathc.bench.harness.NOISE", -1.0)
    told: list[Diagnostic] = []
    plan = Plan((str(model),), ("reference",), (1, 3), peers_of("torch,numpy"), seconds=0.002)
    rows = bench(plan, told.extend, lambda _: None)
    assert [d.code for d in told] == ["E0815", "W0801"]
    assert [row.batch for row in rows] == [1, 3]
    assert all(set(row.peers) == {"numpy"} for row in rows)


def test_peers_by_name() -> None:
    assert [p.name for p in peers_of("numpy, scipy,numpy")] == ["numpy", "scipy"]
    assert peers_of("") == ()
    with pytest.raises(UsageError, match="E0809"):
        peers_of("scipi")


def test_table_has_a_column_per_peer() -> None:
    row = Row("m", "llvm", 1, 2e-6, 1e-6, 0.1, 3.0, 6.0, 0.5, 1000, 0.01, {"scipy": 4e-5, "torch": None}, 0.0)
    text = show([row])
    for part in ("scipy", "torch", "20.0 x", "50%", "2 us", "10 ms"):
        assert part in text


@pytest.mark.parametrize(
    ("seconds", "text"), [(3.2e-9, "3.2 ns"), (9.99e-7, "999 ns"), (1e-6, "1 us"), (0.25, "250 ms"), (12.0, "12 s")]
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text
