"""Libraries for GPUs: called in a process whose libcuda executes kernels on the processor, through the same symbols."""

from __future__ import annotations

import json
import shutil
import subprocess
from functools import cache

import cell_support
import extents_support
import gpu_on_cpu as gpu
import numpy as np
import pytest
from library_support import STREAM, call, write
from tvm_support import BIAS, RELU, chain, check, drawn, inputs

from pathc.backends.base import Request
from pathc.backends.tvm import driver, facade, linker, nvrtc
from pathc.backends.tvm.cuda import BACKEND
from pathc.backends.tvm.library import GpuLibrary
from pathc.backends.tvm.pack import unpack
from pathc.cli import main
from pathc.ir import interp
from pathc.ir.types import Word
from pathc.support.diagnostics import PathcError, UnavailableError

pytestmark = [
    pytest.mark.skipif(facade.missing() != "", reason=f"needs TVM: {facade.INSTALL}"),
    pytest.mark.skipif(nvrtc.library_path() == "", reason=f"needs NVRTC: {nvrtc.INSTALL}"),
    pytest.mark.skipif(not gpu.available(), reason="needs g++ to execute CUDA text: apt-get install g++"),
]


def compiled(units=(64, 128, 32), count=2048, **options):
    graph = chain(units, count, BIAS, RELU)
    weights = drawn(graph, 1)
    return graph, weights, BACKEND.compile(Request(graph, weights, {"arch": Word("sm_90"), **options}))


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """A net of one kernel for every operation in a folder, with its kernels for the processor."""
    folder = tmp_path_factory.mktemp("plain")
    made = compiled(fused=False, lanes=32)
    write(folder, made[2])
    gpu.build_file(made[2].program.text, folder / "kernels.so")
    return folder, *made


def test_a_library_computes_where_the_arrays_lie(plain, fake):
    folder, graph, weights, executable = plain
    x = inputs(graph, 77, 3)
    np.save(folder / "x.npy", x)
    said = call(folder, fake)
    assert said["start"] == ""
    check(graph, weights, x, np.load(folder / "y.npy"))
    for other in ("run", "kernels", "lent"):
        np.testing.assert_array_equal(np.load(folder / f"{other}.npy"), np.load(folder / "y.npy"))
    check(graph, weights, x[:1], np.load(folder / "one.npy"))
    assert said["empty"] == [0, 32]
    _, pushed, launched, stream, code, ordered, _ = said["after"]
    assert (pushed, launched, stream, code, ordered) == (0, len(executable.program.launches), STREAM, 1, 1)
    assert said["lent"][6] == 1, "only the outputs are still held of what was lent"
    assert said["lent"][5] == 0, "nothing else was allocated"
    assert said["left"] == [0, 0, 0]


def test_arrays_that_do_not_fit_are_refused(plain, fake):
    folder, graph, _, _ = plain
    np.save(folder / "x.npy", inputs(graph, 2, 3))
    said = call(folder, fake)
    words = {
        "host": "`x` does not lie on a GPU",
        "none": "`x` is no array that speaks DLPack, but NoneType",
        "columns": "`x` is not [batch, 64]",
        "type": "the numbers of `x` are not float32",
        "elsewhere": "lies on another GPU",
        "missing": "`forward` takes 5 arguments, not 1",
        "few": "takes",
        "large": "samples are too many for a call",
        "crooked": "` does not begin at a multiple of 16 bytes",
    }
    for name, expected in words.items():
        assert said[name].startswith("PathcError E0512: "), (name, said[name])
        assert expected in said[name]
    assert said["device"].startswith("PathcError E0665: the CUDA driver refused: cuDeviceGet failed with 101")


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"FAKE_CAPABILITY": 120}, 2),
        ({"FAKE_OLD": 1}, 1),
        ({"FAKE_CAPABILITY": 80}, "UnavailableError E0674: this library is for sm_90 and newer, and the GPU is sm_80"),
        ({"FAKE_DEVICES": 0}, "UnavailableError E0664: there is a CUDA driver, but it finds no GPU"),
        ({"FAKE_SHARED": 1024}, "PathcError E0666: a kernel needs"),
        ({"FAKE_KERNELS": "nowhere"}, "PathcError E0665: the CUDA driver refused: cuModuleLoadData failed with 301"),
    ],
    ids=str,
)
def test_gpus_of_other_kinds(plain, fake, settings, expected):
    folder, graph, weights, _ = plain
    x = inputs(graph, 5, 3)
    np.save(folder / "x.npy", x)
    said = call(folder, fake, **settings)
    if isinstance(expected, str):
        assert said["start"].startswith(expected)
    else:
        check(graph, weights, x, np.load(folder / "y.npy"))
        assert said["after"][4] == expected
        assert said["left"] == [0, 0, 0]


@pytest.mark.skipif(driver.missing() == "", reason="there is a GPU here")
def test_without_a_driver_it_says_so(plain):
    folder, *_ = plain
    assert call(folder, None)["start"] == "UnavailableError E0664: there is no CUDA driver here (libcuda.so.1)"


def test_a_backward_pass(tmp_path, fake):
    graph, weights, executable = compiled((32, 16), 64, gradients=True, lanes=32)
    write(tmp_path, executable)
    gpu.build_file(executable.program.text, tmp_path / "kernels.so")
    x, dy = inputs(graph, 40, 3), np.random.default_rng(4).normal(size=(40, 16)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "dy.npy", dy)
    said = call(tmp_path, fake)
    assert said["left"] == [0, 0, 0]
    check(graph, weights, x, np.load(tmp_path / "y.npy"))
    found = dict(np.load(tmp_path / "gradients.npz"))
    dx, right = interp.backward(graph, weights, x, dy)
    assert np.linalg.norm(found.pop("dx") - dx) <= 1e-5 * np.linalg.norm(dx)
    for name, array in unpack(executable.lowered.plan, graph, found).items():
        assert np.linalg.norm(array - right[name]) <= 1e-5 * np.linalg.norm(right[name]), name
    assert all(found[name].shape == tuple(shape) for name, shape in executable.program.gradients)


def test_from_the_command_line_for_older_gpus(tmp_path):
    model = tmp_path / "net.path"
    model.write_text("pathc 1\nmodel net\ninput x[64]\noutput y[32] : relu\npaths main : x@0 -> y@1 { count = 256 }\n")
    assert main(["compile", str(model), "-t", "cuda{arch=sm_80}", "-o", str(tmp_path / "net.so")]) == 0
    data = (tmp_path / "net.so").read_bytes()
    assert data.count(b"\x7fELF") == 3, "the library, and binaries for sm_80 and sm_90"
    assert b".target sm_80" in data
    net = GpuLibrary(tmp_path / "net.so")
    with pytest.raises(PathcError, match="E0667"):
        net.gradients(None, None)
    (tmp_path / "net.params").write_bytes(b"nothing")
    with pytest.raises(PathcError, match="E0663"):
        GpuLibrary(tmp_path / "net.so")


@pytest.mark.parametrize("damage", ["[]", '{"weights": ["other"]}', '{"weights": 1}'])
def test_damaged_descriptions_are_refused(plain, tmp_path, damage):
    _, _, _, executable = plain
    path = write(tmp_path, executable)
    record = json.loads(path.with_suffix(".json").read_text())
    changed = json.loads(damage)
    path.with_suffix(".json").write_text(json.dumps(record | changed) if changed else damage)
    with pytest.raises(PathcError, match="E0663"):
        GpuLibrary(path)


def test_a_file_that_is_no_library(plain, tmp_path):
    path = write(tmp_path, plain[3])
    path.write_bytes(b"nothing")
    with pytest.raises(PathcError, match="E0663"):
        GpuLibrary(path)


def test_without_a_c_compiler_it_says_what_to_install(plain, monkeypatch, tmp_path):
    executable = plain[3]
    monkeypatch.setattr("shutil.which", lambda *_: None)
    with pytest.raises(UnavailableError, match="E0670") as caught:
        executable.emit("so")
    assert caught.value.diagnostics[0].help == "apt-get install gcc libc6-dev"
    monkeypatch.undo()
    monkeypatch.setattr(facade, "ffi_includes", lambda: [str(tmp_path)])
    with pytest.raises(UnavailableError, match=r"E0670.*tvm/ffi/c_api.h"):
        executable.emit("so")
    assert linker.c_compiler()


def cells(*stages, batch=0, **options):
    graph = cell_support.stack(*((stage,) for stage in stages), units=18)
    weights = cell_support.drawn(graph, 1)
    return graph, weights, BACKEND.compile(Request(graph, weights, {"arch": Word("sm_90"), **options}, batch))


SEQUENCES = {
    "stateful": cache(lambda: cells(
        cell_support.cell("lstm", cell_support.STRUCTURES["ring"], stateful=True),
        cell_support.cell("rnn", cell_support.STRUCTURES["diag"], stateful=True), fused=False)),
    "both ways": cache(lambda: cells(
        cell_support.cell("gru", cell_support.STRUCTURES["sparse"], reset="before", bidirectional="sum"),
        cell_support.cell("qrnn", window=3, bidirectional="concat"))),
}  # fmt: skip


@pytest.mark.parametrize("kind", SEQUENCES)
def test_sequences_are_computed_where_they_lie(tmp_path, fake, kind):
    graph, weights, executable = SEQUENCES[kind]()
    write(tmp_path, executable)
    gpu.build_file(executable.program.text, tmp_path / "kernels.so")
    x = cell_support.sequences(graph, 19, 5, 3)
    np.save(tmp_path / "x.npy", x)
    said = call(tmp_path, fake)
    y = np.load(tmp_path / "y.npy")
    cell_support.check(graph, weights, x, y)
    for other in ("run", "kernels", "lent"):
        np.testing.assert_array_equal(np.load(tmp_path / f"{other}.npy"), y)
    np.testing.assert_array_equal(np.load(tmp_path / "one.npy"), y[:1])
    assert said["empty"] == [0, 5, 4]
    assert said["left"] == [0, 0, 0]
    words = {
        "columns": "E0512: `x` is not [batch, steps, 6]",
        "numbers": "E0512: `run` takes a number of sequences and one of steps first",
        "large": "E0512: 1099511627776 sequences of 3 steps are too many for a call, which takes",
        "long": "E0512: 3 sequences of 1099511627776 steps are too many for a call, which takes",
        "stepless": "E0371: sequences have no step",
    }
    for name, expected in words.items():
        assert said[name].startswith(f"PathcError {expected}"), said[name]
    assert ("states" in said) == (kind == "stateful")
    if kind == "stateful":
        assert said["states"].startswith("PathcError E0702")
        np.testing.assert_array_equal(np.load(tmp_path / "begun.npy"), y)
        again = interp.evaluate(graph, weights, x, interp.evaluate(graph, weights, x).state).outputs
        np.testing.assert_allclose(np.load(tmp_path / "second.npy"), again, atol=1e-6)


def test_a_net_with_extents_is_computed_where_it_lies(tmp_path, fake):
    graph, weights, x = extents_support.case(extents_support.ACROSS, 3)
    executable = BACKEND.compile(Request(graph, weights, {"arch": Word("sm_90"), "fused": False}))
    write(tmp_path, executable)
    gpu.build_file(executable.program.text, tmp_path / "kernels.so")
    np.save(tmp_path / "x.npy", x.reshape(3, -1))
    said = call(tmp_path, fake)
    extents_support.checked(graph, weights, x, np.load(tmp_path / "y.npy"))
    for other in ("run", "kernels", "lent"):
        np.testing.assert_array_equal(np.load(tmp_path / f"{other}.npy"), np.load(tmp_path / "y.npy"))
    assert said["left"] == [0, 0, 0]


def test_a_single_sequence_is_as_long_as_elements_are_counted():
    """Where every sequence has a block of its own, the steps of all are not held to the limit of such blocks."""
    _, _, executable = cells(cell_support.cell("gru", cell_support.STRUCTURES["ring"]), batch=1)
    assert "batch" in {launch.grid[0] for launch in executable.program.launches}
    assert executable.program.most > 65535


@pytest.mark.parametrize("kind", SEQUENCES)
def test_a_cu_file_of_sequences_takes_their_steps(kind):
    _, _, executable = SEQUENCES[kind]()
    text, program = str(executable.emit("cu")), executable.program
    (function,) = text[len(program.text) :].split('extern "C"')[1:]
    assert function.startswith(" cudaError_t net_forward(int batch, int steps, float* x, float* y, ")
    assert f"const int rows = batch * steps, tiles = (rows + {program.lanes - 1}) / {program.lanes};" in function
    called = [line for line in function.splitlines() if "<<<" in line]
    assert len(called) == len(program.launches)
    for line, one in zip(called, program.launches, strict=True):
        grids = [f"({n.partition('/')[0]} + {int(d) - 1}) / {d}" if (d := n.partition("/")[2]) else n for n in one.grid]
        assert f"{one.kernel}<<<dim3({', '.join(grids)}), " in line
    for name, _ in program.states:
        assert f"float* {name}" in function


@pytest.mark.parametrize("options", [{"fused": False, "lanes": 32}, {"gradients": True, "lanes": 32}, {}], ids=str)
def test_a_cu_file_launches_what_the_program_does(options):
    _, _, executable = compiled((32, 16), 64, **options)
    text, program = str(executable.emit("cu")), executable.program
    assert text.startswith(program.text)
    assert nvrtc.compile_text(text, "sm_90").resources == executable.binary.resources, "NVRTC sees the kernels alone"
    functions = text[len(program.text) :].split('extern "C"')[1:]
    assert len(functions) == 1 + bool(program.gradients)
    for function, launches in zip(functions, (program.forward, program.launches), strict=False):
        called = [line for line in function.splitlines() if "<<<" in line]
        assert [line.split("<<<")[0].strip() for line in called] == [one.kernel for one in launches]
        for line, one in zip(called, launches, strict=True):
            assert f"dim3({', '.join(one.grid)}), dim3({', '.join(map(str, one.block))}), {one.shared}, stream" in line
            assert line.count(",") - line.split(">>>")[0].count(",") == len(one.arguments) - 1


@pytest.mark.parametrize("kind", ["plain", "extents", *SEQUENCES])
def test_launches_of_a_cu_file_give_kernels_what_they_take(plain, tmp_path, kind):
    """Types and numbers of arguments, as a compiler of C++ sees them."""
    if kind == "plain":
        executable = plain[3]
    elif kind == "extents":
        graph, weights, _ = extents_support.case(extents_support.ACROSS, 3)
        executable = BACKEND.compile(Request(graph, weights, {"arch": Word("sm_90")}))
    else:
        executable = SEQUENCES[kind]()[2]
    gpu.check_launches(str(executable.emit("cu")), tmp_path / "net.so")


@pytest.mark.skipif(shutil.which("nvcc") is None, reason="needs nvcc, which comes with the CUDA toolkit")
def test_nvcc_takes_a_cu_file(plain, tmp_path):
    (tmp_path / "net.cu").write_text(str(plain[3].emit("cu")))
    command = ["nvcc", "-arch=sm_90", "--cuda", "-o", str(tmp_path / "net.cpp"), str(tmp_path / "net.cu")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
