from __future__ import annotations

import contextlib
import io
import json
import pickle
import zipfile

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from ir_nets import BIAS, chain, random_weights

from pathc.ir import weights as weights_module
from pathc.ir.weights import (
    check_memory,
    check_weights,
    load_metadata,
    load_weights,
    save_weights,
    tensor_values,
    weight_infos,
)
from pathc.support.diagnostics import PathcError
from pathc.support.tensors import round_to_bfloat16

GRAPH = chain((4, 6, 3), 12, [(), (BIAS,), ()])
WEIGHTS = random_weights(GRAPH, dtype=np.float32)
SUFFIXES = (".safetensors", ".npz")


def diagnostics(action):
    with pytest.raises(PathcError) as caught:
        action()
    assert caught.value.exit_code == 1
    return caught.value.diagnostics


def codes(action):
    return [d.code for d in diagnostics(action)]


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16, np.int8, np.int32, np.int64, np.uint8])
def test_round_trip(tmp_path, suffix, dtype):
    tensors = {name: (tensor * 10).astype(dtype) for name, tensor in WEIGHTS.items()}
    path = tmp_path / f"w{suffix}"
    save_weights(path, tensors, metadata={"seed": "7", "data": "Ziffern"})
    read = load_weights(path, GRAPH)
    assert read.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert read[name].dtype == dtype
        np.testing.assert_array_equal(read[name], tensor)
    assert load_metadata(path) == {"seed": "7", "data": "Ziffern"}
    assert weight_infos(path)["main.1"].shape == (12,)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_no_metadata_and_no_tensors(tmp_path, suffix):
    path = tmp_path / f"w{suffix}"
    save_weights(path, {})
    assert load_weights(path) == {}
    assert load_metadata(path) == {}


def test_files_are_those_of_the_format(tmp_path):
    path = tmp_path / "w.safetensors"
    save_weights(path, WEIGHTS)
    theirs = safetensors.numpy.load_file(path)
    for name, tensor in WEIGHTS.items():
        np.testing.assert_array_equal(theirs[name], tensor)
    safetensors.numpy.save_file(WEIGHTS, path)
    assert load_weights(path, GRAPH).keys() == WEIGHTS.keys()
    np.savez(tmp_path / "w.npz", **WEIGHTS)
    np.testing.assert_array_equal(load_weights(tmp_path / "w.npz", GRAPH)["main.2"], WEIGHTS["main.2"])


def test_bfloat16(tmp_path):
    path = tmp_path / "w.safetensors"
    save_weights(path, WEIGHTS, dtype="bfloat16")
    assert weight_infos(path)["main.1"].dtype == "bfloat16"
    assert path.stat().st_size < 4 * sum(t.size for t in WEIGHTS.values()) + 400
    read = load_weights(path, GRAPH)
    assert read["main.1"].dtype == np.float32
    np.testing.assert_array_equal(read["main.1"], round_to_bfloat16(WEIGHTS["main.1"]))
    assert codes(lambda: save_weights(tmp_path / "w.npz", WEIGHTS, dtype="bfloat16")) == ["E0511"]


def test_bfloat16_rounds_to_nearest_even():
    values = np.array([1.0, 1 + 2**-8, 1 + 3 * 2**-8, 1 + 2**-8 + 2**-20, -(1 + 2**-8), np.nan], dtype=np.float32)
    rounded = round_to_bfloat16(values)
    assert rounded[:5].tolist() == [1.0, 1.0, 1 + 2**-6, 1 + 2**-7, -1.0]
    assert np.isnan(rounded[5])


@given(hnp.arrays(np.float32, st.integers(0, 20), elements=st.floats(-(2.0**100), 2.0**100, width=32)))
def test_bfloat16_is_the_nearest(values):
    rounded = round_to_bfloat16(values)
    assert (np.abs(rounded - values.astype(np.float64)) <= 2.0**-8 * np.abs(values) + 2.0**-134).all()
    np.testing.assert_array_equal(round_to_bfloat16(rounded), rounded)


def test_scales(tmp_path):
    path = tmp_path / "q.safetensors"
    quantized = {name: np.ones(tensor.shape, dtype=np.int8) for name, tensor in WEIGHTS.items()}
    save_weights(path, quantized | {"main.1.scale": np.array([0.5], dtype=np.float32)})
    read = load_weights(path, GRAPH)
    assert tensor_values(read, "main.1").tolist() == [0.5] * 12
    assert tensor_values(read, "main.2").tolist() == [1.0] * 12
    bad = {
        "E0507": quantized | {"main.1.scale": np.ones(2, dtype=np.float32)},
        "E0508": WEIGHTS | {"main.1.scale": np.ones(1, dtype=np.float32)},
        "E0506": quantized | {"other.scale": np.ones(1, dtype=np.float32)},
    }
    for code, tensors in bad.items():
        assert [d.code for d in check_weights(GRAPH, tensors)] == [code]


def test_everything_wrong_is_said_at_once_with_file_and_cure(tmp_path):
    path = tmp_path / "w.npz"
    wrong = {"main.1": WEIGHTS["main.1"], "main_2": WEIGHTS["main.2"], "s1.bias": np.ones(5), "q": np.ones(3)}
    np.savez(path, **wrong)
    found = diagnostics(lambda: load_weights(path, GRAPH))
    assert sorted(d.code for d in found) == ["E0505", "E0506", "E0506", "E0507"]
    assert all(str(path) in d.message and d.help for d in found)
    missing = next(d for d in found if d.code == "E0505")
    assert "`main_2`" in missing.help


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_are_refused(tmp_path, suffix, value):
    spoiled = {name: tensor.copy() for name, tensor in WEIGHTS.items()}
    spoiled["main.2"][3] = value
    path = tmp_path / f"w{suffix}"
    assert codes(lambda: save_weights(path, spoiled)) == ["E0509"]
    assert not path.exists()
    if suffix == ".npz":
        np.savez(path, **spoiled)
    else:
        safetensors.numpy.save_file(spoiled, path)
    (found,) = diagnostics(lambda: load_weights(path, GRAPH))
    assert found.code == "E0509"
    assert "[3]" in found.notes[0]


def test_wrong_types(tmp_path):
    np.savez(tmp_path / "w.npz", **(WEIGHTS | {"main.1": np.ones(12, dtype=bool)}))
    assert codes(lambda: load_weights(tmp_path / "w.npz", GRAPH)) == ["E0508"]
    np.savez(tmp_path / "c.npz", a=np.ones(2, dtype=complex))
    assert codes(lambda: load_weights(tmp_path / "c.npz")) == ["E0504"]
    assert codes(lambda: save_weights(tmp_path / "w.npz", {"a": np.ones(2, dtype=complex)})) == ["E0508"]
    assert codes(lambda: save_weights(tmp_path / "w.npz", {"a": np.ones(2)}, dtype="float8")) == ["E0508"]
    safetensors.numpy.save_file(WEIGHTS | {"main.1": np.ones(12, dtype=bool)}, tmp_path / "w.safetensors")
    assert codes(lambda: load_weights(tmp_path / "w.safetensors", GRAPH)) == ["E0508"]
    assert codes(lambda: load_weights(tmp_path / "w.safetensors")) == ["E0508"]


def test_paths_that_cannot_be_used(tmp_path):
    assert codes(lambda: load_weights(tmp_path / "none.npz")) == ["E0501"]
    assert codes(lambda: load_weights(tmp_path / "none.safetensors")) == ["E0501"]
    assert codes(lambda: load_weights(tmp_path / "w.pt")) == ["E0510"]
    (tmp_path / "d.npz").mkdir()
    assert codes(lambda: load_weights(tmp_path / "d.npz")) == ["E0501"]
    assert codes(lambda: save_weights(tmp_path / "no" / "w.npz", WEIGHTS)) == ["E0503"]
    assert codes(lambda: load_weights("a\0b.npz")) == ["E0501"]


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "w.npz"
    save_weights(path, WEIGHTS)
    before = path.read_bytes()
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    assert codes(lambda: save_weights(path, {"a": np.ones(3)})) == ["E0503"]
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["w.npz"]


def test_sizes_are_judged_before_memory_is_taken(tmp_path, monkeypatch):
    assert [d.code for d in check_memory(chain((4, 4), 1 << 50))] == ["E0502"]
    assert check_memory(GRAPH) == []
    path = tmp_path / "w.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("main.1.npy", bytes(1 << 22))
    monkeypatch.setattr("pathc.support.arrays.memory_limit", lambda: 1 << 20)
    assert codes(lambda: load_weights(path)) == ["E0502"]
    monkeypatch.setattr("pathc.support.files.memory_limit", lambda: 100)
    assert codes(lambda: load_weights(path)) == ["E0502"]


def npy(header, payload=b""):
    text = header.encode() + b" " * (63 - (10 + len(header)) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + payload


HOSTILE_NPY = {
    "huge shape": npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1099511627776,), }"),
    "overflowing shape": npy("{'descr': '<f4', 'fortran_order': False, 'shape': (999999999999, 999999999999), }"),
    "negative shape": npy("{'descr': '<f4', 'fortran_order': False, 'shape': (-1,), }", bytes(4)),
    "bool shape": npy("{'descr': '<f4', 'fortran_order': False, 'shape': (True,), }", bytes(4)),
    "objects": npy("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }", pickle.dumps([1])),
    "records": npy("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,), }", bytes(4)),
    "text": npy("{'descr': '<U4', 'fortran_order': False, 'shape': (1,), }", bytes(16)),
    "code": npy("__import__('os').system('true')"),
    "nesting": npy("(" * 5000),
    "no header": b"\x93NUMPY\x01\x00",
    "version": b"\x93NUMPY\x09\x00" + bytes(100),
    "cut values": npy("{'descr': '<f8', 'fortran_order': False, 'shape': (3,), }", bytes(20)),
    "long header": npy("{'descr': '<f8', 'fortran_order': False, 'shape': (3,), }" + " " * 40000, bytes(24)),
    "empty": b"",
}


@pytest.mark.parametrize("content", HOSTILE_NPY.values(), ids=HOSTILE_NPY.keys())
def test_hostile_members(tmp_path, content):
    path = tmp_path / "w.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("main.1.npy", content)
    assert codes(lambda: load_weights(path)) == ["E0504"]


def test_hostile_archives(tmp_path):
    path = tmp_path / "w.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "hello")
    assert codes(lambda: load_weights(path)) == ["E0504"]
    path.write_bytes(b"PK\x03\x04" + bytes(50))
    assert codes(lambda: load_weights(path)) == ["E0504"]
    np.savez(path, **{weights_module.METADATA: np.frombuffer(b"[1, 2", dtype=np.uint8)})
    assert codes(lambda: load_metadata(path)) == ["E0504"]
    np.savez(path, **{weights_module.METADATA: np.frombuffer(b"[1, 2]", dtype=np.uint8)})
    assert codes(lambda: load_metadata(path)) == ["E0504"]


def safetensors_file(header, payload=b"", length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + payload


HOSTILE_SAFETENSORS = {
    "empty": b"",
    "length": safetensors_file({}, length=1 << 62),
    "no JSON": safetensors_file(b"{nonsense"),
    "nesting": safetensors_file(b"[" * 100_000),
    "offsets": safetensors_file({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 800]}}, bytes(8)),
    "shape": safetensors_file({"a": {"dtype": "F32", "shape": [1 << 60], "data_offsets": [0, 8]}}, bytes(8)),
    "overlap": safetensors_file({n: {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]} for n in "ab"}, bytes(8)),
    "type": safetensors_file({"a": {"dtype": "F33", "shape": [2], "data_offsets": [0, 8]}}, bytes(8)),
}


@pytest.mark.parametrize("content", HOSTILE_SAFETENSORS.values(), ids=HOSTILE_SAFETENSORS.keys())
def test_hostile_safetensors(tmp_path, content):
    path = tmp_path / "w.safetensors"
    path.write_bytes(content)
    assert codes(lambda: load_weights(path)) == ["E0504"]
    assert codes(lambda: load_metadata(path)) == ["E0504"]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_mutated_files_give_diagnostics_or_weights(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("fuzz")
    suffix = data.draw(st.sampled_from(SUFFIXES))
    path = folder / f"w{suffix}"
    save_weights(path, WEIGHTS, metadata={"a": "b"})
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))] if data.draw(st.booleans()) else content)
    with contextlib.suppress(PathcError):
        read = load_weights(path, GRAPH)
        load_metadata(path)
        assert all(np.isfinite(tensor).all() for tensor in read.values())


def test_big_endian_and_fortran_order(tmp_path):
    matrix = np.asfortranarray(np.arange(6.0).reshape(2, 3)).astype(">f8")
    buffer = io.BytesIO()
    np.save(buffer, matrix)
    with zipfile.ZipFile(tmp_path / "w.npz", "w") as archive:
        archive.writestr("m.npy", buffer.getvalue())
    read = load_weights(tmp_path / "w.npz")["m"]
    assert read.dtype == np.float64
    np.testing.assert_array_equal(read, matrix)
