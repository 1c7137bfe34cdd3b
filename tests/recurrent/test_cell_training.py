"""Compiled training of recurrent nets against the interpreter: loops of cells, gradients of nets, steps, resuming."""

from __future__ import annotations

from dataclasses import replace
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from recurrent_nets import CELLS, STRUCTURED, STRUCTURES, cell, net, stages, weights_for

from pathc.backends.llvm.machine import machine
from pathc.backends.llvm.recurrent.training import SequenceTrainer, without_kernels
from pathc.backends.llvm.recurrent.training.cell import TrainedCell
from pathc.backends.llvm.training import Adam, Momentum, Sgd
from pathc.ir.cells import cell_of
from pathc.ir.graph import Graph, Line, Station, Visit
from pathc.ir.interp import backward, forward
from pathc.ir.interp.recurrent.terms import Node
from pathc.ir.interp.recurrent.unroll import Unrolled
from pathc.ir.recurrence import structure_shape
from pathc.ir.types import Call, Quantity
from pathc.support.diagnostics import PathcError
from pathc.support.source import Loc
from pathc.train.reference import ReferenceStepper
from pathc.train.stepper import Plan, stepper_for

DIRECTIONS = ("none", "concat", "sum")
OPTIMIZERS = [
    Sgd(0.1, weight_decay=0.05),
    Momentum(0.05, 0.9, weight_decay=0.01),
    Adam(0.01, eps=1e-3, weight_decay=0.01),
    Adam(0.01, eps=1e-3, weight_decay=0.1, decoupled=True),
]
CASES = [
    (name, structure, DIRECTIONS[(row + column) % 3])
    for row, name in enumerate(CELLS)
    for column, structure in enumerate(STRUCTURES if name in STRUCTURED else ["", "", ""])
]


def close(actual, expected, what=""):
    """Functions are within 3e-7, sums of fan-in 50 within 3e-6; a dozen steps hand such errors on. Of the largest."""
    assert actual.shape == expected.shape
    size = max(1e-3, float(np.abs(expected).max(initial=0.0)))
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=5e-5 * size, err_msg=what)


def near_a_kink(compute) -> bool:
    """Whether rounding may decide on which side of a kink a sum lies."""
    least, relu = [1.0], Node.relu

    def watched(self):
        least.append(float(np.abs(self.value).min(initial=1.0)))
        return relu(self)

    with patch.object(Node, "relu", watched):
        compute()
    return min(least) < 1e-5


def loops_agree(stage, units, batch, steps, seed=0, loc=None, on=None):
    """A cell alone, forwards and backwards."""
    own = cell_of(Station("c", "layer", (units,), pipeline=(stage,), loc=loc))
    rng = np.random.default_rng(seed)
    shape = structure_shape(own.recur, own.hidden, loc) if own.tensors else ()
    weights = {t: (0.3 * rng.normal(size=shape)).astype(np.float32) for t in own.tensors}
    over = own.name == "sru"
    trained = TrainedCell(own, on or machine({}), units, highway=over, threads=1)
    x = rng.normal(size=(batch, steps, trained.columns)).astype(np.float32)
    gates, blocks = len(own.gates), [k * trained.block for k in range(trained.sides)]

    def gate(at, number):
        return x[:, :, at + number * units : at + (number + 1) * units]

    for at in blocks[1:] if over else ():
        gate(at, gates)[...] = gate(0, gates)
    copies = np.stack([gate(at, g) for at in blocks for g in range(gates)]).astype(np.float64)
    highway = gate(0, gates).astype(np.float64) if over else np.zeros((batch, steps, units))
    dy = rng.normal(size=(batch, steps, units)).astype(np.float32)
    oracle = Unrolled(own, weights)
    expected = oracle.forward(copies, highway)
    if near_a_kink(lambda: oracle.forward(copies, highway)):
        return False
    wanted = oracle.backward(copies, highway, dy.astype(np.float64))
    if own.tensors:
        trained.load(np.concatenate([weights[t].reshape(-1) for t in own.tensors]))
    memory = trained.memory(batch, steps, x)
    trained.forward(memory)
    close(memory.y, expected.output, "output")
    gradients = np.empty(sum(values.size for values in weights.values()), np.float32)
    trained.backward(memory, dy, gradients)
    close(np.stack([gate(at, g) for at in blocks for g in range(gates)]), wanted.copies, "gates")
    if over:
        close(sum(gate(at, gates) for at in blocks), wanted.highway, "highway")
    if own.tensors:
        close(gradients, np.concatenate([wanted.tensors[t].reshape(-1) for t in own.tensors]), "matrices")
    return True


@pytest.mark.parametrize(("name", "structure", "both"), CASES)
def test_every_cell_in_every_structure(name, structure, both):
    stage = cell(name, STRUCTURES.get(structure), bidirectional=both)
    assert loops_agree(stage, 54 if structure in ("sparse", "paths") else 36, 5, 7)


@pytest.mark.parametrize("structure", ["full", "band", "diag", "paths"])
def test_a_reset_in_front_of_the_matrix(structure):
    assert loops_agree(cell("gru", STRUCTURES[structure], reset="before"), 36, 6, 5)


@pytest.mark.parametrize("activation", ["relu", "sigmoid", "identity"])
def test_functions_of_simple_cells(activation):
    assert loops_agree(cell("rnn", STRUCTURES["ring"], activation=activation), 37, 5, 6)


@pytest.mark.parametrize("options", [{"cpu": "avx2"}, {"cpu": "sse"}, {"width": 4}], ids=str)
def test_other_machines(options):
    for name, structure in (("gru", "ring"), ("rnn", "sparse")):
        assert loops_agree(cell(name, STRUCTURES[structure]), 21, 5, 4, on=machine(options))


@pytest.mark.parametrize("name", ["rnn", "gru"])
def test_weights_beyond_the_cache_serve_more_samples(name):
    small = replace(machine({}), l2=1 << 10)
    assert loops_agree(cell(name, Call("full"), bidirectional="sum"), 37, 14, 4, on=small)


def test_units_that_nobody_sees(tmp_path):
    blocks = np.ones((4, 4), np.int64)
    blocks[1] = 0
    blocks[:, 2] = 0
    np.savez(tmp_path / "m.npz", mask=blocks)
    mask = Call("mask", (("file", "m.npz"), ("block", 16)))
    assert loops_agree(cell("lstm", mask), 64, 5, 4, loc=Loc(str(tmp_path / "m.path"), 1, 1))


def test_scattered_weights_of_wide_cells():
    """Few weights of many units: gathered both ways."""
    sparse = Call("sparse", (("density", Quantity(0.5, "%")), ("seed", 1)))
    assert loops_agree(cell("lstm", sparse), 480, 5, 3)


def loss_of(y, target):
    """Loss, and its gradient at the outputs."""
    if target.ndim == y.ndim:
        off = y - target
        return (off**2).mean(), 2.0 * off / off.size
    chosen = np.take_along_axis(y, target[..., None], 2)
    dy = np.zeros_like(y)
    np.put_along_axis(dy, target[..., None], -1.0 / chosen / target.size, 2)
    return -np.log(chosen).mean(), dy


def gradients_agree(graph, weights, x, target):
    loss = "mse" if target.ndim == 3 else "cross-entropy"
    y = forward(graph, weights, x)
    expected, dy = loss_of(y, target)
    dx, tensors = backward(graph, weights, x, dy)
    trainer = SequenceTrainer(graph, weights, loss=loss, batch=4)
    found, gradients = trainer.gradients(x, target)
    assert found == pytest.approx(expected, rel=1e-5)
    assert gradients.keys() == tensors.keys()
    for name, values in tensors.items():
        close(gradients[name], values, name)
    assert trainer.evaluate(x, target).loss == pytest.approx(expected, rel=1e-5)
    outputs, saved = trainer.forward(x)
    close(outputs, y)
    back, again = trainer.backward(saved, dy.astype(np.float32))
    close(back, dx, "inputs")
    for name, values in tensors.items():
        close(again[name], values, name)
    return trainer


def sequences(graph, batch, steps, seed):
    inputs = sum(s.real_units for s in graph.inputs)
    return np.random.default_rng(seed).normal(size=(batch, steps, inputs)).astype(np.float32)


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    stages(),
    st.sampled_from([6, 12, 30, 54]),
    st.sampled_from([1, 2, 3, 12]),
    st.sampled_from([1, 2, 5, 7]),
    st.booleans(),
    st.integers(0, 99),
)
def test_gradients_of_random_nets(stage, units, steps, batch, skip, seed):
    graph = net(stage, units=units, skip=skip, dense=seed % 2 == 0, behind=(Call("tanh"),) if seed % 3 else ())
    x = sequences(graph, batch, steps, seed)
    target = np.random.default_rng(seed).normal(size=(batch, steps, 4)).astype(np.float32)
    weights = weights_for(graph, seed)
    assume(not near_a_kink(lambda: forward(graph, weights, x)))
    gradients_agree(graph, weights, x, target)


def stack(last=("bias", "softmax")):
    """Two cells, a layer that both read, a skip across, and a cell as a second output if the first has no softmax."""
    outputs = [Station("y", "output", (8,), pipeline=tuple(map(Call, last)))]
    lines = [
        Line("main", "paths", tuple(Visit(n, k) for k, n in enumerate("xhaby")), 128),
        Line("over", "skip", (Visit("h", 0), Visit("b", 1)), scale=0.5),
        Line("more", "dense", (Visit("h", 0), Visit("y", 1))),
    ]
    if "softmax" not in last:
        outputs.append(Station("z", "output", (16,), pipeline=(cell("indrnn"), Call("tanh"))))
        lines.append(Line("up", "dense", (Visit("b", 0), Visit("z", 1))))
        lines.append(Line("back", "paths", (Visit("a", 0), Visit("z", 1)), 64, Call("random")))
    stations = (
        Station("x", "input", (16,)),
        Station("h", "layer", (16,), pipeline=(Call("bias"), Call("tanh"))),
        Station("a", "layer", (32,), pipeline=(Call("bias"), cell("gru", Call("diag"), bidirectional="concat"))),
        Station("b", "layer", (16,), pipeline=(Call("bias"), cell("lstm", STRUCTURES["ring"]), Call("tanh"))),
        *outputs,
    )
    return Graph("stack", stations, tuple(lines))


@pytest.mark.parametrize("last", [("bias", "softmax"), ("bias",)], ids=["softmax", "two"])
def test_stacks_share_layers_between_cells(last):
    graph = stack(last)
    x, rng = sequences(graph, 3, 6, 1), np.random.default_rng(2)
    labels = rng.integers(0, 8, (3, 6))
    target = labels if "softmax" in last else rng.normal(size=(3, 6, 24)).astype(np.float32)
    trainer = gradients_agree(graph, weights_for(graph, 3), x, target)
    if "softmax" in last:
        hits = forward(graph, trainer.weights(), x).argmax(axis=2) == labels
        assert trainer.evaluate(x, labels).correct == hits.sum()


@pytest.mark.parametrize("behind", [(), (Call("softmax"),)], ids=["state", "softmax"])
def test_a_cell_may_be_the_output(behind):
    pipeline = (cell("gru", Call("full")), *behind)
    stations = (Station("x", "input", (5,)), Station("c", "output", (20,), pipeline=pipeline))
    graph = Graph("net", stations, (Line("in", "dense", (Visit("x", 0), Visit("c", 1))),))
    x, rng = sequences(graph, 2, 4, 0), np.random.default_rng(0)
    weights = weights_for(graph, 2)
    gradients_agree(graph, weights, x, rng.normal(size=(2, 4, 20)).astype(np.float32))
    if behind:
        gradients_agree(graph, weights, x, rng.integers(0, 20, (2, 4)))
    else:
        with pytest.raises(PathcError, match="E0620"):
            SequenceTrainer(graph, weights)


def test_a_trained_layer_that_becomes_recurrent():
    stage = Call("prernn", (("cell", Call("gru")), ("recur", Call("diag"))))
    stations = (
        Station("x", "input", (7,)),
        Station("c", "layer", (20,), pipeline=(Call("bias"), stage, Call("relu"))),
        Station("y", "output", (3,), pipeline=(Call("bias"),)),
    )
    lines = (Line("m", "dense", (Visit("x", 0), Visit("c", 1), Visit("y", 2))),)
    graph = Graph("net", stations, lines)
    target = np.random.default_rng(0).normal(size=(3, 5, 3)).astype(np.float32)
    gradients_agree(graph, weights_for(graph, 2), sequences(graph, 3, 5, 0), target)


def small():
    graph = net(cell("gru", STRUCTURES["paths"], bidirectional="sum"), units=24)
    stations = tuple(replace(s, pipeline=(Call("bias"), Call("softmax"))) if s.name == "y" else s
                     for s in graph.stations)  # fmt: skip
    return replace(graph, stations=stations)


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=str)
@pytest.mark.parametrize("window", [None, (8, 24), (24, 8)], ids=str)
def test_steps_are_those_of_the_reference(optimizer, window):
    graph = small()
    weights = weights_for(graph, 1)
    plan = Plan("cross-entropy", optimizer, 6)
    trainer, notes = stepper_for(graph, weights, plan)
    reference = ReferenceStepper(graph, weights, plan)
    assert isinstance(trainer, SequenceTrainer)
    assert not notes
    for step in range(3):
        x = sequences(graph, (6, 3, 5)[step], 4 + step, step)
        labels = np.random.default_rng(step).integers(0, 4, x.shape[:2])
        found = trainer.step(x, labels, lr=0.02, window=window)
        expected = reference.step(x, labels, lr=0.02, window=window)
        assert found.loss == pytest.approx(expected.loss, rel=1e-5)
        assert found.correct == expected.correct
        after = reference.weights()
        for name, values in trainer.weights().items():
            np.testing.assert_allclose(values, after[name], rtol=1e-4, atol=1e-5, err_msg=name)
    if window is not None:
        behind, ahead = np.arange(32) >= window[0], np.arange(32) < window[1]
        outside = ~(behind & ahead if window[0] < window[1] else behind | ahead)
        assert np.array_equal(trainer.weights()["main.1"][:, outside], weights["main.1"][:, outside])


def test_labels_under_squared_errors():
    graph, rng = small(), np.random.default_rng(0)
    plan = Plan("mse", Adam(0.01), 4)
    x, labels = sequences(graph, 6, 5, 0), rng.integers(0, 4, (6, 5))
    both = [stepper_for(graph, weights_for(graph, 1), plan, target)[0] for target in ("llvm", "reference")]
    for _ in range(2):
        mine, exact = (each.step(x, labels) for each in both)
        assert mine.loss == pytest.approx(exact.loss, rel=1e-5)
    mine, exact = (each.evaluate(x, labels) for each in both)
    assert mine.loss == pytest.approx(exact.loss, rel=1e-4)
    assert mine.correct == exact.correct


@pytest.mark.parametrize("name", ["lstm", "qrnn"])
def test_bits_do_not_depend_on_threads_or_interruptions(name):
    graph = net(cell(name, STRUCTURES["grouped"] if name == "lstm" else None), units=48)
    weights = weights_for(graph, 1)
    batches = [(sequences(graph, n, 5, n), np.random.default_rng(n).normal(size=(n, 5, 4)).astype(np.float32))
               for n in (9, 4, 9, 2)]  # fmt: skip

    def trainer(threads):
        return SequenceTrainer(graph, weights, loss="mse", optimizer=Adam(0.01), batch=9, threads=threads)

    one, two = trainer(1), trainer(2)
    losses = [each.step(x, y).loss for x, y in batches for each in (one, two)]
    assert losses[::2] == losses[1::2]
    broken = trainer(2)
    for x, y in batches[:2]:
        broken.step(x, y)
    rest = trainer(1)
    rest.load(broken.weights())
    rest.load_state(broken.state())
    for x, y in batches[2:]:
        rest.step(x, y)
    for found in (two, rest):
        for mine, others in ((one.weights(), found.weights()), (one.state(), found.state())):
            assert all(mine[n].tobytes() == others[n].tobytes() for n in mine)


def test_what_does_not_fit_is_refused():
    graph = small()
    weights = weights_for(graph, 1)
    trainer = SequenceTrainer(graph, weights, optimizer=Sgd())
    x, labels = sequences(graph, 2, 3, 0), np.zeros((2, 3), np.int64)

    def code(call, *arguments, **options):
        with pytest.raises(PathcError) as caught:
            call(*arguments, **options)
        return caught.value.diagnostics[0].code

    assert code(trainer.step, x.astype(np.float64), labels) == "E0701"
    assert code(trainer.step, x[:, :, :3], labels) == "E0702"
    assert code(trainer.step, x[:, :0], labels[:, :0]) == "E0702"
    assert code(trainer.step, x, labels[:, :2]) == "E0702"
    assert code(trainer.step, x, labels + 4) == "E0710"
    assert code(trainer.load_state, {"step": np.zeros((), np.int64), "what": np.zeros(2)}) == "E0622"
    assert code(SequenceTrainer(graph, weights).step, x, labels) == "E0621"
    assert code(SequenceTrainer(graph, weights, loss="none").gradients, x, labels) == "E0620"
    before = trainer.evaluate(x, labels).loss
    assert code(trainer.step, x, labels + 4, window=(0, 8)) == "E0710"
    assert trainer.evaluate(x, labels).loss == before
    with patch("pathc.backends.llvm.recurrent.training.trainer.memory_limit", lambda: 1000):
        assert code(trainer.step, x[:1], labels[:1]) == "E0502"
    idle = SequenceTrainer(graph, weights, loss="none")
    y, saved = idle.forward(x)
    idle.backward(saved, y)
    assert code(idle.backward, saved, y) == "E0702"


def test_lines_that_cannot_be_cut_are_left_to_the_interpreter():
    graph = net(cell("gru"))
    line = Line("main", "paths", graph.lines[0].visits, 36, Call("interleaver", (("z", 4),)))
    stations = tuple(Station(s.name, s.role, (12,), pipeline=s.pipeline) for s in graph.stations)
    whole = Graph("net", stations, (line,))
    assert [d.code for d in without_kernels(whole)] == ["E0377"]
    stepper, notes = stepper_for(whole, weights_for(whole, 4), Plan("mse", Sgd(), 4))
    assert isinstance(stepper, ReferenceStepper)
    assert [d.code for d in notes] == ["W0902"]
    assert "line `main` passes through" in notes[0].notes[0]
