"""Flags of remote measuring, GPUs behind a tracker, and tiles that are tried on GPUs."""

from __future__ import annotations

from types import SimpleNamespace

import gpu_on_cpu as gpu
import numpy as np
import pytest
from fake_cuda import FakeCuda
from tvm_support import BIAS, RELU, chain, check, drawn, inputs

from pathc.backends.base import Request
from pathc.backends.tvm import driver, facade, gpu_tiles, gpu_tuning, nvrtc, tuner
from pathc.backends.tvm.compiled import Lowered
from pathc.backends.tvm.cuda import BACKEND
from pathc.backends.tvm.knobs import knobs_of
from pathc.backends.tvm.pack import pack
from pathc.backends.tvm.program import program
from pathc.backends.tvm.remote import Device, Where
from pathc.backends.tvm.schedule import default_tile
from pathc.bench.remote import target_there
from pathc.cli import main
from pathc.ir.types import Word
from pathc.support.diagnostics import PathcError, UnavailableError
from pathc.targets import choose_target

pytestmark = [
    pytest.mark.skipif(facade.missing() != "", reason=f"needs TVM: {facade.INSTALL}"),
    pytest.mark.skipif(nvrtc.library_path() == "", reason=f"needs NVRTC: {nvrtc.INSTALL}"),
    pytest.mark.usefixtures("own_cache"),
]
WHERE = Where("127.0.0.1", 9190, "gpu", 5.0)
NAME = "A GPU"


def compiled(**options):
    graph = chain((64, 128), 2048, BIAS, RELU)
    weights = drawn(graph, 1)
    options = {"arch": Word("sm_90"), "fused": False, "lanes": 64} | options
    return graph, weights, BACKEND.compile(Request(graph, weights, options))


@pytest.mark.parametrize(
    ("flags", "code"),
    [
        (["--rpc", "nowhere", "--key", "k"], "E0816"),
        (["--rpc", "host:port", "--key", "k"], "E0816"),
        (["--rpc", "127.0.0.1:99999", "--key", "k"], "E0816"),
        (["--rpc", "127.0.0.1:9190"], "E0816"),
        (["--key", "k"], "E0816"),
        (["--rpc", "127.0.0.1:9190", "--key", "k", "--wait", "0"], "E0816"),
        (["--rpc", "127.0.0.1:9190", "--key", "k", "--against", "numpy"], "E0816"),
        (["--rpc", "127.0.0.1:9190", "--key", "k", "-t", "llvm"], "E0816"),
    ],
    ids=" ".join,
)
def test_flags_that_make_no_sense(tmp_path, capsys, flags, code):
    model = tmp_path / "net.path"
    model.write_text("pathc 1\nmodel net\ninput x[4]\noutput y[4]\ndense main : x -> y\n")
    assert main(["bench", str(model), *flags]) == 2
    assert f"error[{code}]" in capsys.readouterr().err


def test_other_machines_are_warned_of():
    assert WHERE.notes() == Where("::1", 9190, "k").notes() == Where("localhost", 9190, "k").notes() == []
    for host in ("192.168.0.7", "bench.example.org"):
        (note,) = Where(host, 9190, "k").notes()
        assert note.code == "W0681"
        assert "ssh -L" in note.help


class Session:
    """A remote machine with a GPU, as TVM's RPCSession has it; memory is the processor's, functions are recorded."""

    def __init__(self, exists: bool = True) -> None:
        import tvm

        self.sent: dict[str, bytearray] = {}
        self.called: list[tuple] = []
        self.place = tvm.cpu(0)
        self.gpu = SimpleNamespace(exist=exists, device_name=NAME, compute_version="9.0")

    def cuda(self, number):
        return self.place if self.sent else self.gpu

    def upload(self, data, name):
        assert name not in self.sent
        self.sent[name] = data

    def load_module(self, name):
        def call(*given):
            self.called.append(given)

        class Module(dict):
            def time_evaluator(self, name, place, number, repeat, min_repeat_ms):
                return lambda *given: SimpleNamespace(results=(call(*given), 2.0, 1.0)[1:])

        return Module.fromkeys(["run", "k0_kernel", "k1_kernel", "k2_kernel"], call)


def test_a_gpu_behind_a_tracker_is_compiled_for():
    target = choose_target("cuda{tune=true,fused=false}")
    assert target_there(target, Device(WHERE, Session())) == ("cuda{fused=false,arch=sm_90}", NAME)
    with pytest.raises(UnavailableError, match=r"E0677.*no GPU"):
        target_there(target, Device(WHERE, Session(exists=False)))


@pytest.mark.skipif(not gpu.available(), reason="needs a C compiler: apt-get install gcc")
def test_a_gpu_behind_a_tracker_is_sent_library_and_arrays():
    graph, _, executable = compiled()
    session = Session()
    placed = Device(WHERE, session).place(executable.shipped(70), 70)
    assert bytes(session.sent["net1.so"]).startswith(b"\x7fELF")
    x = inputs(graph, 70, 1)
    placed.outputs(x)
    batch, *arrays = session.called[-1]
    assert batch == 70
    shapes = [tuple(array.shape) for array in arrays]
    assert shapes[:4] == [(70, 64), (70, 128), (2, 64, 64), (2, 128, 64)]
    np.testing.assert_array_equal(arrays[0].numpy(), x)
    for array, values in zip(arrays[4:], executable.parameters.values(), strict=True):
        np.testing.assert_array_equal(array.numpy(), values)
    assert placed.operations() == {"k0": 1.0, "k1": 1.0, "k2": 1.0}
    with pytest.raises(PathcError, match="E0512"):
        placed.outputs(x[:3])


@pytest.mark.skipif(not gpu.available(), reason="needs g++ to execute CUDA text: apt-get install g++")
@pytest.mark.parametrize("change", [{"rows": 2, "columns": 8, "threads": 64}, {"lanes": 2, "threads": 128}], ids=str)
def test_tiles_that_are_tried_compute_the_net(change):
    graph, weights, executable = compiled()
    plan = executable.lowered.plan
    tiles = {op.name: gpu_tiles.changed(change, default_tile(op, plan, True), op, plan) for op in plan.ops}
    made = program(Lowered(plan, True, {name: tile for name, tile in tiles.items() if tile}), "sm_90")
    assert tiles["k1"] is not None
    assert made.text != executable.program.text
    x = inputs(graph, 70, 2)
    check(graph, weights, x, gpu.run(made, pack(plan, graph, weights), x))


def test_no_change_makes_a_kernel_that_no_gpu_takes():
    _, _, executable = compiled()
    plan = executable.lowered.plan
    tried = [
        gpu_tiles.changed(c, default_tile(op, plan, True), op, plan) for c in gpu_tiles.changes() for op in plan.ops
    ]
    assert len([tile for tile in tried if tile]) > 8
    for tile in {tile for tile in tried if tile}:
        assert tile.rows * tile.lanes <= 64
    fused = compiled(fused=True)[2].lowered.plan
    assert fused.fused
    changes = [gpu_tiles.changed({"threads": 64}, default_tile(op, fused, True), op, fused) for op in fused.ops]
    assert changes == [None] * len(fused.ops), "all operations of one kernel have as many threads"


def test_tuning_for_a_gpu_keeps_and_reuses(monkeypatch, own_cache):
    _, _, plain = compiled()
    monkeypatch.setattr(gpu_tiles, "changes", lambda: [{"rows": 2}, {"threads": 64}, {"columns": 8}])
    monkeypatch.setattr(gpu_tuning, "program", lambda lowered, _: SimpleNamespace(text="", tiles=lowered.tiles))
    monkeypatch.setattr(nvrtc, "compile_text", lambda *_: None)
    monkeypatch.setattr(gpu_tuning, "shipped", lambda kernels, *_: kernels.tiles)
    plan, tried = plain.lowered.plan, []

    def measure(tiles):
        tried.append(dict(tiles))
        tile = tiles.get("k1") or default_tile(plan.ops[1], plan, True)
        return {"k0": 1.0, "k1": 4.0 - (tile.rows == 2) - (tile.columns == 8) + (tile.threads == 64), "k2": 1.0}

    tuned = plain.tuned(64, measure, NAME)
    assert len(tried) == 4
    (best,) = tuned.lowered.tiles.values()
    assert (best.rows, best.columns, best.threads) == (2, 8, 256)
    assert [note.code for note in tuned.notes] == ["W0671"]
    _, _, again = compiled()
    assert again.lowered.tiles == {"k1": best}
    assert [note.code for note in again.notes] == ["W0671"]
    assert compiled(arch=Word("sm_80"))[2].lowered.tiles == {}
    for device in ("cuda sm_90", f"cuda sm_90 {NAME}"):
        assert tuner.recall(plain.lowered.plan, knobs_of(plain.lowered), device) == {"k1": best}
    (own_cache / "tuned.json").write_text('{"version": 1, "entries": 3}')
    _, _, damaged = compiled()
    assert damaged.lowered.tiles == {}
    assert [note.code for note in damaged.notes] == ["W0682"]


@pytest.mark.skipif(driver.missing() == "", reason="there is a GPU here")
def test_tuning_without_a_gpu_says_where_it_can_be_done():
    with pytest.raises(UnavailableError, match="E0664") as caught:
        compiled(tune=True)
    assert "--rpc" in caught.value.diagnostics[0].help
    with pytest.raises(PathcError, match="E0667"):
        compiled(tune=3)


@pytest.mark.skipif(not gpu.available(), reason="needs g++ to execute CUDA text: apt-get install g++")
def test_tuning_on_the_gpu_here(monkeypatch):
    _, _, plain = compiled()
    monkeypatch.setattr(gpu_tiles, "changes", list)
    monkeypatch.setattr(driver, "missing", lambda: "")
    monkeypatch.setattr(driver, "device", lambda: driver.Device(FakeCuda(plain.program.text)))
    monkeypatch.setattr(driver, "_SERIES", 0.0)
    measured = {}
    monkeypatch.setattr(tuner, "tune", lambda knobs, measure: measured.update(measure({})) or {})
    _, _, tuned = compiled(tune=True)
    assert tuned.lowered.tiles == {}
    assert set(measured) == {"k0", "k1", "k2"}
    assert all(spent > 0 for spent in measured.values())
    with pytest.raises(PathcError, match=r"E0667.*a processor, which is sm_90, not sm_80"):
        compiled(arch=Word("sm_80"), tune=True)
