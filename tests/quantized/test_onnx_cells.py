"""Recurrent ONNX models as onnxruntime computes them, with the nodes that exporters write around cells."""

from __future__ import annotations

import numpy as np
import pytest

from pathc.ir.graph import Graph, Line, Station, Visit
from pathc.ir.interp import forward
from pathc.ir.types import Call, Word
from pathc.ir.verify import verify
from pathc.ir.weights import check_weights, expected_tensors
from pathc.support.diagnostics import PathcError

onnx = pytest.importorskip("onnx", reason="reading ONNX needs the package onnx")
runtime = pytest.importorskip("onnxruntime", reason="results are compared with onnxruntime")
helper, numpy_helper = onnx.helper, onnx.numpy_helper

from pathc.exchange.onnx_export import export_onnx  # noqa: E402
from pathc.exchange.onnx_import import import_onnx  # noqa: E402

GATES = {"RNN": 1, "LSTM": 4, "GRU": 3}
STEPS, BATCH, WIDTH, HIDDEN = 7, 3, 5, 6


def node(*arguments, **attributes):
    return helper.make_node(*arguments, **attributes)


def floats(*shape, seed=0):
    return (0.5 * np.random.default_rng(seed).normal(size=shape)).astype(np.float32)


def parts(kind, width=WIDTH, sides=1, tag="", seed=0):
    rows = GATES[kind] * HIDDEN
    bias = floats(sides, 2 * rows, seed=seed + 2)
    if kind == "GRU":
        bias[:, rows + 2 * HIDDEN :] = 0
    return {
        f"w{tag}": floats(sides, rows, width, seed=seed),
        f"r{tag}": floats(sides, rows, HIDDEN, seed=seed + 1),
        f"b{tag}": bias,
    }


def written(path, nodes, constants, shape=(None, None, WIDTH), output="y"):
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(output, onnx.TensorProto.FLOAT, [None, None, None])],
        [numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    made.ir_version = 8
    path.write_bytes(made.SerializeToString())
    return path


def agree(path, x, first="steps"):
    """Compare with onnxruntime, whose sequences are [steps, batch, units] unless the model turns them."""
    options = runtime.SessionOptions()
    options.log_severity_level = 3
    session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    expected = session.run(None, {"x": x})[0]
    graph, weights = import_onnx(path)
    verify(graph)
    assert not check_weights(graph, weights)
    if first == "steps":
        found = forward(graph, weights, x.transpose(1, 0, 2)).transpose(1, 0, 2)
    else:
        found = forward(graph, weights, x)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-6)


@pytest.mark.parametrize("sides", [1, 2])
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("RNN", {}),
        ("RNN", {"activations": ["Relu"]}),
        ("RNN", {"activations": ["Tanh"]}),
        ("LSTM", {}),
        ("GRU", {"linear_before_reset": 1}),
        ("GRU", {}),
    ],
)
def test_every_cell_in_one_direction_and_two(tmp_path, kind, options, sides):
    if "activations" in options:
        options = {"activations": options["activations"] * sides}
    if sides == 2:
        options = {**options, "direction": "bidirectional"}
    join = [
        node("Transpose", ["s"], ["t"], perm=[0, 2, 1, 3]),
        node("Reshape", ["t", "flat"], ["q"]),
    ]
    nodes = [
        node(kind, ["x", "w", "r", "b"], ["s", "last"], hidden_size=HIDDEN, **options),
        *(join if sides == 2 else [node("Squeeze", ["s", "one"], ["q"])]),
        node("MatMul", ["q", "m"], ["p"]),
        node("Add", ["p", "c"], ["a"]),
        node("Relu", ["a"], ["y"]),
    ]
    constants = {"m": floats(sides * HIDDEN, 4), "c": floats(4), "flat": np.array([0, 0, -1]), "one": np.array([1])}
    path = written(tmp_path / "m.onnx", nodes, {**parts(kind, sides=sides), **constants})
    agree(path, floats(STEPS, BATCH, WIDTH, seed=9))
    agree(path, floats(1, 1, WIDTH, seed=8))


def test_a_hidden_bias_of_the_usual_gru_is_kept_where_it_can_be(tmp_path):
    given = parts("GRU")
    given["b"][:, 5 * HIDDEN :] = 1.0
    nodes = [node("GRU", ["x", "w", "r", "b"], ["s"], hidden_size=HIDDEN), node("Squeeze", ["s", "one"], ["y"])]
    path = written(tmp_path / "m.onnx", nodes, {**given, "one": np.array([1])})
    agree(path, floats(STEPS, BATCH, WIDTH))
    nodes[0] = node("GRU", ["x", "w", "r", "b"], ["s"], hidden_size=HIDDEN, linear_before_reset=1)
    with pytest.raises(PathcError, match=r"E1102: GRU.*product with the reset gate"):
        import_onnx(written(tmp_path / "m.onnx", nodes, {**given, "one": np.array([1])}))


def test_two_layers_as_an_exporter_writes_them(tmp_path):
    """Batch first, states of zeros made from the shape of the input, the second cell on the first one's steps."""
    nodes = [
        node("Shape", ["x"], ["shape"]),
        node("Constant", [], ["index"], value=numpy_helper.from_array(np.array(0))),
        node("Gather", ["shape", "index"], ["batch"]),
        node("Constant", [], ["axes"], value_ints=[0]),
        node("Unsqueeze", ["batch", "axes"], ["batch1"]),
        node("Concat", ["sides", "batch1", "hidden"], ["extents"], axis=0),
        node("ConstantOfShape", ["extents"], ["zeros"]),
        node("Expand", ["nought", "extents"], ["more"]),
        node("Transpose", ["x"], ["turned"], perm=[1, 0, 2]),
        node("LSTM", ["turned", "w0", "r0", "b0", "", "zeros", "more"], ["s0"], hidden_size=HIDDEN),
        node("Squeeze", ["s0", "one"], ["q0"]),
        node("LSTM", ["q0", "w1", "r1", "b1", "", "zeros", "zeros"], ["s1"], hidden_size=HIDDEN),
        node("Squeeze", ["s1", "one"], ["q1"]),
        node("Transpose", ["q1"], ["back"], perm=[1, 0, 2]),
        node("Tanh", ["back"], ["y"]),
    ]
    constants = {
        **parts("LSTM", tag="0"),
        **parts("LSTM", HIDDEN, tag="1", seed=5),
        "sides": np.array([1]),
        "hidden": np.array([HIDDEN]),
        "nought": np.zeros((1, 1, 1), np.float32),
        "one": np.array([1]),
    }
    agree(written(tmp_path / "m.onnx", nodes, constants), floats(BATCH, STEPS, WIDTH, seed=3), "batch")


REFUSED = {
    "a start that is not zero": (["x", "w", "r", "b", "", "ones"], ["s"], {}, "state of zeros"),
    "a state of zeros by mistake": (["x", "w", "r", "b", "", "nothing"], ["s"], {}, "state of zeros"),
    "lengths": (["x", "w", "r", "b", "lengths"], ["s"], {}, "equal length"),
    "the last state": (["x", "w", "r", "b"], ["s", "h"], {"read": "h"}, "last state is read"),
    "backwards": (["x", "w", "r", "b"], ["s"], {"direction": "reverse"}, "reverse"),
    "clipped": (["x", "w", "r", "b"], ["s"], {"clip": 1.0}, "clip"),
    "another function": (["x", "w", "r", "b"], ["s"], {"activations": ["Softsign"]}, "softsign"),
    "weights that do not fit": (["x", "w", "r2", "b"], ["s"], {}, "do not fit"),
    "directions left apart": (["x", "w", "r", "b"], ["s"], {"read": "s"}, "not joined"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_has_no_counterpart_is_refused(tmp_path, case):
    inputs, outputs, options, why = REFUSED[case]
    options = dict(options)
    read = options.pop("read", "")
    nodes = [
        node("RNN", inputs, outputs, hidden_size=HIDDEN, **options),
        node("Relu", [read], ["y"]) if read else node("Squeeze", ["s", "one"], ["y"]),
    ]
    constants = {
        **parts("RNN"),
        "ones": np.ones((1, BATCH, HIDDEN), np.float32),
        "nothing": np.zeros((0,), np.float32),
        "lengths": np.full(BATCH, STEPS, np.int32),
        "r2": floats(1, HIDDEN, HIDDEN - 1),
        "one": np.array([1]),
    }
    with pytest.raises(PathcError, match=rf"E110[12].*{why}|{why}"):
        import_onnx(written(tmp_path / "m.onnx", nodes, constants))


def test_picking_the_last_step_is_an_operator_without_counterpart(tmp_path):
    nodes = [
        node("RNN", ["x", "w", "r", "b"], ["s"], hidden_size=HIDDEN),
        node("Squeeze", ["s", "one"], ["q"]),
        node("Gather", ["q", "one"], ["y"]),
    ]
    with pytest.raises(PathcError, match=r"E1102: .*Gather \(1\)"):
        import_onnx(written(tmp_path / "m.onnx", nodes, {**parts("RNN"), "one": np.array([1])}))


WRITTEN = {
    "rnn": {},
    "rnn relu": {"activation": Word("relu")},
    "rnn sigmoid": {"activation": Word("sigmoid")},
    "rnn identity": {"activation": Word("identity")},
    "rnn grouped": {"recur": Call("grouped", (("groups", 3),))},
    "lstm": {},
    "lstm band": {"recur": Call("band", (("width", 5),))},
    "lstm shared": {"gates": Word("shared"), "recur": Call("diag")},
    "gru": {},
    "gru ring": {"recur": Call("ring", (("width", 3),)), "reset": Word("before")},
    "gru paths": {"recur": Call("paths", (("count", 40),))},
    "indrnn": {},
    "linear": {"recur": Call("diag")},
}
ORDER = ("recur", "activation", "gates", "reset", "bidirectional", "stateful")


def recurrent(name, options, bidirectional="none"):
    """A cell behind paths, a dense line and two inputs, one padded, in front of padded outputs and a softmax."""
    if bidirectional != "none":
        options = {**options, "bidirectional": Word(bidirectional)}
    stage = Call(name.split()[0], tuple((key, options[key]) for key in ORDER if key in options))
    units = 24 if bidirectional == "concat" else 12
    stations = (
        Station("x", "input", (8,), declared=WIDTH),
        Station("u", "input", (3,), pipeline=(Call("bias"), Call("tanh"))),
        Station("c", "layer", (units,), pipeline=(Call("bias"), stage, Call("relu"))),
        Station("y", "output", (8,), pipeline=(Call("bias"), Call("softmax")), declared=4),
    )
    lines = (
        Line("main", "paths", (Visit("x", 0), Visit("c", 1), Visit("y", 2)), 96),
        Line("more", "dense", (Visit("u", 0), Visit("c", 1))),
    )
    return Graph("net", stations, lines)


def random_weights(graph):
    return {name: floats(*shape, seed=k) for k, (name, shape) in enumerate(expected_tensors(graph).items())}


@pytest.mark.parametrize("bidirectional", ["none", "sum", "concat"])
@pytest.mark.parametrize("name", WRITTEN)
def test_cells_go_out_as_they_compute(tmp_path, name, bidirectional):
    graph = recurrent(name, WRITTEN[name], bidirectional)
    weights = random_weights(graph)
    x = floats(3, 9, WIDTH + 3, seed=90)
    options = runtime.SessionOptions()
    options.log_severity_level = 3
    session = runtime.InferenceSession(export_onnx(graph, weights), options, providers=["CPUExecutionProvider"])
    assert [each.name for each in session.get_inputs()] == ["x.in", "u.in"]
    (found,) = session.run(None, {"x.in": x[:, :, :WIDTH], "u.in": x[:, :, WIDTH:]})
    np.testing.assert_allclose(found, forward(graph, weights, x), rtol=0, atol=2e-6)


@pytest.mark.parametrize("name", ["ligru", "qrnn", "sru"])
def test_cells_that_onnx_lacks_are_refused(name):
    graph = recurrent(name, {})
    with pytest.raises(PathcError, match=f"E1104: .*{name}"):
        export_onnx(graph, random_weights(graph))


def test_states_that_outlive_a_sequence_are_refused():
    graph = recurrent("lstm", {"stateful": True})
    with pytest.raises(PathcError, match=r"E1104: .*outlive"):
        export_onnx(graph, random_weights(graph))
