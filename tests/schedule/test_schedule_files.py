import json
import zipfile

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schedule_strategies import schedules

from pathc.ir.generators import make
from pathc.ir.schedule import Banks, BlockSchedule, Schedule, build, load_schedule, save_schedule
from pathc.ir.types import Call
from pathc.support.diagnostics import PathcError

SLOW = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
ENDINGS = st.sampled_from([".json", ".npz"])


def blocks(count=64):
    return build("blocks", make(Call("sobol"), (0, 1), (32, 16), count), 1, 8, Banks(32, 8), Banks(16, 8, "low"))


@SLOW
@given(schedules(), ENDINGS)
def test_tables_come_back(tmp_path, schedule, ending):
    save_schedule(tmp_path / f"s{ending}", schedule)
    assert load_schedule(tmp_path / f"s{ending}") == schedule


def codes_of_loading(path):
    try:
        found = load_schedule(path)
    except PathcError as refused:
        return {d.code for d in refused.diagnostics}
    assert isinstance(found, Schedule | BlockSchedule)
    return set()


@pytest.mark.parametrize("ending", [".json", ".npz"])
@pytest.mark.parametrize("count", [8, 64, 1 << 40])
def test_blocks_come_back_as_blocks(tmp_path, ending, count):
    schedule = blocks(count)
    assert isinstance(schedule, BlockSchedule)
    save_schedule(tmp_path / f"s{ending}", schedule)
    assert load_schedule(tmp_path / f"s{ending}") == schedule
    assert (tmp_path / f"s{ending}").stat().st_size < 2000


@SLOW
@given(st.data(), ENDINGS, st.booleans())
def test_damaged_files_are_refused_or_read(tmp_path, data, ending, symbolic):
    path = tmp_path / f"s{ending}"
    save_schedule(path, blocks() if symbolic else data.draw(schedules()))
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    assert codes_of_loading(path) <= {"E0357", "E0502", "E0504"}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 1 << 70) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@SLOW
@given(st.data(), st.booleans())
def test_records_with_a_field_replaced_are_refused_or_read(tmp_path, data, symbolic):
    path = tmp_path / "s.json"
    save_schedule(path, blocks() if symbolic else data.draw(schedules()))
    record = json.loads(path.read_text())
    target = data.draw(st.sampled_from([record, record["source"], record["destination"]]))
    key = data.draw(st.sampled_from([*target, "more"]))
    if data.draw(st.booleans()):
        target[key] = data.draw(json_values)
    else:
        target.pop(key, None)
    path.write_text(json.dumps(record))
    assert codes_of_loading(path) <= {"E0357"}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "[" * 100_000,
        '{"version": 2, "form": "table"}',
        '{"version": 1, "form": ["table"]}',
        '{"version": 1, "form": "tree"}',
        '{"version": 1, "form": "table", "source": {}, "destination": {}, "lanes": [[0]]}',
        '{"version": 1, "form": "table", "source": 1, "destination": 2, "lanes": [[0]], "sources": [0], '
        '"destinations": [0]}',
        '{"lanes": [[0], [1, 2]]}',
        '{"lanes": [[18446744073709551616]]}',
        '{"lanes": [[NaN]]}',
        '{"lanes": "0"}',
        "9" * 5000,
    ],
)
def test_texts_that_are_no_schedule(tmp_path, text):
    (tmp_path / "s.json").write_text(text)
    with pytest.raises(PathcError, match="E0357"):
        load_schedule(tmp_path / "s.json")


def test_archives_that_are_no_schedule(tmp_path):
    path = tmp_path / "s.npz"
    np.savez(path, lanes=np.zeros((2, 2), np.int64))
    with pytest.raises(PathcError, match="E0357"):
        load_schedule(path)
    np.savez(path, schedule=np.zeros(1 << 17, np.uint8))
    with pytest.raises(PathcError, match=r"E0357.*more than"):
        load_schedule(path)
    save_schedule(path, blocks())
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("extra.txt", "hello")
    with pytest.raises(PathcError, match="E0504"):
        load_schedule(path)


def test_pickled_arrays_are_refused(tmp_path):
    path = tmp_path / "s.npz"
    head = np.frombuffer(b"{}", np.uint8)
    np.savez(path, allow_pickle=True, schedule=head, lanes=np.array([[print]], object))
    with pytest.raises(PathcError, match="E0504"):
        load_schedule(path)


def test_json_that_could_not_be_read_back_is_not_written(tmp_path, monkeypatch):
    monkeypatch.setattr("pathc.ir.schedule.files._LONGEST_JSON", 100)
    with pytest.raises(PathcError, match="E0357") as refused:
        save_schedule(tmp_path / "s.json", blocks())
    assert refused.value.diagnostics[0].help == "call it .npz"
    assert not (tmp_path / "s.json").exists()
    save_schedule(tmp_path / "s.npz", blocks())


def test_other_endings_and_missing_files(tmp_path):
    with pytest.raises(PathcError, match="E0357"):
        save_schedule(tmp_path / "s.csv", blocks())
    with pytest.raises(PathcError, match="E0501"):
        load_schedule(tmp_path / "none.json")
    with pytest.raises(PathcError, match="E0503"):
        save_schedule(tmp_path / "no" / "such" / "s.npz", blocks())
