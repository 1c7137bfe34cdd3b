"""Visits with axes: every coordinate of a unit is picked by a dimension of its own."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pathc.ir.blocks import destination_units, find_blocks, source_units
from pathc.ir.generators import BY_DIMENSION, NAMES, make, resolve
from pathc.ir.graph import Axis, Graph, Line, Station, Visit
from pathc.ir.types import Call, Word
from pathc.support.diagnostics import PathcError

CALLS = [
    Call("sobol"),
    *(Call("sobol", (("scramble", Word(word)), ("seed", 3))) for word in ("shift", "lms", "owen")),
    Call("sobol", (("skip", 5),)),
    Call("random", (("seed", 1),)),
]


def axes_of(*axes: tuple[int, int]) -> Visit:
    return Visit("", axes[0][0], axes=tuple(Axis(dim, parts) for dim, parts in axes))


def drawn(visits, count, call=CALLS[0]):
    """The paths of a line whose stations have the units that the axes ask for; a visit `(dim, units)` is plain."""
    sizes = [math.prod(a.parts for a in v.axes) if isinstance(v, Visit) else v[1] for v in visits]
    roles = ["input", *["layer"] * (len(visits) - 2), "output"]
    stations = tuple(Station(f"s{k}", role, (n,)) for k, (n, role) in enumerate(zip(sizes, roles, strict=True)))
    line = Line(
        "main",
        "paths",
        tuple(
            Visit(f"s{k}", v.dim, axes=v.axes) if isinstance(v, Visit) else Visit(f"s{k}", v[0])
            for k, v in enumerate(visits)
        ),
        count,
        call,
    )
    back = Line("back", "paths", tuple(Visit(v.station, 0) for v in line.visits[::-1]), count, mirror="main")
    graph = Graph("net", stations, (line, back))
    return resolve(line, graph), resolve(back, graph)


PARTS = st.one_of(st.integers(1, 40), st.sampled_from([1, 2, 4, 32, 256]))
VISITS = st.lists(st.tuples(st.integers(0, 40), PARTS), min_size=1, max_size=4).map(lambda axes: axes_of(*axes))


@given(st.lists(VISITS, min_size=2, max_size=3), st.integers(1, 700), st.sampled_from(CALLS), st.data())
def test_a_unit_is_the_number_that_its_coordinates_make(visits, count, call, data):
    paths, back = drawn(visits, count, call)
    start = data.draw(st.integers(0, count))
    for v, visit in enumerate(visits):
        expected = np.zeros(count, np.int64)
        coordinates = [make(call, (axis.dim,), (axis.parts,), count) for axis in visit.axes]
        for coordinate in coordinates:
            expected = expected * coordinate.sizes[0] + coordinate.units(0, 0, count)
        units = paths.units(v, 0, count)
        np.testing.assert_array_equal(units, expected)
        np.testing.assert_array_equal(paths.units(v, start, count), expected[start:])
        np.testing.assert_array_equal(back.units(len(visits) - 1 - v, 0, count), expected)
        assert units.dtype == np.int64
        affine = paths.affine(v)
        assert (affine is not None) == all(coordinate.affine(0) is not None for coordinate in coordinates)
        if affine is not None:
            assert len(affine.columns) == (count - 1).bit_length()
            assert [affine(i) for i in range(count)] == expected.tolist()


@given(st.integers(0, 40), st.integers(1, 300), st.sampled_from(CALLS))
def test_one_axis_is_a_plain_dimension(dim, units, call):
    gridded, _ = drawn([axes_of((dim, units)), (3, 7)], 200, call)
    plain, _ = drawn([(dim, units), (3, 7)], 200, call)
    for visit in (0, 1):
        np.testing.assert_array_equal(gridded.units(visit, 0, 200), plain.units(visit, 0, 200))
        assert gridded.affine(visit) == plain.affine(visit)


@pytest.mark.parametrize(("across", "channels", "bits"), [(4, 16, 14), (8, 8, 13), (2, 64, 16), (4, 64, 17)])
def test_dimensions_that_come_back_make_blocks_of_patches(across, channels, bits):
    """The dense blocks of a line that stays at its place hear squares of an image of 32 x 32, each all of its own."""
    image, places = axes_of((0, 32), (1, 32)), axes_of((0, across), (1, across), (2, channels))
    paths, _ = drawn([image, places], 1 << bits)
    blocks = find_blocks(paths.affine(0), paths.affine(1), 0, 1 << bits)
    side, hit = 32 // across, set()
    for sources, destinations in zip(source_units(blocks), destination_units(blocks), strict=True):
        rows, columns = sources // 32, sources % 32
        corner = rows.min() // side, columns.min() // side
        hit.add(corner)
        assert set(rows // side) == {corner[0]}
        assert set(columns // side) == {corner[1]}
        assert {(d // channels // across, d // channels % across) for d in destinations} == {corner}
    assert len(hit) == across**2


def test_patches_are_whole_where_paths_are_as_many_as_pixels_times_channels():
    paths, _ = drawn([axes_of((0, 32), (1, 32)), axes_of((0, 4), (1, 4), (2, 16))], 1 << 14)
    blocks = find_blocks(paths.affine(0), paths.affine(1), 0, 1 << 14)
    assert (blocks.count, blocks.fan_in, blocks.fan_out, blocks.repeat) == (16, 64, 16, 1)


@pytest.mark.parametrize("name", sorted(set(NAMES) - set(BY_DIMENSION)))
def test_generators_of_whole_units_refuse_axes(name):
    options = {"interleaver": (("z", 4),), "explicit": (("file", "paths.npz"),)}.get(name, ())
    with pytest.raises(PathcError, match="E0349"):
        drawn([axes_of((0, 4), (1, 4)), (2, 16)], 32, Call(name, options))
