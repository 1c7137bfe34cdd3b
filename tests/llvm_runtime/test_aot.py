from __future__ import annotations

import ctypes
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from runtime_kernels import SCALE

from pathc.backends.llvm import aot
from pathc.backends.llvm.aot import KINDS, Program, write
from pathc.backends.llvm.machine import host, machine
from pathc.support.diagnostics import PathcError, UnavailableError

FACTORS = np.arange(1, 17, dtype=np.float32)
PROGRAM = Program("scale", SCALE, host(), 16, 16, FACTORS, 64)
PARALLEL = """
declare void @pathc_parallel(ptr, ptr, i64)
define internal void @one(ptr %c, i64 %task, i64 %worker) {
  %p = getelementptr float, ptr %c, i64 %task
  store float 2.0, ptr %p, align 4
  ret void
}
define void @twos(ptr %x, ptr %y, ptr %params, ptr %scratch, i64 %batch, i64 %xs, i64 %ys) {
  call void @pathc_parallel(ptr @one, ptr %y, i64 4)
  ret void
}
"""

needs_cc = pytest.mark.skipif(not shutil.which("cc"), reason="no C compiler: apt-get install gcc")


@needs_cc
def test_the_example_compiles_runs_and_is_right(tmp_path: Path):
    written = write(PROGRAM, tmp_path)
    assert sorted(p.name for p in written) == sorted(f"scale.{kind}" for kind in KINDS)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(p.name for p in written)
    strict = ["-std=c11", "-Wall", "-Wextra", "-Werror", "-pedantic"]
    for linked in ("scale.o", "scale.so"):
        command = ["cc", *strict, "-O1", "-o", "example", "scale.c", linked, "-lm", f"-Wl,-rpath,{tmp_path}"]
        subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
        done = subprocess.run(["./example", "scale.params"], cwd=tmp_path, check=True, capture_output=True, text=True)
        x = (np.arange(32) % 7 / 7).astype(np.float32).reshape(2, 16)
        np.testing.assert_allclose(np.array(done.stdout.split(), np.float32).reshape(2, 16), x * FACTORS, rtol=1e-6)
    missing = subprocess.run(["./example", "nothing"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert missing.returncode == 1
    assert "cannot read" in missing.stderr


@needs_cc
def test_the_assembly_gives_the_same_code(tmp_path: Path):
    write(PROGRAM, tmp_path, ["s", "h", "c", "params"])
    subprocess.run(["cc", "-o", "example", "scale.c", "scale.s"], cwd=tmp_path, check=True, capture_output=True)
    subprocess.run(["./example"], cwd=tmp_path, check=True, capture_output=True)


@needs_cc
def test_a_program_without_the_pool_runs_its_tasks_itself(tmp_path: Path):
    program = Program("twos", PARALLEL, host(), 4, 4, FACTORS)
    write(program, tmp_path, ["so"])
    library = ctypes.CDLL(str(tmp_path / "twos.so"))
    y = np.zeros(5, np.float32)
    library.twos(None, ctypes.c_void_p(y.ctypes.data), None, None, *(ctypes.c_int64(1),) * 3)
    np.testing.assert_array_equal(y, [2, 2, 2, 2, 0])


def test_an_object_for_another_architecture(tmp_path: Path):
    arm = replace(PROGRAM, machine=machine({"cpu": "aarch64"}))
    (path,) = write(arm, tmp_path, ["o"])
    head = path.read_bytes()[:20]
    assert head[:4] == b"\x7fELF"
    assert int.from_bytes(head[18:20], "little") == 183
    assert "aarch64" in aot.header(arm)


@pytest.mark.parametrize("cpu", ["native", "aarch64"])
def test_no_linker_is_said_with_the_cure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cpu: str):
    def nothing(name: str) -> None:
        return None

    monkeypatch.setattr(shutil, "which", nothing)
    with pytest.raises(UnavailableError) as caught:
        write(replace(PROGRAM, machine=machine({"cpu": cpu})), tmp_path, ["o", "so"])
    assert caught.value.exit_code == 3
    assert caught.value.diagnostics[0].code == "E0605"
    assert "apt-get install gcc" in caught.value.diagnostics[0].help
    assert not list(tmp_path.iterdir())


def test_a_failing_linker_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def false(name: str) -> str:
        return "/bin/false"

    monkeypatch.setattr(shutil, "which", false)
    with pytest.raises(PathcError) as caught:
        write(PROGRAM, tmp_path, ["so"])
    assert caught.value.diagnostics[0].code == "E0606"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("program", "kinds", "folder", "code"),
    [
        (PROGRAM, ["obj"], "", "E0608"),
        (replace(PROGRAM, name="784-300"), ["h"], "", "E0608"),
        (replace(PROGRAM, name="../up"), ["h"], "", "E0608"),
        (replace(PROGRAM, name="switch"), ["h"], "", "E0608"),
        (PROGRAM, ["h"], "missing", "E0503"),
    ],
)
def test_mistakes(tmp_path: Path, program: Program, kinds: list[str], folder: str, code: str):
    with pytest.raises(PathcError) as caught:
        write(program, tmp_path / folder, kinds)
    assert caught.value.diagnostics[0].code == code
    assert not list(tmp_path.iterdir())
