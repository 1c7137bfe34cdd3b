"""Devices that a tracker lends: nets are right there, figures and tuned tiles come back, and nothing hangs."""

from __future__ import annotations

import gc
import json
import socket
import time

import cell_support
import extents_support
import numpy as np
import pytest
import rpc_machines
from tvm_support import BIAS, RELU, chain, check, drawn, inputs

from pathc.backends.base import Request
from pathc.backends.tvm import cpu, facade, knobs, remote
from pathc.backends.tvm.remote import Placed, Where, borrow
from pathc.backends.tvm.schedule import Tile
from pathc.cli import main
from pathc.ir.interp import evaluate
from pathc.support.diagnostics import PathcError, UnavailableError

pytestmark = [
    pytest.mark.skipif(facade.missing() != "", reason=f"needs TVM: {facade.INSTALL}"),
    pytest.mark.skipif(rpc_machines.missing() != "", reason=rpc_machines.missing() or "all is there"),
]
MODEL = "pathc 1\nmodel net\ninput x[64]\noutput y[32] : bias | relu\npaths main : x@0 -> y@1 { count = 512 }\n"


@pytest.fixture(scope="module")
def at():
    """A tracker with one device, `here`."""
    made = rpc_machines.tracker()
    other = rpc_machines.server(made.port, "here")
    found = Where("127.0.0.1", made.port, "here", 60.0)
    awaited(found)
    yield found
    other.stop()
    made.stop()


def awaited(where):
    """The device, when its server has told the tracker of it."""
    for _ in range(100):
        try:
            return borrow(where)
        except UnavailableError:
            time.sleep(0.1)
    return borrow(where)


@pytest.fixture
def model(tmp_path, own_cache):
    path = tmp_path / "net.path"
    path.write_text(MODEL)
    return path


def bench(model, at, *more):
    return main(["bench", str(model), "--rpc", str(at), "--key", at.key, "--seconds", "0.02", *more])


@pytest.mark.parametrize("batch", [1, 70])
def test_a_net_is_computed_and_timed_there(at, batch):
    graph = chain((64, 32, 16), 512, BIAS, RELU)
    weights = drawn(graph, 1)
    device = borrow(at)
    executable = cpu.BACKEND.compile(Request(graph, weights, {"cpu": device.processor()}, batch))
    placed = device.place(executable.shipped(batch), batch)
    for seed in (2, 3):
        x = inputs(graph, batch, seed)
        check(graph, weights, x, placed.outputs(x))
    spent = placed.seconds(placed.shipped.run, 0.02)
    assert len(spent) == 9
    assert all(0 < one < 1 for one in spent)
    assert set(placed.operations(0.01)) == {op.name for op in executable.net(batch).plan.ops}


def test_a_net_with_extents_is_computed_and_timed_there(at):
    graph, weights, x = extents_support.case(extents_support.ACROSS, 5)
    executable = cpu.BACKEND.compile(Request(graph, weights, {"cpu": borrow(at).processor()}, 5))
    placed = borrow(at).place(executable.shipped(5), 5)
    y = placed.outputs(x)
    extents_support.checked(graph, weights, x, y)
    np.testing.assert_array_equal(y, executable(x))
    assert set(placed.operations(0.01)) == {f.name for f in executable.net(5).lowered.functions}
    assert placed.seconds(placed.shipped.run, 0.02)


def test_sequences_are_computed_and_timed_there(at):
    stages = [(cell_support.cell(name, stateful=True),) for name in ("gru", "sru")]
    graph = cell_support.stack(*stages, units=10)
    weights, x = cell_support.drawn(graph, 1), cell_support.sequences(graph, 3, 7, 2)
    executable = cpu.BACKEND.compile(Request(graph, weights, {"cpu": borrow(at).processor()}))
    placed = borrow(at).place(executable.shipped(3), 3, 7)
    cell_support.check(graph, weights, x, placed.outputs(x).reshape(3, 7, -1))
    again = evaluate(graph, weights, x, evaluate(graph, weights, x).state).outputs
    np.testing.assert_allclose(placed.outputs(x).reshape(3, 7, -1), again, atol=1e-6)
    assert set(placed.operations(0.01)) == {f.name for f in executable.lowered.functions}
    with pytest.raises(PathcError, match="E0512"):
        placed.outputs(x[:, :6])


@pytest.mark.parametrize(
    "text",
    ["input x[4, 6x5]\noutput y[8] : conv(3x3) | relu\npaths p : x -> y { count = 32 }\n",
     "input x[6]\noutput y[8] : gru\npaths p : x -> y { count = 24 }\n"],
    ids=["extents", "cells"],
)  # fmt: skip
def test_figures_of_other_nets(at, tmp_path, own_cache, capsys, text):
    model = tmp_path / "net.path"
    model.write_text(f"pathc 1\nmodel net\n{text}")
    assert bench(model, at, "--batch", "3", "--steps", "5", "--json") == 0
    (row,) = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert row["seconds_min"] > 0
    assert row["steps"] == (5 if "gru" in text else 1)


def test_figures_name_the_device(model, at, capsys):
    assert bench(model, at, "-t", "tvm-llvm", "--batch", "1,33", "--json") == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["batch"] for row in rows] == [1, 33]
    assert {row["device"] for row in rows} == {borrow(at).processor()}
    assert all(row["seconds_min"] > 0 and row["gflops"] > 0 and row["target"] == "tvm-llvm" for row in rows)
    assert bench(model, at, "--batch", "8") == 0
    shown = capsys.readouterr().out
    assert "device" in shown
    assert rows[0]["device"] in shown


def test_outputs_that_are_wrong_are_not_measured(model, at, capsys, monkeypatch):
    computed = Placed.outputs
    monkeypatch.setattr(Placed, "outputs", lambda self, x: computed(self, x) + np.float32(0.5))
    assert bench(model, at) == 1
    assert "error[E0680]" in capsys.readouterr().err


def test_tuning_there_is_used_here(model, at, capsys, monkeypatch):
    liked = Tile(2, 32)
    monkeypatch.setattr(knobs, "candidates", lambda _: [Tile(1, 4), liked])
    measured, answers = Placed.operations, iter([2.0, 3.0, 1.0])
    monkeypatch.setattr(Placed, "operations", lambda self: dict.fromkeys(measured(self, 0.01), next(answers)))
    assert bench(model, at, "-t", "tvm-llvm{tune=true}", "--batch", "64", "--json") == 0
    device = json.loads(capsys.readouterr().out)["device"]
    assert next(answers, None) is None, "every candidate is measured once"
    assert main(["compile", str(model), "-t", f"tvm-llvm{{cpu={device}}}", "--batch", "64"]) == 0
    assert f"k1: {liked}" in capsys.readouterr().err
    assert main(["compile", str(model), "-t", "tvm-llvm{cpu=x86-64}", "--batch", "64"]) == 0
    assert "W0671" not in capsys.readouterr().err


def test_devices_that_are_not_there(model, at, capsys):
    other = Where(at.host, at.port, "nowhere", 60.0)
    assert bench(model, other) == 3
    said = capsys.readouterr().err
    assert "error[E0677]" in said
    assert "it has here" in said
    assert bench(model, at, "-t", "cuda") == 3
    assert "error[E0677]" in capsys.readouterr().err


def test_a_device_in_use_is_waited_for_only_so_long(model, at, capsys):
    held = borrow(at)
    start = time.monotonic()
    assert bench(model, at, "--wait", "1") == 3
    assert time.monotonic() - start < 30
    said = capsys.readouterr().err
    assert "error[E0678]" in said
    assert "--wait" in said
    del held
    gc.collect()
    assert borrow(at).processor()


def test_a_server_that_ends(at):
    server = rpc_machines.server(at.port, "ends")
    where = Where(at.host, at.port, "ends", 20.0)
    device = awaited(where)
    server.stop()
    with pytest.raises(UnavailableError, match="E0679"):
        device.processor()
    with pytest.raises(UnavailableError, match=r"E067[789]"):
        borrow(Where(at.host, at.port, "ends", 2.0))


@pytest.mark.parametrize("answer", [b"", b"HTTP"])
def test_what_is_no_tracker(model, capsys, answer):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        if answer:
            import threading

            def reply() -> None:
                link, _ = listener.accept()
                link.sendall(answer)
                link.close()

            threading.Thread(target=reply, daemon=True).start()
        assert main(["bench", str(model), "--rpc", f"127.0.0.1:{port}", "--key", "k", "--wait", "0.5"]) == 3
    assert "error[E0676]" in capsys.readouterr().err


def test_no_tracker_at_all(model, capsys):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    assert main(["bench", str(model), "--rpc", f"127.0.0.1:{port}", "--key", "k"]) == 3
    said = capsys.readouterr().err
    assert "error[E0676]" in said
    assert "rpc_tracker" in said
    assert remote.Where.of("[::1]:9190", "k").host == "::1"
