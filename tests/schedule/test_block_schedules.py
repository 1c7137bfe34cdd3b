import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pathc.ir.generators import make
from pathc.ir.generators.base import Affine
from pathc.ir.schedule import Banks, BlockSchedule, Schedule, build, check
from pathc.ir.schedule.blocks import block_schedule
from pathc.ir.types import Call, Word
from pathc.support.diagnostics import PathcError


def sobol(sizes, count, dims=(0, 1), **options):
    values = tuple((k, Word(v) if isinstance(v, str) else v) for k, v in options.items())
    return make(Call("sobol", values), dims, sizes, count)


@st.composite
def linear_blocks(draw):
    bits, sizes = draw(st.integers(0, 7)), [draw(st.integers(0, 5)) for _ in range(2)]
    count = draw(st.integers(1, 1 << bits))
    index_bits = (count - 1).bit_length()
    maps, layouts = [], []
    for size in sizes:
        units = st.integers(0, (1 << size) - 1)
        maps.append(Affine(tuple(draw(st.lists(units, min_size=index_bits, max_size=index_bits))), draw(units)))
        banks = 1 << draw(st.integers(0, 4))
        layouts.append(Banks(1 << size, banks, draw(st.sampled_from(["high", "low"]))))
    z = 1 << draw(st.integers(0, 4))
    return maps, count, z, layouts


@given(linear_blocks(), st.booleans())
def test_algebra_counts_what_the_checker_counts(blocks, writes):
    maps, count, z, layouts = blocks
    symbolic = block_schedule(*maps, count, z, *layouts)
    if count % z:
        assert symbolic is None
        return
    table = symbolic.write_out()
    assert symbolic.verdict(writes=writes) == check(table, writes=writes)
    for cycle in range(symbolic.cycles):
        assert symbolic.source.banks(cycle).tolist() == table.source_bank()[cycle].tolist()
        assert symbolic.source.rows(cycle).tolist() == table.source_row()[cycle].tolist()
        assert symbolic.destination.banks(cycle).tolist() == table.destination_bank()[cycle].tolist()
        assert symbolic.destination.rows(cycle).tolist() == table.destination_row()[cycle].tolist()


@pytest.mark.parametrize(
    ("options", "common_row"),
    [({}, True), ({"scramble": "shift", "seed": 3}, True), ({"scramble": "lms", "seed": 3}, False)],
)
def test_aligned_sobol_blocks_with_high_banks(options, common_row):
    for dims in ((0, 1), (3, 2), (5, 11)):
        paths = sobol((256, 64), 2048, dims, **options)
        found = build("blocks", paths, 1, 16, Banks(256, 16), Banks(64, 16))
        assert isinstance(found, BlockSchedule)
        verdict = found.verdict()
        assert verdict.clash_free
        assert (verdict.cycles, verdict.stalls) == (128, 0)
        assert [end.common_row for end in (found.source, found.destination)] == [common_row] * 2
        table = found.write_out()
        units = paths.units(0, 0, 2048).reshape(-1, 16)
        assert np.array_equal(table.source_units(), units)
        rows = table.source_row()
        assert (rows == rows[:, :1]).all() == common_row
        lanes = table.source_bank() ^ table.source_bank()[:, :1]
        assert (lanes == lanes[0]).all()


@pytest.mark.parametrize("options", [{"scramble": "owen", "seed": 1}, {"skip": 1}])
def test_paths_that_are_not_linear_are_written_out(options):
    paths = sobol((256, 64), 2048, **options)
    found = build("blocks", paths, 1, 16, Banks(256, 16), Banks(64, 16))
    assert isinstance(found, Schedule)
    verdict = check(found)
    assert verdict.complete
    assert verdict.clash_free == ("scramble" in options)
    rows = found.source_row()
    assert not (rows == rows[:, :1]).all()


def test_low_banks_are_the_worst_choice():
    paths = sobol((256, 256), 4096)
    high = build("blocks", paths, 1, 32, Banks(256, 32), Banks(256, 32)).verdict()
    assert (high.source_clashes, high.destination_clashes, high.stalls) == (0, 0, 0)
    low = build("blocks", paths, 1, 32, Banks(256, 32, "low"), Banks(256, 32, "low"))
    assert low.source.load == 8
    assert low.verdict().time == 8 * 128
    assert low.verdict().source_clashes == 128 * 28


def test_two_to_the_thirty_paths():
    found = build("blocks", sobol((1 << 20, 1 << 16), 1 << 30), 1, 64, Banks(1 << 20, 64), Banks(1 << 16, 64))
    verdict = found.verdict()
    assert verdict.clash_free
    assert verdict.cycles == 1 << 24
    assert found.source.common_row
    cycle = 0x123456
    units = sobol((1 << 20, 1 << 16), 1 << 30).units(0, cycle * 64, cycle * 64 + 64)
    assert found.source.banks(cycle).tolist() == Banks(1 << 20, 64).bank(units).tolist()
    assert found.source.rows(cycle).tolist() == Banks(1 << 20, 64).row(units).tolist()
    with pytest.raises(PathcError, match="E0356"):
        found.write_out()


def test_custom_masks_repair_a_dimension_that_is_reversed():
    paths = make(Call("shuffle"), (0, 4), (256, 256), 256)
    layout = Banks(256, 16, "high")
    assert build("blocks", paths, 1, 16, layout, layout).source.load == 16
    masks = Banks(256, 16, "custom", (1, 2, 4, 8))
    assert build("blocks", paths, 1, 16, masks, layout).verdict().clash_free


def test_distances_of_visits_that_no_basis_shows():
    """Cycles that differ by 0010 or 1101 share a destination, so 7 and 8 do: 0111 ^ 1000 = 0010 ^ 1101."""
    destination = Affine((1, 0, 2, 3))
    found = block_schedule(Affine((1, 2, 4, 8)), destination, 16, 1, Banks(16, 1), Banks(4, 1))
    assert found.verdict().rmw_distance == check(found.write_out()).rmw_distance == 1
