"""Data sets: files, scales, labels, and everything that can be wrong with them."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from train_support import REPEAT, changed, clusters, net

from pathc.support.diagnostics import PathcError, Severity
from pathc.train.data import Dataset, load_data
from pathc.train.idx import read_idx
from pathc.train.samples import split_for

_CODES = {"u1": 0x08, "i1": 0x09, "i2": 0x0B, "i4": 0x0C, "f4": 0x0D, "f8": 0x0E}


def idx(array: np.ndarray) -> bytes:
    kind = array.dtype.str[1:]
    head = bytes([0, 0, _CODES[kind], array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return head + array.astype(f">{kind}").tobytes()


def codes(function, *arguments, **options) -> list[str]:
    with pytest.raises(PathcError) as caught:
        function(*arguments, **options)
    return [d.code for d in caught.value.diagnostics]


@pytest.mark.parametrize("kind", sorted(_CODES))
@pytest.mark.parametrize("packed", [False, True])
def test_idx_reads_what_was_written(tmp_path: Path, kind: str, packed: bool) -> None:
    array = (np.arange(24).reshape(2, 3, 4) - 3).astype(kind)
    data = idx(array)
    (tmp_path / "a").write_bytes(gzip.compress(data) if packed else data)
    found = read_idx(tmp_path / "a")
    assert found.dtype == array.dtype
    assert found.dtype.isnative
    np.testing.assert_array_equal(found, array)


@given(st.binary(max_size=64), st.booleans())
def test_idx_refuses_noise(tmp_path_factory, data: bytes, packed: bool) -> None:
    path = tmp_path_factory.getbasetemp() / "noise"
    path.write_bytes(gzip.compress(data) if packed else data)
    try:
        found = read_idx(path)
    except PathcError as mistake:
        found = mistake
    if isinstance(found, PathcError):
        (diagnostic,) = found.diagnostics
        assert diagnostic.code in ("E0906", "E0502")
    else:
        assert idx(found)[4:] == data[4:]


@pytest.mark.parametrize("cut", [3, 5, 9, 20])
def test_idx_that_is_cut_off(tmp_path: Path, cut: int) -> None:
    whole = idx(np.ones((2, 2, 5), np.uint8))
    (tmp_path / "a").write_bytes(whole[:cut])
    assert codes(read_idx, tmp_path / "a") == ["E0906"]
    (tmp_path / "a").write_bytes(gzip.compress(whole)[:-cut])
    assert codes(read_idx, tmp_path / "a") == ["E0906"]


def test_idx_that_promises_terabytes(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(bytes([0, 0, 14, 3]) + struct.pack(">3I", 1 << 30, 1 << 10, 1 << 10))
    assert codes(read_idx, tmp_path / "a") == ["E0906"]


def test_folder_and_four_files(tmp_path: Path) -> None:
    arrays = {
        "train-images-idx3-ubyte": np.full((6, 4, 4), 255, np.uint8),
        "train-labels-idx1-ubyte": np.arange(6, dtype=np.uint8) % 4,
        "t10k-images-idx3-ubyte.gz": np.zeros((4, 4, 4), np.uint8),
        "t10k-labels-idx1-ubyte.gz": np.arange(4, dtype=np.uint8),
    }
    for name, array in arrays.items():
        data = idx(array)
        (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    folder = load_data(str(tmp_path))
    files = load_data(",".join(str(tmp_path / name) for name in arrays))
    assert folder.digest == files.digest
    split = split_for(net(), folder)
    assert split.train.rows.shape == (6, 16)
    assert (split.train.rows == 1).all()
    assert split.test is not None
    assert len(split.test) == 4


def test_digits_ship_and_are_scaled() -> None:
    digits = load_data("digits")
    rows = split_for(net("pathc 1\ninput x[64]\noutput y[10] : softmax\ndense d : x -> y\n"), digits).train.rows
    assert rows.dtype == np.float32
    assert (rows.min(), rows.max()) == (0, 1)


def test_integers_are_scaled_and_floats_are_not(tmp_path: Path) -> None:
    labels = np.array([0, 1, 2, 3])
    values = np.full((4, 16), 51, np.uint8)
    for array, scale, expected in (
        (values, 0.0, np.float32(51) / 255),
        (values, 100.0, np.float32(0.51)),
        (values.astype(np.uint16), 0.0, np.float32(51 / 65535)),
        (values.astype(np.float64), 0.0, 51.0),
    ):
        np.savez(tmp_path / "d.npz", x_train=array, y_train=labels)
        rows = split_for(net(), load_data(str(tmp_path / "d.npz"), scale)).train.rows
        np.testing.assert_allclose(rows, expected, rtol=1e-6)


def test_digest_sees_values_types_and_scale() -> None:
    first = clusters()
    others = [
        changed(first, y_test=first.arrays["y_test"].astype(np.int16)),
        changed(first, x_train=first.arrays["x_train"] + 1),
        Dataset(first.name, first.arrays, 2.0),
    ]
    assert len({d.digest for d in (first, clusters(), *others)}) == 4


@pytest.mark.parametrize(
    ("name", "expected"), [("nothing", "E0901"), ("diggits", "E0901"), ("a,b,c", "E0901"), ("no.npz", "E0501")]
)
def test_data_that_is_not_there(name: str, expected: str) -> None:
    assert codes(load_data, name) == [expected]


def test_folder_without_images(tmp_path: Path) -> None:
    assert codes(load_data, str(tmp_path)) == ["E0901"]


def test_npz_without_x_train(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", x_trains=np.zeros((2, 16)))
    assert codes(load_data, str(tmp_path / "d.npz")) == ["E0902"]


def test_pickled_data_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", x_train=np.array([{}, []], dtype=object))
    assert codes(load_data, str(tmp_path / "d.npz")) == ["E0504"]


@pytest.mark.parametrize(
    ("arrays", "expected"),
    [
        ({"x_train": np.zeros((240, 15))}, "E0903"),
        ({"x_train": np.zeros((240, 4, 4, 2))}, "E0903"),
        ({"x_train": np.zeros(16)}, "E0903"),
        ({"x_train": np.zeros((0, 16))}, "E0903"),
        ({"y_train": np.zeros(239, int)}, "E0903"),
        ({"y_train": np.zeros((240, 2), int)}, "E0903"),
        ({"y_train": np.zeros(240)}, "E0905"),
        ({"y_train": np.full(240, 4)}, "E0905"),
        ({"y_train": np.full(240, -1)}, "E0905"),
        ({"y_train": np.full(240, 1 << 40)}, "E0905"),
        ({"y_train": None}, "E0902"),
        ({"y_test": None}, "E0902"),
        ({"x_test": np.full((60, 16), np.nan)}, "E0904"),
        ({"x_train": np.full((240, 16), 1e300)}, "E0904"),
    ],
    ids=str,
)
def test_data_that_does_not_fit(arrays, expected: str) -> None:
    assert codes(split_for, net(), changed(clusters(), **arrays)) == [expected]


def test_nan_is_found_where_it_is() -> None:
    rows = clusters().arrays["x_train"].copy()
    rows[17, 5] = np.nan
    with pytest.raises(PathcError, match="sample 17, unit 5"):
        split_for(net(), changed(clusters(), x_train=rows))


def test_arrays_without_samples_are_named() -> None:
    for name in ("x_train", "x_test"):
        with pytest.raises(PathcError, match=f"`{name}` .* holds no value"):
            split_for(net(), changed(clusters(), **{name: np.zeros((0, 16))}))


def test_empty_classes_are_a_warning() -> None:
    labels = clusters().arrays["y_train"] // 2 * 2
    (found,) = split_for(net(), changed(clusters(), y_train=labels)).notes
    assert (found.code, found.severity) == ("W0901", Severity.WARNING)
    assert "1, 3" in found.message


def test_spare_outputs_are_no_warning() -> None:
    labels = clusters().arrays
    assert split_for(net(), changed(clusters(), y_train=labels["y_train"] % 3, y_test=labels["y_test"] % 3)).notes == ()


def test_no_test_samples_are_a_note() -> None:
    split = split_for(net(), changed(clusters(), x_test=None, y_test=None))
    assert [d.code for d in split.notes] == ["W0903"]
    assert split.test is None


def test_validation_is_held_out() -> None:
    data = clusters()
    rows = np.arange(240 * 16, dtype=np.float32).reshape(240, 16)
    split = split_for(net(), changed(data, x_train=rows), validation=0.25, seed=3)
    assert split.validation is not None
    assert (len(split.train), len(split.validation)) == (180, 60)
    firsts = np.concatenate([split.train.rows[:, 0], split.validation.rows[:, 0]])
    np.testing.assert_array_equal(np.sort(firsts), rows[:, 0])
    other = split_for(net(), changed(data, x_train=rows), validation=0.25, seed=4).validation
    assert other is not None
    assert not np.array_equal(split.validation.rows, other.rows)
    assert codes(split_for, net(), data, validation=0.001) == ["E0909"]


def test_input_as_target_needs_no_labels() -> None:
    split = split_for(net(REPEAT), changed(clusters(), y_train=None, y_test=None), "input")
    assert split.train.labels is None
    assert split.train.target(0, 5) is not None
