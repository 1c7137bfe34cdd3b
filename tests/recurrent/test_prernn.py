"""Trained layers that become recurrent: meaning, weights, mistakes."""

from __future__ import annotations

import numpy as np
import pytest
from recurrent_nets import random_weights

import pathc
from pathc.driver import compile_model
from pathc.ir.cells import cell_of
from pathc.ir.cost import cost
from pathc.ir.graph import Graph, Line, Station, Visit
from pathc.ir.init import initial_weights
from pathc.ir.interp import forward
from pathc.ir.passes.prernn import Prernn
from pathc.ir.types import Call, Word
from pathc.ir.weights import expected_tensors, save_weights
from pathc.support.diagnostics import PathcError
from pathc.support.source import Source

TEXT = """pathc 1
input  x[16]
layer  fc[32] : bias | {stage}relu
output y[4]   : bias
paths main : x -> fc -> y {{ count = 64 }}
"""


def graph_of(stage="", name="model.path"):
    return pathc.load(Source(str(name), TEXT.format(stage=stage)))


def test_a_simple_cell_without_its_past_is_the_layer():
    trained = graph_of()
    weights = random_weights(trained, 1)
    became = graph_of("prernn(cell = rnn, recur = band(3)) | ")
    own = {**weights, "fc.recurrent.h": np.zeros(32 * 3 - 2)}
    x = np.random.default_rng(0).normal(size=(2, 5, 16))
    np.testing.assert_allclose(forward(became, own, x), forward(trained, weights, x.reshape(10, 16)).reshape(2, 5, 4))
    assert cell_of(became.station("fc")).activation == "relu"


def test_the_pass_writes_the_cell_and_changes_no_weight():
    for cell in ("rnn", "lstm", "gru", "ligru"):
        before = graph_of(f"prernn(cell = {cell}, recur = diag) | ")
        after = Prernn()(before)
        assert [s.name for s in after.station("fc").pipeline] == ["bias", cell]
        assert expected_tensors(before) == expected_tensors(after)
        weights = random_weights(before, 2)
        x = np.random.default_rng(0).normal(size=(1, 4, 16))
        np.testing.assert_array_equal(forward(before, weights, x), forward(after, weights, x))
    assert cell_of(Prernn()(graph_of("prernn(cell = gru) | ")).station("fc")).reset == "before"


@pytest.mark.parametrize("gates", ["separate", "shared"])
def test_every_gate_begins_with_the_trained_weights(tmp_path, gates):
    trained = graph_of()
    weights = {n: w.astype(np.float32) for n, w in random_weights(trained, 1).items()}
    save_weights(tmp_path / "fc.safetensors", weights)
    stage = f'prernn(cell = lstm, recur = diag, gates = {gates}, init = "fc.safetensors") | '
    became = graph_of(stage, tmp_path / "model.path")
    found = initial_weights(became)
    copies = found["main.1"].reshape(-1, 64)
    assert len(copies) == (4 if gates == "separate" else 1)
    for copy in copies:
        np.testing.assert_array_equal(copy, weights["main.1"])
    np.testing.assert_array_equal(found["main.2"], weights["main.2"])
    np.testing.assert_array_equal(found["y.bias"], weights["y.bias"])
    compiled = compile_model(became)
    np.testing.assert_array_equal(compiled.weights["main.2"], weights["main.2"])


def test_the_weights_survive_the_pass(tmp_path):
    weights = {n: w.astype(np.float32) for n, w in random_weights(graph_of(), 1).items()}
    save_weights(tmp_path / "fc.safetensors", weights)
    became = graph_of('prernn(cell = gru, recur = diag, init = "fc.safetensors") | ', tmp_path / "model.path")
    from pathc.driver import Options

    compiled = compile_model(became, options=Options(pipeline="prernn,structure"))
    np.testing.assert_array_equal(compiled.weights["main.1"][1], weights["main.1"])


def test_initializers_of_another_shape_are_refused(tmp_path):
    weights = {n: w.astype(np.float32) for n, w in random_weights(graph_of(), 1).items()}
    for wrong in ({**weights, "main.1": np.zeros(60, np.float32)}, {"other": np.zeros(3, np.float32)}):
        save_weights(tmp_path / "fc.safetensors", wrong)
        became = graph_of('prernn(cell = gru, recur = diag, init = "fc.safetensors") | ', tmp_path / "model.path")
        with pytest.raises(PathcError) as caught:
            initial_weights(became)
        assert caught.value.diagnostics[0].code == "E0375"
        assert caught.value.diagnostics[0].loc.line == 3


@pytest.mark.parametrize(
    ("stage", "code"),
    [
        ("gru(recur = grouped(5)) | ", "E0232"),
        ("rnn(recur = band(65)) | ", "E0232"),
        ("rnn(recur = band(4)) | ", "E0232"),
        ("gru(bidirectional = concat, recur = grouped(32)) | ", "E0232"),
        ("relu | gru | ", "E0372"),
        ("gru | batchnorm | ", "E0373"),
        ("gru(stateful = true, bidirectional = sum) | ", "E0374"),
        ("prernn(cell = rnn) | softmax | ", "E0374"),
    ],
)
def test_mistakes_are_named_at_the_cell(stage, code):
    found = pathc.check(Source("m.path", TEXT.format(stage=stage)))
    assert code in [d.code for d in found]
    assert all(d.loc.line == 3 and d.help for d in found if d.code == code)


def test_one_matrix_for_all_gates_is_smaller():
    stations = (Station("x", "input", (8,)), Station("c", "output", (8,), pipeline=(
        Call("prernn", (("cell", Word("lstm")), ("gates", Word("shared")))),)))  # fmt: skip
    shared = Graph("net", stations, (Line("in", "dense", (Visit("x", 0), Visit("c", 1))),))
    assert expected_tensors(shared)["in.1"] == (8, 8)


CONV = """pathc 1
input  x[4, 6x6]
layer  c[4] : conv(3x3, pad = same) | bias | {stage}batchnorm | shortcut | relu | avgpool(global)
output y[3] : bias
dense  main : x -> c -> y
skip   over : x -> c
"""


def trained_convolution(tmp_path):
    graph = pathc.load(Source(str(tmp_path / "model.path"), CONV.format(stage="")))
    weights = {n: np.abs(w).astype(np.float32) + 0.1 for n, w in random_weights(graph, 1).items()}
    save_weights(tmp_path / "c.safetensors", weights)
    return graph, weights


def test_a_convolution_without_its_past_is_the_layer_with_its_pool_moved(tmp_path):
    """f(P(B(W * x) + shortcut)), where the trained layer is P(f(B(W * x) + shortcut))."""
    _, weights = trained_convolution(tmp_path)
    became = pathc.load(Source("model.path", CONV.format(stage="prernn(cell = rnn, recur = band(3)) | ")))
    x = np.random.default_rng(0).normal(size=(2, 5, 4, 6, 6))
    moved = pathc.load(
        Source("moved.path", CONV.format(stage="").replace("relu | avgpool(global)", "avgpool(global) | relu"))
    )
    found = forward(became, {**weights, "c.recurrent.h": np.zeros(4 * 3 - 2)}, x)
    expected = forward(moved, weights, x.reshape(10, 4, 6, 6)).reshape(2, 5, 3)
    np.testing.assert_allclose(found, expected, atol=1e-12)


@pytest.mark.parametrize("gates", ["separate", "shared"])
def test_every_gate_begins_with_the_trained_filters_and_normalization(tmp_path, gates):
    trained, weights = trained_convolution(tmp_path)
    stage = f'prernn(cell = gru, recur = diag, gates = {gates}, init = "c.safetensors") | '
    became = pathc.load(Source(str(tmp_path / "model.path"), CONV.format(stage=stage)))
    found = initial_weights(became)
    for name, values in weights.items():
        copies = found[name].reshape(-1, *values.shape)
        assert len(copies) == (3 if gates == "separate" and name not in ("main.2", "y.bias") else 1)
        for copy in copies:
            np.testing.assert_array_equal(copy, values)
    before, after = cost(trained), cost(became)
    times = 3 if gates == "separate" else 1
    assert after.recurrent_weights == 3 * 4
    assert after.weights - before.weights == (times - 1) * 4 * 4 * 9
    assert after.norms == times * before.norms
    written = Prernn()(became)
    names = [s.name for s in written.station("c").pipeline]
    assert names == ["conv", "bias", "batchnorm", "shortcut", "avgpool", "gru"]
    x = np.random.default_rng(0).normal(size=(1, 3, 4, 6, 6))
    np.testing.assert_array_equal(forward(became, found, x), forward(written, found, x))
