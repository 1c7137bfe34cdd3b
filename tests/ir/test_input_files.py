from __future__ import annotations

import numpy as np
import pytest
from ir_nets import chain, station, visits
from test_weight_files import HOSTILE_NPY

from pathc.ir.graph import Graph, Line, Station
from pathc.ir.inputs import input_shape, load_input
from pathc.support.diagnostics import PathcError

GRAPH = chain((4, 3), 8)


def code(path, graph=GRAPH):
    with pytest.raises(PathcError) as caught:
        load_input(path, graph)
    (found,) = caught.value.diagnostics
    return found.code


@pytest.mark.parametrize(
    ("dtype", "result"),
    [("u1", "f4"), ("i1", "f4"), ("?", "f4"), ("f2", "f4"), ("f4", "f4"), ("f8", "f8"), ("i4", "f8"), (">f4", "f4")],
)
def test_types(tmp_path, dtype, result):
    x = np.arange(8).reshape(2, 4).astype(dtype)
    np.save(tmp_path / "x.npy", x)
    read = load_input(tmp_path / "x.npy", GRAPH)
    assert read.dtype == result
    np.testing.assert_array_equal(read, x)


@pytest.mark.parametrize("shape", [(4,), (1, 4), (0, 4), (9, 4)])
def test_shapes(tmp_path, shape):
    np.save(tmp_path / "x.npy", np.ones(shape))
    assert load_input(tmp_path / "x.npy", GRAPH).shape == shape


@pytest.mark.parametrize("shape", [(), (5,), (4, 5), (1, 1, 4), (0,)])
def test_wrong_shapes(tmp_path, shape):
    np.save(tmp_path / "x.npy", np.ones(shape))
    assert code(tmp_path / "x.npy") == "E0512"


def test_shape_of_a_sample():
    image = Graph("g", (Station("x", "input", (4, 8, 8), declared=3), station("y", "output", 2)), ())
    assert input_shape(image) == (3, 8, 8)
    stations = (station("a", "input", 2), station("b", "input", 4, declared=3), station("y", "output", 2))
    assert input_shape(Graph("g", stations, (Line("p", "dense", visits("a", "y")),))) == (5,)


def test_special_values_are_kept(tmp_path):
    np.save(tmp_path / "x.npy", np.array([np.nan, np.inf, -0.0, 1.0]))
    read = load_input(tmp_path / "x.npy", GRAPH)
    assert np.isnan(read[0])
    assert np.signbit(read[2])


def test_paths_that_cannot_be_used(tmp_path):
    assert code(tmp_path / "x.npy") == "E0501"
    assert code(tmp_path / "x.csv") == "E0510"


@pytest.mark.parametrize("content", HOSTILE_NPY.values(), ids=HOSTILE_NPY.keys())
def test_hostile_files(tmp_path, content):
    (tmp_path / "x.npy").write_bytes(content)
    assert code(tmp_path / "x.npy") == "E0504"
