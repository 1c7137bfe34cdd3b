"""Nets with extents out to ONNX and in again, against onnxruntime; nodes that cannot be brought in."""

from __future__ import annotations

import numpy as np
import pytest
from filter_nets import inputs_of, net, texts, weights_of
from hypothesis import HealthCheck, assume, given, settings
from test_filter_meaning import EQUATION, RESIDUAL, SHORTCUT

from pathc.ir.interp import forward
from pathc.ir.verify import violations
from pathc.ir.weights import expected_tensors
from pathc.support.diagnostics import PathcError

onnx = pytest.importorskip("onnx", reason="reading ONNX needs the package onnx")
runtime = pytest.importorskip("onnxruntime", reason="results are compared with onnxruntime")
helper, numpy_helper = onnx.helper, onnx.numpy_helper

from pathc.exchange.onnx_export import export_onnx  # noqa: E402
from pathc.exchange.onnx_import import import_onnx  # noqa: E402


def evaluate(data: bytes, x: np.ndarray) -> np.ndarray:
    options = runtime.SessionOptions()
    options.log_severity_level = 3
    session = runtime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {session.get_inputs()[0].name: x.astype(np.float32)})
    return found


def assert_there_and_back(graph, tmp_path, back: bool = True) -> None:
    weights = {name: w.astype(np.float32) for name, w in weights_of(graph).items()}
    x = inputs_of(graph, 3).astype(np.float32)
    expected, data = forward(graph, weights, x), export_onnx(graph, weights)
    size = max(1.0, float(np.abs(expected).max()))
    np.testing.assert_allclose(evaluate(data, x), expected, rtol=1e-3, atol=1e-4 * size)
    if back:
        (tmp_path / "m.onnx").write_bytes(data)
        again, tensors = import_onnx(tmp_path / "m.onnx")
        assert violations(again) == []
        assert {name: t.shape for name, t in tensors.items()} == expected_tensors(again)
        np.testing.assert_allclose(forward(again, tensors, x), expected, rtol=1e-3, atol=1e-4 * size)


@settings(max_examples=30, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(text=texts())
def test_random_nets_mean_the_same_in_onnxruntime(text, tmp_path) -> None:
    assume("kwinners" not in text)
    assert_there_and_back(net(text), tmp_path, back="channelshuffle" not in text)


@pytest.mark.parametrize("text", [EQUATION, RESIDUAL, SHORTCUT])
def test_equations_and_residuals(text, tmp_path) -> None:
    assert_there_and_back(net(text), tmp_path, back="channelshuffle" not in text and text is not EQUATION)


def model(nodes, constants, shape, result):
    made = helper.make_graph(
        nodes, "net",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, result)],
        [numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()],
    )  # fmt: skip
    whole = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)])
    whole.ir_version = 8
    return whole.SerializeToString()


def floats(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def norm(seed):
    gain, shift, mean = (floats(4, seed=seed + k) for k in range(3))
    return {f"n{seed}.{k}": v for k, v in enumerate((gain, shift, mean, np.abs(floats(4, seed=seed + 3)) + 0.5))}


NORM = ("BatchNormalization", [f"n0.{k}" for k in range(4)])
BLOCK = [
    helper.make_node("Conv", ["x", "w0", "b0"], ["c0"], pads=[1, 1, 1, 1]),
    helper.make_node("BatchNormalization", ["c0", *NORM[1]], ["n0"], epsilon=1e-3),
    helper.make_node("Relu", ["n0"], ["r0"]),
    helper.make_node("Conv", ["r0", "w1"], ["c1"], pads=[1, 1, 1, 1], group=2),
    helper.make_node("Add", ["c1", "shift"], ["d1"]),
    helper.make_node("Add", ["d1", "r0"], ["s1"]),
    helper.make_node("BatchNormalization", ["s1", *(f"n9.{k}" for k in range(4))], ["n1"]),
    helper.make_node("Relu", ["n1"], ["r1"]),
    helper.make_node("Conv", ["x", "w2"], ["c2"], auto_pad="SAME_UPPER"),
    helper.make_node("Concat", ["r1", "c2"], ["k"], axis=1),
    helper.make_node("MaxPool", ["k"], ["p"], kernel_shape=[2, 2], strides=[2, 2]),
    helper.make_node("Conv", ["p", "w3"], ["c3"], strides=[2, 2], dilations=[1, 2]),
    helper.make_node("Clip", ["c3", "zero", "six"], ["r3"]),
]
CONSTANTS = {
    "w0": floats(4, 3, 3, 3), "b0": floats(4), "w1": floats(4, 2, 3, 3, seed=1), "shift": floats(1, 4, 1, 1),
    "w2": floats(2, 3, 3, 3, seed=2), "w3": floats(8, 6, 2, 2, seed=3), "zero": np.float32(0), "six": np.float32(6),
    **norm(0), **norm(9), "w": floats(5, 32), "b": floats(5), "m": floats(5, 8), "rows": np.array([-1, 32]),
}  # fmt: skip
ENDS = {
    "flatten": [helper.make_node("Flatten", ["r3"], ["f"]), helper.make_node("Gemm", ["f", "w", "b"], ["y"], transB=1)],
    "reshape": [
        helper.make_node("Reshape", ["r3", "rows"], ["f"]),
        helper.make_node("Gemm", ["f", "w", "b"], ["y"], transB=1),
    ],
    "global": [
        helper.make_node("GlobalAveragePool", ["r3"], ["g"]),
        helper.make_node("Flatten", ["g"], ["f"]),
        helper.make_node("Gemm", ["f", "m"], ["q"], transB=1),
        helper.make_node("Softmax", ["q"], ["y"]),
    ],
    "mean": [
        helper.make_node("ReduceMean", ["r3"], ["g"], axes=[2, 3], keepdims=0),
        helper.make_node("Gemm", ["g", "m"], ["y"], transB=1),
    ],
}


@pytest.mark.parametrize("end", ENDS)
def test_a_net_of_another_tool(end, tmp_path) -> None:
    data = model([*BLOCK, *ENDS[end]], CONSTANTS, ["batch", 3, 9, 12], ["batch", 5])
    (tmp_path / "m.onnx").write_bytes(data)
    graph, tensors = import_onnx(tmp_path / "m.onnx")
    assert violations(graph) == []
    x = floats(4, 3, 9, 12, seed=7)
    np.testing.assert_allclose(forward(graph, tensors, x), evaluate(data, x), rtol=1e-4, atol=1e-4)
    assert sum(s.stage("batchnorm") is not None for s in graph.stations) == 1, "one is folded, one is not"


REFUSED = {
    "padding": (helper.make_node("Conv", ["x", "w"], ["y"], pads=[2, 0, 0, 0]), "padding"),
    "pool": (helper.make_node("MaxPool", ["x"], ["y"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]), "no padding"),
    "ceil": (helper.make_node("MaxPool", ["x"], ["y"], kernel_shape=[2, 2], ceil_mode=1), "beyond"),
    "axis": (helper.make_node("Concat", ["x", "x"], ["y"], axis=2), "joins"),
    "channels": (helper.make_node("Conv", ["x", "v"], ["y"]), "channels"),
    "large": (helper.make_node("Conv", ["x", "u"], ["y"]), "fit"),
    "width": (helper.make_node("Softmax", ["x"], ["y"], axis=3), "channels"),
    "product": (helper.make_node("MatMul", ["x", "q"], ["y"]), "extents"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_nodes_that_cannot_be_brought_in(name, tmp_path) -> None:
    node, why = REFUSED[name]
    first = helper.make_node("Conv", ["in", "one"], ["x"])
    constants = {"w": floats(4, 3, 3, 3), "v": floats(4, 5, 3, 3), "u": floats(4, 3, 9, 9), "q": floats(8, 8),
                 "one": floats(3, 3, 1, 1)}  # fmt: skip
    made = helper.make_graph(
        [first, node], "net",
        [helper.make_tensor_value_info("in", onnx.TensorProto.FLOAT, ["batch", 3, 8, 8])],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["a", "b", "c", "d"])],
        [numpy_helper.from_array(v, k) for k, v in constants.items()],
    )  # fmt: skip
    whole = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)])
    (tmp_path / "m.onnx").write_bytes(whole.SerializeToString())
    with pytest.raises(PathcError, match=why) as refused:
        import_onnx(tmp_path / "m.onnx")
    assert {d.code for d in refused.value.diagnostics} == {"E1102"}


def test_residuals_with_scales_come_back(tmp_path) -> None:
    graph = net("""
input x[3, 6x6]
layer a[4] : conv(3x3, pad = same) | bias | relu
layer b[4] : conv(3x3, pad = same) | relu | maxpool(2x2)
layer c[8, 3x3] : concat | relu
output y[2] : softmax
paths p : x -> a -> b { count = 16 }
skip r : a -> b { scale = -0.5 }
skip t : b -> c
skip u : b -> c { scale = 2 }
dense q : c -> y
""")
    assert_there_and_back(graph, tmp_path)
