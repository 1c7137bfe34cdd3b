import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pathc.ir import gf2
from pathc.ir.generators import make
from pathc.ir.schedule import MAPS, Banks
from pathc.ir.types import Call
from pathc.support.diagnostics import PathcError


@st.composite
def layouts(draw):
    units, kind = draw(st.integers(1, 300)), draw(st.sampled_from(MAPS))
    if kind != "custom":
        return Banks(units, draw(st.integers(1, 400)), kind)
    masks = gf2.echelon(draw(st.lists(st.integers(1, 511), max_size=4)))
    return Banks(units, 1 << len(masks), kind, tuple(draw(st.permutations(masks))))


def brute_force(layout):
    """(bank, row) of every unit from the words of the documentation."""
    seen, places = {}, []
    for unit in range(layout.units):
        bank = {
            "high": unit * layout.banks // layout.units,
            "bank-major": unit * layout.banks // layout.units,
            "low": unit % layout.banks,
            "custom": sum(((unit & mask).bit_count() & 1) << b for b, mask in enumerate(layout.masks)),
        }[layout.map]
        places.append((bank, seen.get(bank, 0)))
        seen[bank] = places[-1][1] + 1
    return places


@given(layouts())
def test_banks_and_rows(layout):
    units = np.arange(layout.units)
    found = list(zip(layout.bank(units).tolist(), layout.row(units).tolist(), strict=True))
    assert found == brute_force(layout)
    assert max(row for _, row in found) < layout.depth
    assert max(bank for bank, _ in found) < layout.banks


@given(layouts())
def test_linear_maps_are_the_maps(layout):
    if layout.units & layout.units - 1 or layout.banks & layout.banks - 1:
        assert layout.linear is None
        return
    units = np.arange(layout.units)
    banks, rows = layout.linear
    assert gf2.apply_array(banks, units).tolist() == layout.bank(units).tolist()
    assert gf2.apply_array(rows, units).tolist() == layout.row(units).tolist()


def test_the_largest_layer_and_the_smallest():
    layout = Banks(1 << 32, 1 << 16, "high")
    assert layout.bank(np.array([(1 << 32) - 1])).tolist() == [(1 << 16) - 1]
    assert layout.row(np.array([(1 << 32) - 1])).tolist() == [(1 << 16) - 1]
    assert Banks(1, 1).linear == ((), ())
    assert Banks(1, 16).depth == 1


def test_positions_follow_the_rows_in_bank_major_order_only():
    units = np.arange(256)
    assert Banks(256, 16, "high").position(units).tolist() == units.tolist()
    assert Banks(256, 16, "low").position(units).tolist() == units.tolist()
    positions = Banks(256, 16, "bank-major").position(units)
    assert sorted(positions.tolist()) == units.tolist()
    assert positions[[0, 16, 32, 1]].tolist() == [0, 1, 2, 16]


def tiles(count, kind, dims, size=16):
    """Tiles of size x size that hold an edge, of the matrix 256 -> 256 with layers stored as `kind` has it."""
    paths, layout = make(Call("sobol"), dims, (256, 256), count), Banks(256, 16, kind)
    src, dst = (layout.position(paths.units(v, 0, count)) // size for v in (0, 1))
    return len(np.unique(src * 16 + dst))


@pytest.mark.parametrize(
    ("dims", "expected"), [((1, 2), [16, 64, 128, 256]), ((0, 2), [16, 64, 128, 256]), ((0, 1), [16, 16, 16, 16])]
)
def test_bank_major_order_gathers_edges_in_tiles(dims, expected):
    counts = (256, 1024, 2048, 4096)
    assert [tiles(count, "bank-major", dims) for count in counts] == expected
    assert [tiles(count, "high", dims) for count in counts] == [256] * 4


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ((0, 16), "E0341"),
        (((1 << 32) + 1, 16), "E0341"),
        ((16, 0), "E0350"),
        ((16, (1 << 16) + 1), "E0350"),
        ((16, 4, "hihg"), "E0352"),
        ((16, 4, "high", (1,)), "E0352"),
        ((16, 4, "custom", (1,)), "E0352"),
        ((16, 8, "custom", (1, 2, 3)), "E0352"),
        ((16, 2, "custom", (0,)), "E0352"),
        ((16, 2, "custom", (-1,)), "E0352"),
        ((16, 2, "custom", (1 << 40,)), "E0352"),
    ],
)
def test_layouts_that_cannot_be(arguments, code):
    with pytest.raises(PathcError) as found:
        Banks(*arguments)
    assert found.value.diagnostics[0].code == code
