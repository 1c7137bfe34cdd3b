"""Libraries that load without TVM, and split factors that are measured, kept and used again."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from tvm_support import BIAS, RELU, chain, check, drawn, inputs

from pathc.backends.base import Request
from pathc.backends.tvm import facade, knobs, tuner
from pathc.backends.tvm.cpu import BACKEND
from pathc.backends.tvm.library import Library
from pathc.backends.tvm.lower import plan_net
from pathc.backends.tvm.schedule import Tile
from pathc.support.diagnostics import PathcError, UnavailableError

pytestmark = [
    pytest.mark.skipif(facade.missing() != "", reason=f"needs TVM: {facade.INSTALL}"),
    pytest.mark.usefixtures("own_cache"),
]


def net(batch=0, **options):
    graph = chain((64, 32, 64), 512, BIAS, RELU)
    weights = drawn(graph, 1)
    return graph, weights, BACKEND.compile(Request(graph, weights, options, batch))


def written(folder, executable):
    for kind in ("so", *executable.companions("so")):
        data = executable.emit(kind)
        (folder / f"net.{kind}").write_bytes(data.encode() if isinstance(data, str) else data)
    return folder / "net.so"


@pytest.mark.parametrize("batch", [1, 64])
def test_a_library_computes_the_net(tmp_path, batch):
    graph, weights, executable = net(batch)
    loaded = Library(written(tmp_path, executable))
    for rows in (1, 3, 130):
        x = inputs(graph, rows, rows)
        check(graph, weights, x, loaded(x))
    with pytest.raises(PathcError, match="E0512"):
        loaded(np.zeros((3, 63), np.float32))
    with pytest.raises(PathcError, match="E0512"):
        loaded(np.zeros((3, 64), np.float64))


def test_a_library_needs_no_tvm(tmp_path):
    _, _, executable = net(64)
    path = written(tmp_path, executable)
    code = (
        "import sys, numpy as np; from pathc.backends.tvm.library import Library;"
        f"y = Library({str(path)!r})(np.ones((2, 64), np.float32)); assert 'tvm' not in sys.modules; print(y.shape)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "(2, 64)", done.stderr


@pytest.mark.parametrize("damage", ["", "[]", "{}", '{"version": 1}', '{"version": 2, "lanes": "x"}'])
def test_damaged_descriptions_are_refused(tmp_path, damage):
    _, _, executable = net(64)
    path = written(tmp_path, executable)
    path.with_suffix(".json").write_text(damage)
    with pytest.raises(PathcError, match="E0663"):
        Library(path)
    record = json.loads(str(executable.emit("json")))
    record["functions"][0]["arguments"][0] = "nothing"
    path.with_suffix(".json").write_text(json.dumps(record))
    with pytest.raises(PathcError, match="E0663"):
        Library(path)(np.zeros((1, 64), np.float32))


def test_without_a_c_compiler_it_says_so(monkeypatch):
    _, _, executable = net(64)
    monkeypatch.setattr("shutil.which", lambda *_: None)
    with pytest.raises(UnavailableError, match="E0670"):
        executable.emit("so")


def test_tuning_chooses_keeps_and_reuses(own_cache, monkeypatch):
    graph, weights, plain = net(64)
    plan, liked = plain.net(64).plan, Tile(2, 32)
    assert plain.notes == ()
    assert liked in knobs.candidates(plan, 30)
    monkeypatch.setattr(knobs, "candidates", lambda _: [Tile(1, 4), liked, Tile(64, 4)])
    tried = []

    def seconds(one):
        tried.append(dict(one.lowered.tiles))
        return {op.name: 1.0 if one.lowered.tiles.get(op.name) == liked else 2.0 for op in one.plan.ops}

    monkeypatch.setattr("pathc.backends.tvm.cpu.Net.seconds", seconds)
    _, _, tuned = net(64, tune=True)
    assert len(tried) == 3
    assert set(tuned.net(64).lowered.tiles.values()) == {liked}
    _, _, again = net(64)
    assert [note.code for note in again.notes] == ["W0671"]
    assert dict(again.net(64).lowered.tiles) == dict(tuned.net(64).lowered.tiles)
    assert net(1)[2].notes == ()
    x = inputs(graph, 70, 2)
    check(graph, weights, x, again(x))
    for damage in (
        "",
        "[1]",
        '{"version": 1, "entries": {"' + tuner.key_of(plan, tuner.processor("")) + '": {"k1": {"rows": 5}}}}',
    ):
        (own_cache / "tuned.json").write_text(damage)
        _, _, damaged = net(64)
        assert damaged.net(64).lowered.tiles == {}
        assert [note.code for note in damaged.notes] == ["W0682"]


def test_tuning_measures_every_kernel():
    graph, weights, executable = net(64)
    found = executable.net(64).seconds()
    assert set(found) == {op.name for op in executable.net(64).plan.ops}
    assert all(0 < spent < 1 for spent in found.values())
    for tile in knobs.candidates(plan_net(graph, 64, {}), 3):
        check_tile(graph, weights, tile)


def check_tile(graph, weights, tile):
    from pathc.backends.tvm.compiled import Lowered
    from pathc.backends.tvm.cpu import Net
    from pathc.backends.tvm.pack import pack

    plan = plan_net(graph, 64, {})
    tiles = {op.name: tile for op in plan.ops if knobs.fitting(tile, op)}
    x, y = inputs(graph, 70, 2), np.empty((70, 64), np.float32)
    Net(Lowered(plan, False, tiles), pack(plan, graph, weights), "").run(x, y)
    check(graph, weights, x, y)


def test_the_cost_model_wants_registers_full_but_not_over():
    assert knobs.cost(Tile(4, 16)) < knobs.cost(Tile(1, 16)) < knobs.cost(Tile(1, 4))
    assert knobs.cost(Tile(4, 64)) < knobs.cost(Tile(16, 64))


def test_tune_is_true_or_false():
    with pytest.raises(PathcError, match="E0667"):
        net(64, tune=3)
