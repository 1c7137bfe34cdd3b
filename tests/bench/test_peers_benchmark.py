"""`benchmarks/peers.py`: every peer computes the net, what is missing or wrong is not timed."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from pathc.agreement import compare
from pathc.driver import Compiled, compile_model

NAMES = ("scipy", "mkl", "mkl native", "numba", "tvm", "tvm tiled")
SIZES, PATHS = (20, 33, 7), 128


@pytest.fixture(scope="module")
def scripts():
    """The script and its peers."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
        yield importlib.import_module("peers"), importlib.import_module("_peers")


def net_of(script: ModuleType) -> Compiled:
    return compile_model(script.model(SIZES, PATHS), "llvm{threads=1}")


def inputs(batch: int) -> np.ndarray:
    return np.random.default_rng(batch).normal(size=(SIZES[0], batch)).astype(np.float32)


def test_all_peers_are_tested(scripts):
    assert tuple(scripts[1].PEERS) == NAMES


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("batch", [1, 6, 48])
def test_peers_compute_the_net(scripts, name, batch):
    script, peers = scripts
    if packages := peers.missing(name):
        pytest.skip(f"needs {name}: pip install {' '.join(packages)}")
    net, x = net_of(script), inputs(batch)
    matrices = peers.matrices_of(net)
    assert [matrix.shape for matrix in matrices] == [(33, 20), (7, 33)]
    assert all(len(matrix.values) < PATHS for matrix in matrices)
    run = peers.PEERS[name][1](matrices, peers.stations(matrices, x))
    for rounds in (1, 3):
        assert compare(net, np.ascontiguousarray(x.T), run(rounds).T).agrees


@pytest.mark.parametrize("batch", [1, 6])
def test_pathc_takes_units_first(scripts, batch):
    script, _ = scripts
    net, x = net_of(script), inputs(batch)
    script.hold(net, x, "own", script.own(net, x)())


def test_wrong_outputs_are_not_timed(scripts, monkeypatch):
    script, peers = scripts
    needs, right = peers.PEERS["scipy"]
    monkeypatch.setitem(peers.PEERS, "wrong", (needs, lambda *given: lambda rounds: right(*given)(rounds) + 1))
    with pytest.raises(SystemExit, match=r"wrong: .*differs from the reference"):
        script.measure("net", SIZES, PATHS, 6, ["wrong"], 0.01)


def test_it_marks_the_best_peer_and_says_who_is_missing(scripts, monkeypatch, capsys):
    script, peers = scripts
    scipy = peers.PEERS["scipy"][1]
    monkeypatch.setattr(script, "NETS", {"small": (SIZES, (PATHS,))})
    beside = {"quick": (("numpy",), scipy), "absent": (("numpy", "no-such-package"), scipy)}
    for module in scripts:
        monkeypatch.setattr(module, "PEERS", beside)
    monkeypatch.setattr("sys.argv", ["peers.py", "--seconds", "0.02", "--batch", "1,6"])
    script.main()
    told, one, six = capsys.readouterr().out.splitlines()
    assert told == "no absent: pip install no-such-package"
    assert one.startswith("small/128, batch 1 ")
    assert six.startswith("small/128, batch 6 ")
    assert one.endswith("x quick*")
    assert "x quick*" in six
