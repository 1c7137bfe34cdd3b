"""Training with factors of bfloat16: bit for bit where sums are exact, under a bound elsewhere."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from training_support import BIAS, GENERATORS, SOFTMAX, canonical, chain, drawn, inputs, outputs

import pathc
from pathc.backends.llvm.machine import host, machine
from pathc.backends.llvm.tiles.code import tiled
from pathc.backends.llvm.training import Adam, Momentum, Sgd, Trainer
from pathc.backends.llvm.training.halves.sheets import cut_sheets
from pathc.backends.llvm.training.optimizers import Optimizer
from pathc.ir.graph import Graph, Line, Station, Visit
from pathc.ir.init import initial_weights
from pathc.ir.interp.activations import activation
from pathc.ir.interp.network import prepare
from pathc.ir.types import Call
from pathc.support.diagnostics import PathcError, UsageError
from pathc.support.tensors import round_to_bfloat16
from pathc.train.data import load_data
from pathc.train.loop import train
from pathc.train.settings import Settings

needed = pytest.mark.skipif(
    not tiled(host(), "tdpbf16ps"), reason="this processor has no tile registers for bfloat16 (AMX)"
)
QUIET = settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
WHOLE = [Call("relu"), Call("abs"), Call("leaky", (("slope", 0.5),)), Call("leaky", (("slope", -2.0),)),
         Call("hardtanh", (("low", -9.0), ("high", 99.0))), Call("kwinners", (("k", 3),))]  # fmt: skip
SMOOTH = [Call("tanh"), Call("sigmoid"), Call("identity")]
BATCHES = [1, 7, 64, 65, 130]
U = 2.0**-8
"""The relative error of a number rounded to bfloat16, at most."""


def halved(values: np.ndarray) -> np.ndarray:
    return round_to_bfloat16(values.astype(np.float32)).astype(np.float64)


def plain(values: np.ndarray) -> np.ndarray:
    return values


class Walk:
    """A net forwards and backwards in float64, with factors of products that went through `rounded`."""

    def __init__(self, graph: Graph, weights, x: np.ndarray, rounded) -> None:
        self.graph, self.network, self.rounded = graph, prepare(graph, weights), rounded
        self.weights = {name: value.astype(np.float64) for name, value in weights.items()}
        self.arguments: dict[str, list[np.ndarray]] = {}
        self.values: dict[str, np.ndarray] = {}
        start = 0
        for station in self.network.stations:
            total = np.zeros((len(x), station.units))
            if station.role == "input":
                total[:, : station.real_units] = x[:, start : start + station.real_units]
                start += station.real_units
            if station.stage("bias") is not None:
                total += self.network.bias(weights, station)
            for junction in self.network.into[station.name]:
                heard = self.values[junction.source]
                factor = rounded(heard) if junction.tensor else heard
                total += junction.push(factor, self.weights.get(junction.tensor, np.zeros(0)))
            total[:, station.real_units :] = 0
            before = self.arguments[station.name] = []
            for function in self.functions(station):
                before.append(total[:, : station.real_units].copy())
                total[:, : station.real_units] = function.apply(before[-1])
            self.values[station.name] = total

    def functions(self, station: Station):
        found = (activation(stage) for stage in station.pipeline)
        return [function for function in found if function is not None]

    @property
    def outputs(self) -> np.ndarray:
        return np.concatenate([self.values[s.name][:, : s.real_units] for s in self.graph.outputs], axis=1)

    def back(self, dy: np.ndarray) -> dict[str, np.ndarray]:
        """Gradients of the tensors; those at sums are kept in `deltas`."""
        gradients = {name: np.zeros(value.shape) for name, value in self.weights.items()}
        self.deltas: dict[str, np.ndarray] = {}
        self.arriving = {s.name: np.zeros((len(dy), s.units)) for s in self.network.stations}
        start = 0
        for station in self.graph.outputs:
            self.arriving[station.name][:, : station.real_units] += dy[:, start : start + station.real_units]
            start += station.real_units
        for station in reversed(self.network.stations):
            delta = self.arriving[station.name]
            delta[:, station.real_units :] = 0
            own = delta[:, : station.real_units]
            for function, x in zip(self.functions(station)[::-1], self.arguments[station.name][::-1], strict=True):
                own = function.backward(x, own)
            delta = self.deltas[station.name] = np.pad(own, ((0, 0), (0, station.units - station.real_units)))
            if station.stage("bias") is not None:
                gradients[f"{station.name}.bias"] += delta.sum(0)[: station.real_units]
            for junction in self.network.into[station.name]:
                if not junction.tensor:
                    self.arriving[junction.source] += junction.pull(delta, np.zeros(0))
                    continue
                rounded, weights = self.rounded(delta), self.weights[junction.tensor]
                self.arriving[junction.source] += junction.pull(rounded, weights)
                gradients[junction.tensor] += junction.weight_gradient(
                    self.rounded(self.values[junction.source]), rounded
                )
        return gradients


@st.composite
def nets(draw: st.DrawFn, stages, *, skips: bool = True) -> Graph:
    """A chain of paths through stations of odd sizes, perhaps with silent units, and a line that goes around."""
    units = draw(st.lists(st.sampled_from([1, 3, 10, 16, 17, 40, 64, 100, 128]), min_size=2, max_size=4))
    pipeline = [draw(st.sampled_from(stages)) for _ in range(draw(st.integers(0, 2)))]
    pipeline = [BIAS, *pipeline] if draw(st.booleans()) else pipeline
    out = [BIAS] if draw(st.booleans()) else []
    declared = {k: draw(st.integers(1, n)) for k, n in enumerate(units) if draw(st.integers(0, 4)) == 0}
    count = draw(st.sampled_from([1, 16, 100, 512, 1024, 3000]))
    graph = chain(units, count, *pipeline, out=out, generator=draw(st.sampled_from(GENERATORS)), declared=declared)
    kind = draw(st.sampled_from(["", "dense", "paths", "skip"]))
    ends = Visit("s0", 3), Visit(f"s{len(units) - 1}", 5)
    if kind == "skip" and skips and units[0] == units[-1]:
        extra = Line("more", "skip", ends, scale=-0.5)
    elif kind in ("dense", "paths"):
        extra = Line("more", kind, ends, 200 if kind == "paths" else 0)
    else:
        return graph
    return canonical(Graph("net", graph.stations, (*graph.lines, extra)))


@needed
@QUIET
@given(nets(WHOLE), st.sampled_from(BATCHES), st.integers(0, 99))
def test_whole_numbers_bit_for_bit(graph, batch, seed):
    rng = np.random.default_rng(seed)
    weights = {name: rng.integers(-2, 3, value.shape).astype(np.float32) for name, value in drawn(graph, 0).items()}
    x = rng.integers(-4, 5, (batch, sum(s.real_units for s in graph.inputs))).astype(np.float32)
    dy = rng.integers(-3, 4, (batch, outputs(graph))).astype(np.float32)
    right = Walk(graph, weights, x, halved)
    wanted = right.back(dy)
    largest = max(np.abs(v).max(initial=0) for v in (*right.values.values(), *right.deltas.values(), *wanted.values()))
    assume(largest < 2.0**16)
    trainer = Trainer(graph, weights, loss="none", batch=batch, precision="bf16")
    y, saved = trainer.forward(x)
    dx, gradients = trainer.backward(saved, dy)
    np.testing.assert_array_equal(y, right.outputs)
    start = [right.deltas[s.name][:, : s.real_units] for s in graph.inputs]
    np.testing.assert_array_equal(dx, np.concatenate(start, axis=1))
    assert gradients.keys() == wanted.keys()
    for name, value in wanted.items():
        np.testing.assert_array_equal(gradients[name], value)


def bounds(graph: Graph, weights, x, dy) -> dict[str, np.ndarray]:
    """How far gradients may be from those of exact factors, for functions whose first two derivatives are at most 1.

    A factor is off by U of itself and by what its own computation was; sums of products carry both on. 2^-16 of all
    that is added is what float32 may add to it.
    """
    exact = Walk(graph, weights, x, plain)
    exact.back(dy)
    sizes, tiny = {name: np.abs(w) for name, w in exact.weights.items()}, 2.0**-16
    sums, values = dict[str, np.ndarray](), dict[str, np.ndarray]()
    network = exact.network
    for station in network.stations:
        total = np.zeros((len(x), station.units))
        for junction in network.into[station.name]:
            size, w = np.abs(exact.values[junction.source]), sizes[junction.tensor]
            off = values[junction.source]
            total += junction.push((off * (1 + U) + size * U) * (1 + U) + size * (U + tiny), w)
        sums[station.name] = total
        values[station.name] = total + tiny * (np.abs(exact.values[station.name]) + 1)
    found: dict[str, np.ndarray] = {}
    arriving = {s.name: np.zeros((len(x), s.units)) for s in network.stations}
    for station in reversed(network.stations):
        size = np.abs(exact.arriving[station.name])
        off = arriving[station.name] + (size + arriving[station.name]) * (
            np.minimum(1.0, sums[station.name] * len(exact.functions(station))) + tiny
        )
        delta = np.abs(exact.deltas[station.name])
        if station.stage("bias") is not None:
            found[f"{station.name}.bias"] = (off + tiny * delta).sum(0)[: station.real_units]
        rounded = off * (1 + U) + delta * U
        for junction in network.into[station.name]:
            w, size = sizes[junction.tensor], np.abs(exact.values[junction.source])
            arriving[junction.source] += junction.pull(rounded * (1 + U) + delta * (U + tiny), w)
            heard = values[junction.source] * (1 + U) + size * U
            term = junction.weight_gradient(size + heard, rounded) + junction.weight_gradient(heard, delta)
            found[junction.tensor] = term + tiny * junction.weight_gradient(size, delta)
    return found


@needed
@QUIET
@given(nets(SMOOTH, skips=False), st.sampled_from(BATCHES), st.integers(0, 9))
def test_real_numbers_are_within_the_bound(graph, batch, seed):
    weights, x = drawn(graph, seed, 0.5), inputs(graph, batch, seed)
    dy = np.random.default_rng(seed).normal(size=(batch, outputs(graph))).astype(np.float32)
    trainer = Trainer(graph, weights, loss="none", batch=batch, precision="bf16")
    _, saved = trainer.forward(x)
    _, gradients = trainer.backward(saved, dy)
    wanted, bound = Walk(graph, weights, x, plain).back(dy), bounds(graph, weights, x, dy)
    for name, value in wanted.items():
        assert (np.abs(gradients[name] - value) <= bound[name] + 1e-30).all(), name


def batches(graph: Graph, count: int, batch: int):
    rng = np.random.default_rng(5)
    for _ in range(count):
        yield rng.normal(size=(batch, graph.inputs[0].units)).astype(np.float32), rng.integers(0, outputs(graph), batch)


@needed
@pytest.mark.parametrize("optimizer", [Sgd(0.1, 0.01), Momentum(0.05), Adam(0.01, weight_decay=0.1, decoupled=True)])
@pytest.mark.parametrize("units", [(64, 64, 64, 16), (784, 300, 300, 10)])
def test_threads_and_resuming_give_the_same_bits(optimizer: Optimizer, units):
    graph = chain(units, 1024, BIAS, Call("relu"), out=(BIAS, SOFTMAX))
    given = {"optimizer": optimizer, "batch": 130, "precision": "bf16"}
    one, two = (Trainer(graph, drawn(graph, 1), threads=threads, **given) for threads in (1, 2))
    for number, (x, labels) in enumerate(batches(graph, 6, 130)):
        assert one.step(x, labels) == two.step(x, labels)
        if number == 2:
            weights, state = two.weights(), two.state()
            two = Trainer(graph, weights, **given)
            two.load_state(state)
    for name, value in one.weights().items():
        np.testing.assert_array_equal(two.weights()[name], value)


@needed
@pytest.mark.parametrize("optimizer", [Sgd(0.1), Momentum(0.05), Adam(0.01)])
def test_a_step_moves_float32_weights_as_the_optimizer_says(optimizer: Optimizer):
    """Paths that share edges make a step each, with the common gradient; cells without an edge stay away."""
    graph = chain((40, 17, 10), 700, BIAS, Call("relu"), out=(SOFTMAX,), generator=GENERATORS[3])
    trainer = Trainer(graph, drawn(graph, 1), optimizer=optimizer, batch=64, precision="bf16")
    for x, labels in batches(graph, 4, 50):
        before, state = trainer.weights(), trainer.state()
        _, gradients = trainer.gradients(x, labels)
        trainer.step(x, labels)
        after = trainer.weights()
        for name, gradient in gradients.items():
            moments = [state[f"{moment}:{name}"] for moment in optimizer.moments]
            wanted = moved(optimizer, before[name], gradient, moments, int(state["step"]) + 1)
            np.testing.assert_allclose(after[name], wanted, rtol=1e-5, atol=1e-6)
    again = Trainer(graph, trainer.weights(), batch=64, precision="bf16")
    assert again.evaluate(x, labels) == trainer.evaluate(x, labels)


def moved(optimizer, weight, gradient, moments, step):
    if isinstance(optimizer, Adam):
        first = moments[0] + (1 - optimizer.beta1) * (gradient - moments[0])
        second = moments[1] + (1 - optimizer.beta2) * (gradient**2 - moments[1])
        down = np.sqrt(second / (1 - optimizer.beta2**step)) + optimizer.eps
        return weight - optimizer.lr * first / (1 - optimizer.beta1**step) / down
    if isinstance(optimizer, Momentum):
        gradient = optimizer.momentum * moments[0] + gradient
    return weight - optimizer.lr * gradient


@needed
def test_fixed_signs_stay():
    graph = chain((40, 17, 10), 700, BIAS, Call("relu"), out=(SOFTMAX,), generator=GENERATORS[3])
    weights = drawn(graph, 1)
    trainer = Trainer(graph, weights, optimizer=Sgd(2.0), batch=64, fixed_signs=True, precision="bf16")
    for x, labels in batches(graph, 5, 50):
        trainer.step(x, labels)
    after = trainer.weights()
    for name in ("main.1", "main.2"):
        np.testing.assert_array_equal(np.signbit(after[name]), np.signbit(weights[name]))
    assert (after["main.2"] == 0).any()


@pytest.mark.parametrize("generator", [GENERATORS[0], GENERATORS[3]])
@pytest.mark.parametrize("units", [(64, 64), (300, 100), (1024, 16), (16, 1024)])
def test_edges_share_slots_only_with_their_like(generator, units):
    """Every edge has a slot of its own, and parallel paths are copies of one."""
    edges = chain(units, 2048, generator=generator)
    (use,) = Trainer(edges, drawn(edges, 1), loss="none")._model.uses
    found = cut_sheets(use.cut.edges, *units)
    keys = use.cut.edges.src * units[1] + use.cut.edges.dst
    pairs = np.unique(np.stack((keys, found.slot)), axis=1)
    assert len(np.unique(pairs[0])) == len(np.unique(pairs[1])) == pairs.shape[1]
    assert len(np.unique(found.copy * found.size + found.slot)) == len(keys)
    assert found.slot.max() < found.size == sum(part.size for part in found.parts)


@needed
def test_windows_leave_paths_out():
    graph = chain((64, 32, 16), 512, BIAS, Call("relu"), out=(SOFTMAX,))
    weights = drawn(graph, 1)
    trainer = Trainer(graph, weights, optimizer=Sgd(0.1), batch=64, precision="bf16", frozen=("main.1",))
    inside = {name: np.where(np.arange(512) < 128, w, 0) if "main" in name else w for name, w in weights.items()}
    x, labels = next(batches(graph, 1, 64))
    result = trainer.step(x, labels, window=(0, 128))
    assert result == Trainer(graph, inside, batch=64, precision="bf16").evaluate(x, labels)
    after = trainer.weights()
    np.testing.assert_array_equal(after["main.1"], weights["main.1"])
    np.testing.assert_array_equal(after["main.2"][128:], weights["main.2"][128:])
    assert (after["main.2"][:128] != weights["main.2"][:128]).any()
    assert trainer.evaluate(x, labels) == Trainer(graph, after, batch=64, precision="bf16").evaluate(x, labels)


@needed
@pytest.mark.parametrize("loss", ["cross-entropy", "mse"])
def test_digits_are_learned_as_with_float32(loss):
    graph = pathc.load("examples/digits.path", {"P": 1024})
    found = [
        train(graph, load_data("digits"), Settings(epochs=8, batch=100, lr=0.02, loss=loss, target=target))
        for target in ("llvm", "llvm{precision=bf16}")
    ]
    losses = [record["loss"] for record in found[1].history]
    assert losses[-1] < losses[0] / 3
    assert found[1].accuracy is not None
    assert found[0].accuracy is not None
    assert found[1].accuracy > found[0].accuracy - 0.02


@needed
def test_tied_lines_are_refused():
    visits = Visit("x", 0), Visit("h", 1), Visit("y", 2)
    stations = (
        Station("x", "input", (16,)), Station("h", "layer", (16,), pipeline=(Call("tanh"),)),
        Station("y", "output", (16,)),
    )  # fmt: skip
    lines = (
        Line("main", "paths", visits[:2], 64, GENERATORS[0]),
        Line("back", "paths", visits[1:], 64, mirror="main", tied=True),
    )
    graph = canonical(Graph("net", stations, lines))
    with pytest.raises(PathcError, match="E0603"):
        Trainer(graph, drawn(graph, 1), loss="mse", precision="bf16")


@needed
def test_extents_are_refused():
    graph = pathc.load("examples/convolution.path")
    with pytest.raises(PathcError, match="E0379"):
        Trainer(graph, initial_weights(graph), precision="bf16")


def test_processors_without_tiles_are_refused():
    graph = chain((16, 16), 16)
    with pytest.raises(PathcError, match="E0603"):
        Trainer(graph, drawn(graph, 1), loss="mse", machine=machine({"cpu": "avx2"}), precision="bf16")


@pytest.mark.parametrize(
    ("target", "more", "code"),
    [
        ("llvm{precision=bf17}", {}, "E0603"),
        ("llvm{cpu=avx2}", {}, "E0603"),
        ("reference{precision=bf16}", {}, "E0603"),
        ("llvm{precision=bf16}", {"feedback": "direct"}, "E0603"),
        ("cuda{precision=bf16}", {}, "E0915"),
    ],
)
def test_targets_that_cannot_be(target, more, code):
    graph = pathc.load("examples/digits.path", {"P": 64})
    with pytest.raises((PathcError, UsageError), match=code):
        train(graph, load_data("digits"), Settings(target=target, **more))
