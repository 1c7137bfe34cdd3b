"""The target `cuda`: binaries without spills, files, launches through a driver, and what is said where things lack."""

from __future__ import annotations

import json
import re

import gpu_on_cpu as gpu
import numpy as np
import pytest
from fake_cuda import FakeCuda
from tvm_support import BIAS, RELU, chain, check, drawn, inputs

from pathc.backends.base import Request
from pathc.backends.tvm import driver, facade, nvrtc
from pathc.backends.tvm.cuda import BACKEND
from pathc.backends.tvm.program import Program
from pathc.cli import main
from pathc.ir.types import Word
from pathc.support.diagnostics import InternalError, PathcError, UnavailableError

pytestmark = [
    pytest.mark.skipif(facade.missing() != "", reason=f"needs TVM: {facade.INSTALL}"),
    pytest.mark.skipif(nvrtc.library_path() == "", reason=f"needs NVRTC: {nvrtc.INSTALL}"),
]


def compiled(units=(64, 128, 32), count=2048, batch=0, **options):
    graph = chain(units, count, BIAS, RELU)
    weights = drawn(graph, 1)
    return graph, weights, BACKEND.compile(Request(graph, weights, options, batch))


@pytest.mark.parametrize("arch", nvrtc.ARCHITECTURES)
@pytest.mark.parametrize(
    ("units", "count"),
    [((1024, 256, 256, 16), 16384), ((784, 300, 300, 10), 8192), ((64, 64), 4096), ((256, 1, 3), 99)],
)
@pytest.mark.parametrize(("batch", "fused"), [(1, True), (1, False), (64, True), (64, False)])
def test_kernels_compile_without_spills(units, count, batch, fused, arch):
    if batch == 1 and fused and 1 in units:
        pytest.skip("a layer of one unit and one sample has nothing to divide over threads")
    lanes = {} if batch == 1 else {"lanes": 32 if units[0] < 784 else 16}
    _, _, executable = compiled(units, count, batch, arch=Word(arch), fused=fused, **lanes)
    found = executable.binary.resources
    assert {one.kernel for one in executable.program.launches} == {r.kernel for r in found}
    for launch, used in zip(
        sorted(executable.program.launches, key=lambda x: x.kernel), sorted(found, key=lambda x: x.kernel), strict=True
    ):
        assert (used.spilled, used.stack) == (0, 0), used
        assert used.registers * launch.threads <= 65536
        assert launch.shared <= (163 if arch == "sm_80" else 227) * 1024
    assert executable.binary.cubin.startswith(b"\x7fELF")
    assert f".target {arch}" in executable.binary.ptx


@pytest.mark.skipif(not gpu.available(), reason="needs g++ to execute CUDA text: apt-get install g++")
@pytest.mark.parametrize("fused", [True, False])
def test_a_program_is_launched_through_the_driver(fused):
    graph, weights, executable = compiled(arch=Word("sm_90"), fused=fused, lanes=32)
    fake = FakeCuda(executable.program.text)
    loaded = driver.Loaded(executable.program, executable.binary.cubin, executable.parameters, driver.Device(fake))
    for batch in (1, 40, 40):
        x = inputs(graph, batch, batch)
        check(graph, weights, x, loaded(x))
    assert fake.launched[: len(fake.launched) // 3] == [one.kernel for one in executable.program.launches]
    again = Program.from_json(executable.program.as_json())
    x = inputs(graph, 33, 5)
    other = driver.Loaded(again, executable.binary.cubin, executable.parameters, driver.Device(fake))
    np.testing.assert_array_equal(other(x), loaded(x))
    del loaded, other
    assert not fake.held


def test_large_batches_are_cut_where_kernels_count_with_32_bits():
    _, _, executable = compiled(arch=Word("sm_90"), fused=False, lanes=64)
    loaded = driver.Loaded(executable.program, b"", {}, driver.Device(FakeCuda()))
    assert loaded.most() <= 65535 * 64
    assert loaded.most() * 128 < 1 << 31
    assert loaded.most() % 64 == 0


def test_faults_of_the_driver_are_told():
    gpu_ = driver.Device(FakeCuda())
    with pytest.raises(PathcError, match="E0665: the CUDA driver refused: cuMemAlloc_v2 failed with 2") as caught:
        gpu_.memory(1 << 40)
    assert caught.value.exit_code == 1
    assert "smaller batch" in caught.value.diagnostics[0].help
    with pytest.raises(UnavailableError, match="E0664"):
        driver.Device(FakeCuda(devices=0))
    _, _, executable = compiled(arch=Word("sm_90"), fused=True, lanes=64)
    with pytest.raises(PathcError, match=r"E0666.*a processor has 1024"):
        driver.check_shared(executable.program, driver.Device(FakeCuda(shared=1024)))


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"arch": Word("sm_12")}, "E0661"),
        ({"arch": Word("hopper")}, "E0661"),
        ({"lanes": 48}, "E0667"),
        ({"lanes": 512}, "E0667"),
        ({"fused": Word("maybe")}, "E0667"),
        ({"gradients": 1}, "E0667"),
        ({"gradients": True, "fused": True}, "E0667"),
        ({"arch": Word("sm_75"), "precision": Word("fp16")}, r"E0667.*sm_75 has no products.*arch=sm_80 or newer"),
        ({"arch": Word("sm_75"), "integers": True}, r"E0667.*sm_75 has no products.*arch=sm_80 or newer"),
        ({"arch": Word("sm_95")}, "E0661.*--upgrade nvidia-cuda-nvrtc"),
        ({"colour": 3}, "E0806"),
    ],
)
def test_options_that_make_no_sense(options, code):
    with pytest.raises(PathcError) as caught:
        compiled(**options)
    assert re.search(code, f"{caught.value} {caught.value.diagnostics[0].help}", re.DOTALL)


def test_nets_that_do_not_fit_shared_memory():
    with pytest.raises(PathcError, match="E0666"):
        compiled((4096, 4096), 4096, arch=Word("sm_90"), fused=True)
    _, _, executable = compiled((4096, 4096), 4096, arch=Word("sm_90"))
    assert [note.code for note in executable.notes] == ["W0668"]
    assert len(executable.program.launches) == 3


def test_without_what_is_needed_it_says_what_to_install(monkeypatch):
    _, _, executable = compiled(arch=Word("sm_90"))
    monkeypatch.setattr(nvrtc, "_nvrtc", lambda: nvrtc._missing("it is not installed"))
    with pytest.raises(UnavailableError) as caught:
        executable.emit("ptx")
    assert caught.value.diagnostics[0].help == "pip install 'nvidia-cuda-nvrtc>=13'"
    assert str(executable.emit("cuda")).startswith("// net")


@pytest.mark.skipif(driver.missing() == "", reason="there is a GPU here")
def test_without_a_gpu_running_says_so():
    graph, _, executable = compiled()
    with pytest.raises(UnavailableError, match="E0664") as caught:
        executable(inputs(graph, 3, 1))
    assert caught.value.exit_code == 3


def test_text_nvrtc_refuses_is_a_fault_of_ours():
    with pytest.raises(InternalError, match="E0662"):
        nvrtc.compile_text('extern "C" __global__ void f() { nonsense; }', "sm_90")


@pytest.mark.parametrize(
    "text", ["", "[]", "null", '{"version": 1}', '{"version": 2}', '{"version": 1, "launches": [{"grid": [1]}]}']
)
def test_damaged_descriptions_are_refused(text):
    with pytest.raises(PathcError, match="E0663"):
        Program.from_json(text)


def test_files_and_stages_from_the_command_line(tmp_path, capsys):
    model = tmp_path / "net.path"
    model.write_text("pathc 1\nmodel net\ninput x[64]\noutput y[32] : relu\npaths main : x@0 -> y@1 { count = 256 }\n")
    out = tmp_path / "kernels.ptx"
    assert main(["compile", str(model), "-t", "cuda{arch=sm_80}", "-o", str(out)]) == 0
    assert ".target sm_80" in out.read_text()
    assert json.loads((tmp_path / "kernels.json").read_text())["launches"][0]["kernel"] == "net_kernel"
    from safetensors.numpy import load

    assert load((tmp_path / "kernels.params").read_bytes())["k1_w"].shape == (8, 8, 4)
    for kind, words in (("tir", "@T.prim_func"), ("schedule", "sch.bind"), ("cuda", "__global__"), ("ptx", ".entry")):
        capsys.readouterr()
        assert main(["dump", str(model), "-t", "cuda{arch=sm_90}", "--emit", kind]) == 0
        assert words in capsys.readouterr().out
    assert main(["dump", str(model), "-t", "cuda", "--emit", "report"]) == 0
    assert "0 bytes spilled" in capsys.readouterr().out
