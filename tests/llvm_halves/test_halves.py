"""Nets of bfloat16 against the interpreter: bit for bit where sums are exact, under its error bound elsewhere."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pathc.agreement import compare
from pathc.backends.base import Request
from pathc.backends.llvm import aot
from pathc.backends.llvm.backend import BACKEND
from pathc.backends.llvm.call import BY_ROWS
from pathc.backends.llvm.halves.executable import HalfExecutable
from pathc.backends.llvm.halves.plan import product_of
from pathc.backends.llvm.machine import machine
from pathc.driver import compile_model
from pathc.ir.graph import Graph, Line, Station, Visit
from pathc.ir.interp import error_bound, forward
from pathc.ir.interp.activations import activation
from pathc.ir.interp.network import prepare
from pathc.ir.types import Call, Word
from pathc.support.diagnostics import PathcError, UsageError
from pathc.support.source import Source
from pathc.support.tensors import round_to_bfloat16

sys.path.insert(0, str(Path(__file__).parent.parent / "llvm_net"))

from net_support import BIAS, GENERATORS, drawn, graph_of, inputs, models, slack

import pathc

PROCESSORS = [name for name in ("sapphirerapids", "znver4") if machine({"cpu": name}).runs_here]
BATCHES = [0, 1, 2, 7, 33, 63, 64, 65, 130, 257]
needed = pytest.mark.skipif(not PROCESSORS, reason="this processor has no products of bfloat16")
WHOLE = [Call("relu"), Call("abs"), Call("identity"), Call("hardtanh", (("low", -9.0), ("high", 99.0))),
         Call("leaky", (("slope", 0.5),)), Call("kwinners", (("k", 3),))]  # fmt: skip


def compiled(graph: Graph, weights, cpu: str) -> HalfExecutable:
    made = BACKEND.compile(Request(graph, weights, {"precision": Word("bf16"), "cpu": Word(cpu), "threads": 1}))
    assert isinstance(made, HalfExecutable)
    return made


def tiles(made: HalfExecutable, x: np.ndarray) -> np.ndarray:
    """Outputs of the kernel of tiles, whatever costs less."""
    return made.tiled(BY_ROWS)(x)


def rounded_net(graph: Graph, weights, x: np.ndarray) -> np.ndarray:
    """The net in float64 with weights, and what is read, rounded to bfloat16."""
    network = prepare(graph, weights)
    values: dict[str, np.ndarray] = {}
    start = 0
    for station in network.stations:
        total = np.zeros((len(x), station.units))
        if station.role == "input":
            total[:, : station.real_units] = x[:, start : start + station.real_units]
            start += station.real_units
        if station.stage("bias") is not None:
            total += network.bias(weights, station)
        for junction in network.into[station.name]:
            heard = round_to_bfloat16(values[junction.source].astype(np.float32)).astype(np.float64)
            given = weights.get(junction.tensor, np.zeros(0, np.float32))
            total += junction.push(heard, given.astype(np.float64))
        total[:, station.real_units :] = 0
        for stage in station.pipeline:
            function = activation(stage)
            if function is not None:
                total[:, : station.real_units] = function.apply(total[:, : station.real_units])
        values[station.name] = total
    return np.concatenate([values[s.name][:, : s.real_units] for s in graph.outputs], axis=1)


@st.composite
def whole_nets(draw: st.DrawFn) -> tuple[Graph, int]:
    """A graph whose sums are exact in float32 for small whole numbers."""
    units = draw(st.lists(st.sampled_from([1, 3, 10, 16, 17, 64, 100, 128, 200]), min_size=2, max_size=4))
    count = draw(st.sampled_from([1, 16, 100, 512, 1024, 3000]))
    stages = [draw(st.sampled_from(WHOLE)) for _ in range(draw(st.integers(0, 2)))]
    if draw(st.booleans()):
        stages.insert(0, BIAS)
    graph = graph_of(units, count, *stages, generator=draw(st.sampled_from(GENERATORS)))
    if draw(st.booleans()):
        ends = Visit("s0", 3), Visit(f"s{len(units) - 1}", 5)
        kind = draw(st.sampled_from(["dense", "skip"] if units[0] == units[-1] else ["dense"]))
        extra = Line("more", kind, ends, scale=-0.5 if kind == "skip" else 1.0)
        graph = Graph("net", graph.stations, (*graph.lines, extra))
    return graph, draw(st.integers(0, 99))


@needed
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(whole_nets(), st.sampled_from(BATCHES[5:]), st.sampled_from(PROCESSORS or [""]))
def test_whole_numbers_bit_for_bit(net, batch, cpu):
    graph, seed = net
    rng = np.random.default_rng(seed)
    weights = {name: rng.integers(-2, 3, value.shape).astype(np.float32) for name, value in drawn(graph, 0).items()}
    x = rng.integers(-4, 5, (batch, graph.inputs[0].real_units)).astype(np.float32)
    wanted = rounded_net(graph, weights, x)
    assert np.abs(wanted).max(initial=0.0) < 2.0**24
    made = compiled(graph, weights, cpu)
    tiled = batch - (batch % 64 if batch % 64 <= made.plan.few else 0)
    assert tiled >= 64 or batch < 64
    np.testing.assert_array_equal(tiles(made, x)[:tiled], wanted.astype(np.float32)[:tiled])


@needed
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(models(), st.sampled_from(BATCHES), st.integers(0, 9), st.sampled_from(PROCESSORS or [""]))
def test_random_models_are_within_the_bound(graph, batch, seed, cpu):
    weights, x = drawn(graph, seed), inputs(graph, batch, seed)
    made = compiled(graph, weights, cpu)
    bound = error_bound(graph, weights, x, 2.0**-24, 2.0**-8, 2.0**-8) + slack(graph, weights)
    for y in (made(x), tiles(made, x)):
        assert (np.abs(y - forward(graph, weights, x)) <= bound).all()


@needed
def test_what_costs_less_serves_a_batch():
    """Few samples and few paths are left to kernels that do not round values, many are not."""
    made = [compiled(g, drawn(g, 1), PROCESSORS[0]) for g in (graph_of([1024] * 3, 65536), graph_of([256] * 2, 256))]
    dense, thin = ([made_.kernel(batch, BY_ROWS) is made_.tiled(BY_ROWS) for batch in (1, 2, 256)] for made_ in made)
    assert dense[:2] == [False, False]
    assert dense[2] or product_of(machine({"cpu": PROCESSORS[0]})) != "tdpbf16ps"
    assert not any(thin)


@needed
@pytest.mark.parametrize("cpu", PROCESSORS)
def test_rounding_is_to_nearest_even_and_once(cpu):
    """Sums are not rounded before a function, inputs and what is read are."""
    graph = graph_of([16, 16], 16, Call("abs"))
    weights = {name: np.ones_like(value) for name, value in drawn(graph, 0).items()}
    x = np.repeat(np.array([1 + 2.0**-8, 1 + 3 * 2.0**-8, -1 - 2.0**-8, 3 + 2.0**-7], np.float32)[:, None], 16, axis=1)
    y = tiles(compiled(graph, weights, cpu), np.tile(x, (16, 1)))
    np.testing.assert_array_equal(y[:4, 0], np.array([1, 1 + 2.0**-6, 1, 3], np.float32))


@needed
@pytest.mark.parametrize("cpu", PROCESSORS)
def test_what_is_not_finite_stays_so(cpu):
    graph = graph_of([64, 64, 64], 1024, BIAS, Call("relu"))
    weights = drawn(graph, 3)
    x = inputs(graph, 128, 4)
    clean = tiles(compiled(graph, weights, cpu), x)
    x[5, 7], x[64, 0], x[100, 63] = np.nan, np.inf, -np.inf
    y = tiles(compiled(graph, weights, cpu), x)
    assert np.isnan(y[5]).any()
    assert not np.isfinite(y[64]).all()
    others = np.setdiff1d(np.arange(128), [5, 64, 100])
    np.testing.assert_array_equal(y[others], clean[others])


@needed
def test_several_inputs_and_outputs_that_are_read():
    stations = (
        Station("a", "input", (33,), pipeline=(Call("relu"),)), Station("b", "input", (140,)),
        Station("h", "output", (48,), pipeline=(BIAS, Call("tanh"))),
        Station("y", "output", (5,), pipeline=(Call("softmax"),)),
    )  # fmt: skip
    lines = (
        Line("p", "paths", (Visit("a", 0), Visit("h", 1)), 200, GENERATORS[0]),
        Line("q", "dense", (Visit("b", 0), Visit("h", 1))),
        Line("r", "dense", (Visit("h", 0), Visit("y", 1))),
    )  # fmt: skip
    graph = Graph("several", stations, lines)
    weights, x = {k: 0.1 * v for k, v in drawn(graph, 1).items()}, inputs(graph, 70, 1)
    for cpu in PROCESSORS:
        y = compiled(graph, weights, cpu)(x)
        bound = error_bound(graph, weights, x, 2.0**-24, 2.0**-8, 2.0**-8) + slack(graph, weights)
        assert (np.abs(y - forward(graph, weights, x)) <= bound).all()


@needed
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(models(), st.sampled_from([2, 7, 16, 63, 64, 65, 130]), st.sampled_from(PROCESSORS or [""]), st.booleans())
def test_arrays_with_units_first(graph, batch, cpu, mixed):
    weights, x = drawn(graph, 5), inputs(graph, batch, 5)
    made = compiled(graph, weights, cpu)
    given = np.full((x.shape[1], batch + 3), np.float32(9))[:, :batch].T
    given[:] = x
    outputs = sum(s.real_units for s in graph.outputs)
    room = np.full((batch, outputs) if mixed else (outputs, batch + 2), np.nan, np.float32)
    y = room if mixed else room[:, :batch].T
    made.tiled(("units", "rows" if mixed else "units")).bind(given, y, threads=2).call()
    bound = error_bound(graph, weights, x, 2.0**-24, 2.0**-8, 2.0**-8) + slack(graph, weights)
    assert (np.abs(y - forward(graph, weights, x)) <= bound).all()
    assert mixed or np.isnan(room[:, batch:]).all()


@needed
def test_two_threads_and_given_arrays():
    graph = graph_of([256, 256, 256, 16], 4096, BIAS, Call("relu"))
    weights, x = drawn(graph, 1), inputs(graph, 200, 2)
    made = compiled(graph, weights, PROCESSORS[0])
    y = np.full((200, 16), np.nan, np.float32)
    made.tiled(BY_ROWS).bind(x, y, threads=2).call()
    np.testing.assert_array_equal(y, tiles(made, x))
    np.testing.assert_array_equal(tiles(made, x[:64]), y[:64])
    np.testing.assert_array_equal(made(x[0]), made(x[:1])[0])


@needed
def test_a_library_of_its_own(tmp_path):
    graph = graph_of([256, 256, 16], 4096, BIAS, Call("relu"))
    weights = drawn(graph, 1)
    made = compiled(graph, weights, PROCESSORS[0])
    aot.write(made.program(), tmp_path, ["h", "c", "o", "params"])
    source = (tmp_path / "pathc_net.c").read_text()
    (tmp_path / "pathc_net.c").write_text(source.replace("BATCH = 2", "BATCH = 70"))
    subprocess.run(["cc", "-o", "run", "pathc_net.c", "pathc_net.o", "-lm"], cwd=tmp_path, check=True)
    told = subprocess.run(["./run", "pathc_net.params"], cwd=tmp_path, check=True, capture_output=True, text=True)
    x = ((np.arange(70 * 256) % 7).astype(np.float32) / np.float32(7)).reshape(70, 256)
    np.testing.assert_array_equal(np.array(told.stdout.split(), np.float32).reshape(70, 16), tiles(made, x))


@pytest.mark.parametrize(
    ("cpu", "instruction"), [("sapphirerapids", "tdpbf16ps"), ("znver4", "vdpbf16ps"), ("cooperlake", "vdpbf16ps")]
)
def test_products_are_instructions(cpu, instruction):
    graph = graph_of([256, 256, 16], 4096, BIAS, Call("relu"))
    made = compiled(graph, drawn(graph, 1), cpu)
    assert product_of(made.floats.machine) == instruction
    assert instruction in str(made.emit("asm"))
    assert len(made.emit("o")) > 1000
    with pytest.raises(PathcError, match="E0804"):
        made.emit("plan")


@pytest.mark.parametrize("cpu", ["avx2", "avx512", "alderlake", "generic", "neoverse-v1"])
def test_processors_without_them_are_refused(cpu):
    graph = graph_of([16, 16], 16)
    with pytest.raises(PathcError, match="E0603"):
        compiled(graph, drawn(graph, 1), cpu)


@pytest.mark.parametrize(
    ("options", "code"),
    [("arrays=both", "E0603"), ("weights=f32", "E0603"), ("integers=true", "E0806"), ("events=true", "E0806")],
)
def test_what_does_not_go_together(options, code):
    graph = graph_of([16, 16], 16)
    with pytest.raises((UsageError, PathcError), match=code):
        pathc.compile(graph, f"llvm{{cpu=sapphirerapids, precision=bf16, {options}}}", weights=drawn(graph, 1))


@pytest.mark.parametrize(
    "text",
    [
        "input x[3, 5]\noutput y[2] : conv(3) | relu",
        "input x[5]\noutput y[2] : batchnorm",
        "input x[5]\noutput y[2] : lstm",
    ],
)
def test_what_is_not_flat_has_rounded_weights_for_a_cure(text):
    source = Source("n.path", f"pathc 1\nmodel n\n{text}\ndense d : x -> y\n")
    with pytest.raises(PathcError) as caught:
        pathc.compile(source, "llvm{cpu=sapphirerapids, precision=bf16}")
    assert {d.help for d in caught.value.diagnostics} == {"`llvm{weights=bf16}` rounds the weights alone"}
    pathc.compile(source, "llvm{weights=bf16}")


@pytest.mark.parametrize("value", ["bf17", "fp16", "3"])
def test_other_precisions(value):
    graph = graph_of([16, 16], 16)
    with pytest.raises(PathcError, match="E0603"):
        pathc.compile(graph, f"llvm{{precision={value}}}", weights=drawn(graph, 1))


@needed
def test_the_command_holds_it_to_the_reference():
    graph = graph_of([300, 300, 10], 4096, BIAS, Call("relu"))
    weights, x = drawn(graph, 1), inputs(graph, 100, 2)
    made = compile_model(graph, "llvm{precision=bf16}", weights=weights)
    found = compare(made, x, made.executable(x))
    assert found.agrees
    assert 1e-4 < found.share < 1
    shaken = {name: value * np.float32(1.1) for name, value in weights.items()}
    other = compile_model(graph, "llvm{precision=bf16}", weights=shaken)
    assert not compare(made, x, other.executable(x)).agrees
