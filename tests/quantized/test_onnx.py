"""ONNX in and out, against onnxruntime, and hostile files."""

from __future__ import annotations

import numpy as np
import pytest
from quantized_nets import BIAS, rich, station, visits

from pathc.cli import main
from pathc.driver import load, stored_weights
from pathc.ir.graph import Graph, Line
from pathc.ir.interp import forward
from pathc.ir.types import Call
from pathc.ir.verify import violations
from pathc.ir.weights import expected_tensors, load_weights
from pathc.support.diagnostics import PathcError

onnx = pytest.importorskip("onnx", reason="reading ONNX needs the package onnx")
runtime = pytest.importorskip("onnxruntime", reason="results are compared with onnxruntime")
helper, numpy_helper = onnx.helper, onnx.numpy_helper

from pathc.exchange.onnx_export import export_onnx  # noqa: E402
from pathc.exchange.onnx_import import import_onnx  # noqa: E402


def evaluate(data, x):
    options = runtime.SessionOptions()
    options.log_severity_level = 3
    session = runtime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    found = session.run(None, {session.get_inputs()[0].name: x.astype(np.float32)})
    return np.concatenate(found, axis=1)


def model(nodes, constants, shape=("batch", 6), output="y", units=4):
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(output, onnx.TensorProto.FLOAT, ["batch", units])],
        [numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    made.ir_version = 8
    return made


def rng(seed=0):
    return np.random.default_rng(seed)


def floats(*shape, seed=0):
    return rng(seed).normal(size=shape).astype(np.float32)


MLP = model(
    [
        helper.make_node("Flatten", ["x"], ["f"]),
        helper.make_node("Gemm", ["f", "w1", "b1"], ["g"], transB=1, alpha=0.5, beta=2.0),
        helper.make_node("BatchNormalization", ["g", "gamma", "beta", "mean", "var"], ["n"], epsilon=1e-3),
        helper.make_node("Relu", ["n"], ["r"]),
        helper.make_node("MatMul", ["r", "w2"], ["m"]),
        helper.make_node("Add", ["m", "b2"], ["a"]),
        helper.make_node("LeakyRelu", ["a"], ["l"], alpha=0.2),
        helper.make_node("Add", ["l", "r"], ["s"]),
        helper.make_node("Clip", ["s", "low", "high"], ["c"]),
        helper.make_node("Gemm", ["c", "w3"], ["o"]),
        helper.make_node("Softmax", ["o"], ["y"], axis=-1),
    ],
    {
        "w1": floats(8, 6), "b1": floats(8, seed=1), "gamma": floats(8, seed=2), "beta": floats(8, seed=3),
        "mean": floats(8, seed=4), "var": np.abs(floats(8, seed=5)) + 0.1, "w2": floats(8, 8, seed=6),
        "b2": floats(8, seed=7), "w3": floats(8, 4, seed=8), "low": np.float32(-2), "high": np.float32(3),
    },
    ("batch", 2, 3),
)  # fmt: skip


def test_a_net_comes_in_as_it_computes(tmp_path):
    path = tmp_path / "m.onnx"
    path.write_bytes(MLP.SerializeToString())
    graph, weights = import_onnx(path)
    assert violations(graph) == []
    x = floats(20, 2, 3, seed=9)
    np.testing.assert_allclose(forward(graph, weights, x.reshape(20, 6)), evaluate(path.read_bytes(), x), atol=2e-5)


@pytest.mark.parametrize("name", ["relu", "abs", "tanh", "sigmoid", "identity", "leaky", "hardtanh", "softmax"])
def test_a_sparse_net_goes_out_as_it_computes(name):
    graph = rich(Call(name))
    weights = {n: floats(*s, seed=i) for i, (n, s) in enumerate(expected_tensors(graph).items())}
    x = floats(7, 6)
    np.testing.assert_allclose(
        evaluate(export_onnx(graph, weights), x), forward(graph, weights, x), rtol=1e-4, atol=1e-4
    )


def test_out_and_in_again_through_the_command(tmp_path, capsys):
    digits, weights = "examples/digits.path", "examples/digits.safetensors"
    assert main(["export", digits, "--weights", weights, "--onnx", str(tmp_path / "d.onnx")]) == 0
    x = rng().integers(0, 17, (5, 64)).astype(np.float32)
    graph = load(digits)
    exact = forward(graph, stored_weights(graph, weights), x)
    np.testing.assert_allclose(evaluate((tmp_path / "d.onnx").read_bytes(), x), exact, atol=1e-5)
    capsys.readouterr()


def test_import_command_writes_what_runs(tmp_path, capsys):
    (tmp_path / "m.onnx").write_bytes(MLP.SerializeToString())
    assert main(["import", str(tmp_path / "m.onnx"), "-o", str(tmp_path / "m.pir")]) == 0
    np.save(tmp_path / "x.npy", floats(3, 6))
    pair = [str(tmp_path / "m.pir"), "--weights", str(tmp_path / "m.safetensors"), "--input", str(tmp_path / "x.npy")]
    assert main(["run", *pair, "-o", str(tmp_path / "y.npy")]) == 0
    expected = evaluate((tmp_path / "m.onnx").read_bytes(), floats(3, 6).reshape(3, 2, 3))
    np.testing.assert_allclose(np.load(tmp_path / "y.npy"), expected, atol=2e-5)
    graph = load(tmp_path / "m.pir")
    assert set(load_weights(tmp_path / "m.safetensors", graph)) == set(expected_tensors(graph))
    capsys.readouterr()


def test_unknown_operators_are_listed_at_once(tmp_path):
    path = tmp_path / "m.onnx"
    nodes = [
        helper.make_node("Sin", ["x"], ["a"]),
        helper.make_node("Cos", ["a"], ["b"]),
        helper.make_node("Sin", ["b"], ["y"]),
    ]
    path.write_bytes(model(nodes, {}, units=6).SerializeToString())
    with pytest.raises(PathcError, match=r"E1102: .*Cos \(1\), Sin \(2\)"):
        import_onnx(path)


def test_damaged_files_are_refused(tmp_path):
    data = MLP.SerializeToString()
    path = tmp_path / "m.onnx"
    for bad in (b"", b"hello", data[: len(data) // 2], data[:-1], data[20:]):
        path.write_bytes(bad)
        with pytest.raises(PathcError, match=r"E1101|E1102"):
            import_onnx(path)


def test_flipped_bytes_never_crash(tmp_path):
    data = bytearray(MLP.SerializeToString())
    path, draw = tmp_path / "m.onnx", rng(3)
    for _ in range(150):
        bad = bytearray(data)
        for place in draw.integers(0, len(data), 3):
            bad[place] = int(draw.integers(0, 256))
        path.write_bytes(bytes(bad))
        try:
            import_onnx(path)
        except PathcError:
            continue


@pytest.mark.parametrize("location", ["../secret.bin", "/etc/hostname", "link.bin", ""])
def test_weights_outside_the_folder_are_not_read(tmp_path, location):
    inside = tmp_path / "net"
    inside.mkdir()
    (tmp_path / "secret.bin").write_bytes(b"\0" * 1000)
    (inside / "link.bin").symlink_to(tmp_path / "secret.bin")
    made = model([helper.make_node("MatMul", ["x", "w"], ["y"])], {"w": floats(6, 4)})
    external(made.graph.initializer[0], location)
    (inside / "m.onnx").write_bytes(made.SerializeToString())
    with pytest.raises(PathcError, match=r"E1103|E1101"):
        import_onnx(inside / "m.onnx")


def external(tensor, location):
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", location


def test_weights_beside_the_model_are_read(tmp_path):
    made = model([helper.make_node("MatMul", ["x", "w"], ["y"])], {"w": floats(6, 4)})
    external(made.graph.initializer[0], "w.bin")
    (tmp_path / "m.onnx").write_bytes(made.SerializeToString())
    (tmp_path / "w.bin").write_bytes(floats(6, 4).tobytes())
    assert np.array_equal(import_onnx(tmp_path / "m.onnx")[1]["l0.1"], floats(6, 4).T)
    (tmp_path / "w.bin").write_bytes(b"short")
    with pytest.raises(PathcError, match="E1101"):
        import_onnx(tmp_path / "m.onnx")


def test_a_huge_tensor_is_refused_before_memory_is_taken(tmp_path):
    made = model([helper.make_node("MatMul", ["x", "w"], ["y"])], {"w": floats(6, 4)})
    made.graph.initializer[0].dims[:] = [1 << 40, 1 << 20]
    (tmp_path / "m.onnx").write_bytes(made.SerializeToString())
    with pytest.raises(PathcError, match=r"E0502|E1101"):
        import_onnx(tmp_path / "m.onnx")


def test_what_onnx_cannot_hold_is_refused():
    stations = (station("x", "input", 4), station("y", "output", 4, BIAS, Call("kwinners", (("k", 2),))))
    graph = Graph("g", stations, (Line("l", "dense", visits("x", "y")),))
    weights = {n: floats(*s) for n, s in expected_tensors(graph).items()}
    with pytest.raises(PathcError, match="E1104"):
        export_onnx(graph, weights)
